"""Tables of the measurements in Markdown, as in docs/serve.md."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.cells import LIMIT, LOADS, Cell

Rounds = dict[tuple[str, str], list[Cell]]
"""Cells of all rounds by server and load."""


def table(cells: Sequence[Cell], cores: int) -> str:
    """Return a table with a row per server and setting and a column per load, and the ratios."""
    loads = [load for load in LOADS if any(cell.load == load for cell in cells)]
    servers = list(dict.fromkeys(cell.server for cell in cells))
    found: Rounds = {}
    for cell in cells:
        found.setdefault((cell.server, cell.load), []).append(cell)
    lines = [
        _line("pictures/s (p50 / p99 ms)", *(LOADS[load].title for load in loads), "errors", "MB"),
        _line(*["---"] * (len(loads) + 3)),
    ]
    for server in servers:
        mine = [found.get((server, load), []) for load in loads]
        there = [cell for rounds in mine for cell in rounds]
        memory = max(cell.memory_mb for cell in there)
        lines.append(
            _line(
                server,
                *map(_figures, mine),
                "" if server == LIMIT else f"{sum(cell.errors for cell in there)}",
                f"{memory:,.0f}" if memory else "",
            )
        )
    return "\n".join([*lines, "", *_ratios(found, loads, cores)])


def _figures(rounds: Sequence[Cell]) -> str:
    """Return the medians over the rounds."""
    if not rounds:
        return ""
    if not all(cell.requests for cell in rounds):
        return "none"
    rate, p50, p99 = (
        _short(median(getattr(cell, name) for cell in rounds))
        for name in ("pictures_per_second", "p50", "p99")
    )
    return f"{rate} ({p50} / {p99})"


def _ratios(found: Rounds, loads: Sequence[str], cores: int) -> list[str]:
    """Return a table of Vitrine with its defaults relative to the limit and the peers.

    A ratio is the median over the ratios of the rounds. The best peer is the one to which this
    median is lowest.
    """
    vitrine = {load: found.get(("Vitrine, default", load), []) for load in loads}
    if not any(vitrine.values()):
        return []
    peers = {server for server, _ in found if not server.startswith(("Vitrine", LIMIT))}

    def against(servers: Iterable[str]) -> list[str]:
        shares = [
            min(
                (_ratio(vitrine[load], found.get((server, load), [])) for server in servers),
                default=math.nan,
            )
            for load in loads
        ]
        return [f"{share:.2f}" if math.isfinite(share) else "" for share in shares]

    latency = [
        f"{median(_relative_p99(cell) for cell in vitrine[load]):.2f}" if vitrine[load] else ""
        for load in loads
    ]
    rows = {
        f"of the limit on {cores} cores": against([LIMIT]),
        "of the best peer by default": against([p for p in peers if p.endswith(", default")]),
        "of the best peer in its best setting": against(sorted(peers)),
        "p99, of connections ÷ requests/s": latency,
    }
    return [
        _line("Vitrine, default", *(LOADS[load].title for load in loads)),
        _line(*["---"] * (len(loads) + 1)),
        *(_line(name, *values) for name, values in rows.items()),
    ]


def _ratio(mine: Sequence[Cell], theirs: Sequence[Cell]) -> float:
    """Return the median ratio over the rounds in which both answered; infinite without any."""
    rates = {cell.round: cell.pictures_per_second for cell in theirs if cell.requests}
    shares = [cell.pictures_per_second / rates[cell.round] for cell in mine if cell.round in rates]
    return median(shares) if shares else math.inf


def _relative_p99(cell: Cell) -> float:
    """Return the 99th percentile of latency relative to its mean, connections / rate."""
    return cell.p99 * cell.requests / cell.seconds / 1e3 / LOADS[cell.load].connections


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"

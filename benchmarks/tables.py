"""Tables of what was measured, as they stand in docs/serve.md."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.cells import LIMIT, LOADS, Cell

Found = dict[tuple[str, str], list[Cell]]
"""Cells of all rounds, by server and load."""


def table(cells: Sequence[Cell], cores: int) -> str:
    """Markdown: a line for each server and setting, a column for each load; then the ratios."""
    loads = [load for load in LOADS if any(cell.load == load for cell in cells)]
    servers = list(dict.fromkeys(cell.server for cell in cells))
    found: Found = {}
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
    """Medians over the rounds."""
    if not rounds:
        return ""
    if not all(cell.requests for cell in rounds):
        return "none"
    rate, p50, p99 = (
        _short(median(getattr(cell, name) for cell in rounds))
        for name in ("pictures_per_second", "p50", "p99")
    )
    return f"{rate} ({p50} / {p99})"


def _ratios(found: Found, loads: Sequence[str], cores: int) -> list[str]:
    """Vitrine as it is by default against the limit and the peers: medians of each round's ratio.

    The best peer is the one against which this median is least.
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
        f"{median(_waits(cell) for cell in vitrine[load]):.2f}" if vitrine[load] else ""
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
    """Median over the rounds in which both answered; infinite without any."""
    rates = {cell.round: cell.pictures_per_second for cell in theirs if cell.requests}
    shares = [cell.pictures_per_second / rates[cell.round] for cell in mine if cell.round in rates]
    return median(shares) if shares else math.inf


def _waits(cell: Cell) -> float:
    """99th percentile of latency, in mean times that as many connections wait at this rate."""
    return cell.p99 * cell.requests / cell.seconds / 1e3 / LOADS[cell.load].connections


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"

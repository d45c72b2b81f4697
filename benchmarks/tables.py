"""Tables of what was measured, as they stand in the README."""

import math
from collections.abc import Sequence

from benchmarks.cells import LIMIT, LOADS, Cell


def table(cells: Sequence[Cell], cores: int) -> str:
    """Markdown: a line for each server and setting, a column for each load; then the ratios."""
    loads = [load for load in LOADS if any(cell.load == load for cell in cells)]
    servers = list(dict.fromkeys(cell.server for cell in cells))
    found = {(cell.server, cell.load): cell for cell in cells}
    lines = [
        _line("pictures/s (p50 / p99 ms)", *(LOADS[load].title for load in loads), "errors", "MB"),
        _line(*["---"] * (len(loads) + 3)),
    ]
    for server in servers:
        mine = [found.get((server, load)) for load in loads]
        there = [cell for cell in mine if cell is not None]
        memory = max(cell.memory_mb for cell in there)
        lines.append(
            _line(
                server,
                *("" if cell is None else _figures(cell) for cell in mine),
                "" if server == LIMIT else f"{sum(cell.errors for cell in there)}",
                f"{memory:,.0f}" if memory else "",
            )
        )
    return "\n".join([*lines, "", *_ratios(found, loads, cores)])


def _figures(cell: Cell) -> str:
    if not cell.requests:
        return "none"
    return f"{_short(cell.pictures_per_second)} ({_short(cell.p50)} / {_short(cell.p99)})"


def _ratios(found: dict[tuple[str, str], Cell], loads: Sequence[str], cores: int) -> list[str]:
    """Vitrine as it is by default against the limit and the peers, as measured in this run."""
    vitrine = {load: found.get(("Vitrine, default", load)) for load in loads}
    if not any(vitrine.values()):
        return []

    def rate(load: str, wanted: str) -> float:
        rates = [
            cell.pictures_per_second
            for (server, each), cell in found.items()
            if each == load and not server.startswith(("Vitrine", LIMIT)) and wanted in server
        ]
        return max(rates, default=math.nan)

    def against(reference: dict[str, float]) -> list[str]:
        shares = [
            math.nan if cell is None else cell.pictures_per_second / (reference[load] or math.nan)
            for load, cell in vitrine.items()
        ]
        return ["" if math.isnan(share) else f"{share:.2f}" for share in shares]

    limits = {load: found.get((LIMIT, load)) for load in loads}
    latency = [
        ""
        if cell is None or not cell.requests
        else f"{cell.p99 * cell.requests / cell.seconds / 1e3 / LOADS[load].connections:.2f}"
        for load, cell in vitrine.items()
    ]
    rows = {
        f"of the limit on {cores} cores": against(
            {k: math.nan if c is None else c.pictures_per_second for k, c in limits.items()}
        ),
        "of the best peer by default": against({load: rate(load, ", default") for load in loads}),
        "of the best peer in its best setting": against({load: rate(load, "") for load in loads}),
        "p99, of connections ÷ requests/s": latency,
    }
    return [
        _line("Vitrine, default", *(LOADS[load].title for load in loads)),
        _line(*["---"] * (len(loads) + 1)),
        *(_line(name, *values) for name, values in rows.items()),
    ]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"  # noqa: PLR2004


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"

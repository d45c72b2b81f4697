"""What `benchmarks.gpu` measured, as one table in Markdown, CSV and JSON; and its time budget."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

NOT_MEASURED = "not measured"
CARD = ("card_mb", "card_busy")
"""Columns that hold `NOT_MEASURED` where the card was not read."""


@dataclass(frozen=True)
class Row:
    """One measurement; None where something does not apply or was not measured."""

    part: str
    """training, publishing, in process, or HTTP."""
    what: str
    """The recipe, or the size of the network."""
    system: str
    """What ran it: the profile of training, the provider, or the server and its setting."""
    load: str
    """What it was asked to do, such as 32 connections."""
    pictures_per_second: float | None = None
    seconds: float | None = None
    """Of one epoch, or of publishing."""
    p50: float | None = None
    """Median latency in ms."""
    p99: float | None = None
    """99th percentile of the latency in ms."""
    errors: int | None = None
    host_mb: float | None = None
    """Sum of the peak resident memory of all processes, shared pages counted in each; in process,
    the same for all loads of a network."""
    card_mb: float | None = None
    """Most memory in use on the card, by all programs."""
    card_busy: float | None = None
    """Mean share of the time in which the card computed, in percent."""
    note: str = ""


@dataclass
class Budget:
    """The time that is left until the benchmark ends."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the end, at least 0."""
        return max(0.0, self.seconds - self.spent)

    @property
    def spent(self) -> float:
        """Seconds since the begin."""
        return time.monotonic() - self.begun


@dataclass
class Table:
    """The rows, and what is missing; every change is written, so that nothing measured is lost."""

    folder: Path
    facts: dict[str, str]
    """What was measured on, by what."""
    budget: Budget
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What was not measured, each with the reason."""

    def add(self, row: Row) -> None:
        """Add a measurement."""
        self.rows.append(row)
        self.write()

    def miss(self, what: str, reason: str) -> None:
        """Name something that was not measured."""
        self.missing.append(f"{what}: {reason}")
        self.write()

    def write(self) -> None:
        """Write `gpu.md`, `gpu.csv` and `gpu.json`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gpu.md").write_text(self.markdown(), encoding="utf-8")
        rows = [asdict(row) for row in self.rows]
        content = {"facts": self._facts(), "rows": rows, "missing": self.missing}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (self.folder / "gpu.json").write_text(text + "\n", encoding="utf-8")
        with (self.folder / "gpu.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [column.name for column in fields(Row)])
            writer.writeheader()
            writer.writerows(rows)

    def markdown(self) -> str:
        """Return the facts, the table, and what is missing."""
        names = [column.name for column in fields(Row)]
        heads = {"pictures_per_second": "pictures/s", "p50": "p50 ms", "p99": "p99 ms"}
        heads |= {"host_mb": "host MB", "card_mb": "card MB", "card_busy": "card busy %"}
        lines = [f"{name}: {value}  " for name, value in self._facts().items()]
        lines += ["", _line([heads.get(name, name) for name in names]), _line(["---"] * len(names))]
        lines += [
            _line([_cell(name, value) for name, value in asdict(r).items()]) for r in self.rows
        ]
        if self.missing:
            lines += ["", "Not measured:", "", *(f"- {what}" for what in self.missing)]
        return "\n".join(lines) + "\n"

    def _facts(self) -> dict[str, str]:
        time = f"{self.budget.spent:.0f} s of {self.budget.seconds:.0f} s"
        return {**self.facts, "time": time}


def _cell(name: str, value: object) -> str:
    if value is None:
        return NOT_MEASURED if name in CARD else ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
    return str(value).replace("|", "\\|").replace("\n", " ")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

"""Measurements of a server in a setting, under a load, with a model, as rows of a CSV file."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

LIMIT = "in process (the limit)"
"""Name, in the place of a server, of the measurement without a server."""


class LoadKind(NamedTuple):
    """A kind of load on a server."""

    title: str
    connections: int
    each: int = 1
    """Number of pictures in a request."""
    mixed: bool = False
    """Whether the pictures have mixed sizes."""


LOADS = {
    "1": LoadKind("1 connection", 1),
    "8": LoadKind("8", 8),
    "32": LoadKind("32", 32),
    "64": LoadKind("64", 64),
    "mixed": LoadKind("32, mixed sizes", 32, mixed=True),
    "many": LoadKind("8, 64 pictures a request", 8, each=64),
}


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    model: str
    server: str
    load: str
    round: int
    """Number of the round, from 0. Within a round, all servers are measured one after another."""
    seconds: float
    requests: int
    pictures_per_second: float
    p50: float
    """Median latency in ms."""
    p99: float
    """99th percentile of the latency in ms."""
    errors: int
    memory_mb: float
    hardware: str
    code: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identity of the measurement; a cell with the same key is not measured again."""
        return self.model, self.server, self.load, self.round


def read_cells(path: Path) -> list[Cell]:
    """Read the cells that have been measured; none if the file does not exist."""
    if not path.exists():
        return []
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Cell)}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Cell(**{name: kinds[name](value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def add_cell(path: Path, cell: Cell) -> None:
    """Append a cell to the file, which is created if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cell)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(cell))

"""What is measured: a server in a setting, under a load, with a model; kept as lines of a CSV."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

LIMIT = "in process (the limit)"


class LoadKind(NamedTuple):
    """How a server is asked."""

    title: str
    connections: int
    each: int = 1
    """Pictures of a request."""
    mixed: bool = False


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
    """From 0; within one all servers were measured right after one another."""
    seconds: float
    requests: int
    pictures_per_second: float
    p50: float
    p99: float
    errors: int
    memory_mb: float
    hardware: str
    code: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What is not measured twice."""
        return self.model, self.server, self.load, self.round


def read_cells(path: Path) -> list[Cell]:
    """Cells measured before; none where there is no file."""
    if not path.exists():
        return []
    kinds: dict[str, Any] = {field.name: field.type for field in fields(Cell)}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Cell(**{name: kinds[name](value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def add_cell(path: Path, cell: Cell) -> None:
    """Append a cell to the file, which is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cell)])
        if new:
            writer.writeheader()
        writer.writerow(asdict(cell))

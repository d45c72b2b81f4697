"""Writes the table of a study as Markdown, CSV and a picture, and reads it again."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from pydantic import TypeAdapter

from artifacts.figure_style import SOFT, add_legend, bar_style, line_style
from training.plots import new_figure, png
from training.study import Row, origin_line

TABLE_FILE = "comparison.csv"
ROWS = TypeAdapter(list[Row])


def read_comparison(folder: Path) -> list[Row]:
    """Return the rows that `write_comparison` wrote into a folder; none if it did not.

    Raises:
        pydantic.ValidationError: The file is of another form.
    """
    path = folder / TABLE_FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = [{k: v for k, v in line.items() if v} for line in csv.DictReader(file)]
    return ROWS.validate_python(lines)


def write_comparison(
    rows: Sequence[Row], title: str, about: Sequence[str], folder: Path
) -> list[Path]:
    """Write comparison.md, .csv and .png.

    Args:
        rows: The systems.
        title: Heading of the page and of the plot.
        about: Notes above the table, a line each.
        folder: Folder of the files.

    Returns:
        The paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "comparison.md": markdown(rows, title, about).encode(),
        TABLE_FILE: _csv(rows).encode(),
        "comparison.png": _plot(rows, title, origin_line(about)),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in content]


def markdown(rows: Sequence[Row], title: str, about: Sequence[str] = ()) -> str:
    """Return the comparison as a Markdown table, with the lines of `about` above it."""
    lines = [
        f"# {title}",
        "",
        *(f"- {line}" for line in about),
        "",
        "| system | weights | trained | epochs | s/epoch | train | validation | test | reported "
        "| difference | paper | over-fits from epoch | remark |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        reported = "" if row.reported is None else f"{row.reported:.4f} ({row.reported_on})"
        difference = "" if row.difference is None else f"{row.difference:+.4f}"
        cells = [
            row.system,
            f"{row.parameters:,}",
            "" if row.trainable is None else f"{row.trainable:,}",
            str(row.epochs),
            "" if row.seconds_per_epoch is None else f"{row.seconds_per_epoch:.1f}",
            *("" if x is None else f"{x:.4f}" for x in (row.train, row.validation, row.test)),
            reported,
            difference,
            "" if row.paper is None else f"{row.paper:.4f}",
            str(row.overfit_epoch or ""),
            "; ".join(filter(None, [row.changes, row.remark])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _plot(rows: Sequence[Row], title: str, line: str) -> bytes:
    """Plot rebuilt accuracies as bars and reported ones as dots, on the split that was reported."""
    figure = new_figure(title, line, width=9, height=1.6 + 0.36 * len(rows))
    axes = figure.subplots()
    positions = range(len(rows))
    ours = [row.rebuilt for row in rows]
    there = [(place, value) for place, value in enumerate(ours) if value is not None]
    axes.barh([p for p, _ in there], [v for _, v in there], label="rebuilt", **bar_style(0))
    for place in (place for place, value in enumerate(ours) if value is None):
        axes.text(0.01, place, "not measured", va="center", color=SOFT, style="italic")
    reported = [
        (position, row.reported) for position, row in enumerate(rows) if row.reported is not None
    ]
    if reported:
        axes.plot(
            [v for _, v in reported],
            [p for p, _ in reported],
            label="reported",
            **line_style(1) | {"linestyle": "", "markersize": 8},
        )
    axes.set_yticks(positions, [row.system for row in rows])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), ylabel="system")
    axes.set_xlabel("accuracy (0 to 1; on the split in the column reported_on of comparison.csv)")
    add_legend(figure, axes)
    return png(figure)

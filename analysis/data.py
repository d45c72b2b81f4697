"""Finds problems of data sets: duplicates, pictures that two sets share, imbalanced classes."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.progress import track

from analysis.figures import new_figure
from analysis.inputs import Pictures
from analysis.options import report_folder
from analysis.output import record, report_skipped, this_command, write_report
from analysis.sheet import draw_pictures
from artifacts import DataError
from artifacts.figure_style import add_legend, bar_style

THUMBNAIL = 16
"""Width and height of the thumbnails that are compared, in pixels."""
LIKENESS = 0.97
"""Default of the minimum correlation of two thumbnails that count as alike."""
SEARCH_CHUNK = 4096
SHOWN_PAIRS = 12
MAX_BARS = 30


@dataclass(frozen=True)
class Pair:
    """Two pictures that look alike."""

    first: int
    second: int
    """Indices of the two among the pictures of all sets; `first` is the smaller one."""
    likeness: float
    """Correlation of the thumbnails, -1..1."""
    exact: bool
    """Whether every pixel is the same."""


def thumbnails(pictures: Pictures) -> npt.NDArray[np.float32]:
    """Return thumbnails of all pictures as unit vectors, whose inner products are correlations.

    Unreadable pictures become zeros and are added to `pictures.skipped`.

    Returns:
        N x 3 THUMBNAIL².
    """
    vectors = np.zeros((len(pictures), 3 * THUMBNAIL**2), np.float32)
    console = Console(stderr=True)
    places: Iterable[int] = range(len(pictures))
    if console.is_terminal:
        places = track(places, f"reading {pictures.source}", console=console)
    for i in places:
        try:
            image = Image.fromarray(pictures.pixels(i))
        except DataError as error:
            pictures.skipped[pictures.names[i]] = str(error)
            continue
        small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
        values = np.asarray(small, np.float32).ravel()
        values -= values.mean()
        vectors[i] = values / max(float(np.linalg.norm(values)), 1e-6)
    return vectors


def near_pairs(vectors: npt.NDArray[np.float32], likeness: float) -> list[tuple[int, int, float]]:
    """Find all pairs of vectors whose inner product is above `likeness` by an exact search.

    Returns:
        (first, second, inner product) with first < second, in the order of descending products.
    """
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(vectors), SEARCH_CHUNK):
        limits, values, places = index.range_search(vectors[start : start + SEARCH_CHUNK], likeness)
        bounds = limits.astype(np.int64)  # np.repeat refuses faiss's unsigned integers
        firsts = start + np.repeat(np.arange(len(bounds) - 1), bounds[1:] - bounds[:-1])
        later = places > firsts
        columns = (firsts[later], places[later], values[later])
        found += list(zip(*(column.tolist() for column in columns), strict=True))
    return sorted(found, key=lambda pair: -pair[2])


def duplicates(sets: Sequence[Pictures], likeness: float) -> list[Pair]:
    """Find pictures that look alike, within and across the sets.

    Args:
        sets: the sets, whose pictures are numbered consecutively.
        likeness: minimum correlation of the thumbnails.
    """
    vectors = np.concatenate([thumbnails(pictures) for pictures in sets])
    pairs = []
    for first, second, value in near_pairs(vectors, likeness):
        one, other = _pixels(sets, first), _pixels(sets, second)
        pairs.append(Pair(first, second, min(value, 1.0), bool(np.array_equal(one, other))))
    return pairs


def rows(pairs: Sequence[Pair], sets: Sequence[Pictures]) -> list[dict[str, Any]]:
    """Return the table, with a row per pair."""
    table = []
    for pair in pairs:
        row: dict[str, Any] = {}
        for key, place in (("first", pair.first), ("second", pair.second)):
            pictures, index = _locate(sets, place)
            row[f"{key}_set"] = pictures.source
            row[key] = pictures.names[index]
            row[f"{key}_label"] = pictures.label(index)
        table.append({**row, "likeness": pair.likeness, "exact": pair.exact})
    return table


def findings(pairs: Sequence[Pair], sets: Sequence[Pictures]) -> list[str]:
    """Describe the numbers of pairs within each set and across the sets."""
    lines = []
    alike: Counter[tuple[int, int]] = Counter()
    exact: Counter[tuple[int, int]] = Counter()
    for pair in pairs:
        owners = _owner(sets, pair.first), _owner(sets, pair.second)
        alike[owners] += 1
        exact[owners] += pair.exact
    for a, one in enumerate(sets):
        for b, other in enumerate(sets[a:], start=a):
            where = f"within {one.source}" if a == b else f"{one.source} with {other.source}"
            lines.append(
                f"{where}: {alike[a, b]} pairs look alike, {exact[a, b]} of them the same pixel by "
                "pixel"
            )
    return lines


def draw_balance(sets: Sequence[Pictures], footer: str) -> Figure:
    """Draw the number of pictures of each class, or of the most and least frequent classes."""
    classes = sets[0].classes
    counts = np.array([_counts(pictures) for pictures in sets])
    order = np.argsort(-counts[0], kind="stable")
    if len(order) > MAX_BARS:
        order = np.concatenate([order[: MAX_BARS // 2], order[-MAX_BARS // 2 :]])
    heading = "Pictures by class: " + ", ".join(f"{s.source} ({len(s):,})" for s in sets)
    figure = new_figure(heading, footer, width=9, height=1.8 + 0.28 * len(order))
    axes = figure.add_subplot(xlabel="pictures", ylabel="class")
    height = 0.8 / len(sets)
    for place, (pictures, line) in enumerate(zip(sets, counts, strict=True)):
        y = np.arange(len(order)) + place * height
        axes.barh(y, line[order], height, label=pictures.source, **bar_style(place))
    axes.set_yticks(np.arange(len(order)), [classes[i] for i in order])
    axes.invert_yaxis()
    if len(order) < len(classes):
        axes.set_ylabel(f"the {len(order)} most and least frequent of {len(classes)} classes")
    add_legend(figure, axes)
    return figure


def _counts(pictures: Pictures) -> npt.NDArray[np.int64]:
    """Return the number of pictures of each class; a picture with several counts in each."""
    if pictures.label_sets is not None:
        counts: npt.NDArray[np.int64] = pictures.label_sets.sum(axis=0)
        return counts
    known = pictures.labels[pictures.labels >= 0]
    return np.bincount(known, minlength=len(pictures.classes))


def draw_pairs(pairs: Sequence[Pair], sets: Sequence[Pictures], footer: str) -> Figure:
    """Draw pairs side by side: first the pairs across sets, then those within one."""
    # the sort is stable, so that both kinds stay in the order of their likeness
    ordered = sorted(pairs, key=lambda p: _owner(sets, p.first) == _owner(sets, p.second))
    lines = []
    for pair in ordered[:SHOWN_PAIRS]:
        cells = []
        for place in (pair.first, pair.second):
            pictures, index = _locate(sets, place)
            cells.append((pictures.pixels(index), f"{pictures.source}\n{pictures.label(index)}"))
        lines.append((f"likeness\n{pair.likeness:.3f}" + "\nexact" * pair.exact, cells))
    return draw_pictures(lines, "Pictures that look alike", footer)


def _owner(sets: Sequence[Pictures], place: int) -> int:
    """Return the number of the set that contains the picture with an index among all pictures."""
    return bisect_right([*accumulate(len(pictures) for pictures in sets)], place)


def _locate(sets: Sequence[Pictures], place: int) -> tuple[Pictures, int]:
    """Return the set that contains a picture, and the index of the picture in it."""
    owner = _owner(sets, place)
    return sets[owner], place - sum(len(pictures) for pictures in sets[:owner])


def _pixels(sets: Sequence[Pictures], place: int) -> npt.NDArray[np.uint8]:
    pictures, index = _locate(sets, place)
    return pictures.pixels(index)


@click.command("data")
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME:SPLIT",
    help="Data set to examine; repeat the option to find pictures that several sets share.",
)
@click.option(
    "--images",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures to examine; may be repeated, too.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="Number of pictures to use of each set; else all."
)
@click.option(
    "--likeness",
    type=click.FloatRange(0, 1, min_open=True),
    default=LIKENESS,
    show_default=True,
    help="Minimum correlation of the thumbnails of two pictures that count as alike.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
def command(
    datasets: tuple[str, ...],
    folders: tuple[Path, ...],
    limit: int | None,
    likeness: float,
    out: Path | None,
) -> None:
    """Find duplicates within and across data sets, and show how balanced the classes are.

    Writes data.csv (pairs that look alike), alike.png, classes.png and data.json.
    """
    sets = [Pictures.from_dataset(name, limit) for name in datasets]
    sets += [Pictures.from_folder(folder, limit) for folder in folders]
    if not sets:
        raise click.UsageError("give --dataset NAME:SPLIT or --images DIR, once or several times.")
    pairs = duplicates(sets, likeness)
    figures: dict[str, Figure] = {}
    if all(pictures.classes == sets[0].classes != () for pictures in sets):
        figures["classes"] = draw_balance(sets, this_command())
    if pairs:
        figures["alike"] = draw_pairs(pairs, sets, this_command())
    for pictures in sets:
        report_skipped(pictures)
    names = tuple(pictures.source.replace(":", "-").replace("/", "-") for pictures in sets)
    write_report(
        out or report_folder("data", names),
        "data",
        {"data": rows(pairs, sets)},
        figures,
        record([], sets[0], {"likeness": likeness, "sets": [s.source for s in sets]}),
        findings(pairs, sets),
    )

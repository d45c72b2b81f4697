"""The page about a model trained on your own pictures, as one HTML file."""

import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from artifacts import VitrineError
from artifacts.provenance import code_version
from training.pictures import measures
from training.pictures.measures import ClassFigures, Estimate, Share
from training.pictures.results import Ints, Results
from training.pictures.summary import summary
from training.pictures.suspects import Suspect, find_suspects
from training.pictures.thumbnails import thumbnail

PAGE_FILE = "index.html"
EN_DASH = "\N{EN DASH}"
PERCENT = "\N{NO-BREAK SPACE}%"
MAX_CARDS = 24
"""Maximum number of pictures that a section shows."""
MAX_LISTED = 300
"""Maximum number of file names that a list gives."""
MAX_MATRIX = 20
"""Number of classes up to which the confusion matrix is shown; above, the commonest confusions."""
MAX_PAIRS = 25
MAX_GROUPS = 6
"""Maximum number of groups of near-duplicates that are shown as pictures."""
MAX_GROUP = 4
"""Maximum number of pictures that are shown of one such group."""
OPEN_CLASSES = 30
"""Number of classes that the table shows before the reader opens the rest."""


@dataclass(frozen=True)
class Card:
    """A picture on the page, with what is written below it."""

    source: str
    """Data URL of the thumbnail; empty if the picture could not be read."""
    name: str
    lines: tuple[tuple[str, str], ...] = ()
    """Pairs of a caption and a text."""
    split: str = ""
    """Split of the picture; empty if the section says it."""

    @property
    def note(self) -> str:
        """The last line below the picture."""
        return f"{self.split}: {self.name}" if self.split else self.name


def write_page(folder: Path, results: Results) -> Path:
    """Write the page about a model as `folder`/index.html, and return its path.

    The page contains everything that it shows: thumbnails are inside it, and it has no scripts.

    Args:
        folder: created if it is missing.
        results: what was measured. There must be at least one test picture.

    Raises:
        VitrineError: the page cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("training.pictures", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, interval=interval, time_taken=time_taken)
    text = environment.get_template("page.html.j2").render(_content(results))
    path = folder / PAGE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VitrineError(f"{path}: cannot be written ({error}); choose another folder.") from None
    return path


def percent(value: float, digits: int = 1) -> str:
    """Return a share in 0..1 as a percentage; a dash for NaN.

    Only 0 is shown as 0, and only 1 as 100.
    """
    if math.isnan(value):
        return EN_DASH
    step = 10.0**-digits
    if 0 < value < step / 200:
        return f"< {step:.{digits}f}{PERCENT}"
    if 1 - step / 200 < value < 1:
        return f"> {100 - step:.{digits}f}{PERCENT}"
    return f"{100 * value:.{digits}f}{PERCENT}"


def interval(estimate: Estimate) -> str:
    """Return the 95 % interval as a range of percentages."""
    return f"{100 * estimate.low:.1f}{EN_DASH}{100 * estimate.high:.1f}{PERCENT}"


def time_taken(seconds: float) -> str:
    """Return a time with up to one decimal place, such as "0.4 s", "12 min" or "3.1 h"."""
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def _content(results: Results) -> dict[str, Any]:
    """Return the values that the template shows."""
    rows = results.test
    classes = measures.class_figures(results, rows)
    suspects = find_suspects(results)
    counts = None if results.multilabel else measures.confusions(results, rows)
    mean = measures.mean_average_precision if results.multilabel else measures.balanced_accuracy
    return {
        "results": results,
        "accuracy": measures.accuracy(results, rows),
        "mean": mean(results, rows),
        "summary": summary(results, classes, counts, suspects),
        "classes": sorted(classes, key=_weakest_first),
        "open_classes": OPEN_CLASSES,
        "matrix": _matrix(counts) if len(classes) <= MAX_MATRIX else None,
        "pairs": _pairs(results, counts),
        "reliability": measures.reliability(results, rows),
        "sizes": measures.by_size(results, rows),
        "mistakes": _mistakes(results),
        "mistaken": int((1 - measures.right(results, rows)).sum()),
        "suspects": [_suspect_card(results, s) for s in suspects[:MAX_CARDS]],
        "more_suspects": [
            (shown_name(results, s.path), s) for s in suspects[MAX_CARDS : MAX_CARDS + MAX_LISTED]
        ],
        "suspect_count": len(suspects),
        "duplicates": _duplicates(results),
        "unreadable": [(shown_name(results, p), why) for p, why in results.unreadable[:MAX_LISTED]],
        "root": printable(results.root),
        "code_version": code_version(),
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def shown_name(results: Results, path: Path) -> str:
    """Return a file's name as the page shows it: relative to the root if it lies below it."""
    full = results.root / path
    inside = full.is_relative_to(results.root)
    return printable(full.relative_to(results.root) if inside else full)


def printable(path: Path) -> str:
    """Return a path as text; bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _card(results: Results, path: Path, *lines: tuple[str, str], split: str = "") -> Card:
    return Card(thumbnail(results.root / path), shown_name(results, path), lines, split)


def _weakest_first(figures: ClassFigures) -> tuple[bool, float]:
    """Sort classes by recall; those without test pictures come last."""
    return figures.recall.total == 0, -1 if figures.recall.total == 0 else figures.recall.value


def _matrix(counts: Ints | None) -> list[list[Share]] | None:
    """Return the confusion matrix with each number as a share of the true class."""
    if counts is None:
        return None
    return [[Share(int(n), int(row.sum())) for n in row] for row in counts]


def _pairs(results: Results, counts: Ints | None) -> list[tuple[str, str, Share]]:
    """Return the commonest confusions: true class, predicted class, share of the true class."""
    if counts is None:
        return []
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    places = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)][:MAX_PAIRS]
    pairs = [divmod(int(place), len(counts)) for place in places]
    names = results.classes
    return [
        (names[true], names[other], Share(int(counts[true, other]), int(counts[true].sum())))
        for true, other in pairs
    ]


def _mistakes(results: Results) -> list[Card]:
    """Return the mistakes on test pictures of which the model is most certain.

    With several labels per picture, a mistake is a class that is wrongly given or not given.
    """
    rows, found = results.test, measures.decided(results, results.test)
    if not results.multilabel:
        wrong = np.flatnonzero(found != rows.labels)
        sure = rows.probabilities[wrong, found[wrong]]
        worst = wrong[np.argsort(-sure, kind="stable")][:MAX_CARDS].tolist()
        return [
            _card(
                results,
                rows.paths[i],
                ("label", results.classes[rows.labels[i]]),
                (f"model, {percent(rows.probabilities[i, found[i]])}", results.classes[found[i]]),
            )
            for i in worst
        ]
    places = np.argwhere(found != rows.labels)  # (M, 2), picture and class
    chances = rows.probabilities[places[:, 0], places[:, 1]]
    given = found[places[:, 0], places[:, 1]] == 1
    order = np.argsort(-np.where(given, chances, 1 - chances), kind="stable")[:MAX_CARDS]
    return [
        _card(
            results,
            rows.paths[picture],
            ("wrongly given" if found[picture, number] else "missed", results.classes[number]),
            ("probability", percent(float(rows.probabilities[picture, number]))),
        )
        for picture, number in places[order].tolist()
    ]


def _suspect_card(results: Results, suspect: Suspect) -> Card:
    return _card(
        results,
        suspect.path,
        (f"label, {percent(suspect.label_probability)}", suspect.label),
        (f"model, {percent(suspect.proposed_probability)}", suspect.proposed),
        split=suspect.split,
    )


def _duplicates(results: Results) -> list[tuple[list[Card], list[str]]]:
    """Return groups of near-duplicates: pictures to show, and names of the others."""
    groups = []
    for number, group in enumerate(results.duplicates[:MAX_LISTED]):
        shown = MAX_GROUP if number < MAX_GROUPS else 0
        cards = [_card(results, path) for path in group[:shown]]
        groups.append((cards, [shown_name(results, path) for path in group[shown:]]))
    return groups

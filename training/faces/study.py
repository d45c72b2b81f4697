"""The study of face verification: all systems on the same unseen people, as table and figures."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from artifacts import Artifact, DataError, Runtime
from artifacts.pictures import Picture
from artifacts.verification.curves import Rate, Summary, curve, summary
from artifacts.verification.pairs import Ints, Measured, Vectors, all_pairs
from training.faces.figures import det, distance_plots, nearest_pictures
from training.faces.thresholds import detect_faces, embed, load_people
from training.history import read_history
from training.recipe import Recipe
from training.study import origin_line, profile_changes

FMRS = (1e-2, 1e-3)
"""False-match rates at which the false-non-match rate is reported."""
HEAD = (
    "| system | validation loss | reported | people | AUC | EER | FNMR at FMR 0.01 "
    "| FNMR at FMR 0.001 | remark |"
)


@dataclass(frozen=True)
class SystemResult:
    """The measurements of one system on one collection of people."""

    recipe: Recipe
    vectors: Vectors
    """Embeddings N x D."""
    chips: Sequence[Picture] | Picture
    """The N faces before they are rescaled to the size of the network."""
    people: Ints
    """Number of the person on each of the N faces."""
    measured: Measured
    numbers: Summary

    @property
    def name(self) -> str:
        """Name of the artifact."""
        return self.recipe.artifact_name


def write_face_study(
    recipes: Sequence[Recipe], title: str, about: Sequence[str], folder: Path
) -> None:
    """Measure the artifacts of recipes and write verification.md, verification.csv and figures.

    The figures are det.png, distances.png, and for each system neighbours-NAME.png.

    Raises:
        DataError: The test split is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = [result for recipe in recipes for result in _measure(recipe)]
    main = [
        result for result in results if result.measured.source == f"{result.recipe.data.name}:test"
    ]
    (folder / "verification.md").write_text(markdown(results, title, about), encoding="utf-8")
    _write_csv(results, folder / "verification.csv")
    if not main:
        return
    line = origin_line(about)
    named = [(result.name, result.measured) for result in main]
    (folder / "distances.png").write_bytes(distance_plots(named, line))
    curves = [(result.name, result.measured.source, curve(result.measured)) for result in results]
    (folder / "det.png").write_bytes(det(curves, line))
    for result in main:
        vectors, chips, people = result.vectors, result.chips, result.people
        content = nearest_pictures(vectors, chips, people, result.name, line)
        (folder / f"neighbours-{result.name}.png").write_bytes(content)


def markdown(results: Sequence[SystemResult], title: str, about: Sequence[str]) -> str:
    """Return the comparison as a Markdown table.

    Args:
        results: The rows.
        title: Heading of the page.
        about: Notes above the table, a line each.
    """
    lines = [f"# {title}", "", *(f"- {line}" for line in about)]
    lines += [
        "- Pairs: all pairs of pictures of people who do not appear in training. Intervals: 95 %, "
        "bootstrap over people. FNMR: at the threshold that gives the stated FMR on these people.",
        "- AUC: probability that a same-person pair is nearer than a pair of different people; "
        "0.5 is chance.",
        "",
        HEAD,
        "|---" * HEAD.count(" |") + "|",
    ]
    for result in results:
        reported = result.recipe.reported.get("loss/validation")
        changes = profile_changes(result.recipe, Artifact.open(result.name).manifest.run)
        cells = [
            result.name,
            f"{_validation_loss(result.recipe):.4f}",
            "" if reported is None else f"{reported:.4f}",
            result.measured.source,
            _cell(result.numbers.auc),
            _cell(result.numbers.eer),
            *(_cell(result.numbers.fnmr[fmr]) for fmr in FMRS),
            "; ".join(filter(None, [changes, result.recipe.remark])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _measure(recipe: Recipe) -> list[SystemResult]:
    """Measure a system on the test people of its data and on the other collections available."""
    runtime = Runtime.open(Artifact.open(recipe.artifact_name))
    results = []
    for name in (f"{recipe.data.name}:test", *(f"{p}:all" for p in recipe.evaluation.people)):
        try:
            chips, people, missed = _faces(name, align=recipe.data.align)
        except DataError:
            if name.startswith(recipe.data.name):
                raise
            continue  # training has logged that this collection is missing
        vectors, _ = embed(runtime, chips, aligned=True)
        measured = all_pairs(vectors, people, name, "euclidean", missed)
        numbers = summary(measured, FMRS, seed=recipe.seed)
        results.append(SystemResult(recipe, vectors, chips, people, measured, numbers))
    return results


@cache
def _faces(name: str, *, align: bool) -> tuple[Sequence[Picture] | Picture, Ints, int]:
    """Return the faces of a collection, their people, and the number of pictures without a face."""
    images, people = load_people(name)
    if not align:
        return images, people, 0
    chips, found = detect_faces(images)
    return chips, people[found], len(images) - len(found)


def _validation_loss(recipe: Recipe) -> float:
    """Return the validation loss of the last epoch."""
    return float(read_history(Artifact.open(recipe.artifact_name))[-1]["validation_loss"])


def _cell(rate: Rate) -> str:
    return f"{rate.value:.3f} ({rate.interval[0]:.3f} to {rate.interval[1]:.3f})"


def _write_csv(results: Sequence[SystemResult], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        rates = ["auc", "eer", *(f"fnmr@fmr={fmr:g}" for fmr in FMRS)]
        ends = [rate + end for rate in rates for end in ("", "/low", "/high")]
        writer.writerow(
            ["system", "people", "pairs", "validation_loss", "reported_validation_loss", *ends]
        )
        for result in results:
            numbers = result.numbers
            values = [numbers.auc, numbers.eer, *(numbers.fnmr[fmr] for fmr in FMRS)]
            flat = [x for rate in values for x in (rate.value, *rate.interval)]
            writer.writerow(
                [
                    result.name,
                    result.measured.source,
                    len(result.measured.distances),
                    f"{_validation_loss(result.recipe):.6f}",
                    result.recipe.reported.get("loss/validation", ""),
                    *(f"{x:.6f}" for x in np.array(flat)),
                ]
            )

"""The study of face verification: every system on the same strangers, as table and pictures."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from artifacts import Artifact, DataError, Runtime
from artifacts.runtime import Picture
from artifacts.verification.curves import Rate, Summary, curve, summary
from artifacts.verification.pairs import Ints, Measured, Vectors, all_pairs
from training.faces.figures import det, distance_plots, nearest_pictures
from training.faces.thresholds import embed, everybody, faces_of
from training.history import read_history
from training.recipe import Recipe
from training.study import profile_changes

FMRS = (1e-2, 1e-3)
"""False-match rates at which the other is told."""
HEAD = (
    "| system | validation loss | reported | people | AUC | EER | FNMR at FMR 0.01 "
    "| FNMR at FMR 0.001 | remark |"
)


@dataclass(frozen=True)
class Told:
    """What one system makes of one collection of people."""

    recipe: Recipe
    vectors: Vectors
    """N x D."""
    chips: Sequence[Picture] | Picture
    """N faces as the system sees them, before they are rescaled."""
    people: Ints
    """N numbers."""
    measured: Measured
    numbers: Summary

    @property
    def name(self) -> str:
        """Of the artifact."""
        return self.recipe.artifact_name


def write_face_study(
    recipes: Sequence[Recipe], title: str, about: Sequence[str], folder: Path
) -> None:
    """Measure the artifacts of these recipes; write verification.md, .csv, and pictures.

    The pictures: det.png, distances.png, and for each system neighbours-NAME.png.

    Raises:
        DataError: the people of the test split are not at hand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = [each for recipe in recipes for each in _tell(recipe)]
    main = [each for each in told if each.measured.source == f"{each.recipe.data.name}:test"]
    (folder / "verification.md").write_text(markdown(told, title, about), encoding="utf-8")
    _write_csv(told, folder / "verification.csv")
    if not main:
        return
    named = [(each.name, each.measured) for each in main]
    (folder / "distances.png").write_bytes(distance_plots(named))
    curves = [(each.name, each.measured.source, curve(each.measured)) for each in told]
    (folder / "det.png").write_bytes(det(curves))
    for each in main:
        content = nearest_pictures(each.vectors, each.chips, each.people, each.name)
        (folder / f"neighbours-{each.name}.png").write_bytes(content)


def markdown(told: Sequence[Told], title: str, about: Sequence[str]) -> str:
    """The comparison as a table."""
    lines = [f"# {title}", "", *(f"- {line}" for line in about)]
    lines += [
        "- Pairs: every two pictures of people whom training never showed. Intervals: 95 %, "
        "bootstrap by person. FNMR: at the threshold where the FMR on these people is as said.",
        "- AUC: how often a pair of one person is nearer than a pair of two; 0.5 is chance.",
        "",
        HEAD,
        "|---" * HEAD.count(" |") + "|",
    ]
    for each in told:
        reported = each.recipe.reported.get("loss/validation")
        cells = [
            each.name,
            f"{_validation_loss(each.recipe):.4f}",
            "" if reported is None else f"{reported:.4f}",
            each.measured.source,
            _cell(each.numbers.auc),
            _cell(each.numbers.eer),
            *(_cell(each.numbers.fnmr[fmr]) for fmr in FMRS),
            "; ".join(filter(None, [profile_changes(each.recipe), each.recipe.remark])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _tell(recipe: Recipe) -> list[Told]:
    """One system on the test people of its data, and on those of the other collections at hand."""
    runtime = Runtime.open(Artifact.open(recipe.artifact_name))
    found = []
    for name in (f"{recipe.data.name}:test", *(f"{p}:all" for p in recipe.evaluation.people)):
        try:
            chips, people, missed = _faces(name, align=recipe.data.align)
        except DataError:
            if name.startswith(recipe.data.name):
                raise
            continue  # a collection of which training said that it is not at hand
        vectors, _ = embed(runtime, chips, aligned=True)
        measured = all_pairs(vectors, people, name, "euclidean", missed)
        numbers = summary(measured, FMRS, seed=recipe.seed)
        found.append(Told(recipe, vectors, chips, people, measured, numbers))
    return found


@cache
def _faces(name: str, *, align: bool) -> tuple[Sequence[Picture] | Picture, Ints, int]:
    """Faces of a collection, the person on each, and how many pictures had none."""
    images, people = everybody(name)
    if not align:
        return images, people, 0
    chips, found = faces_of(images)
    return chips, people[found], len(images) - len(found)


def _validation_loss(recipe: Recipe) -> float:
    """Of the last epoch."""
    return float(read_history(Artifact.open(recipe.artifact_name))[-1]["validation_loss"])


def _cell(rate: Rate) -> str:
    return f"{rate.value:.3f} ({rate.interval[0]:.3f} to {rate.interval[1]:.3f})"


def _write_csv(told: Sequence[Told], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        rates = ["auc", "eer", *(f"fnmr@fmr={fmr:g}" for fmr in FMRS)]
        ends = [rate + end for rate in rates for end in ("", "/low", "/high")]
        writer.writerow(
            ["system", "people", "pairs", "validation_loss", "reported_validation_loss", *ends]
        )
        for each in told:
            numbers = each.numbers
            values = [numbers.auc, numbers.eer, *(numbers.fnmr[fmr] for fmr in FMRS)]
            flat = [x for rate in values for x in (rate.value, *rate.interval)]
            writer.writerow(
                [
                    each.name,
                    each.measured.source,
                    len(each.measured.distances),
                    f"{_validation_loss(each.recipe):.6f}",
                    each.recipe.reported.get("loss/validation", ""),
                    *(f"{x:.6f}" for x in np.array(flat)),
                ]
            )

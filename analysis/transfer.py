"""Activation sparsity of networks trained from scratch, frozen, and fine-tuned, layer by layer.

A study of transfer learning reported three findings about the shares of exact zeros after the
activations of three networks of one architecture. This analysis tests them on the given models and
pictures, each by a criterion that was fixed in advance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from analysis import sparsity
from analysis.answers import Floats
from analysis.options import CommonOptions, common_options
from analysis.output import record, report_skipped, this_command, title, write_report
from artifacts import VitrineError
from serving.schemas import Inspection, ModelInfo

LATE_LAYER = 15
"""Layer, counted from 1, from which on the network trained from scratch should have fewer zeros."""


@dataclass(frozen=True)
class Finding:
    """A claim, and the result of its test."""

    claim: str
    verdict: str
    """confirmed, refuted, or not testable."""
    numbers: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.verdict}: {self.claim} ({self.numbers})"


def count_agreeing(frozen: Inspection, finetuned: Inspection) -> int:
    """Return the number of layers, from the input on, with equal shares in every channel."""
    pairs = zip(frozen.layers, finetuned.layers, strict=True)
    same = [one.channel_zeros == other.channel_zeros for one, other in pairs]
    return len(same) if all(same) else same.index(False)


def judge(
    scratch: Inspection, frozen: Inspection, finetuned: Inspection, *, whole: bool
) -> list[Finding]:
    """Test the three findings.

    Args:
        scratch: network that was trained from random weights.
        frozen: pre-trained network of which only the head was trained.
        finetuned: network that started from `frozen`, of which the last or all layers were trained.
        whole: whether all layers of `finetuned` were trained.
    """
    a, b, d = (
        np.array([layer.zeros for layer in each.layers]) for each in (scratch, frozen, finetuned)
    )
    count = count_agreeing(frozen, finetuned)
    return [
        _same_until_trained(frozen, count, whole=whole),
        _frozen_has_more(b[count:], d[count:]),
        _scratch_differs(a, b, d),
    ]


def _same_until_trained(frozen: Inspection, count: int, *, whole: bool) -> Finding:
    layers = frozen.layers
    where = f"; {layers[count].name} is the first that differs" if count < len(layers) else ""
    untestable = whole or count == len(layers)  # no boundary between frozen and trained layers
    verdict = "not testable" if untestable else "confirmed" if count else "refuted"
    return Finding(
        "frozen and fine-tuned agree exactly up to the first layer that trains",
        verdict,
        f"{count} of {len(layers)} layers agree in every channel{where}"
        + "; all layers of the fine-tuned one were trained" * whole,
    )


def _frozen_has_more(b: Floats, d: Floats) -> Finding:
    claim = "in the layers that were trained, the frozen network has more zeros than the fine-tuned"
    if not len(b):
        return Finding(claim, "not testable", "no layer differs")
    return Finding(
        claim,
        "confirmed" if b.mean() > d.mean() and b[-1] > d[-1] else "refuted",
        f"mean {b.mean():.4f} against {d.mean():.4f}, last layer {b[-1]:.4f} against {d[-1]:.4f}; "
        f"more in {int((b > d).sum())} of {len(b)} layers",
    )


def _scratch_differs(a: Floats, b: Floats, d: Floats) -> Finding:
    claim = (
        "the network trained from scratch differs from both everywhere, and from layer "
        f"{LATE_LAYER} on has fewer zeros"
    )
    if len(a) < LATE_LAYER:
        return Finding(claim, "not testable", f"there are {len(a)} layers")
    differs = int(((a != b) & (a != d)).sum())
    late = np.stack([a, b, d])[:, LATE_LAYER - 1 :]
    fewer = int((late[0] < late[1:].min(axis=0)).sum())
    means = late.mean(axis=1)
    holds = differs == len(a) and means[0] < means[1:].min()
    return Finding(
        claim,
        "confirmed" if holds else "refuted",
        f"it differs in {differs} of {len(a)} layers; from layer {LATE_LAYER} on its mean is "
        f"{means[0]:.4f} against {means[1]:.4f} (frozen) and {means[2]:.4f} (fine-tuned), fewer "
        f"than both in {fewer} of {late.shape[1]} layers",
    )


def _check(infos: Sequence[ModelInfo], measured: Sequence[Inspection]) -> None:
    shapes = {tuple((x.operator, x.channels) for x in each.layers) for each in measured}
    if len(shapes) > 1:
        names = ", ".join(info.name for info in infos)
        raise VitrineError(
            f"{names} are not of one architecture: their activations differ. Choose three networks "
            "of the same architecture."
        )


@click.command("transfer")
@click.option(
    "--scratch", required=True, metavar="NAME", help="Model that was trained from random weights."
)
@click.option(
    "--frozen",
    required=True,
    metavar="NAME",
    help="Pre-trained model of which only the head was trained.",
)
@click.option(
    "--finetuned",
    required=True,
    metavar="NAME",
    help="Model that was trained further from the frozen one.",
)
@common_options
def command(scratch: str, frozen: str, finetuned: str, options: CommonOptions) -> None:
    """Test three findings of a study on activation sparsity and transfer learning.

    The findings are: (1) The frozen and the fine-tuned network have the same zeros up to the first
    layer that was trained. (2) From there on, the frozen network has more zeros, in the mean over
    these layers and in the last one. (3) The network trained from scratch differs from both in
    every layer, and it has fewer zeros from layer 15 on, in the mean over these layers.

    Writes transfer.png, transfer.csv (a row per model and layer) and transfer.json (the findings,
    each confirmed, refuted or not testable, with its numbers).
    """
    predictor = options.predictor()
    infos = [predictor.model_info(name) for name in (scratch, frozen, finetuned)]
    pictures = options.pictures()
    measured = sparsity.measure(predictor, [info.name for info in infos], pictures)
    report_skipped(pictures)
    _check(infos, measured)
    trained = infos[2].parameters
    whole = trained is not None and trained.trainable == trained.total
    found = judge(*measured, whole=whole)
    settings: dict[str, Any] = {"findings": [vars(each) for each in found], "late": LATE_LAYER}
    write_report(
        options.folder("transfer", (scratch, frozen, finetuned)),
        "transfer",
        {"transfer": sparsity.rows(measured, synthetic=pictures.synthetic)},
        {
            "transfer": sparsity.draw(
                measured, title("Zeros and transfer", infos, pictures), this_command()
            )
        },
        record(infos, pictures, settings),
        [str(each) for each in found],
    )

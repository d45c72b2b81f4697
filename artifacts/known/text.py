"""Says in words what verdicts and sets of classes are worth, for cards and the command line."""

from typing import TYPE_CHECKING

from artifacts.known.record import Rate

if TYPE_CHECKING:
    from artifacts.manifest import Manifest


def known_text(manifest: "Manifest") -> list[str]:
    """Return Markdown paragraphs on the verdicts of a model."""
    record = manifest.known
    if record is None:
        return ["Its answers carry no verdict on whether it knows what a picture shows."]
    if record.offered:
        about = (
            f"Answers carry a verdict: `known`, or `cannot_say` if the score of a picture is below "
            f"{record.threshold:g}. The score is the share of {record.threshold_on} that look no "
            f"more familiar, so that {record.keep:.0%} of pictures like them are kept. "
        )
    else:
        about = (
            "Answers carry no verdict: no method refused at least half of the pictures of other "
            f"things while keeping {record.keep:.0%} of the known ones. "
        )
    areas = ", ".join(f"{method} {value:.3f}" for method, value in record.areas.items())
    about += (
        f"Method: {record.method}, fitted on {record.fitted_on}. Mean area under the ROC curve "
        f"between known pictures and declared outliers that nothing was fitted on: {areas}."
    )
    kept = ["| known pictures | number | kept (95 %) |", "|---|---|---|"]
    kept += [f"| {r.data} | {r.pictures:,} | {_share(r)} |" for r in record.kept]
    refused = [
        "| pictures of other things | number | refused (95 %) | fitted without this kind |",
        "|---|---|---|---|",
    ]
    for rate in record.refused:
        alone = "" if rate.left_out is None else f"{rate.left_out:.2f}"
        alone = alone if rate.declared else "always: not seen before"
        refused.append(f"| {rate.data} | {rate.pictures:,} | {_share(rate)} | {alone} |")
    limits = (
        "The detector was chosen and fitted with other pictures of the declared kinds. The last "
        "column says how much of a kind is refused by a detector that was fitted without it, which "
        "is what to expect of pictures that are as near to the known ones and of no kind listed."
    )
    return [about, "\n".join(kept), "\n".join(refused), limits]


def sets_text(manifest: "Manifest") -> list[str]:
    """Return Markdown paragraphs on the sets of classes of a model."""
    record = manifest.sets
    if record is None:
        return ["It has no sets of classes that hold the truth with a chosen frequency."]
    about = (
        f"Sets of classes that hold the truth with a chosen frequency were calibrated on "
        f"{record.data} ({record.pictures:,} pictures). A set is empty if no class is probable "
        "enough, which is bound to happen where the frequency is below the accuracy."
    )
    if not record.checked:
        return [about]
    rows = [
        "| frequency asked | measured on | reached (95 %) | mean size | empty |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {c.asked:g} | {c.data}, {c.pictures:,} pictures | {c.reached:.4f} ({c.low:.4f} to "
        f"{c.high:.4f}) | {c.mean_size:.2f} | {c.empty:.4f} |"
        for c in record.checked
    ]
    return [about, "\n".join(rows)]


def _share(rate: Rate) -> str:
    return f"{rate.share:.3f} ({rate.low:.3f} to {rate.high:.3f})"

"""Writes model cards (Mitchell et al. 2019, Model Cards for Model Reporting) from manifests."""

from artifacts.card_figures import figures_text
from artifacts.input_policy import InputPolicy
from artifacts.known.text import known_text, sets_text
from artifacts.manifest import FACES, Manifest

CARD_FILE = "card.md"
SYNTHETIC = "**Trained on generated pictures: for trying things out, not for use.**"
USES = {
    "cifar10": "pictures that show one thing of its classes, such as those of CIFAR-10",
    "stanford_cars": "photographs of one car, cut to it, of the makes and years among its classes",
    "mnist": "one handwritten digit, light on dark, that fills the picture",
}
"""The pictures that a classifier is meant for, by the data set it was trained on."""
USES_OF_DRAWINGS = (
    "one handwritten digit on a plain ground, dark on light or light on dark, anywhere on the "
    "picture"
)
USES_OF_FACES = "two faces, or one and the people enrolled, in pictures of people who agreed to it"
TERMS = {
    "cifar10": "no licence was given; its pictures were gathered from the web, in the data set 80 "
    "Million Tiny Images, which its authors withdrew in 2020",
    "mnist": "Creative Commons BY-SA 3.0; made of data of NIST",
    "stanford_cars": "for research that is not commercial; the photographs belong to their owners",
    "faces/celeba": "for research that is not commercial; the photographs belong to their owners",
    "faces/orl": "free for research that names AT&T Laboratories Cambridge",
}
"""What the publishers allow, by data set. Whether this binds a model is a legal question."""


def write_card(manifest: Manifest) -> str:
    """Return a model card in Markdown: use, origin, data and its terms, figures and limits."""
    blocks = [
        [f"# {manifest.name}", *([f"{manifest.title}."] if manifest.title else [])],
        [SYNTHETIC] if manifest.synthetic else [],
        ["## Use", *_use(manifest)],
        ["## Origin", "\n".join(_origin(manifest))],
        ["## Data and its terms", "\n".join(_terms(manifest))],
        ["## Figures", *figures_text(manifest)],
        ["## Pictures of other things", *known_text(manifest)] if manifest.known else [],
        ["## Sets of classes", *sets_text(manifest)] if manifest.sets else [],
        ["## Limits", _limits(manifest)],
    ]
    return "\n\n".join(part for block in blocks for part in block) + "\n"


def _use(manifest: Manifest) -> list[str]:
    shown = "pictures like those it was made for"
    if manifest.route == FACES:
        shown = USES_OF_FACES
    elif manifest.input.drawing:
        shown = USES_OF_DRAWINGS
    elif manifest.dataset:
        shown = USES.get(manifest.dataset.name, shown)
    if manifest.task == "embedding":
        about = f"Meant to compare {shown}. Not meant to decide about people without a person."
        return [about, f"- Input: {_input(manifest)}"]
    several = ", of which a picture may show several or none" * (manifest.task == "multi-label")
    classes = f"- {len(manifest.classes)} classes{several}: {', '.join(manifest.classes)}."
    about = (
        f"Meant for {shown}, to learn, compare and build on. Not meant for other things, nor for "
        "decisions that nobody looks at."
    )
    return [about, f"- Input: {_input(manifest)}\n{classes}"]


def _origin(manifest: Manifest) -> list[str]:
    """Describe how the model was made, its size, and what its source reported, if known."""
    run, weights = manifest.run, manifest.parameters
    lines = []
    if run:
        lines.append(
            f"- Made by `{run.command}`: seed {run.seed}, {run.epochs} epochs, precision "
            f"{run.precision}, {run.seconds:,.0f} s on {run.hardware}."
        )
    if weights:
        trained = f", of which {weights.trainable:,} were trained" if run else ""
        lines.append(f"- Weights: {weights.total:,}{trained}.")
    if manifest.teacher:
        learned = "embeddings" if manifest.task == "embedding" else "answers"
        lines.append(
            f"- Learned the {learned} of `{manifest.teacher.name}`: {manifest.teacher.title}."
        )
    if manifest.recipe and manifest.recipe.study:
        lines.append(f"- Rebuilds a system of the study `{manifest.recipe.study}`.")
    lines += [f"- Reported by its source: {k} {v}." for k, v in manifest.reported.items()]
    return lines or ["- Imported; its manifest says no more."]


def _terms(manifest: Manifest) -> list[str]:
    data = manifest.dataset
    lines = []
    if data:
        lines.append(
            f"- Trained on {data.name}: {data.train_samples:,} pictures, and "
            f"{data.validation_samples:,} held out to validate."
        )
        if data.divided:
            tested = [m.samples for m in manifest.metrics if (m.split, m.size) == ("test", None)]
            lines.append(
                f"- {data.name} has no test split of its own. The figures of the split test are "
                f"of {max(tested, default=0):,} of its pictures, chosen by a hash of their content "
                "and held out of training."
            )
    else:
        lines.append("- What it was trained on, its manifest does not say.")
    splits = [metric.split.partition(":")[0] for metric in manifest.metrics]
    used = dict.fromkeys([*([data.name] if data else []), *splits])
    lines += [f"- {name}: {TERMS[name]}." for name in used if name in TERMS]
    if manifest.synthetic:
        lines.append("- Its pictures were generated by this project, under its licence.")
    return lines


def _limits(manifest: Manifest) -> str:
    if manifest.task == "embedding":
        return (
            "The rates hold for people and pictures like those they were measured on; other "
            "cameras, ages and peoples have others, and whether they are alike for all was not "
            "measured. It does not tell a face from a picture of one."
        )
    if manifest.task == "multi-label":
        return (
            "It knows its classes alone, and also finds some of them in pictures of other things; "
            "its probabilities are independent, do not sum to one, and are calibrated for pictures "
            "like those it was validated on. If the classes are more or less frequent elsewhere, "
            "other thresholds are better."
        )
    return (
        "It names one of its classes for any picture, also for pictures of other things; the "
        "probabilities are calibrated for pictures like those it was validated on."
    )


def _input(manifest: Manifest) -> str:
    policy = manifest.input
    low, high = policy.accepted_side
    drawing = "their drawing normalised as the digits of MNIST are; those without one are "
    return (
        f"pictures of {low} to {high} px a side, {drawing if policy.drawing else ''}"
        f"{_preparation(policy)}{_method(policy)}."
    )


def _preparation(policy: InputPolicy) -> str:
    """Say in words how a picture becomes an input of the graph."""
    if policy.fixed_size is None:
        if policy.native_side is None:
            return "shown as they are"
        least, greatest = policy.native_side
        first = policy.detail and f"shrunk to {policy.detail} px on the shorter side, and "
        squashed = policy.max_aspect and f" (up to {policy.max_aspect:g}:1)"
        return (
            f"{first or ''}rescaled with their aspect ratio{squashed or ''} to the area of a "
            f"square of {least} to {greatest} px"
        )
    size = _pixels(policy.fixed_size)
    if policy.resize == "crop" and isinstance(policy.resize_to, int):
        return (
            f"rescaled to {policy.resize_to} px on the shorter side, cropped to the middle {size}"
        )
    box = _pixels(policy.resize_to) if isinstance(policy.resize_to, tuple) else size
    cropped = f", cropped to the middle {size}" if box != size else ""
    if policy.resize == "squash":
        return f"squashed to {box}{cropped}"
    if policy.resize == "crop":
        return f"rescaled with their aspect ratio to cover {box}, cropped to the middle {size}"
    colour = ", ".join(map(str, policy.pad_colour))
    return (
        f"rescaled with their aspect ratio to fit into {box}, centred on {size} of the colour "
        f"({colour})"
    )


def _method(policy: InputPolicy) -> str:
    """Name the interpolation, unless it is the one that is always used for models trained here."""
    if policy.interpolation == "bicubic":
        return ""
    plain = "" if policy.antialias or policy.interpolation == "nearest" else " without antialiasing"
    return f" (interpolation: {policy.interpolation}{plain})"


def _pixels(size: tuple[int, int]) -> str:
    """Write a size (height, width) as people do."""
    return f"{size[1]}x{size[0]} px"

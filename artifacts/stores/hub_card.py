"""The model card as the Hugging Face Hub reads it: `README.md`, front matter and then the card.

The front matter is YAML. JSON is YAML, too, so each field is written as JSON. `card.md`, which the
manifest holds the hash of, stays as it is.
"""

import json
from typing import Any

from artifacts.artifact import INT8_FILE
from artifacts.card import write_card
from artifacts.manifest import Manifest, Metric

README_FILE = "README.md"
UNKNOWN = "unknown"
"""What the Hub calls a licence that nobody has stated."""
LICENCES = {"mnist": "cc-by-sa-3.0", "stanford_cars": "other", "faces/celeba": "other"}
"""The Hub's name for the terms of data sets; `artifacts.card.TERMS` has them in words."""
TASK_NAMES = {
    "image-classification": "Image Classification",
    "image-feature-extraction": "Image Feature Extraction",
}
METRICS = {
    "accuracy": "accuracy",
    "loss": "loss",
    "ece": "ece",
    "map": "mean_average_precision",
    "f1-macro": "f1",
    "f1-micro": "f1",
    "eer": "eer",
}
"""The Hub's kind of each metric that is listed; the card has the others."""


def hub_card(manifest: Manifest, licence: str | None = None) -> str:
    """Return the content of `README.md`.

    Args:
        manifest: of the artifact.
        licence: a name of the Hub, such as `mit`; by default that of the data's terms.
    """
    fields = front_matter(manifest, licence)
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", "", write_card(manifest)])


def front_matter(manifest: Manifest, licence: str | None = None) -> dict[str, Any]:
    """Return the fields of the front matter; see `hub_card`."""
    task = "image-feature-extraction" if manifest.task == "embedding" else "image-classification"
    if licence is None:
        default = "mit" if manifest.synthetic else UNKNOWN
        licence = LICENCES.get(manifest.dataset.name, default) if manifest.dataset else default
    tags = ["vitrine", "onnx", task, *(["multi-label"] if manifest.task == "multi-label" else [])]
    if INT8_FILE in manifest.files:
        tags.append("int8")
    fields: dict[str, Any] = {
        "license": licence,
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": tags,
    }
    listed = [metric for metric in manifest.metrics if metric.name in METRICS]
    if listed:
        results = _results(manifest, listed, task)
        fields["metrics"] = sorted({METRICS[metric.name] for metric in listed})
        fields["model-index"] = [{"name": manifest.name, "results": results}]
    return fields


def _results(manifest: Manifest, listed: list[Metric], task: str) -> list[dict[str, Any]]:
    """Return the entries of a model-index, one for each split and size of pictures.

    The split of a figure may name a data set of its own, `NAME:SPLIT`.
    """
    own = manifest.dataset.name if manifest.dataset else "unnamed"
    groups = dict.fromkeys((metric.split, metric.size) for metric in listed)
    results = []
    for split, size in groups:
        name, _, part = split.rpartition(":")
        shown = (name or own) + (f", pictures of {size}" if size else "")
        results.append(
            {
                "task": {"type": task, "name": TASK_NAMES[task]},
                "dataset": {"type": name or own, "name": shown, "split": part},
                "metrics": [
                    {"type": METRICS[m.name], "name": m.name, "value": m.value}
                    for m in listed
                    if (m.split, m.size) == (split, size)
                ],
            }
        )
    return results

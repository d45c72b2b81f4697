"""Trackers of experiments, through accelerate: histories, and at the end pictures and confusion.

Without `--log-with` there are none, and training does no more than before. Nothing is sent over a
network unless the environment asks for it: W&B writes to a folder unless `WANDB_MODE` says
otherwise, and MLflow to a local database unless `MLFLOW_TRACKING_URI` names a server.
"""

import importlib.util
import io
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from accelerate import Accelerator
from matplotlib.figure import Figure
from PIL import Image

from artifacts import Artifact, Runtime, VitrineError
from artifacts.distribution import install_command
from training.data import Splits
from training.evaluate import run_logits
from training.plots import png
from training.recipe import Recipe

LOGS = Path("logs")
"""Folder of what trackers write."""
MLFLOW_DATABASE = f"sqlite:///{LOGS}/mlflow.sqlite3"
"""Where MLflow writes unless the environment names another place."""
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""The package that each tracker needs."""
PICTURES = 1000
"""Maximum number of validation pictures of the confusion matrix."""
SAMPLES = 16
"""Number of pictures that are shown with what the model says about them."""
NAMED_CLASSES = 25
"""Maximum number of classes whose names and counts fit into a figure."""


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of these trackers are installed.

    Raises:
        VitrineError: One of them is not.
    """
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise VitrineError(
                f"{name} is not installed; install it: {install_command(name)}, or leave out "
                f"--log-with {name}."
            )


def start_tracking(accelerator: Accelerator, recipe: Recipe) -> None:
    """Begin a run in each tracker that the accelerator was made with, if any.

    Raises:
        VitrineError: A tracker refuses, such as one whose server does not answer.
    """
    if not accelerator.log_with:
        return
    LOGS.mkdir(exist_ok=True)  # MLflow does not make the folder of its database
    name = recipe.artifact_name
    settings = {key: value for key, value in _flat(asdict(recipe)).items() if value is not None}
    plain = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in settings.items()}
    mlflow = {"run_name": name}
    if os.environ.setdefault("MLFLOW_TRACKING_URI", MLFLOW_DATABASE) == MLFLOW_DATABASE:
        mlflow["logging_dir"] = str(LOGS.absolute() / "mlflow")  # pictures; else in ./mlruns
    options = {
        "wandb": {
            "id": name,
            "name": name,
            "resume": "allow",
            "dir": str(LOGS),
            "mode": os.environ.get("WANDB_MODE", "offline"),
        },
        "mlflow": mlflow,
    }
    try:
        accelerator.init_trackers("vitrine", config=plain, init_kwargs=options)
    except Exception as error:  # each tracker has errors of its own
        raise VitrineError(
            f"{name}: a tracker could not begin ({error}); change what it asks for, or leave out "
            "its --log-with."
        ) from error


def finish_tracking(accelerator: Accelerator, artifact: Artifact, splits: Splits) -> None:
    """Show pictures and the confusion matrix of a finished run, and end it in each tracker."""
    if not accelerator.trackers:
        return
    for name, figure in _figures(artifact, splits).items():
        _show(accelerator, name, figure)
    accelerator.end_training()


def _flat(settings: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested settings by dotted names."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _show(accelerator: Accelerator, name: str, figure: Figure) -> None:
    image = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))[None]  # 1 x H x W x 3
    for tracker in accelerator.trackers:
        if tracker.name == "mlflow":
            tracker.log_figure(figure, f"{name}.png")
        elif tracker.name == "tensorboard":
            tracker.log_images({name: image}, dataformats="NHWC")
        else:
            tracker.log_images({name: image})


def _figures(artifact: Artifact, splits: Splits) -> dict[str, Figure]:
    """Draw validation pictures with what the exported graph says, and its confusion matrix.

    There are none of embedding and multi-label models.
    """
    if artifact.manifest.task != "classification":
        return {}
    validation, classes = splits.validation, artifact.manifest.classes
    chosen = np.linspace(0, len(validation) - 1, min(PICTURES, len(validation))).astype(int)
    pictures = [validation.originals[i] for i in chosen]
    truth = validation.labels.numpy()[chosen]
    predicted = run_logits(Runtime.open(artifact), pictures).argmax(1)
    shown = np.linspace(0, len(chosen) - 1, min(SAMPLES, len(chosen))).astype(int)
    samples = [
        (pictures[i], classes[predicted[i]], "" if predicted[i] == truth[i] else classes[truth[i]])
        for i in shown
    ]
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (truth, predicted), 1)
    return {"samples": _draw_samples(samples), "confusion": _draw_confusion(counts, classes)}


def _draw_samples(samples: Sequence[tuple[npt.NDArray[np.uint8], str, str]]) -> Figure:
    """Draw pictures, each with the class that the model names and, if that is wrong, the true one.

    Args:
        samples: Each a picture H x W x 3, the predicted class, and the true one or "".
    """
    figure = Figure(figsize=(8, 9), layout="constrained")
    side = -(-len(samples) // 4)
    places = figure.subplots(side, 4, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, (picture, predicted, true) in zip(places, samples, strict=False):
        axes.imshow(picture)
        wrong = f"\nis {true}" if true else ""
        axes.set_title(predicted + wrong, fontsize=8, color="#D55E00" if true else "black")
    return figure


def _draw_confusion(counts: npt.NDArray[np.int_], classes: Sequence[str]) -> Figure:
    """Draw a matrix of counts, C x C: rows are the true classes, columns the predicted ones."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(counts, cmap="Blues"), label="pictures")
    axes.set(xlabel="predicted", ylabel="true", title=f"{counts.sum():,} validation pictures")
    if len(classes) <= NAMED_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        middle = counts.max() / 2
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if count > middle else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=7)
    return figure

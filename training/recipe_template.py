"""Writes a commented recipe for one's own pictures, to be edited and trained."""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artifacts.datasets import load
from artifacts.datasets.base import data_root, spread
from artifacts.pictures import Picture
from artifacts.progress import track

MEASURED = 60
"""Maximum number of pictures that are decoded to choose a size."""
SIDES = (96, 224)
"""Minimum and maximum side of the square, in px, whose area pictures are resized to."""
EPOCHS = (10, 60)
BATCH, STEPS = 32, 3000
"""Pictures per step, and the number of steps that the number of epochs aims at."""
TABLES = {".csv", ".tsv", ".parquet"}

TEMPLATE = """\
# A recipe for the pictures in {pictures}: {training:,} to train on, {classes:,} classes.
# Train it with:     vitrine train run {file} --profile cpu
# Try it in seconds: vitrine train run {file} --profile smoke
# `vitrine train show {file}` prints all settings, with those that are left at their defaults.

# Name of the model: up to 64 of a-z, 0-9, '.', '_' and '-'.
name: {name}
# What the model does, in one line of text, for its card and the list of models.
title: {title}

data:
  # Where the pictures are. image_folder/PATH is a folder with a folder per class, table/PATH a
  # table of pictures and labels. A PATH that starts with ./ or ../ is relative to this file;
  # another relative one is below the folder that VITRINE_DATA names.
  name: {data}
  # Number of training pictures that are not trained on, but used to watch the training and to
  # calibrate the model: at least 1. {validation_note}
  validation: {validation}
  # Height and width in px to which pictures are resized for training. The pictures measured have a
  # median width of {width} px and height of {height} px.
  size: [{train_height}, {train_width}]
  # Mean and standard deviation of the colours that the network expects. Leave them as they are for
  # this network.
  mean: [0.5, 0.5, 0.5]
  std: [0.5, 0.5, 0.5]

network:
  # One of: {networks}. backbone is a network that has learned from ImageNet.
  name: backbone
  options:
    # The network, by timm's name. This one is small, and its weights are installed already.
    model: tf_efficientnet_lite0
    # package: those installed; imagenet: download those of another model; none: random weights; or
    # the path of a file, ./FILE relative to this one.
    weights: package
    # head: train the last layer only, which takes minutes. last-block, last-stage, all: train more,
    # which takes longer and often recognises more; `all` needs `cache: none`.
    train: head
    # Fraction of the features that are dropped at random while training, 0 to below 1.
    dropout: 0.2

# The side in px (smallest, largest) of a square of the area at which the model looks at pictures;
# others are scaled into this range. It should fit data.size.
native_side: [{low}, {high}]
# How often all pictures are shown. More takes longer, and too many make the model worse on new
# pictures.
epochs: {epochs}
# Pictures per step. Lower it if the memory does not suffice.
batch_size: {batch}

augment:
  # none, random or alternating: whether pictures are mirrored left to right while training. Set it
  # to none if left and right matter, as in writing.
  flip: random

optimizer:
  # adam, adamw, sgd or muon.
  name: adamw
  # The learning rate: how far each step changes the weights. Lower it if training diverges.
  lr: 1.0e-3
  # constant, cosine, linear or exponential: how the learning rate changes over the run.
  schedule: cosine
  # Fraction of the run, 0 to 1, over which the learning rate rises at the beginning.
  warmup: 0.05

loss:
  # Fraction of each label that is spread over all classes, 0 to below 1; it helps if some labels
  # are wrong.
  label_smoothing: 0.05

# none, fp32, bf16 or fp16: precision in which the outputs of the layers that do not train are kept
# on disk, so that they are computed once. It needs flips to be the only augmentation.
cache: fp32
# Start of all random numbers; another number gives a slightly different model.
seed: 0

# What each --profile changes: full for a GPU, cpu for a few cores, smoke for a trial in seconds on
# generated pictures.
profiles:
  full: {{}}
  cpu: {{}}
  smoke:
    data: {{name: synthetic/objects, validation: 200, size: null}}
    network: {{options: {{weights: none}}}}
    native_side: null
    fixed_size: [32, 32]
    epochs: 1
"""


@dataclass(frozen=True)
class Sizes:
    """Sizes chosen for a set of pictures, in px."""

    median: tuple[int, int]
    """Median (width, height) of the pictures."""
    training: tuple[int, int]
    """(width, height) to resize to: the median aspect ratio, in multiples of 8."""
    side: int
    """Side of a square of the area of `training`."""


def recipe_text(pictures: Path, out: Path, taken: Sequence[str], networks: Sequence[str]) -> str:
    """Return a recipe for pictures, which `vitrine train run` takes as it is.

    Args:
        pictures: A folder of class folders, or a table.
        out: The file that will be written, to which paths are relative.
        taken: Names that the model may not have.
        networks: Names of the networks, for a comment.

    Raises:
        DataError: The pictures cannot be read or divided.
    """
    data = data_name(pictures, out)
    kind, _, _ = data.partition("/")
    source = load(f"{kind}/{pictures.absolute()}", "train")
    sizes = choose_sizes(source.images)
    training = len(source) - source.validation
    own = source.validation or max(1, min(training - 1, max(len(source.classes), training // 7)))
    note = "About one in seven is enough."
    if source.validation:
        note = "It has no effect here: the validation pictures in the folder or table are used."
    epochs = min(max(math.ceil(STEPS * BATCH / max(training, 1)), EPOCHS[0]), EPOCHS[1])
    return TEMPLATE.format(
        pictures=pictures,
        training=training,
        classes=len(source.classes),
        file=out,
        name=model_name(out.stem, taken),
        title=_quoted(f"{pictures.stem}: {', '.join(source.classes)}"[:100]),
        data=_quoted(data),
        validation=own,
        validation_note=note,
        width=sizes.median[0],
        height=sizes.median[1],
        train_width=sizes.training[0],
        train_height=sizes.training[1],
        networks=", ".join(networks),
        low=max(sizes.side - 8, 32),
        high=sizes.side + 8,
        epochs=epochs,
        batch=BATCH,
    )


def data_name(pictures: Path, out: Path) -> str:
    """Return the name of the data set: below VITRINE_DATA, relative to `out`, or absolute."""
    kind = "table" if pictures.suffix.lower() in TABLES else "image_folder"
    path, root, folder = (each.resolve() for each in (pictures, data_root(), out.parent))
    if path.is_relative_to(root) and path != root:
        return f"{kind}/{path.relative_to(root).as_posix()}"
    if path.is_relative_to(folder):
        return f"{kind}/./{path.relative_to(folder).as_posix()}"
    if path.parent.is_relative_to(folder.parent):
        return f"{kind}/{Path(os.path.relpath(path, folder)).as_posix()}"
    return f"{kind}/{path.as_posix()}"


def model_name(stem: str, taken: Sequence[str]) -> str:
    """Make a valid name of an artifact of the name of a file; one that is taken ends in -own."""
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-")[:50] or "model"
    return f"{name}-own" if name in taken else name


def choose_sizes(images: Sequence[Picture] | Picture) -> Sizes:
    """Choose a size for training from the sizes of some pictures, which are decoded."""
    indices = spread(len(images), min(MEASURED, len(images))).tolist()
    shapes = [images[i].shape[:2] for i in track(indices, "measuring the pictures")]
    height, width = np.median(np.array(shapes), axis=0)
    side = min(max(math.sqrt(width * height), SIDES[0]), SIDES[1])
    ratio = min(max(math.sqrt(width / height), 0.5), 2.0)
    training = (_eighths(side * ratio), _eighths(side / ratio))
    return Sizes((round(width), round(height)), training, round(math.sqrt(math.prod(training))))


def _eighths(side: float) -> int:
    return max(8, round(side / 8) * 8)


def _quoted(text: str) -> str:
    """Quote a text for YAML, which reads the strings of JSON."""
    return json.dumps(text, ensure_ascii=False)

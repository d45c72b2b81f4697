"""Inspects a served model: zeros after each activation, and feature maps.

There is no HTTP here: the server's handlers and the in-process client both call these functions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from artifacts.pictures import Picture
from serving.inference.served_model import ServedModel
from serving.inspection.feature_maps import FeatureMaps
from serving.inspection.per_model import PerModel
from serving.inspection.sparsity import EPSILON, Probe
from serving.problems import RequestError
from serving.schemas import Inspection

probe_of = PerModel(lambda model: Probe(model.artifact, model.threads))
"""The graph of a served model with outputs that count zeros."""
maps_of = PerModel(lambda model: FeatureMaps(model.artifact, model.threads))
"""The graph of a served model with its activations as outputs."""


def inspect(model: ServedModel, pictures: Sequence[Picture]) -> Inspection:
    """Count the exact zeros after every activation.

    Args:
        model: any served model.
        pictures: uint8 H x W x 3, of any mix of sizes; each has the same weight.
    """
    probe = probe_of(model)
    return Inspection(
        model=model.stamp,
        provider=probe.runtime.provider,
        pictures=len(pictures),
        epsilon=EPSILON,
        layers=probe.layers(pictures),
    )


def feature_map(
    model: ServedModel, pictures: Sequence[Picture], layer: str
) -> npt.NDArray[np.float32]:
    """Return the output of one activation for one picture; see `FeatureMaps.read`.

    Args:
        model: any served model.
        pictures: exactly one, uint8 H x W x 3.
        layer: name of the activation, as `inspect` lists it.

    Raises:
        RequestError: there is not exactly one picture, or no such layer.
    """
    if len(pictures) != 1:
        raise RequestError(
            "bad-parameter",
            f"{len(pictures)} pictures were given; maps are made of one at a time: send one.",
        )
    return maps_of(model).read(pictures[0], layer)

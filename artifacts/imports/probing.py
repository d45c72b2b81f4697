"""Asks a graph about made-up pictures."""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx

from artifacts.errors import ArtifactError
from artifacts.onnx_runtime import ort_errors
from artifacts.pictures import Picture
from artifacts.sessions import Rows, Session, cpu_session

SIDE = 64
"""Side of the pictures for graphs of any size, in pixels."""
COMMON_SIDES = (224, 256, 299, 384, 28, 32, 48, 96, 112, 128, 160, 192, 240, 288, 320, 336, 448)
"""Sides that networks of one size often have, which are tried where `SIDE` fails."""
COUNT = 8


def pictures(size: tuple[int, int]) -> list[Picture]:
    """Return pictures that are as different as possible: plain, gradients and noise.

    Args:
        size: (height, width) in pixels.

    Returns:
        `COUNT` arrays, uint8 height x width x 3. The first is black.
    """
    random = np.random.default_rng(0)
    height, width = size
    down = np.linspace(0, 255, height)[:, None, None]
    across = np.linspace(255, 0, width)[None, :, None]
    full = np.ones((height, width, 3))
    noise = random.uniform(0, 255, (height, width, 3))
    made = [
        full * 0,
        full * 255,
        full * [255, 0, 0],
        full * down,
        full * across * [0, 1, 1],
        noise,
        (noise > 200) * 255.0,  # noqa: PLR2004
        full * random.uniform(0, 255, 3) + noise / 8,
    ]
    return [picture.clip(0, 255).astype(np.uint8) for picture in made]


def ask(
    model: onnx.ModelProto, size: tuple[int, int] | None, tensors: Iterable[str]
) -> dict[str, Rows]:
    """Run a graph on each of `pictures` by itself, and return some of its tensors.

    Args:
        model: takes uint8 N x H x W x 3, called images.
        size: (height, width) in pixels; None is any.
        tensors: names of tensors of the graph; they need not be its outputs.

    Returns:
        Arrays by name, as the graph gives them, the first axis of which is the pictures. A tensor
        whose shape differs between pictures is left out.

    Raises:
        ArtifactError: ONNX Runtime refuses the graph; or the graph fails, and the message says at
            which size it does not.
    """
    names = list(dict.fromkeys(tensors))
    if not names:
        return {}
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        session = cpu_session(model.SerializeToString())
    except ArtifactError as error:
        if size is None:
            raise
        raise ArtifactError(
            f"the graph does not take pictures of {size[0]}x{size[1]} (height x width): {error}"
        ) from None
    finally:
        del model.graph.output[:]
        model.graph.output.extend(outputs)
    try:
        answers = [session.run(names, made[None]) for made in pictures(size or (SIDE, SIDE))]
    except ort_errors as error:
        if size is None:
            _explain_size(session, names)
        height, width = size or (SIDE, SIDE)
        raise ArtifactError(f"the model fails on a picture of {height}x{width}: {error}") from None
    found = {}
    for name, rows in zip(names, zip(*answers, strict=True), strict=True):
        if len({np.shape(row) for row in rows}) == 1 and np.ndim(rows[0]) > 0:
            found[name] = np.concatenate(rows)
    return found


def _explain_size(session: Session, names: Sequence[str]) -> None:
    """Raise an error that names the size of a graph that only declares that it takes any."""
    for side in COMMON_SIDES:
        try:
            session.run(names, pictures((side, side))[0][None])
        except ort_errors:
            continue
        raise ArtifactError(
            f"the graph declares that it takes pictures of any size, but it fails at {SIDE}x{SIDE} "
            f"and takes {side}x{side}; give its size, such as --size {side}x{side}, and how "
            "pictures get that size with --resize."
        )

"""Proves what a graph takes, by running it on pictures of several sizes, alone and in batches."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from artifacts.errors import ArtifactError
from artifacts.input_policy import InputPolicy
from artifacts.pictures import Picture
from artifacts.runtime import Outputs, Runtime
from artifacts.sessions import cpu_session

SIZES = ((64, 64), (97, 131), (500, 375), (375, 500), (1024, 256))
"""Sizes (width, height) in pixels of the pictures that are asked about, besides the smallest."""
BATCH = 3
"""Number of pictures in the batch that is compared with the same pictures one by one."""
TOLERANCE = 1e-2
"""Maximum difference between the two, relative to the largest value if that exceeds 1."""

Size = tuple[int, int]
"""Width and height in pixels."""


class BatchError(ArtifactError):
    """A graph answers each picture, but not a batch of them as it answers each."""


def prove(graph: bytes, policy: InputPolicy) -> None:
    """Check that a graph answers pictures of the sizes and batches that its policy allows.

    Pictures of `SIZES`, and of the smallest accepted size, are prepared by the policy and run one
    by one. If the policy says that the graph takes batches, each is also run in a batch with
    others, and must get the answer that it gets alone. This is a property of the graph, so that it
    is proved on the CPU, with the same outcome on every machine.

    Args:
        graph: serialized ONNX model that keeps the contract of `artifacts.graph`.
        policy: how pictures become its input.

    Raises:
        ArtifactError: the engine refuses the graph, or it fails; the message says at which sizes,
            and what the policy should state.
        BatchError: it fails at batches alone.
    """
    runtime = Runtime(graph, policy, engine=cpu_session)
    least = policy.accepted_side[0]
    shown = [(least, least), *((max(w, least), max(h, least)) for w, h in SIZES)]
    targets = list(dict.fromkeys(policy.target(*size) for size in shown))
    pictures = {size: _pictures(size) for size in targets}
    alone: dict[Size, list[Outputs]] = {}
    errors: dict[Size, str] = {}
    for size, batch in pictures.items():
        try:
            alone[size] = [runtime.run_batch(p[None]) for p in batch]
        except Exception as error:  # noqa: BLE001 - whatever the engine raises, the graph fails
            errors[size] = str(error)
    if errors:
        raise ArtifactError(_size_problem(list(alone), errors, policy))
    if policy.batch == "any":
        for size, single in alone.items():
            _check_batch(runtime, pictures[size], single)


def _pictures(size: Size) -> Picture:
    """Make different pictures of noise: uint8 BATCH x H x W x 3."""
    random = np.random.default_rng(0)
    brightness = np.linspace(0.3, 1, BATCH)[:, None, None, None]
    noise = random.uniform(0, 256, (BATCH, size[1], size[0], 3)) * brightness
    return noise.astype(np.uint8)


def _check_batch(runtime: Runtime, pictures: Picture, alone: list[Outputs]) -> None:
    """Compare a batch of pictures, N x H x W x 3, with the answers to each of them alone."""
    height, width = pictures.shape[1:3]
    advice = (
        "state in the input policy that the graph takes one picture at a time (batch: one), or "
        "export it with a dynamic batch size"
    )
    where = f"the graph takes one picture of {_names([(width, height)])}"
    try:
        together = runtime.run_batch(pictures)
    except Exception as error:  # noqa: BLE001 - whatever the engine raises, the graph fails
        raise BatchError(
            f"{where}, but fails on a batch of {BATCH}; {advice}. The error was: {error}"
        ) from None
    for name, rows in together.items():
        expected = np.concatenate([outputs[name] for outputs in alone])
        if rows.shape != expected.shape:
            raise BatchError(
                f"{where}, but its output {name!r} for a batch of {BATCH} has shape {rows.shape} "
                f"instead of {expected.shape}; {advice}."
            )
        if not _close(rows, expected):
            raise BatchError(
                f"{where}, but its output {name!r} for a picture changes with the other pictures "
                f"of a batch; {advice}."
            )


def _close(rows: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> bool:
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0)))
    return bool(np.allclose(rows, expected, rtol=0, atol=limit, equal_nan=True))


def _size_problem(taken: list[Size], errors: dict[Size, str], policy: InputPolicy) -> str:
    """Describe the sizes at which a graph fails, and how the policy can say so."""
    size, error = next(iter(errors.items()))
    failed = f"the graph fails on a picture of {_names(errors)} (width x height)"
    if policy.fixed_size is not None:
        advice = "state the size that it takes as the fixed size"
    elif taken:
        failed += f", but takes {_names(taken)}"
        advice = (
            "it needs a fixed size, although it declares any height and width, or a range of "
            "native sides without these sizes"
        )
    else:
        advice = "it needs a fixed size, although it declares any height and width"
    return f"{failed}; {advice}. The error at {_names([size])} was: {error}"


def _names(sizes: Iterable[Size]) -> str:
    return ", ".join(f"{width}x{height}" for width, height in sizes)

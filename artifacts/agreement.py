"""Compares the answers of a graph on every execution provider at hand with those on the CPU.

The CPU computes in float32. A GPU computes the products of convolutions and matrices in TF32, with
10 bits of mantissa, so that its outputs differ by some thousandths of the largest one; the same
holds for other accelerators. What counts is whether the answers differ, so that probabilities, top
classes and cosines are compared rather than outputs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from artifacts.devices import CPU, other_providers
from artifacts.errors import ArtifactError
from artifacts.graph import OUTPUTS
from artifacts.input_policy import InputPolicy
from artifacts.manifest import DEFAULT_THRESHOLD, Task
from artifacts.pictures import Picture
from artifacts.providers import ProviderRecord
from artifacts.remembering import RememberingRuntime
from artifacts.runtime import Runtime, probabilities
from artifacts.sessions import Engine, cpu_session, on_provider

MAX_DIFFERENCE = 0.05
"""Maximum difference of a probability, before calibration. With TF32 emulated on the CPU, it was
0.0001 to 0.014 for the project's models, on 500 pictures each; with bfloat16, up to 0.099."""
MIN_SAME = 0.99
"""Minimum share of the pictures whose most probable class is the same; of a multi-label model, of
all decisions at a probability of 0.5. Pictures between two classes may change sides."""
MIN_COSINE = 0.999
"""Minimum cosine of the two embeddings of a picture; 0.9999999 with TF32 emulated."""
MAX_COMPARED = 500
"""Maximum number of pictures on which providers are compared."""
ALLOWED = (
    f"A difference of {MAX_DIFFERENCE}, {MIN_SAME:.0%} of the same decisions and a cosine of "
    f"{MIN_COSINE} are allowed."
)

Rows = npt.NDArray[np.float32]


def compare_providers(
    graph: bytes,
    policy: InputPolicy,
    pictures: Sequence[Picture] | Picture,
    task: Task,
    say: Callable[[str], None],
    engine: Callable[[str], Engine] = on_provider,
) -> tuple[ProviderRecord, ...]:
    """Compare the answers on each provider besides the CPU with those on the CPU.

    A provider that this machine cannot use is left out. One that can be used and fails, or whose
    answers differ by more than the tolerances of this module, is recorded as such.

    Args:
        graph: serialized ONNX model.
        policy: how pictures become its input.
        pictures: uint8 H x W x 3, of any sizes; the first `MAX_COMPARED` are compared.
        task: of the model, which says what is compared.
        say: is told in a sentence what was found about each provider.
        engine: makes the sessions of a provider.

    Returns:
        A record for each provider that was compared; none on a machine with a CPU alone.
    """
    names = other_providers()
    if not names:
        return ()
    shown = [pictures[i] for i in range(min(MAX_COMPARED, len(pictures)))]
    output = OUTPUTS[task]
    expected = Runtime(graph, policy, engine=cpu_session).run(shown, [output])[output]
    records = []
    for name in names:
        try:
            runtime = Runtime(graph, policy, engine=engine(name))
        except ArtifactError as error:
            say(f"{name} is left out: {_first_line(error)}")
            continue
        if runtime.provider != name:
            say(f"{name} is left out: ONNX Runtime cannot use it on this machine.")
            continue
        try:
            found = runtime.run(shown, [output])[output]
        except Exception as error:  # noqa: BLE001 - a provider may raise anything
            record = ProviderRecord(
                provider=name, pictures=len(shown), agrees=False, error=_first_line(error)
            )
        else:
            record = compare(name, expected, found, task)
        say(record.sentence if record.agrees else f"{record.sentence} {ALLOWED}")
        records.append(record)
    return tuple(records)


def measuring_runtime(
    graph: bytes, policy: InputPolicy, records: Sequence[ProviderRecord]
) -> tuple[RememberingRuntime, tuple[ProviderRecord, ...]]:
    """Make the runtime that measures a model and remembers, and mark its provider's record.

    That is the one that serves the model on this machine, unless its answers do not agree with
    those of the CPU; then it is the CPU.

    Args:
        graph: serialized ONNX model.
        policy: how pictures become its input.
        records: what `compare_providers` returned for the graph.
    """
    agreeing = {CPU, *(record.provider for record in records if record.agrees)}
    try:
        runtime = RememberingRuntime(graph, policy)
    except ArtifactError:
        if not records:
            raise
        runtime = RememberingRuntime(graph, policy, cpu_session)
    if runtime.provider not in agreeing:
        runtime = RememberingRuntime(graph, policy, cpu_session)
    return runtime, tuple(
        record.model_copy(update={"measured": record.provider == runtime.provider})
        for record in records
    )


def compare(name: str, expected: Rows, found: Rows, task: Task) -> ProviderRecord:
    """Compare what a provider gives for pictures with what is expected.

    Args:
        name: of the provider.
        expected: logits N x C or embeddings N x D.
        found: as `expected`; NaN or infinity counts as a failure.
        task: of the model, which says what is compared.
    """
    count = len(expected)
    if not np.isfinite(found).all():
        return ProviderRecord(
            provider=name, pictures=count, agrees=False, error="it returns NaN or infinity."
        )
    if task == "embedding":
        cosine = round(float(_cosines(expected, found).min()), 6)
        agrees = cosine >= MIN_COSINE
        return ProviderRecord(provider=name, pictures=count, cosine=cosine, agrees=agrees)
    one, other = (probabilities(rows, 1.0, task) for rows in (expected, found))
    if task == "multi-label":
        alike = (one >= DEFAULT_THRESHOLD) == (other >= DEFAULT_THRESHOLD)
    else:
        alike = one.argmax(axis=1) == other.argmax(axis=1)
    difference, same = round(float(np.abs(one - other).max()), 6), round(float(alike.mean()), 6)
    agrees = difference <= MAX_DIFFERENCE and same >= MIN_SAME
    return ProviderRecord(
        provider=name, pictures=count, difference=difference, same=same, agrees=agrees
    )


def _cosines(one: Rows, other: Rows) -> npt.NDArray[np.float64]:
    """Return the cosines of the rows of two arrays, each N x D; that of two zero rows is 1."""
    units = []
    for rows in (one, other):
        wide = rows.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        units.append(wide / np.where(lengths > 0, lengths, 1.0))
    cosines: npt.NDArray[np.float64] = 1 - ((units[0] - units[1]) ** 2).sum(axis=1) / 2
    return cosines


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

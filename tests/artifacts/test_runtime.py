import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from artifacts import ArtifactError, InputPolicy, Runtime, probabilities, runtime, sessions
from artifacts.pictures import Picture
from artifacts.runtime import BATCH_PICTURES, CPU_BATCH_BYTES
from artifacts.sessions import optimize, runs_on_gpu
from tests.graphs import one_at_a_time, tiny_artifact, tiny_model

POLICY = InputPolicy(native_side=(16, 64))


@pytest.fixture(scope="module")
def tiny() -> Runtime:
    return Runtime(tiny_model().SerializeToString(), POLICY, threads=1)


def pictures(*sizes: tuple[int, int]) -> list[Picture]:
    """Noise of the given (height, width)s."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (h, w, 3), np.uint8) for h, w in sizes]


def test_mixed_sizes_equal_one_at_a_time(tiny: Runtime) -> None:
    sizes = [(20, 32), (131, 97), (768, 1024), (8, 8), (20, 32), (32, 20), (8, 2048), (20, 32)]
    mixed = tiny.run(pictures(*sizes))
    assert mixed["logits"].shape == (8, 3)
    assert mixed["features"].shape == (8, 16)
    for row, picture in enumerate(pictures(*sizes)):
        alone = tiny.run([picture])
        for name, values in alone.items():
            np.testing.assert_allclose(mixed[name][row], values[0], atol=1e-4)


def test_only_the_outputs_asked_for_are_given(tiny: Runtime) -> None:
    assert set(tiny.run(pictures((20, 20)), ["features"])) == {"features"}
    assert tiny.output_names == ("logits", "features")


@pytest.mark.parametrize("most", [CPU_BATCH_BYTES // (16 * 16 * 3), BATCH_PICTURES])
def test_one_size_shares_batches_up_to_the_bounds(
    tiny: Runtime, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if most == BATCH_PICTURES:
        monkeypatch.setattr(runtime, "CPU_BATCH_BYTES", BATCH_PICTURES * 16 * 16 * 3 + 1)
    shapes: list[tuple[int, ...]] = []
    run_batch = tiny.run_batch

    def watched(images: Picture, names: object = None) -> object:
        shapes.append(images.shape)
        return run_batch(images, names)  # type: ignore[arg-type]

    monkeypatch.setattr(tiny, "run_batch", watched)
    tiny.run(pictures(*[(16, 16)] * (most + 3), *[(16, 20)] * 2))
    assert shapes == [(most, 16, 16, 3), (3, 16, 16, 3), (2, 16, 20, 3)]


def test_pixels_waiting_are_bounded_whatever_the_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "BATCH_PIXELS", 5000)
    anysize = Runtime(tiny_model().SerializeToString(), InputPolicy(), threads=1)
    sizes = np.random.default_rng(4).integers(8, 60, (200, 2))
    given = [np.full((h, w, 3), i, np.uint8) for i, (h, w) in enumerate([*sizes, (90, 90)])]
    answered: list[int] = []
    waits: list[int] = []  # how long after its turn a picture is answered, in pixels

    for indices, batch in anysize._batches(given):
        assert batch[..., 0].size <= 5000 or len(batch) == 1
        assert batch[:, 0, 0, 0].tolist() == indices
        answered += indices
        newest = max(answered)
        waits.append(sum(given[i][..., 0].size for i in range(newest) if i not in answered))
    assert sorted(answered) == list(range(len(given)))
    assert max(waits) <= 5000


def test_pictures_of_a_fixed_size_graph_are_squashed_to_it() -> None:
    fixed = Runtime(tiny_model().SerializeToString(), InputPolicy(fixed_size=(24, 40)), threads=1)
    assert fixed.prepare(pictures((9, 100))[0]).shape == (24, 40, 3)
    assert fixed.run(pictures((9, 100), (200, 11)))["logits"].shape == (2, 3)


def test_prepared_pictures_are_not_cropped_again() -> None:
    policy = InputPolicy(fixed_size=(24, 24), resize="crop", resize_to=32)
    cropping = Runtime(tiny_model().SerializeToString(), policy, threads=1)
    given = pictures((60, 50), (24, 24))
    prepared = [cropping.prepare(picture) for picture in given]
    expected = cropping.run(given)["logits"]
    found = cropping.run(prepared, prepared=True)["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(cropping.run(prepared)["logits"], expected, atol=1e-2)


def test_a_graph_of_one_picture_is_run_one_by_one() -> None:
    policy = InputPolicy(batch="one")
    alone = Runtime(one_at_a_time().SerializeToString(), policy, threads=1)
    batched = Runtime(tiny_model().SerializeToString(), InputPolicy(), threads=1)
    given = pictures((20, 32), (20, 32), (40, 30), (20, 32))
    for name, rows in batched.run(given).items():
        np.testing.assert_allclose(alone.run(given)[name], rows, atol=1e-4)


def test_pictures_in_the_native_range_pass_unchanged(tiny: Runtime) -> None:
    picture = pictures((20, 33))[0]
    assert tiny.prepare(picture) is picture


def test_resizing_keeps_a_plain_colour(tiny: Runtime) -> None:
    plain = np.full((300, 200, 3), (10, 120, 250), np.uint8)
    resized = tiny.prepare(plain)
    assert resized.shape == (78, 52, 3)
    assert (resized == (10, 120, 250)).all()


def test_runtime_of_an_artifact(tmp_path: Path) -> None:
    opened = Runtime.open(tiny_artifact(tmp_path))
    assert opened.policy.native_side == (16, 64)
    assert opened.provider in ("CPUExecutionProvider", "CUDAExecutionProvider")


def test_a_graph_that_cannot_run_is_refused() -> None:
    broken = tiny_model()
    broken.graph.node[3].input[1] = "nowhere"
    with pytest.raises(ArtifactError, match="ONNX Runtime refuses the graph"):
        Runtime(broken.SerializeToString(), POLICY)


def test_probabilities_sum_to_one_and_soften_with_temperature() -> None:
    logits = np.array([[1000.0, 999.0, -1000.0], [0.0, 0.0, 0.0]], np.float32)
    sharp, soft = probabilities(logits, 1.0), probabilities(logits, 4.0)
    np.testing.assert_allclose(sharp.sum(axis=1), 1)
    np.testing.assert_allclose(sharp[0, :2], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])
    np.testing.assert_allclose(soft[0, 1] / soft[0, 0], np.exp(-1 / 4))
    np.testing.assert_allclose(sharp[1], 1 / 3)


@pytest.mark.skipif(runs_on_gpu(), reason="graphs are shared on the CPU only")
def test_runtimes_of_one_folder_share_a_file_and_answer_alike(
    tiny: Runtime, tmp_path: Path
) -> None:
    graph = tiny_model().SerializeToString()
    first, second = (Runtime(graph, POLICY, threads=1, shared=tmp_path) for _ in range(2))
    (file,) = tmp_path.iterdir()
    assert file.name == f"{hashlib.sha256(graph).hexdigest()}.ort"
    batch = pictures((20, 32))[0][None]
    expected = tiny.run_batch(batch)
    for shared in (first, second):
        for spread in (False, True):
            found = shared.run_batch(batch, spread=spread)
            for name, rows in expected.items():
                np.testing.assert_allclose(found[name], rows, atol=1e-5)


def test_those_that_need_a_graph_at_the_same_moment_write_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = tiny_model().SerializeToString()
    write, written = sessions._write_optimized, []

    def write_slowly(graph: bytes, file: Path) -> None:
        written.append(file)
        sleep(0.1)  # long enough for the others to come
        write(graph, file)

    monkeypatch.setattr(sessions, "_write_optimized", write_slowly)
    with ThreadPoolExecutor(3) as pool:
        files = list(pool.map(lambda _: optimize(graph, tmp_path), range(3)))
    assert files == 3 * written


def test_a_graph_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    graph = tiny_model()
    graph.graph.node[-1].op_type = "NoSuchOperator"
    with pytest.raises(ArtifactError, match="ONNX Runtime refuses the graph"):
        optimize(graph.SerializeToString(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_probabilities_of_a_multi_label_model_are_independent() -> None:
    logits = np.array([[2.0, -1.0, 0.0], [-3.0, 1e4, -1e4]], np.float32)
    found = probabilities(logits, 2.0, "multi-label")
    expected = [[1 / (1 + np.exp(-x / 2.0)) for x in row] for row in ([2, -1, 0], [-3])]
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], [*expected[1], 1.0, 0.0], rtol=1e-12)
    one_changed = logits.copy()
    one_changed[:, 0] = 5
    np.testing.assert_array_equal(
        probabilities(one_changed, 2.0, "multi-label")[:, 1:], found[:, 1:]
    )

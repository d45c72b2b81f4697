import numpy as np
import pytest

from artifacts import InputPolicy, Runtime, remembering
from artifacts.pictures import Picture
from artifacts.remembering import RememberingRuntime
from tests.graphs import tiny_model

POLICY = InputPolicy(native_side=(16, 64))
GRAPH = tiny_model().SerializeToString()


class Counting(RememberingRuntime):
    """Counts the pictures that the graph is run on."""

    count = 0

    def run_batch(
        self, images: Picture, names: object = None, *, spread: bool = False
    ) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        self.count += len(images)
        return super().run_batch(images, names, spread=spread)  # type: ignore[arg-type]


@pytest.fixture
def counting() -> Counting:
    return Counting(GRAPH, POLICY)


@pytest.fixture
def pictures() -> list[Picture]:
    """Twelve pictures in three sizes, of which the last two are the first two."""
    random = np.random.default_rng(0)
    sizes = [(20, 32), (32, 20), (20, 20)] * 4
    made = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    return [*made[:10], *made[:2]]


def test_answers_are_those_of_the_graph(counting: Counting, pictures: list[Picture]) -> None:
    expected = Runtime(GRAPH, POLICY).run(pictures)
    for given in (pictures[3:], pictures, pictures):
        answers = counting.run(given)
        for name, rows in expected.items():
            np.testing.assert_allclose(answers[name], rows[-len(given) :], atol=1e-5)


def test_no_picture_is_run_twice(counting: Counting, pictures: list[Picture]) -> None:
    counting.run(pictures, ["logits"])
    counting.run(pictures[4:], ["features"])
    assert set(counting.run(pictures[:3])) == {"logits", "features"}
    assert counting.count == 10


def test_pictures_of_other_pixels_or_shape_are_other_pictures(counting: Counting) -> None:
    zeros = np.zeros((20, 32, 3), np.uint8)
    counting.run([zeros, zeros.reshape(32, 20, 3)])
    counting.run([zeros + np.uint8(1)])
    assert counting.count == 3


def test_prepared_pictures_are_always_run(counting: Counting, pictures: list[Picture]) -> None:
    for _ in range(2):
        counting.run(pictures, prepared=True)
    assert counting.count == 24


def test_memory_is_bounded(
    counting: Counting, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_one = 4 * (3 + 16)  # bytes of the logits and features of a picture
    monkeypatch.setattr(remembering, "MAX_BYTES", 6 * of_one)
    first, second = (counting.run(pictures) for _ in range(2))
    assert counting.count == 10 + 4
    np.testing.assert_allclose(first["logits"], second["logits"], atol=1e-5)


def test_no_pictures(counting: Counting) -> None:
    with pytest.raises(ValueError, match="at least one array"):
        counting.run([], ["logits"])

"""A running server and the artifact in process give the same numbers."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.analysis.conftest import Run
from tests.server import running_server


@pytest.fixture(scope="module")
def url(models_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(models_root, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photograph-like pictures of many sizes and formats, and a file that is no picture."""
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for number in range(40):
        width, height = random.integers(8, 200, 2)
        coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8))
        suffix = ("png", "jpg", "webp", "bmp")[number % 4]
        coarse.resize((int(width), int(height))).save(tmp_path / "in" / f"{number:02d}.{suffix}")
    (tmp_path / "in" / "99.jpg").write_text("no picture")
    return tmp_path / "in"


def both(run: Run, url: str, *arguments: object) -> tuple[list[dict[str, str]], ...]:
    """The tables of a run against the server and of a run in process."""
    tables = []
    for out, where in (("remote", ("--url", url)), ("local", ())):
        outcome = run(*arguments, *where, "--out", out)
        assert outcome.status == 0, outcome.err
        table = next(line for line in outcome.out.splitlines() if line.endswith(".csv"))
        with Path(table).open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    return tuple(tables)


def test_sparsity_is_the_same(run: Run, url: str, folder: Path) -> None:
    models = ("--model", "tiny", "--model", "ten")
    for source in (("--images", folder), ("--dataset", "synthetic/objects:test", "--limit", 90)):
        remote, local = both(run, url, "sparsity", *models, *source)
        assert len(remote) == len(local) == 4
        for one, other in zip(remote, local, strict=True):
            assert float(one.pop("zeros")) == pytest.approx(float(other.pop("zeros")), abs=1e-6)
            assert one == other


def test_feature_maps_are_the_same(run: Run, url: str) -> None:
    remote, local = both(
        run, url, "feature-maps", "--model", "tiny", "--dataset", "synthetic/objects"
    )
    assert [row["layer"] for row in remote] == ["relu_1", "relu_2"]
    assert remote == local
    drawn = {path.name for path in Path("remote").glob("*.png")}
    assert drawn == {"01-relu_1.png", "02-relu_2.png"}
    arguments = ("feature-maps", "--model", "tiny", "--dataset", "synthetic/objects", "--layer")
    one = run(*arguments, "relu_2", "--out", "one")
    assert one.status == 0
    assert [path.name for path in Path("one").glob("*.png")] == ["01-relu_2.png"]
    other = run(*arguments, "nothing")
    assert (other.status, other.err.count("\n")) == (1, 1)
    assert "relu_1, relu_2" in other.err


def test_the_curves_of_explanations_are_the_same(run: Run, url: str) -> None:
    source = ("--dataset", "synthetic/objects:test", "--limit", 6)
    remote, local = both(run, url, "explain", "--model", "tiny", *source)
    assert len(remote) == len(local) == 2 * 3 * 21
    for one, other in zip(remote, local, strict=True):
        # pixels of nearly the same contribution may change their places
        probability = float(other.pop("probability"))
        assert float(one.pop("probability")) == pytest.approx(probability, abs=1e-3)
        assert one == other


def test_map_is_the_same(run: Run, url: str, folder: Path) -> None:
    remote, local = both(run, url, "map", "--model", "ten", "--images", folder, "--perplexity", 8)
    assert len(remote) == len(local) == 40
    names = ("picture", "label", "predicted")
    for one, other in zip(remote, local, strict=True):
        assert [one[name] for name in names] == [other[name] for name in names]
    places = [[(float(row["x"]), float(row["y"])) for row in table] for table in (remote, local)]
    np.testing.assert_allclose(*places, atol=1e-3)


def test_what_the_server_refuses_is_one_line(run: Run, url: str) -> None:
    outcome = run("map", "--model", "nobody", "--dataset", "synthetic/objects", "--url", url)
    assert outcome.status == 1
    assert outcome.err.startswith("error: ")
    assert "nobody" in outcome.err
    assert outcome.err.count("\n") == 1

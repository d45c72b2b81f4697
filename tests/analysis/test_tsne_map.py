import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from analysis.tsne_map.tsne import embed, measure
from analysis.tsne_map.view import draw
from artifacts import Artifact, Runtime, VitrineError, datasets
from tests.analysis.conftest import Run
from tests.pictures import encoded, photograph

ARGUMENTS = ("map", "--model", "ten", "--dataset", "synthetic/objects:test", "--limit", 120)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_map_writes_labels_and_predictions(run: Run, models_root: Path) -> None:
    outcome = run(*ARGUMENTS, "--perplexity", 10)
    assert outcome.status == 0, outcome.err
    folder = Path("reports/map-ten")
    files = [line for line in outcome.out.splitlines() if line.startswith(str(folder))]
    kinds = ("png", "csv", "json", "html", "parquet")
    assert files == [f"{folder}/map.{kind}" for kind in kinds]
    table = read(folder / "map.csv")
    data = datasets.load("synthetic/objects", "test")
    chosen = [int(row["picture"]) for row in table]
    assert len(set(chosen)) == 120
    assert [row["label"] for row in table] == [data.classes[data.labels[i]] for i in chosen]
    runtime = Runtime.open(Artifact.open("ten", models_root))
    logits = runtime.run([data.images[i] for i in chosen], ["logits"])["logits"]
    assert [row["predicted"] for row in table] == ["abcdefghij"[i] for i in logits.argmax(axis=1)]
    assert np.isfinite([[float(row["x"]), float(row["y"])] for row in table]).all()
    settings = json.loads((folder / "map.json").read_text())["settings"]
    assert settings == {
        "perplexity": 10.0,
        "seed": 0,
        "initialisation": "pca",
        "features": 16,
        "onto": None,
    }
    with Image.open(folder / "map.png") as picture:
        assert picture.width > 800


def test_a_seed_gives_its_map_again(run: Run) -> None:
    for out, seed in (("first", 3), ("second", 3), ("third", 4)):
        assert run(*ARGUMENTS, "--perplexity", 10, "--seed", seed, "--out", out).status == 0
    first, second, third = (
        Path(out, "map.csv").read_bytes() for out in ("first", "second", "third")
    )
    assert first == second
    assert first != third


def test_groups_of_vectors_stay_groups() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(0, 10, (3, 8))
    labels = np.arange(150) % 3
    vectors = (centres[labels] + random.normal(0, 1, (150, 8))).astype(np.float32)
    points = embed(vectors, perplexity=15, seed=0)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()


def test_parquet_holds_vectors_and_neighbours(run: Run, models_root: Path) -> None:
    assert run(*ARGUMENTS, "--perplexity", 10).status == 0
    table = pq.read_table("reports/map-ten/map.parquet").to_pydict()
    data = datasets.load("synthetic/objects", "test")
    runtime = Runtime.open(Artifact.open("ten", models_root))
    pictures = [data.images[int(name)] for name in table["picture"]]
    vectors = runtime.run(pictures, ["features"])["features"]
    assert np.array(table["vector"]) == pytest.approx(vectors, abs=1e-4)
    lengths = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(lengths, np.inf)
    names = np.array(table["picture"])
    assert [line[0] for line in table["neighbours"]] == names[lengths.argmin(axis=1)].tolist()
    assert table["path"] == [None] * len(pictures)  # they are no files
    assert all(1 / 10 < share <= 1 for share in table["probability"])


def test_parquet_names_the_files_of_a_folder(run: Run, tmp_path: Path) -> None:
    for number in range(12):
        file = tmp_path / "mine" / f"{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(photograph(32, 32, number)))
    done = run("map", "--model", "ten", "--images", tmp_path / "mine", "--out", "mine")
    assert done.status == 0, done.err
    table = pq.read_table("mine/map.parquet").to_pydict()
    for path, name, label in zip(table["path"], table["picture"], table["label"], strict=True):
        assert Path(path) == tmp_path / "mine" / name
        assert Path(path).parent.name == label


def test_the_page_holds_every_picture_and_needs_no_network(run: Run) -> None:
    assert run(*ARGUMENTS, "--perplexity", 10).status == 0
    text = Path("reports/map-ten/map.html").read_text()
    data = json.loads(re.findall(r"const data = (\{.*?\}), sprite", text)[0])
    sprite = re.findall(r'sprite = "data:image/jpeg;base64,(.*?)"', text)[0]
    assert len(data["points"]) == 120
    with Image.open(io.BytesIO(base64.b64decode(sprite))) as image:
        assert image.size == (32 * 11, 32 * 11)  # eleven columns for 120 pictures
    assert not re.findall(r"(?:src|href)=|https?://", text)


def test_the_record_is_written_last_so_that_no_half_map_passes_for_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.tsne_map.command.write_parquet", interrupted)
    assert run(*ARGUMENTS, "--perplexity", 10, "--out", "half").status == 130
    assert Path("half/map.html").exists()
    assert not Path("half/map.json").exists()


def test_new_pictures_are_placed_beside_their_like(run: Run) -> None:
    assert run(*ARGUMENTS, "--perplexity", 10, "--out", "old").status == 0
    again = run(*ARGUMENTS, "--onto", "old/map.parquet", "--out", "new")
    assert again.status == 0, again.err
    old, new = (
        np.array([[float(row["x"]), float(row["y"])] for row in read(Path(name, "map.csv"))])
        for name in ("old", "new")
    )
    lengths = np.linalg.norm(new[:, None] - old[None], axis=2)
    rank = (lengths < np.diagonal(lengths)[:, None]).sum(axis=1)
    assert np.median(rank) < 12  # of 120: the same pictures come to lie near where they were
    for count in (1, 2):
        few = (*ARGUMENTS[:-1], count)
        one = run(*few, "--onto", "old/map.parquet", "--out", "few")
        assert one.status == 0, one.err
        assert len(read(Path("few/map.csv"))) == count
    other = run("map", "--model", "tiny", *ARGUMENTS[3:], "--onto", "old/map.parquet")
    assert (other.status, other.err.count("\n")) == (1, 1)
    assert "the map is of ten" in other.err
    Path("bad.parquet").write_text("nothing")
    assert run(*ARGUMENTS, "--onto", "bad.parquet").status == 1


def test_numbers_of_a_perfect_and_of_a_random_map() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(200) % 4
    vectors = (20 * np.eye(4)[labels] + random.normal(0, 1, (200, 4))).astype(np.float32)
    good = measure(vectors, embed(vectors, 20, 0), labels)
    bad = measure(vectors, random.normal(size=(200, 2)), labels)
    assert good["trustworthiness"] > 0.9 > bad["trustworthiness"]
    assert good["neighbour accuracy, map"] == 1.0
    assert bad["neighbour accuracy, map"] < 0.5
    assert good["silhouette, map"] > 0.5 > bad["silhouette, map"]
    assert set(measure(vectors, random.normal(size=(200, 2)), np.full(200, -1))) == {
        "trustworthiness"
    }


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((50, 8), np.float32), "not the same for all"),
        (np.full((50, 8), np.nan, np.float32), "finite"),
        (np.zeros((90, 8), np.float32), "perplexity 30, which needs 91"),
        (np.zeros((3, 8), np.float32), "needs at least 4"),
    ],
)
def test_vectors_that_cannot_be_placed_are_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(VitrineError, match=message):
        embed(vectors, perplexity=30 if len(vectors) != 50 else 5, seed=0)


def test_names_of_classes_do_not_cover_each_other() -> None:
    table = [
        {"label": f"class {i % 20}", "predicted": "", "x": (i // 20) % 3, "y": i // 60}
        for i in range(180)
    ]
    places = [text.get_position() for text in draw(table, "heading", "footer").axes[0].texts]
    assert len(set(places)) == len(places) == 20


@pytest.mark.parametrize("classes", [1, 10, 196])
def test_any_number_of_classes_is_drawn(classes: int) -> None:
    table = [
        {"label": f"class {i % classes:03d}", "predicted": "", "x": i % 14, "y": i // 14}
        for i in range(196)
    ]
    figure = draw(table, "heading", "footer")
    shown = sum(len(points.get_offsets()) for points in figure.axes[0].collections)
    assert shown == 196
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == ({row["label"] for row in table} if classes <= 20 else set())

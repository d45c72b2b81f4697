"""What a server, the clients and the command line answer about known and unknown pictures."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from artifacts import Artifact, ArtifactError, Runtime
from artifacts.known.adding import Labelled, Sources, add
from artifacts.known.detector import KNOWN_FILE, Detector
from artifacts.known.outliers import named
from serving.__main__ import main
from serving.client import Client, LocalPredictor
from serving.inference.served_model import ServedModel
from tests.commands import run_in_process
from tests.graphs import CLASSES, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server

KNOWN = [encoded(photograph(40, 30, seed)) for seed in range(500, 530)]
NOISE = [np.asarray(p) for p in named("generated:noise", 7).images[:30]]


def labelled(name: str, start: int, count: int, runtime: Runtime) -> Labelled:
    """Photographs with the classes that the model finds, so that it is right about most."""
    pictures = [np.asarray(photograph(40, 30, seed)) for seed in range(start, start + count)]
    labels = runtime.run(pictures, ["logits"])["logits"].argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % len(CLASSES)
    return Labelled(name, pictures, labels)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    judged = tiny_artifact(root, "judged", route="colours", default=True)
    runtime = Runtime.open(judged)
    sources = Sources(
        labelled("train", 2000, 300, runtime),
        labelled("validation", 3000, 300, runtime),
        labelled("test", 4000, 300, runtime),
        [named("generated:noise"), named("generated:plain")],
        [named("generated:patches", 1)],
    )
    add(judged, sources)
    tiny_artifact(root, "plain")
    fields = {"task": "multi-label", "thresholds": (0.5,) * len(CLASSES)}
    tiny_artifact(root, "scenes", **fields)
    return root


@pytest.fixture(scope="module")
def url(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(root, tmp_path_factory.mktemp("server") / "log.txt") as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def test_verdicts_of_known_pictures_and_of_noise(url: str) -> None:
    with Client(url) as client:
        known = client.classify("judged", KNOWN)
        noise = client.classify("judged", NOISE)
    kept = [picture.verdict for picture in known.pictures]
    assert kept.count("known") >= 24
    assert {picture.verdict for picture in noise.pictures} == {"cannot_say"}
    assert all(len(picture.top) == len(CLASSES) for picture in noise.pictures)
    assert known.verdicts is not None
    assert (known.verdicts.keep, known.verdicts.threshold) == (0.95, 0.05)
    assert known.verdicts.kept is not None
    assert known.verdicts.kept.data == ("test",)
    assert known.verdicts.kept.low < known.verdicts.kept.share < known.verdicts.kept.high
    assert known.verdicts.refused is not None
    assert known.verdicts.refused.data == ("generated:patches",)
    assert known.verdicts.seen is False


def test_all_ways_give_the_same(url: str, root: Path, http: httpx.Client) -> None:
    pictures = [KNOWN[0], *NOISE[:1]]
    with Client(url) as client:
        answer = client.classify("judged", pictures, keep=0.8, coverage=0.9)
        by_route = client.classify_by_route("colours", pictures, keep=0.8, coverage=0.9)
    local = LocalPredictor(root).classify("judged", pictures, keep=0.8, coverage=0.9)
    for other in (by_route, local):
        assert [p.verdict for p in other.pictures] == [p.verdict for p in answer.pictures]
        assert [p.class_set for p in other.pictures] == [p.class_set for p in answer.pictures]
        assert other.verdicts == answer.verdicts
        np.testing.assert_allclose(
            [p.score for p in other.pictures], [p.score for p in answer.pictures], atol=1e-3
        )
    plain, asked = (
        http.post(f"/v1/models/judged/classify{query}", content=KNOWN[0]).json()
        for query in ("", "?top=5")
    )
    assert plain == asked
    assert "set" not in plain["pictures"][0]


def test_a_larger_share_kept_refuses_fewer(http: httpx.Client) -> None:
    worth = {}
    for keep in (0.5, 0.95, 0.995):
        answer = http.post(
            "/v1/models/judged/classify", params={"keep": keep}, content=KNOWN[0]
        ).json()
        picture, verdicts = answer["pictures"][0], answer["verdicts"]
        assert (picture["verdict"] == "known") == (picture["score"] >= 1 - keep)
        assert verdicts["threshold"] == pytest.approx(1 - keep)
        worth[keep] = (verdicts["kept"]["share"], -verdicts["refused"]["share"])
    assert worth[0.5][0] < worth[0.95][0] < worth[0.995][0]
    assert worth[0.5][1] <= worth[0.95][1] <= worth[0.995][1]
    assert worth[0.5][0] == pytest.approx(0.5, abs=0.1)


def test_sets_hold_the_classes_by_probability(http: httpx.Client) -> None:
    answer = http.post(
        "/v1/models/judged/classify", params={"coverage": 0.95, "top": 3}, content=KNOWN[1]
    ).json()
    picture = answer["pictures"][0]
    ranked = [each["class"] for each in picture["top"]]
    assert picture["set"]["coverage"] == 0.95
    members = picture["set"]["classes"]
    assert members == ranked[: len(members)]


@pytest.mark.parametrize(
    ("model", "query", "code"),
    [
        ("judged", "coverage=0", "bad-parameter"),
        ("judged", "coverage=1", "bad-parameter"),
        ("judged", "coverage=nan", "bad-parameter"),
        ("judged", "coverage=most", "bad-parameter"),
        ("judged", "keep=1.5", "bad-parameter"),
        ("judged", "keep=-1", "bad-parameter"),
        ("plain", "coverage=0.9", "not-calibrated"),
        ("plain", "keep=0.9", "not-calibrated"),
        ("scenes", "coverage=0.9", "task-not-supported"),
        ("scenes", "keep=0.9", "task-not-supported"),
    ],
)
def test_what_cannot_be_had_is_refused(
    http: httpx.Client, model: str, query: str, code: str
) -> None:
    answer = http.post(f"/v1/models/{model}/classify?{query}", content=KNOWN[0])
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_model_without_calibration_answers_as_before(http: httpx.Client) -> None:
    answer = http.post("/v1/models/plain/classify", content=KNOWN[0]).json()
    assert set(answer) == {"model", "provider", "pictures"}
    assert set(answer["pictures"][0]) == {"size", "shown", "treatment", "top"}


def test_the_models_say_what_their_verdicts_are_worth(http: httpx.Client) -> None:
    info = http.get("/v1/models/judged").json()
    assert info["known"]["offered"] is True
    assert info["sets"]["pictures"] == 300
    assert "known" not in http.get("/v1/models/plain").json()
    card = http.get("/v1/models/judged/card").text
    assert "## Pictures of other things" in card
    assert "## Sets of classes" in card


def test_refused_pictures_are_counted(http: httpx.Client) -> None:
    http.post("/v1/models/judged/classify", content=encoded(photograph(40, 30, 1)))
    files = [("image", ("p", encoded_noise, "image/png")) for encoded_noise in noise_files(3)]
    before = counted(http)
    http.post("/v1/models/judged/classify", files=files)
    assert counted(http) == before + 3


def noise_files(count: int) -> list[bytes]:
    return [encoded(Image.fromarray(picture)) for picture in NOISE[:count]]


def counted(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('vitrine_cannot_say_total{model="judged"}')]
    return float(found[0].split()[-1]) if found else 0.0


def test_the_command_line_has_columns_for_both(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    file = tmp_path / "noise.png"
    file.write_bytes(noise_files(1)[0])
    done = run_in_process(main, "serving", "classify", file, "--model", "judged")
    assert done.status == 0, done.err
    row = next(csv.DictReader(io.StringIO(done.out)))
    assert row["verdict"] == "cannot_say"
    assert "set" not in row
    done = run_in_process(
        main, "serving", "classify", file, "--model", "judged", "--coverage", "0.9"
    )
    assert "set" in next(csv.DictReader(io.StringIO(done.out)))


def test_a_model_that_tells_nothing_says_so(root: Path, tmp_path: Path) -> None:
    judged = Artifact.open("judged", root)
    assert judged.manifest.known is not None
    known = judged.manifest.known.model_copy(update={"offered": False})
    manifest = judged.manifest.model_copy(update={"known": known})
    Artifact.save(manifest, judged.contents(), tmp_path)
    answer = LocalPredictor(tmp_path).classify("judged", KNOWN[:1])
    assert answer.verdicts is not None
    assert answer.verdicts.offered is False
    assert answer.verdicts.reason
    assert answer.pictures[0].verdict is None
    text = json.loads(answer.model_dump_json(by_alias=True))
    assert "verdict" not in text["pictures"][0]
    assert "carry no verdict" in (tmp_path / "judged" / "card.md").read_text(encoding="utf-8")


def test_a_detector_of_another_graph_is_not_served(root: Path, tmp_path: Path) -> None:
    judged = Artifact.open("judged", root)
    detector = Detector.read(judged.read(KNOWN_FILE))
    shorter = detector.space.projection[:-1]
    broken = replace(detector, space=replace(detector.space, projection=shorter)).write()
    artifact = Artifact.save(judged.manifest, judged.contents() | {KNOWN_FILE: broken}, tmp_path)
    with pytest.raises(ArtifactError, match="of another graph"):
        ServedModel(artifact)
    files = {n: c for n, c in judged.contents().items() if n != KNOWN_FILE}
    artifact = Artifact.save(judged.manifest, files, tmp_path)
    with pytest.raises(ArtifactError, match=r"lists no known\.npz"):
        ServedModel(artifact)

"""Questions, classes and the check of `vitrine import`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from artifacts import Artifact, probabilities
from artifacts.imports import questions
from artifacts.imports.command import import_command
from artifacts.imports.settings import PRESETS
from tests.artifacts.conftest import Cli, assert_refused
from tests.artifacts.imports.conftest import KEPT, Import, Refuse
from tests.artifacts.imports.networks import (
    LOGITS,
    NAMES,
    network,
    node,
    own_answer,
    photos,
    scaled,
)

SIZED = ("--resize", "squash", "--interpolation", "bicubic", "--scale", "0-1")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(photos(1, (24, 24))[0]).save(path)
    return path


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            (),
            "give --resize squash|crop|pad|none; --scale 0-1|0-255|-1-1 (or --mean R,G,B and "
            "--std R,G,B); or give --preset imagenet|torchvision|inception|clip|none",
        ),
        (
            ("--resize", "crop", "--scale", "0-1"),
            "give --resize-to PIXELS (or --crop-pct SHARE); --interpolation "
            "bilinear|bicubic|nearest|...; or",
        ),
        (("--resize", "none", "--mean", "0.5"), "give --std R,G,B; or"),
        (("--resize", "none", "--std", "0.5"), "give --mean R,G,B; or"),
        (("--native", "16,64"), "give --scale 0-1|0-255|-1-1"),
    ],
)
def test_what_is_not_known_is_asked_for(
    attempt: Refuse, root: Path, options: tuple[str, ...], wanted: str
) -> None:
    refused = attempt(network(size=(24, 24)) if "crop" in options else network(), *options)
    assert_refused(refused, wanted, 2)
    assert not root.exists() or not list(root.iterdir())


def test_a_size_that_is_not_known_is_asked_for(attempt: Refuse) -> None:
    assert_refused(attempt(network(), *SIZED), "give --size HEIGHTxWIDTH; or", 2)


@pytest.fixture
def typed(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a model on a terminal at which some lines are typed."""
    monkeypatch.setattr(questions, "interactive", lambda: True)

    def run(model: onnx.ModelProto, *lines: str, options: tuple[str, ...] = ()) -> Any:
        onnx.save(model, tmp_path / "net.onnx")
        command = ["import", tmp_path / "net.onnx", "--task", "classification", *options]
        return cli(*command, typed="".join(f"{line}\n" for line in lines))

    return run


def test_a_terminal_is_asked_for_a_preset(typed: Any) -> None:
    done = typed(network(size=(24, 24)), NAMES, "torchvision")
    assert done.status == 0, done
    assert "Answers are only right if it is the same here" in done.out
    manifest = Artifact.open("net").manifest
    assert manifest.classes == tuple(NAMES.split(","))
    assert (manifest.input.resize, manifest.input.resize_to) == ("crop", 27)
    assert manifest.input.interpolation == "bilinear"


def test_a_terminal_is_asked_for_each_setting(typed: Any) -> None:
    lines = ("other", "crop", "24x32", "40", "bilinear", "0-255", "100,110,120", "1,2,3")
    done = typed(network(), *lines, options=("--classes", NAMES))
    assert done.status == 0, done
    policy = Artifact.open("net").manifest.input
    assert (policy.resize, policy.fixed_size, policy.resize_to) == ("crop", (24, 32), 40)
    assert policy.interpolation == "bilinear"
    assert policy.normalisation is not None
    assert policy.normalisation.scale == "0..255"
    assert policy.normalisation.mean == (100, 110, 120)
    assert policy.normalisation.std == (1, 2, 3)


def test_a_terminal_asks_again_for_what_it_cannot_read(typed: Any) -> None:
    lines = ("other", "squash", "large", "24", "nearest", "0-2", "0-1", "1,2", "0", "1")
    done = typed(network(), *lines, options=("--classes", NAMES))
    assert done.status == 0, done
    policy = Artifact.open("net").manifest.input
    assert (policy.resize, policy.fixed_size) == ("squash", (24, 24))
    assert policy.normalisation is not None
    assert (policy.normalisation.mean, policy.normalisation.std) == ((0,) * 3, (1,) * 3)


@pytest.mark.parametrize(
    ("preset", "rule", "before", "mean"),
    [
        ("imagenet", "crop", 27, 0.485),
        ("torchvision", "crop", 27, 0.485),
        ("inception", "crop", 27, 0.5),
        ("clip", "crop", 24, 0.48145466),
        ("none", "squash", None, 0),
    ],
)
def test_presets(imported: Import, preset: str, rule: str, before: int | None, mean: float) -> None:
    assert preset in PRESETS
    policy = imported(network(size=(24, 24)), "--preset", preset)[1].manifest.input
    assert (policy.resize, policy.resize_to) == (rule, before)
    assert policy.normalisation is not None
    assert policy.normalisation.mean[0] == mean
    assert policy.normalisation.scale == ("0..255" if preset == "none" else "0..1")


def test_options_override_a_preset(imported: Import) -> None:
    options = ("--preset", "imagenet", "--resize-to", "30", "--std", "0.5")
    policy = imported(network(size=(24, 24)), *options)[1].manifest.input
    assert policy.resize_to == 30
    assert policy.normalisation is not None
    assert policy.normalisation.mean == (0.485, 0.456, 0.406)
    assert policy.normalisation.std == (0.5,) * 3


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (("--native", "8,64", "--resize", "crop"), "--native is for --resize none", 2),
        (("--size", "24", "--resize", "none"), "--resize none keeps sizes", 2),
        (("--resize-to", "24", "--crop-pct", "0.5"), "say the same; leave one of them out", 2),
        (("--size", "0x4x"), "expected HEIGHTxWIDTH in pixels", 2),
        (("--scale", "0-2"), "expected one of 0-1, 0-255, -1-1", 2),
        (("--expect", __file__), "--expect needs the picture", 2),
        (("--pad-colour", "0,0,300", "--resize", "pad"), "input: Input should be less than", 1),
        (("--no-antialias", *SIZED, "--size", "24"), "exist without antialiasing", 1),
        (("--size", "0", *SIZED), "input: Input should be greater than 0", 1),
    ],
)
def test_options_that_make_no_sense_are_refused(
    attempt: Refuse, options: tuple[str, ...], message: str, status: int
) -> None:
    given = ("--size", "24", *SIZED) if "--pad-colour" in options else ()
    assert_refused(attempt(network(), *given, *options), message, status)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfash\r\nbeech\r\ncedar\r\ndogwood\r\n\r\n",
        b"ash\nbeech\ncedar\ndogwood\n\n",
        b"ash \n beech\ncedar\ndogwood",
    ],
    ids=["byte-order mark and CRLF", "blank last line", "spaces"],
)
def test_files_of_class_names(tmp_path: Path, imported: Import, content: bytes) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes(content)
    _, artifact, _ = imported(network(), *KEPT, classes=str(names))
    assert artifact.manifest.classes == ("ash", "beech", "cedar", "dogwood")


def test_a_check_shows_the_likeliest_classes(imported: Import, picture: Path) -> None:
    model = network(node("Softmax", [LOGITS], "p"))
    shares = own_answer(model, scaled(photos(1, (24, 24))))[0]
    done, _, _ = imported(model, *KEPT, "--check", picture)
    best = int(shares.argmax())
    first, *others = done.out.splitlines()
    assert first == f"  {shares[best]:.4f}  {NAMES.split(',')[best]}"
    assert len(others) == 4


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_check_against_what_is_expected(
    tmp_path: Path, imported: Import, attempt: Refuse, picture: Path, logits: bool, rank: int
) -> None:
    expected = own_answer(network(), scaled(photos(1, (24, 24)))).astype(np.float32)
    values = expected if logits else probabilities(expected, 1.0)
    np.save(tmp_path / "expected.npy", values if rank == 2 else values[0])
    check = ("--check", picture, "--expect", tmp_path / "expected.npy")
    done, _, _ = imported(network(), *KEPT, *check)
    assert "largest difference from expected.npy: " in done.out
    # another normalisation than that of the network
    wrong = (*KEPT, "--mean", "0.5", "--std", "0.25", "--name", "other")
    refused = attempt(network(), *wrong, *check)
    assert_refused(refused, "which differs by more than 0.001; check the options of preprocessing")
    assert not (tmp_path / "models" / "other").exists()
    assert attempt(network(), *wrong, *check, "--tolerance", "1").status == 0


def test_a_check_of_an_embedding(tmp_path: Path, imported: Import, picture: Path) -> None:
    expected = own_answer(network(), scaled(photos(1, (24, 24))))
    np.save(tmp_path / "expected.npy", expected)
    check = ("--check", picture, "--expect", tmp_path / "expected.npy")
    done, _, _ = imported(network(), *KEPT, *check, task="embedding")
    assert "largest difference from expected.npy: " in done.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(3), "shape (3,); expected (4,) or (1, 4)"),
        (np.zeros((2, 2)), "shape (2, 2); expected (4,) or (1, 4)"),
        (np.array([{}]), "not readable as a NumPy file of numbers"),
        (np.full(4, np.nan), "differs by more than 0.001"),
    ],
)
def test_expectations_of_other_shapes_are_refused(
    tmp_path: Path, attempt: Refuse, picture: Path, content: Any, message: str
) -> None:
    np.save(tmp_path / "expected.npy", content)
    check = ("--check", picture, "--expect", tmp_path / "expected.npy")
    assert_refused(attempt(network(), *KEPT, *check), message)


def test_json_has_notes_on_stderr(attempt: Refuse) -> None:
    model = network(node("Sigmoid", [LOGITS], "p"), classes=1)
    done = attempt(model, *KEPT, "--json", classes="no,yes")
    assert json.loads(done.out)["classes"] == ["no", "yes"]
    assert done.err == "The one output is about the second class; the first gets the rest.\n"


def test_help_is_grouped(cli: Cli) -> None:
    done = cli("import", "--help")
    for heading in ("Options:", "Graph:", "Preprocessing:", "Check:"):
        assert heading in done.out
    for parameter in import_command.params:
        assert parameter.name == "file" or done.out.count(f"{parameter.opts[0]}") >= 1
    assert cli("import").status == 2

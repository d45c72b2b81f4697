"""`--shard`: what N jobs write is what one job writes, each row once."""

import csv
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from serving.__main__ import main
from serving.commands.shards import Shard
from tests.commands import run_in_process
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server

ask = partial(run_in_process, main, "serving")
PICTURES = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of several sizes in two folders, and a file that is none."""
    tiny_artifact(tmp_path / "models", "tiny")
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    for i in range(PICTURES):
        place = tmp_path / "pictures" / ("a" if i % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(encoded(photograph(16 + i % 5, 20, i)))
    (tmp_path / "pictures" / "bad.jpg").write_bytes(b"junk")
    return tmp_path / "pictures"


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_shards_together_are_the_whole(folder: Path, tmp_path: Path) -> None:
    ask("classify", folder, "--out", tmp_path / "whole.csv")
    whole = rows(tmp_path / "whole.csv")
    assert len(whole) == PICTURES + 1
    together = []
    for number in (1, 2, 3):
        out = tmp_path / f"answers-{number}.csv"
        done = ask("classify", folder, "--shard", f"{number}/3", "--out", out)
        part = rows(out)
        refused = any(row["problem"] for row in part)
        assert done.status == refused  # one of the three has the file that is no picture
        assert f"1 of {len(part)} pictures were refused" in done.err or not refused
        assert 10 <= len(part) <= 31
        together += part
    assert together != whole
    assert sorted(together, key=lambda row: row["path"]) == sorted(
        whole, key=lambda row: row["path"]
    )


def test_a_shard_is_the_same_wherever_the_folder_is_and_whatever_else_is_in_it(
    folder: Path, tmp_path: Path
) -> None:
    def shard_1_of_2(pictures: Path) -> set[str]:
        answered = csv.DictReader(ask("classify", pictures, "--shard", "1/2").out.splitlines())
        return {Path(row["path"]).relative_to(pictures).as_posix() for row in answered}

    before = shard_1_of_2(folder)
    assert 0 < len(before) < PICTURES
    elsewhere = tmp_path / "mounted" / "elsewhere"
    shutil.copytree(folder, elsewhere)
    assert shard_1_of_2(elsewhere) == before
    new = [f"a/0{i}.png" for i in range(10)]
    for name in new:
        shutil.copy(folder / "a" / "1.png", folder / name)
    after = shard_1_of_2(folder)
    assert after - before <= set(new)
    assert before <= after


def test_which_shard_a_name_is_in_does_not_change_between_releases() -> None:
    names = ["a/1.png", "a/2.png", "b/ä.jpg", "\udcff.jpg"]  # the last is no UTF-8
    assert [[n for n in names if Shard(i, 3).holds(n)] for i in (1, 2, 3)] == [
        ["a/1.png", "a/2.png"],
        ["b/ä.jpg"],
        ["\udcff.jpg"],
    ]


def test_a_shard_is_taken_up_again_and_kept_apart_from_others(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    ask("classify", folder, "--shard", "2/2", "--out", out)
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:5]) + lines[5][:7])  # torn in the sixth line
    ask("classify", folder, "--shard", "2/2", "--out", out)
    assert sorted(out.read_text().splitlines()) == sorted(whole.splitlines())
    kept = out.read_text()
    for other in ("1/2", "1/3", "2/3"):
        refused = ask("classify", folder, "--shard", other, "--out", out)
        assert (refused.status, len(refused.err.splitlines())) == (1, 1)
        assert f"pictures that are not in shard {other}; name another file" in refused.err
    assert out.read_text() == kept


def test_a_shard_without_pictures_is_an_empty_table(folder: Path, tmp_path: Path) -> None:
    picture = folder / "a" / "1.png"
    empty = 1 if Shard(2, 2).holds(picture.as_posix()) else 2
    for suffix, content in ((".csv", "path,width,"), (".jsonl", "")):
        out = tmp_path / f"answers{suffix}"
        done = ask("classify", picture, "--shard", f"{empty}/2", "--out", out)
        assert done.status == 0
        assert out.read_text()[:11] == content
        assert out.read_text().count("\n") == bool(content)


@pytest.mark.parametrize("given", ["0/4", "5/4", "1/0", "1", "a/b", "1/4/2", "-1/4", "1.0/4", ""])
def test_a_wrong_shard_is_one_line(given: str, folder: Path) -> None:
    done = ask("classify", folder, "--shard", given)
    assert done.status == 2
    assert f"{given!r} is no shard; write I/N with I from 1 to N" in done.err
    assert done.out == ""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("shards")
    tiny_artifact(root / "models", "tiny")
    face_artifact(root / "models")
    with running_server(root / "models", root / "log") as address:
        yield address


def test_the_other_commands_that_only_ask_take_shards(
    address: str, folder: Path, tmp_path: Path
) -> None:
    assert ask("index", folder, "--model", "tiny", "--name", "all").status == 0
    commands = {
        "neighbours": ["--model", "tiny", "--index", "all", "--top", "1"],
        "identify": ["--url", address, "--aligned"],
    }
    for command, options in commands.items():
        ask(command, folder, *options, "--out", tmp_path / f"{command}.jsonl")
        parts = []
        for number in (1, 2):
            out = tmp_path / f"{command}-{number}.jsonl"
            ask(command, folder, *options, "--shard", f"{number}/2", "--out", out)
            parts += out.read_text().splitlines()
        whole = (tmp_path / f"{command}.jsonl").read_text().splitlines()
        assert len(whole) == PICTURES + 1
        assert sorted(parts) == sorted(whole)
        assert any(json.loads(line).get("problem") for line in whole)

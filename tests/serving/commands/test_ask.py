import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from serving.__main__ import main
from serving.commands.batch import BATCH
from tests.commands import run_in_process
from tests.graphs import face_artifact, tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import running_server


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("asking")
    tiny_artifact(root / "models", "tiny")
    face_artifact(root / "models")
    with running_server(root / "models", root / "log") as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures in two folders, a file that is none, and one to leave alone."""
    for i in range(BATCH + 3):
        place = tmp_path / "pictures" / ("a" if i % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.png").write_bytes(encoded(photograph(16 + i % 5, 20, i)))
    (tmp_path / "pictures" / "bad.JPG").write_bytes(b"junk")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


ask = partial(run_in_process, main, "serving")


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_a_folder_is_classified_and_taken_up_again(address: str, folder: Path) -> None:
    out = folder.parent / "answers.csv"
    command = ["-m", "serving", "classify", str(folder), "--url", address, "--out", str(out)]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    assert f"error: 1 of {BATCH + 4} pictures were refused" in done.stderr
    rows = {row["path"]: row for row in rows_of(out)}
    assert len(rows) == BATCH + 4
    bad = rows.pop(str(folder / "bad.JPG"))
    assert bad["problem"].startswith("its 4 bytes do not begin as a picture")
    assert {row["problem"] for row in rows.values()} == {""}
    assert {row["class_1"] for row in rows.values()} <= {"red", "green", "blue"}
    shares = [sum(float(row[f"probability_{n}"]) for n in (1, 2, 3)) for row in rows.values()]
    assert shares == pytest.approx([1.0] * len(rows), abs=1e-5)
    assert rows[str(folder / "a" / "1.png")]["width"] == "17"

    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:9]) + lines[9][:7])  # torn in the tenth line
    again = ask("classify", folder, "--url", address, "--out", out)
    assert again.status == 1  # the one that is no picture comes last
    assert out.read_text() == whole


def test_a_file_that_is_too_large_to_be_sent_stops_no_other(address: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(photograph(16, 20, 1)))
    (tmp_path / "b.bmp").write_bytes(encoded(photograph(2700, 2700, 2), "BMP"))
    (tmp_path / "c.png").write_bytes(encoded(photograph(16, 20, 3)))
    for command in ("classify", "identify"):
        options = ("--aligned",) if command == "identify" else ()
        done = ask(command, tmp_path, "--url", address, *options)
        assert "error: 1 of 3 pictures were refused" in done.err
        problems = [row["problem"] for row in csv.DictReader(done.out.splitlines())]
        assert [problem[:31] for problem in problems] == ["", "the body has more than 20 MB; s", ""]


def test_in_process_and_over_http_say_the_same(
    address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    tiny_artifact(tmp_path / "models", "tiny")
    picture = folder / "a" / "1.png"
    here = ask("classify", picture, "--top", "2")
    there = ask("classify", picture, "--top", "2", "--url", address)
    assert here.status == there.status == 0
    ours, theirs = (list(csv.DictReader(done.out.splitlines())) for done in (here, there))
    assert [row["class_1"] for row in ours] == [row["class_1"] for row in theirs]
    assert float(ours[0]["probability_1"]) == pytest.approx(
        float(theirs[0]["probability_1"]), abs=1e-5
    )


def test_rows_as_json_and_of_one_model_only(
    address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "answers.jsonl"
    pictures = [folder / "a" / "1.png", folder / "a" / "3.png"]
    assert ask("classify", pictures[0], "--url", address, "--out", out).status == 0
    assert ask("classify", *pictures, "--url", address, "--out", out).status == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"] for row in rows] == [str(p) for p in pictures]
    tiny_artifact(tmp_path / "models", "tiny", classes=("left", "right"))
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    other = ask("classify", *pictures, "--out", out)
    assert other.status == 1
    assert "holds answers of another model" in other.err


def test_listed_files_become_rows_of_parquet(address: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.parquet"
    names = [
        folder / "a" / "1.png",
        folder / "gone.png",
        folder / "bad.JPG",
        folder / "b" / "0.png",
    ]
    command = ("classify", "-", "--url", address, "--top", "2", "--out", out)
    done = ask(*command, typed="\n".join(map(str, names[:3])))
    assert done.status == 1
    assert "2 of 3 pictures were refused" in done.err
    assert "3 of 3, " in done.err
    assert [row["problem"] is None for row in pq.read_table(out).to_pylist()] == [
        True,
        False,
        False,
    ]
    again = ask(*command, typed="\0".join(map(str, names)) + "\0")
    assert again.status == 0  # nothing new was refused
    table = pq.read_table(out)
    rows = table.to_pylist()
    assert [row["path"] for row in rows] == [str(name) for name in names]
    assert "No such file" in rows[1]["problem"]
    assert rows[3]["class_1"] in {"red", "green", "blue"}
    assert rows[3]["probability_1"] >= rows[3]["probability_2"]
    assert table.schema.field("width").type == "int32"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.parquet", "pictures"]


def test_an_interrupted_run_for_parquet_is_taken_up_again(
    address: str, folder: Path, tmp_path: Path
) -> None:
    out, lines = tmp_path / "answers.parquet", tmp_path / "answers.parquet.jsonl"
    pictures = [folder / "a" / "1.png", folder / "a" / "3.png"]
    assert ask("classify", pictures[0], "--url", address, "--out", tmp_path / "x.jsonl").status == 0
    (tmp_path / "x.jsonl").rename(lines)
    lines.write_bytes(lines.read_bytes() + b'{"path": "torn')
    assert ask("classify", *pictures, "--url", address, "--out", out).status == 0
    assert pq.read_table(out)["path"].to_pylist() == [str(picture) for picture in pictures]
    assert not lines.exists()


def test_enrolled_identified_and_verified(address: str, tmp_path: Path) -> None:
    for name, seed in (("ada", 1), ("ada-2", 1), ("bob", 2)):
        size = 64 if name != "ada-2" else 60
        (tmp_path / f"{name}.png").write_bytes(encoded(photograph(size, size, seed)))
    (tmp_path / "bad.png").write_bytes(b"junk")
    common = ("--url", address, "--aligned")
    done = ask("enrol", "Ada", tmp_path / "ada.png", tmp_path / "bad.png", *common)
    assert "1 of 2 pictures were refused" in done.err
    enrolled = list(csv.DictReader(done.out.splitlines()))
    assert [row["replayed"] for row in enrolled] == ["False", ""]
    again = ask("enrol", "Ada", tmp_path / "ada.png", *common)
    assert [row["replayed"] for row in csv.DictReader(again.out.splitlines())] == ["True"]
    found = ask("identify", tmp_path / "ada-2.png", tmp_path / "bob.png", *common)
    rows = list(csv.DictReader(found.out.splitlines()))
    assert [row["result"] for row in rows] == ["known", "unknown"]
    assert {row["person"] for row in rows} == {"Ada"}
    same = ask("verify", tmp_path / "ada.png", tmp_path / "ada-2.png", *common)
    assert same.out.startswith("match: distance 0.0")
    other = ask("verify", tmp_path / "ada.png", tmp_path / "bob.png", "--json", *common)
    assert json.loads(other.out)["result"] == "no_match"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file"),
        (["."], "no pictures (.bmp, "),
        (["x.png", "--out", "x.txt"], ".csv, .jsonl or .parquet"),
        (["x.png", "--out", "other.csv"], "contains something other"),
        (["x.png", "--out", "other.parquet"], "contains something other"),
        (["x.png", "--out", "line.csv"], "contains something other"),
        (["x.png", "--out", "line.jsonl"], "contains something other"),
        (["x.png", "--model", "nobody"], "nobody"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_artifact(tmp_path / "models", "tiny")
    (tmp_path / "work").mkdir()
    if arguments != ["."]:
        (tmp_path / "work" / "x.png").write_bytes(encoded(photograph(32, 32)))
    (tmp_path / "work" / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "work" / "other.parquet").write_text("no table")
    lines = [tmp_path / "work" / name for name in ("line.csv", "line.jsonl")]
    for line in lines:
        line.write_text("a line without an end")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(tmp_path / "models"))
    done = ask("classify", *arguments)
    assert done.status != 0
    assert message in done.err
    assert len(done.err.splitlines()) <= 2  # the bar, where it came so far
    assert {line.read_text() for line in lines} == {"a line without an end"}


def test_numpy_gets_one_thread_in_commands() -> None:
    """More of them wait for small products in loops, and take a core from other work."""
    asked = (
        "import vitrine, serving.commands.ask; from threadpoolctl import threadpool_info;"
        "print({p['num_threads'] for p in threadpool_info() if p['user_api'] == 'blas'})"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{1}"

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from artifacts import Artifact, ArtifactError, Manifest, Runtime, artifact_names
from artifacts.__main__ import main
from artifacts.names import default_version
from tests.graphs import tiny_artifact, tiny_model


@pytest.fixture
def saved(tmp_path: Path) -> Artifact:
    return tiny_artifact(tmp_path)


def test_opens_what_was_saved(saved: Artifact) -> None:
    opened = Artifact.open("tiny", saved.path.parent)
    assert opened == saved
    assert opened.model_path.read_bytes() == tiny_model().SerializeToString()
    files = ["card.md", "manifest.json", "model.onnx"]
    assert sorted(file.name for file in saved.path.iterdir()) == files


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx"])
def test_any_changed_byte_is_refused(saved: Artifact, file: str) -> None:
    path = saved.path / file
    content = path.read_bytes()
    places = range(0, len(content), max(1, len(content) // 200))
    for place in [*places, len(content) - 1]:
        for flip in (0x01, 0x80):
            changed = bytearray(content)
            changed[place] ^= flip
            path.write_bytes(changed)
            with pytest.raises(ArtifactError) as refusal:
                Artifact.open("tiny", saved.path.parent)
            assert str(path) in str(refusal.value), place
    path.write_bytes(content)
    Artifact.open("tiny", saved.path.parent)


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx"])
@pytest.mark.parametrize("change", [lambda c: c + b"\n", lambda c: c[:-1], lambda _: b""])
def test_longer_and_shorter_files_are_refused(
    saved: Artifact, file: str, change: Callable[[bytes], bytes]
) -> None:
    path = saved.path / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ArtifactError, match=file):
        Artifact.open("tiny", saved.path.parent)


def test_what_was_replaced_after_opening_is_not_taken_for_what_was_opened(saved: Artifact) -> None:
    other = tiny_model(seed=1).SerializeToString()
    saved.model_path.write_bytes(other)
    with pytest.raises(ArtifactError, match=r"model\.onnx: sha256 .* does not match"):
        saved.contents()
    with pytest.raises(ArtifactError, match=r"model\.onnx of tiny was changed or removed"):
        Runtime.open(saved)


def test_a_file_that_cannot_be_read_is_named(saved: Artifact) -> None:
    saved.model_path.unlink()
    saved.model_path.mkdir()
    with pytest.raises(ArtifactError, match=r"model\.onnx: listed in the manifest, but not read"):
        Artifact.open("tiny", saved.path.parent)


def test_a_missing_file_is_named(saved: Artifact) -> None:
    saved.model_path.unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx: listed in the manifest, but missing"):
        Artifact.open("tiny", saved.path.parent)


def test_an_unknown_name_is_refused_with_the_known_ones(saved: Artifact) -> None:
    with pytest.raises(ArtifactError, match=r"no artifact called 'other' .* there are: tiny"):
        Artifact.open("other", saved.path.parent)


def test_a_renamed_folder_is_refused(saved: Artifact) -> None:
    saved.path.rename(saved.path.with_name("better"))
    with pytest.raises(ArtifactError, match="names 'tiny'"):
        Artifact.open("better", saved.path.parent)


def test_a_manifest_that_lists_no_model_is_refused(saved: Artifact) -> None:
    manifest = saved.manifest.model_copy(update={"files": {}}).sealed()
    (saved.path / "manifest.json").write_bytes(manifest.canonical())
    with pytest.raises(ArtifactError, match=r"lists no model\.onnx"):
        Artifact.open("tiny", saved.path.parent)


def test_saving_again_replaces(saved: Artifact) -> None:
    root = saved.path.parent
    again = tiny_artifact(root, temperature=3.0)
    assert Artifact.open("tiny", root) == again
    assert again.manifest.temperature == 3.0
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_a_refused_graph_leaves_the_old_artifact_and_nothing_else(saved: Artifact) -> None:
    root = saved.path.parent
    manifest = Manifest.build(**{**saved.manifest.model_dump(), "input": {"fixed_size": (8, 8)}})
    broken = tiny_model()
    broken.graph.input[0].name = "pictures"
    with pytest.raises(ArtifactError, match=r"inputs \['pictures'\]"):
        Artifact.save(manifest, {"model.onnx": broken.SerializeToString()}, root)
    assert Artifact.open("tiny", root) == saved
    assert [path.name for path in root.iterdir()] == ["tiny"]


CRASH = """
import os, signal, sys
from pathlib import Path
from tests.graphs import tiny_artifact

def die(event, arguments):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)  # dies when all is written and the folder is about to take its place
tiny_artifact(Path(sys.argv[1]), temperature=9.0)
"""


def test_a_process_killed_while_writing_leaves_the_old_artifact(saved: Artifact) -> None:
    root = saved.path.parent
    done = subprocess.run([sys.executable, "-c", CRASH, str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(root)) == 2  # noqa: PTH208  what the dead process wrote is there
    assert artifact_names(root) == ["tiny"]
    assert Artifact.open("tiny", root) == saved


def test_a_failing_exchange_puts_the_old_artifact_back(
    saved: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = saved.path.parent
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if self.name == target.name == "tiny" and self.parent.name.startswith(".writing"):
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="disk full"):
        tiny_artifact(root, temperature=9.0)
    assert Artifact.open("tiny", root) == saved
    assert [path.name for path in root.iterdir()] == ["tiny"]


def test_names_are_sorted_and_hidden_folders_left_out(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        tiny_artifact(tmp_path, name)
    (tmp_path / ".writing-1").mkdir()
    (tmp_path / "a").rename(tmp_path / ".writing-1" / "a")
    (tmp_path / "notes").mkdir()
    assert artifact_names(tmp_path) == ["b", "c"]
    assert artifact_names(tmp_path / "nowhere") == []


def test_what_was_left_behind_is_cleared_up_and_an_exchange_finished(tmp_path: Path) -> None:
    saved = tiny_artifact(tmp_path, "tiny")
    half, swapped, fresh = (tmp_path / f".writing-{i}" for i in (1, 2, 3))
    for folder in (half / "half", fresh):
        folder.mkdir(parents=True)
    swapped.mkdir()
    saved.path.rename(swapped / "tiny")
    (swapped / ".replaced").mkdir()
    for folder in (half, swapped):
        os.utime(folder, (0, 0))
    gone = tmp_path / ".writing-4"
    gone.symlink_to("nowhere")  # as one that another process removes between listing and looking
    tiny_artifact(tmp_path, "other")
    gone.unlink()
    assert artifact_names(tmp_path) == ["other", "tiny"]
    assert Artifact.open("tiny", tmp_path).hash == saved.hash
    assert [path.name for path in tmp_path.glob(".*")] == [fresh.name]


def test_a_writer_that_ends_meanwhile_does_not_disturb_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob = Path.glob

    def glob_and_end(self: Path, pattern: str) -> list[Path]:
        found = list(glob(self, pattern))
        return [*found, self / ".writing-gone"] if pattern.startswith(".writing") else found

    monkeypatch.setattr(Path, "glob", glob_and_end)
    assert tiny_artifact(tmp_path).path.is_dir()


@pytest.mark.parametrize(
    ("there", "meant"),
    [
        (["a@1", "a", "a@2"], "a"),
        (["a@9", "a@10", "a@1", "ab@11"], "a@10"),
        (["a@2026-01", "a@2025-12"], "a@2026-01"),
        (["a@beta", "a@1.0"], "a@beta"),
        (["b", "ab@1"], "a"),
    ],
)
def test_a_name_alone_means_its_folder_or_the_last_version(there: list[str], meant: str) -> None:
    assert default_version("a", there) == meant


def test_versions_are_folders_with_a_suffix(saved: Artifact) -> None:
    root = saved.path.parent
    saved.path.rename(root / "tiny@1")
    newer = tiny_artifact(root, classes=("left", "right"))
    assert artifact_names(root) == ["tiny", "tiny@1"]
    assert Artifact.open("tiny", root) == newer
    older = Artifact.open("tiny@1", root)
    assert (older.name, older.manifest, older.hash) == ("tiny@1", saved.manifest, saved.hash)
    changed = older.manifest.model_copy(update={"temperature": 3.0})
    rewritten = Artifact.save(changed, older.contents(), root, older.name)
    assert Artifact.open("tiny@1", root) == rewritten
    assert Artifact.open("tiny", root) == newer


def test_a_version_is_given_a_title_in_its_own_folder(
    saved: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = saved.path.parent
    saved.path.rename(root / "tiny@1")
    newer = tiny_artifact(root, classes=("left", "right"))
    monkeypatch.setenv("VITRINE_ARTIFACTS", str(root))
    done = CliRunner().invoke(main, ["card", "tiny@1", "--title", "An older one"])
    assert done.exit_code == 0, done.output
    assert Artifact.open("tiny@1", root).manifest.title == "An older one"
    assert Artifact.open("tiny", root) == newer


@pytest.mark.parametrize("folder", ["tiny@", "tiny@A", "tiny@1@2", "tiny@-1", "tiny2@1"])
def test_a_folder_that_is_no_version_is_refused(saved: Artifact, folder: str) -> None:
    saved.path.rename(saved.path.parent / folder)
    with pytest.raises(ArtifactError, match="a version of"):
        Artifact.open(folder, saved.path.parent)


def test_of_two_concurrent_changes_none_is_lost(saved: Artifact) -> None:
    """Two programs open the artifact, and then each of them rewrites it."""
    root = saved.path.parent
    saved.rewrite(saved.manifest, saved.contents() | {"a.bin": b"1", "b.bin": b"1"})
    one, other = Artifact.open("tiny", root), Artifact.open("tiny", root)
    before = other.contents()
    titled = one.manifest.model_copy(update={"title": "Tells colours apart"})
    one.rewrite(titled, one.contents() | {"a.bin": b"2"})
    warmer = other.manifest.model_copy(update={"temperature": 2.0})
    other.rewrite(warmer, before | {"b.bin": b"2"})
    found = Artifact.open("tiny", root)
    assert (found.manifest.title, found.manifest.temperature) == ("Tells colours apart", 2.0)
    assert (found.read("a.bin"), found.read("b.bin")) == (b"2", b"2")


def _contents(artifact: Artifact) -> dict[str, bytes]:
    """Content of the files that are there now."""
    return {name: (artifact.path / name).read_bytes() for name in artifact.manifest.files}


@pytest.mark.parametrize("what", ["field", "file", "graph", "removed file"])
def test_changes_that_contradict_are_refused(saved: Artifact, what: str) -> None:
    root = saved.path.parent
    saved.rewrite(saved.manifest, saved.contents() | {"a.bin": b"1"})
    one, other = Artifact.open("tiny", root), Artifact.open("tiny", root)
    before = one.contents()
    graph = tiny_model(seed=1).SerializeToString()
    mine: dict[str, tuple[dict[str, object], dict[str, bytes]]] = {
        "field": ({"title": "One"}, before),
        "file": ({}, before | {"a.bin": b"2"}),
        "graph": ({}, before | {"model.onnx": graph}),
        "removed file": ({}, before | {"a.bin": b"2"}),
    }
    theirs: dict[str, tuple[dict[str, object], dict[str, bytes]]] = {
        "field": ({"title": "Other"}, before),
        "file": ({}, before | {"a.bin": b"3"}),
        "graph": ({}, before | {"a.bin": b"2"}),
        "removed file": ({}, {n: c for n, c in before.items() if n != "a.bin"}),
    }
    fields, files = mine[what]
    one.rewrite(one.manifest.model_copy(update=fields), files)
    after = _contents(one)
    fields, files = theirs[what]
    with pytest.raises(ArtifactError, match=r"another program has changed .* Run this command"):
        other.rewrite(other.manifest.model_copy(update=fields), files)
    assert _contents(one) == after


def test_writers_of_one_folder_wait_for_one_another(saved: Artifact) -> None:
    """Many threads each add a file; with a lock and a merge, all of them are there."""
    opened = [Artifact.open("tiny", saved.path.parent) for _ in range(8)]
    files = saved.contents()
    with ThreadPoolExecutor(8) as pool:
        done = [
            pool.submit(each.rewrite, each.manifest, files | {f"{i}.bin": b"x"})
            for i, each in enumerate(opened)
        ]
    for each in done:
        each.result()
    found = Artifact.open("tiny", saved.path.parent)
    assert {f"{i}.bin" for i in range(8)} <= found.manifest.files.keys()

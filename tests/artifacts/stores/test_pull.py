"""Artifacts go into a store and come back, whole and verified, or not at all."""

import hashlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from artifacts import Artifact, ArtifactError
from artifacts.manifest import Manifest
from artifacts.stores import pull as pulling
from artifacts.stores.location import Location, StoreError
from artifacts.stores.pull import pull, stored_names
from artifacts.stores.push import push
from tests.artifacts.conftest import Cli, assert_refused
from tests.commands import Done
from tests.graphs import tiny_artifact


def forget(root: Path, cache: Path) -> None:
    shutil.rmtree(root)
    shutil.rmtree(cache, ignore_errors=True)


def content(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_there_and_back_through_s3(cli: Cli, root: Path, cache: Path, s3: str) -> None:
    tiny_artifact(root)
    tiny_artifact(root, "other")
    before = content(root)
    pushed = cli("push", "tiny", "other", s3)
    assert (pushed.status, pushed.err) == (0, "")
    assert f"bytes written to {s3}/tiny\n" in pushed.out
    forget(root, cache)

    pulled = cli("pull", s3)
    assert (pulled.status, pulled.err) == (0, "")
    sizes = {name: len(data) for name, data in before.items()}
    first, then = sizes["other/model.onnx"] + sizes["other/card.md"], sizes["tiny/card.md"]
    assert pulled.out == (  # the second has the graph of the first
        f"other: {first:,} bytes transferred\ntiny: {then:,} bytes transferred\n"
    )
    assert content(root) == before
    shutil.rmtree(root)
    again = cli("pull", s3, "tiny")
    assert again == Done(0, "tiny: nothing transferred, all files were here\n", "")
    assert_refused(cli("pull", s3, "none"), f"{s3}/none/manifest.json: there is no such file")
    assert_refused(cli("pull", f"{s3}-of-nobody"), "holds no artifact")


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_one_line(cli: Cli, root: Path) -> None:
    tiny_artifact(root)
    assert_refused(cli("push", "tiny", "s3://no-such-bucket/models"), "s3://no-such-bucket/models")


def test_a_store_may_be_the_folder_of_one_artifact(cli: Cli, root: Path, store: str) -> None:
    tiny_artifact(root)
    assert cli("push", "tiny", f"{store}/tiny/").status == 0
    assert stored_names(Location.of(f"{store}/tiny")) == ["tiny"]
    shutil.rmtree(root)
    assert cli("pull", f"{store}/tiny").status == 0
    assert Artifact.open("tiny", root).name == "tiny"
    assert_refused(cli("pull", f"{store}/tiny", "another"), "the manifest names 'tiny'")
    assert not (root / "another").exists()


def test_a_web_server_is_pulled_from(cli: Cli, root: Path, store: str) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed; the extra http has it")
    for name in ("tiny", "other"):
        push(tiny_artifact(root, name), Location.of(store))
    shutil.rmtree(root)
    handler = partial(SimpleHTTPRequestHandler, directory=store.removeprefix("file://"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert stored_names(Location.of(url)) == ["other", "tiny"]
        assert cli("pull", url).status == 0
        single = cli("pull", f"{url}/tiny/")
        assert single.out == "tiny: nothing transferred, all files were here\n"
        server.shutdown()
    assert Artifact.open("other", root).name == "other"
    gone = cli("pull", url)
    assert_refused(gone, f"{url}: ")


def test_a_failure_leaves_what_was_there(
    root: Path, store: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tiny_artifact(root)
    tiny_artifact(root.parent / "new", classes=("left", "right"))
    push(Artifact.open("tiny", root.parent / "new"), Location.of(store))
    fetch = pulling.fetch

    def tear(source: Location, *rest: Any) -> int:
        if source.name == "model.onnx":
            raise KeyboardInterrupt
        return fetch(source, *rest)

    monkeypatch.setattr(pulling, "fetch", tear)
    with pytest.raises(KeyboardInterrupt):
        pull(Location.of(store), [], root)
    assert [path.name for path in root.iterdir()] == ["tiny"]
    assert Artifact.open("tiny", root).manifest == old.manifest
    assert not list(cache.rglob(".partial-*"))


def test_the_manifest_is_pushed_last(root: Path, store: str) -> None:
    written = []
    write = Location.write

    def note(self: Location, data: bytes) -> None:
        written.append(self.name)
        write(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Location, "write", note)
        _, size = push(tiny_artifact(root), Location.of(store))
        assert written[-1] == "manifest.json"
        assert size > 0
        written.clear()
        push(Artifact.open("tiny", root), Location.of(store))
        assert written == ["README.md"]  # the rest is there already


def test_a_damaged_cache_is_transferred_again(root: Path, cache: Path, store: str) -> None:
    place = Location.of(store)
    artifact = tiny_artifact(root)
    push(artifact, place)
    (first,) = pull(place, [], root)
    assert first.transferred
    for file in (cache / "files").iterdir():
        file.write_bytes(b"damaged")  # a link to the artifact's own file
    (again,) = pull(place, [], root)
    assert again.transferred == first.transferred
    assert again.artifact.manifest == artifact.manifest


def altered(store: str, change: Callable[[dict[str, Any], Path], None]) -> None:
    """Change a manifest, and sign it anew as whoever owns a store can."""
    folder = Path(store.removeprefix("file://")) / "tiny"
    fields = json.loads((folder / "manifest.json").read_text())
    change(fields, folder)
    fields["digest"] = ""
    (folder / "manifest.json").write_bytes(Manifest.build(**fields).sealed().canonical())


@pytest.mark.parametrize(
    "name",
    ["../../evil.onnx", "/evil.onnx", "a/b.onnx", "weights.pkl", "manifest.json", ".x.md"],
)
def test_files_that_no_artifact_has_are_refused(root: Path, store: str, name: str) -> None:
    push(tiny_artifact(root), Location.of(store))
    before = content(root.parent)

    def add(fields: dict[str, Any], folder: Path) -> None:
        del folder
        fields["files"][name] = "0" * 64

    altered(store, add)
    with pytest.raises(ArtifactError, match="lists the file"):
        pull(Location.of(store), ["tiny"], root)
    there = "store/tiny/manifest.json"
    assert {k: v for k, v in content(root.parent).items() if k != there} == {
        k: v for k, v in before.items() if k != there
    }


@pytest.mark.parametrize("name", ["../tiny", "a/b", ".hidden", "tiny@../x", ""])
def test_names_that_lead_elsewhere_are_refused(root: Path, store: str, name: str) -> None:
    with pytest.raises(StoreError, match="is no name of an artifact"):
        pull(Location.of(store), [name], root)


def test_sizes_are_bounded_and_hashes_checked(
    root: Path, cache: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(tiny_artifact(root), Location.of(store))
    shutil.rmtree(root)
    card = Path(store.removeprefix("file://")) / "tiny" / "card.md"
    card.write_bytes(b"x" * len(card.read_bytes()))
    with pytest.raises(StoreError, match=r"card\.md: sha256 .* does not match"):
        pull(Location.of(store), [], root)
    monkeypatch.setattr(pulling, "FILE_BYTES", 100)
    with pytest.raises(StoreError, match="has more than the 100 bytes allowed"):
        pull(Location.of(store), [], root)
    assert list(root.iterdir()) == []
    kept = list((cache / "files").iterdir())
    for file in kept:
        assert file.name == hashlib.sha256(file.read_bytes()).hexdigest()


def test_what_is_no_url_or_needs_a_package(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(cli("pull", "models"), "'models' is no URL")
    assert_refused(cli("pull", "nothing://x/y"), "Protocol not known: nothing. URLs begin with")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    loaded = sys.modules["fsspec.registry"]._registry
    monkeypatch.delitem(loaded, "s3", raising=False)
    refused = cli("pull", "s3://key:secret@bucket/models")
    assert_refused(refused, "s3:// needs a package that is not installed; install it: pip install")
    assert "secret" not in refused.err
    assert "[s3]" in refused.err


def test_a_store_tells_when_a_file_was_changed(s3: str) -> None:
    before = time.time() - 1  # S3 counts in whole seconds
    place = Location.of(s3) / "a" / "one.txt"
    place.write(b"four")
    assert place.exists()
    ((name, status),) = Location.of(s3).below().items()
    assert (name, status.size) == ("a/one.txt", 4)
    assert before <= status.modified / 1e9 <= time.time()

"""Commands: list, show, verify."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import artifacts
from tests.artifacts.conftest import Cli, assert_refused
from tests.commands import Done
from tests.graphs import tiny_artifact


def test_the_module_runs_as_a_program(root: Path) -> None:
    tiny_artifact(root)
    command = [sys.executable, "-m", "artifacts"]
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True)
    assert "tiny" in listed.stdout
    assert listed.stderr == ""
    failed = subprocess.run([*command, "show", "no"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: no artifact called 'no'")


def test_list(cli: Cli, root: Path) -> None:
    assert cli("list") == Done(0, f"no artifacts in {root}\n", "")
    data = {
        "name": "synthetic/objects",
        "fingerprint": "0" * 64,
        "synthetic": True,
        "train_samples": 10,
        "validation_samples": 2,
    }
    accuracy = {"name": "accuracy", "value": 0.87654, "split": "test", "samples": 10}
    tiny_artifact(
        root,
        route="cifar10",
        dataset=data,
        metrics=[accuracy],
        parameters={"total": 1234567, "trainable": 1},
    )
    tiny_artifact(root, "another")
    done = cli("list")
    assert (done.status, done.err) == (0, "")
    row = next(line for line in done.out.splitlines() if "tiny" in line)
    for shown in ("cifar10", "synthetic/objects (synthetic)", "1,234,567", "0.8765"):
        assert shown in row
    listed = json.loads(cli("list", "--json").out)
    assert [each["name"] for each in listed] == ["another", "tiny"]
    assert listed[1]["metrics"][0]["value"] == 0.87654


def test_list_shows_the_default_of_each_route(cli: Cli, root: Path) -> None:
    tiny_artifact(root, "apples", route="fruit")
    tiny_artifact(root, "pears", route="fruit", default=True)
    tiny_artifact(root, "alone", route="birds")
    tiny_artifact(root, "named")
    done = cli("list")
    assert (done.status, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["birds", "alone", "1"] in rows
    assert ["fruit", "pears", "2"] in rows
    listed = json.loads(cli("list", "--json").out)
    assert [each["name"] for each in listed if each["answers_for_route"]] == ["alone", "pears"]


def test_a_default_is_chosen(cli: Cli, root: Path) -> None:
    for name in ("apples", "pears"):
        tiny_artifact(root, name, route="fruit", default=True)
    warned = cli("list")
    assert warned.status == 0
    assert warned.err.startswith("warning: route 'fruit': apples, pears all say that they are")
    assert cli("list", "--json").err == warned.err
    chosen = cli("default", "pears")
    assert chosen == Done(0, "pears answers for the route fruit, in place of apples\n", "")
    assert cli("list").err == ""
    tiny_artifact(root, "named")
    assert_refused(cli("default", "named"), "named has no route")


def test_show(cli: Cli, root: Path) -> None:
    artifact = tiny_artifact(root)
    shown = json.loads(cli("show", "tiny", "--json").out)
    assert shown == artifact.manifest.model_dump(mode="json")
    printed = cli("show", "tiny")
    assert printed.status == 0
    path, _, text = printed.out.partition("\n")
    assert path == str(artifact.path)
    assert json.loads(text) == shown
    assert_refused(cli("show", "other"), "no artifact called 'other'")


def test_list_shows_the_whole_beside_the_broken(cli: Cli, root: Path) -> None:
    tiny_artifact(root)
    broken = tiny_artifact(root, "broken")
    broken.model_path.unlink()
    (tiny_artifact(root, "future").path / "manifest.json").write_text('{"version": 99}')
    done = cli("list")
    assert (done.status, "tiny" in done.out) == (1, True)
    lines = done.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["broken", "future"]
    assert "missing" in lines[0]
    assert "version 99" in lines[1]
    entries = {entry["name"]: entry for entry in json.loads(cli("list", "--json").out)}
    assert [name for name, entry in entries.items() if "error" in entry] == ["broken", "future"]


def test_no_command_shows_the_help(cli: Cli) -> None:
    done = cli()
    assert done.status == 2
    assert "Commands:\n" in done.err


def test_verify(cli: Cli, root: Path) -> None:
    assert_refused(cli("verify"), f"no artifacts under {root}")
    tiny_artifact(root)
    broken = tiny_artifact(root, "broken")
    assert cli("verify") == Done(0, "broken: ok\ntiny: ok\n", "")

    broken.model_path.write_bytes(broken.model_path.read_bytes()[:-1])
    done = cli("verify")
    assert (done.status, done.out) == (1, "tiny: ok\n")
    assert done.err.startswith(f"broken: {broken.model_path}: sha256")
    assert done.err.count("\n") == 1
    assert cli("verify", "tiny") == Done(0, "tiny: ok\n", "")
    assert cli("verify", "broken").status == 1
    assert cli("verify", "other").status == 1

    done = cli("verify", "--json")
    results = json.loads(done.out)
    assert (done.status, done.err) == (1, "")
    assert results.pop("tiny") == "ok"
    assert "does not match" in results.pop("broken")
    assert not results


def test_verify_reports_a_folder_without_manifest(cli: Cli, root: Path) -> None:
    (root / "half").mkdir(parents=True)
    done = cli("verify")
    assert done.status == 1
    assert "half/manifest.json: missing" in done.err


def test_a_wrong_command_is_refused(cli: Cli) -> None:
    assert_refused(cli("lits"), "Try: python -m artifacts --help", 2)


def test_quantizing_without_its_library_says_what_to_install(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(artifacts, "quantize", raising=False)
    monkeypatch.setitem(sys.modules, "artifacts.quantize", None)
    assert_refused(cli("quantize", "tiny"), "pip install -c constraints.txt -e '.[quantize]'")

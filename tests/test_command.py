"""The command `vitrine`: what it lists, how fast it can be, and what it says without an extra."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vitrine import COMMANDS, group

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "timm", "onnxruntime", "bentoml")

RUN = """
import sys
from vitrine import main
sys.argv[0] = "vitrine"
try:
    main()
finally:
    print(*sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
"""
WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from vitrine import main
main()
"""


def vitrine(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "vitrine", *arguments, **environment)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_lists_every_command() -> None:
    done = vitrine("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(help_ in done.stdout for _, help_ in COMMANDS.values())


def everything(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The names of all commands below one, as they are typed."""
    found = [path]
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            _, below, _ = command.resolve_command(context, [name])
            assert below is not None
            found += everything(below, (*path, name))
    return found


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    paths = everything(group)
    for expected in (("train", "results"), ("models", "quantize"), ("faces", "re-embed")):
        assert expected in paths
    for path in paths:
        assert group.main([*path, "--help"], "vitrine", standalone_mode=False) == 0
        assert f"Usage: {' '.join(('vitrine', *path))} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["train", "list"]])
def test_a_listing_imports_nothing_heavy(arguments: list[str]) -> None:
    done = python("-c", RUN, *arguments)
    assert done.returncode == 0, done.stderr
    imported = done.stderr.split()
    assert "click" in imported
    assert not set(HEAVY) & set(imported)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["lits"], 2), (["train", "lits"], 2), (["models", "show", "no"], 1), (["key", "not a"], 1)],
)
def test_mistakes_end_in_one_line(arguments: list[str], status: int) -> None:
    done = vitrine(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("yaml", ["train", "list"], "train"),
        ("torch", ["train", "run", "cifar10-gap", "--profile", "smoke", "--force"], "train"),
        ("pydantic_settings", ["settings"], "serve"),
        ("sqlalchemy", ["faces", "verify", "a.png", "b.png"], "serve"),
        ("httpx", ["analyse", "--help"], "analyse"),
    ],
)
def test_a_missing_extra_is_named_by_the_command_that_needs_it(
    missing: str, arguments: list[str], extra: str
) -> None:
    done = python("-c", WITHOUT, missing, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"{missing} is not installed" in done.stderr
    assert f"pip install -c constraints.txt -e '.[{extra}]'" in done.stderr


def test_help_lists_everything_without_any_extra() -> None:
    done = python("-c", WITHOUT, "torch,yaml,fastapi,bentoml,sqlalchemy,httpx", "--help")
    assert (done.returncode, done.stdout) == (0, vitrine("--help").stdout)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("vitrine tr", ["train"]),
        ("vitrine train ru", ["run"]),
        ("vitrine c", ["classify"]),
    ],
)
def test_the_shell_completes(typed: str, completed: list[str]) -> None:
    done = vitrine(
        _VITRINE_COMPLETE="bash_complete",
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split()) - 1),
    )
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == completed


def test_bash_gets_the_script_that_asks_for_completions() -> None:
    done = vitrine(_VITRINE_COMPLETE="bash_source")
    assert "complete -o nosort -F _vitrine_completion vitrine" in done.stdout

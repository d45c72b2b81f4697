"""Runs what the README and all pages of docs/ tell the reader to run, in a copy of the project."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.commands import Done
from tests.programs import Program
from tests.server import free_port

pytestmark = pytest.mark.timeout(600)  # the server's environment may have to be installed

ROOT = Path(__file__).parents[1]
PORT = "3000"
NOT_RUN = {
    "make test": "is what runs this",
    "make setup": "installs what this runs in",
    ". .venv/bin/activate": "the commands get this environment's programs anyway",
    "make train-all": "trains for an hour",
}
START = "make run"
NOT_COPIED = (
    ".git",
    ".venv*",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "build",
    "data",
    "runs",
    "reports",
)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = {
    "json": "an answer",
    "text": "what cannot run here: it needs containers or hours, or changes this environment",
    "": "a drawing",
}
"""Kinds of blocks that hold nothing to run."""
NEEDS_A_KEY = 'key="…"'


def blocks(kind: str) -> list[str]:
    """What stands in the pages' blocks of a kind."""
    found = []
    for page in PAGES:
        fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        found += [content for named, content in fences if named == kind]
    return found


def commands() -> list[str]:
    """The commands in the pages' `sh` blocks, each once, continued lines joined."""
    joined = (block.replace("\\\n", " ") for block in blocks("sh"))
    lines = (line for block in joined for line in block.splitlines() if line)
    return list(dict.fromkeys(lines))


def test_every_exception_is_in_the_readme() -> None:
    assert {START, *NOT_RUN} <= set(commands())


def test_what_can_be_run_stands_in_blocks_that_are_run() -> None:
    for page in PAGES:
        opened = re.findall(r"^```(\w*)$", page.read_text(), re.MULTILINE)[::2]
        assert set(opened) <= {"sh", "python", *SHOWN}, page


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that shares its environments, made where they are missing."""
    subprocess.run(["make", ".venv-serve/.installed"], cwd=ROOT, capture_output=True, check=True)
    copy = tmp_path_factory.mktemp("readme") / "vitrine"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for environment in ROOT.glob(".venv*"):
        (copy / environment.name).symlink_to(environment)
    return copy


@pytest.fixture(scope="module")
def port(workspace: Path) -> Iterator[str]:
    """Port of a server started with the README's command; no process outlives it."""
    number = str(free_port())
    log = workspace / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*START.split(), f"PORT={number}"],
            cwd=workspace,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for("try: curl", server, log)
        yield number
    finally:
        running = server.poll() is None
        family = psutil.Process(server.pid).children(recursive=True) if running else []
        server.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=30)
        for process in alive:
            process.kill()
        server.wait()
    assert not alive, f"outlived {START}: {alive}"


def wait_for(text: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server has logged `text`."""
    deadline = time.monotonic() + 90
    while text not in log.read_text():
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"`{START}` did not come up:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def run(command: str, workspace: Path) -> str:
    """Run a command as a reader would, and give its standard output."""
    # or the installed program `vitrine` would use the checkout that it was installed from
    environment = {**os.environ, "PYTHONPATH": str(workspace)}
    if re.fullmatch(r"vitrine [^|>$;&]+", command):  # no need of a shell
        done = Program("vitrine", shlex.split(command)[1:], workspace, environment).wait()
    else:
        done = run_in_shell(command, workspace, environment)
    assert done.status == 0, f"{command}\n{done.out[-2000:]}{done.err[-2000:]}"
    return done.out


def run_in_shell(command: str, workspace: Path, environment: Mapping[str, str]) -> Done:
    (workspace / ".curlrc").write_text("fail-with-body\n")  # a 4xx is a failure, too
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=workspace,
        env={**environment, "PATH": programs, "CURL_HOME": str(workspace)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("program", [b for b in blocks("python") if NEEDS_A_KEY not in b])
def test_program(program: str, workspace: Path) -> None:
    run(f"python - <<'END'\n{program}\nEND", workspace)


@pytest.mark.parametrize("command", [c for c in commands() if c not in {START, *NOT_RUN}])
def test_command(command: str, workspace: Path, request: pytest.FixtureRequest) -> None:
    if PORT in command:
        command = command.replace(PORT, request.getfixturevalue("port"))
    assert run(command, workspace)


def test_the_server_prints_a_command_that_works(port: str, workspace: Path) -> None:
    printed = re.search(r"curl .*", (workspace / "server.log").read_text())
    assert printed is not None
    assert f":{port}/" in printed[0]
    assert '"probability"' in run(printed[0], workspace)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

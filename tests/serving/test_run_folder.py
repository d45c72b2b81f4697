"""What becomes of the temporary folders of servers that end, and of those that are killed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.server import ROOT

SERVER = "from serving.run_folder import run_folder; print(run_folder(), flush=True); input()"


def start(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that makes its run folder in `folder`, and waits for a line."""
    environment = {name: value for name, value in os.environ.items() if name != "VITRINE_RUN"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        env={**environment, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_next_server_removes_what_killed_ones_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "vitrine-of-somebody-else").mkdir()
    running, kept = start(tmp_path)
    killed, left = start(tmp_path)
    killed.kill()
    killed.communicate()
    assert {kept, left} < set(tmp_path.iterdir())
    last, own = start(tmp_path)
    assert set(tmp_path.iterdir()) == {kept, own, tmp_path / "vitrine-of-somebody-else"}
    for process in (running, last):
        process.communicate("\n")
        assert process.returncode == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "vitrine-of-somebody-else"]

"""A short run of the fuzzer; `make fuzz` runs it for long."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_the_fuzzer_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tests" / "hostile" / "fuzz_pictures.py", "-runs=3000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 3000 " in done.stderr
    assert not list(tmp_path.glob("crash-*"))

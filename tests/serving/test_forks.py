"""Workers are forks: what they inherit, what they do not, and what makes that safe."""

import inspect
import subprocess
import sys
from importlib import import_module

from _bentoml_impl.server import serving as of_bentoml

from serving.forks import WORKER
from tests.server import ROOT

FORKS = """
import os, signal, sys
from serving.forks import fork

signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

def show():
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    print(*handlers, os.environ, os.getcwd(), sep="|")

def fail():
    raise ValueError("on purpose")

prepare = lambda: print("prepared")
for run in (show, fail, lambda: sys.exit(3)):
    child = fork(run, prepare, {"A": "1"}, "/")
    child.wait()
    print("status", child.poll())
running = fork(signal.pause, lambda: None, {}, "/")
print("status", running.poll())
running.terminate()
running.wait()
print("status", running.poll())
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-u", "-c", program]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_fork_begins_like_a_new_program_and_ends_with_a_status() -> None:
    done = run(FORKS)
    assert done.returncode == 0, done.stderr
    prepared, shown, first, *others = done.stdout.splitlines()
    terminate, ignored, interrupt, environment, folder = shown.split("|")
    assert (prepared, first) == ("prepared", "status 0")
    assert (terminate, ignored) == ("0", "1")  # SIG_DFL and SIG_IGN
    assert "default_int_handler" in interrupt
    assert environment == "environ({'A': '1'})"
    assert folder == "/"
    said = [line for line in others if line != "prepared"]
    assert said == ["status 1", "status 3", "status None", "status -15"]
    assert "ValueError: on purpose" in done.stderr


def test_what_is_imported_before_the_fork_starts_no_thread() -> None:
    """A fork would have none of the threads of ONNX Runtime, but would wait for them."""
    done = run(
        "import os, sys\nbefore = len(os.listdir('/proc/self/task'))\nimport numpy, faiss\n"
        "of_numpy = len(os.listdir('/proc/self/task'))\nimport serving.worker\n"
        "print(len(os.listdir('/proc/self/task')) - of_numpy, 'onnxruntime' in sys.modules)"
    )
    assert done.stdout.split() == ["0", "False"], done.stderr


def test_circus_and_bentoml_start_workers_as_the_fork_expects() -> None:
    source = inspect.getsource(import_module("circus.process").Process.spawn)
    assert "Popen(args, cwd=self.working_dir" in source
    assert "preexec_fn=preexec_fn" in source
    assert "env=self.env" in source
    assert WORKER == ["-m", of_bentoml._SERVICE_WORKER_SCRIPT]

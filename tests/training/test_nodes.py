"""One model trained on two hosts, which are two folders and two launchers on loopback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from artifacts import Artifact
from tests.server import free_port
from tests.training.test_run import NAME, RUN, call, environment, losses

pytestmark = pytest.mark.timeout(600)  # three launches, one after the other
HOSTS = 2


@pytest.fixture(scope="module")
def one_host(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The model of two processes on one host."""
    folder = tmp_path_factory.mktemp("one-host")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(HOSTS)]
    done = call([*launch, "--master-port", str(free_port()), *RUN[1:]], folder)
    assert done.returncode == 0, done.stderr
    return Artifact.open(NAME, folder / "models")


@contextmanager
def two_hosts(folder: Path, *changes: tuple[str, ...]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the launchers of both hosts, which share no files; nothing outlives the block.

    Each host's output is in the file `log` of its folder.
    """
    port = free_port()
    hosts = []
    for rank in range(HOSTS):
        home = folder / f"host-{rank}"
        home.mkdir(exist_ok=True)
        launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(HOSTS)]
        launch += ["--nproc-per-node", "1", "--node-rank", str(rank)]
        launch += ["--master-addr", "127.0.0.1", "--master-port", str(port), *RUN[1:]]
        with (home / "log").open("wb") as log:
            hosts.append(
                subprocess.Popen(
                    [*launch, *(changes[rank] if changes else ())],
                    cwd=home,
                    env=environment(home) | {"GLOO_SOCKET_IFNAME": "lo"},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        yield hosts
    finally:
        for host in hosts:
            for process in [*workers(host), host]:
                process.kill()
            host.wait()


def workers(host: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that a launcher has started."""
    if host.poll() is not None:
        return []
    return psutil.Process(host.pid).children(recursive=True)


def ends(hosts: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for both launchers, and return their exit statuses."""
    return [host.wait(timeout=250) for host in hosts]


def log(folder: Path, rank: int) -> str:
    return (folder / f"host-{rank}" / "log").read_text()


def test_two_hosts_train_what_one_does_even_if_one_was_lost(
    one_host: Artifact, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "host-0" / "runs" / NAME / "checkpoint.pt"
    with two_hosts(tmp_path) as hosts:
        deadline = time.monotonic() + 200
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        lost = workers(hosts[1])
        assert lost, log(tmp_path, 1)
        for process in lost:
            os.kill(process.pid, signal.SIGKILL)
        assert 0 not in ends(hosts)  # the host that is left does not wait for ever
    assert checkpoint.exists()
    with two_hosts(tmp_path) as hosts:
        assert ends(hosts) == [0, 0], log(tmp_path, 0)
    assert "continuing after epoch" in log(tmp_path, 0)
    assert "continuing after epoch" not in log(tmp_path, 1)  # one of the processes speaks
    artifact = Artifact.open(NAME, tmp_path / "host-0" / "models")
    assert artifact.hash == one_host.hash
    assert artifact.manifest.metrics == one_host.manifest.metrics
    assert losses(artifact) == losses(one_host)
    assert not (tmp_path / "host-1" / "models").exists()


def test_hosts_that_would_train_different_things_are_told(tmp_path: Path) -> None:
    named = ("--name", "mine", "--set")
    with two_hosts(tmp_path, (*named, "seed=0"), (*named, "seed=1")) as hosts:
        assert ends(hosts) == [1, 1]
    for rank in range(HOSTS):
        assert "error: mine-smoke: process 1 has another recipe than process 0" in log(
            tmp_path, rank
        )

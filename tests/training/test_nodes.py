"""One model trained by two processes: on one host, and on two, which are folders on loopback."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from artifacts import Artifact
from tests.programs import Program
from tests.server import free_port
from tests.training.test_run import NAME, RUN, losses, start

pytestmark = pytest.mark.timeout(600)  # three launches, one after the other
HOSTS = 2


@pytest.fixture(scope="module")
def one_host(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The model of two processes on one host, as accelerate starts them."""
    folder = tmp_path_factory.mktemp("one-host")
    launch = ["--multi_gpu", "--num_processes", str(HOSTS)]  # there is no GPU, so on CPUs
    launch += ["--main_process_port", str(free_port()), "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "training"]
    done = start(folder, "accelerate.commands.launch", *launch, *RUN).wait()
    assert done.status == 0, done.err
    return Artifact.open(NAME, folder / "models")


def test_two_devices_train_one_model(one_host: Artifact) -> None:
    accuracy = one_host.manifest.metric("accuracy", "test")
    assert accuracy is not None
    assert accuracy > 0.9


@contextmanager
def two_hosts(folder: Path, *changes: tuple[str, ...]) -> Iterator[list[Program]]:
    """Start the launchers of both hosts, which share no files; nothing outlives the block."""
    port = free_port()
    hosts = []
    for rank in range(HOSTS):
        home = folder / f"host-{rank}"
        home.mkdir(exist_ok=True)
        launch = ["--nnodes", str(HOSTS), "--nproc-per-node", "1", "--node-rank", str(rank)]
        launch += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "training"]
        words = [*launch, *RUN, *(changes[rank] if changes else ())]
        hosts.append(start(home, "torch.distributed.run", *words, GLOO_SOCKET_IFNAME="lo"))
    try:
        yield hosts
    finally:
        for host in hosts:
            for process in workers(host):
                process.kill()
            host.kill()


def workers(host: Program) -> list[psutil.Process]:
    """The processes that a launcher has started."""
    return psutil.Process(host.pid).children(recursive=True) if host.running else []


def ends(hosts: list[Program]) -> list[int]:
    """Wait for both launchers, and return their exit statuses."""
    return [host.wait(timeout=250).status for host in hosts]


def test_two_hosts_train_what_one_does_even_if_one_was_lost(
    one_host: Artifact, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "host-0" / "runs" / NAME / "checkpoint.pt"
    with two_hosts(tmp_path) as hosts:
        deadline = time.monotonic() + 200
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        lost = workers(hosts[1])
        assert lost, hosts[1].err
        for process in lost:
            os.kill(process.pid, signal.SIGKILL)
        assert 0 not in ends(hosts)  # the host that is left does not wait for ever
    assert checkpoint.exists()
    with two_hosts(tmp_path) as hosts:
        assert ends(hosts) == [0, 0], hosts[0].err
    assert "continuing after epoch" in hosts[0].err
    # one of the processes speaks
    assert "continuing after epoch" not in hosts[1].out + hosts[1].err
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
        told = "error: mine-smoke: process 1 has another recipe than process 0"
        assert told in hosts[rank].err

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from serving.http.access import Access, hash_key
from serving.settings import read_settings
from tests.graphs import tiny_artifact
from tests.pictures import encoded, photograph
from tests.server import ROOT, launch, running_server


def start(port: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving", "run", "--port", port],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start(port)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_without_keys_the_server_listens_on_this_machine_only() -> None:
    command = [sys.executable, "-m", "serving", "run", "--host", "0.0.0.0"]  # noqa: S104
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "VITRINE_API_KEYS" in done.stderr


def test_a_key_is_shown_once_and_its_entry_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "serving", "key", "ada", "--scopes", "read"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    secret, entry = (line.split()[-1] for line in done.stdout.splitlines())
    monkeypatch.setenv("VITRINE_API_KEYS", entry)
    (key,) = Access.from_settings(read_settings()).keys
    assert (key.name, key.scopes, key.hash) == ("ada", {"read"}, hash_key(secret))
    bad = subprocess.run(
        [*command[:-3], "not a name"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (bad.returncode, bad.stderr.count("\n")) == (1, 1)


def test_a_server_without_a_model_lives_but_is_not_ready(tmp_path: Path) -> None:
    broken = tiny_artifact(tmp_path / "models", route="cifar10")
    broken.model_path.write_bytes(b"")
    with running_server(tmp_path / "models", tmp_path / "log", until="/livez") as address:
        assert httpx.get(f"{address}/readyz").status_code == 503
        refused = httpx.post(f"{address}/v1/cifar10/classify", content=b"x")
        assert refused.status_code == 404
        assert "1 could not be loaded" in refused.json()["detail"]
        deadline = time.monotonic() + 60  # another worker may have answered before this one is up
        while "NO MODEL TO SERVE" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("port", "workers", "status", "message"),
    [
        ("99999", "1", 2, "not in the range"),
        ("3000", "many", 1, "VITRINE_WORKERS=many: a whole number from 1 on is expected."),
    ],
)
def test_wrong_settings_are_said_in_one_line(
    port: str, workers: str, status: int, message: str
) -> None:
    done = start(port, VITRINE_WORKERS=workers)
    assert done.returncode == status
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_an_ipv6_address_is_listened_on_and_shown_as_an_address(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    tiny_artifact(tmp_path / "models", "tiny", route="cifar10")
    environment = {
        **{name: value for name, value in os.environ.items() if name != "VITRINE_RUN"},
        "VITRINE_ARTIFACTS": str(tmp_path / "models"),
        "VITRINE_WORKERS": "1",
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-m", "serving", "run", "--host", "::1"]
    log = tmp_path / "log"
    server = launch(command, log, ROOT, environment, "/readyz", host="[::1]")
    try:
        advice = re.findall(r"http://\S+", log.read_text())
        shown = f"{server.address}/v1/cifar10/classify"
        assert shown in advice
        assert httpx.post(shown, content=encoded(photograph(20, 20))).status_code == 200
        assert f"{server.address}," in advice
    finally:
        server.stop()


def test_what_is_no_address_is_said_in_one_line() -> None:
    command = [sys.executable, "-m", "serving", "run", "--host", "::1::2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {1, 2}
    assert done.stderr.count("\n") == 1

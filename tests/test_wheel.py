"""The wheel: built, installed away from the checkout, and served from an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from artifacts.distribution import DISTRIBUTION
from tests.server import launch

pytestmark = pytest.mark.timeout(600)  # the server's environment may have to be installed

ROOT = Path(__file__).parents[1]
MAX_BYTES = 100_000_000
"""The default limit of PyPI on one file."""
NOT_COPIED = (".git", ".venv*", ".*_cache", "__pycache__", "*.egg-info", "build", "data", "runs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, in which a smoke run and an interrupted write lie about."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for name in ("gap-smoke", ".writing-1"):
        left = source / "artifacts" / "models" / name
        left.mkdir()
        (left / "manifest.json").write_text("{}")
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", *command, str(source)], capture_output=True, check=True, timeout=300
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with what `make run` installs but for the checkout.

    A `.pth` file adds the packages of `.venv-serve`. Python does not read further `.pth` files in a
    folder that was added so, and one of those is what leads to the checkout.
    """
    subprocess.run(["make", ".venv-serve/.installed"], cwd=ROOT, capture_output=True, check=True)
    folder = tmp_path_factory.mktemp("installed") / "environment"
    served = ROOT / ".venv-serve" / "bin" / "python"
    subprocess.run([served, "-m", "venv", "--without-pip", folder], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    shared, own = (
        subprocess.run(
            [python, "-c", where], capture_output=True, text=True, check=True
        ).stdout.strip()
        for python in (served, folder / "bin" / "python")
    )
    pip = [served, "-m", "pip", "--python", folder / "bin" / "python"]
    subprocess.run([*pip, "install", "--no-deps", wheel], capture_output=True, check=True)
    (Path(own) / "serve.pth").write_text(f"{shared}\n")
    return folder


def packages(environment: Path) -> Path:
    """The folder that the wheel was installed in."""
    (found,) = environment.glob("lib/*/site-packages")
    return found


def tree(folder: Path) -> dict[str, int]:
    """All files below a folder, with the time of their last change."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


def outside(**variables: str) -> dict[str, str]:
    """This process's environment, without what could lead to the checkout."""
    own = {n: v for n, v in os.environ.items() if not n.startswith(("VITRINE_", "PYTHON"))}
    return {**own, "BENTOML_DO_NOT_TRACK": "True", **variables}


def vitrine(environment: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [environment / "bin" / "vitrine", *arguments],
        cwd=cwd,
        env=outside(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_wheel_holds_what_is_served_and_shown(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "artifacts", "training", "serving", "analysis", "vitrine.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    # a checkout without git is compared with the folders that hold data
    expected = set(tracked) or {
        path.relative_to(ROOT).as_posix()
        for pattern in ("serving/playground/*", "analysis/*.j2", "artifacts/models/[!.]*/*")
        for path in ROOT.glob(pattern)
        if not path.parent.name.endswith("-smoke")
    }
    assert {"serving/playground/main.js", "artifacts/faces/pnet.onnx"} <= held
    assert expected <= held
    packages = {"analysis", "artifacts", "serving", "training", "vitrine.py"}
    assert {name.split("/")[0] for name in held if ".dist-info/" not in name} == packages
    assert not [name for name in held if "-smoke/" in name or "/." in name]
    assert wheel.stat().st_size < MAX_BYTES


def test_the_installed_command_serves_and_writes_nothing_beside_itself(
    environment: Path, tmp_path: Path
) -> None:
    cwd = tmp_path / "empty"
    cwd.mkdir()
    before = tree(packages(environment))
    server = launch(
        [str(environment / "bin" / "vitrine"), "serve"],
        tmp_path / "log",
        cwd,
        outside(VITRINE_WORKERS="1", PYTHONDONTWRITEBYTECODE="1"),
        "/readyz",
    )
    try:
        with httpx.Client(base_url=server.address, timeout=30) as client:
            picture = (ROOT / "serving" / "sample.jpg").read_bytes()
            answer = client.post("/v1/cifar10/classify", files={"image": picture}).json()
            assert answer["pictures"][0]["top"][0]["class"] == "frog"
            assert "<html" in client.get("/").text
            assert client.get("/playground/main.js").status_code == 200
            # the sample shows no face, but the detector and the model have to say so
            pair = {"first": picture, "second": picture}
            faces = client.post("/v1/faces/verify", files=pair)
            assert faces.status_code == 200, faces.text
    finally:
        server.stop()
    assert tree(packages(environment)) == before
    assert {path.name.partition("-")[0] for path in cwd.iterdir()} <= {
        "gallery.sqlite3",
        ".gallery.sqlite3.reserve",
    }


def test_the_code_under_test_is_the_wheels(environment: Path, tmp_path: Path) -> None:
    """The tests above would prove little if the checkout answered."""
    program = "import serving, artifacts, vitrine; print(serving, artifacts, vitrine)"
    python = environment / "bin" / "python"
    done = subprocess.run(
        [python, "-c", program],
        cwd=tmp_path,
        env=outside(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count(str(packages(environment))) == 3
    assert str(ROOT) not in done.stdout


def test_the_installed_package_keeps_its_models_as_they_are(
    environment: Path, tmp_path: Path
) -> None:
    file = ROOT / "artifacts" / "models" / "ladder-a" / "model.onnx"
    names = ",".join(f"c{n}" for n in range(10))
    options = ["--task", "classification", "--classes", names, "--name", "mine"]
    refused = vitrine(environment, tmp_path, "import", str(file), *options)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "VITRINE_ARTIFACTS" in refused.stderr
    assert not (packages(environment) / "artifacts" / "models" / "mine").exists()


def test_what_is_missing_is_asked_for_by_the_name_of_the_distribution(
    environment: Path, tmp_path: Path
) -> None:
    done = vitrine(environment, tmp_path, "train", "run", "cifar10-gap", "--profile", "smoke")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"torch is not installed; install it: pip install '{DISTRIBUTION}[train]'" in done.stderr

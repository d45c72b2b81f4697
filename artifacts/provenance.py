"""The code version and the hardware behind a measurement, as manifests and tables record them."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from artifacts.distribution import DISTRIBUTION, ROOT

INTEGER_FLAGS = ("avx512_vnni", "avx_vnni", "asimddp")
"""CPU flags, as Linux names them, of instructions for dot products of 8-bit integers."""


def code_version() -> str:
    """Return the release and, in a git checkout, the commit, such as `0.1.0+g1a2b3c4`.

    `.dirty` is appended if tracked files have uncommitted changes.
    """
    name = release()
    # inside the checkout of another project, git would report the commit of that project
    commit = _git("rev-parse", "--short=7", "HEAD") if (ROOT / ".git").exists() else ""
    if not commit:
        return name
    dirty = ".dirty" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{name}+g{commit}{dirty}"


def release() -> str:
    """Return the release that is installed, such as `0.1.0`, or `0` if none is."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"


def hardware() -> str:
    """Return the number of cores and the processor, such as `2 x AMD EPYC 9B14`."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{cores()} x {model}"


def cores() -> int:
    """Return the number of cores that this process may use, which may be fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def has_integer_arithmetic() -> bool:
    """Return whether the processor multiplies and adds 8-bit integers in one instruction.

    The instructions are AVX-512 VNNI, AVX-VNNI, or ASIMDDP on ARM. They are read from Linux's
    /proc/cpuinfo, so the answer is False on other systems. Without these instructions, the 16-bit
    accumulators of ONNX Runtime overflow, and int8 is hardly faster than float32.
    """
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return not words.isdisjoint(INTEGER_FLAGS)


@cache
def has_gpu() -> bool:
    """Return whether an NVIDIA device is visible to this process."""
    return any(Path("/dev", name).exists() for name in ("nvidia0", "nvidiactl", "dxg"))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""Where a figure comes from: code version and hardware, as recorded in manifests and tables."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
INTEGER_ARITHMETIC = ("avx512_vnni", "avx_vnni", "asimddp")


def code_version() -> str:
    """Release and, in a git checkout, the commit: `0.1.0+g1a2b3c4` (`.dirty` with local edits)."""
    try:
        release = version("vitrine")
    except PackageNotFoundError:
        release = "0"
    # installed within another project's checkout, git would name that project's commit
    commit = _git("rev-parse", "--short=7", "HEAD") if (ROOT / ".git").exists() else ""
    if not commit:
        return release
    dirty = ".dirty" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{release}+g{commit}{dirty}"


def hardware() -> str:
    """Processor and core count, such as `2 x AMD EPYC 9B14`."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{cores()} x {model}"


def cores() -> int:
    """Cores this process may use; a container's share, not the machine's whole."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def has_integer_arithmetic() -> bool:
    """Whether the processor multiplies and adds 8-bit integers in one instruction.

    That is AVX-512 VNNI, AVX-VNNI, or ASIMDDP on ARM, as Linux names them; elsewhere the answer is
    no. Without them ONNX Runtime's sums of products overflow 16 bits, and are hardly faster.
    """
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return not words.isdisjoint(INTEGER_ARITHMETIC)


@cache
def has_gpu() -> bool:
    """Whether an NVIDIA device is visible to this process."""
    return any(Path("/dev", name).exists() for name in ("nvidia0", "nvidiactl", "dxg"))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

"""Starts the workers by forking the process that has imported what they need.

The arbiter of BentoML, which is one of circus, starts each worker as a new program. It would import
everything again: that takes a second, and 100 MB that no other worker shares. A fork begins with
the memory of its parent, and the kernel copies a page only when one of the two writes to it.

A fork inherits no threads, and a driver of GPUs that has been started does not survive in it. The
process that starts the workers therefore looks for no GPU, and does not import ONNX Runtime.
"""

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import psutil

WORKER = ["-m", "_bentoml_impl.worker.service"]
"""What BentoML passes to Python to start a worker, before the arguments of the worker itself."""


MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": (-3, 1 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 16 << 20),
    "MALLOC_ARENA_MAX": (-8, 2),
}
"""Parameters of mallopt, by the variables with which a user can set them (glibc's malloc.h)."""


class ForkedProcess(psutil.Process):  # type: ignore[misc]
    """A child process, with what circus asks of a `psutil.Popen`."""

    stdout = stderr = None
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, or None while the process runs; 0 if circus took it from the kernel."""
        if self.returncode is None:
            with suppress(psutil.TimeoutExpired):
                self.returncode = self.wait(0) or 0
        return self.returncode


def configure_malloc() -> None:
    """Have the C library keep less memory that is free, in this process and its forks.

    With its defaults, it keeps the memory of large pictures in fragments that nothing large fits
    into again: memory grew by half under mixed load. And every thread has an arena of its own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    for variable, (parameter, value) in MALLOC.items():
        if mallopt is not None and variable not in os.environ:
            mallopt(parameter, value)


def patch_circus() -> None:
    """Have circus fork the workers of BentoML; other programs are started as before.

    What the workers need is to be imported before. This patch becomes unnecessary when BentoML can
    fork its workers.
    """
    process = import_module("circus.process")  # BentoML chooses the package that it comes from
    start = process.Popen

    def fork_or_start(args: Sequence[str], **options: Any) -> Any:
        if list(args[1:3]) != WORKER:
            return start(args, **options)
        return fork(
            lambda: run_worker(args[3:]), options["preexec_fn"], options["env"], options["cwd"]
        )

    process.Popen = fork_or_start  # type: ignore[attr-defined]


def run_worker(arguments: Sequence[str]) -> None:
    """Be a worker of BentoML until it is stopped."""
    from _bentoml_impl.worker.service import main  # noqa: PLC0415 - the parent never needs it
    from bentoml._internal.log import SERVER_LOGGING_CONFIG  # noqa: PLC0415

    # A worker configures its logs when it starts, which would silence all loggers made before.
    SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
    main(list(arguments), standalone_mode=False)


def fork(
    run: Callable[[], None], prepare: Callable[[], None], environment: Mapping[str, str], cwd: str
) -> ForkedProcess:
    """Run a function in a fork of this process.

    The fork has the signal handlers of a new program. It ends when the function returns or raises;
    nothing that was registered with `atexit` runs.

    Args:
        run: the function.
        prepare: called in the fork before it.
        environment: of the fork.
        cwd: its working directory.
    """
    # Passes of the collector write to every object that they look at: pages would be copied.
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    # Signals wait until the fork no longer has the handlers of its parent.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return ForkedProcess(pid)
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        prepare()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the fork must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

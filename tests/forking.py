"""What `tests.forks` starts forks of: `python -m tests.forking PRELOADED SOCKET RUN`."""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Request = tuple[dict[str, Any], list[int]]


class Forking:
    """Starts a fork for each connection, and ends it with the connection.

    A connection gets the fork's process id, and its exit status when it has ended.

    Args:
        listener: accepts the connections.
        run: id of the process of the tests, with which all of them end.
    """

    def __init__(self, listener: socket.socket, run: int) -> None:
        self.listener = listener
        self.forks: dict[int, socket.socket] = {}
        self.events = selectors.DefaultSelector()
        self.woken, wakes = os.pipe()
        for end in (self.woken, wakes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in ENDING:  # they are meant for the tests, after which the forks are ended
            signal.signal(number, signal.SIG_IGN)
        self.run = os.pidfd_open(run)
        for source in (listener, self.woken, self.run):
            self.events.register(source, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Start forks until the run ends; in each of them, return what it has to become."""
        while True:
            for key, _ in self.events.select():
                if key.fileobj == self.run:
                    for pid in self.forks:
                        os.kill(pid, signal.SIGKILL)
                    return None
                if key.fileobj is self.listener:
                    if (request := self._fork()) is not None:
                        return request
                elif key.fileobj == self.woken:
                    os.read(self.woken, 4096)
                else:
                    self._lost(key.data)
            self._reap()

    def _fork(self) -> Request | None:
        connection, _ = self.listener.accept()
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile("rb") as lines:
            request = json.loads(lines.readline())
        if (pid := os.fork()) == 0:
            return request, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        self.forks[pid] = connection
        self.events.register(connection, selectors.EVENT_READ, pid)
        connection.sendall(pid.to_bytes(4, "big"))
        return None

    def _lost(self, pid: int) -> None:
        """Nobody waits for this fork any more."""
        self.events.unregister(self.forks[pid])
        os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                connection = self.forks.pop(ended[0])
                with suppress(KeyError):
                    self.events.unregister(connection)
                with suppress(OSError), connection:
                    status = os.waitstatus_to_exitcode(ended[1])
                    connection.sendall(status.to_bytes(4, "big", signed=True))

    def close(self) -> None:
        """Close everything, in a fork."""
        wakes = signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *ENDING):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.events.close()
        for end in (self.woken, wakes, self.run):
            os.close(end)
        for end in (self.listener, *self.forks.values()):
            end.close()


def become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Run the program in this process, which is a fork."""
    if request["session"]:
        os.setsid()
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    paths = request["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [request["folder"], *filter(None, paths)]
    if request["environment"].get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(write_through=True)
    sys.argv, sys.executable = request["command"], request["executable"]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def main(preloaded: str, listening: str, run: str) -> None:
    """Import the libraries, and be the parent of forks, or one of them."""
    importlib.import_module(preloaded)
    gc.collect()
    gc.freeze()  # or each fork would scan, and so copy, all of it
    forking = Forking(socket.socket(fileno=int(listening)), int(run))
    if (request := forking.serve()) is not None:
        forking.close()
        become(*request)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Processes that need not import what they run: forks of one that has, for tests whose claim is not how one starts.

`warm()` stands where a command has `sys.executable`; behind it comes `-m MODULE` or `-c PROGRAM` and its arguments.
What runs is a process of its own, with the streams, variables and folder of whoever started it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

LOADED = (*(f"caseharden.mcp_server.{name}" for name in ("serve", "run_folder", "harden", "play")), "uvicorn")
START = Path(__file__).with_name("warm_start.py")


def warm(pid_file: Path | str = "") -> list[str]:
    """The words before `-m` or `-c`; the id of the process that runs is written to `pid_file` where one is given."""
    return [sys.executable, "-I", "-S", str(START), _address(), str(pid_file)]


@cache
def _address() -> str:
    """Where the process listens that others are forked from; it ends with this one."""
    folder = tempfile.mkdtemp(prefix="warm-")
    command = [sys.executable, "-m", "caseharden.tests.warm", f"{folder}/at"]
    mother = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert mother.stdout is not None and mother.stdout.readline() == b"ready\n"
    atexit.register(mother.communicate)
    return f"{folder}/at"


class Mother:
    """Forks on demand, tells whoever asked how the child ended, and kills a child whose starter is gone."""

    def __init__(self, address: str) -> None:
        self.at = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.at.register(self.listener, selectors.EVENT_READ)
        self.at.register(sys.stdin.fileno(), selectors.EVENT_READ)

    def serve(self) -> list[str] | None:
        """In a child the words that it is to run; in the mother None, once its input has ended."""
        while True:
            for key, _ in self.at.select():
                if key.fd == sys.stdin.fileno():
                    return None
                if key.fileobj is self.listener:
                    words = self._born(self.listener.accept()[0])
                    if words is not None:
                        return words
                elif self.at.get_map().get(key.fd) is key:
                    self._ended(*key.data)

    def _born(self, asked: socket.socket) -> list[str] | None:
        head, streams, _, _ = socket.recv_fds(asked, 4, 3)
        with asked.makefile("rb") as told:
            (pid_file, *words), variables, folder = json.loads(told.read(struct.unpack("!I", head)[0]))
        starter = asked.detach()
        child = os.fork()
        if child == 0:
            os.close(starter)
            self._close()
            os.setsid()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            _open_streams()
            os.environ.clear()
            os.environ.update(variables)
            os.chdir(folder)
            if pid_file:
                Path(pid_file).write_text(str(os.getpid()))
            return words
        for stream in streams:
            os.close(stream)
        data = (child, os.pidfd_open(child), starter)
        for one in data[1:]:
            self.at.register(one, selectors.EVENT_READ, data)
        _tell(starter, child)
        return None

    def _ended(self, child: int, descriptor: int, starter: int) -> None:
        """The child, or else its starter, which says nothing while it lives."""
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        _tell(starter, os.waitstatus_to_exitcode(status))
        for one in (descriptor, starter):
            self.at.unregister(one)
            os.close(one)

    def _close(self) -> None:
        """Close in a child what only the mother is to hold."""
        held = [key.fd for key in self.at.get_map().values() if key.data]
        self.at.close()
        self.listener.close()
        for one in held:
            os.close(one)


def _tell(starter: int, number: int) -> None:
    with suppress(BrokenPipeError):
        os.write(starter, b"%d\n" % number)


def _open_streams() -> None:
    """As Python opens them when it starts: what it knows of those that it had is not true of these."""
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def run(words: list[str]) -> None:
    """What `python WORDS` does."""
    how, what, *arguments = words
    sys.argv = [what, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = how
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def main(address: str) -> list[str] | None:
    gc.disable()
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    mother = Mother(address)
    print("ready", flush=True)
    words = mother.serve()
    if words is None:
        shutil.rmtree(Path(address).parent)
    else:
        run(words)


if __name__ == "__main__":
    main(sys.argv[1])

"""The keeper of one process: a program of its own that runs a command under limits and leaves nothing of it behind.

    python -I -S keeper.py CONTROL GRACE_S LIMITS COMMAND...

The command gets its own session and our standard streams. The keeper ends when the command has ended, when a signal
tells it to, or when CONTROL (a pipe whose other end our parent holds) is closed, which also happens if the parent is
killed. Then the command's group gets SIGTERM, after GRACE_S seconds SIGKILL, and so does whatever it started, in
other sessions too if the system can tell (Linux). LIMITS: `DATA=8589934592,CORE=0`, names of `resource.RLIMIT_*`.
It imports nothing from the package: it may run under an interpreter other than ours, and starts in milliseconds.
"""

import contextlib
import os
import resource
import select
import signal
import sys
import time

LAST_S = 10.0
"""Seconds for which a command that keeps forking is chased."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def limit(told: str) -> None:
    for one in filter(None, told.split(",")):
        name, _, value = one.partition("=")
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        most = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        # macOS has limits that nobody may set.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (most, most))


def become(argv: list[str], limits: str, keeper: int) -> None:
    """Become the command, in the child; never returns."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(127)
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(name, signal.SIG_DFL)
        limit(limits)
        os.execve(argv[0], argv, os.environ)
    except BaseException as error:
        os.write(2, f"cannot start {argv[0]}: {error}\n".encode(errors="replace"))
    os._exit(127)


class Keeper:
    def __init__(self, control: int, grace_s: float) -> None:
        self.control, self.grace_s = control, grace_s
        self.woken, wake = os.pipe()
        for end in (self.woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.told = False
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, self._tell)
        signal.signal(signal.SIGCHLD, self._wake)
        self.child = 0
        self.status: int | None = None

    def _tell(self, *_: object) -> None:
        self.told = True

    def _wake(self, *_: object) -> None:
        """A child has ended: `wait`, woken by the signal, handles it."""

    def wait(self) -> None:
        """Wait until the command has ended, or is to be ended."""
        while self.reap() and not self.told:
            ready, _, _ = select.select([self.control, self.woken], [], [])
            if self.woken in ready:
                os.read(self.woken, 512)
            if self.control in ready:
                return

    def reap(self) -> bool:
        """Reap children that have exited; return whether the command is still running."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self.child:
                    self.status = found[1]
        return self.status is None

    def end(self) -> None:
        """End the command and everything that came of it."""
        if self.status is None:
            self.to_group(signal.SIGTERM)
            until = time.monotonic() + self.grace_s
            while self.reap() and (left := until - time.monotonic()) > 0:
                select.select([self.woken], [], [], left)
                with contextlib.suppress(BlockingIOError):
                    os.read(self.woken, 512)
        until = time.monotonic() + LAST_S
        while time.monotonic() < until:
            self.to_group(signal.SIGKILL)
            for pid in children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self.reap()
            if self.status is not None and not children():
                return
            time.sleep(0.005)

    def to_group(self, what: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child, what)


def children() -> list[int]:
    """Ids of our children, including orphans that we inherited."""
    me = str(os.getpid())
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                if fields[1].decode() == me:
                    found.append(int(name))
    return found


def main(control: int, grace_s: float, limits: str, argv: list[str]) -> int:
    parent = os.getppid()
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.set_inheritable(control, False)
    keeper, me = Keeper(control, grace_s), os.getpid()
    if os.getppid() != parent:
        return 1
    keeper.child = os.fork()
    if keeper.child == 0:
        become(argv, limits, me)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    keeper.wait()
    keeper.end()
    status = keeper.status
    if status is None:
        return 1
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]))

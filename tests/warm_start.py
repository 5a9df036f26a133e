"""Has a process forked that runs the words behind `ADDRESS PID_FILE`, and ends as that one ends.

What it was started with (streams, variables, folder) goes to that process, and so do the signals it gets. It runs with
nothing but the standard library, and imports little of that: it is here to be quick.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(address: str, *words: str) -> int:
    """The exit code of the process; minus the number of a signal that ended it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    with socket.socket(socket.AF_UNIX) as mother:
        mother.connect(address)
        asked = json.dumps([words, dict(os.environ), os.getcwd()]).encode()
        socket.send_fds(mother, [struct.pack("!I", len(asked))], [0, 1, 2])
        mother.sendall(asked)
        with mother.makefile("r") as heard:
            child = int(heard.readline())
            for number in PASSED_ON:
                signal.signal(number, lambda got, _: os.kill(child, got))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):  # or a reader would wait for us where the process has closed a stream
                os.dup2(nothing, stream)
            return int(heard.readline())


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    if code < 0:
        with suppress(OSError):  # of SIGKILL nothing can be changed
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)

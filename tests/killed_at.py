"""One call of the workbench, made in copies of a data folder, each killed after another of its writes.

`python -m caseharden.tests.killed_at HOME COPIES CALL`: copy n (COPIES/n) was killed right after the nth write; in the
last one the call came to its end. Forks from a process without threads, so that a kill costs no start of Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.exchange import files
from caseharden.engine.store.journal import Journal
from caseharden.engine.workbench import Workbench
from caseharden.tests.warm import warm

KILLED = 9
MOST_WRITES = 100
PASSED_OVER = ("trials", "again", "units", "sequences")
"""Tables whose writes, other than deletions, are many and alike."""
RULE = "Before calling close_ticket, call look_up_ticket."
CALLS: Mapping[str, Callable[[Workbench], Any]] = {
    "begin": lambda bench: bench.hardenings.harden(
        "desk", strategy="submit", wait_s=45, idempotency_key="begin"
    ),
    "submit": lambda bench: bench.hardenings.submit(
        "hard-1",
        edits=[{"op": "add", "anchor": "end", "text": RULE}],
        wait_s=45,
        idempotency_key="submit",
    ),
    "import": lambda bench: bench.imports.start("run.json", wait_s=45),
    "import_results": lambda bench: bench.imports.start("results.json", "desk", wait_s=45),
    "delete": lambda bench: bench.items.delete(
        "conversation", ["run-1/close-2-omar/1", "run-2/close-2-omar/1"], confirm=True
    ),
    "promote": lambda bench: bench.hardenings.decide("hard-1/c1", "promote", reason="proven"),
}


def copies_killed(home: Path, copies: Path, call: str) -> list[Path]:
    """The copies in which the call was killed, in the order of the writes; the whole one is the last."""
    command = [*warm(), "-m", "caseharden.tests.killed_at", str(home), str(copies), call]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return sorted(copies.iterdir(), key=lambda path: int(path.name))


def last_write(copy: Path) -> str:
    """The table, or the caller's file, that was written last before the kill."""
    return (copy / "last-write").read_text(encoding="utf-8")


def kill_after(home: Path, call: str, writes: int) -> int:
    """The exit code of a child that makes the call and dies right after that many writes."""
    child = os.fork()
    if child == 0:
        try:
            anyio.run(_make, home, call, writes)
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{call} after {writes}: {error!r}\n")
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def _make(home: Path, call: str, writes: int) -> None:
    async with Workbench(home, roots=[home]) as bench:
        _die_after(writes, home)
        await CALLS[call](bench)


def _die_after(writes: int, home: Path) -> None:
    left = writes
    append: Callable[[Journal, Any], None] = Journal._append  # pyright: ignore[reportPrivateUsage]
    replace: Callable[..., None] = files._replace  # pyright: ignore[reportPrivateUsage]

    def wrote(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            (home / "last-write").write_text(name, encoding="utf-8")
            os._exit(KILLED)

    def dying(journal: Journal, changes: Any) -> None:
        told = journal.name == "jobs" and all(
            _beside_progress(journal.documents.get(id)) == _beside_progress(row)
            for id, row in changes.items()
        )
        append(journal, changes)
        many = journal.name.rpartition("/")[2] in PASSED_OVER
        if not told and not (many and None not in changes.values()):
            wrote(journal.name)

    def dying_with_a_file(folder: int, name: str, *more: Any) -> None:
        replace(folder, name, *more)
        wrote(name)

    Journal._append = dying  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    files._replace = dying_with_a_file  # pyright: ignore[reportPrivateUsage]


def _beside_progress(row: Mapping[str, Any] | None) -> dict[str, Any]:
    """A job without what it tells while it goes on, as often as there is time for."""
    return {key: value for key, value in (row or {}).items() if key not in ("units", "updated_at")}


def main(home: Path, copies: Path, call: str) -> int:
    for writes in range(1, MOST_WRITES):
        copy = copies / str(writes)
        shutil.copytree(home, copy)
        code = kill_after(copy, call, writes)
        if code != KILLED:
            return code
    return 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))

"""Writers killed with SIGKILL at random moments: is anything missing afterwards that they were told is kept?

`python -m caseharden.benchmarks.torture [ROUNDS]` prints one JSON object; `lost`, `resurrected`, `half`,
`given_twice` and `broke` must be 0.

Two processes write to one data folder: inserts, updates, removals, transactions over several documents, conversations
in segments, a counter that both raise, ids, compactions; documents of 200 bytes and of 300 kB. Each says what it is
about to do, and says it again once the call has returned: acknowledged. In every round one of them is killed and
another takes its place, while a third process checks what is there.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caseharden.engine.store import Store

SMALL, LARGE = 200, 300_000
KEYS = 40
"""Documents that one writer works on."""
NOTHING: dict[str, Any] = {}
KINDS = {"put": 24, "pair": 8, "remove": 4, "append": 6, "count": 4, "id": 2, "delete": 1, "compact": 1}
"""Kinds of steps, and how often each is drawn."""


@dataclass
class Found:
    """What was seen in all rounds."""

    rounds: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list[str])
    resurrected: list[str] = field(default_factory=list[str])
    half: list[str] = field(default_factory=list[str])
    given_twice: int = 0
    broke: int = 0
    """Writers that ended by themselves: an error came out of the store."""
    damaged_lines: int = 0
    in_flight: int = 0
    """Rounds in which the kill came between the start of a call and its acknowledgement."""
    seconds: float = 0.0


def document(n: int, size: int) -> dict[str, Any]:
    """The nth document that a writer makes; what it holds follows from n and its size."""
    return {"n": n, "size": size, "pad": f"{n}-" * (size // (len(str(n)) + 1))}


# the writer


def write(home: Path, name: str, seed: int) -> None:
    """Write until killed; every step is a line on standard output, before it and after it."""
    draw = random.Random(seed)
    with Store(home) as store:
        for n in range(1, 1 << 30):
            kind, keys = step(draw, name)
            size = LARGE if draw.random() < 0.04 else SMALL
            say("?", kind, keys, n, size)
            told = act(store, kind, keys, n, size)
            say("!", kind, keys, n, size, told)


def step(draw: random.Random, name: str) -> tuple[str, list[str]]:
    kinds = (
        ["put"] * 8
        + ["pair"] * 3
        + ["remove", "delete", "append", "append", "count", "count", "id", "compact"]
    )
    kind = draw.choice(kinds)
    keys = [f"{name}-{k}" for k in draw.sample(range(KEYS), 3 if kind == "pair" else 1)]
    return kind, keys


def act(store: Store, kind: str, keys: list[str], n: int, size: int) -> str:
    """Do one step; what it gave."""
    table = store.table("things", ("n",))
    if kind == "put":
        table.put(keys[0], document(n, size))
    elif kind == "pair":
        with table.transaction() as change:
            change.put(keys[0], document(n, size))
            change.put(keys[1], document(n, SMALL))
            change.remove(keys[2])
    elif kind == "remove":
        table.remove(doc_ids=keys)
    elif kind == "delete":
        table.delete(keys)
    elif kind == "append":
        pointer = store.segments.append("run-1", document(n, size))
        store.run_table("run-1", "trials").put(keys[0], {"n": n, "size": size, "at": str(pointer)})
    elif kind == "count":
        with store.table("counts").transaction() as change:
            change.put("all", {"n": (change.get("all") or {"n": 0})["n"] + 1})
    elif kind == "id":
        return store.next_id("run")
    else:
        table.journal.compact()
    return ""


def say(*what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


# the one who kills and looks


class Writer:
    """A writer's process, and what it said. A state is the set of what may be there: after a kill two things may."""

    def __init__(self, home: Path, name: str, seed: int) -> None:
        command = [sys.executable, "-m", "caseharden.benchmarks.torture", "write", str(home), name, str(seed)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.out = self.process.stdout.fileno()
        self.rest = b""
        self.said: list[list[Any]] = []

    def hear(self, seconds: float) -> None:
        """Take what is said for that long; the pipe must not fill up."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self.out], [], [], left)[0] and not self._take():
                return

    def started(self) -> None:
        """Wait until it writes."""
        while not self.said and self.process.poll() is None:
            self.hear(0.01)

    def kill(self) -> bool:
        """Whether it was alive until then."""
        alive = self.process.poll() is None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while self._take():
            pass
        if self.process.stdout is not None:
            self.process.stdout.close()
        return alive

    def _take(self) -> bool:
        data = os.read(self.out, 1 << 16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.said += [json.loads(line) for line in lines]
        return bool(data)


@dataclass
class Expected:
    """What must be there of all that was acknowledged; the last step of a killed writer may be done or not."""

    things: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    trials: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    counted: int = 0
    maybe_counted: int = 0
    ids: list[str] = field(default_factory=list[str])

    def take(self, said: list[list[Any]]) -> tuple[int, int]:
        """Take the steps of a killed writer; (acknowledged, 1 where one was in flight)."""
        done = [one for one in said if one[0] == "!"]
        in_flight = said[-1:] if said and said[-1][0] == "?" else []
        for mark, kind, keys, n, size, *told in done + in_flight:
            self._apply(kind, keys, n, size, "".join(told), sure=mark == "!")
        return len(done), len(in_flight)

    def _apply(self, kind: str, keys: list[str], n: int, size: int, told: str, *, sure: bool) -> None:
        for key, made in changes(kind, keys, n, size):
            self.things[key] = [made] if sure else [made, *self.things.get(key, [NOTHING])]
        if kind == "append":
            self.trials[keys[0]] = [(n, size)] if sure else [(n, size), *self.trials.get(keys[0], [(0, 0)])]
        elif kind == "count":
            self.counted += sure
            self.maybe_counted += not sure
        elif told:
            self.ids.append(told)


def changes(kind: str, keys: list[str], n: int, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, document or nothing) after a step."""
    if kind in ("put", "pair"):
        yield keys[0], document(n, size)
    if kind == "pair":
        yield keys[1], document(n, SMALL)
        yield keys[2], NOTHING
    if kind in ("remove", "delete"):
        yield keys[0], NOTHING


def look(store: Store, expected: Expected, found: Found) -> None:
    """Compare what is there with what must be."""
    table = store.table("things", ("n",))
    for key, allowed in expected.things.items():
        row = dict(table.find(key) or NOTHING)
        if row in allowed:
            continue
        if row and row != document(row.get("n", 0), row.get("size", 0)):
            found.half.append(key)
        elif row and NOTHING in allowed:
            found.resurrected.append(key)
        else:
            found.lost.append(key)
    trials = store.run_table("run-1", "trials")
    for key, numbers in expected.trials.items():
        row = dict(trials.find(key) or {"n": 0, "size": 0})
        if (row["n"], row["size"]) not in numbers:
            found.lost.append(f"trial {key}")
        elif row["n"] and store.segments.read(row["at"]) != document(row["n"], row["size"]):
            found.half.append(f"conversation {key}")
    found.given_twice = len(expected.ids) - len(set(expected.ids))


def torture(home: Path, rounds: int, seed: int = 1, most_s: float = 0.4) -> Found:
    """Run that many rounds, each with up to `most_s` seconds between two kills."""
    draw, found, expected = random.Random(seed), Found(), Expected()
    began = time.monotonic()
    writers = [Writer(home, f"w{k}", seed * 1000 + k) for k in range(2)]
    for writer in writers:
        writer.started()
    with Store(home) as store:
        for number in range(2, rounds + 2):
            until = time.monotonic() + draw.uniform(0.02, most_s)
            while time.monotonic() < until:
                for writer in writers:
                    writer.hear(0.005)
            victim = writers.pop(draw.randrange(2))
            end(victim, expected, found)
            look(store, expected, found)
            writers.append(Writer(home, f"w{number}", seed * 1000 + number))
            writers[-1].started()
            found.rounds += 1
        for writer in writers:
            end(writer, expected, found)
        look(store, expected, found)
        counts = (store.table("counts").find("all") or {"n": 0})["n"]
        if not expected.counted <= counts <= expected.counted + expected.maybe_counted:
            found.lost.append(f"counter: {counts}, acknowledged {expected.counted}")
        found.damaged_lines = sum(damage.lines for damage in store.damage())
    found.seconds = round(time.monotonic() - began, 1)
    return found


def end(writer: Writer, expected: Expected, found: Found) -> None:
    found.broke += not writer.kill()
    acknowledged, in_flight = expected.take(writer.said)
    found.acknowledged += acknowledged
    found.in_flight += in_flight


def main(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        found = torture(Path(home), rounds)
    counts = {name: len(getattr(found, name)) for name in ("lost", "resurrected", "half")}
    named = {"examples": (found.lost + found.resurrected + found.half)[:5]} if any(counts.values()) else {}
    rest = ("rounds", "acknowledged", "in_flight", "given_twice", "broke", "damaged_lines", "seconds")
    return {"benchmark": "torture", **{name: getattr(found, name) for name in rest}, **counts, **named}


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 40), indent=1))

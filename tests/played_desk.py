"""One scenario at the small desk through the workbench, with the agent's and the user's lines written out.

As a program it prints what trials with events, faults and noise came to.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.records.run import RunRecord
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import Creation
from caseharden.tests.small_desk import DESK
from caseharden.tests.workbench_cases import bench_at

Line = dict[str, Any]
WAITING_DESK: dict[str, Any] = {**DESK, "clock": {**DESK["clock"], "wait_tool": True}}


def user(text: str) -> Line:
    return {"by": "user", "say": text}


def agent(text: str) -> Line:
    return {"by": "agent", "say": text}


def call(tool: str, **args: Any) -> Line:
    return {"by": "agent", "tool": tool, "args": args}


TALK = [user("hi"), agent("Which book?"), user("b1"), call("look", book_id="b1"), agent("It is in.")]


@dataclass(frozen=True)
class Seen:
    """What a client of the workbench sees of a run of one simulation."""

    run: RunRecord
    conversations: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]

    @property
    def log(self) -> list[dict[str, Any]]:
        """Of the first trial."""
        return self.conversations[0]["log"]

    @property
    def end(self) -> str:
        return self.conversations[0]["end"]["reason"]

    @property
    def verdict(self) -> str:
        return self.verdicts[0]["verdict"]

    @property
    def never_fired(self) -> dict[str, str]:
        return {row["event"]: row["why"] for row in self.verdicts[0]["never_fired"]}

    def fired(self, trial: int = 1) -> list[tuple[str, str, int, float]]:
        """(event, status, turn, t) in the order of the log."""
        log = self.conversations[trial - 1]["log"]
        return [(e["event"], e["status"], e["turn"], e["t"]) for e in log if "event" in e]

    def check(self, id: str) -> tuple[str, str]:
        """(verdict, why) of a check."""
        return next((c["verdict"], c["why"]) for c in self.verdicts[0]["checks"] if c["id"] == id)


async def seen(
    home: Path,
    lines: Sequence[Line],
    *,
    world_data: dict[str, Any] = WAITING_DESK,
    trials: int = 1,
    check: bool = True,
    **scenario: Any,
) -> Seen:
    """Create the desk with this scenario, run the lines in it, and read every conversation whole."""
    async with bench_at(home) as bench:
        await made(bench, lines, world_data=world_data, trials=trials, check=check, **scenario)
        run = (await bench.runs.start("desk", trials=trials, wait_s=45)).run
        items = [
            (await bench.items.get("conversation", f"{run.id}/s/{trial}", view="full")).item
            for trial in range(1, trials + 1)
        ]
    return Seen(run, [item["conversation"] for item in items], [item["verdict"] for item in items])


async def made(
    bench: Workbench,
    lines: Sequence[Line],
    *,
    world_data: dict[str, Any] = WAITING_DESK,
    trials: int = 1,
    check: bool = True,
    **scenario: Any,
) -> Creation:
    """Store the environment and the scenario."""
    played = [{"scenario": "s", "trial": trial, "log": list(lines)} for trial in range(1, trials + 1)]
    spec = {"kind": "recorded", "conversations": played} if lines else None
    await bench.environments.create("desk", instructions="Be kind.", world_data=world_data, agent=spec)
    written = {"id": "s", "goal": "Borrow the book b1", "split": "train", **scenario}
    creation = await bench.scenarios.create("desk", [written], check=check)
    assert creation.refused == []
    return creation


BUSY: dict[str, Any] = {
    "events": [
        {"id": "late", "delay_s": 20, "do": {"set": {"db.desk.lucky": "int(rand() * 1000000)"}}},
        {"id": "then", "after": ["late"], "delay_turns": 1, "do": {"notify": "Lucky is {db.desk.lucky}"}},
    ],
    "faults": [{"tool": "look", "p": 0.5}],
    "noise": {"per_minute": 6, "pool": [{"do": {"notify": "Rain"}}, {"do": {"notify": "Sun"}, "weight": 2}]},
    "seed": 7,
}
"""Everything that is up to chance in a trial."""
BUSY_LINES = [
    *(
        line
        for _ in range(4)
        for line in (user("look"), call("look", book_id="b1"), call("look", book_id="b2"))
    ),
    agent("Done."),
]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = await seen(Path(folder), BUSY_LINES, trials=3, **BUSY)
    for conversation in found.conversations:
        for entry in conversation["log"]:
            entry.pop("wall_s", None)
    sys.stdout.write(json.dumps([(c["log"], c["transcript_hash"]) for c in found.conversations]))


if __name__ == "__main__":
    anyio.run(main)

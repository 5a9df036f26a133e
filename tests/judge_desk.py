"""A judge on the loopback: its requests taken apart, its answers as good or as broken as a test wants them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caseharden.engine.records.run import TrialRecord
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import Answer, Answering, FakeEndpoint, Seen, chat
from caseharden.tests.workbench_cases import INSTRUCTIONS, closing, tickets

MARKED = re.compile(r"----- record ([0-9a-f]{16}) begins\n(.*)\n----- record \1 ends", re.S)


class Asked:
    """What a judge was asked in one request."""

    def __init__(self, seen: Seen) -> None:
        self.messages: list[dict[str, Any]] = seen.json["messages"]
        self.system = str(self.messages[0]["content"])
        self.text = str(self.messages[1]["content"])
        told, _, self.rest = self.text.partition("\n\nThe record:\n")
        self.questions: dict[str, Any] = json.loads(told.removeprefix("The questions:\n"))
        found = MARKED.search(self.rest)
        assert found is not None
        self.mark, self.block = found[1], found[2]
        self.record: dict[str, Any] = json.loads(self.block)
        self.schema: dict[str, Any] = seen.json["response_format"]["json_schema"]["schema"]

    @property
    def criteria(self) -> dict[str, str]:
        return self.questions["criteria"]

    @property
    def metrics(self) -> dict[str, Any]:
        return self.questions["metrics"]

    @property
    def keys(self) -> list[str]:
        return [*self.criteria, *self.metrics]


def verdict(
    word: str = "pass", turns: tuple[int, ...] = (1,), why: str = "It is said there."
) -> dict[str, Any]:
    return {"why": why, "evidence": list(turns), "verdict": word, "fix": ""}


def score(value: Any, turns: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return {"why": "It is so.", "evidence": list(turns), "score": value, "fix": ""}


def says(answer: Mapping[str, Any] | str) -> Answer:
    """The judge's reply: an object, or a text as it is."""
    return chat(answer if isinstance(answer, str) else json.dumps(answer))


def judging(answers: Callable[[Asked], Mapping[str, Any] | str]) -> Answering:
    """An endpoint that answers as a function of what it is asked."""
    return lambda seen: says(answers(Asked(seen)))


def judged_by(endpoint: FakeEndpoint, **more: Any) -> dict[str, Any]:
    """The models of a run whose judge is that endpoint; the others are offline."""
    return {"judge": {"model": "judge-1", "base_url": endpoint.base_url, **more}}


async def judged_desk(bench: Workbench, count: int = 1, *success: Mapping[str, Any], **settings: Any) -> None:
    """The environment `desk`, whose scenarios have these checks and no others."""
    no_rules: list[Any] = []
    world = {**tickets(count or 2), "rules": no_rules}
    await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=world, settings=settings)
    cases = [{**closing(n), "split": "train", "success": list(success)} for n in range(1, count + 1)]
    if cases:
        await bench.scenarios.create("desk", cases, check=False)


async def played(
    bench: Workbench, log: Sequence[Mapping[str, Any]], *success: Mapping[str, Any], **settings: Any
) -> None:
    """The environment `desk` whose one scenario is this recorded conversation."""
    agent = {
        "kind": "recorded",
        "conversations": [{"scenario": "close-1", "log": [dict(line) for line in log]}],
    }
    no_rules: list[Any] = []
    await bench.environments.create(
        "desk",
        instructions=INSTRUCTIONS,
        world_data={**tickets(2), "rules": no_rules},
        agent=agent,
        settings=settings,
    )
    case = {
        **closing(1),
        "split": "train",
        "success": list(success),
        "limits": {"max_turns": 100, "max_tool_calls": 500},
    }
    await bench.scenarios.create("desk", [case], check=False)


async def marked(bench: Workbench, run: str = "run-1") -> list[TrialRecord]:
    """The trials of a run."""
    page = await bench.items.page("conversation", where={"run": run}, detail="full")
    return [TrialRecord.model_validate(row) for row in page.items]

"""Who is blamed: a failure is the agent's only if the simulated user understood it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio
RULES = [{"id": "asked", "confirm": "close_ticket", "severity": "major"}]


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as endpoint:
        yield endpoint


def asks(question: str) -> Callable[[Seen], Answer]:
    """An agent that looks a ticket up, asks that question, and closes the ticket on a yes."""

    def answering(seen: Seen) -> Answer:
        messages: list[dict[str, Any]] = seen.json["messages"]
        texts = [str(m["content"]) for m in messages if m["role"] == "user"]
        called = [str(m["tool_calls"][0]["function"]["name"]) for m in messages if m.get("tool_calls")]
        ticket = re.findall(r"T\d+", " ".join(texts))
        args = json.dumps({"ticket_id": ticket[-1] if ticket else ""})
        if not called:
            return chat(calls=[("look_up_ticket", args)])
        if "close_ticket" in called:
            return chat("It is closed. Is there anything else?")
        if messages[-1]["role"] == "user" and re.search(r"\byes\b", texts[-1], re.IGNORECASE):
            return chat(calls=[("close_ticket", args)])
        return chat(question.format(ticket=ticket[-1]) if len(texts) == 1 else "Then I leave it open.")

    return answering


def asked_first(n: int) -> dict[str, Any]:
    look, close = closing(n)["expected"]
    return closing(n, expected=[look, {"say": "Shall I close it?"}, close])


@asynccontextmanager
async def desk_of(
    home: Path, endpoint: FakeEndpoint, question: str, count: int = 3
) -> AsyncGenerator[Workbench]:
    async with bench_at(home) as bench:
        endpoint.always(asks(question))
        agent = {"kind": "chat_completions", "url": f"{endpoint.base_url}/chat/completions"}
        world = {**tickets(count), "rules": RULES}
        await bench.environments.create("desk", instructions="Close.", world_data=world, agent=agent)
        await bench.scenarios.create("desk", [asked_first(n) for n in range(1, count + 1)])
        yield bench


@pytest.mark.parametrize(
    "question",
    [
        "I found **ticket {ticket}**, it is open. Shall I close it?",
        "May I close ticket {ticket} for you?",
        "Please confirm: close ticket {ticket}. (yes/no)",
        "{ticket} is open. Close it?",
    ],
)
async def test_an_agent_that_asks_before_it_acts_passes(
    tmp_path: Path, endpoint: FakeEndpoint, question: str
) -> None:
    async with desk_of(tmp_path, endpoint, question) as bench:
        run = (await bench.runs.start("desk", wait_s=30)).run
        assert (run.totals.passed, run.totals.failed) == (3, 0), run.clusters


async def test_a_run_says_where_the_offline_user_did_not_understand_what_then_failed(
    tmp_path: Path, endpoint: FakeEndpoint
) -> None:
    async with desk_of(tmp_path, endpoint, "Has the printer been switched off and on again?") as bench:
        run = (await bench.runs.start("desk", wait_s=30)).run
        assert run.totals.failed == 3
        told = [one for one in run.warnings if "did not understand" in one]
        assert (
            len(told) == 1 and "3 questions in 3 trials that failed, for example at run-1/close-" in told[0]
        )
        assert all(one.not_understood == one.trials for one in run.clusters) and run.clusters


async def test_a_run_without_such_a_question_does_not_speak_of_it(
    tmp_path: Path, endpoint: FakeEndpoint
) -> None:
    async with desk_of(tmp_path, endpoint, "I will not do that.") as bench:
        run = (await bench.runs.start("desk", wait_s=30)).run
        assert run.totals.failed == 3 and not any("did not understand" in one for one in run.warnings)


async def test_a_hardening_says_so_too(tmp_path: Path, endpoint: FakeEndpoint) -> None:
    async with desk_of(tmp_path, endpoint, "Has the printer been switched off?", 6) as bench:
        report = await bench.hardenings.harden("desk", strategy="submit", wait_s=40)
        assert any("did not understand" in one for one in report.hardening.warnings), report.hardening

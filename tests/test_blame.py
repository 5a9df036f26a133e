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


async def test_marks_of_markdown_do_not_hide_what_an_agent_said(
    tmp_path: Path, endpoint: FakeEndpoint
) -> None:
    async with desk_of(
        tmp_path, endpoint, "I found **ticket {ticket}**, and it's open. Shall I?", 1
    ) as bench:
        said = [
            {"id": "text", "said": "found ticket T1, and"},
            {"id": "form", "said": {"pattern": "ticket T1,"}},
        ]
        told = {**asked_first(1), "id": "told", "success": said}
        await bench.scenarios.create("desk", [told], check=False)
        run = (await bench.runs.start("desk", wait_s=30)).run
        assert (run.totals.passed, run.totals.trials) == (2, 2), run.clusters


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
        shown = await bench.items.get("conversation", run.clusters[0].see, view="turns")
        assert any("did not understand 1 question in 1 trial that failed" in one for one in shown.warnings)


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


async def test_a_user_that_leaves_before_it_asks_anything_is_invalid_and_tried_again(
    tmp_path: Path, endpoint: FakeEndpoint
) -> None:
    async with bench_at(tmp_path) as bench:
        endpoint.always(chat("###STOP###"))
        user = {"model": "user-1", "base_url": endpoint.base_url}
        await bench.environments.create(
            "desk", instructions="Close.", world_data=tickets(2), models={"user": user}
        )
        await bench.scenarios.create("desk", [closing(1), closing(2)])
        run = (await bench.runs.start("desk", wait_s=30)).run
        assert (run.totals.invalid, run.totals.failed) == (2, 0)
        assert len(endpoint.requests) == 4
        shown = await bench.items.get("conversation", "run-1/close-1/1")
        assert "left before the agent was asked" in json.dumps(shown.item)


POLICY = "The agent never reads the world's policy (37 characters)"


async def test_a_policy_that_the_agent_never_reads_is_told_where_it_can_be_mended(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        made = await bench.environments.create("desk", instructions="Close.", world_data=tickets(6))
        assert [one for one in made.warnings if "{policy}" in one] == [
            f"{POLICY}: write {{policy}} in the instructions where it belongs."
        ]
        done = await bench.items.update("environment", "desk", {"instructions": "Close it.\n{policy}"})
        assert not any("policy" in one for one in done.warnings)
        done = await bench.items.update("environment", "desk", {"instructions": "Close it."})
        assert any(POLICY in one for one in done.warnings)
        done = await bench.items.update("environment", "desk", {"settings": {"trials": 1}})
        assert not any("policy" in one for one in done.warnings)
        await bench.scenarios.create("desk", [closing(n) for n in range(1, 7)])
        hard = await bench.hardenings.harden("desk", strategy="submit", wait_s=40)
        assert sum(POLICY in one for one in hard.hardening.warnings) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"instructions": "Follow this.\n{policy}"},
        {"instructions": "You close tickets. Look a ticket up before you close it!"},
        {"instructions": "Help.", "world": "shop"},
        {"instructions": "Help.", "agent": {"kind": "caller"}},
    ],
)
async def test_a_policy_that_the_agent_reads_or_does_without_is_not_spoken_of(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with bench_at(tmp_path) as bench:
        data = {} if "world" in changes else tickets(2)
        made = await bench.environments.create("desk", world_data=data, **changes)
        assert not any("policy" in one for one in made.warnings), made.warnings

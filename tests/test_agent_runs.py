"""Runs with agents that are code of others: played in the world, faults told, nothing left after a cancellation."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden import AllowedCode
from caseharden.engine.errors import InvalidArgument, NotAllowed, NotFound
from caseharden.engine.workbench import Workbench
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = pytest.mark.anyio
GOOD = """
import re

class Agent:
    def __init__(self):
        self.ticket = ""

    async def reply(self, turn):
        found = re.search(r"T\\d+", turn.text)
        if not found:
            return "Which ticket?"
        look_up, close = turn.functions
        await look_up(found[0])
        await close(ticket_id=found[0])
        said = f"Ticket {found[0]} is closed."
        return {"text": said, "verdict": {"verdict": "fail", "why": "I was slow"}}
"""
BY_MESSAGES = """
import json, re, sys

for line in sys.stdin:
    told = json.loads(line)
    found = re.search(r"T\\d+", " ".join(m["content"] for m in told["messages"] if m["role"] == "user"))
    done = sum(m["role"] == "tool" for m in told["messages"])
    answer = {"id": told["id"], "text": "Which ticket?"}
    if found and done < 2:
        call = {"name": ("look_up_ticket", "close_ticket")[done], "arguments": {"ticket_id": found[0]}}
        answer = {"id": told["id"], "calls": [call]}
    elif found:
        answer["text"] = f"Ticket {found[0]} is closed."
    print(json.dumps(answer), flush=True)
"""
ONE_ANSWER = BY_MESSAGES.replace("flush=True)", "flush=True)\n    break")


@asynccontextmanager
async def bench(home: Path, code: Path, **told: Any) -> AsyncGenerator[Workbench]:
    async with Workbench(home / "data", worlds=WORLDS, code=AllowedCode([code], **told)) as bench:
        yield bench


async def made(bench: Workbench, agent: dict[str, Any], count: int = 3, **scenario: Any) -> str:
    """The environment `desk` with so many scenarios; how its agent was found when it was made."""
    report = await bench.environments.create(
        "desk", instructions=INSTRUCTIONS, world_data=tickets(count), agent=agent
    )
    scenarios = [closing(n, **scenario) for n in range(1, count + 1)]
    await bench.scenarios.create("desk", scenarios)
    return str(report.agent["probed"])


@pytest.mark.parametrize(
    ("program", "agent", "name"),
    [
        (GOOD, {"kind": "python", "file": "desk.py"}, "agent in desk.py"),
        (BY_MESSAGES, {"kind": "command", "argv": ["python", "desk.py"]}, "command python desk.py"),
        (ONE_ANSWER, {"kind": "command", "argv": ["python", "desk.py"]}, "command python desk.py"),
    ],
)
@pytest.mark.requirement("CH-11", "AK-4")
async def test_an_agent_of_ones_own_is_played_in_the_world(
    tmp_path: Path, program: str, agent: dict[str, Any], name: str
) -> None:
    (tmp_path / "desk.py").write_text(program, encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        assert await made(desk, agent) == "ok"
        with anyio.fail_after(60):
            report = await desk.runs.start("desk", wait_s=45)
        item = await desk.items.get(
            "conversation", f"{report.run.id}/{report.run.simulations[0]}/1", view="turns"
        )
    assert report.run.totals.passed == 3, item.item
    assert "agent" not in report.run.models_used or report.run.models_used["agent"].name == name
    calls = [call["tool"] for turn in item.item["turns"] for call in turn.get("calls", ())]
    assert calls == ["look_up_ticket", "close_ticket"]


@pytest.mark.requirement("LW-16")
async def test_the_agents_own_verdict_is_kept_as_its_word_and_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(GOOD, encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        await made(desk, {"kind": "python", "file": "desk.py", "object": "Agent"}, 1)
        report = await desk.runs.start("desk", wait_s=45)
        item = await desk.items.get("conversation", f"{report.run.id}/{report.run.simulations[0]}/1")
    assert item.item["verdict"] == "pass"
    assert item.item["agent_says"] == {"verdict": "fail", "why": "I was slow", "turn": 1}
    assert "item.agent_says.why" in item.untrusted


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise RuntimeError('no key')", "raised RuntimeError: no key"),
        ("def helper(turn): ...", "it has helper"),
        ("import os; os._exit(4)", "ended with status 4"),
        ("import nowhere_to_be_found", "raised ModuleNotFoundError"),
        ("def agent(turn:", "raised SyntaxError"),
    ],
)
async def test_a_file_that_is_no_agent_is_told_when_the_environment_is_made(
    tmp_path: Path, program: str, told: str
) -> None:
    (tmp_path / "desk.py").write_text(program, encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        assert told in await made(desk, {"kind": "python", "file": "desk.py"})


async def test_a_file_that_never_ends_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caseharden.engine.agents.kinds.PROBE_S", 0.5)
    (tmp_path / "desk.py").write_text("import time; time.sleep(600)", encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        assert "gave no sign within 0.5 s" in await made(desk, {"kind": "python", "file": "desk.py"})


async def test_an_agent_that_returns_nothing_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text("def agent(turn):\n    turn.text.upper()\n", encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        await made(desk, {"kind": "python", "file": "desk.py"}, 1)
        with anyio.fail_after(60):
            report = await desk.runs.start("desk", wait_s=45)
        item = await desk.items.get("conversation", f"{report.run.id}/{report.run.simulations[0]}/1")
    assert (report.run.totals.error, report.run.totals.failed) == (1, 0)
    assert "agent returned None: it must return a text" in str(item.item["end"])


async def test_an_agent_that_dies_in_one_conversation_is_an_error_there_and_no_failure(
    tmp_path: Path,
) -> None:
    dying = GOOD.replace(
        "        look_up,", "        if found[0] == 'T2': import os; os._exit(1)\n        look_up,"
    )
    (tmp_path / "desk.py").write_text(dying, encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        await made(desk, {"kind": "python", "file": "desk.py"})
        report = await desk.runs.start("desk", wait_s=45, options={"concurrency": 1})
        simulation = next(s for s in report.run.simulations if "2" in s)
        item = await desk.items.get("conversation", f"{report.run.id}/{simulation}/1")
    totals = report.run.totals
    assert (totals.passed, totals.failed, totals.error) == (2, 0, 1)
    assert "agent in desk.py" in item.item["end"]["detail"]
    assert "ended with status 1" in item.item["end"]["detail"]


async def test_nothing_runs_on_after_a_job_was_cancelled(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    program = f"""
import os, time

def agent(turn):
    open("{pids}/" + str(os.getpid()), "w").close()
    time.sleep(600)
"""
    (tmp_path / "desk.py").write_text(program, encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        await made(desk, {"kind": "python", "file": "desk.py"})
        report = await desk.runs.start("desk", wait_s=0)
        assert report.job is not None
        with anyio.fail_after(30):
            while not any(pids.iterdir()):
                await anyio.lowlevel.checkpoint()
            await desk.jobs.cancel(report.job.id)
            await desk.jobs.wait(report.job.id, wait_s=20)
        started = [int(file.name) for file in pids.iterdir()]
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_keys_are_not_seen_and_what_is_lent_is_hidden_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you-0123456789")
    monkeypatch.setenv("SHOP_TOKEN", "a-token-that-was-lent")
    program = "import os\ndef agent(turn):\n    return str(sorted(os.environ.items()))"
    (tmp_path / "desk.py").write_text(program, encoding="utf-8")
    async with bench(tmp_path, tmp_path, env=["SHOP_TOKEN"]) as desk:
        await made(desk, {"kind": "python", "file": "desk.py"}, 1, limits={"max_turns": 1})
        report = await desk.runs.start("desk", wait_s=45)
        item = await desk.items.get(
            "conversation", f"{report.run.id}/{report.run.simulations[0]}/1", view="turns"
        )
    said = item.item["turns"][0]["agent"]
    assert "OPENAI_API_KEY" not in said and "sk-not-for-you" not in said
    assert "SHOP_TOKEN" in said and "a-token-that-was-lent" not in said


@pytest.mark.parametrize(
    ("agent", "error", "told"),
    [
        ({"kind": "python", "file": "../outside.py"}, NotAllowed, "--allow-code DIR"),
        ({"kind": "python", "file": "none.py"}, NotFound, "There is no file"),
        ({"kind": "python"}, InvalidArgument, "needs its file"),
        ({"kind": "python", "file": "desk.py", "object": "a.b"}, InvalidArgument, "is no name"),
        ({"kind": "python", "file": "desk.py", "model": "offline"}, InvalidArgument, "its own model"),
        ({"kind": "command", "argv": ["sh", "-c", "id"]}, NotAllowed, "--allow-code DIR"),
        ({"kind": "command", "argv": ["/bin/id"]}, NotAllowed, "--allow-code DIR"),
        ({"kind": "command"}, InvalidArgument, "needs its argv"),
    ],
)
async def test_what_may_not_run_is_refused_when_the_environment_is_made(
    tmp_path: Path, agent: dict[str, Any], error: type[Exception], told: str
) -> None:
    inside = tmp_path / "code"
    inside.mkdir()
    (inside / "desk.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "outside.py").write_text(GOOD, encoding="utf-8")
    async with bench(tmp_path, inside) as desk:
        with pytest.raises(error, match=told):
            await made(desk, agent)


async def test_a_model_for_an_agent_that_has_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(GOOD, encoding="utf-8")
    async with bench(tmp_path, tmp_path) as desk:
        await made(desk, {"kind": "python", "file": "desk.py"}, 1)
        for start in (desk.runs.start, desk.hardenings.harden):
            with pytest.raises(InvalidArgument, match="has its own model") as refused:
                await start("desk", models={"agent": "offline"}, wait_s=45)
            assert refused.value.where == "models.agent"
        assert (await desk.runs.start("desk", models={"user": "offline"}, wait_s=45)).run.totals.passed


async def test_without_an_allowed_folder_every_kind_of_code_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(GOOD, encoding="utf-8")
    file = str(tmp_path / "desk.py")
    async with Workbench(tmp_path / "data", worlds=WORLDS, roots=[tmp_path]) as desk:
        for agent in ({"kind": "python", "file": file}, {"kind": "command", "argv": ["python", file]}):
            with pytest.raises(NotAllowed, match="--allow-code DIR"):
                await made(desk, agent)

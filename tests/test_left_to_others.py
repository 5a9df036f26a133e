"""Jobs of killed servers, and a server that lacks what they need: it leaves them to one that may go on with them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import CasehardenError, NotAllowed
from caseharden.engine.net import Lending, Network
from caseharden.engine.processes import AllowedCode
from caseharden.engine.records.job import Job
from caseharden.engine.workbench import Workbench, jobs as jobs_module
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, of_json
from caseharden.tests.served import SERVE, served
from caseharden.tests.server_desk import desk
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-4", "CH-5")]
KEY = "DESK_API_KEY"
AGENT = """
def reply(turn):
    return "Which ticket?"
"""
PATIENT = """
import time
from pathlib import Path

def reply(turn):
    while not Path(__file__).with_name("go").exists():
        time.sleep(0.01)
    return "Which ticket?"
"""
TOOLS = """
def look_up_ticket(db, ticket_id):
    return db["tickets"][ticket_id]
"""
METRIC = """
def brevity(conversation):
    return {"value": 1, "why": "short"}
"""
NET: dict[str, Any] = {"loopback": True}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "code": ({"code": True}, {}, "--allow-code"),
    "loopback": (NET, {}, "--allow-loopback"),
    "lending": ({**NET, "lent": (KEY,), "key": True}, {**NET, "lent": ("OTHER",)}, "--allow-env"),
    "key": ({**NET, "lent": (KEY,), "key": True}, {**NET, "lent": (KEY,)}, f"{KEY} is not set"),
    "root": ({"root": True}, {}, "--root"),
    "world code": ({"code": True}, {}, "--allow-code"),
    "world server": (NET, {}, "--allow-loopback"),
    "world key": ({**NET, "lent": (KEY,), "key": True}, {**NET, "lent": (KEY,)}, f"{KEY} is not set"),
}
"""What one server may that runs an agent or a world, what another may, and what names that it is not enough."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with everything that may be lacking."""
    code = tmp_path / "code"
    code.mkdir()
    for name, text in (("desk.py", AGENT), ("tools.py", TOOLS), ("metrics.py", METRIC)):
        (code / name).write_text(text, encoding="utf-8")
    turns = [{"user_says": "Close it.", "agent_says": "No."}]
    talks = [{"scenario": f"close-{n}", "turns": turns} for n in range(1, 13)]
    (code / "talks.json").write_text(json.dumps(talks), encoding="utf-8")
    return tmp_path


@asynccontextmanager
async def server(
    place: Path,
    *,
    code: bool = False,
    loopback: bool = False,
    lent: tuple[str, ...] | None = None,
    key: bool = False,
    root: bool = False,
) -> AsyncGenerator[Workbench]:
    """A server on the data folder that may do only these things."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv(KEY, raising=False)
        if key:
            environment.setenv(KEY, "sk-desk-0123456789abcdef")
        async with Workbench(
            place / "data",
            worlds=WORLDS,
            roots=[place / "code"] if root else [],
            network=Network(loopback=loopback),
            lending=Lending(variables=lent),
            code=AllowedCode([place / "code"] if code else []),
        ) as bench:
            yield bench


async def environment(bench: Workbench, agent: Mapping[str, Any], world: Mapping[str, Any]) -> None:
    await bench.environments.create(
        "desk", instructions=INSTRUCTIONS, world_data={**tickets(12), **world}, agent=dict(agent)
    )
    await bench.scenarios.create("desk", [closing(n) for n in range(1, 13)], check=False)
    await bench.simulations.create("desk", wait_s=45)


def parts(kind: str, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The agent and what differs in the world."""
    http = {"kind": "chat_completions", "url": f"{url}/chat"}
    headers = {"headers": {"Authorization": f"Bearer env:{KEY}"}}
    served: dict[str, Any] = {"http": {"url": f"{url}/tool"}}
    keyed = {"http": {"url": f"{url}/tool", **headers}}
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "code": ({"kind": "python", "file": "desk.py"}, {}),
        "loopback": (http, {}),
        "lending": ({**http, **headers}, {}),
        "key": ({**http, **headers}, {}),
        "root": ({"kind": "recorded", "file": "talks.json"}, {}),
        "world code": ({}, looked_up_by({"python": "tools.py:look_up_ticket"})),
        "world server": ({}, looked_up_by(served)),
        "world key": ({}, looked_up_by(keyed)),
    }
    return found[kind]


def looked_up_by(impl: Mapping[str, Any]) -> dict[str, Any]:
    """The tools of the world, the first of which is code or a server's."""
    first, *others = tickets(1)["tools"]
    del first["steps"]
    return {"tools": [{**first, "impl": impl}, *others]}


async def left(bench: Workbench, id: str) -> Job:
    """The job once a server has said why it leaves it."""
    with anyio.fail_after(20):
        while not (job := (await bench.jobs.wait(id, wait_s=0)).job).left:
            assert not job.ended and job.state != "paused", job
            await anyio.sleep(0.01)
    return job


async def goes_on(place: Path, id: str, **can: Any) -> Job:
    """The job at its end, once a server is there that may go on with it."""
    async with server(place, **can) as able:
        with anyio.fail_after(60):
            while (job := (await able.jobs.wait(id, wait_s=45)).job).active:
                pass
    return job


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "BEAT_EVERY_S", 0.02)
    monkeypatch.setattr("caseharden.engine.workbench.workbench.BEAT_EVERY_S", 0.02)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_is_left_to_a_server_that_may_go_on_with_it(place: Path, kind: str) -> None:
    can, lacks, words = KINDS[kind]
    with FakeEndpoint(of_json({"choices": [{"message": {"content": "Which ticket?"}}]})) as endpoint:
        async with server(place, **can) as first:
            await environment(first, *parts(kind, endpoint.url))
            begun = await first.runs.start("desk", wait_s=0)
            assert begun.job is not None
        async with server(place, **lacks) as poor:
            job = await left(poor, begun.job.id)
            assert job.error is not None and words in job.error["what"]
            assert job.error["next"][0]["tool"] == "cancel_job"
            assert any(words in warning for warning in poor.runs.report_of(job).warnings)
            ended = await goes_on(place, job.id, **can)
            after = await poor.items.get("run", begun.run.id)
    assert ended.state == "done" and ended.error is None
    assert after.item["totals"]["error"] == 0 and after.item["totals"]["trials"] == 12


async def test_a_server_beside_one_that_is_killed_leaves_its_run_until_it_is_started_again(
    place: Path,
) -> None:
    async with server(place, code=True) as first:
        await environment(first, {"kind": "python", "file": "desk.py"}, {})
    (place / "code" / "desk.py").write_text(PATIENT, encoding="utf-8")
    able = (*SERVE[:-1], "--allow-code", str(place / "code"), SERVE[-1])
    with anyio.fail_after(120):
        async with served(place / "data") as poor:
            async with served(place / "data", *able) as killed:
                begun = await killed.ok("run_simulations", environment="desk", wait_s=0)
                killed.kill()
            job = begun["job"]["id"]
            while "--allow-code" not in (told := await poor.ok("wait_job", job=job, wait_s=1))["summary"]:
                assert told["job"]["state"] in ("queued", "running")
            (place / "code" / "go").touch()
            async with served(place / "data", *able) as again:
                while (told := await again.ok("wait_job", job=job, wait_s=45))["job"]["state"] != "done":
                    pass
            assert told["result"]["totals"]["error"] == 0
            assert (await poor.ok("wait_job", job=job, wait_s=0))["job"]["completed"] == 12


async def test_whoever_repeats_the_call_is_told_what_this_server_lacks_and_the_job_stays_as_it_is(
    place: Path,
) -> None:
    async with server(place, code=True) as first:
        await environment(first, {"kind": "python", "file": "desk.py"}, {})
        begun = await first.runs.start("desk", wait_s=0, idempotency_key="nightly")
        assert begun.job is not None
    async with server(place) as poor:
        job = await left(poor, begun.job.id)
        with pytest.raises(NotAllowed) as refused:
            await poor.runs.start("desk", wait_s=0, idempotency_key="nightly")
        assert "--allow-code" in str(refused.value)
        assert (await poor.jobs.wait(job.id, wait_s=0)).job.left
    async with desk(place / "data") as at:
        reply = await at.ok("wait_job", job=job.id, wait_s=0)
        assert reply["job"]["state"] == "queued" and "--allow-code" in reply["summary"]
        assert [call["tool"] for call in reply["next"]] == ["wait_job", "cancel_job"]
        assert (await at.follow(reply, 1))["job"]["state"] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "words"), [("score", "--allow-code"), ("import", "--root"), ("hardening", "--allow-code")]
)
async def test_other_jobs_are_left_too(place: Path, kind: str, words: str) -> None:
    async with server(place, code=True, root=True) as first:
        await environment(first, {}, {})
        run = (await first.runs.start("desk", wait_s=45)).run.id
        exported = await first.exports.export(run)
        (place / "code" / "run.json").write_bytes(Path(exported.path).read_bytes())
        await first.items.update("environment", "desk", {"agent": {"kind": "python", "file": "desk.py"}})
        metric = {"name": "brevity", "code": "metrics.py:brevity", "scale": [0, 1]}
        begun = await {
            "score": lambda: first.scores.score(run, metrics=[metric], wait_s=0),
            "import": lambda: first.imports.start("run.json", "copy", wait_s=0),
            "hardening": lambda: first.hardenings.harden("desk", strategy="submit", wait_s=0),
        }[kind]()
        assert begun.job is not None and begun.job.active
    async with server(place) as poor:
        job = await left(poor, begun.job.id)
        assert job.error is not None and words in job.error["what"]
        ended = await goes_on(place, job.id, code=True, root=True)
        assert ended.state == "done", ended.error
        if kind == "score":
            found = await poor.items.get("run", run)
            assert found.item["metrics"]["brevity"]["mean"] == 1


async def test_what_a_writer_was_asked_for_is_left_too(place: Path) -> None:
    with FakeEndpoint(Answer(hang=True)) as endpoint:
        async with server(place, loopback=True) as first:
            await environment(first, {}, {})
            writer = {"writer": {"model": "any", "base_url": endpoint.base_url}}
            await first.items.update("environment", "desk", {"models": writer})
            begun = await first.personas.generate("desk", count=2, wait_s=0)
            assert begun.job is not None
        async with server(place) as poor:
            job = await left(poor, begun.job.id)
            assert job.error is not None and "--allow-loopback" in job.error["what"]
            assert (await poor.jobs.cancel(job.id)).job.state == "cancelled"


async def test_a_paused_hardening_is_not_failed_by_a_server_that_lacks_its_code(place: Path) -> None:
    async with server(place, code=True) as first:
        await environment(first, {"kind": "python", "file": "desk.py"}, {})
        begun = await first.hardenings.harden("desk", strategy="submit", wait_s=0)
        assert begun.job is not None
        await first.jobs.cancel(begun.job.id)
    async with server(place) as poor:
        with pytest.raises(CasehardenError, match="--allow-code"):
            await poor.hardenings.harden("desk", hardening=begun.hardening.id, wait_s=0)
        assert (await poor.jobs.wait(begun.job.id, wait_s=0)).job.state == "cancelled"

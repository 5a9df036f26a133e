"""Runs with models and agents outside: played, counted, kept with references; what cannot work is told before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument, MissingKey, Unavailable
from caseharden.engine.records.environment import ModelAt
from caseharden.engine.records.run import RunRecord
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import (
    Answer,
    FakeEndpoint,
    Seen,
    broken_json,
    chat,
    drip,
    fault,
    gzip_bomb,
    hang,
    redirect,
)
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, desk, tickets
from caseharden.tools.runs import run_reply

pytestmark = pytest.mark.anyio
KEY = "sk-of-nobody-0123456789abcdef"


def by_the_book(seen: Seen) -> Answer:
    """A good agent: looks the ticket up, closes it, says so."""
    messages = seen.json["messages"]
    done = [m["tool_call_id"] for m in messages if m["role"] == "tool"]
    said = " ".join(str(m["content"]) for m in messages if m["role"] == "user")
    ticket = next((word.strip(".,") for word in said.split() if word.strip(".,")[1:].isdigit()), "")
    if not ticket:
        return chat("Which ticket?")
    if len(done) < 2:
        return chat(None, [(("look_up_ticket", "close_ticket")[len(done)], {"ticket_id": ticket})])
    return chat(f"Ticket {ticket} is closed.")


def a_user(seen: Seen) -> Answer:
    """A simulated user: asks, then leaves."""
    sheet = json.dumps(seen.json["messages"][0])
    ticket = next(word for n in range(12, 0, -1) if (word := f"T{n}") in sheet)
    spoken = any(m["role"] == "assistant" for m in seen.json["messages"])
    return chat("Thanks. ###STOP###" if spoken else f"Please close ticket {ticket}.")


async def environment(bench: Workbench, count: int = 3, **fields: Any) -> None:
    await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(count), **fields)
    await bench.scenarios.create("desk", [closing(n) for n in range(1, count + 1)])


def outside(endpoint: FakeEndpoint, **fields: Any) -> dict[str, Any]:
    return {"kind": "chat_completions", "url": endpoint.url, "retries": 0, **fields}


async def ran(bench: Workbench, **fields: Any) -> RunRecord:
    with anyio.fail_after(60):
        return (await bench.runs.start("desk", wait_s=45, **fields)).run


async def test_an_agent_behind_a_url_is_played_in_the_world_and_counted(tmp_path: Path) -> None:
    with FakeEndpoint(by_the_book) as endpoint:
        async with bench_at(tmp_path) as bench:
            await environment(bench, agent=outside(endpoint))
            report = await bench.runs.start("desk", wait_s=45)
            run, shown = report.run, run_reply(report).models
    assert (run.state, run.totals.passed, run.totals.error) == ("done", 3, 0)
    used = run.models_used["agent"]
    assert used.name == f"agent at 127.0.0.1:{endpoint.port}"
    assert (used.calls, used.input_tokens) == (len(endpoint.requests), 11 * len(endpoint.requests))
    assert used.cost_usd is None
    assert (shown["agent"], shown["user"]) == (used.name, "offline")
    assert "Get ticket" not in json.dumps([seen.json for seen in endpoint.requests])


async def test_models_at_endpoints_play_agent_and_user_and_their_prices_add_up(tmp_path: Path) -> None:
    with FakeEndpoint(by_the_book) as agent, FakeEndpoint(a_user) as user:
        models = {
            "agent": {"model": "big", "base_url": agent.base_url, "prices": {"input": 1, "output": 1}},
            "user": {"model": "small", "base_url": user.base_url},
        }
        async with bench_at(tmp_path) as bench:
            await environment(bench, models=models)
            report = await bench.runs.start("desk", wait_s=45)
            run = report.run
            again = await ran(bench, continue_run=run.id)
        shown = run_reply(report).models
    assert (run.totals.passed, again.totals.passed, again.round) == (3, 3, 2)
    calls = sum(use.calls for use in run.models_used.values())
    assert 2 * calls == len(agent.requests) + len(user.requests)
    assert run.models_used["agent"].cost_usd == pytest.approx(18e-6 * run.models_used["agent"].calls)
    assert run.models_used["user"].cost_usd is None
    assert report.usd is None
    assert shown["agent"] == f"big at 127.0.0.1:{agent.port}"
    assert isinstance(run.models["agent"], ModelAt)


async def test_keys_are_kept_as_references_and_their_values_are_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_KEY", KEY)

    def leaky(seen: Seen) -> Answer:
        return chat(f"I was called with {seen.headers['authorization']}.")

    with FakeEndpoint(leaky) as agent, FakeEndpoint(fault(400, f"no: {KEY}")) as user:
        async with bench_at(tmp_path) as bench:
            await environment(
                bench,
                agent=outside(agent, headers={"Authorization": "Bearer env:DESK_KEY"}),
                models={"user": {"model": "m", "base_url": user.base_url, "key": "env:DESK_KEY"}},
            )
            first = await ran(bench)
            second = await ran(bench, models={"user": "offline"})
    assert first.totals.error == 3
    assert len(agent.requests) > 0 and agent.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert second.agent["headers"] == {"Authorization": "Bearer env:DESK_KEY"}
    holding = [f for f in tmp_path.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]
    assert holding == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (fault(500, "no disk"), "answered 500"),
        (redirect("http://169.254.169.254/latest"), "redirects are not followed"),
        (drip(0.01), "no whole answer within 0.2 s"),
        (hang(), "no whole answer within 0.2 s"),
        (gzip_bomb(50), "longer than"),
        (broken_json(), "cannot be read"),
    ],
)
async def test_whatever_an_agent_does_wrong_is_an_error_of_its_trial_and_none_is_missing(
    answer: Answer, told: str, tmp_path: Path
) -> None:
    with FakeEndpoint(answer) as endpoint:
        async with bench_at(tmp_path) as bench:
            await environment(bench, agent=outside(endpoint, timeout_s=0.2 if "0.2" in told else 10.0))
            run = await ran(bench)
            conversation = await bench.items.get("conversation", f"{run.id}/close-1/1")
    assert (run.state, run.totals.trials, run.totals.error, run.totals.rate) == ("done", 3, 3, None)
    assert told in json.dumps(conversation.item)


async def test_an_agent_that_repeats_itself_is_stopped_and_broken_arguments_do_not_end_a_trial(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(chat("One moment.")) as endpoint:
        async with bench_at(tmp_path) as bench:
            await environment(bench, 1, agent=outside(endpoint))
            same = await ran(bench)
            ticket = {"ticket_id": "T1"}
            endpoint.then(chat(None, [("look_up_ticket", "{broken")]))
            endpoint.then(chat(None, [("look_up_ticket", ticket), ("close_ticket", ticket)]), chat("Done."))
            mended = await ran(bench)
            endpoint.always(chat(None, [("no_such_tool", {})]))
            runaway = await ran(bench)
            trials = bench.runs._archive.trials  # pyright: ignore[reportPrivateUsage]
            ends = [next(iter(trials(run.id).table.walk()))["end"] for run in (same, runaway)]
    assert ends == ["loop", "max_tool_calls"]
    assert (same.totals.failed, mended.totals.passed, runaway.totals.failed) == (1, 1, 1)


async def test_calls_that_an_agent_makes_by_itself_are_in_its_record(tmp_path: Path) -> None:
    with FakeEndpoint(chat("I noted it.", [("crm_note", {"text": "angry"})])) as endpoint:
        async with bench_at(tmp_path) as bench:
            await environment(bench, 1, agent=outside(endpoint, tools="none"))
            run = await ran(bench)
            conversation = await bench.items.get("conversation", f"{run.id}/close-1/1", view="full")
    told = json.dumps(conversation.item)
    assert run.totals.failed == 1
    assert "crm_note" in told and "angry" in told


async def test_a_dead_agent_is_told_when_it_is_named_and_stops_a_run_before_it_begins(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        pass
    async with bench_at(tmp_path) as bench:
        made = await bench.environments.create(
            "desk", instructions=INSTRUCTIONS, world_data=tickets(2), agent=outside(endpoint)
        )
        assert made.agent == {
            "kind": "chat_completions",
            "probed": f"The agent at {endpoint.url}/ refused the connection.",
        }
        assert any("is not there yet" in warning for warning in made.warnings)
        await bench.scenarios.create("desk", [closing(1), closing(2)])
        with pytest.raises(Unavailable) as dead:
            await bench.runs.start("desk", trials=3)
        assert dead.value.what == (
            f"The agent at {endpoint.url}/ refused the connection. 6 trials would end in error, so nothing was run."
        )
        with pytest.raises(Unavailable, match="so nothing was run"):
            await bench.hardenings.harden("desk")
        assert (await bench.items.page("run")).items == []


async def test_a_missing_or_wrong_key_stops_a_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with FakeEndpoint() as endpoint:
        endpoint.probed(fault(401))
        at = {"model": "m", "base_url": endpoint.base_url}
        async with bench_at(tmp_path) as bench:
            await environment(bench, 1)
            with pytest.raises(MissingKey, match="DESK_KEY is not set") as missing:
                await bench.runs.start("desk", models={"user": {**at, "key": "env:DESK_KEY"}})
            assert missing.value.where == "models.user.key"
            with pytest.raises(MissingKey, match="refused the key"):
                await bench.runs.start("desk", models={"agent": at})
            with pytest.raises(MissingKey, match="ANTHROPIC_API_KEY is not set"):
                await bench.runs.start("desk", models={"agent": "anthropic/claude-sonnet-4-5"})
        assert endpoint.requests == []


async def test_a_literal_key_is_refused_with_its_place(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        at = {"model": "m", "base_url": "http://127.0.0.1:1/v1", "key": KEY}
        with pytest.raises(InvalidArgument) as refused:
            await bench.environments.create("desk", world_data=tickets(1), models={"judge": at})
        assert refused.value.what == "models.judge.key holds a literal secret."
        agent = {"kind": "chat_completions", "url": "http://127.0.0.1:1/", "headers": {"Authorization": KEY}}
        with pytest.raises(InvalidArgument) as refused:
            await bench.environments.create("desk", world_data=tickets(1), agent=agent)
        assert refused.value.what == "agent.headers.Authorization holds a literal secret."


async def test_a_key_may_lie_in_the_secrets_folder_of_the_home_and_nowhere_else_in_it(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "desk").write_text("a-key-in-a-file\n", encoding="utf-8")
    (tmp_path / "token").write_text("the-servers-own-token", encoding="utf-8")
    with FakeEndpoint(by_the_book) as endpoint:
        async with bench_at(tmp_path) as bench:
            agent = outside(endpoint, headers={"Authorization": "Bearer file:desk"})
            await environment(bench, 1, agent=agent)
            assert (await ran(bench)).totals.passed == 1
            stolen = outside(endpoint, headers={"Authorization": "Bearer file:../token"})
            made = await bench.environments.create("thief", world_data=tickets(1), agent=stolen)
            assert "outside the allowed roots" in made.agent["probed"]
    assert {seen.headers["authorization"] for seen in endpoint.requests} == {"Bearer a-key-in-a-file"}


async def test_desk_still_runs_offline_without_any_connection(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        run = await ran(bench)
    assert run.models["agent"] == "offline"
    assert run.models_used["agent"].cost_usd == 0.0

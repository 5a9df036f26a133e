"""Held-out scenarios that a client plays in: spent when it sees them, proven on all the same, and marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.records.environment import AgentSpec
from caseharden.engine.workbench.role_models import judges_itself
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.hosting import View, answers, as_user, judgement, lent_desk, play
from caseharden.tests.judge_desk import Asked, judged_by, judging, verdict
from caseharden.tests.server_desk import Desk, desk, structured
from caseharden.tests.workbench_cases import tickets

pytestmark = pytest.mark.anyio
RULE = "Before calling close_ticket, call look_up_ticket."


async def spent(at: Desk) -> set[str]:
    page = await at.ok("list_items", kind="scenario", environment="desk", limit=100)
    rows = [row for row in page["items"] if row["split"] == "held_out"]
    return {row["id"] for row in rows if row.get("spent")}


async def over(at: Desk, reply: View) -> View:
    """What a starter would have returned, once a client has played through its job."""
    with anyio.fail_after(120):
        ended, _ = await play(at, reply["job"]["id"], as_user)
    return {**ended["result"], "next": ended["next"], "warnings": ended.get("warnings", [])}


async def test_a_held_out_call_that_was_handed_out_spends_its_scenario_and_is_told(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 12)
        begun = await at.ok("run_simulations", environment="desk")
        assert await spent(at) == set()
        batch = await at.ok("take_model_calls", job=begun["job"]["id"])
        (told,) = batch["warnings"]
        assert told.startswith("Held out: desk/close-") and "count as train" in told
        assert len(await spent(at)) == 4
        ended = await at.ok("answer_model_calls", answers=answers(batch, as_user), limit=16)
        while ended.get("calls"):
            ended = await at.ok("answer_model_calls", answers=answers(ended, as_user))
        opened = await over(
            at, await at.ok("harden_agent", environment="desk", strategy="submit", run="run-1")
        )
    assert "all 4 are spent" in " ".join(opened["warnings"])
    assert opened["next"][0]["tool"] == "generate_scenarios"


@pytest.mark.requirement("CH-2")
async def test_a_text_of_a_client_that_plays_the_users_is_proven_on_what_it_had_not_seen(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 24)
        begun = await at.ok("harden_agent", environment="desk", strategy="submit")
        opened = await over(at, begun)
        assert opened["state"] == "open" and await spent(at) == set()
        assert not [one for one in opened.get("warnings", []) if "can only be unconfirmed" in one]
        edits = [{"op": "add", "anchor": "end", "text": RULE}]
        proof = await at.ok("submit_candidate", hardening=opened["hardening"], edits=edits)
        proven = await over(at, proof)
        assert proven["outcome"] == "improved" and proven["marks"] == ["exposed"]
        assert proven["evidence"]["held_out"]["better"] == 8 == len(await spent(at))
        second = [{"op": "add", "anchor": "end", "text": "Always be polite."}]
        later = await at.ok("submit_candidate", hardening=opened["hardening"], edits=second)
        unproven = await over(at, later)
    assert unproven.get("outcome") != "improved"


async def test_a_proof_that_is_cancelled_goes_on_with_the_same_held_out_scenarios(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 24)
        opened = await over(at, await at.ok("harden_agent", environment="desk", strategy="submit"))
        edits = [{"op": "add", "anchor": "end", "text": RULE}]
        submit: dict[str, Any] = {"hardening": opened["hardening"], "edits": edits, "idempotency_key": "one"}
        job = (await at.ok("submit_candidate", **submit))["job"]["id"]
        with anyio.fail_after(120):
            reply = await at.ok("take_model_calls", job=job)
            while not (told := await hidden(at)):
                reply = await at.ok("answer_model_calls", answers=answers(reply, as_user))
            assert told["code"] == "held_out" and told["next"][0]["args"] == {"job": job}
            await at.ok("answer_model_calls", answers=answers(reply, as_user)[:1], limit=0)
            await at.ok("cancel_job", job=job)
            await at.ok("answer_model_calls", answers=answers(reply, as_user)[1:], limit=0)
            again = await at.ok("submit_candidate", **submit)
            proven = await over(at, again)
    assert proven["outcome"] == "improved" and proven["evidence"]["held_out"]["n"] == 8


async def hidden(at: Desk) -> View:
    """Why a held-out conversation may not be read; {} before one is there."""
    page = await at.ok("list_items", kind="scenario", environment="desk", limit=100)
    slugs = [row["id"].partition("/")[2] for row in page["items"] if row["split"] == "held_out"]
    for slug in slugs:
        asked = {"kind": "conversation", "id": f"run-1/{slug}-dana/101", "view": "turns"}
        error = structured(await at.client.call_tool("get_item", asked)).get("error", {})
        if error and error["code"] != "not_found":
            return error
    return {}


LOOKED_UP = "The agent looked the ticket up before it closed it."


def as_judge(view: View) -> View:
    """Passes what was looked up, by the record that it is shown."""
    return judgement(view, "pass" if "look_up_ticket" in json.dumps(view["history"]) else "fail")


async def judged_desk(at: Desk, models: dict[str, Any], count: int = 24, **more: Any) -> None:
    """The desk whose one criterion needs a judge."""
    no_rules: list[Any] = []
    await lent_desk(at, count, models=models, world_data={**tickets(count), "rules": no_rules}, **more)
    for n in range(1, count + 1):
        criteria = {"success": [{"id": "looked-up", "judge": LOOKED_UP}]}
        await at.ok("update_item", kind="scenario", id=f"desk/close-{n}", changes=criteria)


async def test_a_client_that_only_judges_has_looked_into_what_it_judged(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await judged_desk(at, {"user": "offline", "judge": "relay"}, 12)
        begun = await at.ok("run_simulations", environment="desk")
        assert await spent(at) == set()
        batch = await at.ok("take_model_calls", job=begun["job"]["id"])
        assert {view["role"] for view in batch["calls"]} == {"judge"}
        (told,) = batch["warnings"]
        assert told.startswith("Held out: desk/close-") and "count as train" in told
        seen = await spent(at)
        assert seen and all(name in told for name in sorted(seen)[:3])


@pytest.mark.parametrize("itself", [True, False])
async def test_a_text_that_its_writer_judged_is_marked_so(tmp_path: Path, itself: bool) -> None:
    def as_asked(asked: Asked) -> dict[str, Any]:
        return {name: verdict("pass" if "look_up_ticket" in asked.block else "fail") for name in asked.keys}

    with FakeEndpoint(judging(as_asked)) as endpoint:
        async with desk(tmp_path) as at:
            judge = {"judge": "relay"} if itself else judged_by(endpoint)
            await judged_desk(at, {"user": "offline", **judge})
            opened = await proven_by(at, await at.ok("harden_agent", environment="desk", strategy="submit"))
            edits = [{"op": "add", "anchor": "end", "text": RULE}]
            proof = await at.ok("submit_candidate", hardening=opened["hardening"], edits=edits)
            proven = await proven_by(at, proof)
    assert proven["outcome"] == "improved", proven
    assert proven.get("marks", []) == (["self-judged"] if itself else [])


@pytest.mark.parametrize(
    ("agent", "models", "itself"),
    [
        ({}, {"agent": "openai/gpt-4o", "judge": "openai/gpt-4o"}, True),
        ({}, {"agent": "openai/gpt-4o", "judge": "openai/gpt-4o-mini"}, False),
        ({"model": "openai/gpt-4o"}, {"agent": "offline", "judge": "openai/gpt-4o"}, True),
        ({}, {"agent": "offline", "judge": "offline"}, False),
        ({}, {"agent": "relay", "judge": "relay"}, True),
        ({"kind": "caller"}, {"agent": "offline", "judge": "relay"}, True),
        ({}, {"agent": "offline", "judge": "relay"}, False),
        ({"kind": "chat_completions", "url": "http://127.0.0.1/"}, {"judge": "openai/gpt-4o"}, False),
    ],
)
def test_a_judge_that_is_the_agents_own_model_or_client_is_known(
    agent: dict[str, Any], models: dict[str, str], itself: bool
) -> None:
    assert judges_itself(models, AgentSpec.model_validate(agent)) is itself


async def test_a_hardening_that_a_client_judged_is_replayed_without_anybody(tmp_path: Path) -> None:
    roots = (tmp_path,)
    taped: dict[str, Any] = {"options": {"cassette": {"file": "judge.jsonl", "mode": "replay"}}}
    strict: dict[str, Any] = {"options": {"cassette": {"file": "judge.jsonl", "mode": "strict"}}}
    found: list[View] = []
    for k, how in enumerate((taped, strict)):
        async with desk(tmp_path / f"home-{k}", roots=roots) as at:
            await judged_desk(at, {"user": "offline", "judge": "relay"}, 8)
            begun = await at.ok("harden_agent", environment="desk", strategy="rules", **how)
            assert (begun.get("job", {}).get("state") == "waiting") is (how is taped), begun
            found.append(await proven_by(at, begun))
    assert found[0]["outcome"] == found[1]["outcome"]
    lines = [json.loads(line) for line in (tmp_path / "judge.jsonl").read_text("utf-8").splitlines()]
    assert lines and {line["model"] for line in lines} == {"relay"}


async def proven_by(at: Desk, reply: View) -> View:
    """What a starter would have returned, once a client has judged what its job asks."""
    if "job" not in reply or reply["job"]["state"] == "done":
        return reply
    with anyio.fail_after(120):
        ended, _ = await play(at, reply["job"]["id"], as_judge)
    return ended["result"]


@pytest.mark.requirement("AS-3")
async def test_a_client_that_plays_is_shown_no_sealed_scenario_by_an_ordinary_run(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 3)
        asked: dict[str, Any] = {"count": 2, "kinds": ["sealed"], "wait_s": 20}
        await at.ok("generate_scenarios", environment="desk", **asked)
        refused = await at.error("run_simulations", environment="desk", select=["tag:sealed"])
        assert refused["code"] == "held_out"
        begun = await at.ok("run_simulations", environment="desk")
        assert "2 simulations are left out" in " ".join(begun["warnings"])
        ended, _ = await play(at, begun["job"]["id"], as_user)
        assert ended["result"]["totals"]["trials"] == 3
        sealed: dict[str, Any] = {"select": ["tag:sealed"], "models": {"user": "offline"}, "wait_s": 20}
        done = await at.ok("run_simulations", environment="desk", **sealed)
        asked = {"run": done["run"], "judge": "relay", "metrics": ["helpfulness"]}
        assert (await at.error("score_run", **asked))["code"] == "held_out"
        rows = (await at.ok("list_items", kind="scenario", environment="desk"))["items"]
    assert not [row for row in rows if "sealed" in row["id"] and row.get("spent")]

"""Held-out scenarios that a client plays in: spent when it sees them, proven on all the same, and marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.tests.hosting import View, answers, as_user, lent_desk, play
from caseharden.tests.server_desk import Desk, desk, structured

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
        asked = {"kind": "conversation", "id": f"run-1/{slug}-dana/1", "view": "turns"}
        error = structured(await at.client.call_tool("get_item", asked)).get("error", {})
        if error and error["code"] != "not_found":
            return error
    return {}

"""Relay over MCP: calls wait, are handed out together, answered by a client in any role, and refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.records.model_call import ModelCall
from caseharden.engine.workbench.judging import Judging
from caseharden.engine.workbench.mailbox import Mailbox
from caseharden.engine.workbench.model_call_views import BATCH_CHARS, Batch
from caseharden.tests.hosting import STOP, View, answers, as_user, by_role, heard, judgement, lent_desk, play
from caseharden.tests.server_desk import Desk, desk
from caseharden.tools.fit import CAP

pytestmark = pytest.mark.anyio
MODELS = {"user": "relay", "agent": "relay"}


async def started(at: Desk, **more: Any) -> str:
    """The job of a run that waits for a client."""
    begun = await at.ok("run_simulations", environment="desk", **more)
    assert begun["job"]["state"] == "waiting"
    assert begun["next"][0] == {
        "tool": "take_model_calls",
        "args": {"job": begun["job"]["id"]},
        "why": "it waits for your answers",
    }
    return str(begun["job"]["id"])


@pytest.mark.requirement("CH-2")
async def test_sixteen_simulations_of_four_turns_take_at_most_seven_round_trips(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, settings={"limits": {"max_turns": 4}})
        job = await started(at)
        with anyio.fail_after(60):
            ended, trips = await play(at, job, lambda view: as_user(view, turns=4))
        run = (await at.ok("get_item", kind="run", id="run-1"))["item"]
        page = await at.ok("list_items", kind="conversation", where={"run": "run-1"}, limit=100)
    assert trips <= 4 + 3
    assert ended["job"]["state"] == "done" and ended["result"]["run"] == "run-1"
    assert page["total"] == 16 and {row["turns"] for row in page["items"] if "turns" in row} == {4}
    assert run["models_used"]["user"]["calls"] == 64


@pytest.mark.requirement("CH-2")
async def test_a_client_with_tools_only_plays_user_and_agent_and_waits_in_no_call(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 8, models=MODELS)
        job = await started(at)
        waits = await at.ok("wait_job", job=job)
        assert waits["waiting_for"] == "take_model_calls" and waits["job"]["state"] == "waiting"
        assert "It is waiting for answers: call take_model_calls." in waits["summary"]
        with anyio.fail_after(60):
            ended, trips = await play(at, job)
    assert ended["result"]["totals"]["passed"] == 8
    assert ended["result"]["models"]["agent"] == ended["result"]["models"]["user"] == "relay"
    assert ended["result"]["cost"]["usd"] == "unknown"
    assert trips == 1 + 5, "user, look up, close, say so, leave"


async def test_each_call_tells_its_own_role_and_what_several_need_stands_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 4, models=MODELS)
        users = await at.ok("take_model_calls", job=await started(at))
        agents = await at.ok("answer_model_calls", answers=answers(users))
    assert list(users["shared"]) == ["user-rules"] and STOP in users["shared"]["user-rules"]
    first: View = users["calls"][0]
    assert first["role"] == "user" and first["uses"] == ["user-rules"] and first["reply"] == "text"
    assert first["sheet"]["style"] == "terse" and first["history"] == []
    assert list(agents["shared"]) == ["instructions", "agent-rules", "tools"], "and not of which version"
    assert (
        agents["shared"]["tools"][0] == "look_up_ticket(ticket_id: string (T and digits)) Look up a ticket."
    )
    assert {view["reply"] for view in agents["calls"]} == {"text or tool_calls"}
    assert {view["conversation"] for view in agents["calls"]}.isdisjoint(
        view["conversation"] for view in users["calls"]
    )
    told = json.dumps(agents)
    assert "sheet" not in told and "Get ticket" not in told and "close-1" not in told
    assert agents["untrusted"] == ["calls[].history"]


async def test_history_new_tells_only_what_came_since_the_last_answer(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 2, models=MODELS)
        users = await at.ok("take_model_calls", job=await started(at), history="new")
        agents = await at.ok("answer_model_calls", answers=answers(users), history="new")
        assert all("uses" in view and view["history"] for view in agents["calls"])
        calls = [
            {
                "id": view["id"],
                "tool_calls": [
                    {"name": "look_up_ticket", "arguments": {"ticket_id": heard(view).split()[-1][:-1]}}
                ],
            }
            for view in agents["calls"]
        ]
        again = await at.ok("answer_model_calls", answers=calls, history="new")
        texts = [{"id": view["id"], "text": "Done."} for view in again["calls"]]
        asked = await at.ok("answer_model_calls", answers=texts)
    for view in again["calls"]:
        assert [entry["from"] for entry in view["history"]] == ["tool"] and "uses" not in view
    assert "shared" not in again
    for view in asked["calls"]:
        assert [entry["from"] for entry in view["history"]] == ["you", "agent"] and view["new"] == 1
        assert "sheet" in view


async def test_what_was_refused_comes_again_without_what_the_client_has_before_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 2, models=MODELS)
        users = await at.ok("take_model_calls", job=await started(at), history="new")
        bad = {"id": users["calls"][0]["id"], "text": " "}
        back = await at.ok("answer_model_calls", answers=[bad], history="new")
        (again,) = [view for view in back["calls"] if view["id"] == bad["id"]]
        assert "uses" not in again and again["history"] == [] and again["reply"] == "text"
        assert "shared" not in back
        whole = await at.ok("answer_model_calls", answers=[bad])
        (again,) = [view for view in whole["calls"] if view["id"] == bad["id"]]
        assert again["uses"] == ["user-rules"] and "user-rules" in whole["shared"]


async def test_calls_whose_answer_could_not_be_read_are_handed_out_again_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 3, models=MODELS)
        job = await started(at)
        users = await at.ok("take_model_calls", job=job)
        held = [view["id"] for view in users["calls"]]
        refused = await at.error("answer_model_calls", answer=answers(users)[:1])
        assert refused["next"][0]["tool"] == "take_model_calls"
        again = await at.ok("take_model_calls", job=job, wait_s=0)
        assert [view["id"] for view in again["calls"]] == held[:1], "the one that it named"
        for wrong in ({"answers": [{"text": "Close it."}]}, {"answers": answers(users), "limit": 65}):
            call = at.ok if "limit" not in wrong else at.error
            told = await call("answer_model_calls", **wrong)
            assert told["next"][0]["tool"] == "take_model_calls"
            again = await at.follow(told)
            assert sorted(view["id"] for view in again["calls"]) == sorted(held)
        done = await at.ok("answer_model_calls", answers=answers(users), limit=0)
        assert done["accepted"] == 3


async def test_a_refusal_tells_its_reason_first_and_repeats_a_call_whole_only_when_it_is_refused_again(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 2, models=MODELS)
        users = await at.ok("take_model_calls", job=await started(at))
        bad = [{"id": view["id"], "text": ""} for view in users["calls"]]
        back = await at.ok("answer_model_calls", answers=bad)
        names = list(back)
        assert names.index("refused") < names.index("calls") and "shared" not in back
        assert all(view["history"] == [] and "sheet" not in view for view in back["calls"])
        whole = await at.ok("answer_model_calls", answers=bad)
        assert all("sheet" in view for view in whole["calls"]) and not whole.get("warnings")
        often = await at.ok("answer_model_calls", answers=bad)
        assert "cancel_job ends the job" in often["warnings"][0]


async def test_wrong_answers_come_back_with_the_reason_and_the_others_are_taken(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 4, models=MODELS)
        users = await at.ok("take_model_calls", job=await started(at))
        good = answers(users)
        bad = {"id": good[0]["id"], "text": " "}
        back = await at.ok("answer_model_calls", answers=[bad, *good[1:3], {"id": "m-9", "text": "x"}])
        assert back["accepted"] == 2 and [row["id"] for row in back["refused"]] == [bad["id"], "m-9"]
        assert back["refused"][0]["what"] == "The answer is empty."
        assert back["refused"][1]["at"] == "answers[3].id"
        assert bad["id"] in [view["id"] for view in back["calls"]]
        agent = next(view for view in back["calls"] if view["role"] == "agent")
        wrong: dict[str, dict[str, Any]] = {
            "No tool `look_up_tickets` was offered. Did you mean `look_up_ticket`?": {
                "tool_calls": [{"name": "look_up_tickets", "arguments": {}}]
            },
            "`arguments` is an object.": {"tool_calls": [{"name": "close_ticket", "arguments": [1]}]},
            "This call has no schema.": {"data": {"a": 1}},
            "Unknown field `txt`. Did you mean `text`?": {"txt": "hello"},
        }
        for what, answer in wrong.items():
            told = await at.ok("answer_model_calls", answers=[{"id": agent["id"], **answer}], limit=0)
            assert told["refused"][0]["what"] == what and told["refused"][0]["allowed"]


async def test_data_is_held_to_its_schema_and_a_writer_can_be_lent(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 2, models={"writer": "relay"})
        begun = await at.ok("generate_personas", environment="desk", count=1, wait_s=20)
        assert begun["job"]["state"] == "waiting"
        asked = await at.ok("take_model_calls", roles=["writer"])
        (view,) = asked["calls"]
        assert view["role"] == "writer" and view["reply"] == "data"
        broken = {"id": view["id"], "data": {"personas": "none"}}
        told = await at.ok("answer_model_calls", answers=[broken])
        assert told["refused"][0]["what"] == 'argument `data.personas` must be array, got "none".'
        assert [one["id"] for one in told["calls"]] == [view["id"]]
        assert view["schema"]["personas"][0]["traits"] == ["string"]
        person: View = {"id": "rita", "kind": "angry", "profile": "Rita, a nurse on night shifts."}
        person |= {"style": "brief", "traits": ["angry"]}
        ended = await at.ok(
            "answer_model_calls", answers=[{"id": view["id"], "data": {"personas": [person]}}]
        )
        assert ended["job"]["state"] == "done", ended
        assert ended["result"]["made"] == ["desk/rita"]


async def test_a_batch_keeps_within_a_reply_and_counts_what_is_left(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 12)
        fact = {"fact": "story", "value": "My ticket is older than I am. " * 150}
        for n in range(1, 13):
            await at.ok("update_item", kind="scenario", id=f"desk/close-{n}", changes={"knowledge": [fact]})
        job = await started(at)
        first = await at.ok("take_model_calls", job=job)
        assert len(json.dumps(first, ensure_ascii=False)) <= CAP
        assert 1 < len(first["calls"]) < 12 and first["left"] == 12 - len(first["calls"])
        second = await at.ok("take_model_calls", job=job)
    ids = [view["id"] for reply in (first, second) for view in reply["calls"]]
    assert len(ids) == len(set(ids))


def test_a_history_too_long_for_a_batch_tells_how_much_of_its_texts_is_left_out() -> None:
    batch = Batch(full=True)
    messages = [{"role": "user", "content": "y" * length} for length in (100_000, 30_000, 500)]
    asks = {"messages": messages, "tools": [], "schema": None}
    assert batch.add(ModelCall(id="m-1", role="writer"), asks)
    first, second, short = (entry["text"] for entry in batch.calls[0]["history"])
    assert len(json.dumps(batch.calls)) <= BATCH_CHARS
    for text, length in ((first, 100_000), (second, 30_000)):
        assert text.endswith(f" … ({length - text.count('y')} characters left out)")
    assert short == "y" * 500


async def test_what_a_client_asks_wrongly_is_told(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        assert (await at.error("take_model_calls"))["code"] == "conflict"
        tester = await at.error("take_model_calls", roles=["tester"])
        assert tester["what"] == "`roles` has `tester`." and "judge" in tester["allowed"]
        await lent_desk(at, 2)
        assert (await at.error("answer_model_calls", answers=[]))["code"] == "invalid_argument"
        over = await at.ok("run_simulations", environment="desk", models={"user": "offline"}, wait_s=45)
        assert over["run"] == "run-1"
        ended = await at.ok("take_model_calls", job="job-1")
        assert ended["job"]["state"] == "done" and ended["result"]["run"] == "run-1"


async def test_a_cancelled_job_hands_out_nothing_and_goes_on_with_the_answers_it_has(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 4)
        job = await started(at)
        batch = await at.ok("take_model_calls", job=job)
        half = answers(batch)[:2]
        await at.ok("answer_model_calls", answers=half, limit=0)
        await at.ok("cancel_job", job=job)
        late = await at.ok("answer_model_calls", answers=answers(batch)[2:])
        assert late["accepted"] == 2 and late["job"]["state"] == "cancelled" and not late.get("calls")
        run = {"environment": "desk", "options": {"resume": "run-1"}}
        assert (await at.ok("run_simulations", **run))["job"]["state"] == "waiting"
        with anyio.fail_after(60):
            ended, _ = await play(at, job)
    assert ended["result"]["totals"]["trials"] == 4


async def test_a_client_that_plays_the_agent_is_shown_no_user_calls(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 3, agent={"kind": "caller"})
        job = await started(at)
        seen: dict[str, set[str]] = {"user": set(), "agent": set()}
        shared: set[str] = set()
        ended: View = {}
        role = "user"
        with anyio.fail_after(60):
            while not ended.get("result"):
                reply = await at.ok("take_model_calls", job=job, roles=[role])
                while reply.get("calls"):
                    seen[role] |= {view["role"] for view in reply["calls"]}
                    shared |= set(reply["shared"])
                    reply = await at.ok("answer_model_calls", answers=answers(reply), wait_s=1)
                ended, role = reply, "agent" if role == "user" else "user"
    assert seen == {"user": {"user"}, "agent": {"agent"}}
    assert shared == {"user-rules", "agent-rules", "desk@1", "tools"}
    assert ended["result"]["models"]["agent"] == "caller" and ended["result"]["totals"]["passed"] == 3


async def test_a_client_judges_too_in_one_call_a_conversation_and_is_asked_for_what_it_left_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One conversation is read from a slow disk: the job does not wait before all that it asks is there."""
    told, slow, read = anyio.Event(), [True], Judging._read  # pyright: ignore[reportPrivateUsage]
    tell = Mailbox._tell_state  # pyright: ignore[reportPrivateUsage]

    async def read_late(self: Judging, *args: Any) -> Any:
        if slow:
            slow.clear()
            await told.wait()
        return await read(self, *args)

    def tell_state(self: Mailbox, job: str) -> None:
        tell(self, job)
        if not slow and self.waits(job) == 2:
            told.set()

    monkeypatch.setattr(Judging, "_read", read_late)
    monkeypatch.setattr(Mailbox, "_tell_state", tell_state)
    async with desk(tmp_path) as at:
        await lent_desk(at, 3, models={**MODELS, "judge": "relay"})
        for n in range(1, 4):
            criteria = {"success": [{"id": "kind", "judge": "The agent was kind."}]}
            await at.ok("update_item", kind="scenario", id=f"desk/close-{n}", changes=criteria)
        judged: list[View] = []

        def as_judge(view: View) -> View:
            judged.append(view)
            return judgement(view, "maybe" if len(judged) == 1 else "pass")

        with anyio.fail_after(60):
            ended, trips = await play(
                at,
                await started(at),
                lambda view: as_judge(view) if view["role"] == "judge" else by_role(view),
            )
    assert ended["result"]["totals"]["passed"] == 3, ended
    assert trips == 1 + 5 + 2 and len(judged) == 4
    assert judged[0]["reply"] == "data" and judged[0]["schema"]["c1"]["verdict"] == "pass|fail|inconclusive"

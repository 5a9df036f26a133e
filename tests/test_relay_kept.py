"""Model calls that wait are kept: over restarts and kills, between two clients, until a lease ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from caseharden.engine.errors import Unavailable
from caseharden.engine.llm import Message, ModelReply, ModelRequest, Origin, open_model, patient
from caseharden.engine.llm.patience import waiting_for_the_host
from caseharden.engine.store import Store
from caseharden.engine.workbench.mailbox import Mailbox
from caseharden.mcp_server.app import build_server
from caseharden.resources.workbench import Workbench
from caseharden.tests.hosting import STOP, View, answers, by_role, judgement, lent_desk, play, told_ticket
from caseharden.tests.served import Served, served
from caseharden.tests.server_desk import Desk, desk

pytestmark = pytest.mark.anyio
BOTH = {"user": "relay", "agent": "relay"}


def ids(reply: View) -> list[str]:
    return [view["id"] for view in reply.get("calls", [])]


async def started(at: Any) -> str:
    return str((await at.ok("run_simulations", environment="desk"))["job"]["id"])


async def transcripts(at: Any, run: str = "run-1") -> list[str]:
    page = await at.ok("list_items", kind="conversation", where={"run": run}, limit=100)
    found = [await at.ok("get_item", kind="conversation", id=row["id"], view="full") for row in page["items"]]
    return sorted(f"{one['id']} {one['item']['conversation']['transcript_hash']}" for one in found)


async def test_two_clients_never_hold_the_same_call_and_the_first_answer_stands(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await lent_desk(at, 6)
        job = await started(at)
        mine = await at.ok("take_model_calls", job=job, limit=3)
        theirs = await at.ok("take_model_calls", job=job)
        assert len(ids(mine)) == 3 and mine["left"] == 3
        assert len(ids(theirs)) == 3 and not set(ids(mine)) & set(ids(theirs))
        empty = await at.ok("take_model_calls", job=job, wait_s=0)
        assert not ids(empty) and "6 calls out with clients" in empty["summary"]
        first = {"id": ids(mine)[0], "text": "Please close ticket T1."}
        assert (await at.ok("answer_model_calls", answers=[first], limit=0))["accepted"] == 1
        assert (await at.ok("answer_model_calls", answers=[first], limit=0))["accepted"] == 1
        other = await at.ok("answer_model_calls", answers=[{**first, "text": "Hello"}], limit=0)
        assert other["refused"][0]["what"].endswith("the first answer is kept.")


async def test_calls_that_are_not_answered_go_back_when_their_lease_ends(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    bench._call_lease_s = 0.05  # pyright: ignore[reportPrivateUsage]
    async with Client(build_server(bench)) as client:
        at = Desk(client)
        await lent_desk(at, 4)
        job = await started(at)
        gone = await at.ok("take_model_calls", job=job)
        with anyio.fail_after(10):
            again = await at.ok("take_model_calls", job=job)
        assert sorted(ids(again)) == sorted(ids(gone))
        late = await at.ok("answer_model_calls", answers=answers(gone), limit=0)
        assert late["accepted"] == 4, "a late answer is as good as any while there is no other"


async def test_a_restarted_server_asks_nothing_twice_and_comes_to_the_same(tmp_path: Path) -> None:
    async with desk(tmp_path / "whole") as at:
        await lent_desk(at, 5, models=BOTH)
        await play(at, await started(at))
        whole = await transcripts(at)
    home, asked = tmp_path / "home", list[str]()
    async with desk(home) as at:
        await lent_desk(at, 5, models=BOTH)
        job = await started(at)
        batch = await at.ok("take_model_calls", job=job)
        asked += ids(batch)
        batch = await at.ok("answer_model_calls", answers=answers(batch)[:4])
        asked += ids(batch)
        await at.ok("answer_model_calls", answers=answers(batch)[:2], limit=0)
    async with desk(home) as at:
        held = set(asked)
        left = [view for view in batch["calls"]][2:]
        with anyio.fail_after(60):
            reply = await at.ok("take_model_calls", job=job)
            assert not held & set(ids(reply)), "what a client holds is not handed out again"
            finished = [{"id": view["id"], **by_role(view)} for view in left]
            finished.append({"id": asked[4], "text": "###STOP###"})
            reply = await at.ok("answer_model_calls", answers=answers(reply) + finished)
            while reply.get("calls"):
                asked += ids(reply)
                reply = await at.ok("answer_model_calls", answers=answers(reply))
        assert reply["job"]["state"] == "done"
        same = set(whole) & set(await transcripts(at))
    assert len(asked) == len(set(asked))
    assert len(same) == 5, "the one whose user left at once was played once more"


async def test_one_of_two_that_ask_the_same_gives_up_and_the_other_hears_the_answer(tmp_path: Path) -> None:
    request = ModelRequest("user", [Message("user", "Who are you?")])
    heard: list[str] = []

    async def asks(mailbox: Mailbox) -> None:
        heard.append((await mailbox.asked(request, Origin(run="session-1", part="session"))).text)

    async with anyio.create_task_group() as group:
        with anyio.fail_after(60), Store(tmp_path) as store:
            mailbox = Mailbox(store)
            group.start_soon(mailbox.watch)
            with anyio.CancelScope() as patience:
                async with anyio.create_task_group() as impatient:
                    impatient.start_soon(asks, mailbox)
                    group.start_soon(asks, mailbox)
                    while mailbox.waits("") < 1:
                        await anyio.lowlevel.checkpoint()
                    patience.cancel()
            [call] = mailbox.free("")
            assert mailbox.keep(call, ModelReply("Dana."))
            mailbox.wake("")
            while not heard:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert heard == ["Dana."]


async def lent_over_stdio(server: Served) -> str:
    await lent_desk(server, 4, models=BOTH)  # pyright: ignore[reportArgumentType]
    return await started(server)


@pytest.mark.requirement("CH-4")
async def test_a_killed_server_keeps_answers_and_calls_and_another_goes_on(tmp_path: Path) -> None:
    with anyio.fail_after(120):
        async with served(tmp_path) as server:
            job = await lent_over_stdio(server)
            batch = await server.ok("take_model_calls", job=job)
            agents = await server.ok("answer_model_calls", answers=answers(batch))
            server.kill()
        async with served(tmp_path) as server:
            more = await server.ok("answer_model_calls", answers=answers(agents))
            assert more["accepted"] == 4
            seen = [*ids(batch), *ids(agents), *ids(more)]
            while more.get("calls"):
                more = await server.ok("answer_model_calls", answers=answers(more))
                seen += ids(more)
            ended = await server.ok("wait_job", job=job, wait_s=45)
    assert ended["result"]["totals"]["passed"] == 4
    assert len(seen) == len(set(seen))


@pytest.mark.requirement("CH-5")
async def test_a_client_of_another_server_on_the_same_folder_answers_too(tmp_path: Path) -> None:
    with anyio.fail_after(120):
        async with served(tmp_path) as one, served(tmp_path) as other:
            job = await lent_over_stdio(one)
            reply = await other.ok("take_model_calls", job=job)
            assert len(ids(reply)) == 4
            while reply.get("calls"):
                reply = await other.ok("answer_model_calls", answers=answers(reply))
            ended = await one.ok("wait_job", job=job, wait_s=45)
    assert reply["job"]["state"] == "done" and reply["result"]["totals"] == ended["result"]["totals"]
    assert ended["result"]["totals"]["passed"] == 4


async def test_time_that_the_host_takes_is_no_time_of_the_trial() -> None:
    left = 0.0
    with anyio.fail_after(10), anyio.move_on_after(5) as scope, patient(scope) as patience:
        before = scope.deadline
        with waiting_for_the_host():
            start = anyio.current_time()
            while anyio.current_time() < start + 0.1:
                await anyio.lowlevel.checkpoint()
            assert scope.deadline == float("inf")
        left = scope.deadline - before
    assert patience.waited_s >= 0.1 and left >= 0.1


def test_relay_without_a_server_is_told() -> None:
    with pytest.raises(Unavailable, match="No client can answer here"):
        open_model("relay")


@pytest.mark.requirement("AS-1")
async def test_a_deleted_conversation_leaves_no_byte_of_what_a_client_was_asked_and_said_in_it(
    tmp_path: Path,
) -> None:
    def told(view: View) -> View:
        ticket = told_ticket(view)
        if view["role"] == "judge":
            data = judgement(view, "fail")["data"]
            return {"data": {name: {**said, "why": f"judge-of-{ticket}"} for name, said in data.items()}}
        said = by_role(view)
        if "text" in said and said["text"] != STOP:
            said["text"] += f" {view['role']}-of-{ticket}"
        return said

    def holding(ticket: str) -> set[str]:
        words = [f"{role}-of-{ticket}".encode() for role in ("user", "agent", "judge")]
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        return {word.decode() for word in words if any(word in data for data in files)}

    async with desk(tmp_path) as at:
        await lent_desk(at, 3, models={**BOTH, "judge": "relay"})
        kind = {"success": [{"id": "kind", "judge": "The agent was kind."}]}
        for n in (1, 2, 3):
            await at.ok("update_item", kind="scenario", id=f"desk/close-{n}", changes=kind)
        with anyio.fail_after(60):
            await play(at, await started(at), told)
        assert holding("T1") == {"user-of-T1", "agent-of-T1", "judge-of-T1"}
        await at.ok("delete_items", kind="conversation", ids=["run-1/close-1-dana/1"], confirm=True)
        assert holding("T1") == set() and len(holding("T2")) == len(holding("T3")) == 3
        page = await at.ok("list_items", kind="conversation", where={"run": "run-1"})
        assert page["total"] == 2
    assert holding("T1") == set()

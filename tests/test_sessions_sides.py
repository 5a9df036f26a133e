"""Sessions whose other side is slow, silent or somebody's client."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from caseharden.engine.errors import Conflict, Unavailable
from caseharden.engine.workbench import sessions as sessions_module
from caseharden.tests.fake_endpoint import FakeEndpoint, chat, fault, hang
from caseharden.tests.workbench_cases import bench_at, desk

pytestmark = pytest.mark.anyio


async def test_a_side_that_cannot_answer_leaves_the_session_where_it_was_and_is_asked_again(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(fault(400)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await desk(bench, 1)
            models = {"agent": {"model": "a", "base_url": endpoint.base_url}}
            opened = await bench.sessions.start("desk", role="user", start="#1", models=models)
            with pytest.raises(Unavailable, match="your step is kept, and look asks again"):
                await bench.sessions.step(opened.session.id, text="Hello?")
            with pytest.raises(Conflict, match="has not answered yet"):
                await bench.sessions.step(opened.session.id, text="Hello?")
            endpoint.always(chat("Here I am again."))
            looked = await bench.sessions.step(opened.session.id, action="look")
            assert [one["text"] for one in looked.messages] == ["Hello?", "Here I am again."]


async def test_an_agent_that_keeps_its_own_conversations_is_told_all_of_it_at_every_step(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(chat("Well.")) as endpoint:
        async with bench_at(tmp_path) as bench:
            agent = {"kind": "chat_completions", "url": f"{endpoint.base_url}/chat", "history": "last"}
            await desk(bench, 1, agent=agent)
            id = (await bench.sessions.start("desk", role="user", start="#1")).session.id
            for text in ("One.", "Two.", "Three."):
                await bench.sessions.step(id, text=text)
            await bench.sessions.step(id, action="undo", turn=2)
            await bench.sessions.step(id, text="Other.")
        heard = [
            [m["content"] for m in seen.json["messages"] if m["role"] == "user"] for seen in endpoint.requests
        ]
    assert heard == [["One."], ["One.", "Two."], ["One.", "Two.", "Three."], ["One.", "Other."]]


async def test_a_step_waits_only_so_long_and_a_look_waits_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "STEP_S", 0.3)
    with FakeEndpoint(hang()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await desk(bench, 1)
            models = {"agent": {"model": "a", "base_url": endpoint.base_url}}
            id = (await bench.sessions.start("desk", role="user", start="#1", models=models)).session.id
            with anyio.fail_after(20):
                late = await bench.sessions.step(id, text="Hello?")
            assert late.waits
            assert any("has not answered within" in one for one in late.warnings)
            monkeypatch.setattr(sessions_module, "STEP_S", 20)
            endpoint.always(chat("Here."))
            assert (await bench.sessions.step(id, action="look")).messages[-1]["text"] == "Here."


@pytest.mark.parametrize(
    ("role", "side", "kind"),
    [("agent", "user", "prompt"), ("user", "agent", "prompt"), ("user", "agent", "caller")],
)
async def test_a_client_answers_for_the_other_side_of_a_session_and_nothing_of_it_is_left(
    tmp_path: Path, role: str, side: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "LENT_STEP_S", 0.3)  # as long as nobody answers
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1, agent={"kind": kind})
        models = {} if kind == "caller" else {side: "relay"}
        started = await bench.sessions.start("desk", role=role, start="#1", models=models)
        id = started.session.id
        assert f"Whoever answers take_model_calls plays the {side}" in " ".join(started.warnings)
        if role == "user":
            started = await bench.sessions.step(id, text="Please close ticket T1.")
        assert started.waits and started.lent
        (call,) = (await bench.model_calls.take()).calls
        assert call["role"] == side
        await bench.model_calls.answer([{"id": call["id"], "text": "This is what I say."}], limit=0)
        monkeypatch.setattr(sessions_module, "LENT_STEP_S", 20)
        looked = await bench.sessions.step(id, action="look")
        assert looked.messages[-1] == {"from": side, "text": "This is what I say."} and not looked.waits
        monkeypatch.setattr(sessions_module, "LENT_STEP_S", 0.3)
        other = await bench.sessions.step(id, text="And then?")
        assert other.waits and len((await bench.model_calls.take()).calls) == 1
        ended = await bench.sessions.step(id, action="end")
        assert ended.done
        with pytest.raises(Conflict, match="none is at work"):
            await bench.model_calls.take()
        again = await bench.sessions.step(id, action="undo", turn=1)
        assert again.session.state == "open"

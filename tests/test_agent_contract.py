"""The contract of agent adapters, kept by every kind: what goes wrong is told, nothing is left, nobody remembers."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from caseharden.engine.agents import AgentError, OwnVerdict
from caseharden.engine.records.environment import AgentSpec
from caseharden.tests.agents_told import RESULT, agent_of, conversing

pytestmark = pytest.mark.anyio
KINDS = ("prompt", "chat_completions", "python", "command", "mcp", "mcp_http", "a2a", "a2a_old")
WITH_PROCESSES = ("python", "command", "mcp")
WITH_VERDICTS = ("python", "command", "mcp", "mcp_http", "a2a", "a2a_old")
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.requirement("CH-11", "AK-4")
async def test_its_words_come_back(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path) as agent, conversing(agent) as talk:
        await agent.probe()
        assert await talk.say("say hello, ä \u2028 😀") == "hello, ä \u2028 😀"
        assert await talk.say("say once more") == "once more"
        assert agent.name


@every_kind
@pytest.mark.requirement("CH-11")
async def test_its_calls_on_the_world_are_made_by_the_trial_and_their_results_reach_it(
    kind: str, tmp_path: Path
) -> None:
    async with agent_of(kind, tmp_path) as agent, conversing(agent) as talk:
        assert await talk.say("call") == f"told: {RESULT}"
        assert await talk.say("call") == f"told: {RESULT}"
    made = [call for message in talk.messages for call in message.tool_calls]
    assert [(call.name, call.arguments) for call in made] == [("get_order", '{"id": "W42"}')] * 2


@every_kind
@pytest.mark.requirement("CH-11")
async def test_no_answer_in_time_is_an_error_of_the_trial(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path, timeout_s=0.6) as agent, conversing(agent) as talk:
        with pytest.raises(AgentError, match=r"within 0\.6 s"):
            await talk.say("hang")


@every_kind
@pytest.mark.requirement("CH-11")
async def test_a_crash_is_an_error_of_the_trial_and_the_next_conversation_is_served(
    kind: str, tmp_path: Path
) -> None:
    async with agent_of(kind, tmp_path) as agent:
        async with conversing(agent) as talk:
            with pytest.raises(AgentError):
                await talk.say("crash")
        async with conversing(agent) as talk:
            assert await talk.say("say hello") == "hello"


@every_kind
@pytest.mark.requirement("CH-11")
async def test_an_answer_that_is_none_is_an_error_of_the_trial(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path) as agent, conversing(agent) as talk:
        with pytest.raises(AgentError):
            await talk.say("garbage")


@every_kind
@pytest.mark.requirement("CH-11")
async def test_an_answer_that_is_too_long_is_an_error_of_the_trial(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path) as agent, conversing(agent) as talk:
        with pytest.raises(AgentError, match="longer than 2,000,000 bytes"):
            await talk.say("huge")


@every_kind
@pytest.mark.requirement("CH-11")
async def test_conversations_side_by_side_know_nothing_of_each_other(kind: str, tmp_path: Path) -> None:
    told: dict[int, list[str]] = {}
    async with agent_of(kind, tmp_path) as agent, anyio.create_task_group() as tasks:

        async def converse(k: int) -> None:
            async with conversing(agent, f"k{k}") as talk:
                told[k] = [await talk.say(f"say {k}"), await talk.say("count"), await talk.say("count")]

        with anyio.fail_after(120):
            for k in range(20):
                tasks.start_soon(converse, k)
    assert told == {k: [str(k), "2", "3"] for k in range(20)}


@every_kind
@pytest.mark.requirement("CH-11")
async def test_a_conversation_begins_with_an_agent_that_remembers_nothing(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path) as agent:
        for _ in range(3):
            async with conversing(agent) as talk:
                assert [await talk.say("count"), await talk.say("count")] == ["1", "2"]


@every_kind
@pytest.mark.requirement("CH-11")
async def test_a_cancelled_reply_leaves_the_agent_fit_for_others(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path) as agent:
        with anyio.move_on_after(0.5) as scope:
            async with conversing(agent) as talk:
                await talk.say("hang")
        assert scope.cancelled_caught
        async with conversing(agent) as talk:
            assert await talk.say("say hello") == "hello"


@pytest.mark.parametrize("kind", WITH_PROCESSES)
@pytest.mark.requirement("CH-11")
async def test_no_process_is_left_of_a_conversation_that_was_cancelled_or_too_late(
    kind: str, tmp_path: Path
) -> None:
    async with agent_of(kind, tmp_path) as agent:
        spec: AgentSpec = vars(agent)["spec"]
        for late in (False, True):
            pid = -1
            with anyio.CancelScope() as scope:
                async with conversing(agent) as talk:
                    pid = int(await talk.say("pid"))
                    if late:  # only now: it may have taken its time to start
                        spec.timeout_s = 0.2
                    else:
                        scope.deadline = anyio.current_time() + 0.2
                    with pytest.raises(AgentError):
                        await talk.say("hang")
            assert pid > 0 and scope.cancelled_caught is not late
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.mark.parametrize("kind", WITH_VERDICTS)
@pytest.mark.requirement("LW-16")
async def test_a_verdict_of_its_own_comes_with_its_words(kind: str, tmp_path: Path) -> None:
    async with agent_of(kind, tmp_path) as agent, conversing(agent) as talk:
        assert await talk.say("verdict") == "done"
    assert talk.last is not None
    assert talk.last.verdict == OwnVerdict("pass", "I say so")

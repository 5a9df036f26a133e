"""What the agent under test is given, in all of the shop: nothing of the scenario but what the user says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from caseharden.engine.agents import AgentInput, AgentReply, PlayedTurn, PromptAgent
from caseharden.engine.llm import ModelReply, ModelRequest, open_model
from caseharden.engine.records.persona import Fact, Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.simulate import Case, ModelUser, PlayedUser, prepare, run_trial
from caseharden.tests.shipped_worlds import SHOP

pytestmark = pytest.mark.anyio


class Spy:
    """A model, and an agent, that keep every text they are given."""

    name = "spy"

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.requests: list[ModelRequest] = []
        self._model = open_model("offline")
        self._agent = PromptAgent(self)

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.texts.update(texts_in(request))
        self.requests.append(request)
        return await self._model.complete(request)

    async def reply(self, turn: AgentInput) -> AgentReply:
        self.texts.update(texts_in(turn))
        return await self._agent.reply(turn)


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a value, keys and fields included."""
    if isinstance(value, str):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from texts_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[Any, Any]", value).items():
            yield from texts_in(key)
            yield from texts_in(inner)
    elif isinstance(value, Sequence):
        for inner in cast("Sequence[Any]", value):
            yield from texts_in(inner)


async def spied(case: Case) -> tuple[Spy, str]:
    """The spy after a trial, and all that it was given but what the user said and what the world's tools hold."""
    spy = Spy()
    user = ModelUser(open_model("offline"), case)
    await run_trial(case, spy, user, seed=7, trial=1, instructions=SHOP.instructions)
    heard = {m.content for r in spy.requests for m in r.messages if m.role in ("user", "tool")}
    made = {c.arguments for r in spy.requests for m in r.messages for c in m.tool_calls}
    made |= {m.content for r in spy.requests for m in r.messages if m.role == "assistant"}
    world = set(texts_in(case.world.world.model_dump(mode="json")["tools"]))
    return spy, "\n".join(sorted(spy.texts - heard - made - world))


def secrets_of(scenario: Scenario, persona: Persona | None) -> Iterator[str]:
    """What no text of the agent may hold, whoever said it."""
    yield scenario.id
    yield scenario.goal
    yield from (hint.text for hint in scenario.hints)
    yield from (str(check["id"]) for check in scenario.success if "id" in check and "-" in str(check["id"]))
    yield from (check["judge"] for check in scenario.success if "judge" in check)
    if scenario.guidelines:
        yield scenario.guidelines
    if persona is not None:
        yield persona.id
        yield persona.profile
        yield persona.style


@pytest.mark.requirement("AK-16")
@pytest.mark.parametrize("case", SHOP.cases(), ids=lambda case: case.scenario.id)
async def test_the_agent_sees_nothing_of_goal_knowledge_checks_and_ids(case: Case) -> None:
    spy, around = await spied(case)
    everything = "\n".join(spy.texts)
    for secret in secrets_of(case.scenario, case.persona):
        assert not secret or secret not in everything
    for fact in case.scenario.knowledge:
        value = str(fact.value) if isinstance(fact, Fact) else fact
        assert not re.search(rf"(?<!\w){re.escape(value)}(?!\w)", around), (
            "only the user may tell what it knows"
        )
    system = {m.content for r in spy.requests for m in r.messages if m.role == "system"}
    context = case.scenario.agent_context
    assert system == {f"{SHOP.instructions}\n\n{context}" if context else SHOP.instructions}


@pytest.mark.requirement("AK-16")
async def test_no_field_of_a_scenario_reaches_the_agent_but_its_context() -> None:
    marks = {
        name: f"mark{k}mark" for k, name in enumerate(("goal", "known", "unknown", "how", "check", "hint"))
    }
    scenario = Scenario.model_validate(
        {
            "id": "secret-scenario",
            "goal": f"Get help {marks['goal']}",
            "knowledge": [{"fact": marks["known"], "value": marks["known"], "reveal": "never"}],
            "unknown": [marks["unknown"]],
            "guidelines": marks["how"],
            "agent_context": "Told to the agent.",
            "success": [{"id": marks["check"], "said": marks["check"]}],
            "hints": [{"text": marks["hint"]}],
            "tags": ["secret-tag"],
        }
    )
    persona = Persona.model_validate({"id": "secret-persona", "profile": "secret-profile", "style": "terse"})
    case = prepare(SHOP.compiled, scenario, persona, user_input="hello", user_guidelines="secret-guideline")
    spy = Spy()
    user = PlayedUser([PlayedTurn(user_says="hello"), PlayedTurn(user_says="what now?")])
    await run_trial(case, spy, user, seed=7, trial=1, instructions=SHOP.instructions)
    everything = "\n".join(spy.texts)
    assert len(spy.requests) == 2
    assert "Told to the agent." in everything
    assert "secret" not in everything
    assert not re.search(r"mark\dmark", everything)

"""The prompts that would be sent: the code that asks is given a model that only records what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio.to_thread

from ..agents import PromptAgent
from ..errors import InvalidArgument, NextCall, SetupError, Unavailable
from ..evaluate import (
    DEFAULT_METRICS,
    Judge,
    MarkedCase,
    ask,
    choose_metrics,
    entries_of,
    judge_chars,
    mark,
)
from ..generate import generate_personas, generate_scenarios
from ..ids import split_nested
from ..llm import ModelClient, ModelReply, ModelRequest
from ..llm.open import open_model
from ..records.environment import EnvironmentRecord
from ..records.persona import Persona
from ..records.scenario import Limits, Scenario, SolutionReport
from ..simulate import Case, ModelUser, Tried, prepare, run_trial
from ..world import compile_world
from .archive import Archive
from .instructions import Instructions
from .judging import POLICY_CHARS
from .trials import TrialRunner
from .worlds import Worlds

ROLES: Final = ("agent", "user", "judge", "writer")
OFFLINE: Final = "offline"


@dataclass(slots=True)
class Prompt:
    """One request, as a model would receive it."""

    role: str
    what: str
    """Which case, or what it is for."""
    messages: list[dict[str, str]]
    tools: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    schema: dict[str, Any] | None = None
    """JSON Schema that the answer must match."""


@dataclass(slots=True)
class _Listening:
    """Records the first thing it is asked, and answers nothing."""

    name: str = "nobody"
    asked: list[ModelRequest] = field(default_factory=list[ModelRequest])

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.asked.append(request)
        raise Unavailable("Nobody answers: it is only shown what would be asked.")


class Prompts:
    """Shows what would be sent to each role of an environment."""

    def __init__(
        self, archive: Archive, worlds: Worlds, instructions: Instructions, trials: TrialRunner
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._instructions = instructions
        self._trials = trials

    async def of(self, environment: str, roles: Sequence[str] = ROLES, scenario: str = "") -> list[Prompt]:
        """The first request of each role: of agent, user and judge in a case, of the writer for an empty brief.

        `scenario`: whose case; default: the first that is not held out. No model is called, nothing is stored.
        """
        wrong = [role for role in roles if role not in ROLES]
        if wrong:
            raise InvalidArgument(f"There is no role `{wrong[0][:40]}`.", where="roles", allowed=ROLES)
        owner = self._archive.environments.get(environment, "environment")
        found: list[Prompt] = []
        if {"agent", "user", "judge"} & set(roles):
            case = await anyio.to_thread.run_sync(self._case, owner, scenario)
            for role in ("agent", "user", "judge"):
                if role in roles:
                    found += await self._in_a_case(owner, case, role)
        if "writer" in roles:
            found += await self._of_writer(owner)
        return found

    async def _in_a_case(self, owner: EnvironmentRecord, case: Case, role: str) -> list[Prompt]:
        listening, served = _Listening(), case.world.has_servers
        if served:
            # Showing prompts must not ask live servers anything, nor reset them.
            case = replace(case, world=compile_world(case.world.world))
        if role == "judge" and served:
            return [Prompt(role, "left out: its conversation would call the servers of the world", [])]
        if role == "judge":
            await self._judged(owner, case, listening)
        elif role == "user" or owner.agent.kind == "prompt":
            agent, user = (listening, None) if role == "agent" else (None, listening)
            await self._played(owner, case, agent, user)
        else:
            return []
        found = self._shown(role, f"the first request in {owner.id}/{case.scenario.id}", listening)
        if served and not found:
            return [Prompt(role, "left out: the case needs the servers of the world to begin", [])]
        return found

    async def _played(
        self, owner: EnvironmentRecord, case: Case, agent: ModelClient | None, user: ModelClient | None
    ) -> Tried:
        offline = open_model(OFFLINE, None)
        spec = owner.agent
        only = spec.tools if isinstance(spec.tools, list) else None
        return await run_trial(
            case,
            PromptAgent(agent or offline, spec.temperature, only),
            ModelUser(user or offline, case),
            seed=owner.settings.seed + case.scenario.seed,
            trial=1,
            instructions=self._instructions.current(owner).text,
        )

    async def _judged(self, owner: EnvironmentRecord, case: Case, listening: _Listening) -> None:
        """The judge's request about a conversation that the rule-based model plays with itself."""
        talk = (await self._played(owner, case, None, None)).conversation
        expected = await self._trials.expected.of(case, talk.seed, 1)
        wanted = list(DEFAULT_METRICS) if owner.settings.metrics is None else owner.settings.metrics
        about = {
            "goal": {"goal": case.scenario.goal},
            "policy": {"policy": case.world.world.policy[:POLICY_CHARS]},
        }
        marked = MarkedCase(case.plan, case.world.base, expected, choose_metrics(wanted), about)
        _, questions = mark(talk, marked, (), listening.name)
        judge = Judge(listening, lambda usage: None, judge_chars(listening))
        with suppress(SetupError):
            if questions:
                await ask(judge, questions, entries_of(talk.log), talk.transcript_hash, talk.seed)

    async def _of_writer(self, owner: EnvironmentRecord) -> list[Prompt]:
        world, seed = self._worlds.get(owner.world), owner.settings.seed
        people = [row.persona for row in self._archive.personas.where(environment=owner.id)]
        rows = self._archive.scenarios.where(environment=owner.id, split="train")
        cases = [row.scenario for row in rows]
        personas, scenarios = _Listening(), _Listening()
        with suppress(SetupError):
            await generate_personas(personas, world, existing=people, brief="", count=3, kinds=(), seed=seed)
        with suppress(SetupError, InvalidArgument):
            await generate_scenarios(
                scenarios, world, existing=cases, brief="", count=3, kinds=(), seed=seed, check=_unasked
            )
        return [
            *self._shown("writer", "three personas", personas),
            *self._shown("writer", "three scenarios", scenarios),
        ]

    def _case(self, owner: EnvironmentRecord, wanted: str) -> Case:
        """The case of a scenario with its own partner; a held-out one is not shown."""
        rows = self._archive.scenarios.where(environment=owner.id, split="train")
        slug = split_nested(wanted, owner.id)[1]
        found = next(
            (row for row in sorted(rows, key=lambda row: row.number) if slug in ("", row.scenario.id)), None
        )
        if found is None:
            raise InvalidArgument(
                f"{owner.id} has no scenario `{wanted[:80]}` on train."
                if wanted
                else f"{owner.id} has no scenarios.",
                where="scenario",
                allowed="a scenario that is not held out",
                next=[NextCall("list_items", {"kind": "scenario", "environment": owner.id})],
            )
        settings = owner.settings
        return prepare(
            self._worlds.get(owner.world),
            found.scenario,
            self._partner(owner, found.scenario),
            user_guidelines=settings.user_guidelines,
            limits=Limits.model_validate(settings.limits) if settings.limits else None,
        )

    def _partner(self, owner: EnvironmentRecord, scenario: Scenario) -> Persona | None:
        if not isinstance(scenario.persona, str):
            return None
        found = self._archive.personas.find(f"{owner.id}/{split_nested(scenario.persona, owner.id)[1]}")
        return found.persona if found else None

    def _shown(self, role: str, what: str, listening: _Listening) -> list[Prompt]:
        """The first request, without secrets; [] if none would be sent."""
        if not listening.asked:
            return []
        asked, hide = listening.asked[0], self._archive.redactor.hide_all
        messages = [{"role": m.role, "content": m.content} for m in asked.messages]
        tools = [
            {"name": t.name, "description": t.description, "parameters": dict(t.parameters)}
            for t in asked.tools
        ]
        schema = dict(asked.schema) if asked.schema is not None else None
        return [Prompt(role, what, hide(messages), hide(tools), schema)]


async def _unasked(scenario: Scenario) -> SolutionReport:
    return SolutionReport(status="unproven")

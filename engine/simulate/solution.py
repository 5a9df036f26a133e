"""The scenario's own solution, played without a model: the expected world, the proof that it is solvable, baselines."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..agents import AgentInput, AgentReply
from ..canonical import canonical
from ..evaluate import ExpectedWorld, grade
from ..llm import Message, ToolCall, ToolSignature
from ..records.conversation import ToolEntry
from ..records.scenario import ExpectedStep, SolutionReport
from ..records.verdict import Verdict
from .case import Case
from .trial import Tried, run_trial
from .user import ListedUser, UserReply

CONSENT = "yes, go ahead"
_APOLOGY = "I am sorry."
_KEPT = 4096


@dataclass(slots=True)
class _PlannedTurn:
    """What the solution does in one turn: the user's calls and words, then the agent's replies."""

    user_calls: list[ExpectedStep] = field(default_factory=list[ExpectedStep])
    user_says: str = CONSENT
    replies: list[AgentReply] = field(default_factory=list[AgentReply])


class _Planned:
    """An agent that follows a plan, one list of replies a turn; the last list is repeated when `again`."""

    name = "expected"

    def __init__(self, turns: Sequence[Sequence[AgentReply]], again: bool = False) -> None:
        self._turns = turns
        self._again = again
        self._heard = 0
        self._next = 0

    async def reply(self, turn: AgentInput) -> AgentReply:
        heard = sum(message.role == "user" for message in turn.messages)
        if heard != self._heard:
            self._heard, self._next = heard, 0
        at = min(heard, len(self._turns)) - 1 if self._again else heard - 1
        replies = self._turns[at] if 0 <= at < len(self._turns) else ()
        self._next += 1
        return replies[self._next - 1] if self._next <= len(replies) else AgentReply(text=None)


class ExpectedWorlds:
    """Expected worlds, each computed once for (world, scenario, persona, engine, seed, trial); bounded."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, int], ExpectedWorld | None] = OrderedDict()

    async def of(self, case: Case, seed: int, trial: int) -> ExpectedWorld | None:
        """The expected world, or None where the scenario's checks do not ask for it."""
        if not case.plan.needs_expected_world:
            return None
        key = (case.key, seed, trial)
        if key not in self._known:
            self._known[key] = expected_world(await play_solution(case, seed, trial))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]


async def play_solution(case: Case, seed: int, trial: int) -> Tried:
    """A trial in which `expected` is what the agent and the user do."""
    turns = _plan(case.scenario.expected)
    texts = [case.user_input or turn.user_says if k == 0 else turn.user_says for k, turn in enumerate(turns)]
    user = _PlannedUser(turns, texts)
    return await run_trial(case, _Planned([turn.replies for turn in turns]), user, seed=seed, trial=trial)


def expected_world(tried: Tried) -> ExpectedWorld:
    """What the solution leaves; its error where a call of it fails or the world refuses."""
    failed = next((e for e in tried.conversation.log if isinstance(e, ToolEntry) and not e.ok), None)
    error = f"{failed.tool}: {failed.result}" if failed else ""
    if tried.conversation.end.reason == "world_error":
        error = tried.conversation.end.detail
    return ExpectedWorld(root=tried.final, ignore=(), error=error)


async def check_solution(case: Case, seed: int, trial: int = 1) -> SolutionReport:
    """Whether the solution passes, twice the same, and whether doing nothing or transferring at once passes too."""
    report = SolutionReport(status="proven")
    if not case.scenario.expected:
        report.status, report.why = "unproven", "it has no expected solution"
    tried = await play_solution(case, seed, trial)
    world = expected_world(tried)
    calls = [e for e in tried.conversation.log if isinstance(e, ToolEntry)]
    if tried.conversation.end.reason == "world_error":
        return SolutionReport(
            status="failed", why=f"the world does not start: {tried.conversation.end.detail}"
        )
    if case.scenario.expected:
        _judge(case, report, tried, world, calls)
        again = await play_solution(case, seed, trial)
        report.deterministic = again.conversation.transcript_hash == tried.conversation.transcript_hash
        if not report.deterministic and report.status == "proven":
            report.status, report.why = "failed", "two plays of the solution differ"
    await _baselines(case, report, world, seed, trial)
    return report


def _judge(
    case: Case, report: SolutionReport, tried: Tried, world: ExpectedWorld, calls: Sequence[ToolEntry]
) -> None:
    steps = [k for k, step in enumerate(case.scenario.expected) if step.tool is not None]
    failed = next((k for k, call in enumerate(calls) if not call.ok), None)
    if failed is not None:
        report.status, report.failed_step = "failed", steps[failed] if failed < len(steps) else None
        report.why = f"{calls[failed].tool} says: {calls[failed].result}"
        return
    if len(calls) < len(steps):
        report.status, report.failed_step = "failed", steps[len(calls)]
        report.why = f"the trial ended ({tried.conversation.end.reason}) before this step"
        return
    report.no_effect = [
        step for step, call in zip(steps, calls, strict=False) if call.kind == "write" and not call.patches
    ]
    verdict = grade(tried.conversation, case.plan, case.world.base, world)
    report.failed_checks = verdict.failed()
    if verdict.verdict == "inconclusive" and not report.failed_checks:
        report.status, report.why = "unproven", verdict.why or "no deterministic check counts"
    elif verdict.verdict != "pass":
        report.status = "failed"
        first = next((c for c in verdict.checks if c.id in report.failed_checks), None)
        report.why = f"check {first.id}: {first.why}" if first else verdict.why


async def _baselines(case: Case, report: SolutionReport, world: ExpectedWorld, seed: int, trial: int) -> None:
    hello = ["hello", "hello"]
    silent = _Planned([[AgentReply(_APOLOGY)]], again=True)
    tried = await run_trial(case, silent, ListedUser(hello, "expected"), seed=seed, trial=trial)
    verdict = grade(tried.conversation, case.plan, case.world.base, world)
    if verdict.verdict == "pass":
        report.do_nothing_passes = True
        report.lets_through.append(f"passes when the agent does nothing: {_passing(verdict)}")
    terminal = next((t for t in case.world.tools.values() if t.kind == "terminal"), None)
    if terminal is None:
        return
    call = ToolCall("t1", terminal.tool.name, canonical(_least_arguments(terminal.signature.parameters)))
    away = _Planned([[AgentReply(None, (call,))]], again=True)
    tried = await run_trial(case, away, ListedUser(hello, "expected"), seed=seed, trial=trial)
    verdict = grade(tried.conversation, case.plan, case.world.base, world)
    if verdict.verdict == "pass":
        report.transfer_passes = True
        report.lets_through.append(f"passes when the agent transfers at once: {_passing(verdict)}")


def _passing(verdict: Verdict) -> str:
    return ", ".join(check.id for check in verdict.checks if check.counts) or "it has no checks"


def _least_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a tool accepts, where its schema is plain: the first enum value, a text, a number."""
    properties: Mapping[str, Any] = parameters.get("properties") or {}
    return {name: _least(properties.get(name) or {}) for name in parameters.get("required") or ()}


def _least(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    by_type: dict[Any, Any] = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    return by_type.get(str(schema.get("type")), "none")


class _PlannedUser:
    """A listed user that calls its tools before it speaks."""

    name = "expected"

    def __init__(self, turns: Sequence[_PlannedTurn], texts: Sequence[str]) -> None:
        self._turns = turns
        self._words = ListedUser(texts, "expected")
        self._called = 0

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        said = sum(message.role == "assistant" and not message.tool_calls for message in heard)
        if said < len(self._turns) and self._called <= said:
            self._called = said + 1
            steps = self._turns[said].user_calls
            if steps:
                calls = [
                    ToolCall(f"u{said}-{k}", s.tool or "", canonical(s.args)) for k, s in enumerate(steps)
                ]
                return UserReply(calls=tuple(calls))
        return await self._words.speak(heard, tools, seed)


def _plan(steps: Sequence[ExpectedStep]) -> list[_PlannedTurn]:
    """The steps in turns: an agent's words end a turn, a step of the user after one of the agent begins one."""
    turns: list[_PlannedTurn] = []
    open_turn = False
    for k, step in enumerate(steps):
        if not open_turn or (step.by == "user" and turns[-1].replies):
            turns.append(_PlannedTurn())
            open_turn = True
        turn = turns[-1]
        if step.by == "user":
            if step.tool is not None:
                turn.user_calls.append(step)
            elif step.say is not None:
                turn.user_says = step.say
        elif step.tool is not None:
            turn.replies.append(AgentReply(None, (ToolCall(f"e{k}", step.tool, canonical(step.args)),)))
        elif step.say is not None:
            turn.replies.append(AgentReply(step.say))
            open_turn = False
    return turns

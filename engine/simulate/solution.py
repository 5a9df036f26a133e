"""The scenario's own solution, played without a model: the expected world, the proof of solvability, baselines."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..agents import AgentReply, PlayedAgent, PlayedTurn
from ..canonical import canonical
from ..evaluate import ExpectedWorld, grade
from ..llm import ToolCall
from ..records.conversation import ToolEntry
from ..records.scenario import ExpectedStep, SolutionReport
from ..records.verdict import Verdict
from .case import Case
from .playing import run_trial
from .script import given_answers
from .trial import Tried
from .user import PlayedUser

CONSENT: Final = "yes, go ahead"
"""What the user says in a solution if no words are written for it."""
BASELINE_TURNS: Final = 2
_HELLO: Final = "hello"
_APOLOGY: Final = "I am sorry."
_KEPT: Final = 4096
_PASSED_OVER: Final = ("refused", "arguments")
"""Failures of calls after which a solution from another system continues, as it did there."""


class ExpectedWorlds:
    """Expected worlds, each computed once for what it depends on; bounded.

    That is (world, scenario, persona's data, the user's first words, engine), and if anything is drawn at random also
    (simulation, seed, trial).
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str | int, ...], ExpectedWorld] = OrderedDict()

    async def of(self, case: Case, seed: int, trial: int) -> ExpectedWorld | None:
        """The expected world, or None if the scenario's checks do not need it."""
        if not case.plan.needs_expected_world:
            return None
        always = (case.expected_key,)
        here = (case.expected_key, case.simulation, seed, trial)
        found = self._known.get(always) or self._known.get(here)
        if found is None:
            tried = await play_solution(case, seed, trial)
            found = expected_world(case, tried)
            self._known[here if tried.drew else always] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found


async def play_solution(case: Case, seed: int, trial: int) -> Tried:
    """A trial in which `expected` is what the agent and the user do, to its last step: no trial limits apply."""
    most = sys.maxsize
    limits = {"max_turns": most, "min_turns": 0, "max_tool_calls": most, "same_message": most}
    return await _play_solution(case, seed, trial, limits)


def expected_world(case: Case, tried: Tried) -> ExpectedWorld:
    """What the case's solution leaves behind; with an error if a call of it fails or is not made, or the world
    refuses.

    Under a profile refused calls are skipped: their partial writes stay, as in the original.
    """
    calls = _calls(tried)
    steps = _order_of_play(case.scenario.expected)
    passed_over = _PASSED_OVER if case.scenario.profile else ()
    failed = next((call for call in calls if not call.ok and call.error not in passed_over), None)
    error = ""
    if tried.conversation.end.reason == "world_error":
        error = tried.conversation.end.detail
    elif failed:
        error = f"{failed.tool}: {failed.result}"
    elif len(calls) < len(steps):
        error = f"step {steps[len(calls)] + 1} of its solution is not reached ({_describe_end(tried)})"
    return ExpectedWorld(root=tried.final, ignore=tried.by_the_world, error=error)


async def check_solution(case: Case, seed: int, trial: int = 1) -> SolutionReport:
    """Whether the solution passes, twice the same, and whether doing nothing or transferring at once passes too.

    It has to pass within the case's own limits, except wall time.
    """
    tried = await _play_solution(case, seed, trial, {})
    end = tried.conversation.end
    if end.reason == "world_error" and (end.turn == 0 or not case.scenario.expected):
        text = "does not start" if end.turn == 0 else f"breaks in turn {end.turn}"
        return SolutionReport(status="failed", why=f"the world {text}: {end.detail}")
    world = expected_world(case, tried)
    report = SolutionReport(status="unproven", why="it has no expected solution")
    if case.scenario.expected:
        report = _judged(case, tried, world)
        again = await _play_solution(case, seed, trial, {})
        report.deterministic = again.conversation.transcript_hash == tried.conversation.transcript_hash
        if not report.deterministic and report.status == "proven":
            report.status, report.why = "failed", "two plays of the solution differ"
    await _baselines(case, report, world, seed, trial)
    return report


def solution_turns(steps: Sequence[ExpectedStep]) -> list[PlayedTurn]:
    """The steps in turns: an agent's words end a turn, a step of the user after one of the agent begins one.

    A wait is the agent's, before its next reply; if none follows in the same turn it ends the turn.
    """
    turns: list[PlayedTurn] = []
    going, wait_s = False, 0.0
    for k, step in enumerate(steps):
        if not going or (step.by == "user" and (turns[-1].replies or wait_s)):
            wait_s = _waited(turns, wait_s)
            turns.append(PlayedTurn(user_says=CONSENT))
            going = True
        turn = turns[-1]
        if step.wait_s is not None:
            wait_s += step.wait_s
        elif step.by == "user":
            if step.tool is not None:
                turn.user_calls.append(_call(k, step.tool, step.args))
            else:
                turn.user_says = step.say
        else:
            calls = (_call(k, step.tool, step.args),) if step.tool is not None else ()
            turn.replies.append(AgentReply(step.say, calls, own_names=True, wait_s=wait_s))
            going, wait_s = step.tool is not None, 0.0
    _waited(turns, wait_s)
    return turns


def _waited(turns: Sequence[PlayedTurn], wait_s: float) -> float:
    """Close the last turn with a wait that nothing followed; return what is left to wait."""
    if wait_s:
        turns[-1].replies.append(AgentReply(None, wait_s=wait_s))
    return 0.0


def _call(k: int, tool: str, args: Mapping[str, Any]) -> ToolCall:
    return ToolCall(f"e{k}", tool, json.dumps(dict(args), ensure_ascii=False))


async def _play_solution(case: Case, seed: int, trial: int, limits: Mapping[str, Any]) -> Tried:
    """The solution under the case's limits with these changes; wall time never ends it."""
    turns = _around_script(case, solution_turns(case.scenario.expected))
    if turns and case.user_input:
        turns[0].user_says = case.user_input
    changed = case.limits.model_copy(update={**limits, "timeout_s": math.inf})
    return await _play(replace(case, limits=changed), turns, seed, trial)


def _around_script(case: Case, turns: Sequence[PlayedTurn]) -> list[PlayedTurn]:
    """The turns with an empty one wherever the script supplies the agent's words."""
    given = given_answers(case.scenario.script)
    made: list[PlayedTurn] = []
    for turn in turns:
        while len(made) + 1 in given:
            made.append(PlayedTurn(user_says=CONSENT))
        made.append(turn)
    return made


async def _play(case: Case, turns: Sequence[PlayedTurn], seed: int, trial: int) -> Tried:
    agent, user = PlayedAgent(turns, "expected"), PlayedUser(turns, "expected")
    return await run_trial(case, agent, user, seed=seed, trial=trial, quiet=True)


def _calls(tried: Tried) -> list[ToolEntry]:
    """The calls of the solution: not those of the history, and not those by which the world asserts something."""
    return [e for e in tried.conversation.log if isinstance(e, ToolEntry) and e.turn > 0 and e.by != "world"]


def _judged(case: Case, tried: Tried, world: ExpectedWorld) -> SolutionReport:
    calls = _calls(tried)
    steps = _order_of_play(case.scenario.expected)
    failed = next((k for k, call in enumerate(calls) if not call.ok), None)
    if failed is not None:
        why = f"{calls[failed].tool} says: {calls[failed].result}"
        return SolutionReport(status="failed", failed_step=steps[failed], why=why)
    if len(calls) < len(steps):
        why = f"the trial ended ({_describe_end(tried)}) before this step"
        return SolutionReport(status="failed", failed_step=steps[len(calls)], why=why)
    report = SolutionReport(status="proven")
    report.no_effect = sorted(
        step for step, call in zip(steps, calls, strict=True) if call.kind == "write" and not call.patches
    )
    verdict = grade(tried.conversation, case.plan, case.world.base, world)
    report.failed_checks = verdict.failed()
    if verdict.verdict == "inconclusive":
        report.status, report.why = "unproven", verdict.why or "no deterministic check counts"
    elif verdict.verdict != "pass":
        first = next((c for c in verdict.checks if c.id in report.failed_checks), None)
        report.status = "failed"
        report.why = f"check {first.id}: {first.why}" if first else verdict.why
    return report


def _describe_end(tried: Tried) -> str:
    end = tried.conversation.end
    return f"{end.reason}: {end.detail}" if end.detail else end.reason


def _order_of_play(steps: Sequence[ExpectedStep]) -> list[int]:
    """Indexes of the steps that are calls, in the order they are made: in a turn the user's come first."""
    return [
        int(call.id[1:])
        for turn in solution_turns(steps)
        for call in (*turn.user_calls, *(call for reply in turn.replies for call in reply.calls))
    ]


async def _baselines(case: Case, report: SolutionReport, world: ExpectedWorld, seed: int, trial: int) -> None:
    async def verdict_of(reply: AgentReply) -> Verdict:
        turns = [PlayedTurn(user_says=_HELLO, replies=[reply]) for _ in range(BASELINE_TURNS)]
        tried = await _play(case, turns, seed, trial)
        return grade(tried.conversation, case.plan, case.world.base, world)

    verdict = await verdict_of(AgentReply(_APOLOGY))
    if verdict.verdict == "pass":
        report.do_nothing_passes = True
        report.lets_through.append(f"passes when the agent does nothing: {_passing(verdict)}")
    away = _transfer(case)
    verdict = await verdict_of(away) if away else None
    if verdict is not None and verdict.verdict == "pass":
        report.transfer_passes = True
        report.lets_through.append(f"passes when the agent transfers at once: {_passing(verdict)}")


def _transfer(case: Case) -> AgentReply | None:
    """A call of the agent's first tool that ends the trial; None if it has none."""
    for tool in case.world.tools.values():
        if tool.kind == "terminal" and tool.tool.for_ == "agent":
            arguments = canonical(_least_arguments(tool.signature.parameters))
            return AgentReply(None, (ToolCall("t1", tool.tool.name, arguments),), own_names=True)
    return None


def _passing(verdict: Verdict) -> str:
    return ", ".join(check.id for check in verdict.checks if check.counts) or "it has no checks"


def _least_arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a tool with a plain schema accepts: the first enum value, a text, a number."""
    properties: Mapping[str, Any] = parameters.get("properties") or {}
    return {name: _least(properties.get(name) or {}) for name in parameters.get("required") or ()}


def _least(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    by_type: dict[str, Any] = {
        "integer": schema.get("minimum", 1),
        "number": schema.get("minimum", 1),
        "boolean": True,
        "array": [],
        "object": {},
    }
    text = "none".ljust(int(schema.get("minLength", 0)), ".")[: int(schema.get("maxLength", 4000))]
    return by_type.get(str(schema.get("type")), text)

"""What the agent is working on: each request of the user that is not closed yet, oldest first."""

from __future__ import annotations

from dataclasses import dataclass

from .history import Call, History
from .language import Rule
from .params import Tool, Toolbox
from .report import best_fact, fact_covers, wanted_in
from .requests import STRONG, Request, is_remark, requests_in
from .values import value_in
from .words import token_set

_CLOSINGS = (
    "I am sorry, I cannot {}:",
    "Understood, I will not {}.",
    "I have completed {}.",
    "I could not complete {}:",
)
CONFIRM = "I am about to {}"


@dataclass(slots=True)
class Goal:
    """A tool that the user's words in message `at` ask for. `call`: the call made for it."""

    tool: Tool
    clause: str
    at: int
    call: Call | None = None
    asking: bool = False


def goals_of(
    box: Toolbox, history: History, rules: tuple[Rule, ...], facts: tuple[str, ...] = ()
) -> list[Goal]:
    """The open goals, oldest first."""
    goals: list[Goal] = []
    for at, text in history.users:
        goals += _asked(box, history, rules, facts, goals, at, text)
    _match_calls(goals, history.calls)
    return [goal for goal in goals if not _closed(goal, history)]


def refusal(tool: Tool, why: str) -> str:
    return f"{_CLOSINGS[0].format(tool.label)} {why}."


def declined(tool: Tool) -> str:
    return _CLOSINGS[1].format(tool.label)


def _asked(
    box: Toolbox,
    history: History,
    rules: tuple[Rule, ...],
    facts: tuple[str, ...],
    goals: list[Goal],
    at: int,
    text: str,
) -> list[Goal]:
    forced = [box.tools[rule.tool] for rule in rules if _sets_off(rule, text) and rule.tool in box.tools]
    if forced:
        return [Goal(tool, text, at) for tool in dict.fromkeys(forced)]
    before = history.replied_to(at)
    answering = wanted_in(before) > 0 or "Do you confirm?" in before
    found = requests_in(box, text)
    if answering:
        pursued = {goal.tool for goal in goals}
        return [
            Goal(item.tool, item.clause, at)
            for item in found
            if item.score >= STRONG and item.tool not in pursued and not item.asking
        ]
    if found:
        return [
            Goal(item.tool, item.clause, at, asking=item.asking)
            for item in found
            if not (item.asking and _is_known(facts, item))
        ]
    return _mended(goals, history, at, text)


def _is_known(facts: tuple[str, ...], item: Request) -> bool:
    """Whether a fact answers a question; a tool that writes answers none, so any fitting fact is preferred to it."""
    return fact_covers(facts, item.clause) if item.tool.reads else best_fact(facts, item.clause) is not None


def _sets_off(rule: Rule, text: str) -> bool:
    return rule.kind == "if_call" and token_set(rule.topic) <= token_set(text)


def _mended(goals: list[Goal], history: History, at: int, text: str) -> list[Goal]:
    """The last goal again, if its call failed and the user now gives other values for it."""
    if not goals or not history.calls or history.calls[-1].result.ok:
        return []
    goal, failed = goals[-1], history.calls[-1]
    values = ((param.name, value_in(param, text)) for param in goal.tool.required)
    changed = any(value is not None and failed.args.get(name, value) != value for name, value in values)
    return [Goal(goal.tool, text if is_remark(text) else f"{text}", at)] if changed else []


def _match_calls(goals: list[Goal], calls: list[Call]) -> None:
    used: set[int] = set()
    for goal in goals:
        for call in calls:
            if call.tool == goal.tool.name and call.at > goal.at and id(call) not in used:
                used.add(id(call))
                goal.call = call
                break


def _closed(goal: Goal, history: History) -> bool:
    closings = [closing.format(goal.tool.label) for closing in _CLOSINGS]
    return any(at > goal.at and any(closing in text for closing in closings) for at, text in history.said)

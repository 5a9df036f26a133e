"""The offline agent: eager, literal, obedient to the rules that its system text states.

Every reply is a function of the request alone: goals, answers and refusals are read back from the messages.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from ...seeds import draw
from ..client import ModelReply, ModelRequest, ToolCall
from .goals import Goal, goals_of
from .history import History, read_history
from .language import Instructions, understand, write_rule
from .params import toolbox
from .plans import Ask, Plan, Planned
from .report import best_fact, report_call
from .requests import is_question, is_remark
from .words import token_set

_NOTHING_ELSE: Final = "Let me know if there is anything else."
_GREETING: Final = "How can I help you today?"
_CANNOT_HELP: Final = "I am sorry, I cannot help with that."
_as_json: Final = json.JSONEncoder(ensure_ascii=False).encode
_GOODBYE: Final = "You are welcome. Goodbye."


def answer(request: ModelRequest, slip: float = 0.0) -> ModelReply:
    """The agent's next reply: tool calls, or a text.

    `slip`: the probability that a rule is missed, drawn from (request seed, "slip", the rule's sentence).
    """
    history = read_history(request.messages)
    known = obeyed(understand(history.system), slip, request.seed) if slip else understand(history.system)
    box = toolbox(request.tools)
    goals = goals_of(box, history, known.rules, known.facts)
    plan = Plan(box, history, known.rules)
    parts: list[str] = []
    calls: list[Planned] = []
    for goal in goals:
        step = plan.next_step(goal)
        if isinstance(step, Planned):
            calls.append(step)
            if not step.tool.reads:
                break
        elif not calls:
            parts.append(step.text)
            if isinstance(step, Ask):
                break
    if calls:
        return _calling(_together(calls), len(request.messages))
    return ModelReply(text=_spoken(parts, goals, history, known), cost_usd=0.0)


@lru_cache(maxsize=1024)
def obeyed(known: Instructions, slip: float, seed: int) -> Instructions:
    """The instructions without the rules that are missed under this seed."""
    kept = tuple(rule for rule in known.rules if draw(seed, "slip", write_rule(rule)) >= slip)
    return Instructions(kept, known.facts)


def _together(calls: list[Planned]) -> list[Planned]:
    """Only reads requested together are called together; a write is called alone."""
    first = calls[0]
    if not first.tool.reads:
        return [first]
    return [call for call in calls if call.tool.reads and call.asked_at == first.asked_at]


def _calling(calls: list[Planned], at: int) -> ModelReply:
    made: dict[str, ToolCall] = {}
    for n, call in enumerate(calls):
        arguments = _as_json(call.args)
        made.setdefault(
            f"{call.tool.name} {arguments}", ToolCall(f"call_{at}_{n}", call.tool.name, arguments)
        )
    return ModelReply(tool_calls=tuple(made.values()), cost_usd=0.0)


def _spoken(parts: list[str], goals: list[Goal], history: History, known: Instructions) -> str:
    last = history.users[-1][1] if history.users else ""
    scripted = [
        rule.say for rule in known.rules if rule.kind == "if_say" and token_set(rule.topic) <= token_set(last)
    ]
    if scripted or parts:
        text = " ".join([*map(_sentence, scripted), *parts])
        if parts and not text.endswith("?"):
            text = f"{text} {_NOTHING_ELSE}"
    else:
        text = _small_talk(last, goals, history, known)
    for rule in known.rules:
        if rule.kind == "always_say" and rule.say.lower() not in text.lower():
            text = f"{_sentence(rule.say)} {text}" if text.endswith("?") else f"{text} {_sentence(rule.say)}"
    return text


def _small_talk(last: str, goals: list[Goal], history: History, known: Instructions) -> str:
    hidden = [rule for rule in known.rules if rule.kind == "hide"]
    fact = best_fact(known.facts, last)
    if fact:
        return _sentence(fact)
    if history.calls and is_question(last):
        return f"{report_call(history.calls[-1], hidden)} {_NOTHING_ELSE}"
    if is_remark(last):
        return _GOODBYE if goals or history.said else _GREETING
    return _GREETING if len(token_set(last)) < 2 else f"{_CANNOT_HELP} {_NOTHING_ELSE}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."

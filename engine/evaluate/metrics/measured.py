"""The metrics that need no model: efficiency, tool errors, shares of checks, and scores composed of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...records.conversation import Conversation, ModelUse, SayEntry, ToolEntry
from ...records.opinion import MetricValue
from ...records.verdict import Verdict
from .metric import composed, measured, of_verdict

ARKSIM_TURNS: Final = 0.75
"""Weight of the share of turns without a failure in ArkSim's overall score."""
ARKSIM_GOAL: Final = 0.25
_PARTLY: Final = 0.6
"""The score from which ArkSim calls a conversation a partial failure rather than failed."""


@measured("turns", "Turns in which somebody said something.", "lower")
def turns(conversation: Conversation) -> MetricValue:
    spoken = {entry.turn for entry in conversation.log if isinstance(entry, SayEntry) and entry.turn}
    return _value("turns", len(spoken))


@measured("tool_calls", "Calls that the agent made.", "lower")
def tool_calls(conversation: Conversation) -> MetricValue:
    return _value("tool_calls", len(_calls(conversation)))


@measured(
    "tool_errors",
    "Calls of the agent that failed by themselves; injected faults are not among them.",
    "lower",
)
def tool_errors(conversation: Conversation) -> MetricValue:
    failed = [call for call in _calls(conversation) if not call.ok and call.injected is None]
    return _value("tool_errors", len(failed), _turns(failed), _named(failed))


@measured(
    "tool_recovery", "Of the calls that failed, the share after which the same tool worked.", "higher", (0, 1)
)
def tool_recovery(conversation: Conversation) -> MetricValue:
    calls = _calls(conversation)
    failed = [call for call in calls if not call.ok]
    if not failed:
        return MetricValue(metric="tool_recovery", why="no call failed")
    lost = [f for f in failed if not any(c.ok and c.tool == f.tool and c.n > f.n for c in calls)]
    share = 1 - len(lost) / len(failed)
    return _value("tool_recovery", share, _turns(lost), f"not recovered: {_named(lost)}" if lost else "")


@measured("tokens", "Tokens that the agent's model read and wrote.", "lower")
def tokens(conversation: Conversation) -> MetricValue:
    use = _agent(conversation)
    if use is None:
        return MetricValue(metric="tokens", why="no model of ours played the agent")
    return _value("tokens", use.input_tokens + use.output_tokens)


@measured("latency_s", "Seconds that the agent took for an answer, on average.", "lower")
def latency_s(conversation: Conversation) -> MetricValue:
    answers = len(agent_turns(conversation))
    if not answers:
        return MetricValue(metric="latency_s", why="the agent never answered")
    return _value("latency_s", round(conversation.agent_wall_s / answers, 6))


@measured("cost_usd", "What the agent's model calls cost, in US dollars.", "lower")
def cost_usd(conversation: Conversation) -> MetricValue:
    use = _agent(conversation)
    if use is None:
        return MetricValue(metric="cost_usd", why="no model of ours played the agent")
    if use.cost_usd is None:
        return MetricValue(metric="cost_usd", unscored="the price of the agent's model is unknown")
    return _value("cost_usd", use.cost_usd)


@of_verdict("rule_adherence", "Of the world's rules, the share that the agent kept.", "higher")
def rule_adherence(verdict: Verdict) -> MetricValue:
    rules = [check for check in verdict.checks if check.kind == "rule"]
    if not rules:
        return MetricValue(metric="rule_adherence", why="the world has no rules")
    broken = [check for check in rules if check.verdict != "pass"]
    turns = sorted({check.turn for check in broken if check.turn})
    text = ", ".join(check.id for check in broken)
    return _value("rule_adherence", 1 - len(broken) / len(rules), turns, f"broken: {text}" if text else "")


@of_verdict("check_score", "The weighted share of the checks that passed.", "higher")
def check_score(verdict: Verdict) -> MetricValue:
    if verdict.score is None:
        return MetricValue(metric="check_score", why="no check counts")
    return _value("check_score", verdict.score)


@composed(
    "arksim_score",
    "ArkSim's overall score: 0.75 x share of turns without a failure + 0.25 x goal completion.",
    "higher",
    ("agent_behavior_failure", "goal_completion"),
)
def arksim_score(conversation: Conversation, values: Mapping[str, MetricValue]) -> MetricValue:
    """Its `label` is ArkSim's status: done, partial_failure or failed."""
    failures, goal = values["agent_behavior_failure"], values["goal_completion"]
    if not failures.label or goal.value is None:
        missing = failures if not failures.label else goal
        why = missing.unscored or missing.why or "has no value"
        return MetricValue(metric="arksim_score", unscored=f"{missing.metric}: {why}")
    answered = agent_turns(conversation)
    if not answered:
        return MetricValue(metric="arksim_score", unscored="the agent never answered")
    failed = answered & set(failures.turns)
    share = 1 - len(failed) / len(answered)
    score = ARKSIM_TURNS * share + ARKSIM_GOAL * goal.value
    status = "done" if score >= 1 else "partial_failure" if score >= _PARTLY else "failed"
    text = f"{len(answered) - len(failed)} of {len(answered)} turns without failure, goal {goal.value:g}"
    return _value("arksim_score", score, sorted(failed), text).model_copy(
        update={"label": status, "parts": {"turn_success_ratio": share, "goal_completion": goal.value}}
    )


def agent_turns(conversation: Conversation) -> set[int]:
    """The turns in which the agent said or called something."""
    acted = (e for e in conversation.log if isinstance(e, SayEntry | ToolEntry) and e.by == "agent")
    return {entry.turn for entry in acted if entry.turn}


def _calls(conversation: Conversation) -> list[ToolEntry]:
    entries = (entry for entry in conversation.log if isinstance(entry, ToolEntry) and entry.turn)
    return [entry for entry in entries if entry.by == "agent" and entry.cause is None]


def _agent(conversation: Conversation) -> ModelUse | None:
    return conversation.models.get("agent")


def _turns(calls: list[ToolEntry]) -> list[int]:
    return sorted({call.turn for call in calls})


def _named(calls: list[ToolEntry]) -> str:
    return ", ".join(dict.fromkeys(call.tool for call in calls))


def _value(name: str, value: float, turns: list[int] | None = None, why: str = "") -> MetricValue:
    return MetricValue(metric=name, value=value, turns=turns or [], why=why)

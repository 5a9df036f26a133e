"""Conversations as the report shows them: turns with calls and changes, the checks, where two diverged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..evaluate import CheckPlan
from ..records.conversation import (
    Conversation,
    EventEntry,
    NotifyEntry,
    Patch,
    SayEntry,
    StopEntry,
    ToolEntry,
)
from ..records.report import ReportCall, ReportCheck, ReportPart, ReportTalk
from ..records.run import TrialRecord
from ..records.verdict import CheckResult
from ..shapes import is_list, is_object
from .figures import letter, summed_cost

MOST_CHARS: Final = 4000
"""Limit for one text or value; the rest is counted."""
MOST_EXACT: Final = 2**53
"""Whole numbers beyond it have other digits in a page: they are shown as texts."""


def talk_of(
    place: str,
    round: str,
    version: str,
    trial: TrialRecord,
    conversation: Conversation,
    plan: CheckPlan | None,
) -> ReportTalk:
    """A conversation and its check results."""
    uses = list(conversation.models.values())
    return ReportTalk(
        id=place,
        round=round,
        simulation=trial.simulation,
        trial=trial.trial,
        seed=trial.seed,
        verdict=letter(trial.verdict),
        end=conversation.end.reason.replace("_", " "),
        why=_cut(trial.graded.why or conversation.end.detail),
        version=version,
        wall_s=trial.wall_s,
        tokens=sum(use.input_tokens + use.output_tokens for use in uses),
        cost_usd=summed_cost(uses),
        parts=parts_of(conversation),
        checks=[_check(result, plan) for result in trial.graded.checks],
        changes=[patch.path for patch in conversation.delta],
    )


def parts_of(conversation: Conversation) -> list[ReportPart]:
    """The log as parts of turns: what one side does in a row until it speaks is one part."""
    parts: list[ReportPart] = []
    open_part: ReportPart | None = None
    for entry in conversation.log:
        if isinstance(entry, ToolEntry):
            side = entry.by if entry.by != "world" else "world"
            if open_part is None or open_part.by != side or open_part.turn != entry.turn:
                open_part = ReportPart(turn=entry.turn, by=side, t=entry.t)
                parts.append(open_part)
            open_part.calls.append(_call(entry))
        elif isinstance(entry, SayEntry):
            if open_part is None or open_part.by != entry.by or open_part.turn != entry.turn:
                open_part = ReportPart(turn=entry.turn, by=entry.by, t=entry.t)
                parts.append(open_part)
            open_part.text, open_part.t, open_part.rejected = _cut(entry.say), entry.t, entry.rejected
            open_part = None
        elif told := _happened(entry):
            changes = _changes(entry.patches) if isinstance(entry, EventEntry) else []
            part = ReportPart(turn=entry.turn, by="world", t=entry.t, text=_cut(told))
            if changes:
                part.calls = [ReportCall(tool="", by="world", changes=changes)]
            parts.append(part)
            open_part = None
    return parts


def first_difference(one: ReportTalk, other: ReportTalk) -> int:
    """The first turn in which two conversations diverged; 0: none."""
    turns = sorted({part.turn for talk in (one, other) for part in talk.parts})
    return next((turn for turn in turns if _went(one, turn) != _went(other, turn)), 0)


def _went(talk: ReportTalk, turn: int) -> list[Any]:
    return [
        (part.by, part.text, [call.model_dump() for call in part.calls])
        for part in talk.parts
        if part.turn == turn
    ]


def _happened(entry: object) -> str:
    """What happened in the world or to the conversation, in words; "" for what the report does not show."""
    if isinstance(entry, EventEntry):
        status = "" if entry.status in ("fired", "noise") else f" ({entry.status.replace(':', ', ')})"
        return f"{entry.event}{status}"
    if isinstance(entry, NotifyEntry):
        return f"{entry.by} tells the {entry.to}: {entry.notify}"
    return f"ended by {entry.by}" if isinstance(entry, StopEntry) else ""


def _call(entry: ToolEntry) -> ReportCall:
    return ReportCall(
        tool=entry.tool,
        args=_cut(entry.raw) if entry.raw is not None else _cut_value(entry.args),
        ok=entry.ok,
        result=_cut_value(entry.result),
        injected=entry.injected or "",
        by="" if entry.by == "agent" else entry.by,
        changes=_changes(entry.patches),
    )


def _changes(patches: Sequence[Patch]) -> list[tuple[str, list[Any], list[Any]]]:
    def side(patch: Patch, name: str) -> list[Any]:
        return [_cut_value(getattr(patch, name))] if name in patch.model_fields_set else []

    return [(patch.path, side(patch, "old"), side(patch, "new")) for patch in patches]


def _check(result: CheckResult, plan: CheckPlan | None) -> ReportCheck:
    text, judged = _asked(result.id, plan)
    return ReportCheck(
        id=result.id,
        text=_cut(text, 400),
        verdict=letter(result.verdict),
        why=_cut(result.why, 1000),
        turn=result.turn,
        by="judge" if judged else "code",
        counts=result.counts,
    )


def _asked(id: str, plan: CheckPlan | None) -> tuple[str, bool]:
    """What a check asks, in words, and whether a judge answers it."""
    if plan is None:
        return "", False
    for rule in plan.rules:
        if rule.id == id:
            return f"never: {rule.cause()}", bool(rule.need and rule.need.judged)
    found = next((check for check in plan.checks if check.id == id), None)
    if found is None:
        return "", False
    asks = found.predicate.describe()
    return (f"never: {asks}" if found.kind == "minefield" else asks), found.predicate.judged


def _cut(text: str, most: int = MOST_CHARS) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def _cut_value(value: Any) -> Any:
    """A value as it is or, if it is large, the beginning of its JSON."""
    if isinstance(value, str):
        return _cut(value)
    if is_object(value) or is_list(value):
        text = json.dumps(value, ensure_ascii=False)
        return _exact(value) if len(text) <= MOST_CHARS else _cut(text)
    return _exact(value)


def _exact(value: Any) -> Any:
    """The value with the digits of every whole number as they are."""
    if is_object(value):
        return {key: _exact(one) for key, one in value.items()}
    if is_list(value):
        return [_exact(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > MOST_EXACT else value


def plain_uses(models: Mapping[str, str]) -> list[tuple[str, str]]:
    """(role, model) in the order that reports use."""
    order = ("agent", "user", "judge", "writer")
    return [
        (role, models[role])
        for role in sorted(models, key=lambda r: (order.index(r) if r in order else 9, r))
    ]

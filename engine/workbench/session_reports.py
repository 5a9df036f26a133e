"""What a step of a session reports: what happened since the last one, the changes, the tools, at the end the reward."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..records.conversation import LogEntry, NotifyEntry, SayEntry, ToolEntry
from ..records.run import RunRecord, TrialRecord
from ..records.session import SessionRecord
from ..records.verdict import Verdict
from ..simulate import Case, Standing, sheet
from .conversation_views import change_row, check_row
from .parts import filled
from .results import SessionReport

Row = dict[str, Any]
_WHOLE = ("start", "look")


def session_report(
    record: SessionRecord,
    run: RunRecord,
    case: Case,
    standing: Standing,
    action: str,
    ended: TrialRecord | None = None,
) -> SessionReport:
    """The report of a completed step. `ended`: its end, if any."""
    conversation = standing.tried.conversation
    log, turn = conversation.log, conversation.end.turn
    new = _news(record, log, turn, action)
    over = action in ("look", "end") or ended is not None
    written = conversation.delta if over else [p for e in new if isinstance(e, ToolEntry) for p in e.patches]
    report = SessionReport(
        session=record,
        run=run,
        action=action,
        turn=turn,
        messages=list(_messages(record, new, action)),
        tools=list(standing.offered[record.role]),
        result=_result(record, case, run, new, action),
        changes=[change_row(patch.model_dump(mode="json", exclude_unset=True)) for patch in written],
        done=ended is not None,
        waits=standing.waits is not None and standing.waits.side != record.role,
    )
    report.news = action in ("start", "look", "undo") or record.offered != [t.name for t in report.tools]
    if ended is not None:
        report.reward = reward_of(ended.graded)
        report.conversation = f"{run.id}/{ended.id}"
        report.end = conversation.end.reason if action != "look" else ended.end
    return report


def reward_of(verdict: Verdict) -> Row:
    """The reward, and each check that contributes to it or decides the verdict, with the reason."""
    row: Row = {
        "value": verdict.reward,
        "verdict": verdict.verdict,
        "why": verdict.why,
        "by": verdict.reward_by,
        "score": verdict.score,
        "components": [_component(check_row(check)) for check in verdict.checks],
    }
    return filled(row)


def _component(row: Row) -> Row:
    return {"check": row.pop("id"), **row}


def _news(record: SessionRecord, log: Sequence[LogEntry], turn: int, action: str) -> list[LogEntry]:
    """The entries that are new to the caller, or shown again."""
    if action in _WHOLE:
        return [*log]
    if action in ("undo", "regenerate"):
        return [entry for entry in log if entry.turn >= turn - (record.role == "user")]
    return [*log[record.seen :]]


def _messages(record: SessionRecord, entries: Iterable[LogEntry], action: str) -> Iterable[Row]:
    """What the caller hears; its own words and actions only if everything is shown."""
    for entry in entries:
        own = isinstance(entry, SayEntry | ToolEntry) and entry.by == record.role
        if isinstance(entry, SayEntry) and not entry.rejected and (not own or action in _WHOLE):
            yield {"from": entry.by, "text": entry.say}
        elif isinstance(entry, NotifyEntry) and entry.to == record.role:
            yield {"from": "world", "text": entry.notify}
        elif isinstance(entry, ToolEntry) and own and action in _WHOLE:
            yield {"from": entry.by, **_call(entry)}


def _call(entry: ToolEntry) -> Row:
    row: Row = {"tool": entry.tool, "args": entry.raw if entry.raw is not None else entry.args}
    fields: Row = {"ok": entry.ok, "error": entry.error, "result": entry.result}
    return {**row, **{k: v for k, v in fields.items() if k != "error" or v}}


def _result(
    record: SessionRecord, case: Case, run: RunRecord, entries: Sequence[LogEntry], action: str
) -> Row:
    """For a call its result; for a start or look of a caller that plays the user, the user's sheet."""
    if action == "call":
        calls = [e for e in entries if isinstance(e, ToolEntry) and e.by == record.role and e.cause is None]
        return _call(calls[-1]) if calls else {}
    if action in _WHOLE and record.role == "user":
        guidelines = str(run.options.get("user_guidelines", ""))
        return {"sheet": filled(sheet(case.scenario, case.persona, case.user_input, guidelines))}
    return {}

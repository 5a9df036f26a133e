"""Views of conversations: turns, world changes, checks."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread

from ..errors import InvalidArgument, NextCall
from ..evaluate import not_understood_warning
from ..ids import Place, parse_place
from ..plural import plural
from ..records.conversation import Conversation, EventEntry, NotifyEntry, SayEntry, ToolEntry
from ..records.opinion import MetricValue
from ..records.run import TrialRecord
from ..records.verdict import CheckResult, Verdict
from ..simulate import LiveTrial, LiveTrials
from .archive import Archive
from .attempts import Attempts
from .parts import Body, paged
from .results import Item
from .sight import refuse_while_proving, spend
from .verdict_changes import earlier

_SAID = [
    "item.turns[].user",
    "item.turns[].agent",
    "item.turns[].rejected",
    "item.turns[].calls",
    "item.turns[].changes",
    "item.turns[].events",
    "item.turns[].checks[].why",
]
_QUOTED = ["item.why", "item.end.detail", "item.failed_checks[].why"]
_WHOLE = [
    "item.conversation.setup",
    "item.conversation.log",
    "item.conversation.delta",
    "item.conversation.end.detail",
    "item.conversation.agent_verdict.why",
    "item.verdict.why",
    "item.verdict.checks",
]


class ConversationViews:
    """Shows one conversation. Held-out ones are hidden while a proof runs; reading one spends its scenario."""

    def __init__(self, archive: Archive, live: LiveTrials) -> None:
        self._archive = archive
        self._attempts = Attempts(archive)
        self._live = live

    async def conversation(self, id: str, view: str, limit: int, skip: int) -> Item:
        place = parse_place(id, "id")
        going = self._live.find(place.conversation)
        if going is not None:
            return self._going(place, going, view, limit, skip)
        trial, conversation = await anyio.to_thread.run_sync(self._archive.conversation, place)
        _refuse_beyond(place, trial)
        failed = self._attempts.of_trial(place.run, trial.id) if trial.attempt > 1 else []
        item = Item("conversation", id, view, self._common(conversation), summary=_summary(place, trial))
        if trial.split == "held_out":
            refuse_while_proving(self._archive, conversation.environment)
            if view == "summary":
                item.item.update(
                    {"verdict": trial.verdict, "end": {"reason": trial.end}, "split": trial.split}
                )
                item.summary = f"{place.conversation}: {trial.verdict}, held out, ended by {trial.end}."
                return item
            item.warnings = spend(self._archive, f"{conversation.environment}/{conversation.scenario}")
        item.warnings += _doubts(place, trial)
        if view == "turns":
            return _turns(item, place, trial, conversation, limit, skip)
        if view == "state":
            return _state(item, place, conversation, limit, skip)
        if view == "checks":
            run = self._archive.runs.get(place.run, "id")
            before = await anyio.to_thread.run_sync(earlier, self._archive, run, trial)
            return _checks(item, trial, before, limit, skip)
        if view == "full":
            item.item = {
                "conversation": conversation.dumped(),
                "verdict": trial.graded.model_dump(mode="json"),
            }
            item.untrusted = list(_WHOLE)
            if failed:
                item.item["failed_attempts"] = await anyio.to_thread.run_sync(self._whole, failed)
                item.untrusted.append("item.failed_attempts")
            return item
        _summed_up(item, place, trial, conversation)
        if failed:
            item.item["attempt"] = trial.attempt
            item.item["failed_attempts"] = [_failed_row(record) for record in failed]
            item.untrusted.append("item.failed_attempts[].why")
        return item

    def _going(self, place: Place, trial: LiveTrial, view: str, limit: int, skip: int) -> Item:
        """One in progress: what has happened so far. Held-out ones show only that they are running; checks come at the
        end.
        """
        said = "held out, goes on." if trial.split == "held_out" else "goes on."
        item = Item("conversation", place.conversation, view, {"state": "running"})
        item.summary = f"{place.conversation}: {said}"
        if trial.split == "held_out" or trial.so_far is None:
            return item
        document = self._archive.redactor.hide_all(trial.so_far().dumped())
        conversation = Conversation.model_validate(document)
        item.item.update(self._common(conversation), turn=conversation.end.turn, t=conversation.end.t)
        item.summary = f"{place.conversation}: goes on, in turn {conversation.end.turn}."
        if view == "turns":
            turns = [t for t in conversation_turns(conversation, ()) if t["turn"] >= place.turn]
            item.untrusted = list(_SAID)
            return paged(item, "turns", turns, limit, skip)
        if view == "state":
            return _state(item, place, conversation, limit, skip)
        if view == "full":
            item.item["conversation"] = {k: v for k, v in conversation.dumped().items() if k != "end"}
            item.untrusted = list(_WHOLE)
        return item

    def _whole(self, failed: Sequence[TrialRecord]) -> list[Body]:
        """Failed attempts with everything said in them."""
        read = self._archive.store.segments.read
        return [{**_failed_row(r), "conversation": read(str(r.pointer["at"]))} for r in failed]

    def _common(self, conversation: Conversation) -> Body:
        """What every view says about the conversation's origin."""
        run = self._archive.runs.find(conversation.run)
        body: Body = {"environment": conversation.environment, "instructions": conversation.instructions}
        if run is not None and run.hardening:
            body["hardening"] = run.hardening
        if run is not None and "part_of" in run.options:
            body["part_of"] = run.options["part_of"]
        if conversation.branch is not None:
            body["branched_from"] = conversation.branch.place
        return body


def _doubts(place: Place, trial: TrialRecord) -> list[str]:
    turns = trial.not_understood if trial.verdict == "fail" else []
    return not_understood_warning([(f"{place.conversation}@{turns[0]}", len(turns))] if turns else [])


def _turns(
    item: Item, place: Place, trial: TrialRecord, conversation: Conversation, limit: int, skip: int
) -> Item:
    checks = () if trial.verdict == "error" else trial.graded.checks
    turns = [t for t in conversation_turns(conversation, checks) if t["turn"] >= place.turn]
    item.item.update({"verdict": trial.verdict, "end": conversation.end.reason})
    item.untrusted = list(_SAID)
    if trial.graded.why:
        item.item["why"] = trial.graded.why
        item.untrusted.append("item.why")
    return paged(item, "turns", turns, limit, skip)


def _state(item: Item, place: Place, conversation: Conversation, limit: int, skip: int) -> Item:
    rows = [change_row(patch.model_dump(mode="json", exclude_unset=True)) for patch in conversation.delta]
    item.untrusted = ["item.changes"]
    going = " so far" if "state" in item.item else ""
    item.summary = f"{place.conversation} changed {len(rows)} places of the world{going}."
    return paged(item, "changes", rows, limit, skip)


def _checks(item: Item, trial: TrialRecord, before: Sequence[Verdict], limit: int, skip: int) -> Item:
    graded = trial.graded
    if before:
        item.item["earlier"] = [_verdict_row(verdict) for verdict in before]
    item.item.update(
        {
            "verdict": trial.verdict,
            "reward": graded.reward,
            "reward_by": graded.reward_by,
            "score": graded.score,
            "grading": graded.grading,
        }
    )
    item.untrusted = ["item.checks[].why", "item.checks[].fix"]
    if trial.verdict in ("error", "invalid"):
        item.item.update({"error": trial.error, "why": graded.why})
        item.untrusted.append("item.why")
    if graded.original_parts:
        item.item["original_reward"] = {"reward": graded.original_reward, **graded.original_parts}
    if graded.never_fired:
        item.item["never_fired"] = [missing.model_dump(mode="json") for missing in graded.never_fired]
        item.untrusted.append("item.never_fired[].why")
    if graded.faults:
        item.item["faults"] = [fault.model_dump(mode="json") for fault in graded.faults]
    if graded.judge:
        item.item["judge"] = graded.judge
    if graded.metrics:
        item.item["metrics"] = [metric_row(value) for value in graded.metrics]
        item.untrusted += [f"item.metrics[].{part}" for part in ("why", "fix", "findings", "unscored")]
    if graded.invented:
        item.item["invented"] = [fact.model_dump(mode="json") for fact in graded.invented]
        item.untrusted.append("item.invented[].said")
    return paged(item, "checks", [check_row(check) for check in graded.checks], limit, skip)


def _verdict_row(verdict: Verdict) -> Body:
    """A verdict that a later scoring replaced."""
    row: Body = {"grading": verdict.grading, "verdict": verdict.verdict, "reward": verdict.reward}
    more: Body = {"failed_checks": verdict.failed(), "judge": verdict.judge}
    return row | {name: value for name, value in more.items() if value}


def _failed_row(record: TrialRecord) -> Body:
    return {"attempt": record.attempt, "end": record.end, "error": record.error, "why": record.graded.why}


def _summed_up(item: Item, place: Place, trial: TrialRecord, conversation: Conversation) -> None:
    item.item.update(
        {
            "verdict": trial.verdict,
            "why": trial.graded.why,
            "end": conversation.end.model_dump(mode="json"),
            "turns": trial.turns,
            "calls": sum(isinstance(e, ToolEntry) for e in conversation.log),
            "split": trial.split,
        }
    )
    if trial.verdict != "error":  # it was not played to its end
        failed = [check_row(c) for c in trial.graded.checks if c.counts and c.verdict != "pass"]
        item.item["failed_checks"] = failed
    if trial.see_turn:
        item.item["see"] = f"{place.conversation}@{trial.see_turn}"
    item.untrusted = list(_QUOTED)
    if conversation.agent_verdict is not None:
        item.item["agent_says"] = conversation.agent_verdict.model_dump(mode="json")
        item.untrusted.append("item.agent_says.why")


def conversation_turns(conversation: Conversation, checks: Sequence[CheckResult]) -> list[Body]:
    """The log by turns: what each side said, the calls, what happened and changed, the checks decided there."""
    turns: dict[int, Body] = {}
    for entry in conversation.log:
        turn = turns.setdefault(entry.turn, {"turn": entry.turn})
        if isinstance(entry, SayEntry) and entry.rejected:
            turn.setdefault("rejected", []).append(
                {"by": entry.by, "text": entry.say, "feedback": entry.feedback}
            )
        elif isinstance(entry, SayEntry):
            known = turn.get(entry.by)
            turn[entry.by] = f"{known}\n{entry.say}" if known else entry.say
        elif isinstance(entry, ToolEntry):
            turn.setdefault("calls", []).append(_call_row(entry))
        elif isinstance(entry, EventEntry):
            turn.setdefault("events", []).append({"event": entry.event, "status": entry.status, "t": entry.t})
        elif isinstance(entry, NotifyEntry):
            turn.setdefault("events", []).append({"notify": entry.notify, "to": entry.to, "by": entry.by})
        if isinstance(entry, ToolEntry | EventEntry) and (changes := _changes(entry)):
            turn.setdefault("changes", []).extend(changes)
    for check in checks:
        if check.counts and check.verdict == "fail" and check.turn in turns:
            turns[check.turn].setdefault("checks", []).append(check_row(check))
    return [turns[number] for number in sorted(turns)]


def _changes(entry: ToolEntry | EventEntry) -> list[Body]:
    """Its writes, except those that changed nothing."""
    patches = (patch.model_dump(mode="json", exclude_unset=True) for patch in entry.patches)
    return [change_row(patch) for patch in patches if patch.get("old", ...) != patch.get("new")]


def check_row(check: CheckResult) -> Body:
    """A check as replies show it."""
    row = check.model_dump(mode="json", include={"id", "kind", "verdict", "why", "severity", "fix"})
    if check.turn:
        row["turn"] = check.turn
    if check.t is not None:
        row["t"] = check.t
    if not check.counts:
        row["counts"] = False
    if not check.in_reward:
        row["in_reward"] = False
    if check.judged:
        row["judged"] = True
    return {k: v for k, v in row.items() if v != ""}


def metric_row(value: MetricValue) -> Body:
    """A metric of a conversation as replies show it; it does not apply if neither measured nor unscored."""
    row = value.model_dump(mode="json", exclude_none=True)
    row["findings"] = [{k: v for k, v in found.items() if v != ""} for found in row["findings"]]
    fields = {k: v for k, v in row.items() if v not in ("", [], {})}
    return fields if value.measured or value.unscored else {**fields, "applies": False}


def _refuse_beyond(place: Place, trial: TrialRecord) -> None:
    if place.turn > max(1, trial.turns):
        turns = {"kind": "conversation", "id": place.conversation, "view": "turns"}
        raise InvalidArgument(
            f"{place.conversation} has {plural(trial.turns, 'turn')}.",
            where="id",
            allowed=f"@1 to @{trial.turns}" if trial.turns > 1 else "no turn behind it",
            next=[NextCall("get_item", turns)],
        )


def _summary(place: Place, trial: TrialRecord) -> str:
    """The verdict and the first failed check with its turn. The reason may quote the conversation: it is elsewhere."""
    first = next((c for c in trial.graded.checks if c.counts and c.verdict == "fail"), None)
    if first is not None and trial.verdict != "error":
        at = f" from turn {place.turn}" if place.turn else ""
        turn = trial.see_turn or trial.turns
        return f"{place.conversation}{at}: {trial.verdict}; check {first.id} failed in turn {turn}."
    broke = f" ({trial.error})" if trial.error else ""
    return (
        f"{place.conversation}: {trial.verdict}, {plural(trial.turns, 'turn')}, ended by {trial.end}{broke}."
    )


def _call_row(entry: ToolEntry) -> Body:
    row: Body = {
        "tool": entry.tool,
        "args": entry.raw if entry.raw is not None else entry.args,
        "ok": entry.ok,
        "result": entry.result,
    }
    if entry.by != "agent":
        row["by"] = entry.by
    if entry.kind == "own":
        row["own"] = True
    if entry.error:
        row["error"] = entry.error
    if entry.injected:
        row["injected"] = entry.injected
    if entry.cause:
        row["cause"] = entry.cause
    return row


def change_row(patch: Body) -> Body:
    """A write as replies show it."""
    return {
        k: patch[k]
        for k in ("path", "op", "old", "new")
        if k in patch and not (k == "op" and patch[k] == "set")
    }

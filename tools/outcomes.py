"""The reply of a hardening: its state in words, the evidence behind it, and what may be done next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.harden import (
    CONFIRMATION_MISSING,
    LEFT_OUT_MISSING,
    NO_HELD_OUT,
    no_held_out_left,
    unified_diff,
)
from ..engine.records.environment import InstructionsRecord, played_by
from ..engine.records.hardening import Brief, Candidate, Evidence, Hardening
from ..engine.workbench.results import HardeningReport
from .briefs import brief_row, broken_example, broken_on_train, open_summary, shown_brief
from .onward import next_calls
from .replies import CandidateView, HardeningReply, counts, then
from .wording import held_out, listed, offline_roles, plural, rounded, train, with_offline

MARKS: Mapping[str, str] = {
    "exposed": "who wrote the text had read held-out conversations, which are not in the proof, or played the users",
    "self-judged": "who wrote the text, or the agent's own model, judged it",
    "overridden": "it was promoted without a proof",
}
"""What each mark says of an outcome."""
HELD_OUT_FIELDS = (
    "n",
    "better",
    "worse",
    "unchanged",
    "p",
    "look",
    "alpha",
    "base",
    "candidate",
    "base_trials",
    "candidate_trials",
    "base_interval",
    "candidate_interval",
    "base_missing",
    "candidate_missing",
)
_STOPPED = {"proven once": "after one proof", "proven": "after another proof"}
TRAIN_FIELDS = ("n", "better", "worse", "unchanged", "base", "candidate", "base_trials", "candidate_trials")


def hardening_reply(report: HardeningReport, *, decided: str = "", asked: bool = False) -> HardeningReply:
    """The reply of a hardening, a submitted candidate or a decision. `asked`: for the hardening, with its brief."""
    if decided == "roll_back" and report.became:
        return _rolled_back(report, report.became)
    hardening, candidate = report.hardening, _candidate(report)
    outcome, evidence = _result(hardening, candidate)
    brief = None if decided else shown_brief(hardening, candidate, asked=asked)
    return HardeningReply(
        summary=_summary(report, candidate, evidence, outcome, decided),
        next=next_calls(report, candidate, outcome, asked=asked)[:3],
        warnings=_warnings(report),
        hardening=hardening.id,
        state=hardening.state,
        round=hardening.round,
        round_number=hardening.round,
        stop_reason=hardening.stop_reason,
        brief=brief_row(brief) if brief else {},
        candidate=_view(report, candidate) if candidate else None,
        guards=_guards(candidate) if candidate and not decided else [],
        evidence=_evidence(evidence) if evidence and not decided else {},
        outcome=outcome,
        marks=_marks(hardening, candidate),
        original_config=dict(hardening.original_config),
        improved_config=_improved(report, candidate, outcome),
        untrusted=_untrusted(brief, candidate),
        job=counts(report.job),
    )


def _result(hardening: Hardening, candidate: Candidate | None) -> tuple[str, Evidence | None]:
    """Outcome and evidence of the candidate that is told of; the hardening's own are those of its best one."""
    if candidate is not None and (candidate.outcome or candidate.id != hardening.candidate):
        return candidate.outcome or "", candidate.evidence
    return hardening.outcome or "", hardening.evidence


def _guards(candidate: Candidate) -> list[dict[str, Any]]:
    """All of them, of a refused text those that it fails."""
    shown = [one for one in candidate.guards if candidate.state != "refused" or one.result == "fail"]
    return [one.model_dump(exclude_defaults=True) for one in shown]


def _untrusted(brief: Brief | None, candidate: Candidate | None) -> list[str]:
    paths = ["candidate.diff", "candidate.why"] if candidate else []
    if brief:
        paths += ["brief.text", "brief.clusters[].cause", "brief.clusters[].rule"]
    return paths


def _rolled_back(report: HardeningReport, version: InstructionsRecord) -> HardeningReply:
    environment, before = report.hardening.environment, report.before
    wrote = f" Wrote {report.wrote_file}." if report.wrote_file else ""
    calls = [
        then("run_simulations", "how this version does", environment=environment),
        then("list_items", "all versions", kind="instructions", environment=environment),
    ]
    if before is None or before.id == version.id:
        text, view = f"{environment} is at version {version.number} already.", None
    else:
        text = f"{environment} is back at instructions version {version.number}; version {before.number} is kept."
        calls.insert(1, then("decide_candidate", "to undo", candidate=before.id, decision="roll_back"))
        view = CandidateView(
            id=version.id,
            base=before.id,
            diff=unified_diff(before.text, version.text, before.id, version.id),
            chars=[len(before.text), len(version.text)],
        )
    return HardeningReply(
        summary=text + wrote,
        next=calls,
        hardening=report.hardening.id,
        state="rolled_back",
        candidate=view,
        original_config={"instructions": before.id} if before and view else {},
        improved_config={"instructions": version.id},
        untrusted=["candidate.diff"] if view else [],
    )


def _candidate(report: HardeningReport) -> Candidate | None:
    hardening = report.hardening
    return hardening.find(report.candidate or hardening.candidate)


def _view(report: HardeningReport, candidate: Candidate) -> CandidateView:
    return CandidateView(
        id=candidate.id,
        base=candidate.base,
        state=candidate.state,
        diff=candidate.diff if candidate.state != "refused" else "",
        chars=list(candidate.chars),
        by=candidate.by,
        why=candidate.why,
        became=(report.became.id if report.became else "") or candidate.became,
    )


def _improved(report: HardeningReport, candidate: Candidate | None, outcome: str) -> dict[str, str]:
    if report.became:
        return {"instructions": report.became.id}
    if (
        candidate is None
        or candidate.state in ("refused", "rejected")
        or outcome in ("no_change", "regressed")
    ):
        return {}
    return {"instructions": candidate.became or candidate.id}


def _evidence(evidence: Evidence) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if evidence.held_out:
        shown["held_out"] = evidence.held_out.model_dump(include=set(HELD_OUT_FIELDS), exclude_none=True)
    if evidence.train:
        shown["train"] = evidence.train.model_dump(include=set(TRAIN_FIELDS))
    if evidence.left_out:
        shown["left_out"] = evidence.left_out
    shown["regressed_checks"] = evidence.regressed_checks
    regressions = [one.model_dump(exclude={"split"}) for one in evidence.regressions if one.split == "train"]
    if regressions:
        shown["regressions"] = regressions[:10]
    shown["judge_only"] = evidence.judge_only
    if evidence.caps:
        shown["caps"] = evidence.caps
    return rounded(shown)


def _summary(
    report: HardeningReport,
    candidate: Candidate | None,
    evidence: Evidence | None,
    outcome: str,
    decided: str,
) -> str:
    hardening = report.hardening
    if decided:
        return _decision(report, candidate, outcome, decided)
    if report.job and report.job.active:
        return _going_on(report)
    if report.job:
        return f"{hardening.id} is paused ({report.job.id}): what it ran is kept; called again, it goes on."
    if candidate and candidate.state == "refused":
        return _refused(candidate)
    if not outcome and candidate and candidate.state in ("kept", "rejected"):
        return _round(hardening, candidate)
    if not outcome:
        return open_summary(hardening)
    text = f"{hardening.id}: {_outcome(outcome)}{offline_roles(_players(hardening))}"
    text += f": {_broken(evidence)}." if evidence and evidence.regressed_checks else "."
    text += _refuses(hardening, candidate)
    return " ".join(
        [text, *_outcome_lines(hardening, outcome, evidence), *_added(candidate), *_reason(hardening)]
    )


def _outcome(outcome: str) -> str:
    return outcome.replace("_", " ")


def _outcome_lines(hardening: Hardening, outcome: str, evidence: Evidence | None) -> list[str]:
    unusable = evidence is not None and NO_HELD_OUT in evidence.caps
    told = {
        "nothing_to_fix": ["The base passes all simulations that count."],
        "not_evaluated": [
            no_held_out_left(hardening)
            if unusable
            else "Nothing could be counted on held-out: see the errors of the trials."
            if evidence
            else "Nothing could be counted: see the errors of the base run."
        ],
    }.get(outcome, [])
    if evidence is None:
        return told
    if evidence.held_out:
        told.append(held_out(evidence.held_out))
    if evidence.train and evidence.train.candidate_trials:
        told.append(train(evidence.train))
    if evidence.left_out:
        told.append(_beside(evidence))
    if CONFIRMATION_MISSING in evidence.caps:
        told.append("A check may have broken, but the trials that should confirm it ended in error.")
    if outcome == "unconfirmed" and evidence.more_scenarios:
        more = f"about {evidence.more_scenarios} more held-out scenarios"
        trials = f" ({plural(evidence.more_simulations, 'simulation')})" if evidence.more_simulations else ""
        told.append(f"Not enough evidence: {more}{trials} would do, 4 times in 5.")
    return told


def _broken(evidence: Evidence) -> str:
    """`check world broke in 6 of 12 train simulations, for example run-3/refund-1/1`; held-out is only counted."""
    every = broken_on_train(evidence)
    seen = [one for one in every if not one.left_out]
    of = evidence.train.simulations if evidence.train else 0
    checks: dict[str, set[str]] = {}
    for one in seen:
        checks.setdefault(one.check, set()).add(one.simulation)
    rows = [f"{check} in {len(where)}" for check, where in checks.items()]
    parts: list[str] = []
    if checks:
        check, where = next(iter(checks.items()))
        also = f" (also {listed(rows[1:])})" if rows[1:] else ""
        parts.append(f"check {check} broke in {len(where)} of {plural(of, 'train simulation')}{also}")
    beside = [f"check {one.check} in scenario {one.scenario}" for one in every if one.left_out]
    if beside:
        parts.append(f"{listed(beside)} broke outside of the selection")
    example = broken_example(evidence)
    if example:
        parts.append(f"for example {example}")
    hidden = evidence.regressed_checks - len(every)
    if hidden:
        parts.append(f"{plural(hidden, 'check')} broke on held-out simulations")
    return ", ".join(parts)


def _beside(evidence: Evidence) -> str:
    """What the train simulations say that were not chosen; which checks broke there stands before it."""
    ran = f"{plural(evidence.left_out, 'train simulation')} that were not selected"
    if LEFT_OUT_MISSING in evidence.caps:
        return f"Of {ran} over a tenth ended in error: whether anything broke there is not known."
    broke = any(one.left_out and one.confirmed for one in evidence.regressions)
    return f"{'Also run:' if broke else 'Nothing broke in'} {ran}."


def _refuses(hardening: Hardening, candidate: Candidate | None) -> str:
    """What is told where a text broke only what the agent must do."""
    last = next(
        (one for one in reversed(hardening.rounds) if candidate and one.candidate == candidate.id), None
    )
    return f" {last.told}" if last and last.reason == "over_refusal" else ""


def _added(candidate: Candidate | None) -> list[str]:
    """`2 lines added, 1 removed.`"""
    lines = candidate.diff.splitlines()[2:] if candidate else []
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    parts = [f"{plural(added, 'line')} added"] if added else []
    if removed:
        parts.append(f"{removed if added else plural(removed, 'line')} removed")
    return [f"{', '.join(parts)}."] if parts else []


def _reason(hardening: Hardening) -> list[str]:
    reason = _STOPPED.get(hardening.stop_reason, hardening.stop_reason)
    return [f"Stopped: {reason.replace('_', ' ')}."] if reason else []


def _going_on(report: HardeningReport) -> str:
    job, hardening = report.job, report.hardening
    if job is None:
        return f"{hardening.id} goes on."
    units = f"{job.units.finished:,} of the {plural(job.units.total, 'trial')} asked for so far done"
    return f"{hardening.id} goes on as {job.id} ({job.state}), round {hardening.round}: {units}."


def _refused(candidate: Candidate) -> str:
    """`Not simulated: hard-1/c2 fails guard leak. Line 2 has `W1`. Rule: no identifiers.` and what else it fails."""
    failed = [one for one in candidate.guards if one.result == "fail"]
    if not failed:
        return f"Not simulated: {candidate.id} was refused."
    first, names = failed[0], listed([one.guard for one in failed])
    line = f" Line {first.line} has `{first.text}`." if first.line and first.text else ""
    rule = f" Rule: {first.rule.rstrip('.')}." if first.rule else ""
    return f"Not simulated: {candidate.id} fails guard{'s' if failed[1:] else ''} {names}.{line}{rule}"


def _round(hardening: Hardening, candidate: Candidate) -> str:
    last = next((one for one in reversed(hardening.rounds) if one.candidate == candidate.id), None)
    text = f" {train(last.train)}" if last and last.train else ""
    why = (last.told or last.reason).rstrip(".") if last else ""
    reason = f" Reason: {why}." if why else ""
    return f"{candidate.id} was {candidate.state} in round {hardening.round}.{text}{reason}"


def _decision(report: HardeningReport, candidate: Candidate | None, outcome: str, decided: str) -> str:
    hardening, became = report.hardening, report.became
    what = candidate.id if candidate else hardening.id
    if decided == "reject":
        why = f" Reason: {candidate.reason.rstrip('.')}." if candidate and candidate.reason else ""
        return f"{what} is rejected; {hardening.environment} keeps its instructions.{why}"
    if became is None:
        return f"{what} is {hardening.state}; nothing else changed."
    how = f"from {what}, {_outcome(outcome)}"
    marks = f", marked {', '.join(hardening.marks)}" if hardening.marks else ""
    wrote = f" Wrote {report.wrote_file}." if report.wrote_file else ""
    kept = f" {became.base} is kept." if became.base else ""
    return f"{became.environment} is now at instructions version {became.number} ({how}{marks}).{kept}{wrote}"


def _marks(hardening: Hardening, candidate: Candidate | None) -> list[str]:
    """The marks; `overridden` is of the candidate that was promoted."""
    best = candidate is None or candidate.id == hardening.candidate
    return [mark for mark in hardening.marks if best or mark != "overridden"]


def _warnings(report: HardeningReport) -> list[str]:
    warnings = [*report.warnings]
    warnings += [one for one in report.hardening.warnings if one not in warnings]
    marks = _marks(report.hardening, _candidate(report))
    if marks and not any("mark" in one for one in warnings):
        warnings += [f"The outcome is marked {mark}: {MARKS[mark]}." for mark in marks]
    return with_offline(warnings, _players(report.hardening))


def _players(hardening: Hardening) -> dict[str, str]:
    """Who plays each role in it."""
    return played_by(hardening.models, hardening.snapshot.agent if hardening.snapshot else {})

"""The head of a report: the decision in a word, one or two sentences, and the figures beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ..evaluate import comparison
from ..evaluate.rates import COUNTED
from ..evaluate.statistics import shown_p
from ..records.hardening import Comparison, Hardening, Outcome
from ..records.report import Head, ProofFigures, Rate, Tone
from ..records.run import RunRecord, TrialRecord
from .figures import percent, plural

WORDS: Final[Mapping[Outcome, tuple[str, Tone]]] = {
    "improved": ("Improved", "p"),
    "unconfirmed": ("Unconfirmed", "i"),
    "no_change": ("No change", "v"),
    "regressed": ("Regressed", "f"),
    "nothing_to_fix": ("Nothing to fix", "p"),
    "not_evaluated": ("Not evaluated", "e"),
}


def run_head(run: RunRecord, trials: Sequence[TrialRecord], rate: Rate | None, version: str) -> Head:
    """The head of a plain run: its count and whether it meets the thresholds."""
    if not trials:
        call = f'run_simulations({{"environment": "{run.environment}"}})'
        return Head(word="No result yet", next=call, lede="Nothing was run.")
    if rate is None:
        return _nothing_counted(trials)
    missed = [row for row in run.thresholds if row.result == "fail"]
    parts = [f"{row.threshold}: {row.why}" for row in run.thresholds]
    if missed:
        lede = "Threshold missed: " + "; ".join(f"{row.threshold}, {row.why}" for row in missed) + "."
    elif rate.passed == rate.trials:
        lede = _all_pass(rate, trials, version)
    else:
        interval = f"{100 * rate.low:.0f}-{100 * rate.high:.0f}"
        reached = f" Thresholds reached: {'; '.join(parts)}." if parts else ""
        lede = f"{percent(rate.rate or 0)} of the trials that count, interval {interval}, under {version}.{reached}"
    clean = rate.passed == len(trials)
    tone: Tone = "f" if missed or not rate.passed else "p" if parts or clean else "m"
    nothing = clean and not missed
    word = "Nothing to fix" if nothing and not parts else f"{rate.passed:,} of {rate.trials:,} pass"
    return Head(word=word, tone=tone, lede=lede)


def hardening_head(
    record: Hardening, trials: Sequence[TrialRecord], base: Rate | None, names: Mapping[str, str]
) -> Head:
    """The head of a hardening: its outcome, the evidence, what was decided, what is missing."""
    candidate = record.find(record.candidate)
    if record.outcome is None:
        lede = f"{record.id} is {record.state}; it has no outcome yet."
        return Head(word="No outcome yet", lede=lede, marks=list(record.marks))
    word, tone = WORDS[record.outcome]
    if record.outcome == "not_evaluated" and trials and base is None:
        return _nothing_counted(trials)
    became = names.get(record.candidate, "")
    decision = {
        "promoted": f"Promoted as {became}. {titled_text(names.get(record.base, 'the base'))} is kept.",
        "rejected": "The candidate was rejected.",
        "cancelled": "The hardening was cancelled.",
    }.get(record.state, "The candidate is neither promoted nor rejected yet.")
    return Head(
        word=word,
        tone=tone,
        lede=_lede(record, trials, base, names),
        marks=list(record.marks),
        decision=decision if candidate is not None else "",
        more=_more(record),
    )


def proof_figures(record: Hardening, pairs: Sequence[tuple[TrialRecord, TrialRecord]]) -> ProofFigures | None:
    """What the proof found; the interval of the difference is that of compare_runs over the same pairs."""
    held_out = record.evidence.held_out if record.evidence else None
    if held_out is None or not pairs:
        return None
    found = comparison.compare(pairs, record.seed)
    return ProofFigures(
        difference=found.difference,
        low=found.interval[0],
        high=found.interval[1],
        scenarios=held_out.n,
        better=held_out.better,
        worse=held_out.worse,
        worse_confirmed=_confirmed(record),
        p=held_out.p,
        look=held_out.look,
        alpha=held_out.alpha,
        told=shown_p(held_out.p, held_out.alpha),
    )


def paired(
    base: Sequence[TrialRecord], candidate: Sequence[TrialRecord]
) -> list[tuple[TrialRecord, TrialRecord]]:
    """Trials of two texts with the same case and number, if both count."""
    left = {(t.simulation, t.trial): t for t in base if t.verdict in COUNTED}
    pairs = ((left.get((t.simulation, t.trial)), t) for t in candidate if t.verdict in COUNTED)
    return [(old, new) for old, new in pairs if old is not None]


def _nothing_counted(trials: Sequence[TrialRecord]) -> Head:
    verdicts = Counter(t.verdict for t in trials)
    broken, total = verdicts["error"], len(trials)
    reasons = Counter(t.error or t.end for t in trials)
    why = reasons.most_common(1)[0][0].replace("_", " ")
    what = (
        f"{broken:,} of {plural(total, 'trial')} ended in an error" if broken else "No trial could be counted"
    )
    return Head(word="Not evaluated", tone="e", lede=f"{what} ({why}).")


def _all_pass(rate: Rate, trials: Sequence[TrialRecord], version: str) -> str:
    """All trials that count pass; whether that is all of them."""
    verdicts = Counter(t.verdict for t in trials)
    apart = [(verdicts["error"], "ended in an error"), (verdicts["invalid"], "invalid")]
    text = " and ".join(f"{count:,} {what}" for count, what in apart if count)
    first = (
        f"Every trial that counts passes under {version}, but of {plural(len(trials), 'trial')} {text}."
        if text
        else f"Every simulation passes under {version}."
    )
    return f"{first} With {plural(rate.scenarios, 'scenario')} a true rate of {percent(rate.low)} could look the same."


def _lede(
    record: Hardening, trials: Sequence[TrialRecord], base: Rate | None, names: Mapping[str, str]
) -> str:
    old, new = names.get(record.base, "the base"), names.get(record.candidate, "the candidate")
    held_out = record.evidence.held_out if record.evidence else None
    if record.outcome == "nothing_to_fix" and base is not None:
        return _all_pass(base, trials, old)
    if record.outcome == "no_change":
        return "No candidate did better on train and broke nothing."
    if held_out is None:
        return record.stop_reason.replace("_", " ").capitalize() + "." if record.stop_reason else ""
    if record.outcome == "improved":
        return f"{titled_text(new)} passes more held-out cases than {old}.{_worse(held_out, record)}"
    if record.outcome == "regressed":
        checks = plural(record.evidence.regressed_checks, "check") if record.evidence else "A check"
        return f"{titled_text(new)} breaks what {old} did right: {checks}, confirmed by running again."
    return f"{_leaning(held_out)} on held-out cases; that is not enough to say so.{_worse(held_out, record)}"


def titled_text(name: str) -> str:
    """A name at the start of a sentence."""
    return name[:1].upper() + name[1:]


def _leaning(held_out: Comparison) -> str:
    if held_out.better > held_out.worse:
        return "It looks better"
    return "It looks worse" if held_out.worse > held_out.better else "No difference was seen"


def _worse(held_out: Comparison, record: Hardening) -> str:
    if not held_out.worse:
        return ""
    scenarios = plural(held_out.worse, "scenario")
    return f" {scenarios} did worse" + ("." if _confirmed(record) else "; run again, no check of it was.")


def _confirmed(record: Hardening) -> bool:
    return bool(record.evidence and record.evidence.regressed_checks)


def _more(record: Hardening) -> str:
    evidence = record.evidence
    if record.outcome != "unconfirmed" or evidence is None or not evidence.more_scenarios:
        return ""
    trials = f" ({plural(evidence.more_simulations, 'simulation')})" if evidence.more_simulations else ""
    more = f"about {evidence.more_scenarios} more held-out scenarios{trials}"
    return f"Not enough evidence: {more} would do, 4 times in 5."

"""The brief in a hardening's reply: when it is told, how much of it, and the calls of one who writes the text."""

from __future__ import annotations

from typing import Any

from ..engine.harden import look_terms, standing_candidate
from ..engine.records.hardening import Brief, Candidate, CheckRegression, Evidence, Hardening
from .replies import NextCall, then
from .wording import plural

SHOWN_CLUSTERS = 8


def wants_text(hardening: Hardening) -> bool:
    """Whether a client may send a text now."""
    unproven = hardening.state == "decided" and hardening.brief and hardening.outcome != "improved"
    return hardening.strategy == "submit" and (hardening.state in ("open", "running") or bool(unproven))


def shown_brief(hardening: Hardening, candidate: Candidate | None, *, asked: bool) -> Brief | None:
    """The brief that a reply shows: where it was `asked` for, there is no text yet, or this text changed it."""
    standing = standing_candidate(hardening)
    changed = candidate is None or (standing is not None and standing.id == candidate.id)
    return hardening.brief if wants_text(hardening) and (asked or changed) else None


def brief_row(brief: Brief) -> dict[str, Any]:
    """What a writer needs of it; of many clusters the worst, and how many there are."""
    fields = {"id", "check", "severity", "cause", "see", "rule", "tool", "simulations"}
    clusters = [one.model_dump(include=fields) for one in brief.clusters[:SHOWN_CLUSTERS]]
    row: dict[str, Any] = {
        "base": brief.base,
        "text": brief.text,
        "clusters": [
            {name: value for name, value in one.items() if value not in ("", {})} for one in clusters
        ],
        "clusters_total": len(brief.clusters) if len(brief.clusters) > SHOWN_CLUSTERS else None,
        "rejected": [one.model_dump() for one in brief.rejected[-SHOWN_CLUSTERS:]],
        "tools": brief.tools,
        "guards": brief.guards,
        "max_added": brief.max_added,
        "locked": brief.locked,
        "target": brief.target if brief.target != "instructions" else "",
        "descriptions": brief.descriptions,
        "hint": brief.hint,
    }
    return {name: value for name, value in row.items() if value not in ("", [], {}, None)}


def open_summary(hardening: Hardening) -> str:
    """What is to be done with a hardening that waits for a text."""
    brief = hardening.brief
    if brief is None:
        return f"{hardening.id} is {hardening.state}, round {hardening.round}."
    count = len(brief.clusters)
    shown = f" ({SHOWN_CLUSTERS} shown)" if count > SHOWN_CLUSTERS else ""
    return (
        f"{hardening.id} is open: write one small general rule a cluster, put all of them into ONE text and submit "
        f"it: each proof is a look, {look_terms(hardening.looks)}. {plural(count, 'failure cluster')}{shown}; at most "
        f"{plural(brief.max_added, 'character')} may be added."
    )


def write_calls(hardening: Hardening, candidate: Candidate | None, *, asked: bool) -> list[NextCall]:
    """See a failure, the one that this candidate made before those of the base; then write."""
    if candidate is not None and candidate.state == "refused" and not asked:
        return [submit_call(hardening), brief_call(hardening)]
    clusters = hardening.brief.clusters if hardening.brief else []
    calls = _broken_calls(candidate) if candidate and candidate.outcome == "regressed" else []
    if not calls and clusters and clusters[0].see:
        calls = [then("get_item", "see the failure", kind="conversation", id=clusters[0].see, view="turns")]
    calls.append(submit_call(hardening))
    if len(clusters) > SHOWN_CLUSTERS:
        why = f"all {len(clusters)} clusters"
        calls.append(then("get_item", why, kind="hardening", id=hardening.id, view="clusters"))
    elif shown_brief(hardening, candidate, asked=asked) is None:
        calls.append(brief_call(hardening))
    return calls


def submit_call(hardening: Hardening) -> NextCall:
    """Sends a text with a rule for every cluster."""
    standing = standing_candidate(hardening)
    of = f"; edits are of the text of {standing.id}, rules you kept stand in it" if standing else ""
    why = (
        "with `edits` [{op: add, anchor: end, text}], a rule for every cluster in ONE text: each proof is a look, "
        f"{look_terms(hardening.looks)}{of}"
    )
    return then("submit_candidate", why, hardening=hardening.id)


def brief_call(hardening: Hardening) -> NextCall:
    """Gives the brief again."""
    return then("harden_agent", "the brief again", environment=hardening.environment, hardening=hardening.id)


def broken_example(evidence: Evidence) -> str:
    """A train conversation of the candidate in which a check that it broke failed."""
    return next((one.conversation for one in broken_on_train(evidence) if one.conversation), "")


def broken_on_train(evidence: Evidence | None) -> list[CheckRegression]:
    """What a text broke that its writer may see."""
    regressions = evidence.regressions if evidence else []
    return [one for one in regressions if one.split == "train" and one.confirmed]


def _broken_calls(candidate: Candidate) -> list[NextCall]:
    """What this text broke: a train conversation, or which scenarios got worse where all of it is held out."""
    example = broken_example(candidate.evidence) if candidate.evidence else ""
    if example:
        return [then("get_item", "see what it broke", kind="conversation", id=example, view="turns")]
    why = "which scenarios it made worse"
    return [then("get_item", why, kind="candidate", id=candidate.id, view="checks")]

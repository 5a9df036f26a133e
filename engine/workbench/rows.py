"""Rows of lists: what one line shows of a stored thing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..records.hardening import Candidate
from ..records.job import Job

Row = dict[str, Any]
ClusterOf = Callable[[str, str], str | None]
"""The cluster that a failed check of a simulation is in."""


def persona_row(row: Any) -> Row:
    persona = row["persona"]
    fields = {
        "id": row["id"],
        "profile": cut(persona.get("profile", ""), 120),
        "style": cut(persona.get("style", ""), 80),
    }
    return filled_row({**fields, "traits": persona.get("traits"), "source": row["source"]})


def scenario_row(row: Any) -> Row:
    """A scenario; for a held-out one without what it is about."""
    scenario = row["scenario"]
    fields = {
        "id": row["id"],
        "goal": cut(scenario["goal"], 160) if row["split"] == "train" else "",
        "split": row["split"],
        "solution": row["solution"]["status"],
    }
    return filled_row(
        {**fields, "tags": scenario.get("tags"), "spent": row["spent"], "source": row["source"]}
    )


def simulation_row(row: Any) -> Row:
    return filled_row(
        {
            "id": row["id"],
            "scenario": row["scenario"],
            "persona": row["persona"],
            "user_input": cut(row["user_input"], 100),
        }
    )


def run_row(row: Any) -> Row:
    totals = row["totals"]
    counted = totals["passed"] + totals["failed"] + totals["inconclusive"]
    fields = {
        "id": row["id"],
        "environment": row["environment"],
        "name": row["name"],
        "instructions": row["instructions"],
        "state": row["state"],
    }
    left_out = {name: totals[name] for name in ("error", "invalid")}
    rated = {"passed": totals["passed"], "counted": counted, "rate": totals["rate"]} if counted else {}
    made = {"series": row["series"], "round": row["round"], "created_at": row["created_at"]}
    return {**filled_row({**fields, **left_out, **made}), **rated}


def conversation_row(row: Any, run: str, clusters: ClusterOf) -> Row:
    """A conversation; for a held-out one its verdict and how it ended, not why."""
    place = f"{run}/{row['id']}"
    fields: Row = {"id": place, "verdict": row["verdict"], "end": row["end"], "split": row["split"]}
    fields["error"] = row.get("error")
    if row["split"] == "held_out":
        return filled_row(fields)
    fields["turns"] = row["turns"]
    if row["failed_checks"]:
        fields["failed_checks"] = row["failed_checks"]
        fields["cluster"] = clusters(row["failed_checks"][0], row["simulation"])
        fields["see"] = f"{place}@{row['see_turn']}" if row["see_turn"] else place
    return filled_row(fields)


def hardening_row(row: Any) -> Row:
    fields = {
        "id": row["id"],
        "environment": row["environment"],
        "name": row.get("name", ""),
        "state": row["state"],
        "outcome": row["outcome"],
    }
    return filled_row(
        {
            **fields,
            "base": row["base"],
            "candidate": row["candidate"],
            "marks": row["marks"],
            "created_at": row["created_at"],
        }
    )


def whole_hardening_row(row: Any) -> Row:
    """Everything of a hardening that may be shown."""
    candidates = [{**c, "evidence": evidence_row(c["evidence"])} for c in row["candidates"]]
    return {**row, "evidence": evidence_row(row["evidence"]), "candidates": candidates}


def evidence_row(evidence: Any) -> Any:
    """Evidence; which checks of held-out scenarios got worse is not shown, only how many."""
    if not evidence:
        return evidence
    return {**evidence, "regressions": [r for r in evidence["regressions"] if r["split"] == "train"]}


def job_row(job: Job) -> Row:
    units = job.units
    row = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "total": units.total,
        "completed": units.completed,
        "failed": units.failed,
    }
    if job.active:
        left = {"running": units.running, "pending": units.pending, "eta_s": job.eta_s(datetime.now(UTC))}
        row |= {name: value for name, value in left.items() if value is not None}
    if job.waiting_for:
        row["waiting_for"] = job.waiting_for
    return {**row, "created_at": job.created_at}


def candidate_row(candidate: Candidate) -> Row:
    return filled_row(
        {
            "id": candidate.id,
            "state": candidate.state,
            "outcome": candidate.outcome,
            "by": candidate.by,
            "base": candidate.base,
            "chars": list(candidate.chars),
        }
    )


def cut(text: str, most: int) -> str:
    """The text, or its beginning and the number of characters left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def filled_row(row: Row) -> Row:
    """The row without empty fields."""
    return {k: v for k, v in row.items() if v not in (None, "", [], False)}

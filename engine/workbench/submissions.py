"""Submissions: a client's own text as a candidate of a hardening, added once however often its job begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidArgument
from ..harden import Hardener, proven_before, submitted_text
from ..records.authored import load
from ..records.hardening import Candidate, Edit, Hardening
from ..records.job import Job
from .archive import Archive
from .hardening_locks import HardeningLocks
from .plain import check_plain
from .proving import Proving

MOST_WORDS = 2000


class Submissions:
    """Checks what a client submits, and adds it to its hardening."""

    def __init__(self, archive: Archive, locks: HardeningLocks, proving: Proving) -> None:
        self._archive = archive
        self._locks = locks
        self._proving = proving

    def earlier(self, record: Hardening, spec: Mapping[str, Any]) -> tuple[Hardening, Candidate] | None:
        """The candidate with the same text and a standing outcome, in this hardening or an equivalent one.

        Run in a worker thread. Errors in the text or the hardening are left to `put`.
        """
        if record.state not in ("open", "decided"):
            return None
        try:
            text = submitted_text(
                record, spec["instructions"], [load(Edit, e, "edits") for e in spec["edits"]]
            )
        except InvalidArgument:
            return None
        others = [
            h for h in self._archive.hardenings.where(environment=record.environment) if h.id != record.id
        ]
        for one in (record, *reversed(others)):
            found = proven_before(one, text)
            if found is not None and (one.id == record.id or self._proving.alike(one, record)):
                return one, found
        return None

    def put(self, job: Job) -> Candidate:
        """The candidate of a submission's job, created if there is none yet. Run in a worker thread."""
        record = self._archive.hardenings.get(job.spec["hardening"], "hardening")
        hardener = self._proving.guarded(record)
        new: list[bool] = []

        def add(stored: Hardening) -> Hardening:
            self._locks.may_submit(stored, job.id)
            new.append(submitted(stored, job.id) is None)
            return self._with(stored, hardener, job)

        stored = self._archive.hardenings.change(record.id, add)
        candidate = submitted(stored, job.id)
        assert candidate is not None
        self._archive.store.jobs.table.update({"candidate": candidate.id}, doc_ids=[job.id])
        if new[-1]:
            self._archive.store.audit("submit", "candidate", candidate.id)
        return candidate

    def _with(self, stored: Hardening, hardener: Hardener, job: Job) -> Hardening:
        known = submitted(stored, job.id)
        if known is None:
            spec = job.spec
            known = hardener.submit(
                stored,
                instructions=spec["instructions"],
                edits=[load(Edit, e, "edits") for e in spec["edits"]],
                why=spec["why"],
                cluster=spec["cluster"],
            )
            known.job = job.id
        if known.outcome is None and known.state in ("proposed", "kept"):
            stored.state = "running"
        return stored


def submission(
    hardening: str, instructions: str, edits: Sequence[Any], why: str, cluster: str
) -> dict[str, Any]:
    """What a submission's job needs, or an error."""
    for name, value in (("why", why), ("cluster", cluster)):
        if len(value) > MOST_WORDS:
            raise InvalidArgument(
                f"`{name}` has {len(value):,} characters.", where=name, allowed=f"up to {MOST_WORDS:,}"
            )
    check_plain(instructions, "instructions")
    check_plain(list(edits), "edits")
    if instructions and not instructions.strip() and not edits:
        raise InvalidArgument(
            "The text is empty.", where="instructions", allowed="the whole new text, or edits"
        )
    return {
        "op": "submit",
        "hardening": hardening,
        "instructions": instructions,
        "edits": [load(Edit, e, f"edits[{k}]").model_dump() for k, e in enumerate(edits)],
        "why": why,
        "cluster": cluster,
    }


def submitted(hardening: Hardening, job: str) -> Candidate | None:
    """The candidate that a job added, or None."""
    return next((c for c in hardening.candidates if c.job == job), None)

"""Decisions on candidates: promote into the environment and its file, reject, or put an older version back in force."""

from __future__ import annotations

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, NotFound, nearest
from ..harden import check_promotion
from ..records.environment import EnvironmentRecord, InstructionsRecord
from ..records.hardening import Candidate, Hardening
from .archive import Archive, utc_now
from .instructions import Instructions
from .results import HardeningReport

DECISIONS = ("promote", "reject", "roll_back")


class Decisions:
    """Carries out decisions. Each can be repeated: the answer is the same."""

    def __init__(self, archive: Archive, instructions: Instructions) -> None:
        self._archive = archive
        self._instructions = instructions

    def decide(self, candidate: str, decision: str, reason: str, override: bool) -> HardeningReport:
        """Promote or reject a candidate (`hard-1/c2`), close a hardening (`hard-1`), or return to `support@1`."""
        if decision not in DECISIONS:
            raise InvalidArgument(
                f"`{decision[:40]}` is no decision.", where="decision", allowed="promote, reject, roll_back"
            )
        if len(reason) > 2000:
            raise InvalidArgument(
                f"`reason` has {len(reason):,} characters.", where="reason", allowed="up to 2,000"
            )
        if decision == "roll_back":
            return self._roll_back(candidate)
        record = self._archive.hardenings.get(candidate.partition("/")[0], "candidate")
        found = record.find(candidate)
        if found is None and (decision == "promote" or candidate != record.id):
            raise self._missing(record, candidate)
        if decision == "reject":
            return self._reject(record, found, reason)
        assert found is not None
        return self._promote(record, found, reason, override)

    def _promote(
        self, record: Hardening, candidate: Candidate, reason: str, override: bool
    ) -> HardeningReport:
        """File first, then in force, the record last: while `became` is empty the same call completes it.

        The file may be slow, so it is written before the record is locked. Under the lock, where no submission can
        interfere, the permission is checked again; if it is gone, the file gets the text in force.
        """
        owner = self._archive.environments.get(record.environment)
        version, current = self._allowed(record, candidate, reason, override)
        placed = version is not None and version.id == current.id
        wrote = "" if placed else self._instructions.write_file(owner, candidate.text)
        made: list[InstructionsRecord] = []

        def promote(stored: Hardening) -> Hardening:
            found = stored.find(candidate.id)
            assert found is not None
            version, current = self._allowed(stored, found, reason, override)
            made.append(self._put_in_force(stored, found, version, current))
            return stored if found.became else _promoted(stored, made[-1], reason)

        try:
            record = self._archive.hardenings.change(record.id, promote)
        except CasehardenError:
            if wrote:
                self._instructions.restore_file(owner.id, candidate.text)
            raise
        return HardeningReport(
            record, candidate.id, became=made[-1], wrote_file=wrote, warnings=list(record.warnings)
        )

    def _allowed(
        self, record: Hardening, candidate: Candidate, reason: str, override: bool
    ) -> tuple[InstructionsRecord | None, InstructionsRecord]:
        """The version that the candidate became, if any, and the one in force; Conflict if it may not be promoted."""
        owner = self._archive.environments.get(record.environment)
        current = self._instructions.current(owner)
        version = self._instructions.of_candidate(owner.id, candidate.id)
        if version is None:
            check_promotion(record, candidate.id, override=override, reason=reason)
            if not self._is_taken_in(record, candidate, current):
                _base_stands(record, candidate, owner, current)
        elif version.id != current.id and (
            candidate.became
            or not (version.base == current.id or self._is_taken_in(record, candidate, current))
        ):
            back = {"candidate": version.id, "decision": "roll_back"}
            raise Conflict(
                f"{candidate.id} became {version.id}, and {current.id} is in force now.",
                where="candidate",
                allowed=f"roll_back to {version.id} puts it in force again",
                next=[NextCall("decide_candidate", back)],
            )
        return version, current

    def _is_taken_in(self, record: Hardening, candidate: Candidate, current: InstructionsRecord) -> bool:
        """Whether the text in force is the candidate's own, edited into the base that it was proven against.

        A promotion that was killed leaves it in the file, and whoever reads that first makes it a version.
        """
        own, older = candidate.text.rstrip("\n"), current
        while older.text.rstrip("\n") == own:
            before = self._archive.instructions.find(older.base)
            if before is None or before.number >= older.number:
                return False
            older = before
        return older is not current and older.text == record.base_text

    def _put_in_force(
        self,
        record: Hardening,
        candidate: Candidate,
        version: InstructionsRecord | None,
        current: InstructionsRecord,
    ) -> InstructionsRecord:
        """The version that the candidate becomes."""
        if version is None:
            return self._append(record, candidate)
        if version.id != current.id:
            self._instructions.put_in_force(record.environment, version.number)
            self._archive.store.audit("promote", "instructions", version.id)
        return version

    def _append(self, record: Hardening, candidate: Candidate) -> InstructionsRecord:
        marks = list(record.marks)
        if candidate.outcome != "improved" and "overridden" not in marks:
            marks.append("overridden")
        return self._instructions.append(
            record.environment,
            candidate.text,
            "promoted",
            candidate=candidate.id,
            outcome=candidate.outcome or "",
            marks=marks,
        )

    def _reject(self, record: Hardening, candidate: Candidate | None, reason: str) -> HardeningReport:
        rejected = candidate.id if candidate else record.id
        record = self._archive.hardenings.change(
            record.id, lambda stored: _rejected(stored, rejected, reason)
        )
        self._archive.store.audit("reject", "candidate", rejected, reason=reason[:500])
        return HardeningReport(record, rejected if candidate else "", warnings=list(record.warnings))

    def _roll_back(self, id: str) -> HardeningReport:
        version = self._archive.instructions.get(id, "candidate")
        owner = self._archive.environments.get(version.environment)
        before = self._instructions.current(owner)
        wrote = self._instructions.write_file(owner, version.text)
        if owner.instructions_version != version.number:
            self._instructions.put_in_force(owner.id, version.number)
            self._archive.store.audit("roll_back", "instructions", version.id)
        self._finish(version)
        hardenings = self._archive.hardenings.where(environment=owner.id)
        last = next((h for h in reversed(hardenings) if h.state == "promoted"), None)
        if last is None:
            last = Hardening(
                id="", environment=owner.id, base=version.id, base_text=version.text, strategy="submit"
            )
        return HardeningReport(last, last.candidate, became=version, wrote_file=wrote, before=before)

    def _finish(self, version: InstructionsRecord) -> None:
        """A promotion interrupted after its version was made: update its hardening."""
        record = self._archive.hardenings.find(version.candidate.partition("/")[0])
        found = record.find(version.candidate) if record else None
        if record is not None and found is not None and not found.became:
            self._archive.hardenings.change(record.id, lambda stored: _promoted(stored, version, ""))

    def _missing(self, record: Hardening, candidate: str) -> NotFound:
        known = [c.id for c in record.candidates]
        near = nearest(candidate, known)
        hint = f"; nearest `{near}`" if near else ""
        return NotFound(
            f"No candidate `{candidate[:80]}`{hint}.",
            where="candidate",
            allowed=known or "none yet",
            next=[NextCall("get_item", {"kind": "hardening", "id": record.id})],
        )


def _promoted(record: Hardening, version: InstructionsRecord, reason: str) -> Hardening:
    """The hardening once its candidate is the version in force."""
    candidate = record.find(version.candidate)
    assert candidate is not None
    candidate.became, candidate.reason = version.id, reason or candidate.reason
    record.state, record.candidate = "promoted", candidate.id
    if "overridden" in version.marks and "overridden" not in record.marks:
        record.marks.append("overridden")
    record.reason = reason or record.reason
    record.ended_at = record.ended_at or utc_now()
    return record


def _rejected(record: Hardening, what: str, reason: str) -> Hardening:
    """The hardening closed, and the candidate (`hard-1/c2`) or all of them (`hard-1`) rejected for good."""
    candidate = record.find(what)
    if record.state == "running":
        raise Conflict(
            f"{record.id} is still running.",
            where="candidate",
            next=[
                NextCall(
                    "list_items",
                    {"kind": "job", "environment": record.environment, "where": {"state": "running"}},
                )
            ],
        )
    if record.state == "promoted":
        promoted = record.find(record.candidate)
        if candidate is None or candidate is promoted:
            args = {"candidate": record.base, "decision": "roll_back"}
            became = promoted.became if promoted else record.candidate
            raise Conflict(
                f"{record.candidate} is {became} already.",
                where="candidate",
                next=[NextCall("decide_candidate", args)],
            )
    else:
        record.state, record.reason = "rejected", reason
    for one in [candidate] if candidate else record.candidates:
        if one.state != "refused":
            one.state, one.reason = "rejected", reason or one.reason
    record.ended_at = record.ended_at or utc_now()
    return record


def _base_stands(
    record: Hardening, candidate: Candidate, owner: EnvironmentRecord, current: InstructionsRecord
) -> None:
    """Conflict if the environment has moved on from the text that the candidate was proven against."""
    if current.text == record.base_text:
        return
    raise Conflict(
        f"{owner.id} is at {current.id} now; {candidate.id} was proven against {record.base}.",
        where="candidate",
        allowed="a hardening of the current version",
        next=[NextCall("harden_agent", {"environment": owner.id})],
    )

"""Who has looked at held-out scenarios: proofs, and clients that read one. An append-only ledger.

It outlives hardenings and scenarios: deleting one and making it again gives no fresh look. Only when an environment is
deleted is its part of the ledger deleted too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..harden import count_looks
from ..ids import split_nested
from ..records.hardening import Candidate, Hardening
from .archive import Archive, utc_now


class LookLedger:
    """The looks at the held-out scenarios of all environments, and which scenarios are spent."""

    def __init__(self, archive: Archive) -> None:
        self._looks = archive.store.table("looks", ("environment",))
        self._spent = archive.store.table("spent", ("environment",))

    def take(self, hardening: Hardening, candidate: Candidate, scenarios: Sequence[str]) -> int:
        """Note that a candidate is about to be proven on these scenarios; the number of the look, from 1.

        A look counts the earlier ones that read any of the same scenarios. A resumed proof, the same text under the
        same candidate, keeps its number.
        """
        id = f"{candidate.id}@{candidate.sha256[:16]}"
        with self._looks.transaction() as change:
            known = change.get(id)
            if known is not None:
                return int(known["look"])
            rows = self._looks.oldest({"environment": hardening.environment})
            look = 1 + count_looks(scenarios, (row["scenarios"] for _, row in rows))
            row = {
                "environment": hardening.environment,
                "hardening": hardening.id,
                "candidate": candidate.id,
                "look": look,
                "scenarios": list(scenarios),
                "at": utc_now(),
            }
            change.put(id, row)
        return look

    def count(self, environment: str, scenarios: Collection[str], but: str = "") -> int:
        """How many looks any of these scenarios had, excluding those of the hardening `but`."""
        rows = self._looks.walk({"environment": environment})
        return count_looks(scenarios, [row["scenarios"] for row in rows if row["hardening"] != but])

    def spend(self, scenario: str, job: str = "") -> bool:
        """Note that a client has read a scenario (`support/refund`); whether that is new.

        `job`: the one whose questions showed it to the client, which did not look of its own accord.
        """
        row = {"environment": split_nested(scenario)[0], "at": utc_now(), "job": job}
        with self._spent.transaction() as change:
            known = change.get(scenario)
            if known is not None and known.get("job", "") in ("", job):
                return False
            change.put(scenario, row if known is None else {**known, "job": ""})
        return known is None

    def is_spent(self, scenario: str, but: str = "") -> bool:
        """Whether a client has read a scenario of that id, including an earlier one under the same id.

        `but`: what only this job has shown does not count.
        """
        row = self._spent.find(scenario)
        return row is not None and (not but or row.get("job", "") != but)

    def forget(self, environment: str) -> None:
        """Delete the part of a deleted environment. Run in a worker thread."""
        for table in (self._looks, self._spent):
            table.delete([str(row.doc_id) for row in table.walk({"environment": environment})])

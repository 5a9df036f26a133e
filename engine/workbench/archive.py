"""Typed access to the store: one shelf per kind of record, worlds by hash, trials by run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from ..errors import InvalidArgument, NextCall, NotFound, nearest
from ..ids import Place
from ..net import Redactor
from ..plural import be
from ..records.conversation import Conversation
from ..records.environment import EnvironmentRecord, InstructionsRecord, knowledge_hash
from ..records.hardening import Hardening
from ..records.persona import PersonaRecord
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import ScenarioRecord
from ..records.session import SessionRecord
from ..records.simulation import SimulationRecord
from ..store import Page, Pointer, Store, Table
from .blobs import Blobs
from .kept_calls import forget_run_calls

R = TypeVar("R", bound=BaseModel)
SHOWN = 5
"""How many existing ids an error names."""


def utc_now() -> str:
    """The current time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Shelf(Generic[R]):
    """The records of one kind in one table."""

    def __init__(
        self, store: Store, table: Table, model: type[R], kind: str, indexes: Sequence[str] = ()
    ) -> None:
        table.declare(indexes)
        self._store = store
        self.table = table
        self.kind = kind
        self._model = model

    def kept(self, record: R) -> dict[str, Any]:
        """The table row of a record."""
        return record.model_dump(mode="json", by_alias=True)

    def read(self, row: Mapping[str, Any]) -> R:
        """The record in a table row."""
        return self._model.model_validate(row)

    def find(self, id: str) -> R | None:
        row = self.table.find(id)
        return None if row is None else self.read(row)

    def get(self, id: str, where: str = "id") -> R:
        """The record; NotFound names the nearest id and how to list them."""
        found = self.find(id)
        if found is None:
            raise self.missing(id, where)
        return found

    def missing(self, id: str, where: str) -> NotFound:
        ids = every = list(self.table.journal.documents)
        args = {"kind": self.kind}
        nested = self.kind in ("persona", "scenario", "simulation")
        if "/" in id and nested:
            owner = args["environment"] = id.partition("/")[0]
            ids = [known for known in every if known.startswith(f"{owner}/")]
        near = nearest(id, ids or every)
        if near is None and nested:
            slugs = {known.rpartition("/")[2]: known for known in ids}
            near = slugs.get(nearest(id.rpartition("/")[2], slugs) or "")
        hint = (
            f"; nearest `{near}`"
            if near
            else f"; there {be(len(ids))} {len(ids):,}"
            if ids
            else "; there are none"
        )
        first = [near] if near else []
        there = [*first, *(known for known in reversed(ids) if known != near)]
        more = [f"and {len(there) - SHOWN:,} more"] if len(there) > SHOWN else []
        return NotFound(
            f"No {self.kind} `{id[:120]}`{hint}.",
            where=where,
            allowed=[*there[:SHOWN], *more],
            next=[NextCall("list_items", args)],
        )

    def put(self, id: str, record: R) -> None:
        self.table.put(id, self.kept(record))

    def put_many(self, records: Mapping[str, R]) -> None:
        if records:
            self.table.put_many({id: self.kept(record) for id, record in records.items()})

    def add(self, id: str, record: R) -> bool:
        """Store the record unless the id is taken; return whether it was stored."""
        return self.table.add(id, self.kept(record))

    def change(self, id: str, how: Callable[[R], R]) -> R:
        """Read, change and write, with no other writer in between."""

        def apply(document: dict[str, Any]) -> dict[str, Any]:
            return self.kept(how(self.read(document)))

        return self.read(self.table.change(id, apply, self.kind))

    def where(self, **fields: Any) -> list[R]:
        """All matching records, oldest first."""
        return [self.read(row) for row in self.table.walk(fields, oldest_first=True)]

    def count(self, **fields: Any) -> int:
        return self.table.tally(fields)

    def page(
        self,
        where: Mapping[str, Any],
        limit: int,
        cursor: str,
        match: Callable[[Any], bool] | None,
        name: str,
        show: Callable[[Any], Any],
    ) -> Page[Any]:
        """A page of documents, each as `show` presents it."""
        return self.table.page(
            where, limit, cursor or None, match, name, show=lambda document, _: show(document)
        )

    def audit(self, action: str, id: str) -> None:
        """Add a line to the audit log."""
        self._store.audit(action, self.kind, id)

    def delete(self, ids: Iterable[str]) -> list[str]:
        return self.table.delete(ids)


class TrialShelf(Shelf[TrialRecord]):
    """The trials of a run. Verdicts are stored with the conversations, to keep the rows that lists walk small."""

    def __init__(self, store: Store, run: str, table_name: str) -> None:
        fields = ["simulation", "scenario", "persona", "split", "verdict", "failed_checks", "tags"]
        super().__init__(store, store.run_table(run, table_name), TrialRecord, "conversation", fields)
        self._run = run

    def kept(self, record: TrialRecord) -> dict[str, Any]:
        """The row, its verdict stored apart unless it already was; earlier ones stay until the trial is deleted."""
        row = record.model_dump(mode="json", by_alias=True)
        verdict, pointer = row.pop("graded"), row["pointer"]
        known = pointer.get("graded", [])
        if not known or self._store.segments.read(known[-1]) != verdict:
            pointer["graded"] = [*known, str(self._store.segments.append(self._run, verdict))]
        return row

    def read(self, row: Mapping[str, Any]) -> TrialRecord:
        return super().read(self.whole(row))

    def whole(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with its newest verdict."""
        if "graded" in row:
            return dict(row)
        return {**row, "graded": self._store.segments.read(row["pointer"]["graded"][-1])}

    def erase(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Overwrite the conversations and verdicts of these rows with blanks, so that no byte of them is left."""
        for row in rows:
            pointer = row["pointer"]
            for place in (pointer["at"], *pointer.get("graded", ())):
                self._store.segments.erase(str(place))


class Archive:
    """Everything stored, by kind. `redactor`: hides secrets in what comes in and goes out."""

    def __init__(self, store: Store, redactor: Redactor | None = None) -> None:
        self.store = store
        self.redactor = redactor or Redactor()
        self.environments = Shelf(store, store.table("environments"), EnvironmentRecord, "environment")
        self.instructions = Shelf(
            store, store.table("instructions"), InstructionsRecord, "instructions", ["environment"]
        )
        self.personas = Shelf(store, store.table("personas"), PersonaRecord, "persona", ["environment"])
        self.scenarios = Shelf(
            store, store.table("scenarios"), ScenarioRecord, "scenario", ["environment", "split"]
        )
        self.simulations = Shelf(
            store,
            store.table("simulations"),
            SimulationRecord,
            "simulation",
            ["environment", "scenario", "persona"],
        )
        self.runs = Shelf(
            store,
            store.table("runs"),
            RunRecord,
            "run",
            ["environment", "series", "state", "purpose", "hardening", "job"],
        )
        self.hardenings = Shelf(
            store, store.table("hardenings"), Hardening, "hardening", ["environment", "state", "held_out_set"]
        )
        self.sessions = Shelf(
            store, store.table("sessions"), SessionRecord, "session", ["environment", "state", "role"]
        )
        self.worlds = Blobs(store.home / "worlds", "world")
        self.recordings = Blobs(store.home / "recordings", "recording")
        self.knowledge = Blobs(store.home / "knowledge", "knowledge base")

    def trials(self, run: str, table_name: str = "trials") -> TrialShelf:
        """The trials of a run; table `again` holds second tries of those that ended in error or invalid."""
        return TrialShelf(self.store, run, table_name)

    def keep_conversation(self, run: str, document: Mapping[str, Any]) -> Pointer:
        """Store a conversation as JSON."""
        return self.store.segments.append(run, document)

    def conversation(self, place: Place, where: str = "id") -> tuple[TrialRecord, Conversation]:
        """A stored conversation and the record of its trial."""
        self.runs.get(place.run, where)
        id = f"{place.simulation}/{place.trial}"
        trials = self.trials(place.run)
        trial = trials.find(id)
        if trial is None:
            error = trials.missing(id, where)
            args = {"kind": "conversation", "where": {"run": place.run}}
            raise NotFound(error.what, where=where, next=[NextCall("list_items", args)])
        return trial, self.talk(trial)

    def talk(self, trial: TrialRecord) -> Conversation:
        """The conversation of a trial."""
        return Conversation.model_validate(self.store.segments.read(str(trial.pointer["at"])))

    def run(self, id: str, where: str) -> RunRecord:
        """A run that does not belong to a session."""
        found = self.runs.get(id, where)
        if found.purpose == "session":
            calls = [NextCall("list_items", {"kind": "run", "environment": found.environment})]
            raise InvalidArgument(f"{id} is a session.", where=where, allowed="a run", next=calls)
        return found

    def forget_run(self, run: str) -> None:
        """Delete a run's folder with all its conversations."""
        self.store.delete_run(run)
        forget_run_calls(self.store, run)

    def forget_unused(
        self, worlds: Iterable[str] = (), recordings: Iterable[str] = (), knowledge: Iterable[str] = ()
    ) -> None:
        """Delete those of these worlds, recordings and knowledge bases that nothing in the store uses any more."""
        uses: set[tuple[str, str, str]] = set()
        for shelf in (self.environments, self.runs, self.hardenings):
            uses.update(shelf.table.walk(show=_uses))
        kinds = ((self.worlds, worlds), (self.recordings, recordings), (self.knowledge, knowledge))
        for at, (blobs, hashes) in enumerate(kinds):
            for hash in set(hashes) - {used[at] for used in uses} - {""}:
                blobs.forget(hash)

    def tidy(self) -> None:
        """Delete what killed processes left half written. Run in a worker thread."""
        for blobs in (self.worlds, self.recordings, self.knowledge):
            blobs.tidy()


def _uses(document: dict[str, Any], id: str) -> tuple[str, str, str]:
    """(world, recording, knowledge base) of an environment, a run or a hardening, "" for none."""
    made_of: dict[str, Any] = document.get("snapshot") or document
    agent: dict[str, Any] = made_of.get("agent") or {}
    settings: dict[str, Any] = document.get("settings") or {}
    options: dict[str, Any] = document.get("options") or {}
    knowledge = knowledge_hash(settings.get("knowledge_base")) or str(options.get("knowledge") or "")
    return str(made_of.get("world") or ""), str(agent.get("recordings") or ""), knowledge

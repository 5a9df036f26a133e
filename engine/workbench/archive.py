"""Typed access to what is stored: a shelf a kind of record, worlds by their hash, trials by their run."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from ..errors import NextCall, NotFound, StorageError, nearest
from ..ids import Place
from ..records.conversation import Conversation
from ..records.environment import EnvironmentRecord, InstructionsRecord
from ..records.hardening import Hardening
from ..records.persona import PersonaRecord
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import ScenarioRecord
from ..records.simulation import SimulationRecord
from ..store import Page, Pointer, Row, Store, Table

R = TypeVar("R", bound=BaseModel)


def utc_now() -> str:
    """The time now, UTC ISO 8601, to the millisecond."""
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

    def find(self, id: str) -> R | None:
        row = self.table.find(id)
        return None if row is None else self._model.model_validate(row)

    def get(self, id: str, where: str = "id") -> R:
        """The record; NotFound names the nearest id and how to list them."""
        found = self.find(id)
        if found is None:
            raise self.missing(id, where)
        return found

    def missing(self, id: str, where: str) -> NotFound:
        ids = list(self.table.journal.documents)
        near = nearest(id, ids) or nearest(id.rpartition("/")[2], (k.rpartition("/")[2] for k in ids))
        hint = f"; nearest `{near}`" if near else f"; there are {len(ids)}" if ids else "; there are none"
        args = {"kind": self.kind}
        if "/" in id and self.kind in ("persona", "scenario", "simulation"):
            args["environment"] = id.partition("/")[0]
        return NotFound(
            f"No {self.kind} `{id[:120]}`{hint}.", where=where, next=[NextCall("list_items", args)]
        )

    def put(self, id: str, record: R) -> None:
        self.table.put(id, _document(record))

    def put_many(self, records: Mapping[str, R]) -> None:
        if records:
            self.table.put_many({id: _document(record) for id, record in records.items()})

    def add(self, id: str, record: R) -> bool:
        """Store it unless the id is taken; whether it was stored."""
        return self.table.add(id, _document(record))

    def change(self, id: str, how: Callable[[R], R]) -> R:
        """Read, change and write with no other writer between."""

        def apply(document: dict[str, Any]) -> dict[str, Any]:
            return _document(how(self._model.model_validate(document)))

        return self._model.model_validate(self.table.change(id, apply, self.kind))

    def where(self, **fields: Any) -> list[R]:
        """All that match, oldest first."""
        return [self._model.model_validate(row) for row in self.table.walk(fields, oldest_first=True)]

    def count(self, **fields: Any) -> int:
        return self.table.tally(fields)

    def page(
        self,
        where: Mapping[str, Any],
        limit: int,
        cursor: str,
        match: Callable[[Any], bool] | None,
        name: str,
    ) -> Page[Row]:
        return self.table.page(where, limit, cursor or None, match, name)

    def audit(self, action: str, id: str) -> None:
        """A line in the audit log."""
        self._store.audit(action, self.kind, id)

    def delete(self, ids: Iterable[str]) -> list[str]:
        return self.table.delete(ids)


class Archive:
    """Everything stored, by kind."""

    def __init__(self, store: Store) -> None:
        self.store = store
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
        self._worlds = store.home / "worlds"

    def trials(self, run: str, table_name: str = "trials") -> Shelf[TrialRecord]:
        """The trials of a run; `again` holds second tries of those that ended in error or invalid."""
        table = self.store.run_table(run, table_name)
        return Shelf(
            self.store,
            table,
            TrialRecord,
            "conversation",
            ["simulation", "scenario", "persona", "verdict", "failed_checks", "tags"],
        )

    def keep_conversation(self, run: str, document: Mapping[str, Any]) -> Pointer:
        """Store a conversation as JSON."""
        return self.store.segments.append(run, document)

    def conversation(self, place: Place, where: str = "id") -> tuple[TrialRecord, Conversation]:
        """A stored conversation and its trial's record."""
        self.runs.get(place.run, where)
        id = f"{place.simulation}/{place.trial}"
        trials = self.trials(place.run)
        trial = trials.find(id)
        if trial is None:
            error = trials.missing(id, where)
            args = {"kind": "conversation", "where": {"run": place.run}}
            raise NotFound(error.what, where=where, next=[NextCall("list_items", args)])
        return trial, Conversation.model_validate(self.store.segments.read(str(trial.pointer["at"])))

    def keep_world(self, hash: str, document: Mapping[str, Any]) -> None:
        """Store a world's document under its hash; a second time nothing is written."""
        file = self._worlds / f"{hash}.json"
        if file.exists():
            return
        try:
            self._worlds.mkdir(mode=0o700, exist_ok=True)
            draft = file.with_suffix(f".{secrets.token_hex(8)}.tmp")
            with open(
                os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
            ) as out:
                json.dump(document, out, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
            os.replace(draft, file)
        except OSError as error:
            raise StorageError(f"The world cannot be stored: {error.strerror}.", where=str(file)) from error

    def world(self, hash: str) -> dict[str, Any]:
        """The document of a world."""
        try:
            return json.loads((self._worlds / f"{hash}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"World {hash[:12]} is damaged or missing.", where=str(self._worlds)
            ) from error

    def forget_run(self, run: str) -> None:
        """Delete a run's folder with all its conversations."""
        self.store.delete_run(run)

    def forget_world(self, hash: str) -> None:
        if not any(
            row.get("world") == hash for row in (*self.environments.table.walk(), *self.runs.table.walk())
        ):
            (self._worlds / f"{hash}.json").unlink(missing_ok=True)


def _document(record: BaseModel) -> dict[str, Any]:
    return record.model_dump(mode="json", by_alias=True)

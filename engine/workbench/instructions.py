"""The versions of an environment's instructions, and the file that holds the text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal

from ..errors import Conflict, InvalidArgument, NextCall, NotFound
from ..exchange import Roots, Version, write_instructions
from ..harden import PLACEHOLDERS
from ..records.environment import EnvironmentRecord, InstructionsRecord
from .archive import Archive, utc_now

EMPTY = "The instructions are empty: there is nothing to harden yet."
MAX_INSTRUCTIONS = 100_000
_SHOWN = 1_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_FILE = "settings.instructions_file"
Origin = Literal["created", "edited", "promoted", "rolled_back", "file"]


class MadeMeanwhile(Conflict):
    """Somebody else stored the same id between our look and our write; begun again, the call finds it."""


class Instructions:
    """Appends versions, puts one in force, finds them. A version is never edited in place."""

    def __init__(self, archive: Archive, roots: Roots) -> None:
        self._archive = archive
        self._roots = roots

    def current(self, environment: EnvironmentRecord) -> InstructionsRecord:
        """The version in force."""
        return self._archive.instructions.get(
            f"{environment.id}@{environment.instructions_version}", "instructions"
        )

    def version(self, environment: EnvironmentRecord, text: str, where: str) -> InstructionsRecord:
        """A version by number or id: `2`, `support@2`."""
        owner, at, number = text.rpartition("@")
        if not number.isascii() or not number.isdigit() or (at and owner != environment.id):
            raise InvalidArgument(
                f"`{text[:80]}` is no version of {environment.id}.",
                where=where,
                allowed=f"1 to {self.last(environment.id)}, {environment.id}@N, or a candidate id; "
                "a new text by update_item or, to have it proven, by submit_candidate",
                next=_with_text(environment.id, text),
            )
        found = self._archive.instructions.find(f"{environment.id}@{int(number[:9])}")
        if found is None:
            raise NotFound(
                f"{environment.id} has no version {number[:9]}.",
                where=where,
                allowed=f"1 to {self.last(environment.id)}",
                next=[NextCall("list_items", {"kind": "instructions", "environment": environment.id})],
            )
        return found

    def last(self, environment: str) -> int:
        """The number of the newest version; 0 if there is none."""
        newest = self._archive.instructions.table.page({"environment": environment}, 1).items
        return int(newest[0]["number"]) if newest else 0

    def of_candidate(self, environment: str, candidate: str) -> InstructionsRecord | None:
        """The version that a candidate became."""
        versions = self._archive.instructions.where(environment=environment)
        return next((v for v in versions if v.candidate == candidate), None)

    def first(self, environment: str, text: str, origin: Origin) -> InstructionsRecord:
        """Store the first version of an environment about to be stored."""
        record = new_version(environment, self.last(environment) + 1, text, origin)
        self._archive.instructions.put(record.id, record)
        return record

    def all_of(self, environment: str, versions: Sequence[Version]) -> None:
        """Store the versions of an environment about to be stored. Run in a worker thread."""
        records = [
            new_version(
                environment, v.number, v.text, v.origin, base=f"{environment}@{v.base}" if v.base else ""
            )
            for v in versions
        ]
        self._archive.instructions.put_many({record.id: record for record in records})

    def append(self, id: str, text: str, origin: Origin, **fields: Any) -> InstructionsRecord:
        """Append a version and put it in force; `fields` belong to the record (candidate, outcome, marks)."""
        environment = self._archive.environments.get(id)
        number = self.last(id) + 1
        base = f"{id}@{environment.instructions_version}"
        record = new_version(id, number, text, origin, base=base, **fields)
        if not self._archive.instructions.add(record.id, record):
            raise MadeMeanwhile(
                f"Somebody else made {record.id} at the same moment.",
                where="id",
                allowed="the same call again",
            )
        self.put_in_force(id, number)
        self._archive.store.audit("promote" if record.candidate else "edit", "instructions", record.id)
        return record

    def put_in_force(self, id: str, number: int) -> EnvironmentRecord:
        """Make a version the current one; newer ones are kept."""

        def put(record: EnvironmentRecord) -> EnvironmentRecord:
            fields = {"instructions_version": number, "version": record.version + 1, "updated_at": utc_now()}
            return record.model_copy(update=fields)

        return self._archive.environments.change(id, put)

    def write_file(self, environment: EnvironmentRecord, text: str) -> str:
        """Write the text to the file that the environment is bound to; the path written, "" if there is none.

        Conflict if the file's content is not a version of these instructions: somebody has edited it.
        """
        file = environment.settings.instructions_file
        if not file:
            return ""
        path = self._roots.resolve(file, _FILE)
        if path.exists():
            held = self._archive.redactor.hide(self._roots.read_text(path, _FILE)).rstrip("\n")
            versions = self._archive.instructions.where(environment=environment.id)
            if held not in {v.text.rstrip("\n") for v in versions} | {text.rstrip("\n")}:
                shown = self._roots.show(path)
                raise Conflict(
                    f"{shown} was edited meanwhile; nothing was changed, here or there.",
                    where=_FILE,
                    allowed="take its text in first, by update_item or by importing the folder again",
                    next=[
                        NextCall(
                            "update_item",
                            {"kind": "environment", "id": environment.id},
                            f"with `changes` {{instructions: the text of {shown}}}",
                        )
                    ],
                )
        return str(write_instructions(file, text, self._roots))

    def restore_file(self, id: str, text: str) -> None:
        """Write the text in force to the environment's file, if that still holds `text`."""
        environment = self._archive.environments.get(id)
        file = environment.settings.instructions_file
        if not file:
            return
        held = self._roots.read_text(self._roots.resolve(file, _FILE), _FILE)
        if held.rstrip("\n") == text.rstrip("\n"):
            write_instructions(file, self.current(environment).text, self._roots)


def _with_text(environment: str, text: str) -> list[NextCall]:
    """The calls that take a text when one was given instead of a version."""
    versions = NextCall("list_items", {"kind": "instructions", "environment": environment})
    if " " not in text.strip() or len(text) > _SHOWN:
        return [versions]
    args: dict[str, Any] = {"kind": "environment", "id": environment, "changes": {"instructions": text}}
    return [NextCall("update_item", args, "makes this text a new version"), versions]


def new_version(
    environment: str, number: int, text: str, origin: Origin, **fields: Any
) -> InstructionsRecord:
    """The record of a version made now, not yet stored; `fields` are its other ones (base, candidate, outcome)."""
    return InstructionsRecord(
        id=f"{environment}@{number}",
        environment=environment,
        number=number,
        text=text,
        sha256=text_sha(text),
        origin=origin,
        created_at=utc_now(),
        **fields,
    )


def check_instructions(text: str, where: str) -> str:
    """The text, unless it is too long, stands for another, or holds control characters except tabs and line ends."""
    if len(text) > MAX_INSTRUCTIONS:
        raise InvalidArgument(
            f"The instructions have {len(text):,} characters.",
            where=where,
            allowed=f"up to {MAX_INSTRUCTIONS:,}",
        )
    if text.strip() in PLACEHOLDERS:
        raise InvalidArgument(
            f"`{text.strip()}` stands for a text of yours.",
            where=where,
            allowed="the instructions themselves",
        )
    found = _CONTROL.search(text)
    if found:
        raise InvalidArgument(
            f"Character {found.start() + 1:,} of the instructions is a control character (U+{ord(found[0]):04X}).",
            where=where,
            allowed="text, tabs and line ends",
        )
    return text


def text_sha(text: str) -> str:
    """SHA-256 of a text as UTF-8, 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

"""The skill that teaches a coding assistant the loop: install it where Claude Code looks for skills, or remove it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..engine.errors import Conflict, InvalidArgument
from ..resources.home import shown
from ..resources.library import SKILL
from .client_files import write_file
from .clients import NAME, Client

FILE: Final = "SKILL.md"


def check_skill(client: Client) -> None:
    """InvalidArgument for a client without skills."""
    if client.name != "claude-code":
        raise InvalidArgument(
            f"{client.title} knows no skills.", where="--skill", allowed="--client claude-code, or no --skill"
        )


def put_skill(scope: str, *, remove: bool) -> None:
    """Write or remove the skill of a scope, and print that. A different file there is backed up first.

    Conflict if the file to remove is not what this version writes.
    """
    path = _folder(scope) / FILE
    text = SKILL.read_text(encoding="utf-8")
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if remove and before not in (None, text):
        raise Conflict(
            f"{shown(path)} is not as this version writes it.",
            where="--skill",
            allowed="delete it yourself, or leave --skill out",
        )
    if remove:
        path.unlink(missing_ok=True)
        print(f"ok    skill: {'removed from' if before else 'is not in'} {shown(path)}")
        return
    kept = write_file(path, text) if before != text else None
    print(f"ok    skill: {shown(path)}" + (f"; the file before: {shown(kept)}" if kept else ""))


def _folder(scope: str) -> Path:
    """Where Claude Code looks: in the project, or for all projects of a user."""
    home = Path.home() if scope == "user" else Path.cwd()
    return home / ".claude" / "skills" / NAME

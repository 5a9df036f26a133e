"""Edits of a text: applied line by line, and shown as a unified diff."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..agents import HEADINGS, part_lines
from ..errors import InvalidArgument, nearest
from ..records.hardening import Edit, Target

MAX_TEXT = 100_000
"""Most characters of instructions."""
MAX_LINES = 5_000
ALIKE = 0.5
"""Ratio of matching characters, 0..1, from which two lines count as the same line, reworded."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines of a text from the index `at`, and the base lines that they replace."""

    at: int
    lines: list[str]
    before: list[str]


def apply_edits(text: str, edits: Sequence[Edit], where: str = "edits") -> str:
    """Apply the edits one after another and return the new text.

    An anchor is a line of the text at that point, compared without surrounding blanks, or `start` or `end`. Raises
    InvalidArgument with the path of the edit: anchor missing or not unique, nothing to add, too long.
    """
    if not edits:
        raise InvalidArgument("There is no edit.", where=where, allowed="1 or more of {op, anchor, text}")
    lines = text.split("\n")
    for i, edit in enumerate(edits):
        lines = _applied(lines, edit, f"{where}[{i}]")
    return check_text("\n".join(lines), where)


def placed(edits: Sequence[Edit], text: str, target: Target) -> list[Edit]:
    """Edits with `start` and `end` relative to the part being hardened, which is started if it does not exist."""
    if target == "instructions" or not edits:
        return list(edits)
    heading = HEADINGS[target]
    inside = part_lines(text, target)
    lines = [line for n, line in enumerate(text.split("\n")) if n in inside and line.strip()]
    if not lines:
        new = any(edit.text.strip().startswith(heading) for edit in edits)
        return list(edits) if new else [Edit(op="add", anchor="end", text=heading), *edits]
    ends = {"start": heading, "end": lines[-1]}
    return [e.model_copy(update={"anchor": ends.get(e.anchor.strip(), e.anchor)}) for e in edits]


def check_text(text: str, where: str) -> str:
    """The text, if it can be instructions: not blank, not too long, no control characters."""
    if not text.strip():
        raise InvalidArgument("The text is empty.", where=where)
    if len(text) > MAX_TEXT:
        raise InvalidArgument(
            f"The text has {len(text):,} characters.", where=where, allowed=f"at most {MAX_TEXT:,}"
        )
    if text.count("\n") >= MAX_LINES:
        raise InvalidArgument(
            f"The text has {text.count(chr(10)) + 1:,} lines.", where=where, allowed=f"at most {MAX_LINES:,}"
        )
    odd = next((c for c in text if (c < " " and c not in "\n\t\r") or "\ud800" <= c <= "\udfff"), "")
    if odd:
        raise InvalidArgument(f"The text holds the control character U+{ord(odd):04X}.", where=where)
    return text


def text_key(text: str) -> str:
    """A hash shared by texts that differ only in blanks and line breaks."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def line_changes(base: str, text: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """(added, removed) lines: each with its number, from 1, in `text` and in `base`."""
    old, new = base.split("\n"), text.split("\n")
    added: list[tuple[int, str]] = []
    removed: list[tuple[int, str]] = []
    for op, a, b, c, d in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if op != "equal":
            removed += [(i + 1, old[i]) for i in range(a, b)]
            added += [(i + 1, new[i]) for i in range(c, d)]
    return added, removed


def added_hunks(base: str, text: str) -> list[Hunk]:
    """What is in `text` but not in `base`, first to last: each added line, or lines that replace others."""
    old, new = base.split("\n"), text.split("\n")
    found: list[Hunk] = []
    for op, a, b, c, d in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if op == "insert":
            found += [Hunk(n, [new[n]], []) for n in range(c, d)]
        elif op == "replace":
            found.append(Hunk(c, new[c:d], old[a:b]))
    return [hunk for hunk in found if any(line.strip() for line in hunk.lines)]


def parts_of(hunk: Hunk) -> list[Hunk]:
    """The lines of a hunk that can be reverted alone, each with the base line that it replaces.

    Equal numbers of lines are matched in order. Otherwise each old line is matched with the most similar new one, and
    the remaining new lines replace nothing; if an old line resembles none, its replacement is unknown and the hunk
    stays whole.
    """
    equal = len(hunk.lines) == len(hunk.before)
    partners = list(range(len(hunk.lines))) if equal else _partners(hunk)
    if partners is None:
        return [hunk]
    of = dict(zip(partners, hunk.before, strict=True))
    parts = [Hunk(hunk.at + n, [line], [of[n]] if n in of else []) for n, line in enumerate(hunk.lines)]
    return [part for part in parts if part.lines != part.before and (part.before or part.lines[0].strip())]


def _partners(hunk: Hunk) -> list[int] | None:
    """For each old line the most similar new one, in the same order; None if one resembles none."""
    found: list[int] = []
    for line in hunk.before:
        left = range(found[-1] + 1 if found else 0, len(hunk.lines))
        like = {n: difflib.SequenceMatcher(None, line, hunk.lines[n]).ratio() for n in left}
        best = max(like, key=lambda n: like[n], default=-1)
        if best < 0 or like[best] < ALIKE:
            return None
        found.append(best)
    return found


def unified_diff(base: str, text: str, base_name: str = "", name: str = "", context: int = 1) -> str:
    """The unified diff of two texts, "" if they are equal.

    With names it starts with `---` and `+++` lines.
    """
    lines = list(
        difflib.unified_diff(base.split("\n"), text.split("\n"), base_name, name, n=context, lineterm="")
    )
    return "\n".join(lines if base_name or name else lines[2:])


def _applied(lines: list[str], edit: Edit, where: str) -> list[str]:
    text = edit.text.strip("\n")
    if edit.op != "remove" and not text.strip():
        raise InvalidArgument(f"Nothing to {edit.op}: text is empty.", where=f"{where}.text")
    if edit.op == "remove" and text.strip():
        raise InvalidArgument("remove takes no text.", where=f"{where}.text", allowed="replace takes a text")
    new = text.split("\n") if edit.op != "remove" else []
    if edit.anchor.strip() in ("start", "end"):
        return _at_an_end(lines, edit, new, where)
    at = _line_of(lines, edit.anchor, f"{where}.anchor")
    keep = at + 1 if edit.op == "add" else at
    return lines[:keep] + new + lines[at + 1 :]


def _at_an_end(lines: list[str], edit: Edit, new: list[str], where: str) -> list[str]:
    if edit.op != "add":
        raise InvalidArgument(
            f"{edit.op} needs a line of the text as anchor.",
            where=f"{where}.anchor",
            allowed="a line of the text",
        )
    if edit.anchor.strip() == "start":
        return new + lines
    last = len(lines)
    while last and not lines[last - 1].strip():
        last -= 1
    return lines[:last] + new + lines[last:]


def _line_of(lines: list[str], anchor: str, where: str) -> int:
    wanted = anchor.strip()
    found = [i for i, line in enumerate(lines) if wanted and line.strip() == wanted]
    allowed = "a line of the text, or start, end"
    if not found:
        near = nearest(wanted, [line.strip() for line in lines if line.strip()])
        hint = f" The nearest line is `{near[:100]}`." if near else ""
        raise InvalidArgument(f"The anchor is not in the text.{hint}", where=where, allowed=allowed)
    if len(found) > 1:
        numbers = ", ".join(str(i + 1) for i in found[:5])
        raise InvalidArgument(
            f"The anchor is there more than once (lines {numbers}).", where=where, allowed=allowed
        )
    return found[0]

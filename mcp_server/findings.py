"""What the doctor finds: one fact per line, the verdict before it, the fix below anything wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from ..engine.plural import plural
from .terminal import cells, clean

Verdict = Literal["ok", "warn", "fail"]
SUBJECT: Final = 16
"""Cells of the column that names the subject of a finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. `source`: where the setting behind it came from; `fix`: what to do if it is not right."""

    verdict: Verdict
    subject: str
    told: str
    source: str = ""
    fix: str = ""


def lines(findings: Sequence[Finding], width: int) -> list[str]:
    """The findings as a table of `width` cells, and how many are problems."""
    room = max((cells(f.source) for f in findings), default=0)
    return [line for finding in findings for line in _lines(finding, width, room)] + [summary(findings)]


def summary(findings: Sequence[Finding]) -> str:
    """`1 problem, 1 warning.`"""
    problems, warnings = (sum(f.verdict == verdict for f in findings) for verdict in ("fail", "warn"))
    return f"{plural(problems, 'problem') if problems else 'No problem'}, {plural(warnings, 'warning')}."


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for other programs."""
    return {
        "findings": [asdict(f) for f in findings],
        "summary": summary(findings),
        "exit": exit_code(findings),
    }


def exit_code(findings: Sequence[Finding]) -> int:
    """1 if something fails, else 0."""
    return int(any(f.verdict == "fail" for f in findings))


def _lines(finding: Finding, width: int, room: int) -> list[str]:
    start = f"{finding.verdict:<5} " + (f"{clean(finding.subject):<{SUBJECT}}" if finding.subject else "")
    free = width - cells(start) - (room + 2 if finding.source else 0)
    first, *more = textwrap.wrap(clean(finding.told), max(20, free), break_on_hyphens=False) or [""]
    if finding.source:
        first += " " * max(2, width - cells(start) - cells(first) - room) + finding.source
    parts = [start + first, *(" " * cells(start) + line for line in more)]
    fix = textwrap.wrap(clean(finding.fix), width - 6, break_on_hyphens=False, break_long_words=False)
    return [line.rstrip() for line in (*parts, *(f"      {line}" for line in fix))]

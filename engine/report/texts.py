"""The instructions of a hardening: its texts, and how they differ word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final

from ..records.hardening import Hardening
from ..records.report import TextDiff, TextVersion

_WORD: Final = re.compile(r"\s+|[^\s]+")


def texts_of(
    hardening: Hardening | None, names: Mapping[str, str]
) -> tuple[list[TextVersion], list[TextDiff]]:
    """The base and the candidates, and each candidate's difference from the base, the best one's first."""
    if hardening is None:
        return [], []
    causes = {r.candidate: r.cluster.cause for r in hardening.rounds if r.candidate and r.cluster}
    label = names.get(hardening.base, hardening.base)
    versions = [TextVersion(label=label, chars=len(hardening.base_text))]
    diffs: list[TextDiff] = []
    for candidate in hardening.candidates:
        name = names.get(candidate.id, candidate.id)
        versions.append(
            TextVersion(
                label=name,
                chars=len(candidate.text),
                why=candidate.why,
                cause=causes.get(candidate.id, ""),
                by=candidate.by,
                edits=candidate.edits,
            )
        )
        if candidate.state != "refused":
            parts = word_diff(hardening.base_text, candidate.text)
            diffs.append(TextDiff(label=f"{label} to {name}", parts=parts))
    best = names.get(hardening.candidate, "")
    diffs.sort(key=lambda diff: not diff.label.endswith(f"to {best}"))
    return versions, diffs


def word_diff(old: str, new: str) -> list[tuple[str, str]]:
    """Two texts as parts that stayed (" "), were added ("+") or removed ("-"), by words."""
    left, right = _WORD.findall(old), _WORD.findall(new)
    parts: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for op, a, b, c, d in matcher.get_opcodes():
        if op == "equal":
            parts.append((" ", "".join(left[a:b])))
            continue
        if b > a:
            parts.append(("-", "".join(left[a:b])))
        if d > c:
            parts.append(("+", "".join(right[c:d])))
    return parts

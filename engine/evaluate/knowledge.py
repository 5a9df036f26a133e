"""A knowledge base: texts cut into passages, and retrieval of the passages relevant to what was said.

No model, no network. Retrieval is BM25 (Robertson and Zaragoza 2009, k1 1.5, b 0.75) over words, and deterministic.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

PASSAGE_CHARS: Final = 800
MOST_PASSAGES: Final = 8
"""Passages that a judge is shown for one conversation."""
_K1: Final = 1.5
_B: Final = 0.75
_WORD: Final = re.compile(r"[^\W_]+")
_SMALL: Final = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "do",
        "for",
        "from",
        "has",
        "have",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "so",
        "that",
        "the",
        "their",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "will",
        "with",
        "you",
        "your",
    ]
)


@dataclass(frozen=True)
class KnowledgeBase:
    """Passages, ready to be searched."""

    passages: Sequence[str]

    def about(self, texts: Sequence[str], most: int = MOST_PASSAGES) -> dict[str, str]:
        """The passages with most in common with the texts, by name p1, p2 ..., best first; {} if none has anything."""
        asked = Counter(word for text in texts for word in _words(text))
        scores = [(self._score(i, asked), i) for i in range(len(self.passages))]
        best = sorted((pair for pair in scores if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))[:most]
        return {f"p{n}": self.passages[i] for n, (_, i) in enumerate(best, 1)}

    def _score(self, index: int, asked: Mapping[str, int]) -> float:
        counted, size = self._counted[index]
        weight = _K1 * (1 - _B + _B * size / self._mean)
        return math.fsum(
            self._rarity[word] * counted[word] * (_K1 + 1) / (counted[word] + weight)
            for word in sorted(asked)
            if counted.get(word)
        )

    @cached_property
    def _counted(self) -> list[tuple[Counter[str], int]]:
        words = [_words(passage) for passage in self.passages]
        return [(Counter(found), len(found)) for found in words]

    @cached_property
    def _mean(self) -> float:
        return max(1.0, sum(size for _, size in self._counted) / max(1, len(self._counted)))

    @cached_property
    def _rarity(self) -> dict[str, float]:
        of = Counter(word for counted, _ in self._counted for word in counted)
        total = len(self.passages)
        return {word: math.log(1 + (total - n + 0.5) / (n + 0.5)) for word, n in of.items()}


def passages_of(source: Any) -> list[str]:
    """The passages of a text, of Markdown, of a JSON value, or of a list of these; none exceeds 800 characters.

    A heading precedes each passage below it; a leaf of JSON becomes a line `path: value`.
    """
    if isinstance(source, str):
        return _of_text(source)
    if isinstance(source, list):
        items = cast("list[Any]", source)
        return list(dict.fromkeys(passage for item in items for passage in passages_of(item)))
    return _packed([line for line in _leaves(source, "")], "")


def _of_text(text: str) -> list[str]:
    found: list[str] = []
    heading, lines = "", list[str]()
    for block in re.split(r"\n\s*\n|\n(?=#{1,6} )", text.replace("\r\n", "\n")):
        block = block.strip()
        if block.startswith("#"):
            found += _packed(lines, heading)
            head, _, rest = block.partition("\n")
            heading, lines = head.lstrip("# ").strip(), [rest.strip()] if rest.strip() else []
        elif block:
            lines.append(block)
    return list(dict.fromkeys([*found, *_packed(lines, heading)]))


def _packed(lines: Sequence[str], heading: str) -> list[str]:
    """Combine lines into passages below a heading; a line that is too long is cut at a space."""
    found: list[str] = []
    head = f"{heading[:200]}\n" if heading else ""
    room, current = PASSAGE_CHARS - len(head), ""
    for line in (part for whole in lines for part in _cut(whole, room)):
        if current and len(current) + len(line) + 1 > room:
            found.append(head + current)
            current = ""
        current = f"{current}\n{line}" if current else line
    return [*found, head + current] if current else found


def _cut(line: str, most: int) -> list[str]:
    parts: list[str] = []
    while len(line) > most:
        at = line.rfind(" ", most // 2, most)
        at = at if at > 0 else most
        parts.append(line[:at].strip())
        line = line[at:].strip()
    return [*parts, line] if line else parts


def _leaves(value: Any, path: str) -> list[str]:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        return [line for key, inner in pairs for line in _leaves(inner, f"{path}.{key}".lstrip("."))]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [line for i, inner in enumerate(items) for line in _leaves(inner, f"{path}[{i}]")]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [f"{path}: {text}" if path else text]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if word not in _SMALL]

"""What a client may call: the operator's choice, and what the server says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..engine.errors import CasehardenError, NotAllowed
from ..tools import CATALOG, ORDER, TOOLSETS, Toolset

MENTIONED = re.compile(r"\b[a-z]+(?:_[a-z]+)*_(?:[a-z]+\b|\*)")
SENTENCE = re.compile(r"(?<=[.:]) (?=[A-Za-z`])")
STEP = re.compile(r"\d+\. ")


@dataclass(frozen=True, slots=True)
class Offer:
    """The offered tools. `read_only`: only those that change nothing, whatever the toolset."""

    toolset: Toolset = "all"
    read_only: bool = False

    @property
    def tools(self) -> tuple[str, ...]:
        """Their names, in list order."""
        return tuple(name for name in ORDER if self._holds(name))

    @property
    def flag(self) -> str:
        """The operator's flag for it; "" if every tool is offered."""
        if self.read_only:
            return "--read-only"
        return "" if self.toolset == "all" else f"--toolset {self.toolset}"

    def refusal(self, name: str) -> CasehardenError | None:
        """The error for calling an existing tool that is not offered; None for every other name."""
        if name not in CATALOG or name in self.tools:
            return None
        needed = CATALOG[name].toolset
        return NotAllowed(
            f"`{name}` is not offered here: the operator started the server with {self.flag}; "
            f"it takes --toolset {needed}{' without --read-only' if self.read_only else ''}.",
            allowed=self.tools,
        )

    def offered_text(self, text: str) -> str:
        """The text for clients, without what concerns tools that are not offered; steps are renumbered."""
        if not self.flag:
            return text
        lines: list[str] = []
        steps = 0
        for line in text.splitlines():
            step = STEP.match(line)
            kept = self._kept(line[step.end() :] if step else line, whole=step is not None)
            if kept and step:
                steps += 1
                kept = f"{steps}. {kept}"
            if kept.endswith(":") and lines and lines[-1].endswith(":"):
                lines.pop()  # a heading with nothing left below it
            lines += [kept] if kept else []
        return "\n".join([*lines, f"- Other tools are switched off by the operator ({self.flag}).", ""])

    def mentions_only_offered(self, text: str) -> bool:
        """Whether every tool that the text names is offered; `create_*` names several."""
        named = MENTIONED.findall(text)
        return all(
            name in self.tools for name in CATALOG if any(fnmatchcase(name, pattern) for pattern in named)
        )

    def _kept(self, line: str, *, whole: bool) -> str:
        """The sentences that may stay; nothing of a step whose first sentence may not."""
        sentences = SENTENCE.split(line)
        kept = [one for one in sentences if self.mentions_only_offered(one)]
        return "" if whole and kept[:1] != sentences[:1] else " ".join(kept)

    def _holds(self, name: str) -> bool:
        spec = CATALOG[name]
        if self.read_only and not spec.read_only:
            return False
        return TOOLSETS.index(spec.toolset) <= TOOLSETS.index(self.toolset)


EVERYTHING = Offer()

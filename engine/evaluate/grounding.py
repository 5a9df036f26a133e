"""Facts that the simulated user invented: ids, e-mail addresses, amounts and dates that nobody gave it.

A user knows its sheet, what it was told in the conversation, and what its own tools returned. Any other id, amount or
date counts as invented if it occurs in the world, or is an id in the form of the world's keys: words that mean nothing
there are ignored. An unknown e-mail address always counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, cast

from ..canonical import canonical
from ..records.conversation import LogEntry, NotifyEntry, Patch, SayEntry, ToolEntry
from ..records.verdict import CheckResult, Invention
from ..world import CompiledWorld
from ..world.values import is_number
from .texts import MOST_READ, dates, folded, numbers

Sort = Literal["id", "email", "amount", "date"]
_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)+")
_TOKEN: Final = re.compile(r"(?<![\w.@-])#?\w[\w/-]*+")
_AMOUNT: Final = re.compile(r"[$€£¥]\s?(\d[\d,]*(?:\.\d+)?)|(?<![\w.,])(\d[\d,]*\.\d\d)(?![\w.]|,\d)")
_NO_ID: Final = re.compile(r"\d{1,4}|\d+(?:st|nd|rd|th)|\d{4}-\d\d-\d\d\w*|\d{1,2}(?:/\d+)+")
_DIGIT: Final = re.compile(r"\d")
_DAY: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)")


@dataclass(frozen=True, slots=True)
class Claim:
    """A fact in somebody's words, normalised so that equal facts compare equal."""

    sort: Sort
    value: str | float | tuple[int, int]
    told: str
    """As it was said."""

    @property
    def key(self) -> tuple[str, Any]:
        return (self.sort, self.value)


@dataclass(frozen=True)
class Grounding:
    """What the user of one case knows from the start, and the world that its facts may come from."""

    sheet: str
    """All texts of its sheet."""
    world: CompiledWorld

    @cached_property
    def known(self) -> frozenset[tuple[str, Any]]:
        """The facts of the sheet."""
        return frozenset(facts_in(self.sheet))


def inventions(log: Sequence[LogEntry], setup: Sequence[Patch], grounding: Grounding) -> list[Invention]:
    """What the user's model said that it cannot know, in order, each fact once."""
    found: list[Invention] = []
    seen: set[tuple[str, Any]] = set()
    for i, entry in enumerate(log):
        if not (isinstance(entry, SayEntry) and _own_words(entry)):
            continue
        strange = [c for c in claims_in(entry.say) if c.key not in grounding.known and c.key not in seen]
        if not strange:
            continue
        heard = {fact for before in log[:i] for fact in facts_in(_heard_by_user(before))}
        for claim in strange:
            if claim.key in heard or claim.key in seen:
                continue
            seen.add(claim.key)
            if claim.sort == "email" or _in_world(claim, setup, grounding.world):
                used, told = _used_by(claim, log, entry.n), claim.told[:80]
                found.append(Invention(n=entry.n, turn=entry.turn, sort=claim.sort, said=told, used=used))
    return found


def decided_by(invented: Sequence[Invention], checks: Sequence[CheckResult]) -> Invention | None:
    """The invention on which all failed counted checks rest; None if one of them failed for another reason.

    A check rests on it if a call that used it is among the check's evidence. The world's rules never do: they concern
    how the agent works, whatever it is told.
    """
    failed = [check for check in checks if check.counts and check.verdict == "fail"]
    if not failed or any(check.kind == "rule" for check in failed):
        return None
    reasons = [next((i for i in invented if set(i.used) & set(check.evidence)), None) for check in failed]
    return reasons[0] if all(reasons) else None


def claims_in(text: str) -> Iterator[Claim]:
    """The facts that a text states in a form comparable with others."""
    text = text[:MOST_READ]
    if not ("@" in text or _DIGIT.search(text)):
        return
    for found in _EMAIL.finditer(text):
        yield Claim("email", found[0].casefold(), found[0])
    rest = _EMAIL.sub(" ", text)
    for token in _tokens(rest):
        value = _id(token)
        if token.startswith("#") or not _NO_ID.fullmatch(value):
            yield Claim("id", value, token)
    for found in _AMOUNT.finditer(rest):
        yield Claim("amount", _cents(float((found[1] or found[2]).replace(",", ""))), found[0])
    for day in dates(rest):
        yield Claim("date", (day.month, day.day), f"{day.month:02d}-{day.day:02d}")


def facts_in(text: str) -> Iterator[tuple[str, Any]]:
    """Everything in a text that a claim may be equal to, whatever its form there."""
    if not text:
        return
    text = text[:MOST_READ]
    for found in _EMAIL.finditer(text):
        yield ("email", found[0].casefold())
    for token in _tokens(text):
        yield ("id", _id(token))
    for number in numbers(text):
        yield ("amount", _cents(number))
    for day in dates(text):
        yield ("date", (day.month, day.day))


def _tokens(text: str) -> Iterator[str]:
    """The tokens with a digit in them: possible ids."""
    return (found[0] for found in _TOKEN.finditer(text) if _DIGIT.search(found[0]))


def _own_words(say: SayEntry) -> bool:
    """Whether the user's model produced these words itself."""
    return say.by == "user" and say.source == "model" and not say.rejected


def _heard_by_user(entry: LogEntry) -> str:
    """What the user hears of an entry, or says because it was given the words."""
    if isinstance(entry, SayEntry):
        return "" if entry.rejected or _own_words(entry) else entry.say
    if isinstance(entry, NotifyEntry):
        return entry.notify if entry.to == "user" else ""
    if isinstance(entry, ToolEntry) and entry.by == "user":
        return canonical([entry.args, entry.result])
    return ""


def _used_by(claim: Claim, log: Sequence[LogEntry], since: int) -> list[int]:
    """The agent's later calls whose arguments contain the fact."""
    return [
        entry.n
        for entry in log
        if isinstance(entry, ToolEntry)
        and entry.by == "agent"
        and entry.n > since
        and claim.key in set(facts_in(canonical(entry.args)))
    ]


@dataclass(frozen=True, slots=True)
class _Known:
    """The contents of a state: the facts, and the forms of its ids with digits as 9."""

    facts: frozenset[tuple[str, Any]]
    forms: frozenset[str]


def _in_world(claim: Claim, setup: Sequence[Patch], world: CompiledWorld) -> bool:
    known = _of_world(world)
    if claim.key in known.facts or (claim.sort == "id" and _form(str(claim.value)) in known.forms):
        return True
    return any(claim.key in set(_facts_of(patch.new, patch.path)) for patch in setup)


@lru_cache(maxsize=8)
def _of_world(world: CompiledWorld) -> _Known:
    facts: set[tuple[str, Any]] = set()
    forms: set[str] = set()
    for side in world.base.values():
        for records in cast("dict[str, Any]", side).values():
            facts.update(_facts_of(records, ""))
            if isinstance(records, dict):
                keys = (_id(key) for key in cast("dict[str, Any]", records))
                forms.update(_form(key) for key in keys if _is_id(key) and not key.isdecimal())
    return _Known(frozenset(facts), frozenset(forms))


def _facts_of(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The facts in a JSON value: its keys and values, never parts of sentences."""
    waiting: list[Any] = [value, *re.findall(r"'([^']*)'|(\w+)", path)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*cast("dict[str, Any]", one).items()]
        elif isinstance(one, list | tuple):
            waiting += list(cast("list[Any]", one))
        elif is_number(one):
            yield ("amount", _cents(one))
        elif isinstance(one, str) and len(one) <= 80:
            if day := _DAY.match(one):
                yield ("date", (int(day[2]), int(day[3])))
            elif _is_id(_id(one)):
                yield ("id", _id(one))


def _id(text: str) -> str:
    return folded(text).removeprefix("#").rstrip("/-")


def _is_id(text: str) -> bool:
    return _DIGIT.search(text) is not None and _TOKEN.fullmatch(text) is not None


def _form(id: str) -> str:
    return _DIGIT.sub("9", id)


def _cents(value: float) -> float:
    return round(abs(float(value)), 2)

"""Requests that a user can have, each made from one probe: what is said, known, done and checked.

The words are the world's own: names of tools, labels of parameters, texts of refusals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from ...seeds import choose, shuffled
from ...shapes import as_list, as_object
from .words import STOP, label, label_tokens, listed, token_set

_REASONS: Final = (
    "plans have changed",
    "there was a misunderstanding",
    "that is what was agreed",
    "it cannot wait any longer",
    "a relative asked for it",
    "things turned out otherwise",
    "it was promised last week",
    "circumstances are different now",
    "somebody gave good advice",
    "the weekend is near",
    "nobody noticed until today",
    "everything else is settled",
)
_PARTICLES: Final = ("up", "out", "off", "in", "on", "down")
_ENDINGS: Final = ("id", "number", "no", "code", "key", "ref", "reference")
_WRITING: Final = ("write", "terminal")
_MAX_SAID: Final = 60


@dataclass(slots=True)
class Errand:
    """One request of a scenario: a sentence, what the user must know for it, and what is done.

    `number`: of its probe. `withheld`: the goal without its values. `shown`: values that are in the goal.
    """

    number: int
    goal: str
    withheld: str
    name: str
    sheet: dict[str, str]
    steps: list[dict[str, Any]]
    checks: list[dict[str, Any]]
    ignore: list[str]
    writes: bool
    shown: set[str]
    refused: bool = False
    optional: bool = False


class Desk:
    """The requests that a world's probes give, in a drawn order that cycles through the tools."""

    def __init__(self, world: Mapping[str, Any], brief: str, seed: int) -> None:
        self.seed = seed
        self._tools = {str(t.get("name")): t for t in map(as_object, as_list(world.get("tools")))}
        self._kinds = {name: str(tool.get("kind")) for name, tool in self._tools.items()}
        self._helping = _needed_tools(as_list(world.get("rules")))
        probes = [as_object(probe) for probe in as_list(world.get("probes"))]
        errands = [
            errand
            for n, probe in enumerate(probes)
            if self._asked_for(probe) and (errand := self._errand(probe, n))
        ]
        self.done = self._round([errand for errand in errands if not errand.refused], brief)
        self.refused = self._round([errand for errand in errands if errand.refused], brief)

    def _asked_for(self, probe: Mapping[str, Any]) -> bool:
        """Whether a user may want it: not a read that only serves another call."""
        return probe.get("tool") in self._tools and probe.get("tool") not in self._helping

    def _round(self, errands: list[Errand], brief: str) -> list[Errand]:
        """One errand for each tool, then the second of each; tools mentioned in the brief come first."""
        wanted = token_set(brief)
        by_tool: dict[str, list[Errand]] = {}
        for errand in errands:
            by_tool.setdefault(errand.name, []).append(errand)
        hits = {
            name: len(wanted & token_set(f"{name} {self._tools[name].get('description')}"))
            for name in by_tool
        }
        order = sorted(
            shuffled(list(by_tool), self.seed, "tools"), key=lambda n: (-hits[n], self._kinds[n] == "read")
        )
        meant = [name for name in order if hits[name]]
        rest = [name for name in order if not hits[name]]
        return [errand for group in (meant, rest) for errand in in_turn([by_tool[name] for name in group])]

    # One request

    def _errand(self, probe: Mapping[str, Any], n: int) -> Errand | None:
        name = str(probe.get("tool"))
        calls = [
            *map(as_object, as_list(probe.get("before"))),
            probe,
            *map(as_object, as_list(probe.get("after"))),
        ]
        sheet = _sheet([as_object(call.get("args")) for call in calls])
        if sheet is None:
            return None
        writes = self._kinds[name] in _WRITING
        goal, withheld = self._goal(name, probe, n), self._goal(name, probe, n, named=False)
        shown = {value for value in sheet.values() if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", goal)}
        ignore = [str(path) for path in as_list(probe.get("ignore"))]
        errand = Errand(n, goal, withheld, name, sheet, [], [], ignore, writes, shown)
        errand.optional = self._has_optional(name, probe)
        return self._done(errand, probe) if probe.get("ok") else self._refused(errand, probe)

    def _has_optional(self, name: str, probe: Mapping[str, Any]) -> bool:
        return any(arg not in self._required(name) for arg in as_object(probe.get("args")))

    def _required(self, name: str) -> list[Any]:
        return as_list(as_object(self._tools[name].get("parameters")).get("required"))

    def _goal(self, name: str, probe: Mapping[str, Any], n: int, named: bool = True) -> str:
        """`Cancel order W1 because plans have changed`; without its values `Cancel an order because …`."""
        verb, *rest = label(name).split()
        if rest and rest[0] in _PARTICLES:
            verb, rest = f"{verb} {rest[0]}", rest[1:]
        args = as_object(probe.get("args"))
        tail = {"for": list[str](), "with": list[str]()}
        own = ""
        for param, value in args.items():
            if not self._names_it(name, param, value, probe):
                continue
            head = _head(param)
            if rest and rest[-1] == head and not own:
                own = str(value)
            elif named:
                key = label(param).endswith(" id") and param in self._required(name)
                what = head if key else label(param)
                joint = "for" if key or what.endswith((" id", "email")) else "with"
                tail[joint].append(f"{what} {value}")
        words = [verb.capitalize(), *_object(rest, own, named)]
        words += [f"{joint} {', '.join(values)}" for joint, values in tail.items() if values]
        if self._kinds[name] in _WRITING:
            reasons = [str(args[p]) for p in as_list(probe.get("free")) if p in ("reason", "cause", "why")]
            words.append(f"because {reasons[0] if reasons else choose(_REASONS, self.seed, n, 'reason')}")
        return " ".join(words)

    def _names_it(self, name: str, param: str, value: Any, probe: Mapping[str, Any]) -> bool:
        """Whether the goal names a value: ids, choices and numbers, not what is given when asked for."""
        if param in as_list(probe.get("free")) or isinstance(value, bool):
            return False
        properties = as_object(as_object(self._tools[name].get("parameters")).get("properties"))
        if not isinstance(value, str):
            return isinstance(value, int | float)
        ending = label(param).split()[-1]
        coded = any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and " " not in value
        return "enum" in as_object(properties.get(param)) or ending == "email" or ending in _ENDINGS or coded

    def _led(self, errand: Errand, probe: Mapping[str, Any]) -> None:
        """Add the question for what the calls before need, and these calls."""
        before = list(map(as_object, as_list(probe.get("before"))))
        asked = [name for name, value in errand.sheet.items() if value not in errand.shown]
        if before and asked:
            errand.steps.append({"say": f"Could you please tell me the {listed(asked)}?"})
        errand.steps += [_call(call) for call in before]

    def _done(self, errand: Errand, probe: Mapping[str, Any]) -> Errand | None:
        self._led(errand, probe)
        if probe.get("confirm"):
            errand.steps.append({"say": f"I am about to {label(errand.name)}. Shall I go ahead?"})
        step = _call(probe)
        if free := [str(name) for name in as_list(probe.get("free"))]:
            step["compare"] = dict.fromkeys(free, "ignore")
        errand.steps.append(step)
        errand.steps += [_call(as_object(call)) for call in as_list(probe.get("after"))]
        told = self._telling(errand, probe)
        if errand.writes and not as_list(probe.get("writes")):
            return None
        if not errand.writes:
            if told is None:
                return None
            name, value = told
            errand.goal += f" and tell the {name}"
            errand.checks.append(_said(value))
            errand.checks.append(
                {"kind": "milestone", "tool": errand.name, "args": as_object(probe.get("args"))}
            )
        closing = f" The {told[0]} is {told[1]}." if told else ""
        errand.steps.append({"say": f"I have completed {label(errand.name)}.{closing}"})
        return errand

    def _telling(self, errand: Errand, probe: Mapping[str, Any]) -> tuple[str, Any] | None:
        """A field of the result worth reporting: short, not one of the arguments, without other tools' words."""
        args = {str(value) for value in as_object(probe.get("args")).values()}
        others = {word for name in self._tools if name != errand.name for word in token_set(name)}
        result = as_object(probe.get("result"))
        fits = [
            (label(key), value)
            for key, value in result.items()
            if _tellable(key, value) and str(value) not in args and not token_set(key) & others
        ]
        return choose(fits, self.seed, errand.goal, "told") if fits else None

    def _refused(self, errand: Errand, probe: Mapping[str, Any]) -> Errand | None:
        before = list(map(as_object, as_list(probe.get("before"))))
        words = _reason_words(str(probe.get("error") or ""), errand)
        if not words or any(self._kinds.get(str(call.get("tool"))) in _WRITING for call in before):
            return None
        self._led(errand, probe)
        error = str(probe.get("error")).rstrip(".")
        errand.steps.append({"say": f"I am sorry, I cannot {label(errand.name)}: {error}."})
        pattern = "|".join(re.escape(word) for word in words)
        errand.checks.append({"said": {"pattern": rf"\b(?:{pattern})"}})
        errand.checks.append({"tool": errand.name, "count": 0})
        errand.refused = True
        return errand


def _call(probe: Mapping[str, Any]) -> dict[str, Any]:
    return {"tool": probe.get("tool"), "args": as_object(probe.get("args"))}


def _sheet(calls: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """All arguments under their labels; None if two calls need different values under one label."""
    sheet: dict[str, str] = {}
    for args in calls:
        for param, value in args.items():
            if isinstance(value, dict) or value is None:
                return None
            text = ", ".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)
            text = {"True": "yes", "False": "no"}.get(text, text)
            if sheet.setdefault(label(param), text) != text:
                return None
    return sheet


def _head(param: str) -> str:
    """`order` for `order_id`; other names unchanged."""
    words = label(param).split()
    return " ".join(words[:-1]) if len(words) > 1 and words[-1] in _ENDINGS else " ".join(words)


def _object(words: Sequence[str], own: str, named: bool) -> list[str]:
    """`order W1`, `an order` if its id is not named, `the address`."""
    text = " ".join(words)
    if not text:
        return [own] if own and named else []
    if not own:
        return [text if words[0] in ("all", "any", "each", "every", "my") else f"the {text}"]
    return [f"{text} {own}"] if named else [f"{'an' if text[0] in 'aeiou' else 'a'} {text}"]


def _tellable(key: str, value: Any) -> bool:
    """Whether an agent would say it verbatim: a short text or a number, in a field with a meaningful name."""
    if isinstance(value, bool) or value is None or not token_set(key) or label(key).split()[-1] in STOP:
        return False
    if isinstance(value, str):
        return 2 < len(value) <= _MAX_SAID and not re.search(r"\d\d:\d\d|[\"\\;]", value)
    return isinstance(value, int | float) and value != 0


def _said(value: Any) -> dict[str, Any]:
    return {"said": {"text": value}} if isinstance(value, str) else {"said": {"number": value}}


def _reason_words(error: str, errand: Errand) -> list[str]:
    """Words of a refusal that are not in the request: an agent that gives the reason must say one of them."""
    known = label_tokens(errand.goal) | label_tokens(errand.name) | {"apolog", "sorry"}
    words = re.findall(r"[a-z][a-z'-]{3,}", re.sub(r"[\w#-]*\d[\w#-]*", " ", error.lower()))
    fits = [w for w in words if w not in STOP and w not in _EMPTY and not label_tokens(w) <= known]
    return list(dict.fromkeys(fits))[:6]


_EMPTY_WORDS: Final = (
    "only already must have been more than still ever into onto there such error invalid because while when does "
    "cannot could every either neither before after since until again other another these those what which"
)
_EMPTY: Final = frozenset(_EMPTY_WORDS.split())


def _needed_tools(rules: Sequence[Any]) -> set[str]:
    """Tools that rules require before or after others; a user does not ask for them."""
    found: set[str] = set()
    waiting: list[Any] = [as_object(rule).get("need") for rule in rules]
    while waiting:
        need = as_object(waiting.pop())
        if isinstance(need.get("tool"), str):
            found.add(str(need["tool"]))
        waiting += [*as_list(need.get("all")), *as_list(need.get("any"))]
    return found


def in_turn(groups: Sequence[Sequence[Errand]]) -> list[Errand]:
    """The first of each group, then the second of each."""
    longest = max((len(group) for group in groups), default=0)
    return [group[n] for n in range(longest) for group in groups if n < len(group)]

"""The predicate language: one object with exactly one subject, checked against the world and compiled.

Every mistake is refused with its JSON path, what is allowed, and the nearest name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final, cast

from ..errors import InvalidArgument, did_you_mean
from ..world import Path, compile_expression
from ..world.paths import show_path
from ..world.values import shown
from .answers import AllOf, AnyOf, Judged, MetricWithin, NotOf, Predicate
from .call_predicates import SIDES, compile_tool, compile_tool_calls
from .comparators import COMPARATOR_TERMS, COMPARATORS, read_comparison
from .facts import WORLD_TOLERANCE, ExpressionTrue, Happened, Said, StateIs, StateUnchanged, WorldAsExpected
from .metrics import made_of_checks
from .opinions import MOST_VOTES, Question
from .reading import Written
from .scope import Scope, need_solution
from .texts import NUMBER_TOLERANCE

MODIFIERS: Final[Mapping[str, Sequence[str]]] = {
    "state": (*COMPARATORS, *COMPARATOR_TERMS, "unchanged", "except"),
    "world": ("ignore", "unordered", "tolerance"),
    "expr": (),
    "tool": ("args", "args_match", "compare", "by", "ok", "own", "count"),
    "tool_calls": ("match", "ordered", "reads", "own", "by", "ok"),
    "said": ("by", "last"),
    "event": (),
    "judge": ("votes",),
    "metric": ("min", "max"),
    "all": (),
    "any": (),
    "not": (),
}
"""The subjects, and the modifiers of each."""
SUBJECTS: Final = tuple(MODIFIERS)


def compile_predicate(
    data: Any, where: str, scope: Scope, common: Sequence[str] = ("x_source",)
) -> Predicate:
    """Compile a predicate; `common` are keys allowed in its place besides subject and modifiers.

    Raises InvalidArgument with path, allowed and nearest.
    """
    written = Written(data, where)
    subject = _subject(written, common)
    return _SUBJECTS[subject](written, scope)


def _subject(written: Written, common: Sequence[str]) -> str:
    found = [key for key in written.data if key in MODIFIERS]
    if len(found) > 1:
        what = f"A predicate has exactly one subject, not {' and '.join(f'`{key}`' for key in found)}."
        raise InvalidArgument(what, where=written.where, allowed="one of them; join predicates with all, any")
    if not found:
        strange = [key for key in written.data if key not in common]
        if strange:
            written.only((*SUBJECTS, *common), "subject")
        raise InvalidArgument("A predicate needs a subject.", where=written.where, allowed=SUBJECTS)
    written.only((found[0], *MODIFIERS[found[0]], *common), f"modifier of `{found[0]}`")
    return found[0]


def _state(written: Written, scope: Scope) -> Predicate:
    place = written.place("state")
    _check_collection(place, written, scope)
    compared = [key for key in COMPARATORS if key in written]
    if "unchanged" in written:
        if compared or not written.flag("unchanged", True):
            written.wrong("unchanged", "`unchanged` is true and stands alone.", "true, without comparators")
        _check_record(place, written, scope)
        return StateUnchanged(place, _excepted(written, scope))
    if "except" in written:
        written.wrong("except", "`except` belongs to `unchanged`.", "unchanged: true")
    if not compared:
        raise InvalidArgument(
            "A state check needs a comparison.", where=written.where, allowed=(*COMPARATORS, "unchanged")
        )
    return StateIs(place, read_comparison(written))


def _excepted(written: Written, scope: Scope) -> tuple[str, ...]:
    names = written.texts("except", empty=True)
    for name in names:
        if name not in scope.events:
            what = f"`except` names `{name[:64]}`, which is no event.{did_you_mean(name, scope.events)}"
            written.wrong("except", what, sorted(scope.events) or "ids of events; the scenario has none")
    return tuple(names)


def _check_collection(place: Path, written: Written, scope: Scope) -> None:
    if len(place) < 2:
        return
    root, name = str(place[0]), str(place[1])
    known = [str(key) for key in scope.world.base.get(root, {})]
    if name not in known and f"{root}.{name}" not in scope.texts and not _in_persona(scope, root, name):
        what = f"`{root}` has no `{name}`.{did_you_mean(name, known)}"
        written.wrong("state", what, known or "a collection of the world")


def _check_record(place: Path, written: Written, scope: Scope) -> None:
    """Refuse `unchanged` on a record that is not there at the start: it would always hold."""
    if len(place) < 3:
        return
    root, name, key = str(place[0]), str(place[1]), str(place[2])
    held: Any = scope.world.base.get(root, {}).get(name)
    if not isinstance(held, Mapping) or place[2] in held or _in_persona(scope, root, name, key):
        return
    if re.search(rf"(?<!\w){re.escape(key)}(?!\w)", scope.texts):
        return  # a step writes it
    records = [str(one) for one in cast("Mapping[Any, Any]", held)]
    near = difflib.get_close_matches(key, records, n=1, cutoff=0.4)
    text = f"; nearest {near[0]}" if near else ""
    what = f"{show_path(place[:3])} is not there at the start: unchanged would always hold{text}."
    written.wrong("state", what, "a record that is there; exists: false for one that must not be made")


def _in_persona(scope: Scope, root: str, name: str, key: str = "") -> bool:
    """Whether the persona's data may bring the collection, or a record of it.

    For an inline persona this is known; a named one is not visible here.
    """
    persona = scope.scenario.persona if scope.scenario else None
    if persona is None or isinstance(persona, str):
        return persona is not None
    data = persona.data.db if root == "db" else persona.data.user_db
    return name in data and (not key or key in data[name])


def _world(written: Written, scope: Scope) -> Predicate:
    written.one_of("world", ["expected"], "")
    need_solution(written, "world", scope)
    ignore, unordered = written.patterns("ignore"), written.patterns("unordered")
    return WorldAsExpected(ignore, unordered, written.number("tolerance", WORLD_TOLERANCE))


def _expr(written: Written, scope: Scope) -> Predicate:
    return ExpressionTrue(compile_expression(written.text("expr"), where=written.at("expr")))


def _said(written: Written, scope: Scope) -> Predicate:
    by, last = written.one_of("by", SIDES, "agent"), written.flag("last", False)
    if isinstance(written.data["said"], str):
        return Said(words=written.text("said"), by=by, last=last)
    spec = written.object("said")
    kinds = ("text", "pattern", "number", "date")
    spec.only((*kinds, "tolerance"), "key of `said`")
    given = [kind for kind in kinds if kind in spec]
    if len(given) != 1:
        written.wrong(
            "said", f"Exactly one of {', '.join(kinds)}; found {', '.join(given) or 'none'}.", kinds
        )
    if "tolerance" in spec and given != ["number"]:
        spec.wrong("tolerance", "`tolerance` belongs to `number`.", "number")
    if given == ["text"]:
        return Said(words=spec.text("text"), by=by, last=last)
    if given == ["pattern"]:
        return Said(pattern=spec.pattern("pattern", ignore_case=True), by=by, last=last)
    if given == ["number"]:
        number = spec.number("number", 0, None)
        return Said(number=number, tolerance=spec.number("tolerance", NUMBER_TOLERANCE), by=by, last=last)
    return Said(day=_day(spec), by=by, last=last)


def _day(spec: Written) -> date:
    try:
        return date.fromisoformat(spec.text("date"))
    except ValueError:
        spec.wrong("date", f"{shown(spec.data['date'])} is not a date.", "a date such as 2024-05-20")


def _event(written: Written, scope: Scope) -> Predicate:
    name = written.text("event")
    known = sorted(name for name in scope.happening if "{" not in name)
    if name not in known and len(known) == len(scope.happening):
        what = f"No event and no signal is called `{name}`.{did_you_mean(name, known)}"
        written.wrong("event", what, known or "ids of events, and signals that a step emits")
    return Happened(name)


def _judge(written: Written, scope: Scope) -> Predicate:
    _may_be_judged(written, "judge", scope)
    votes = written.whole("votes", 1, 1)
    if votes > MOST_VOTES or votes % 2 == 0:
        written.wrong("votes", f"`votes` is {votes}.", f"an odd number up to {MOST_VOTES}")
    return Judged(Question(written.text("judge"), votes=votes))


def _metric(written: Written, scope: Scope) -> Predicate:
    _may_be_judged(written, "metric", scope)
    limits = {key: written.number(key, 0, None) for key in ("min", "max") if key in written}
    name = written.text("metric")
    if made_of_checks(name):
        what = f"`{name}` is made of the checks, so that none of them can ask for it."
        written.wrong("metric", what, "another metric; a threshold of the run")
    return MetricWithin(name, limits.get("min"), limits.get("max"))


def _may_be_judged(written: Written, subject: str, scope: Scope) -> None:
    if not scope.judged:
        what = "Judged subjects cannot stand here: this must be decided at every moment, without a model."
        written.wrong(subject, what, [s for s in SUBJECTS if s not in ("judge", "metric")])


def _all(written: Written, scope: Scope) -> Predicate:
    return AllOf(_parts(written, "all", scope))


def _any(written: Written, scope: Scope) -> Predicate:
    return AnyOf(_parts(written, "any", scope))


def _parts(written: Written, key: str, scope: Scope) -> list[Predicate]:
    return [compile_predicate(item, written.at(key, i), scope) for i, item in enumerate(written.items(key))]


def _not(written: Written, scope: Scope) -> Predicate:
    return NotOf(compile_predicate(written.data["not"], written.at("not"), scope))


_SUBJECTS: Final[Mapping[str, Callable[[Written, Scope], Predicate]]] = {
    "state": _state,
    "world": _world,
    "expr": _expr,
    "tool": compile_tool,
    "tool_calls": compile_tool_calls,
    "said": _said,
    "event": _event,
    "judge": _judge,
    "metric": _metric,
    "all": _all,
    "any": _any,
    "not": _not,
}

"""The plan of checks of one scenario: its `success`, the world's rules and the reward, all compiled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from ..errors import InvalidArgument, did_you_mean
from ..records.scenario import Reward, Scenario
from ..records.verdict import CheckKind
from ..world import CompiledWorld
from ..world.mistakes import Mistakes
from .answers import Judged, MetricWithin, Predicate, parts_of
from .events import PlannedEvent, compile_events
from .facts import Said, WorldAsExpected
from .grounding import Grounding
from .opinions import Question
from .originals import Original
from .predicates import compile_predicate
from .profiles import original_of
from .reading import Written
from .rules import RuleCheck
from .scope import Scope, scope_of
from .script import ScriptCheck, compile_script
from .solution import check_solution

KINDS: Final = ("require", "milestone", "minefield")
COMMON: Final = ("id", "kind", "weight", "counts", "by_turn", "by_s", "before", "after", "x_source")
"""Keys of a check besides subject and modifiers."""
EXPECTED_OUTPUT: Final = "expected-output"
"""Id of the check that a simulation's `expected_output` becomes."""
GOAL: Final = "goal"
"""Id of the judged check that stands in if a scenario has no checks."""
WITHSTOOD: Final = "withstood"
"""Id of the judged check that a user who means harm was withstood; it may stand in for GOAL."""
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Check:
    """One item of `success`."""

    id: str
    predicate: Predicate
    kind: CheckKind = "require"
    weight: float = 1
    counts: bool = True
    by_turn: int | None = None
    by_s: float | None = None
    before: str = ""
    """A milestone or an event: the check counts only until that has happened."""
    after: str = ""
    """A milestone or an event: only what comes after it counts."""
    written: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def watched(self) -> bool:
        """Whether it is decided at evaluation points rather than at the end."""
        return self.kind != "require" or self.by_turn is not None or self.by_s is not None

    def in_time(self, turn: int, t: float) -> bool:
        """Whether a moment is within `by_turn` and `by_s`."""
        return (self.by_turn is None or turn <= self.by_turn) and (self.by_s is None or t <= self.by_s)


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """All checks of one scenario, ready to be watched and graded. Immutable; it serves many trials at once."""

    checks: tuple[Check, ...]
    rules: tuple[RuleCheck, ...]
    reward: Reward
    now: str = ""
    """The world's clock at t = 0."""
    events: tuple[PlannedEvent, ...] = ()
    script: tuple[ScriptCheck, ...] = ()
    faulty: bool = False
    """Whether the scenario has faults."""
    original: Original | None = None
    """The reward of another system, if the scenario came from one."""
    grounding: Grounding | None = None
    """What the user knows; None: inventions are not looked for."""

    @property
    def says_nothing(self) -> bool:
        """Whether the scenario has no checks of its own, only the stand-in."""
        return all(check.id in (GOAL, WITHSTOOD) and not check.written for check in self.checks)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that checks use."""
        parts = (part for check in self.checks for part in parts_of(check.predicate))
        return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, MetricWithin)))

    @property
    def judged(self) -> bool:
        """Whether a check may need a judge."""
        return any(check.predicate.judged for check in self.checks)

    @property
    def needs_expected_world(self) -> bool:
        """Whether a check, or the original reward, compares the world with what the solution leaves behind."""
        if self.original is not None and self.original.needs_expected_world:
            return True
        return any(_asks_expected_world(check) for check in self.checks)

    @property
    def rests_on_expected_world(self) -> bool:
        """Whether such a check counts: without that world there is no verdict."""
        return any(check.counts and _asks_expected_world(check) for check in self.checks)


def compile_checks(
    world: CompiledWorld, scenario: Scenario, where: str = "", expected_output: str = ""
) -> CheckPlan:
    """The plan of a scenario in a world; `expected_output` is the simulation's.

    Raises InvalidArgument with the JSON path below `where`, what is allowed and the nearest name; further mistakes
    follow the first.
    """
    top = Written({}, where)
    scope = scope_of(world, scenario)
    mistakes = Mistakes()
    original: Original | None = None
    with mistakes.caught():
        original = original_of(scenario, world, top.at("profile"))
    checks, events, script = _compiled_parts(scenario, top, scope, mistakes)
    rules = _rules(scope, scenario, top, mistakes)
    mistakes.refuse()
    if expected_output.strip():
        checks.append(Check(EXPECTED_OUTPUT, Said(words=expected_output)))
    if not checks:
        checks.append(Check(GOAL, Judged(Question(f"What the user wanted was reached: {scenario.goal}"))))
    with mistakes.caught():
        _distinct(checks, top)
    with mistakes.caught():
        _known_moments(checks, scope, top)
    own = [f"event.{e.id}" for e in events if e.can_fail] + [check.id for check in script]
    ids = [*(c.id for c in checks), *(r.id for r in rules), *own]
    _known_parts(scenario.reward, ids, top, mistakes)
    _known_hints(scenario, [*ids, *sorted(scope.happening)], top, mistakes)
    mistakes.refuse()
    now = scenario.world.now or world.world.clock.now
    faulty = bool(scenario.faults)
    return CheckPlan(tuple(checks), rules, scenario.reward, now, events, script, faulty, original)


def _compiled_parts(
    scenario: Scenario, top: Written, scope: Scope, mistakes: Mistakes
) -> tuple[list[Check], tuple[PlannedEvent, ...], tuple[ScriptCheck, ...]]:
    """The checks, events and checks of the script; mistakes in them, and in the solution, are noted."""
    checks: list[Check] = []
    events: tuple[PlannedEvent, ...] = ()
    script: tuple[ScriptCheck, ...] = ()
    with mistakes.caught():
        check_solution(scope.world, scenario, top)
    for i, data in enumerate(scenario.success):
        with mistakes.caught():
            checks.append(_check(data, i, top, scope))
    with mistakes.caught():
        events = compile_events(scenario, top, scope)
    with mistakes.caught():
        script = compile_script(scenario, top, scope)
    return checks, events, script


def _check(data: Any, i: int, top: Written, scope: Scope) -> Check:
    written = Written(data, top.at("success", i))
    kind = written.one_of("kind", KINDS, "require") if "kind" in written else "require"
    watched = kind != "require" or "by_turn" in written or "by_s" in written
    inner = replace(scope, attempts=kind == "minefield", judged=not watched)
    predicate = compile_predicate(data, written.where, inner, COMMON)
    if watched and predicate.judged:
        what = "A check that is watched is decided at every moment, without a model."
        raise InvalidArgument(what, where=written.where, allowed="comparisons without `judge`")
    if kind == "minefield":
        _not_for_minefields(written, predicate)
    elif kind == "require":
        for key in ("before", "after"):
            if key in written:
                written.wrong(key, f"`{key}` is for what is watched.", "kind: milestone or minefield")
    return Check(
        id=_id(written, i),
        predicate=predicate,
        kind=kind,  # pyright: ignore[reportArgumentType]
        weight=written.number("weight", 1),
        counts=written.flag("counts", True),
        by_turn=written.whole("by_turn", 1, 1) if "by_turn" in written else None,
        by_s=written.number("by_s", 0) if "by_s" in written else None,
        before=written.text("before") if "before" in written else "",
        after=written.text("after") if "after" in written else "",
        written={key: value for key, value in written.data.items() if key != "x_source"},
    )


def _not_for_minefields(written: Written, predicate: Predicate) -> None:
    if any(isinstance(part, WorldAsExpected) for part in parts_of(predicate)):
        what = "The world is compared with the expected one at the end, so no trial can end by it."
        raise InvalidArgument(what, where=written.where, allowed="kind: require")
    for key in ("by_turn", "by_s"):
        if key in written:
            written.wrong(
                key, f"`{key}` is for what must come true; a minefield must not.", "before: a milestone"
            )


def _id(written: Written, i: int) -> str:
    name = written.text("id") if "id" in written else f"c{i + 1}"
    if not _ID.fullmatch(name):
        written.wrong("id", f"`{name[:80]}` is no id.", "letters, digits, _ . - and at most 64 characters")
    if name.startswith(("rule.", "end.", "event.", "script.")):
        what = f"`{name}` is a name that the checks of rules, events, scripts and ends have."
        written.wrong("id", what, "another id")
    return name


def _distinct(checks: Sequence[Check], top: Written) -> None:
    seen: dict[str, int] = {}
    for i, check in enumerate(checks):
        if check.id in seen:
            what = f"Two checks are called `{check.id}`: success[{seen[check.id]}] and success[{i}]."
            raise InvalidArgument(what, where=top.at("success", i, "id"), allowed="an id of its own")
        seen[check.id] = i


def _known_moments(checks: Sequence[Check], scope: Scope, top: Written) -> None:
    """Refuse a `before` or `after` that is not the name of another milestone, event or signal."""
    milestones = [check.id for check in checks if check.kind == "milestone"]
    for i, check in enumerate(checks):
        known = [name for name in milestones if name != check.id] + sorted(scope.happening)
        for key in ("before", "after"):
            name = getattr(check, key)
            if name and name not in known:
                what = (
                    f"`{key}` names `{name}`, which is no milestone and no event.{did_you_mean(name, known)}"
                )
                raise InvalidArgument(
                    what, where=top.at("success", i, key), allowed=known or "a milestone's id"
                )


def _rules(scope: Scope, scenario: Scenario, top: Written, mistakes: Mistakes) -> tuple[RuleCheck, ...]:
    known = [rule.id for rule in scope.world.world.rules]
    for i, name in enumerate(scenario.world.skip_rules):
        if name not in known:
            what = f"The world has no rule `{name}`.{did_you_mean(name, known)}"
            mistakes.add(what, top.at("world", "skip_rules", i), known or "no rules here")
    return tuple(rule for rule in compile_rules(scope.world) if rule.rule.id not in scenario.world.skip_rules)


@lru_cache(maxsize=16)
def compile_rules(world: CompiledWorld) -> tuple[RuleCheck, ...]:
    """The rules of a world with their needs compiled; otherwise InvalidArgument at `world.rules[i]`."""
    scope = scope_of(world, None)
    inner = replace(scope, judged=False)
    return tuple(
        RuleCheck(rule, compile_predicate(rule.need, f"world.rules[{i}].need", inner) if rule.need else None)
        for i, rule in enumerate(world.world.rules)
    )


def _known_parts(reward: Reward, known: Sequence[str], top: Written, mistakes: Mistakes) -> None:
    if "of" in reward.model_fields_set and not reward.of:
        mistakes.add("`of` is named but empty.", top.at("reward", "of"), known)
    for i, name in enumerate(reward.of):
        where = top.at("reward", "of", i)
        if name not in known:
            mistakes.add(f"No check is called `{name}`.{did_you_mean(name, known)}", where, known)
        if name in reward.of[:i]:
            mistakes.add(f"`{name}` stands here twice.", where, "once")


def _known_hints(scenario: Scenario, known: Sequence[str], top: Written, mistakes: Mistakes) -> None:
    for i, hint in enumerate(scenario.hints):
        if hint.for_ is not None and hint.for_ not in known:
            what = f"A hint is for an event or a check; none is called `{hint.for_[:64]}`."
            mistakes.add(f"{what}{did_you_mean(hint.for_, known)}", top.at("hints", i, "for"), known)


def _asks_expected_world(check: Check) -> bool:
    return any(isinstance(part, WorldAsExpected) for part in parts_of(check.predicate))

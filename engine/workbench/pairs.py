"""Which persona meets which scenario: the whole product, or the fewest pairs that include each.

A user that means harm is not paired with a scenario that passes only if the user gets what it wants: that would harden
the agent to obey. Scenarios written for that user, and simulations made by hand, are exempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Conflict, InvalidArgument, NextCall
from ..ids import split_nested
from ..records.persona import Persona
from ..records.scenario import ScenarioRecord
from .archive import Archive
from .meetings import Meetings, at_odds_warnings, means_harm
from .plain import check_range
from .worlds import Worlds

MOST = 100_000
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A scenario and its partner, as slugs. `persona` is "" if the partner is in the scenario, or there is none."""

    scenario: str
    persona: str
    name: str = ""
    """The partner's slug, wherever it is defined."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Pairs in the order of the scenarios, and warnings about those left out."""

    pairs: list[Pair]
    told: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class _Sides:
    """Personas that mean harm, and scenarios that must succeed; as slugs."""

    harmful: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()

    def fit(self, scenario: str, persona: str) -> bool:
        return persona not in self.harmful or scenario not in self.served


class Pairs:
    """Pairs what is stored in an environment; a pure function of that and of the request."""

    def __init__(self, archive: Archive, worlds: Worlds) -> None:
        self._archive = archive
        self._worlds = worlds

    def of(self, spec: Mapping[str, Any]) -> Paired:
        """The pairs. Run in a worker thread.

        `spec`: environment, pairing (cover or all), count, personas, scenarios, as in creating simulations.
        """
        pairing, count = spec.get("pairing", "cover"), spec.get("count", 0)
        if pairing not in ("cover", "all"):
            raise InvalidArgument(
                f"`{str(pairing)[:40]}` is no pairing.", where="pairing", allowed="cover, all"
            )
        check_range(count, "count", 0, MOST)
        environment: str = spec["environment"]
        chosen: list[str] = spec.get("personas", [])
        cases = self._scenarios(environment, spec.get("scenarios", []))
        personas = self._personas(environment, chosen)
        people = [persona.id for persona in personas]
        sides = self._sides(environment, cases, personas)
        if pairing == "all":
            pairs = _all(cases, people, sides, bool(chosen))
        else:
            pairs = _covering(cases, people, count, bool(chosen), sides)
        if len(pairs) > MOST:
            raise InvalidArgument(
                f"{len(pairs):,} simulations are too many.", where="count", allowed=f"up to {MOST:,}"
            )
        if not pairs:
            raise _none_fits(environment, cases[0], people[0])
        return Paired(pairs, _warnings(cases, people, pairs, sides))

    def _sides(
        self, environment: str, cases: Sequence[ScenarioRecord], personas: Sequence[Persona]
    ) -> _Sides:
        """Who means harm, and what must succeed; the latter is determined only if somebody does."""
        partners = [case.scenario.persona for case in cases]
        known = {p.id: p for p in personas} | {p.id: p for p in partners if isinstance(p, Persona)}
        for name in {p for p in partners if isinstance(p, str) and p not in known}:
            record = self._archive.personas.find(f"{environment}/{name}")
            if record is not None:
                known[name] = record.persona
        harmful = frozenset(id for id, persona in known.items() if means_harm(persona))
        if not harmful:
            return _Sides()
        meetings = Meetings(self._archive, self._worlds, environment)
        served = frozenset(
            case.scenario.id
            for case in cases
            if meetings.must_succeed(case.scenario, known.get(partner(case)))
        )
        return _Sides(harmful, served)

    def _scenarios(self, environment: str, chosen: Sequence[str]) -> list[ScenarioRecord]:
        if not chosen:
            found = sorted(self._archive.scenarios.where(environment=environment), key=lambda r: r.number)
        else:
            ids = [_inside(environment, name, f"scenarios[{k}]") for k, name in enumerate(chosen)]
            found = [
                self._archive.scenarios.get(id, f"scenarios[{k}]") for k, id in enumerate(dict.fromkeys(ids))
            ]
        if not found:
            raise Conflict(
                f"{environment} has no scenarios.",
                where="environment",
                allowed="at least one",
                next=[NextCall("generate_scenarios", {"environment": environment, "count": 5})],
            )
        return found

    def _personas(self, environment: str, chosen: Sequence[str]) -> list[Persona]:
        if not chosen:
            return [record.persona for record in self._archive.personas.where(environment=environment)]
        ids = [_inside(environment, name, f"personas[{k}]") for k, name in enumerate(chosen)]
        return [
            self._archive.personas.get(id, f"personas[{k}]").persona
            for k, id in enumerate(dict.fromkeys(ids))
        ]


def partner(record: ScenarioRecord) -> str:
    """The slug of the scenario's default partner, or ""."""
    found = record.scenario.persona
    return found.id if isinstance(found, Persona) else found or ""


def _inside(environment: str, name: str, where: str) -> str:
    owner, slug = split_nested(name, environment)
    if owner != environment:
        raise InvalidArgument(f"`{name[:80]}` is not of {environment}.", where=where, allowed="bare ids")
    return f"{owner}/{slug}"


def _with_partner(record: ScenarioRecord) -> Pair:
    name = partner(record)
    return Pair(record.scenario.id, "" if isinstance(record.scenario.persona, Persona) else name, name)


def _all(cases: Sequence[ScenarioRecord], people: Sequence[str], sides: _Sides, chosen: bool) -> list[Pair]:
    pairs: list[Pair] = []
    for case in cases:
        own = partner(case)
        open_to = [name for name in people if name == own or sides.fit(case.scenario.id, name)]
        pairs += [Pair(case.scenario.id, name, name) for name in open_to]
        if not open_to and not chosen:
            pairs.append(_with_partner(case))
    return pairs


def _covering(
    cases: Sequence[ScenarioRecord], people: Sequence[str], count: int, chosen: bool, sides: _Sides
) -> list[Pair]:
    """Scenarios that bring a partner keep it, unless personas were chosen; the others share the personas."""
    fixed = [_with_partner(case) for case in cases if case.scenario.persona is not None and not chosen]
    free = [case.scenario.id for case in cases if case.scenario.persona is None or chosen]
    pairs = fixed + _cover(free, people, count - len(fixed), sides, chosen)
    if people and not chosen:
        met = {pair.name for pair in pairs}
        left = [name for name in people if name not in met]
        every = [case.scenario.id for case in cases]
        for k, name in enumerate(left):
            fitting = [scenario for scenario in every if sides.fit(scenario, name)]
            pairs += [Pair(fitting[k % len(fitting)], name, name)] if fitting else []
    order = {case.scenario.id: k for k, case in enumerate(cases)}
    return sorted(pairs, key=lambda pair: order[pair.scenario])


def _cover(
    scenarios: Sequence[str], personas: Sequence[str], count: int, sides: _Sides, chosen: bool
) -> list[Pair]:
    """Pairs that include each scenario and persona at least once; further ones are added round robin.

    A scenario that no persona fits gets a user without one, unless the personas were chosen.
    """
    if not personas or not scenarios:
        return [Pair(scenario, "") for scenario in scenarios]
    pairs = _fewest(scenarios, personas, sides, chosen)
    most = max(len(scenarios), len(personas))
    for shift in range(1, len(personas)):
        for k in range(most):
            key = (scenarios[k % len(scenarios)], personas[(k + shift) % len(personas)])
            if len(pairs) >= count:
                return list(pairs.values())
            if sides.fit(*key):
                pairs.setdefault(key, Pair(*key, key[1]))
    return list(pairs.values())


def _fewest(
    scenarios: Sequence[str], personas: Sequence[str], sides: _Sides, chosen: bool
) -> dict[tuple[str, str], Pair]:
    """Each scenario with the fitting persona used least among its kind; then each remaining persona."""
    pairs: dict[tuple[str, str], Pair] = {}
    uses: Counter[tuple[bool, str]] = Counter()
    for scenario in scenarios:
        served = scenario in sides.served
        fitting = [name for name in personas if sides.fit(scenario, name)]
        if fitting or not chosen:
            name = min(fitting, key=lambda one: uses[served, one], default="")
            uses[served, name] += 1
            pairs[scenario, name] = Pair(scenario, name, name)
    met = {name for _, name in pairs}
    for k, name in enumerate(one for one in personas if one not in met):
        fitting = [scenario for scenario in scenarios if sides.fit(scenario, name)]
        if fitting:
            pair = Pair(fitting[k % len(fitting)], name, name)
            pairs[pair.scenario, name] = pair
    return pairs


def _none_fits(environment: str, case: ScenarioRecord, persona: str) -> Conflict:
    by_hand = [{"scenario": case.scenario.id, "persona": persona}]
    return Conflict(
        "Nothing is paired: all of these personas mean harm, and all of these scenarios pass only where the user "
        "gets what it wants.",
        where="personas",
        allowed="scenarios that must be refused; or single simulations by hand",
        next=[
            NextCall("generate_scenarios", {"environment": environment, "kinds": ["must_refuse"]}),
            NextCall("create_simulations", {"environment": environment, "simulations": by_hand}, "by hand"),
        ],
    )


def _warnings(
    cases: Sequence[ScenarioRecord], people: Sequence[str], pairs: Sequence[Pair], sides: _Sides
) -> list[str]:
    """Warnings if somebody means harm."""
    brought = [pair for pair in pairs if not sides.fit(pair.scenario, pair.name)]
    told = at_odds_warnings([f"{pair.scenario} with {pair.name}" for pair in brought])
    harmful = [name for name in people if name in sides.harmful]
    kept = {(pair.scenario, pair.name) for pair in brought}
    out = sum((s, name) not in kept for s in sides.served for name in harmful)
    if not out:
        return told
    met = {pair.name for pair in pairs}
    alone = [name for name in harmful if name not in met]
    plain = sum(pair.name == "" for pair in pairs)
    told.append(
        f"{out:,} pairs are left out: users that mean harm ({_listed(harmful)}) do not meet scenarios that pass only "
        f"where the user gets what it wants ({len(sides.served):,} of {len(cases):,})."
        + (f" {plain:,} scenarios have a plain user without a persona instead." if plain else "")
    )
    if alone:
        told.append(
            f"{_listed(alone)} meets nobody: write scenarios that must be refused (tag must-refuse), or pair by hand."
        )
    return told


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

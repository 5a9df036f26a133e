"""Which persona meets which scenario: the whole product, or the fewest pairs in which each stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Conflict, InvalidArgument, NextCall
from ..ids import split_nested
from ..records.persona import Persona
from ..records.scenario import ScenarioRecord
from .archive import Archive
from .plain import check_range

MOST = 100_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A scenario and its partner, as slugs. `persona` is "" for one that stands in the scenario, or none."""

    scenario: str
    persona: str
    name: str = ""
    """The partner's slug, wherever it stands."""


class Pairs:
    """Pairs what is stored in an environment; a pure function of that and of what is asked for."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def of(self, spec: Mapping[str, Any]) -> list[Pair]:
        """The pairs in the order of the scenarios.

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
        people = self._personas(environment, chosen)
        pairs = _all(cases, people) if pairing == "all" else _covering(cases, people, count, bool(chosen))
        if len(pairs) > MOST:
            raise InvalidArgument(
                f"{len(pairs):,} simulations are too many.", where="count", allowed=f"up to {MOST:,}"
            )
        return pairs

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

    def _personas(self, environment: str, chosen: Sequence[str]) -> list[str]:
        if not chosen:
            return [record.persona.id for record in self._archive.personas.where(environment=environment)]
        ids = [_inside(environment, name, f"personas[{k}]") for k, name in enumerate(chosen)]
        return [
            self._archive.personas.get(id, f"personas[{k}]").persona.id
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


def _all(cases: Sequence[ScenarioRecord], people: Sequence[str]) -> list[Pair]:
    if not people:
        return [_with_partner(case) for case in cases]
    return [Pair(case.scenario.id, name, name) for case in cases for name in people]


def _covering(cases: Sequence[ScenarioRecord], people: Sequence[str], count: int, chosen: bool) -> list[Pair]:
    """Scenarios that bring a partner keep it, unless personas were chosen; the others share the personas."""
    fixed = [_with_partner(case) for case in cases if case.scenario.persona is not None and not chosen]
    free = [case.scenario.id for case in cases if case.scenario.persona is None or chosen]
    pairs = fixed + _cover(free, people, count - len(fixed))
    if not free and people:
        met = {pair.name for pair in fixed}
        left = [name for name in people if name not in met]
        every = [case.scenario.id for case in cases]
        pairs += [Pair(every[k % len(every)], name, name) for k, name in enumerate(left)]
    order = {case.scenario.id: k for k, case in enumerate(cases)}
    return sorted(pairs, key=lambda pair: order[pair.scenario])


def _cover(scenarios: Sequence[str], personas: Sequence[str], count: int) -> list[Pair]:
    """Pairs in which each scenario and persona stands at least once; more than the fewest go on round robin."""
    if not scenarios:
        return []
    if not personas:
        return [Pair(scenario, "") for scenario in scenarios]
    fewest = max(len(scenarios), len(personas))
    wanted = min(max(count, fewest), len(scenarios) * len(personas))
    pairs: dict[tuple[str, str], Pair] = {}
    shift = 0
    while len(pairs) < wanted:
        for k in range(fewest):
            key = (scenarios[k % len(scenarios)], personas[(k + shift) % len(personas)])
            if len(pairs) < wanted:
                pairs.setdefault(key, Pair(*key, key[1]))
        shift += 1
    return list(pairs.values())

"""Which simulations a call means: ids, `all`, `tag:X`, `persona:X`, `scenario:X`, `failed:RUN`, `cluster:RUN/K`.

Places, `RUN/SIMULATION/TRIAL@TURN`, are resolved elsewhere (`places.py`): they bring the cases of their run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ..errors import InvalidArgument, NextCall, NotFound, nearest
from ..ids import split_nested
from ..records.run import Cluster, RunRecord
from ..records.simulation import SimulationRecord
from .archive import Archive

_UNNAMED = re.compile(r"c\d+")
ALLOWED = (
    "ids, all, tag:X, persona:X, scenario:X, failed:RUN, cluster:RUN/K; or only places RUN/SIM/TRIAL@TURN"
)


def is_place(text: str) -> bool:
    """Whether a selector names a conversation, with or without its turn."""
    return ":" not in text and ("@" in text or text.count("/") == 2)


def is_unnamed(check: str) -> bool:
    """Whether a check has no name of its own (c1, c2 ...): the same id means another check in another scenario."""
    return _UNNAMED.fullmatch(check) is not None


def cluster_named(clusters: Sequence[Cluster], name: str) -> Cluster | None:
    """A cluster by its id, `k2`, which rescoring may reassign, or by its check, if only one cluster has it."""
    found = next((c for c in clusters if c.id == name), None)
    of_check = [c for c in clusters if c.check == name]
    return found or (of_check[0] if len(of_check) == 1 else None)


def clusters_of(archive: Archive, select: Sequence[str]) -> list[tuple[RunRecord, Cluster]]:
    """The clusters selected as `cluster:RUN/K`, each once; invalid ones are left to the Selector."""
    found: dict[tuple[str, str], tuple[RunRecord, Cluster]] = {}
    for text in select:
        kind, _, rest = text.partition(":")
        run, _, name = rest.partition("/")
        record = archive.runs.find(run) if kind == "cluster" else None
        cluster = cluster_named(record.clusters, name) if record else None
        if record is not None and cluster is not None:
            found[record.id, cluster.id] = (record, cluster)
    return list(found.values())


class Selector:
    """Resolves the selectors of one environment."""

    def __init__(self, archive: Archive, environment: str) -> None:
        self._archive = archive
        self._environment = environment
        self._all = archive.simulations.where(environment=environment)
        self._by_slug = {s.slug: s for s in self._all}
        self._kinds: dict[str, Callable[[str, str], list[SimulationRecord]]] = {
            "tag": self._tag,
            "persona": self._persona,
            "scenario": self._scenario,
            "failed": self._failed,
            "cluster": self._cluster,
        }

    def resolve(self, select: Sequence[str], where: str = "select") -> list[SimulationRecord]:
        """The simulations, each once, in order of creation. Errors name the selector."""
        chosen: dict[str, SimulationRecord] = {}
        for k, text in enumerate(select):
            place = f"{where}[{k}]"
            for simulation in self._one(text, place):
                chosen[simulation.slug] = simulation
        return [s for s in self._all if s.slug in chosen]

    def _one(self, text: str, where: str) -> list[SimulationRecord]:
        if text == "all":
            return self._all
        kind, colon, rest = text.partition(":")
        if colon:
            if kind not in self._kinds:
                near = nearest(kind, self._kinds)
                hint = f" Did you mean `{near}:`?" if near else ""
                raise InvalidArgument(f"Unknown selector `{text[:80]}`.{hint}", where=where, allowed=ALLOWED)
            return self._kinds[kind](rest, where)
        if is_place(text):
            what = "Places and other selectors do not go together: one run is one or the other."
            raise InvalidArgument(what, where=where, allowed=ALLOWED)
        environment, slug = split_nested(text, self._environment)
        found = self._by_slug.get(slug) if environment == self._environment else None
        if found is None:
            raise self._missing("simulation", text, self._by_slug, where)
        return [found]

    def _tag(self, tag: str, where: str) -> list[SimulationRecord]:
        scenarios = self._archive.scenarios.where(environment=self._environment)
        tagged = {s.scenario.id for s in scenarios if tag in s.scenario.tags}
        if not tagged:
            raise self._missing("tag", tag, {t for s in scenarios for t in s.scenario.tags}, where)
        return [s for s in self._all if s.scenario in tagged]

    def _persona(self, name: str, where: str) -> list[SimulationRecord]:
        slug = split_nested(name)[1]
        return self._some(
            [s for s in self._all if s.persona == slug],
            "persona",
            name,
            {s.persona for s in self._all},
            where,
        )

    def _scenario(self, name: str, where: str) -> list[SimulationRecord]:
        slug = split_nested(name)[1]
        found = [s for s in self._all if s.scenario == slug]
        if not found and self._archive.scenarios.find(f"{self._environment}/{slug}") is not None:
            args = {"environment": self._environment, "scenarios": [slug]}
            raise NotFound(
                f"Scenario `{slug}` has no simulation yet.",
                where=where,
                allowed=ALLOWED,
                next=[NextCall("create_simulations", args)],
            )
        return self._some(
            found,
            "scenario",
            name,
            {s.scenario for s in self._all},
            where,
        )

    def _failed(self, run: str, where: str) -> list[SimulationRecord]:
        self._run(run, f"failed:{run}", where)
        failed = {row["simulation"] for row in self._archive.trials(run).table.walk({"verdict": "fail"})}
        if not failed:
            raise InvalidArgument(f"No simulation of {run} failed.", where=where, allowed=ALLOWED)
        return [s for s in self._all if s.slug in failed]

    def _cluster(self, text: str, where: str) -> list[SimulationRecord]:
        run, _, id = text.partition("/")
        self._run(run, f"cluster:{text}", where)
        clusters = self._archive.runs.get(run).clusters
        cluster = cluster_named(clusters, id)
        if cluster is None:
            raise self._no_cluster(run, id, clusters, where)
        members = set(cluster.members)
        if not is_unnamed(cluster.check):
            rows = self._archive.trials(run).table.walk({"failed_checks": cluster.check})
            members |= {row["simulation"] for row in rows if row["verdict"] == "fail"}
        return [s for s in self._all if s.slug in members]

    def _no_cluster(self, run: str, id: str, clusters: Sequence[Cluster], where: str) -> NotFound:
        known = [f"{c.id} ({c.check})" for c in clusters]
        near = nearest(id, [name for c in clusters for name in (c.id, c.check)])
        hint = f"; nearest `{near}`" if near else ""
        call = NextCall("get_item", {"kind": "run", "id": run, "view": "clusters"})
        return NotFound(
            f"{run} has no cluster `{id[:80]}`{hint}.",
            where=where,
            allowed=known or "none: nothing failed there",
            next=[call],
        )

    def _run(self, run: str, text: str, where: str) -> None:
        record = self._archive.runs.find(run)
        if record is None:
            near = nearest(run, list(self._archive.runs.table.journal.documents))
            hint = f"; nearest {near}" if near else ""
            call = NextCall("list_items", {"kind": "run", "environment": self._environment})
            raise NotFound(
                f"select `{text[:80]}` names no run{hint}.", where=where, allowed=ALLOWED, next=[call]
            )
        if record.environment != self._environment:
            raise InvalidArgument(f"{run} is a run of {record.environment}.", where=where, allowed=ALLOWED)

    def _some(
        self, found: list[SimulationRecord], kind: str, word: str, known: set[str], where: str
    ) -> list[SimulationRecord]:
        if not found:
            raise self._missing(kind, word, known, where)
        return found

    def _missing(self, kind: str, word: str, known: Iterable[str], where: str) -> NotFound:
        names = sorted(k for k in known if k)
        near = nearest(word, names)
        hint = f"; nearest `{near}`" if near else ""
        listed = "scenario" if kind == "tag" else kind
        call = NextCall("list_items", {"kind": listed, "environment": self._environment})
        return NotFound(
            f"No {kind} `{word[:80]}` in the simulations of {self._environment}{hint}.",
            where=where,
            allowed=ALLOWED,
            next=[call],
        )

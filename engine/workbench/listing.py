"""Lists: one page of rows of a kind, newest first, and the overview."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InvalidArgument, NextCall, did_you_mean
from ..llm import open_model
from ..records.job import Job
from .archive import Archive, Shelf
from .environments import ROLES, Environments
from .results import Page
from .worlds import Worlds

Row = dict[str, Any]
Match = Callable[[Any], bool]

WHERE: Mapping[str, Sequence[str]] = {
    "overview": (),
    "environment": ("text",),
    "instructions": ("text",),
    "persona": ("text",),
    "scenario": ("tag", "split", "text"),
    "simulation": ("persona", "scenario", "text"),
    "run": ("series", "state", "text"),
    "conversation": (
        "run",
        "persona",
        "scenario",
        "simulation",
        "verdict",
        "check",
        "cluster",
        "tag",
        "text",
    ),
    "hardening": ("state", "text"),
    "candidate": ("state", "text"),
    "job": ("state", "run", "text"),
    "session": (),
    "world": (),
    "guide": (),
}
"""The filters of each kind."""
RECENT = 5


class Listing:
    """Pages over what is stored."""

    def __init__(
        self, archive: Archive, worlds: Worlds, environments: Environments, guide_names: Sequence[str]
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._environments = environments
        self._guides = guide_names

    def page(
        self, kind: str, environment: str, where: Mapping[str, Any], limit: int, cursor: str, full: bool
    ) -> Page:
        """One page; `where` is checked against the filters of the kind."""
        asked = check_where(kind, where)
        if not 1 <= limit <= 100:
            raise InvalidArgument(f"`limit` is {limit}.", where="limit", allowed="1 to 100")
        if environment:
            self._archive.environments.get(environment, "environment")
            asked["environment"] = environment
        if kind == "overview":
            return Page("overview", [self.overview()], 1)
        if kind in ("world", "guide", "session"):
            names = {"world": self._worlds.names(), "guide": list(self._guides), "session": []}[kind]
            return Page(kind, [{"id": name} for name in names], len(names))
        if kind == "conversation":
            return self._conversations(asked, limit, cursor, full)
        if kind == "candidate":
            return self._candidates(asked, limit)
        if kind == "job":
            return self._jobs(asked, limit, cursor)
        return self._stored(kind, asked, limit, cursor, full)

    def overview(self) -> Row:
        """Totals, average pass rate, recent runs, active jobs, models and why they were chosen."""
        archive = self._archive
        runs = archive.runs.page({"purpose": "run"}, RECENT, "", None, "").items
        rates = [
            r["totals"]["rate"]
            for r in archive.runs.table.walk({"purpose": "run"})
            if r["totals"]["rate"] is not None
        ]
        active = [
            job
            for state in ("queued", "running", "waiting", "paused")
            for job in archive.store.jobs.page({"state": state}, 20).items
        ]
        return {
            "totals": {
                "environments": archive.environments.count(),
                "personas": archive.personas.count(),
                "scenarios": archive.scenarios.count(),
                "simulations": archive.simulations.count(),
                "runs": archive.runs.count(purpose="run"),
                "hardenings": archive.hardenings.count(),
            },
            "average_pass_rate": sum(rates) / len(rates) if rates else None,
            "recent_runs": [run_row(row) for row in runs],
            "active_jobs": [job_row(job) for job in active],
            "models": {role: self._model(role) for role in ROLES},
            "worlds": self._worlds.names(),
        }

    def _model(self, role: str) -> Row:
        chosen = getattr(self._environments.server_models, role)
        source = (
            "the server's settings" if chosen else "the default; an environment or a call may name another"
        )
        return {"model": open_model(chosen or "offline").name, "from": source}

    def _stored(self, kind: str, asked: Row, limit: int, cursor: str, full: bool) -> Page:
        shelf, row = self._shelf(kind)
        text, tag = asked.pop("text", None), asked.pop("tag", None)
        match = _matcher(text, tag)
        if kind == "environment":
            asked.pop("environment", None)
        if kind == "run" and "series" not in asked:
            asked["purpose"] = "run"
        name = json.dumps([text, tag])
        page = shelf.page(asked, limit, cursor, match, name)
        total = shelf.count(**asked) if match is None else sum(map(match, shelf.table.walk(asked)))
        return Page(kind, [dict(r) if full else row(r) for r in page.items], total, page.cursor or "")

    def _shelf(self, kind: str) -> tuple[Shelf[Any], Callable[[Any], Row]]:
        archive = self._archive
        known: dict[str, tuple[Shelf[Any], Callable[[Any], Row]]] = {
            "environment": (archive.environments, self._environment_row),
            "instructions": (archive.instructions, self._instructions_row),
            "persona": (archive.personas, persona_row),
            "scenario": (archive.scenarios, scenario_row),
            "simulation": (archive.simulations, simulation_row),
            "run": (archive.runs, run_row),
            "hardening": (archive.hardenings, hardening_row),
        }
        return known[kind]

    def _environment_row(self, row: Any) -> Row:
        counts = {
            "personas": self._archive.personas.count(environment=row["id"]),
            "scenarios": self._archive.scenarios.count(environment=row["id"]),
            "simulations": self._archive.simulations.count(environment=row["id"]),
            "runs": self._archive.runs.count(environment=row["id"], purpose="run"),
        }
        version = f"{row['id']}@{row['instructions_version']}"
        return {
            "id": row["id"],
            "name": row["name"],
            "world": row["world_name"],
            "agent": row["agent"].get("kind", "prompt"),
            "instructions": version,
            **counts,
        }

    def _instructions_row(self, row: Any) -> Row:
        environment = self._archive.environments.find(row["environment"])
        current = environment is not None and environment.instructions_version == row["number"]
        made = {"id": row["id"], "chars": len(row["text"]), "origin": row["origin"], "current": current}
        return _filled(
            {**made, "candidate": row["candidate"], "outcome": row["outcome"], "marks": row["marks"]}
        )

    def _conversations(self, asked: Row, limit: int, cursor: str, full: bool) -> Page:
        run_id = asked.pop("run", "")
        asked.pop("environment", None)
        if not run_id:
            call = NextCall("list_items", {"kind": "run"})
            raise InvalidArgument(
                "Conversations are listed by run.", where="where.run", allowed="a run id", next=[call]
            )
        run = self._archive.runs.get(run_id, "where.run")
        clusters = {c.check: c.id for c in run.clusters}
        cluster = asked.pop("cluster", None)
        if cluster is not None:
            found = next((c for c in run.clusters if c.id == str(cluster).rpartition("/")[2]), None)
            if found is None:
                raise InvalidArgument(
                    f"{run_id} has no cluster `{cluster}`.",
                    where="where.cluster",
                    allowed=[c.id for c in run.clusters],
                )
            asked["failed_checks"] = found.check
        renamed = {"check": "failed_checks", "tag": "tags"}
        fields = {renamed.get(name, name): value for name, value in asked.items() if name != "text"}
        for name in ("persona", "scenario", "simulation"):
            if name in fields:
                fields[name] = str(fields[name]).rpartition("/")[2]
        match = _matcher(asked.get("text"), None)
        shelf = self._archive.trials(run_id)
        page = shelf.page(fields, limit, cursor, match, json.dumps(asked.get("text")))
        total = shelf.count(**fields) if match is None else sum(map(match, shelf.table.walk(fields)))
        rows = [dict(r) if full else conversation_row(r, run_id, clusters) for r in page.items]
        return Page("conversation", rows, total, page.cursor or "")

    def _candidates(self, asked: Row, limit: int) -> Page:
        fields = {k: v for k, v in asked.items() if k == "environment"}
        found = [
            c for h in reversed(self._archive.hardenings.where(**fields)) for c in reversed(h.candidates)
        ]
        if "state" in asked:
            found = [c for c in found if c.state == asked["state"]]
        rows = [
            _filled(
                {
                    "id": c.id,
                    "state": c.state,
                    "outcome": c.outcome,
                    "by": c.by,
                    "base": c.base,
                    "chars": list(c.chars),
                }
            )
            for c in found
        ]
        return Page("candidate", rows[:limit], len(rows))

    def _jobs(self, asked: Row, limit: int, cursor: str) -> Page:
        fields = {k: v for k, v in asked.items() if k != "text"}
        page = self._archive.store.jobs.page(fields, limit, cursor or None)
        total = self._archive.store.jobs.table.tally(fields)
        return Page("job", [job_row(job) for job in page.items], total, page.cursor or "")


def check_where(kind: str, where: Mapping[str, Any]) -> Row:
    """The filters, or an error that names the ones of the kind."""
    if kind not in WHERE:
        raise InvalidArgument(
            f"There is no kind `{kind[:40]}`.{did_you_mean(kind, WHERE)}", where="kind", allowed=WHERE
        )
    allowed = WHERE[kind]
    for name, value in where.items():
        if name not in allowed:
            told = f"for {kind}: {', '.join(allowed) or 'none'}"
            raise InvalidArgument(
                f"`where.{name[:60]}` is unknown.{did_you_mean(name, allowed)}", where="where", allowed=told
            )
        if not isinstance(value, str):
            raise InvalidArgument(f"`where.{name}` is no text.", where=f"where.{name}", allowed="a text")
    return dict(where)


def persona_row(row: Any) -> Row:
    persona = row["persona"]
    told = {
        "id": row["id"],
        "profile": cut(persona.get("profile", ""), 120),
        "style": cut(persona.get("style", ""), 80),
    }
    return _filled({**told, "traits": persona.get("traits"), "source": row["source"]})


def scenario_row(row: Any) -> Row:
    scenario = row["scenario"]
    told = {
        "id": row["id"],
        "goal": cut(scenario["goal"], 160),
        "split": row["split"],
        "solution": row["solution"]["status"],
    }
    return _filled({**told, "tags": scenario.get("tags"), "spent": row["spent"], "source": row["source"]})


def simulation_row(row: Any) -> Row:
    return _filled(
        {
            "id": row["id"],
            "scenario": row["scenario"],
            "persona": row["persona"],
            "user_input": cut(row["user_input"], 100),
        }
    )


def run_row(row: Any) -> Row:
    totals = row["totals"]
    counted = totals["passed"] + totals["failed"] + totals["inconclusive"]
    told = {
        "id": row["id"],
        "environment": row["environment"],
        "name": row["name"],
        "instructions": row["instructions"],
        "state": row["state"],
    }
    figures = {
        "passed": totals["passed"],
        "counted": counted,
        "error": totals["error"],
        "invalid": totals["invalid"],
        "rate": totals["rate"],
    }
    return _filled(
        {**told, **figures, "series": row["series"], "round": row["round"], "created_at": row["created_at"]}
    )


def conversation_row(row: Any, run: str, clusters: Mapping[str, str]) -> Row:
    place = f"{run}/{row['id']}"
    told: Row = {"id": place, "verdict": row["verdict"], "turns": row["turns"], "split": row["split"]}
    if row["failed_checks"]:
        told["failed_checks"] = row["failed_checks"]
        told["cluster"] = clusters.get(row["failed_checks"][0])
        if row["split"] == "train":
            told["see"] = f"{place}@{row['see_turn']}" if row["see_turn"] else place
    return _filled(told)


def hardening_row(row: Any) -> Row:
    told = {
        "id": row["id"],
        "environment": row["environment"],
        "state": row["state"],
        "outcome": row["outcome"],
    }
    return _filled(
        {
            **told,
            "base": row["base"],
            "candidate": row["candidate"],
            "marks": row["marks"],
            "created_at": row["created_at"],
        }
    )


def job_row(job: Job) -> Row:
    units = job.units
    told = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "total": units.total,
        "completed": units.completed,
        "failed": units.failed,
    }
    return {**told, "created_at": job.created_at}


def cut(text: str, most: int) -> str:
    """The text, or its beginning and how many characters were left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more)"


def _filled(row: Row) -> Row:
    return {k: v for k, v in row.items() if v not in (None, "", [], False)}


def _matcher(text: str | None, tag: str | None) -> Match | None:
    """Whether a document says the text anywhere, and carries the tag."""
    if not text and not tag:
        return None
    wanted = (text or "").casefold()

    def match(row: Any) -> bool:
        if tag and tag not in row.get("scenario", {}).get("tags", ()):
            return False
        return not wanted or wanted in json.dumps(row, ensure_ascii=False).casefold()

    return match

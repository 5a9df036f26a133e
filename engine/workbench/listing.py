"""Lists: one page of rows of a kind, newest first. Pages walk an index; counting by inspection is bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from ..errors import InvalidArgument, NextCall, did_you_mean
from ..records.hardening import Candidate, CandidateState, HardeningState
from ..records.job import JobState
from ..records.run import Cluster, RunRecord, RunState
from ..records.scenario import Split
from ..records.session import SessionState
from ..records.verdict import TrialVerdict
from ..store import Table
from .archive import Archive, Shelf
from .overview import Overview
from .results import Page
from .role_models import RoleModels
from .rows import (
    ClusterOf,
    Row,
    candidate_row,
    conversation_row,
    filled_row,
    hardening_row,
    job_row,
    persona_row,
    run_row,
    scenario_row,
    simulation_row,
    whole_hardening_row,
)
from .select import cluster_named, is_unnamed
from .session_views import session_row
from .sight import proving, refuse_while_proving
from .worlds import Worlds

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
        "split",
        "text",
    ),
    "hardening": ("state", "text"),
    "candidate": ("hardening", "state", "text"),
    "job": ("state", "run", "text"),
    "session": ("state", "text"),
    "world": (),
    "guide": (),
}
"""The filters of each kind."""
_VALUES: Mapping[tuple[str, str], Sequence[str]] = {
    ("run", "state"): get_args(RunState),
    ("conversation", "verdict"): get_args(TrialVerdict),
    ("scenario", "split"): get_args(Split),
    ("conversation", "split"): get_args(Split),
    ("hardening", "state"): get_args(HardeningState),
    ("candidate", "state"): get_args(CandidateState),
    ("job", "state"): get_args(JobState),
    ("session", "state"): get_args(SessionState),
}
"""The allowed values of a filter, if it takes one of a few words."""
COUNTED = 1_000
"""Documents counted one by one, among the newest 2,000; if there may be more, the total is a lower bound."""


class Listing:
    """Pages over what is stored."""

    def __init__(
        self, archive: Archive, worlds: Worlds, models: RoleModels, guide_names: Sequence[str]
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._overview = Overview(archive, worlds, models)
        self._guides = guide_names

    def page(
        self, kind: str, environment: str, where: Mapping[str, Any], limit: int, cursor: str, full: bool
    ) -> Page:
        """One page; `where` is checked against the filters of the kind. Run in a worker thread."""
        asked = check_where(kind, where)
        if not 1 <= limit <= 100:
            raise InvalidArgument(f"`limit` is {limit}.", where="limit", allowed="1 to 100")
        if environment:
            self._archive.environments.get(environment, "environment")
            asked["environment"] = environment
        if kind == "overview":
            return Page("overview", [self._overview.row(environment)], 1)
        if kind in ("world", "guide"):
            names = self._worlds.names() if kind == "world" else list(self._guides)
            return _slice(kind, [{"id": name} for name in names], limit, cursor)
        if kind == "conversation":
            return self._conversations(asked, limit, cursor, full)
        if kind == "candidate":
            return self._candidates(asked, limit, cursor)
        if kind == "job":
            return self._jobs(asked, limit, cursor)
        return self._stored(kind, asked, limit, cursor, full)

    def _stored(self, kind: str, asked: Row, limit: int, cursor: str, full: bool) -> Page:
        shelf, row = self._shelf(kind)
        text, tag = asked.pop("text", None), asked.pop("tag", None)
        match = matcher(text, tag, row if kind == "scenario" else None)
        if kind == "environment":
            asked.pop("environment", None)
        if kind == "run" and "series" not in asked:
            asked["purpose"] = "run"
        name = json.dumps([text, tag])
        whole = whole_hardening_row if kind == "hardening" else _whole

        def shown(stored: Any) -> Row:
            return whole(stored) if full and stored.get("split") != "held_out" else row(stored)

        page = shelf.page(asked, limit, cursor, match, name, shown)
        total, least = _tally(shelf.table, asked, match)
        return Page(kind, page.items, total, page.cursor or "", at_least=least)

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
            "session": (archive.sessions, session_row),
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
        return filled_row(
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
        if self._archive.hardenings.find(run_id) is not None:
            runs = [run.id for run in self._archive.runs.where(hardening=run_id)]
            what = f"{run_id} is a hardening: its trials are in its runs."
            raise InvalidArgument(what, where="where.run", allowed=runs or "none yet")
        run = self._archive.runs.get(run_id, "where.run")
        clusters = cluster_names(run)
        fields = trial_fields(run, asked)
        if fields.get("split") == "held_out":
            refuse_while_proving(self._archive, run.environment, "where.split")
        if proving(self._archive, run.environment):
            fields["split"] = "train"

        shelf = self._archive.trials(run_id)

        def shown(row: Any) -> Row:
            return conversation_row(row, run_id, clusters)

        def in_view(row: Any) -> Row:
            return shelf.whole(row) if full and row["split"] == "train" else shown(row)

        match = among(members_of(run, asked), matcher(asked.get("text"), None, shown, shelf.whole))
        page = shelf.page(
            fields, limit, cursor, match, json.dumps([asked.get("text"), asked.get("cluster")]), in_view
        )
        total, least = _tally(shelf.table, fields, match)
        return Page("conversation", page.items, total, page.cursor or "", at_least=least)

    def _candidates(self, asked: Row, limit: int, cursor: str) -> Page:
        fields = {k: v for k, v in asked.items() if k == "environment"}
        text = str(asked.get("text", "")).casefold()

        def wanted(candidate: Candidate) -> bool:
            said = f"{candidate.id} {candidate.why} {candidate.text}".casefold()
            return asked.get("state") in (None, candidate.state) and text in said

        one = asked.get("hardening")
        named = [self._archive.hardenings.get(one, "where.hardening")] if one else None
        if named and fields.get("environment", named[0].environment) != named[0].environment:
            named = []
        hardenings = reversed(self._archive.hardenings.where(**fields) if named is None else named)
        found = [c for h in hardenings for c in reversed(h.candidates) if wanted(c)]
        return _slice("candidate", [candidate_row(c) for c in found], limit, cursor)

    def _jobs(self, asked: Row, limit: int, cursor: str) -> Page:
        fields = {k: v for k, v in asked.items() if k != "text"}
        match = matcher(asked.get("text"), None)
        jobs = self._archive.store.jobs
        page = jobs.page(fields, limit, cursor or None, match, json.dumps(asked.get("text")))
        total, least = _tally(jobs.table, fields, match)
        return Page("job", [job_row(job) for job in page.items], total, page.cursor or "", at_least=least)


def check_where(kind: str, where: Mapping[str, Any]) -> Row:
    """The filters, or an error that lists those of the kind."""
    if kind not in WHERE:
        raise InvalidArgument(
            f"There is no kind `{kind[:40]}`.{did_you_mean(kind, WHERE)}", where="kind", allowed=WHERE
        )
    allowed = WHERE[kind]
    for name, value in where.items():
        if name not in allowed:
            text = f"for {kind}: {', '.join(allowed) or 'none'}"
            raise InvalidArgument(
                f"`where.{name[:60]}` is unknown.{did_you_mean(name, allowed)}", where="where", allowed=text
            )
        if not isinstance(value, str):
            raise InvalidArgument(f"`where.{name}` is no text.", where=f"where.{name}", allowed="a text")
        values = _VALUES.get((kind, name), (value,))
        if value not in values:
            what = f"No {kind} has the {name} `{value[:40]}`.{did_you_mean(value, values)}"
            raise InvalidArgument(what, where=f"where.{name}", allowed=values)
    return dict(where)


def trial_fields(run: RunRecord, asked: Mapping[str, Any]) -> Row:
    """The row fields that filters of conversations require of a run's trials; `text` and `run` are ignored.

    Why a held-out trial failed is not shown, so no check finds it either.
    """
    chosen = {name: value for name, value in asked.items() if name not in ("text", "run", "environment")}
    cluster = chosen.pop("cluster", None)
    if cluster is not None:
        chosen["failed_checks"] = _cluster(run, cluster).check
    renamed = {"check": "failed_checks", "tag": "tags"}
    fields = {renamed.get(name, name): value for name, value in chosen.items()}
    for name in ("persona", "scenario", "simulation"):
        if name in fields:
            fields[name] = str(fields[name]).rpartition("/")[2]
    if "failed_checks" in fields:
        if fields.get("split") == "held_out":
            raise InvalidArgument(
                "Why a held-out conversation failed is not shown: none is found by a check.",
                where="where.split",
                allowed="train, or no `check` and no `cluster`",
            )
        fields["split"] = "train"
    return fields


def members_of(run: RunRecord, asked: Mapping[str, Any]) -> frozenset[str] | None:
    """The simulations of a cluster whose check has no name of its own; None: the check's id identifies it."""
    found = _cluster(run, asked["cluster"]) if "cluster" in asked else None
    return frozenset(found.members) if found and is_unnamed(found.check) else None


def among(simulations: frozenset[str] | None, match: Match | None) -> Match | None:
    """The match, restricted to these simulations (None: all)."""
    if simulations is None:
        return match
    return lambda row: row["simulation"] in simulations and (match is None or match(row))


def cluster_names(run: RunRecord) -> ClusterOf:
    """Which cluster of a run a failed check of a simulation is in, or None."""
    named = {c.check: c.id for c in run.clusters if not is_unnamed(c.check)}
    of = {(c.check, slug): c.id for c in run.clusters for slug in c.members}
    return lambda check, simulation: named.get(check) or of.get((check, simulation))


def _cluster(run: RunRecord, name: Any) -> Cluster:
    found = cluster_named(run.clusters, str(name).rpartition("/")[2])
    if found is None:
        raise InvalidArgument(
            f"{run.id} has no cluster `{str(name)[:80]}`.",
            where="where.cluster",
            allowed=[c.id for c in run.clusters],
        )
    return found


def _whole(row: Any) -> Row:
    return dict(row)


def _slice(kind: str, rows: Sequence[Row], limit: int, cursor: str) -> Page:
    """A page of rows already loaded; the cursor is the number skipped."""
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 8):
        raise InvalidArgument(
            "The cursor belongs to another query.",
            where="cursor",
            allowed="next_cursor of the last page, or none",
            next=[NextCall("list_items", {"kind": kind})],
        )
    skip = int(cursor or 0)
    more = str(skip + limit) if skip + limit < len(rows) else ""
    return Page(kind, list(rows[skip : skip + limit]), len(rows), more)


def _tally(table: Table, where: Mapping[str, Any], match: Match | None) -> tuple[int, bool]:
    """How many there are, and whether there may be more: with a filter only a limited number is inspected."""
    if match is None:
        return table.tally(where), False
    page = table.page(where, COUNTED, None, match)
    return len(page.items), page.cursor is not None


def matcher(
    text: str | None,
    tag: str | None,
    shown: Callable[[Any], Row] | None = None,
    whole: Callable[[Any], Row] = _whole,
) -> Match | None:
    """Whether a document contains the text anywhere and has the tag; None: all do.

    `shown`: what a list shows of it; in a held-out one nothing else is searched. `whole`: all of any other one.
    """
    if not text and not tag:
        return None
    wanted = (text or "").casefold()

    def match(row: Any) -> bool:
        held_out = row.get("split") == "held_out"
        if tag and tag not in row.get("scenario", {}).get("tags", ()):
            return False
        if not wanted:
            return True
        looked = shown(row) if held_out and shown is not None else whole(row)
        return wanted in json.dumps(looked, ensure_ascii=False).casefold()

    return match

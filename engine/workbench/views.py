"""Views: one stored thing, in the part that was asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..errors import HeldOut, InvalidArgument, NextCall, NotFound, did_you_mean, nearest
from ..ids import Place, parse_place
from ..records.conversation import Conversation, SayEntry, ToolEntry
from ..records.hardening import Candidate, Hardening
from ..records.run import RunRecord, TrialRecord
from ..records.verdict import CheckResult
from .archive import Archive
from .environments import Environments
from .jobs import Jobs
from .listing import job_row, run_row
from .results import Item
from .scenarios import Scenarios
from .worlds import Worlds

Body = dict[str, Any]

VIEWS: Mapping[str, Sequence[str]] = {
    "environment": ("summary", "full", "text", "solution"),
    "instructions": ("summary", "full", "text", "diff"),
    "persona": ("summary", "full"),
    "scenario": ("summary", "full", "solution"),
    "simulation": ("summary", "full"),
    "run": ("summary", "full", "clusters", "rounds", "checks"),
    "conversation": ("summary", "full", "turns", "state", "checks"),
    "hardening": ("summary", "full", "rounds", "diff", "checks"),
    "candidate": ("summary", "full", "text", "diff", "checks"),
    "job": ("summary", "full"),
    "world": ("summary", "full", "text"),
    "guide": ("summary", "full", "text"),
}
"""The views of each kind."""
LATER_KINDS = ("session",)


class Views:
    """Reads one thing."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        jobs: Jobs,
        environments: Environments,
        scenarios: Scenarios,
        guides: Callable[[str], str | None],
        guide_names: Sequence[str],
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._jobs = jobs
        self._environments = environments
        self._scenarios = scenarios
        self._guides = guides
        self._guide_names = guide_names
        self._readers: dict[str, Callable[[str, str, int, int], Awaitable[Item]]] = {
            "environment": self._environment,
            "instructions": self._instructions,
            "persona": self._persona,
            "scenario": self._scenario,
            "simulation": self._simulation,
            "run": self._run,
            "conversation": self._conversation,
            "hardening": self._hardening,
            "candidate": self._candidate,
            "job": self._job,
            "world": self._world,
            "guide": self._guide,
        }

    async def get(self, kind: str, id: str, view: str, limit: int, cursor: str) -> Item:
        """The thing. `cursor` is the number of parts to pass over."""
        if kind in LATER_KINDS:
            raise InvalidArgument(f"`{kind}` is not in this version.", where="kind", allowed=VIEWS)
        if kind not in VIEWS:
            raise InvalidArgument(
                f"There is no kind `{kind[:40]}`.{did_you_mean(kind, VIEWS)}", where="kind", allowed=VIEWS
            )
        if view not in VIEWS[kind]:
            raise InvalidArgument(f"{kind} has no view `{view[:40]}`.", where="view", allowed=VIEWS[kind])
        if not 1 <= limit <= 100:
            raise InvalidArgument(f"`limit` is {limit}.", where="limit", allowed="1 to 100")
        if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 8):
            raise InvalidArgument(
                "The cursor is none of this view.", where="cursor", allowed="next_cursor of the page before"
            )
        return await self._readers[kind](id, view, limit, int(cursor or 0))

    async def _environment(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.environments.get(id)
        world = self._worlds.get(record.world)
        if view == "text":
            return Item(
                "environment",
                id,
                view,
                {"policy": world.world.policy},
                ["item.policy"],
                summary=f"The policy of {id}, {len(world.world.policy):,} characters.",
            )
        if view == "solution":
            return await self._all_solutions(id, limit, skip)
        report = self._environments.report(record)
        current = self._environments.current(record)
        body: Body = {
            "id": id,
            "name": record.name,
            "version": record.version,
            "agent": record.agent.model_dump(mode="json", exclude_unset=True) or {"kind": "prompt"},
            "instructions": {"id": current.id, "chars": len(current.text)},
            "world": report.world,
            "counts": report.counts,
            "models": report.models,
            "settings": record.settings.model_dump(mode="json", exclude_unset=True),
        }
        untrusted: list[str] = []
        if view == "full":
            body["instructions"]["text"] = current.text
            body["tools"] = [
                {
                    "name": t.signature.name,
                    "for": t.tool.for_,
                    "kind": t.kind,
                    "description": t.signature.description,
                    "parameters": t.signature.parameters,
                }
                for t in world.tools.values()
            ]
            body["rules"] = [rule.model_dump(mode="json", exclude_unset=True) for rule in world.world.rules]
            untrusted = ["item.instructions.text", "item.tools[].description"]
        counts = report.counts
        summary = f"{id}: {record.agent.kind} agent on {world.world.name or 'an empty world'}, {len(world.tools)} tools, {counts['scenarios']} scenarios ({report.proven} proven), {counts['personas']} personas, instructions {current.id}."
        return Item("environment", id, view, body, untrusted, summary=summary, warnings=report.warnings)

    async def _all_solutions(self, id: str, limit: int, skip: int) -> Item:
        record = self._archive.environments.get(id)
        scenarios = sorted(self._archive.scenarios.where(environment=id), key=lambda s: s.number)
        rows: list[Body] = []
        for scenario in scenarios[skip : skip + limit]:
            report = await self._scenarios.solution(record, scenario.scenario)
            rows.append(
                {
                    "id": scenario.id,
                    **report.model_dump(mode="json", exclude_defaults=True),
                    "status": report.status,
                }
            )
        proven = sum(r["status"] == "proven" for r in rows)
        more = str(skip + limit) if skip + limit < len(scenarios) else ""
        return Item(
            "environment",
            id,
            "solution",
            {"scenarios": rows},
            [],
            more,
            f"{proven} of {len(rows)} checked scenarios are proven solvable.",
        )

    async def _instructions(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.instructions.get(id)
        body: Body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude={"text", "format"}).items()
            if v not in ("", [])
        }
        summary = f"{id}: {len(record.text):,} characters, {record.origin.replace('_', ' ')}" + (
            f" from {record.candidate} ({record.outcome})." if record.candidate else "."
        )
        if view == "diff":
            body["diff"] = self._diff_to(record.base, record.text, id)
        elif view != "summary":
            body["text"] = record.text
        return Item("instructions", id, view, body, ["item.text"] if "text" in body else [], summary=summary)

    def _diff_to(self, base: str, text: str, id: str) -> str:
        before = self._archive.instructions.find(base)
        return self._environments.diff(before.text if before else "", text, base or "nothing", id)

    async def _persona(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.personas.get(id)
        body: Body = {
            "id": id,
            "version": record.version,
            "source": record.source,
            **_written(record.persona),
        }
        if view == "summary" and "data" in body:
            body["data"] = "view full shows it"
        return Item(
            "persona",
            id,
            view,
            body,
            ["item.profile", "item.style", "item.knowledge"],
            summary=f"Persona {id}: {record.persona.style or record.persona.profile[:100] or 'no style'}.",
        )

    async def _scenario(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.scenarios.get(id)
        if view == "solution":
            owner = self._archive.environments.get(record.environment)
            report = await self._scenarios.solution(owner, record.scenario)
            steps = [step.model_dump(mode="json", exclude_unset=True) for step in record.scenario.expected]
            body: Body = {
                "steps": steps,
                **report.model_dump(mode="json", exclude_defaults=True),
                "status": report.status,
            }
            why = (
                f": {report.why}"
                if report.why
                else ", do nothing and transfer at once do not pass"
                if not report.lets_through
                else ""
            )
            return Item(
                "scenario",
                id,
                view,
                body,
                ["item.steps"],
                summary=f"{id} is {report.status}{why}.",
                warnings=list(report.lets_through),
            )
        body = {
            "id": id,
            "number": record.number,
            "split": record.split,
            "spent": record.spent,
            "version": record.version,
            "solution": record.solution.status,
            **_written(record.scenario),
        }
        if view == "summary":
            body["success"] = [
                check.get("id", f"c{k + 1}") for k, check in enumerate(record.scenario.success)
            ]
            body["expected"] = len(record.scenario.expected)
        return Item(
            "scenario",
            id,
            view,
            body,
            ["item.goal", "item.knowledge"],
            summary=f"{id} ({record.split}, {record.solution.status}): {record.scenario.goal[:200]}",
        )

    async def _simulation(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.simulations.get(id)
        results: list[Body] = []
        runs = sorted(
            self._archive.runs.where(environment=record.environment), key=lambda r: r.created_at, reverse=True
        )
        for run in runs[:50]:
            for row in self._archive.trials(run.id).table.walk({"simulation": record.slug}):
                results.append(
                    {
                        "conversation": f"{run.id}/{row['id']}",
                        "verdict": row["verdict"],
                        "instructions": run.instructions,
                    }
                )
            if len(results) >= 5:
                break
        body: Body = {
            k: v for k, v in record.model_dump(mode="json", exclude={"format"}).items() if v not in ("", None)
        }
        body["last_results"] = results[:5]
        return Item(
            "simulation",
            id,
            view,
            body,
            ["item.user_input"],
            summary=f"{id}: {record.scenario} with {record.persona or 'no persona'}; {len(results[:5])} last results.",
        )

    async def _run(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.runs.get(id)
        if view == "clusters":
            rows = [c.model_dump(mode="json", exclude_defaults=True) for c in record.clusters]
            return _paged(
                Item("run", id, view, {}, summary=f"{id} has {len(rows)} failure clusters."),
                "clusters",
                rows,
                limit,
                skip,
            )
        if view == "rounds":
            rows = self.rounds(record.series)
            return _paged(
                Item(
                    "run",
                    id,
                    view,
                    {"series": record.series},
                    summary=f"Series {record.series} has {len(rows)} rounds.",
                ),
                "rounds",
                rows,
                limit,
                skip,
            )
        if view == "checks":
            rows = self._checks_of(record)
            return _paged(
                Item("run", id, view, {}, summary=f"{id}: {len(rows)} checks."), "checks", rows, limit, skip
            )
        exclude = {"instructions_text", "format", "simulations"} if view == "summary" else {"format"}
        body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude=exclude).items()
            if v not in ("", None, [], {})
        }
        body["simulations"] = len(record.simulations) if view == "summary" else record.simulations
        row = run_row(record.model_dump(mode="json"))
        return Item(
            "run",
            id,
            view,
            body,
            ["item.instructions_text"],
            summary=f"{id} (round {record.round}, {record.instructions}): {row.get('passed', 0)} of {row.get('counted', 0)} pass; {record.state}.",
            warnings=record.warnings,
        )

    def rounds(self, series: str) -> list[Body]:
        """Every round of a series: number, run, version, counts, rate, whether it is complete."""
        runs = sorted(self._archive.runs.where(series=series), key=lambda r: (r.round, r.created_at))
        return [
            {
                "round": run.round,
                "run": run.id,
                "instructions": run.instructions,
                "total": len(run.simulations) * run.trials,
                "passed": run.totals.passed,
                "failed": run.totals.failed,
                "inconclusive": run.totals.inconclusive,
                "error": run.totals.error,
                "invalid": run.totals.invalid,
                "rate": run.totals.rate,
                "completed": run.state == "done",
            }
            for run in runs
        ]

    def _checks_of(self, run: RunRecord) -> list[Body]:
        counts: dict[str, Body] = {}
        for row in self._archive.trials(run.id).table.walk():
            for check in row["graded"]["checks"]:
                known = counts.setdefault(
                    check["id"],
                    {
                        "id": check["id"],
                        "kind": check["kind"],
                        "pass": 0,
                        "fail": 0,
                        "inconclusive": 0,
                        "counts": check["counts"],
                    },
                )
                known[check["verdict"]] += 1
        return sorted(counts.values(), key=lambda c: (-c["fail"], c["id"]))

    async def _conversation(self, id: str, view: str, limit: int, skip: int) -> Item:
        place = parse_place(id, "id")
        trial, conversation = self._archive.conversation(place)
        warnings = self._look(conversation, trial, view)
        summary = _conversation_summary(place, trial)
        if view == "turns":
            turns = [
                t for t in conversation_turns(conversation, trial.graded.checks) if t["turn"] >= place.turn
            ]
            item = Item(
                "conversation",
                id,
                view,
                {"verdict": trial.verdict, "end": conversation.end.reason},
                _SAID,
                summary=summary,
                warnings=warnings,
            )
            return _paged(item, "turns", turns, limit, skip)
        if view == "state":
            rows = [
                _change(patch.model_dump(mode="json", exclude_unset=True)) for patch in conversation.delta
            ]
            item = Item(
                "conversation",
                id,
                view,
                {},
                ["item.changes"],
                summary=f"{place.conversation} changed {len(rows)} places of the world.",
                warnings=warnings,
            )
            return _paged(item, "changes", rows, limit, skip)
        if view == "checks":
            rows = [check_row(check) for check in trial.graded.checks]
            body: Body = {
                "verdict": trial.verdict,
                "reward": trial.graded.reward,
                "score": trial.graded.score,
                "grading": trial.graded.grading,
            }
            return _paged(
                Item(
                    "conversation", id, view, body, ["item.checks[].why"], summary=summary, warnings=warnings
                ),
                "checks",
                rows,
                limit,
                skip,
            )
        if view == "full":
            body = {"conversation": conversation.dumped(), "verdict": trial.graded.model_dump(mode="json")}
            return Item(
                "conversation", id, view, body, ["item.conversation.log"], summary=summary, warnings=warnings
            )
        failed = [check_row(c) for c in trial.graded.checks if c.counts and c.verdict != "pass"]
        body = {
            "verdict": trial.verdict,
            "why": trial.graded.why,
            "end": conversation.end.model_dump(mode="json"),
            "turns": trial.turns,
            "calls": sum(isinstance(e, ToolEntry) for e in conversation.log),
            "failed_checks": failed,
            "split": trial.split,
            "instructions": conversation.instructions,
        }
        if trial.see_turn and trial.split == "train":
            body["see"] = f"{place.conversation}@{trial.see_turn}"
        return Item(
            "conversation", id, view, body, ["item.failed_checks[].why"], summary=summary, warnings=warnings
        )

    def _look(self, conversation: Conversation, trial: TrialRecord, view: str) -> list[str]:
        """Held-out conversations are hidden while a proof runs; reading one spends its scenario."""
        if trial.split != "held_out":
            return []
        proving = [
            h.id
            for h in self._archive.hardenings.where(environment=conversation.environment, state="running")
            if h.proving
        ]
        if proving:
            jobs = self._archive.store.jobs.page({"kind": "hardening", "state": "running"}, 1).items
            calls = [NextCall("wait_job", {"job": job.id}) for job in jobs]
            raise HeldOut(
                f"While {proving[0]} is proven, held-out conversations are hidden.",
                where="id",
                allowed="train conversations",
                next=calls,
            )
        if view == "summary":
            return []
        id = f"{conversation.environment}/{conversation.scenario}"
        record = self._archive.scenarios.find(id)
        if record is not None and not record.spent:
            self._archive.scenarios.change(id, lambda r: r.model_copy(update={"spent": True}))
            self._archive.scenarios.audit("spend", id)
        return [f"{id} is held out: having read it, it counts as train for any text that you submit."]

    async def _hardening(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.hardenings.get(id)
        summary = hardening_summary(record)
        if view == "rounds":
            rows = [
                r.model_dump(mode="json", exclude_defaults=True) | {"number": r.number} for r in record.rounds
            ]
            return _paged(
                Item("hardening", id, view, {"state": record.state}, summary=summary),
                "rounds",
                rows,
                limit,
                skip,
            )
        best = record.find(record.candidate)
        if view == "diff":
            return Item(
                "hardening",
                id,
                view,
                {"candidate": best.id if best else "", "diff": best.diff if best else ""},
                ["item.diff"],
                summary=summary,
            )
        if view == "checks":
            evidence = record.evidence.model_dump(mode="json") if record.evidence else {}
            return Item(
                "hardening",
                id,
                view,
                {
                    "evidence": evidence,
                    "guards": [g.model_dump(mode="json") for g in best.guards] if best else [],
                },
                summary=summary,
            )
        exclude = (
            {"base_text", "candidates", "rounds", "brief", "simulations", "train", "held_out", "format"}
            if view == "summary"
            else {"format"}
        )
        body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude=exclude).items()
            if v not in ("", None, [], {}, False)
        }
        body["candidates"] = (
            [c.id for c in record.candidates] if view == "summary" else body.get("candidates", [])
        )
        return Item(
            "hardening",
            id,
            view,
            body,
            ["item.base_text", "item.candidates[].text"],
            summary=summary,
            warnings=record.warnings,
        )

    async def _candidate(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.hardenings.get(id.partition("/")[0])
        found = record.find(id)
        if found is None:
            known = [c.id for c in record.candidates]
            near = nearest(id, known)
            hint = f"; nearest `{near}`" if near else ""
            raise NotFound(
                f"No candidate `{id[:80]}`{hint}.",
                where="id",
                allowed=known,
                next=[NextCall("get_item", {"kind": "hardening", "id": record.id})],
            )
        body = _candidate_body(found, view)
        evidence = f", outcome {found.outcome}" if found.outcome else ""
        return Item(
            "candidate",
            id,
            view,
            body,
            ["item.text", "item.diff"],
            summary=f"{id}: {found.state}{evidence}, by {found.by}.",
        )

    async def _job(self, id: str, view: str, limit: int, skip: int) -> Item:
        job = self._jobs.get(id)
        body = job_row(job) if view == "summary" else job.model_dump(mode="json", exclude={"owner"})
        units = job.units
        return Item(
            "job",
            id,
            view,
            body,
            summary=f"{id} ({job.kind}) is {job.state}: {units.finished} of {units.total} done, {units.failed} failed.",
        )

    async def _world(self, id: str, view: str, limit: int, skip: int) -> Item:
        source = self._worlds.find(id, "id")
        world = self._worlds.compile(source.document, "world").world
        if view == "text":
            return Item("world", id, view, {"policy": world.policy}, summary=f"The policy of {id}.")
        body: Body = {
            "name": id,
            "tools": [t.name for t in world.tools],
            "collections": {
                name: len(rows)
                for name, rows in (*world.db.items(), *world.user_db.items())
                if hasattr(rows, "__len__")
            },
            "personas": len(source.personas),
            "scenarios": len(source.scenarios),
        }
        if view == "full":
            body["tools"] = [
                t.model_dump(mode="json", by_alias=True, exclude_unset=True) for t in world.tools
            ]
            body["schema"] = world.model_dump(
                mode="json", by_alias=True, include={"schema_"}, exclude_unset=True
            ).get("schema", {})
            body["rules"] = [r.model_dump(mode="json", exclude_unset=True) for r in world.rules]
            body["policy"] = world.policy
        return Item(
            "world",
            id,
            view,
            body,
            summary=f"World {id}: {len(world.tools)} tools, {len(source.scenarios)} scenarios, {len(source.personas)} personas.",
        )

    async def _guide(self, id: str, view: str, limit: int, skip: int) -> Item:
        text = self._guides(id)
        if text is None:
            raise NotFound(
                f"No guide `{id[:80]}`.{did_you_mean(id, self._guide_names)}",
                where="id",
                allowed=self._guide_names,
            )
        return Item("guide", id, view, {"text": text}, summary=f"Guide {id}.")


_SAID = ["item.turns[].user", "item.turns[].agent", "item.turns[].calls"]


def conversation_turns(conversation: Conversation, checks: Sequence[CheckResult]) -> list[Body]:
    """The log by turns: what each side said, the calls, what changed, and the checks that were decided there."""
    turns: dict[int, Body] = {}
    for entry in conversation.log:
        turn = turns.setdefault(entry.turn, {"turn": entry.turn})
        if isinstance(entry, SayEntry):
            known = turn.get(entry.by)
            turn[entry.by] = f"{known}\n{entry.say}" if known else entry.say
        elif isinstance(entry, ToolEntry):
            turn.setdefault("calls", []).append(_call_row(entry))
            changes = [_change(p.model_dump(mode="json", exclude_unset=True)) for p in entry.patches]
            if changes:
                turn.setdefault("changes", []).extend(changes)
    for check in checks:
        if check.counts and check.verdict == "fail" and check.turn in turns:
            turns[check.turn].setdefault("checks", []).append(check_row(check))
    return [turns[number] for number in sorted(turns)]


def check_row(check: CheckResult) -> Body:
    """A check as replies show it."""
    row = check.model_dump(mode="json", include={"id", "kind", "verdict", "why", "severity"})
    if check.turn:
        row["turn"] = check.turn
    if not check.counts:
        row["counts"] = False
    return {k: v for k, v in row.items() if v != ""}


def hardening_summary(record: Hardening) -> str:
    """One sentence on how a hardening stands."""
    outcome = f", outcome {record.outcome}" if record.outcome else ""
    marks = f" ({', '.join(record.marks)})" if record.marks else ""
    return f"{record.id} on {record.base}: {record.state}{outcome}{marks}, {record.round} rounds, {len(record.candidates)} candidates."


def _candidate_body(found: Candidate, view: str) -> Body:
    if view == "text":
        return {"id": found.id, "text": found.text}
    if view == "diff":
        return {"id": found.id, "base": found.base, "diff": found.diff}
    if view == "checks":
        evidence = found.evidence.model_dump(mode="json") if found.evidence else {}
        return {
            "id": found.id,
            "guards": [g.model_dump(mode="json") for g in found.guards],
            "evidence": evidence,
        }
    exclude = {"text", "evidence", "diff"} if view == "summary" else set[str]()
    return {
        k: v for k, v in found.model_dump(mode="json", exclude=exclude).items() if v not in ("", None, [], {})
    }


def _conversation_summary(place: Place, trial: TrialRecord) -> str:
    first = next((c for c in trial.graded.checks if c.counts and c.verdict == "fail"), None)
    if first is not None:
        at = f" from turn {place.turn}" if place.turn else ""
        return f"{place.conversation}{at}: {trial.verdict}; check {first.id} failed in turn {trial.see_turn or trial.turns}: {first.why}."
    return f"{place.conversation}: {trial.verdict}, {trial.turns} turns, ended by {trial.end}." + (
        f" {trial.graded.why}" if trial.graded.why else ""
    )


def _call_row(entry: ToolEntry) -> Body:
    row: Body = {
        "tool": entry.tool,
        "args": entry.raw if entry.raw is not None else entry.args,
        "ok": entry.ok,
        "result": entry.result,
    }
    if entry.by != "agent":
        row["by"] = entry.by
    if entry.error:
        row["error"] = entry.error
    return row


def _change(patch: Body) -> Body:
    return {
        k: patch[k]
        for k in ("path", "op", "old", "new")
        if k in patch and not (k == "op" and patch[k] == "set")
    }


def _written(record: Any) -> Body:
    body: Body = record.model_dump(mode="json", by_alias=True, exclude_unset=True)
    body.pop("id", None)
    return body


def _paged(item: Item, name: str, rows: Sequence[Body], limit: int, skip: int) -> Item:
    item.item[name] = list(rows[skip : skip + limit])
    left = len(rows) - skip - limit
    if left > 0:
        item.next_cursor = str(skip + limit)
        item.item[f"{name}_total"] = len(rows)
    return item

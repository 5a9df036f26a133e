"""Hardenings: search for better instructions, prove them on held-out scenarios, decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from ..errors import Conflict, InvalidArgument, NextCall, NotFound
from ..evaluate import clusters
from ..harden import (
    Case,
    Hardener,
    RulesWriter,
    TrialOutcome,
    check_promotion,
    count_looks,
    hidden_texts,
    known_of,
)
from ..records.authored import Authored, load
from ..records.environment import EnvironmentRecord, InstructionsRecord, ModelChoice
from ..records.hardening import Edit, Hardening, HardeningLimits
from ..records.job import Job
from ..records.run import Cluster, RunRecord
from ..records.scenario import Scenario, ScenarioRecord
from ..records.simulation import SimulationRecord
from .archive import Archive, utc_now
from .arena import Arena, can_serve_as_base
from .environments import Environments
from .jobs import Jobs, Progress
from .results import HardeningReport
from .runs import Runs
from .select import Selector
from .simulations import Simulations
from .trials import TrialRunner
from .worlds import Worlds

STRATEGIES = ("auto", "rules", "submit")
_LATER = ("budget", "target", "confirm_on")


class HardenOptions(Authored):
    """`options` of a hardening."""

    trials: int = Field(default=0, ge=0, le=50)
    """0: one where everything is deterministic, else three."""
    patience: int = Field(default=2, ge=1, le=20)
    """Rounds in a row without a better text before it stops."""
    seed: int | None = Field(default=None, ge=-(2**53), le=2**53)
    select: list[str] = Field(default_factory=lambda: ["all"])


class Hardenings:
    """Starts, continues and decides hardenings."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        trials: TrialRunner,
        jobs: Jobs,
        environments: Environments,
        simulations: Simulations,
        runs: Runs,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._trials = trials
        self._jobs = jobs
        self._environments = environments
        self._simulations = simulations
        self._runs = runs
        jobs.handle("hardening", self._perform)

    async def harden(
        self,
        environment: str,
        *,
        strategy: str = "auto",
        hardening: str = "",
        run: str = "",
        rounds: int = 5,
        models: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        wait_s: float = 20,
        idempotency_key: str = "",
        on_progress: Progress | None = None,
    ) -> HardeningReport:
        """Search and prove (`auto`, `rules`), or give a brief to write from (`submit`). Puts nothing in place."""
        owner = self._archive.environments.get(environment, "environment")
        if hardening:
            return await self._go_on(owner, hardening, wait_s, on_progress)
        opted = _options(options)
        spec: dict[str, Any] = {
            "environment": environment,
            "strategy": _strategy(strategy),
            "run": run,
            "rounds": rounds,
            "models": dict(models or {}),
            "options": opted.model_dump(mode="json", exclude_unset=True),
        }
        base = self._archive.runs.get(run, "run") if run else None
        if base is not None and base.environment != environment:
            raise InvalidArgument(
                f"{base.id} is a run of {base.environment}.", where="run", allowed="a run of this environment"
            )
        if base is not None and base.state != "done":
            raise Conflict(
                f"{base.id} is {base.state}.", where="run", next=[NextCall("wait_job", {"job": base.job})]
            )
        job, new = self._jobs.create(
            "hardening", {**spec, "op": "harden"}, idempotency_key, environment=environment
        )
        if new and not self._of_job(job):
            try:
                self._begin(owner, spec, job, base)
            except BaseException:
                self._archive.store.jobs.mark(job.id, "failed")
                raise
        if new:
            self._jobs.launch(job)
        job = await self._jobs.settled(job.id, wait_s, on_progress)
        return self.report_of(job)

    async def submit(
        self,
        hardening: str,
        *,
        instructions: str = "",
        edits: Sequence[Any] = (),
        why: str = "",
        cluster: str = "",
        wait_s: float = 20,
        idempotency_key: str = "",
        on_progress: Progress | None = None,
    ) -> HardeningReport:
        """A client's own text: guards at once; what passes them is run on train and, if it holds, proven."""
        record = self._archive.hardenings.get(hardening, "hardening")
        owner = self._archive.environments.get(record.environment)
        spec = {
            "op": "submit",
            "hardening": hardening,
            "instructions": instructions,
            "edits": [dict(load(Edit, e, f"edits[{k}]").model_dump()) for k, e in enumerate(edits)],
            "why": why,
            "cluster": cluster,
        }
        if idempotency_key:
            found = self._archive.store.jobs.table.walk({"key": idempotency_key, "kind": "hardening"})
            known = next(iter(found), None)
            if known is not None:
                job, _ = self._jobs.create("hardening", spec, idempotency_key, environment=owner.id)
                return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))
        hardener, _ = self._hardener(record, _silent)
        candidate = hardener.submit(
            record,
            instructions=instructions,
            edits=[load(Edit, e, f"edits[{k}]") for k, e in enumerate(edits)],
            why=why,
            cluster=cluster,
        )
        self._archive.hardenings.put(record.id, record)
        self._archive.store.audit("submit", "candidate", candidate.id)
        if candidate.state == "refused":
            return self.report(record, candidate.id)
        job, _ = self._jobs.create(
            "hardening", spec, idempotency_key, environment=owner.id, candidate=candidate.id
        )
        self._jobs.launch(job)
        job = await self._jobs.settled(job.id, wait_s, on_progress)
        return self.report_of(job)

    async def decide(
        self, candidate: str, decision: str, *, reason: str = "", override: bool = False
    ) -> HardeningReport:
        """Promote or reject a candidate (`hard-2/c1`), or roll back to a version (`support@1`)."""
        if decision == "roll_back":
            return self._roll_back(candidate)
        if decision not in ("promote", "reject"):
            raise InvalidArgument(
                f"`{decision[:40]}` is no decision.", where="decision", allowed="promote, reject, roll_back"
            )
        record = self._archive.hardenings.get(candidate.partition("/")[0], "candidate")
        found = record.find(candidate)
        if found is None:
            known = ", ".join(c.id for c in record.candidates) or "none yet"
            raise NotFound(f"No candidate `{candidate[:80]}`.", where="candidate", allowed=known)
        if decision == "reject":
            return self._reject(record, found.id, reason)
        return self._promote(record, found.id, reason, override)

    def report(
        self, record: Hardening, candidate: str = "", job: Job | None = None, **fields: Any
    ) -> HardeningReport:
        """A hardening as it stands; `candidate` empty: the best."""
        going = job if job is not None and not job.ended else None
        return HardeningReport(
            record, candidate or record.candidate, going, warnings=list(record.warnings), **fields
        )

    def report_of(self, job: Job) -> HardeningReport:
        """What a job's starter would have returned."""
        row = self._archive.store.jobs.table.fetch(job.id, "job")
        id = row.get("hardening") or job.spec.get("hardening") or ""
        if job.state == "failed" and job.error:
            raise Conflict(
                f"{job.id} failed: {job.error.get('what', '')}", where=str(job.error.get("where") or "job")
            )
        return self.report(self._archive.hardenings.get(id, "hardening"), str(row.get("candidate", "")), job)

    def open_of(self, environment: str) -> Hardening | None:
        """The hardening of an environment that is running, or open for candidates."""
        found = [
            h
            for h in self._archive.hardenings.where(environment=environment)
            if h.state in ("open", "running")
        ]
        return found[-1] if found else None

    async def _go_on(
        self, owner: EnvironmentRecord, id: str, wait_s: float, on_progress: Progress | None
    ) -> HardeningReport:
        record = self._archive.hardenings.get(id, "hardening")
        if record.environment != owner.id:
            raise InvalidArgument(
                f"{id} is of {record.environment}.",
                where="hardening",
                allowed="a hardening of this environment",
            )
        rows = list(self._archive.store.jobs.table.walk({"kind": "hardening"}))
        row = next(
            (r for r in rows if r.get("hardening") == id or r.get("spec", {}).get("hardening") == id), None
        )
        if row is None:
            return self.report(record)
        job = self._jobs.get(str(row.doc_id))
        if job.state in ("cancelled", "paused", "failed") and record.state in ("cancelled", "running"):
            job = self._jobs.again(job.id)
        job = await self._jobs.settled(job.id, wait_s, on_progress)
        return self.report_of(job)

    def _begin(
        self, owner: EnvironmentRecord, spec: Mapping[str, Any], job: Job, base: RunRecord | None
    ) -> Hardening:
        """The record of a new hardening; one at a time for an environment."""
        other = self.open_of(owner.id)
        if other is not None:
            calls = [NextCall("harden_agent", {"environment": owner.id, "hardening": other.id})]
            if other.candidates:
                args = {"candidate": other.candidates[-1].id, "decision": "reject"}
                calls.append(NextCall("decide_candidate", args))
            raise Conflict(
                f"{other.id} is open on {owner.id}; one at a time.", where="environment", next=calls
            )
        opted = _options(spec["options"])
        version = self._environments.current(owner)
        if base is not None:
            id, text = self._runs.chosen_text(owner, base.instructions, "run")
            if (id, text) != (version.id, version.text):
                version = InstructionsRecord(id=id, environment=owner.id, number=0, text=text)
        if not version.text.strip():
            raise Conflict(
                f"{owner.id} has no instructions to harden.",
                where="environment",
                next=[
                    NextCall(
                        "update_item",
                        {"kind": "environment", "id": owner.id, "changes": {"instructions": "..."}},
                    )
                ],
            )
        models = self._environments.models(owner, load(ModelChoice, spec["models"], "models"))
        if base is not None and not spec["models"]:
            models = dict(base.models)
        record = Hardening(
            id=self._archive.store.next_id("hard"),
            environment=owner.id,
            base=version.id,
            base_text=version.text,
            strategy="rules" if spec["strategy"] == "auto" else spec["strategy"],
            seed=opted.seed if opted.seed is not None else (base.seed if base else owner.settings.seed),
            limits=HardeningLimits(
                rounds=spec["rounds"],
                patience=opted.patience,
                trials=opted.trials,
                locked=owner.settings.locked,
            ),
            models=models,
            base_run=base.id if base else "",
            simulations=self._chosen(owner, opted, base),
            created_at=utc_now(),
        )
        record.looks = self._looks_before(record)
        self._archive.hardenings.put(record.id, record)
        self._archive.store.jobs.table.update({"hardening": record.id}, doc_ids=[job.id])
        self._archive.store.audit("create", "hardening", record.id)
        return record

    def _chosen(self, owner: EnvironmentRecord, opted: HardenOptions, base: RunRecord | None) -> list[str]:
        if base is not None and opted.select == ["all"]:
            known = {s.slug for s in self._archive.simulations.where(environment=owner.id)}
            return [slug for slug in base.simulations if slug in known]
        if not self._archive.simulations.count(environment=owner.id):
            self._simulations.cover(owner)
        return [s.slug for s in Selector(self._archive, owner.id).resolve(opted.select, "options.select")]

    def _looks_before(self, record: Hardening) -> int:
        held_out = self._held_out_scenarios(record)
        others = self._archive.hardenings.where(environment=record.environment)
        proofs = [h.held_out for h in others if h.id != record.id for _ in range(self._proofs(h))]
        return count_looks(held_out, proofs)

    def _proofs(self, hardening: Hardening) -> int:
        return sum(c.evidence is not None and c.evidence.held_out is not None for c in hardening.candidates)

    def _held_out_scenarios(self, record: Hardening) -> list[str]:
        used = {s.scenario for s in self._simulations_of(record)}
        rows = self._archive.scenarios.where(environment=record.environment, split="held_out")
        return [r.scenario.id for r in rows if r.scenario.id in used]

    def _simulations_of(self, record: Hardening) -> list[SimulationRecord]:
        chosen = set(record.simulations)
        return [
            s for s in self._archive.simulations.where(environment=record.environment) if s.slug in chosen
        ]

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """The work of a hardening's job: search and prove, or prove a submitted candidate."""
        record = self._of_job(job)
        if record is None:
            owner = self._archive.environments.get(job.spec["environment"])
            run = job.spec["run"]
            record = self._begin(owner, job.spec, job, self._archive.runs.get(run) if run else None)
        done = 0

        async def tell(trials: int) -> None:
            nonlocal done
            done += trials
            self._archive.store.jobs.progress(job.id, completed=done, total=done)

        hardener, arena = self._hardener(record, tell)
        row = self._archive.store.jobs.table.fetch(job.id, "job")
        try:
            if row.get("candidate"):
                record = await hardener.prove(record, str(row["candidate"]))
            else:
                record = await hardener.run(record)
        except BaseException:
            self._archive.hardenings.change(record.id, _interrupted)
            raise
        finally:
            for cases in arena.runs().values():
                self._runs.score(cases.run.id, 0.0)
        if record.outcome is not None and not record.ended_at:
            record.ended_at = utc_now()
            self._archive.hardenings.put(record.id, record)
        return {"hardening": record.id}

    def _of_job(self, job: Job) -> Hardening | None:
        row = self._archive.store.jobs.table.fetch(job.id, "job")
        id = row.get("hardening") or job.spec.get("hardening")
        return self._archive.hardenings.find(str(id)) if id else None

    def _hardener(self, record: Hardening, tell: Any) -> tuple[Hardener, Arena]:
        owner = self._archive.environments.get(record.environment)
        simulations = self._simulations_of(record)
        scenarios = {r.scenario.id: r for r in self._archive.scenarios.where(environment=owner.id)}
        base = self._archive.runs.find(record.base_run) if record.base_run else None
        pattern = RunRecord(
            id="",
            environment=owner.id,
            world=base.world if base else owner.world,
            models=record.models,
            agent=owner.agent.model_dump(mode="json", exclude_unset=True),
            simulations=[s.slug for s in simulations],
            seed=record.seed,
            options={"limits": owner.settings.limits, "user_guidelines": owner.settings.user_guidelines},
        )
        if base is not None and not can_serve_as_base(base, pattern, record):
            record.warnings.append(f"{base.id} was made under other settings; the base is run anew.")
            base = None
        arena = Arena(self._archive, self._trials, record, pattern, simulations, owner.agent, base, tell)
        world = self._worlds.get(pattern.world)

        def found(outcomes: Sequence[TrialOutcome]) -> list[Cluster]:
            specs = {id: r.scenario for id, r in scenarios.items()}
            rows = [r for r in arena.records(outcomes) if r.split == "train"]
            run = outcomes[0].conversation.partition("/")[0] if outcomes else ""
            return clusters(rows, world, specs, run)

        async def save(hardening: Hardening) -> None:
            self._archive.hardenings.put(hardening.id, hardening)

        used = {s.scenario for s in simulations}
        personas = [r.persona for r in self._archive.personas.where(environment=owner.id)]
        hardener = Hardener(
            trials=arena,
            cases=[
                Case(s.slug, s.scenario, scenarios[s.scenario].split, scenarios[s.scenario].spent)
                for s in simulations
            ],
            clusters=found,
            known=known_of(world.world),
            hidden=hidden_texts([_told_split(scenarios[id]) for id in sorted(used)], personas, world.world),
            writer=RulesWriter() if record.strategy == "rules" else None,
            save=save,
        )
        return hardener, arena

    def _promote(self, record: Hardening, candidate: str, reason: str, override: bool) -> HardeningReport:
        found = record.find(candidate)
        if found is not None and found.became:
            version = self._archive.instructions.get(found.became)
            return self.report(record, candidate, became=version)
        found = check_promotion(record, candidate, override=override, reason=reason)
        owner = self._archive.environments.get(record.environment)
        current = self._environments.current(owner)
        if current.id != record.base:
            raise Conflict(
                f"{owner.id} is at {current.id} now; {candidate} was proven against {record.base}.",
                where="candidate",
                allowed="a hardening of the current version",
                next=[NextCall("harden_agent", {"environment": owner.id})],
            )
        if found.outcome != "improved" and "overridden" not in record.marks:
            record.marks.append("overridden")
        wrote = self._environments.write_file(owner, found.text)
        version = self._environments.new_version(
            owner.id,
            found.text,
            origin="promoted",
            candidate=candidate,
            outcome=found.outcome or "",
            marks=list(record.marks),
        )
        found.became = version.id
        record.state, record.candidate, record.reason = "promoted", candidate, reason
        record.ended_at = record.ended_at or utc_now()
        self._archive.hardenings.put(record.id, record)
        return self.report(record, candidate, became=version, wrote_file=wrote)

    def _reject(self, record: Hardening, candidate: str, reason: str) -> HardeningReport:
        if record.state == "running":
            raise Conflict(f"{record.id} is still running.", where="candidate")
        found = record.find(candidate)
        if found is not None and found.became:
            args = {"candidate": record.base, "decision": "roll_back"}
            raise Conflict(
                f"{candidate} is {found.became} already.",
                where="candidate",
                next=[NextCall("decide_candidate", args)],
            )
        if found is not None:
            found.state = "rejected"
        record.state, record.reason = "rejected", reason
        record.ended_at = record.ended_at or utc_now()
        self._archive.hardenings.put(record.id, record)
        self._archive.store.audit("reject", "candidate", candidate, reason=reason[:500])
        return self.report(record, candidate)

    def _roll_back(self, version: str) -> HardeningReport:
        record = self._archive.instructions.get(version, "candidate")
        owner = self._environments.roll_back(record.environment, record.number)
        wrote = self._environments.write_file(owner, record.text)
        hardenings = self._archive.hardenings.where(environment=owner.id)
        last = next((h for h in reversed(hardenings) if h.state == "promoted"), None)
        if last is None:
            last = Hardening(
                id="", environment=owner.id, base=version, base_text=record.text, strategy="submit"
            )
        return self.report(last, became=record, wrote_file=wrote)


async def _silent(trials: int) -> None:
    """Nobody is told."""


def _interrupted(record: Hardening) -> Hardening:
    """A hardening whose job was stopped: the starting call goes on with it."""
    if record.state == "running":
        record.state, record.stop_reason = "cancelled", "cancelled"
    return record


def _strategy(strategy: str) -> str:
    if strategy in STRATEGIES:
        return strategy
    later = " is not in this version" if strategy == "reflect" else " is no strategy"
    raise InvalidArgument(f"`{strategy[:40]}`{later}.", where="strategy", allowed=STRATEGIES)


def _options(options: Mapping[str, Any] | None) -> HardenOptions:
    given = dict(options or {})
    later = next((name for name in _LATER if name in given), None)
    if later is not None:
        allowed = ", ".join(HardenOptions.model_fields)
        raise InvalidArgument(f"`{later}` is not in this version.", where=f"options.{later}", allowed=allowed)
    return load(HardenOptions, given, "options")


def _told_split(record: ScenarioRecord) -> Scenario:
    """The scenario with the split that it was stored under."""
    return record.scenario.model_copy(update={"split": record.split})

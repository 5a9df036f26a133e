"""Hardenings: search for better instructions, prove them on held-out scenarios, decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
from pydantic import Field

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, NotFound
from ..harden import count_looks
from ..records.authored import Authored, load
from ..records.environment import EnvironmentRecord, ModelChoice
from ..records.hardening import Edit, Hardening, HardeningLimits
from ..records.job import Job
from ..records.run import RunRecord
from .archive import Archive, utc_now
from .decisions import Decisions
from .instructions import Instructions
from .jobs import Jobs, Progress, check_wait
from .plain import check_plain, check_range
from .proving import Proving
from .results import HardeningReport
from .role_models import RoleModels
from .run_drafts import RunDrafts
from .select import Selector
from .simulations import Simulations

STRATEGIES = ("auto", "rules", "submit")
MOST_ROUNDS = 20
_LATER = ("budget", "target", "confirm_on")
_OPEN = ("open", "running")


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
        jobs: Jobs,
        models: RoleModels,
        instructions: Instructions,
        simulations: Simulations,
        drafts: RunDrafts,
        proving: Proving,
    ) -> None:
        self._archive = archive
        self._jobs = jobs
        self._models = models
        self._simulations = simulations
        self._instructions = instructions
        self._drafts = drafts
        self._proving = proving
        self._decisions = Decisions(archive, instructions)
        jobs.handle("hardening", self._perform, self._stopped)

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
        check_wait(wait_s)
        check_range(rounds, "rounds", 1, MOST_ROUNDS)
        check_plain(dict(models or {}), "models")
        owner = self._archive.environments.get(environment, "environment")
        if hardening:
            return await self._go_on(owner, hardening, wait_s, on_progress)
        spec: dict[str, Any] = {
            "op": "harden",
            "environment": environment,
            "strategy": _strategy(strategy),
            "run": run,
            "rounds": rounds,
            "models": dict(models or {}),
            "options": _options(options).model_dump(mode="json", exclude_unset=True),
        }
        draft: Hardening | None = None
        if not self._jobs.known("hardening", idempotency_key):
            draft = await anyio.to_thread.run_sync(self._draft, spec)
        job, new = self._jobs.create("hardening", spec, idempotency_key, environment=environment)
        if new:
            try:
                self._begin(job, draft)
            except CasehardenError as error:
                self._jobs.give_up(job, error)
                raise
            self._jobs.launch(job)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

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
        check_wait(wait_s)
        record = self._archive.hardenings.get(hardening, "hardening")
        for name, value in (("why", why), ("cluster", cluster)):
            if len(value) > 2000:
                raise InvalidArgument(
                    f"`{name}` has {len(value):,} characters.", where=name, allowed="up to 2,000"
                )
        check_plain([instructions, *edits], "edits")
        spec = {
            "op": "submit",
            "hardening": hardening,
            "instructions": instructions,
            "edits": [load(Edit, e, f"edits[{k}]").model_dump() for k, e in enumerate(edits)],
            "why": why,
            "cluster": cluster,
        }
        if not self._jobs.known("hardening", idempotency_key):
            await self._may_submit(record)
        job, new = self._jobs.create(
            "hardening", spec, idempotency_key, environment=record.environment, hardening=record.id
        )
        if new:
            try:
                refused = await anyio.to_thread.run_sync(self._submit, job)
            except CasehardenError:
                self._archive.store.delete_job(job.id)
                raise
            if refused:
                self._archive.store.jobs.mark(job.id, "done", result={"hardening": hardening})
            else:
                self._jobs.launch(job)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    async def decide(
        self, candidate: str, decision: str, *, reason: str = "", override: bool = False
    ) -> HardeningReport:
        """Promote or reject a candidate (`hard-2/c1`), close a hardening (`hard-2`), or go back to `support@1`."""
        return self._decisions.decide(candidate, decision, reason, override)

    def report(self, record: Hardening, candidate: str = "", job: Job | None = None) -> HardeningReport:
        """A hardening as it stands; `candidate` empty: the best."""
        going = job if job is not None and not job.ended else None
        return HardeningReport(record, candidate or record.candidate, going, warnings=list(record.warnings))

    def report_of(self, job: Job) -> HardeningReport:
        """What a job's starter would have returned; its error when it failed."""
        self._jobs.raise_failure(job)
        row = self._archive.store.jobs.table.fetch(job.id, "job")
        record = self._of_job(job)
        if record is None:
            raise NotFound(
                f"{job.id} has no hardening: it was deleted.",
                where="job",
                next=[NextCall("list_items", {"kind": "hardening"})],
            )
        return self.report(record, str(row.get("candidate", "")), job)

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
        job = self._job_of(record)
        if job is None:
            return self.report(record)
        if job.state in ("cancelled", "paused", "failed") and record.state in ("cancelled", *_OPEN):
            if record.state == "cancelled":
                self._none_open(owner)
            job = self._jobs.again(job.id)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    def _job_of(self, record: Hardening) -> Job | None:
        """The newest job of a hardening."""
        rows = self._archive.store.jobs.table.walk({"environment": record.environment, "kind": "hardening"})
        row = next((row for row in rows if row.get("hardening") == record.id), None)
        return self._jobs.get(str(row.doc_id)) if row else None

    def _none_open(self, owner: EnvironmentRecord) -> None:
        """Conflict when a hardening of the environment is running or open for candidates; it says how to close it."""
        found = [h for h in self._archive.hardenings.where(environment=owner.id) if h.state in _OPEN]
        if not found:
            return
        other = found[-1]
        calls = [NextCall("harden_agent", {"environment": owner.id, "hardening": other.id})]
        if other.state == "open":
            last = other.candidates[-1].id if other.candidates else other.id
            calls.append(NextCall("decide_candidate", {"candidate": last, "decision": "reject"}, "closes it"))
        elif (job := self._job_of(other)) is not None:
            calls.append(NextCall("cancel_job", {"job": job.id}))
        raise Conflict(
            f"{other.id} is {other.state} on {owner.id}; one at a time.", where="environment", next=calls
        )

    def _draft(self, spec: Mapping[str, Any]) -> Hardening:
        """The record that a call asks for, checked but not stored; its id and time are still empty."""
        owner = self._archive.environments.get(spec["environment"], "environment")
        base = self._base(owner, spec["run"])
        self._none_open(owner)
        opted = _options(spec["options"])
        version = base.instructions if base else self._instructions.current(owner).id
        id, text = self._drafts.text(owner, version, "run")
        if not text.strip():
            args = {"kind": "environment", "id": owner.id, "changes": {"instructions": "..."}}
            raise Conflict(
                f"{owner.id} has no instructions to harden.",
                where="environment",
                next=[NextCall("update_item", args)],
            )
        models = self._models.of(owner, load(ModelChoice, spec["models"], "models"))
        if base is not None and not spec["models"]:
            models = dict(base.models)
        seed = opted.seed if opted.seed is not None else base.seed if base else owner.settings.seed
        return Hardening(
            id="",
            environment=owner.id,
            base=id,
            base_text=text,
            strategy="rules" if spec["strategy"] == "auto" else spec["strategy"],
            state="running",
            seed=seed,
            limits=HardeningLimits(
                rounds=spec["rounds"],
                patience=opted.patience,
                trials=opted.trials,
                locked=owner.settings.locked,
            ),
            models=models,
            base_run=base.id if base else "",
            simulations=self._chosen(owner, opted, base),
        )

    def _base(self, owner: EnvironmentRecord, run: str) -> RunRecord | None:
        if not run:
            return None
        base = self._archive.runs.get(run, "run")
        if base.environment != owner.id:
            raise InvalidArgument(
                f"{base.id} is a run of {base.environment}.", where="run", allowed="a run of this environment"
            )
        if base.state == "running":
            raise Conflict(
                f"{base.id} is running.", where="run", next=[NextCall("wait_job", {"job": base.job})]
            )
        if base.state != "done":
            resume = {"environment": owner.id, "options": {"resume": base.id}}
            raise Conflict(
                f"{base.id} is {base.state}.", where="run", next=[NextCall("run_simulations", resume)]
            )
        return base

    def _begin(self, job: Job, draft: Hardening | None) -> Hardening:
        """The record of a job's hardening, stored; the one that is there when the job is begun again."""
        known = self._of_job(job)
        if known is not None:
            return known
        record = draft or self._draft(job.spec)
        self._none_open(self._archive.environments.get(record.environment))
        record.id, record.created_at = self._archive.store.next_id("hard"), utc_now()
        record.looks = self._looks_before(record)
        self._archive.hardenings.put(record.id, record)
        self._archive.store.jobs.table.update({"hardening": record.id}, doc_ids=[job.id])
        self._archive.hardenings.audit("create", record.id)
        return record

    def _chosen(self, owner: EnvironmentRecord, opted: HardenOptions, base: RunRecord | None) -> list[str]:
        if base is not None and opted.select == ["all"]:
            known = {s.slug for s in self._archive.simulations.where(environment=owner.id)}
            return [slug for slug in base.simulations if slug in known]
        if not self._archive.simulations.count(environment=owner.id):
            self._simulations.cover(owner.id)
        return [s.slug for s in Selector(self._archive, owner.id).resolve(opted.select, "options.select")]

    def _looks_before(self, record: Hardening) -> int:
        """How many proofs of this environment read scenarios of this held-out set before."""
        used = {s.scenario for s in self._proving.simulations(record)}
        rows = self._archive.scenarios.where(environment=record.environment, split="held_out")
        held_out = [r.scenario.id for r in rows if r.scenario.id in used]
        others = self._archive.hardenings.where(environment=record.environment)
        proofs = [h.held_out for h in others if h.id != record.id for _ in range(_proofs(h))]
        return count_looks(held_out, proofs)

    async def _may_submit(self, record: Hardening) -> None:
        """Conflict, with what to wait for, while another step of the hardening goes on."""
        if record.state != "running":
            return
        job = self._job_of(record)
        what = (
            "its base round is not over yet" if record.brief is None else "another candidate is being proven"
        )
        calls = [NextCall("wait_job", {"job": job.id})] if job else []
        raise Conflict(
            f"{record.id} is running: {what}.",
            where="hardening",
            allowed="an open hardening",
            next=calls,
        )

    def _submit(self, job: Job) -> bool:
        """Put the job's text into its hardening as a candidate, once; whether a guard refused it."""
        spec = job.spec
        row = self._archive.store.jobs.table.fetch(job.id, "job")
        record = self._archive.hardenings.get(spec["hardening"], "hardening")
        known = record.find(str(row.get("candidate", "")))
        if known is not None:
            return known.state == "refused"
        hardener = self._proving.guarded(record)
        made: list[tuple[str, bool]] = []

        def add(stored: Hardening) -> Hardening:
            candidate = hardener.submit(
                stored,
                instructions=spec["instructions"],
                edits=[load(Edit, e, "edits") for e in spec["edits"]],
                why=spec["why"],
                cluster=spec["cluster"],
            )
            made.append((candidate.id, candidate.state == "refused"))
            if candidate.state != "refused":
                stored.state = "running"
            return stored

        self._archive.hardenings.change(record.id, add)
        id, refused = made[-1]
        self._archive.store.jobs.table.update({"candidate": id}, doc_ids=[job.id])
        self._archive.store.audit("submit", "candidate", id)
        return refused

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """The work of a hardening's job: search and prove, or prove a submitted candidate."""
        done = 0

        async def tell(trials: int) -> None:
            nonlocal done
            done += trials
            self._archive.store.jobs.progress(job.id, completed=done, total=done)

        if job.spec["op"] == "submit":
            if not await anyio.to_thread.run_sync(self._submit, job):
                row = self._archive.store.jobs.table.fetch(job.id, "job")
                record = self._archive.hardenings.get(job.spec["hardening"])
                await self._proving.prove(record, str(row["candidate"]), tell)
            return {"hardening": job.spec["hardening"]}
        record = self._of_job(job) or await anyio.to_thread.run_sync(self._begin, job, None)
        await self._proving.search(record, tell)
        return {"hardening": record.id}

    async def _stopped(self, job: Job, state: str) -> None:
        """A hardening whose job was stopped can be gone on with; one that waits for candidates is open again."""
        record = self._of_job(job)
        if record is None:
            return

        def interrupt(stored: Hardening) -> Hardening:
            stored.proving = False
            if stored.state == "running":
                waits = job.spec["op"] == "submit"
                before = "decided" if stored.outcome else "open"
                stored.state = before if waits else "cancelled"
                stored.stop_reason = stored.stop_reason if waits else state
            return stored

        self._archive.hardenings.change(record.id, interrupt)
        await anyio.to_thread.run_sync(self._proving.score_runs, record.id)

    def _of_job(self, job: Job) -> Hardening | None:
        row = self._archive.store.jobs.table.fetch(job.id, "job")
        id = row.get("hardening")
        return self._archive.hardenings.find(str(id)) if id else None


def _proofs(hardening: Hardening) -> int:
    return sum(c.evidence is not None and c.evidence.held_out is not None for c in hardening.candidates)


def _strategy(strategy: str) -> str:
    if strategy in STRATEGIES:
        return strategy
    later = " is not in this version" if strategy == "reflect" else " is no strategy"
    raise InvalidArgument(f"`{strategy[:40]}`{later}.", where="strategy", allowed=STRATEGIES)


def _options(options: Mapping[str, Any] | None) -> HardenOptions:
    given = dict(options or {})
    check_plain(given, "options")
    later = next((name for name in _LATER if name in given), None)
    if later is not None:
        allowed = ", ".join(HardenOptions.model_fields)
        raise InvalidArgument(f"`{later}` is not in this version.", where=f"options.{later}", allowed=allowed)
    return load(HardenOptions, given, "options")

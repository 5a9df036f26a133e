"""What a call wants hardened: text, base run, simulations and models, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import Field

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall
from ..records.authored import Authored, load
from ..records.environment import EnvironmentRecord, ModelChoice, ModelName, short_name
from ..records.hardening import Hardening, HardeningLimits, Strategy, Target
from ..records.job import Job
from ..records.run import RunRecord
from .archive import Archive, utc_now
from .budget import Budget
from .hardening_locks import HardeningLocks
from .instructions import Instructions
from .pacing import PAUSE_AFTER
from .plain import check_plain
from .role_models import RoleModels
from .run_drafts import CassetteUse, RunDrafts, cassette_warnings
from .select import Selector
from .simulations import Simulations
from .snapshots import Snapshots

STRATEGIES = ("auto", "rules", "reflect", "submit")


class HardenOptions(Authored):
    """`options` of a hardening."""

    trials: int = Field(default=0, ge=0, le=50)
    """0: one if everything is deterministic, else three."""
    patience: int = Field(default=2, ge=1, le=20)
    """Consecutive rounds without a better text before it stops."""
    seed: int | None = Field(default=None, ge=-(2**53), le=2**53)
    select: list[str] = Field(default_factory=lambda: ["all"])
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    """Default: the environment's."""
    pause_after: int = Field(default=PAUSE_AFTER, ge=0, le=100_000)
    """Consecutive identical infrastructure failures that pause it; 0: never."""
    budget: Budget | None = None
    """The most that all its trials may use; seconds count from its start or last resumption."""
    cassette: CassetteUse | None = None
    target: Target = "instructions"
    """The part of the text to harden."""

    @property
    def spending(self) -> dict[str, float]:
        """The budget as stored."""
        return self.budget.limits if self.budget else {}


class HardeningDrafts:
    """Makes the record of a hardening from a call, and begins it. Run in a worker thread."""

    def __init__(
        self,
        archive: Archive,
        models: RoleModels,
        instructions: Instructions,
        simulations: Simulations,
        drafts: RunDrafts,
        locks: HardeningLocks,
        snapshots: Snapshots,
    ) -> None:
        archive.hardenings.table.declare(["job"])
        self._archive = archive
        self._models = models
        self._instructions = instructions
        self._simulations = simulations
        self._drafts = drafts
        self._locks = locks
        self._snapshots = snapshots

    async def reachable(self, draft: Hardening) -> None:
        """Refuse a hardening whose agent or models cannot be reached."""
        owner = self._archive.environments.get(draft.environment, "environment")
        await self._drafts.reachable(owner.agent, draft.models, cassette=draft.limits.cassette or None)

    def draft(self, spec: Mapping[str, Any]) -> Hardening:
        """The record that a call asks for, checked but not stored; its id, job and time are still empty."""
        owner = self._archive.environments.get(spec["environment"], "environment")
        base = self._base(owner, spec["run"])
        self._locks.none_open(owner.id)
        opted = harden_options(spec["options"])
        version = base.instructions if base else self._instructions.current(owner).id
        id, text = self._drafts.text(owner, version, "run")
        if not text.strip():
            args = {"kind": "environment", "id": owner.id}
            raise Conflict(
                f"{owner.id} has no instructions to harden.",
                where="environment",
                next=[NextCall("update_item", args, "with `changes` {instructions: your text}")],
            )
        models = self._models.of(owner, load(ModelChoice, spec["models"], "models"))
        if base is not None and not spec["models"]:
            models = dict(base.models)
        seed = opted.seed if opted.seed is not None else base.seed if base else owner.settings.seed
        cassette = self._drafts.looked_at(opted.cassette) if opted.cassette else {}
        strategy = _strategy(spec["strategy"], models)
        simulations, left_out, told = self._chosen(owner, opted, base)
        return Hardening(
            id="",
            environment=owner.id,
            base=id,
            base_text=text,
            strategy=strategy,
            state="running",
            seed=seed,
            limits=HardeningLimits(
                rounds=spec["rounds"],
                patience=opted.patience,
                trials=opted.trials,
                locked=owner.settings.locked,
                concurrency=opted.concurrency or self._drafts.concurrency(owner, models),
                pause_after=opted.pause_after,
                budget=opted.spending,
                cassette=cassette,
                target=_target(opted.target, strategy, owner.agent.kind),
            ),
            warnings=[*cassette_warnings(cassette), *told, *self._unpaired(owner.id)],
            models=models,
            base_run=base.id if base else "",
            simulations=simulations,
            left_out=left_out,
        )

    def of_job(self, job: str) -> Hardening | None:
        """The hardening that a job began."""
        found = self._archive.hardenings.where(job=job)
        return found[-1] if found else None

    def begin(self, job: Job, draft: Hardening | None = None) -> Hardening:
        """The hardening of a job, stored with its snapshot; an existing one is resumed.

        If killed at any write, the same call completes what is missing.
        """
        known = self.of_job(job.id)
        record = known or self._stored(job, draft or self.draft(job.spec))
        if record.state in ("cancelled", "paused"):
            self._locks.none_open(record.environment)
        self._archive.store.jobs.table.update({"hardening": record.id}, doc_ids=[job.id])
        try:
            return self._snapshots.taken(record)
        except CasehardenError:
            if known is None:
                self._archive.hardenings.delete([record.id])
                self._archive.forget_run(record.id)
            raise

    def _stored(self, job: Job, record: Hardening) -> Hardening:
        self._locks.none_open(record.environment)
        record.id = self._archive.store.next_id("hard")
        record.job, record.created_at = job.id, utc_now()
        with self._archive.hardenings.table.transaction():
            self._locks.none_open(record.environment)
            self._archive.hardenings.put(record.id, record)
        self._archive.hardenings.audit("create", record.id)
        return record

    def _base(self, owner: EnvironmentRecord, run: str) -> RunRecord | None:
        if not run:
            return None
        base = self._archive.run(run, "run")
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

    def _unpaired(self, environment: str) -> list[str]:
        """A warning about held-out scenarios without simulations."""
        rows = self._archive.scenarios.where(environment=environment, split="held_out")
        paired = {s.scenario for s in self._archive.simulations.where(environment=environment)}
        count = sum(row.scenario.id not in paired for row in rows)
        if not count:
            return []
        which = f"{count:,} held-out scenarios are" if count > 1 else "1 held-out scenario is"
        return [f"{which} in no simulation, and not in the proof: create_simulations makes them."]

    def _chosen(
        self, owner: EnvironmentRecord, opted: HardenOptions, base: RunRecord | None
    ) -> tuple[list[str], list[str], list[str]]:
        """The selected simulations, the train simulations left out, and warnings about unselected ones.

        A selection narrows train only: cases that passed before must be in the proof, or nobody sees them break.
        """
        parts: list[str] = []
        if base is not None and opted.select == ["all"]:
            chosen = set(base.simulations)
        else:
            if not self._archive.simulations.count(environment=owner.id):
                parts += self._simulations.cover(owner.id)
            found = Selector(self._archive, owner.id).resolve(opted.select, "options.select")
            chosen = {s.slug for s in found}
        rows = self._archive.scenarios.where(environment=owner.id, split="held_out")
        held_out = {row.scenario.id for row in rows}
        known = self._archive.simulations.where(environment=owner.id)
        taken = [s for s in known if s.slug in chosen or s.scenario in held_out]
        there = {s.scenario for s in taken if s.slug in chosen}
        added = {s.scenario for s in taken} - there
        simulations = {s.slug for s in taken}
        left_out = [s.slug for s in known if s.slug not in simulations]
        return [s.slug for s in taken], left_out, [*parts, *_narrowed(len(added), len(left_out))]


def _narrowed(added: int, left_out: int) -> list[str]:
    """Warnings about a selection. `added`: held-out scenarios added to it; `left_out`: train simulations not in it."""
    found: list[str] = []
    if added:
        found.append(f"All held-out scenarios are in the proof, {added:,} that were not selected among them.")
    if left_out:
        found.append(
            f"{left_out:,} train simulations are not selected: nothing is learnt from them; they are run once, before "
            "a text is called improved, and what it breaks in them makes it regressed."
        )
    return found


def harden_strategy(strategy: str) -> str:
    """The strategy, or an error that lists the valid ones."""
    if strategy in STRATEGIES:
        return strategy
    raise InvalidArgument(f"`{strategy[:40]}` is no strategy.", where="strategy", allowed=STRATEGIES)


def _strategy(asked: str, models: Mapping[str, ModelName]) -> Strategy:
    """Who writes: the writer model, unless the call says otherwise."""
    offline = short_name(models["writer"]).startswith("offline")
    if asked == "reflect" and offline:
        raise InvalidArgument(
            "The offline writer cannot reflect.",
            where="strategy",
            allowed="rules, submit, or reflect with models.writer (relay: your client writes)",
        )
    if asked == "auto":
        return "rules" if offline else "reflect"
    return cast("Strategy", asked)


def _target(target: Target, strategy: Strategy, agent: str) -> Target:
    """The part to harden, if the strategy can write it and the agent is shown it."""
    if target != "instructions" and strategy == "rules":
        raise InvalidArgument(
            f"Rules are no {target.replace('_', ' ')}.",
            where="options.target",
            allowed="instructions, or strategy submit or reflect",
        )
    if target == "tool_descriptions" and agent not in ("prompt", "caller"):
        raise InvalidArgument(
            f"The descriptions that an agent of kind {agent} is shown are its own.",
            where="options.target",
            allowed="instructions, examples; tool_descriptions for prompt and caller",
        )
    return target


def harden_options(options: Mapping[str, Any] | None) -> HardenOptions:
    """`options`, or an error that says what is wrong with them."""
    given = dict(options or {})
    check_plain(given, "options")
    return load(HardenOptions, given, "options")

"""What a call asks to run: options, text, simulations, models and seed, checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
from pydantic import Field

from ..code import MetricCode
from ..errors import Conflict, InvalidArgument, NeedsConfirm, NextCall, NotFound, SetupError, nearest
from ..evaluate import DEFAULT_METRICS, NO_METRICS, Metric, check_thresholds, choose_metrics
from ..llm import Mode
from ..net import TimedOut
from ..plural import plural
from ..records.authored import Authored, load
from ..records.environment import (
    MOST_CONCURRENCY,
    AgentSpec,
    EnvironmentRecord,
    ModelChoice,
    ModelName,
    knowledge_hash,
)
from ..records.run import RunRecord, Threshold
from ..records.scenario import Limits
from ..records.simulation import SimulationRecord
from .archive import Archive
from .budget import Budget
from .estimates import Estimates, confirm, unpriced
from .hints import hints_record, hints_warnings
from .instructions import Instructions
from .pacing import PAUSE_AFTER
from .places import Places, Restored
from .plain import check_plain
from .reruns import Reruns
from .role_models import RoleModels, lent_roles
from .select import Selector, is_place
from .sight import is_sealed, refuse_sealed
from .simulations import Simulations
from .trials import TrialRunner
from .what_ifs import what_ifs

CONFIRM_ABOVE = 20_000
"""Trials above which a run must be confirmed."""
RESUMED_WITH = ("budget", "concurrency", "pause_after")
"""Options that may change when a run is resumed."""


class CassetteUse(Authored):
    """`options.cassette`: recorded model calls instead of live ones, or in addition."""

    file: str = Field(min_length=1, max_length=4096)
    """Under an allowed root."""
    mode: Mode = "replay"


class RunOptions(Authored):
    """`options` of a run."""

    name: str = Field(default="", max_length=200)
    seed: int | None = Field(default=None, ge=-(2**53), le=2**53)
    """Default: the environment's."""
    thresholds: dict[str, Threshold] | None = None
    """pass_rate 0..1, max_errors, metrics, check:ID; default: the environment's."""
    score: bool = True
    """False: no judge is asked and nothing is measured; score_run does it later."""
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    """Default: the environment's."""
    budget: Budget | None = None
    pause_after: int = Field(default=PAUSE_AFTER, ge=0, le=100_000)
    """Consecutive equal infrastructure failures that pause the run; 0: never."""
    limits: Limits | None = None
    cassette: CassetteUse | None = None
    hints: bool = False
    """Whether the agent is given the hints of its scenario."""
    name_clusters: bool | None = None
    """Whether the writer names the failures; default: if it is neither offline nor the client itself."""
    confirm: bool = False
    resume: str = ""
    """A run: execute its missing trials, and repeat those that ended in error."""


class RunDrafts:
    """Makes the record of a run from a call; only missing simulations are stored."""

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        models: RoleModels,
        instructions: Instructions,
        simulations: Simulations,
        places: Places,
        code: MetricCode,
        concurrency: int,
    ) -> None:
        self._concurrency = concurrency
        self._archive = archive
        self._trials = trials
        self._models = models
        self._instructions = instructions
        self._simulations = simulations
        self._places = places
        self._code = code
        self._estimates = Estimates(archive)
        self.reruns = Reruns(archive, trials)

    def concurrency(self, environment: EnvironmentRecord, models: Mapping[str, ModelName]) -> int:
        """Concurrent trials if a call does not say: all of them if a client plays."""
        said = environment.settings.concurrency
        return said or (MOST_CONCURRENCY if lent_roles(models, environment.agent) else self._concurrency)

    def draft(self, spec: Mapping[str, Any]) -> tuple[RunRecord, list[SimulationRecord]]:
        """The run and its simulations; its id, round, series of a first round, job and time are still empty."""
        environment = self._archive.environments.get(spec["environment"], "environment")
        opted = run_options(spec["options"])
        before = self._before(environment, spec["continue_run"])
        models = self._models.of(environment, load(ModelChoice, spec["models"], "models"))
        self._trials.cast(environment.agent, models)
        id, text = self.text(environment, spec["instructions"], "instructions")
        places = self.places(spec)
        simulations, told = ([], []) if places else self._choose(environment, spec["select"], before)
        simulations, left_out = self._readable(environment, models, simulations, places)
        trials = spec["trials"] or (before.trials if before else environment.settings.trials)
        if places:
            trials = spec["trials"] or 1
        seed = opted.seed if opted.seed is not None else before.seed if before else environment.settings.seed
        run = RunRecord(
            id="",
            environment=environment.id,
            name=opted.name,
            series=before.series if before else "",
            previous=before.id if before else "",
            instructions=id,
            instructions_text=text,
            world=environment.world,
            models=models,
            agent=agent_of(environment),
            simulations=[s.slug for s in simulations],
            trials=trials,
            seed=seed,
            reruns=self.reruns.asked(spec["select"]),
            options=_kept(environment, opted)
            | {"concurrency": opted.concurrency or self.concurrency(environment, models)},
        )
        wanted = self._metrics(environment, spec.get("metrics") or [], models["judge"])
        run.options["metrics"] = self._code.pinned(wanted, "metrics")
        own = choose_metrics(run.options["metrics"])
        knowledge = knowledge_hash(environment.settings.knowledge_base)
        check_knowledge(own, knowledge)
        if knowledge:
            run.options["knowledge"] = knowledge
        check_thresholds(opted.thresholds or {}, "options.thresholds", own)
        if not places and set(spec["select"]) - {"all"}:
            run.options["part_of"] = self._whole(spec["select"], id)
        if places:
            _branched(run, places)
        elif not spec["trials"]:
            run.options["trials_of"] = self._own_trials(environment.id, simulations, trials)
        if opted.hints:
            chosen = sorted({s.scenario for s in simulations})
            known = (self._archive.scenarios.get(f"{environment.id}/{id}").scenario for id in chosen)
            run.options["hints"] = hints_record(known)
        if opted.cassette:
            run.options["cassette"] = self.looked_at(opted.cassette)
        if not opted.confirm:
            self._confirm(run)
        told += [f"{left_out} are left out: you play in it, and they are sealed."] if left_out else []
        if told:
            run.options["told"] = told
        run.warnings = [
            *hints_warnings(run.options.get("hints")),
            *price_warnings(run, unpriced(run)),
            *cassette_warnings(run.options.get("cassette")),
            *run.options.get("told", []),
        ]
        return run, simulations

    def _readable(
        self,
        environment: EnvironmentRecord,
        models: Mapping[str, ModelName],
        simulations: list[SimulationRecord],
        places: Sequence[Restored],
    ) -> tuple[list[SimulationRecord], str]:
        """The simulations without the sealed ones if a client plays, and a note on what is left out; else HeldOut."""
        if not lent_roles(models, environment.agent):
            return simulations, ""
        refuse_sealed(self._archive, [f"{environment.id}/{one.trial.scenario}" for one in places])
        ids = {s.scenario: f"{environment.id}/{s.scenario}" for s in simulations}
        sealed = {slug for slug, id in ids.items() if is_sealed(self._archive, id)}
        left = [s for s in simulations if s.scenario not in sealed]
        if simulations and not left:
            refuse_sealed(self._archive, ids.values())
        return left, plural(len(simulations) - len(left), "simulation") if sealed else ""

    def _whole(self, select: Sequence[str], instructions: str) -> str:
        """The run of the same text and of all the simulations that a selection was taken from, or ""."""
        names = {text.partition(":")[2].partition("/")[0] for text in select}
        found = self._archive.runs.find(next(iter(names))) if len(names) == 1 else None
        if found is None or found.instructions != instructions:
            return ""
        return str(found.options.get("part_of", found.id))

    def places(self, spec: Mapping[str, Any]) -> list[Restored]:
        """The places that a call wants to continue from; none if it selects simulations."""
        select: Sequence[str] = spec["select"]
        if not (select and all(map(is_place, select))):
            return []
        return self._places.one_run(select, spec["environment"])

    def lay_out(self, run: RunRecord, spec: Mapping[str, Any]) -> None:
        """Copy what the places are made of into the run. Run in a worker thread."""
        self._places.lay_out(run, self.places(spec))

    async def restorable(self, spec: Mapping[str, Any]) -> None:
        """Conflict if a place can no longer be restored."""
        for k, found in enumerate(await anyio.to_thread.run_sync(self.places, spec)):
            await self._places.check(found, f"select[{k}]")

    async def reachable(
        self,
        agent: AgentSpec,
        models: Mapping[str, ModelName],
        trials: int = 0,
        cassette: Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse to begin if it is known without a call that every trial would end in an error."""
        try:
            await self._trials.probe(agent, models, cassette)
        except SetupError as error:
            if isinstance(error.__cause__, TimedOut):
                return  # a missing list of models says little about the models
            each = plural(trials, "trial") if trials else "All trials"
            raise type(error)(
                f"{error.what} {each} would end in error, so nothing was run.",
                where=error.where,
                allowed=error.allowed,
                next=error.next,
                quoted=error.quoted,
            ) from error

    def _metrics(self, environment: EnvironmentRecord, asked: Sequence[Any], judge: ModelName) -> list[Any]:
        """What is measured: as the call says, else the environment; else three metrics if a judge is set."""
        if asked:
            return [] if list(asked) == [NO_METRICS] else list(asked)
        if environment.settings.metrics is not None:
            return environment.settings.metrics
        offline = isinstance(judge, str) and judge.partition(":")[0] == "offline"
        return [] if offline else list(DEFAULT_METRICS)

    def looked_at(self, use: CassetteUse) -> dict[str, Any]:
        """The cassette as stored with the run, with the damaged lines of its file."""
        found = self._models.cassette(use.file)
        kept: dict[str, Any] = use.model_dump()
        if found.exists or use.mode == "strict":
            found.read()
        elif not found.path.parent.is_dir():
            raise NotFound(
                f"There is no folder for `{use.file[:200]}`.",
                where="options.cassette.file",
                allowed="a file in a folder that is there",
            )
        return {**kept, "damaged": list(found.damaged)} if found.damaged else kept

    def _confirm(self, run: RunRecord) -> None:
        """Refuse a large run, unless a budget bounds it."""
        wanted = trials_wanted(run)
        if wanted > CONFIRM_ABOVE:
            again = {"environment": run.environment, "options": {"confirm": True}}
            raise NeedsConfirm(
                f"{wanted:,} trials are above the limit of {CONFIRM_ABOVE:,} without confirmation.",
                where="trials",
                allowed="options.confirm, or fewer simulations or trials",
                next=[NextCall("run_simulations", again)],
            )
        if not run.options.get("budget"):
            confirm(run, self._estimates.of(run, wanted))

    def text(self, environment: EnvironmentRecord, instructions: str, where: str) -> tuple[str, str]:
        """(id, text) of a version (`2`, `support@2`), a candidate (`hard-1/c2`) or, if empty, the current one."""
        if not instructions:
            record = self._instructions.current(environment)
            return record.id, record.text
        if "/" not in instructions:
            record = self._instructions.version(environment, instructions, where)
            return record.id, record.text
        hardening = self._archive.hardenings.get(instructions.partition("/")[0], where)
        candidate = hardening.find(instructions)
        if hardening.environment != environment.id:
            raise InvalidArgument(
                f"`{instructions[:80]}` is a candidate for {hardening.environment}.",
                where=where,
                allowed=f"a version of {environment.id}, or a candidate for it",
            )
        if candidate is None:
            known = [c.id for c in hardening.candidates]
            near = nearest(instructions, known)
            hint = f"; nearest `{near}`" if near else ""
            raise NotFound(
                f"No candidate `{instructions[:80]}`{hint}.", where=where, allowed=known or "none yet"
            )
        return instructions, candidate.text

    def _before(self, environment: EnvironmentRecord, run: str) -> RunRecord | None:
        if not run:
            return None
        before = self._archive.run(run, "continue_run")
        if before.environment != environment.id:
            raise InvalidArgument(
                f"{before.id} is a run of {before.environment}.",
                where="continue_run",
                allowed="a run of this environment",
            )
        return before

    def next_round(self, series: str) -> int:
        """The number of the next round of a series; 1 for one that has none."""
        return 1 + max((run.round for run in self._archive.runs.where(series=series)), default=0)

    def _own_trials(
        self, environment: str, simulations: Sequence[SimulationRecord], trials: int
    ) -> dict[str, int]:
        """How many trials simulations have whose scenario sets another number than the run's."""
        said: dict[str, int] = {}
        for row in self._archive.scenarios.table.walk({"environment": environment}):
            own = row["scenario"].get("trials")
            if own and own != trials:
                said[row["scenario"]["id"]] = own
        return {s.slug: said[s.scenario] for s in simulations if s.scenario in said}

    def _choose(
        self, environment: EnvironmentRecord, select: Sequence[str], before: RunRecord | None
    ) -> tuple[list[SimulationRecord], list[str]]:
        """The simulations, and warnings about pairs that were made for them."""
        parts: list[str] = []
        if before is not None and list(select) in ([], ["all"]):
            known = {s.slug: s for s in self._archive.simulations.where(environment=environment.id)}
            kept = [known[slug] for slug in before.simulations if slug in known]
            if kept:
                return kept, parts
        if not self._archive.simulations.count(environment=environment.id):
            parts = self._simulations.cover(environment.id)
        found = Selector(self._archive, environment.id).resolve(list(select) or ["all"])
        if not found:
            call = NextCall("create_simulations", {"environment": environment.id})
            raise Conflict(
                "There is nothing to run.", where="select", allowed="at least one simulation", next=[call]
            )
        return found, parts


def check_knowledge(metrics: Mapping[str, Metric], knowledge: str) -> None:
    """Refuse a metric that compares with a knowledge base if there is none."""
    for name, metric in metrics.items():
        if "knowledge" in metric.about and not knowledge:
            raise InvalidArgument(
                f"`{name}` compares with a knowledge base, and there is none.",
                where="metrics",
                allowed="settings.knowledge_base of the environment: text, Markdown, JSON or {file}",
            )


def run_options(options: Mapping[str, Any] | None) -> RunOptions:
    """`options`, or an error that names what this version does not support."""
    given = dict(options or {})
    check_plain(given, "options")
    opted = load(RunOptions, given, "options")
    other = sorted(opted.model_fields_set - {"resume", "confirm", *RESUMED_WITH})
    if opted.resume and other:
        raise InvalidArgument(
            f"`{other[0]}` cannot change when a run goes on.",
            where=f"options.{other[0]}",
            allowed=f"resume with {', '.join(RESUMED_WITH)}",
        )
    return opted


def cassette_warnings(used: Mapping[str, Any] | None) -> list[str]:
    """Warnings about the file of recorded calls: `options.cassette` as stored."""
    used = used or {}
    lines: Sequence[int] = used.get("damaged") or ()
    if not lines:
        return []
    named = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
    return [f"{used['file'][:200]}: line {named} holds no recorded call and was passed over."]


def price_warnings(run: RunRecord, names: Sequence[str]) -> list[str]:
    """Warnings about a budget in dollars if the price of these models is unknown."""
    if "usd" not in (run.options.get("budget") or {}) or not names:
        return []
    text = ", ".join(names)
    return [
        f"The price of {text} is unknown, so budget.usd does not bound it: set budget.calls or tokens too."
    ]


def agent_of(environment: EnvironmentRecord) -> dict[str, Any]:
    """The agent of an environment as stored with a run: its kind, and what is not the default."""
    agent = environment.agent
    return {"kind": agent.kind, **agent.model_dump(mode="json", exclude_defaults=True)}


def trials_of(run: RunRecord, simulation: str) -> int:
    """How many trials a simulation has in a run."""
    own: Mapping[str, int] = run.options.get("trials_of") or {}
    return own.get(simulation, run.trials)


def trials_wanted(run: RunRecord) -> int:
    """How many trials a run has when it is complete."""
    return sum(trials_of(run, slug) for slug in run.simulations)


def _branched(run: RunRecord, places: Sequence[Restored]) -> None:
    """Make the run continue from these places: their cases, world and limits."""
    source = places[0].run
    run.simulations = [one.place.simulation for one in places]
    run.world = source.world
    run.seed = source.seed
    for name in ("limits", "limits_over", "user_guidelines"):
        own = run.options.get(name) if name == "limits_over" else None
        run.options[name] = {**(source.options.get(name) or {}), **own} if own else source.options.get(name)
    run.what_ifs = what_ifs(places)
    run.options["branched"] = {one.place.simulation: str(one.place) for one in places}


def _kept(environment: EnvironmentRecord, opted: RunOptions) -> dict[str, Any]:
    settings = environment.settings
    own = opted.limits.model_dump(exclude_unset=True) if opted.limits else {}
    return {
        "limits": settings.limits,
        "limits_over": own,
        "thresholds": settings.thresholds if opted.thresholds is None else opted.thresholds,
        "budget": opted.budget.limits if opted.budget else {},
        "pause_after": opted.pause_after,
        "user_guidelines": settings.user_guidelines,
        "score": opted.score,
        "name_clusters": opted.name_clusters,
    }

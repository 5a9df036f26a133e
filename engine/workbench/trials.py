"""Trials of a run: the cases as they were when it began, each trial executed once, graded and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..agents import (
    OUTSIDE,
    AgentAdapter,
    NoRecording,
    PlayedAgent,
    PlayedTurn,
    PromptAgent,
    Reach,
    Recording,
    closing,
    open_outside,
    played_turns,
    probe,
)
from ..errors import InvalidArgument
from ..evaluate import ExpectedWorld, grade, see_turn, unsolvable
from ..exchange import Roots
from ..llm import ModelClient, trial_of
from ..records.authored import load
from ..records.conversation import Branch, Conversation, EndReason
from ..records.environment import AGENT_KINDS, AgentSpec, ModelName
from ..records.persona import Persona
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import Limits, Scenario, Split
from ..records.session import BranchPoint
from ..records.simulation import SimulationRecord
from ..records.verdict import Verdict
from ..simulate import (
    Case,
    ExpectedWorlds,
    LiveTrials,
    Meter,
    ModelUser,
    PlayedUser,
    Tape,
    TapedAgent,
    TapedUser,
    Tried,
    UserSimulator,
    prepare,
    run_trial,
)
from ..world import CompiledWorld
from .archive import Archive
from .attempts import Attempts
from .role_models import RoleModels
from .worlds import Worlds

KEPT_CASES = 256
"""Prepared cases of a run that are kept: trials of one simulation follow each other."""


Ended = tuple[dict[str, Any], Conversation, Verdict]
"""A trial that is over: its record as JSON, the record, the verdict."""


@dataclass(slots=True)
class Cast:
    """Who plays in a run's trials: an agent for each, and a user."""

    agent: Callable[[Case, int], AgentAdapter]
    user: Callable[[Case, int], UserSimulator]
    judge: ModelClient | None = None
    """Whom the scripts' `judge` steps ask."""


@dataclass(frozen=True, slots=True)
class CaseParts:
    """A simulation of a run with the records that it names, as they were when the run began."""

    row: SimulationRecord
    scenario: Scenario
    persona: Persona | None
    split: Split


class RunCases:
    """The cases of a run, from the records that were copied when it began.

    `check`: asked before a trial is kept; raises where this process may no longer write for the run.
    """

    def __init__(
        self, archive: Archive, worlds: Worlds, run: RunRecord, check: Callable[[], None] | None = None
    ) -> None:
        self.run = run
        self.check = check or _anybody
        self._archive, self._worlds = archive, worlds
        self._world = worlds.get(run.world)
        self._attempts = Attempts(archive)
        self._failed = lru_cache(maxsize=None)(self._read_failed)
        store = archive.store
        self._scenarios = store.run_table(run.id, "scenarios")
        self._personas = store.run_table(run.id, "personas")
        self._simulations = store.run_table(run.id, "simulations")
        self._points = store.run_table(run.id, "points")
        self._prepared = lru_cache(maxsize=KEPT_CASES)(self._prepare)
        self._parts = lru_cache(maxsize=KEPT_CASES)(self._read)

    def copy(self, archive: Archive, simulations: Iterable[SimulationRecord]) -> None:
        """Copy what the simulations are made of, so that later changes do not touch this run."""
        chosen = list(simulations)
        environment = self.run.environment
        scenarios = {s.scenario: archive.scenarios.get(f"{environment}/{s.scenario}") for s in chosen}
        personas = {
            s.persona: archive.personas.get(f"{environment}/{s.persona}") for s in chosen if s.persona
        }
        for record in scenarios.values():
            partner = record.scenario.persona
            if isinstance(partner, str) and partner not in personas:
                found = archive.personas.find(f"{environment}/{partner}")
                if found is not None:
                    personas[partner] = found
        dump: Callable[[Any], dict[str, Any]] = lambda r: r.model_dump(mode="json", by_alias=True)  # noqa: E731
        self._scenarios.put_many({k: dump(r) for k, r in scenarios.items()})
        if personas:
            self._personas.put_many({k: dump(r) for k, r in personas.items()})
        self._simulations.put_many({s.slug: dump(s) for s in chosen})

    def copy_from(self, source: RunRecord, simulations: Iterable[str]) -> None:
        """Copy the cases of simulations as another run has them."""
        store = self._archive.store
        old = RunCases(self._archive, self._worlds, source)
        for slug in simulations:
            parts = old.parts(slug)
            personas = {parts.row.persona}
            if isinstance(parts.scenario.persona, str):
                personas.add(parts.scenario.persona)
            for table, ids in (
                ("simulations", {slug}),
                ("scenarios", {parts.row.scenario}),
                ("personas", personas),
            ):
                found = {id: store.run_table(source.id, table).find(id) for id in ids if id}
                rows = {id: row for id, row in found.items() if row is not None}
                if rows:
                    store.run_table(self.run.id, table).put_many(rows)

    def put_point(self, simulation: str, point: BranchPoint) -> None:
        """From here on every trial of the simulation goes on from that point."""
        self._points.put(simulation, point.model_dump(mode="json"))

    def point(self, simulation: str) -> BranchPoint | None:
        """Where the trials of a simulation go on from; None: they begin at the beginning."""
        found = self._points.find(simulation)
        return BranchPoint.model_validate(found) if found is not None else None

    def case(self, simulation: str) -> Case:
        """The prepared case of a simulation of this run; InvalidArgument where it does not fit the world."""
        return self._prepared(simulation)

    def parts(self, simulation: str) -> CaseParts:
        """What the case of a simulation is made of, whether it fits the world or not."""
        return self._parts(simulation)

    def attempt(self, simulation: str, trial: int, table: str) -> int:
        """The number of the attempt that a trial makes now: one more than have failed."""
        return 1 + self._failed(table)[f"{simulation}/{trial}"]

    def seed(self, case: Case) -> int:
        """The seed of a case in this run: the same whatever the instructions are."""
        return self.run.seed + case.scenario.seed

    def _read_failed(self, table: str) -> Counter[str]:
        """Failed attempts of each trial; none is set aside while trials of the run go on."""
        return Counter(record.id for record in self._attempts.of_run(self.run.id, (table,)))

    def _read(self, simulation: str) -> CaseParts:
        row = SimulationRecord.model_validate(self._simulations.fetch(simulation, "simulation"))
        stored = self._scenarios.fetch(row.scenario, "scenario")
        scenario = Scenario.model_validate(stored["scenario"])
        name = row.persona or (scenario.persona if isinstance(scenario.persona, str) else "")
        known = self._personas.find(name) if name else None
        persona = Persona.model_validate(known["persona"]) if known else None
        return CaseParts(row, scenario, persona, stored["split"])

    def _prepare(self, simulation: str) -> Case:
        parts = self.parts(simulation)
        return prepare(
            self._world,
            parts.scenario,
            parts.persona,
            simulation=simulation,
            user_input=parts.row.user_input,
            expected_output=parts.row.expected_output,
            user_guidelines=str(self.run.options.get("user_guidelines", "")),
            limits=self._limits("limits"),
            limits_over=self._limits("limits_over"),
        )

    def _limits(self, name: str) -> Limits | None:
        limits: dict[str, Any] = self.run.options.get(name) or {}
        return load(Limits, limits, name) if limits else None


class TrialRunner:
    """Executes trials of runs. Each is kept once: asked again, the stored one is given."""

    def __init__(self, archive: Archive, worlds: Worlds, roots: Roots, models: RoleModels) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._models = models
        self.expected = ExpectedWorlds()
        self.live = LiveTrials()
        """Those that go on in this process."""

    def cases(self, run: RunRecord, check: Callable[[], None] | None = None) -> RunCases:
        return RunCases(self._archive, self._worlds, run, check)

    def cast(
        self,
        spec: AgentSpec,
        models: Mapping[str, ModelName],
        cassette: Mapping[str, Any] | None = None,
    ) -> Cast:
        """The players of a run; an error names what is wrong with the agent or a model before anything runs."""
        found = self._players(spec, models, cassette)
        found.judge = self._models.open(models.get("judge") or "offline", "models.judge", cassette)
        return found

    def _players(
        self, spec: AgentSpec, models: Mapping[str, ModelName], cassette: Mapping[str, Any] | None
    ) -> Cast:
        user_model = self._models.open(models["user"], "models.user", cassette)
        if spec.kind == "recorded":
            check_agent(spec, "agent", None)
            return _recorded(self._recordings(spec, "agent"), user_model)
        user: Callable[[Case, int], UserSimulator] = lambda case, trial: ModelUser(user_model, case)  # noqa: E731
        if spec.kind in OUTSIDE:
            outside = open_outside(spec, self._models.reach)
            return Cast(lambda case, trial: outside.conversation(), user)
        agent = self._agent(spec, models, cassette)
        return Cast(lambda case, trial: agent, user)

    async def probe(
        self, spec: AgentSpec, models: Mapping[str, ModelName], cassette: Mapping[str, Any] | None = None
    ) -> None:
        """Raise what would end every trial in an error, where that can be known without spending a call."""
        if spec.kind == "recorded":
            return
        if spec.kind in OUTSIDE:
            await probe(open_outside(spec, self._models.reach))
        else:
            self._agent(spec, models, cassette)
        speaking = {"user": models["user"]}
        if spec.kind == "prompt":
            speaking = {"agent": spec.model or models["agent"], **speaking}
        await self._models.probe(speaking, cassette=cassette)

    async def execute(
        self,
        cases: RunCases,
        cast: Cast,
        simulation: str,
        trial: int,
        table: str = "trials",
        meter: Meter | None = None,
    ) -> TrialRecord:
        """Run one trial of the run, grade it and keep it, unless that was done before.

        One whose scenario does not fit the world, or has no expected world, is invalid; no agent is asked. Raises what
        `cases.check` raises; then nothing was kept.
        """
        run = cases.run
        shelf = self._archive.trials(run.id, table)
        id = f"{simulation}/{trial}"
        stored = shelf.find(id)
        if stored is not None:
            return stored
        belongs = {
            "id": f"{run.id}/{id}",
            "environment": run.environment,
            "run": run.id,
            "instructions": run.instructions,
        }
        parts = cases.parts(simulation)
        attempt = cases.attempt(simulation, trial, table)
        try:
            case = cases.case(simulation)
        except InvalidArgument as error:
            ended = _not_run(parts, trial, "world_error", str(error), belongs)
        else:
            with trial_of(
                run.id,
                f"{table}/{id}/{attempt}",
                f"{run.environment}/{parts.scenario.id}",
                held_out=parts.split == "held_out",
                instructions=run.instructions if run.agent.get("kind") == "caller" else "",
            ):
                execution = f"{run.id}/{table}/{attempt}"
                ended = await self._tried(cases, case, cast, trial, belongs, meter, execution)
        document, conversation, verdict = ended
        return self._kept(cases, document, conversation, verdict, table, attempt)

    def keep(self, cases: RunCases, conversation: Conversation, verdict: Verdict) -> TrialRecord:
        """Keep a trial that was played elsewhere. For a worker thread."""
        return self._kept(cases, conversation.dumped(), conversation, verdict, "trials", 1)

    def world(self, hash: str) -> CompiledWorld:
        """A stored world."""
        return self._worlds.get(hash)

    def _kept(
        self,
        cases: RunCases,
        document: dict[str, Any],
        conversation: Conversation,
        verdict: Verdict,
        table: str,
        attempt: int,
    ) -> TrialRecord:
        run, simulation, trial = cases.run, conversation.simulation, conversation.trial
        shelf = self._archive.trials(run.id, table)
        with shelf.table.transaction():
            cases.check()
            pointer = self._archive.keep_conversation(run.id, document)
            parts = cases.parts(simulation)
            record = _trial_record(conversation, verdict, parts, str(pointer), attempt)
            shelf.put(f"{simulation}/{trial}", record)
        return record

    def graded(self, case: Case, tried: Tried, expected: ExpectedWorld | None) -> Ended:
        """A trial that is over, without secrets, and its verdict."""
        document, conversation = tried.document, tried.conversation
        hidden = self._archive.redactor.hide_all(document)
        if hidden is not document:
            document, conversation = hidden, Conversation.model_validate(hidden)
        return document, conversation, grade(conversation, case.plan, case.world.base, expected)

    async def _tried(
        self,
        cases: RunCases,
        case: Case,
        cast: Cast,
        trial: int,
        belongs: Mapping[str, str],
        meter: Meter | None,
        execution: str,
    ) -> Ended:
        run, point = cases.run, cases.point(case.simulation)
        seed, drawn = (point.seed, point.drawn) if point else (cases.seed(case), trial)
        expected = await self.expected.of(case, seed, drawn)
        if expected is not None and expected.error and case.plan.rests_on_expected_world:
            told = unsolvable(expected.error)
            return _not_run(cases.parts(case.simulation), trial, "unsolvable", told, belongs, seed)
        agent, user = cast.agent(case, trial), cast.user(case, trial)
        record: dict[str, Any] = {**belongs}
        async with closing(agent):
            if point is not None:
                tape = Tape(point.tape)
                agent, user = TapedAgent(tape, agent, trial - 1), TapedUser(tape, user, trial - 1)
                record["branch"] = Branch(place=point.place, trial=drawn)
            with self.live.showing(belongs["id"], cases.parts(case.simulation).split) as live:
                tried = await run_trial(
                    case,
                    agent,
                    user,
                    seed=seed,
                    trial=trial,
                    instructions=run.instructions_text,
                    belongs=record,
                    meter=meter,
                    live=live,
                    drawn=drawn,
                    execution=execution,
                    judge=cast.judge,
                )
        return self.graded(case, tried, expected)

    def _agent(
        self, spec: AgentSpec, models: Mapping[str, ModelName], cassette: Mapping[str, Any] | None
    ) -> AgentAdapter:
        """An agent made here, which serves all trials of a run."""
        check_agent(spec, "agent", None)
        model = self._models.open(spec.model or models["agent"], "models.agent", cassette)
        return PromptAgent(model, spec.temperature, spec.tools if isinstance(spec.tools, list) else None)

    def _recordings(self, spec: AgentSpec, where: str) -> list[Recording]:
        if spec.run:
            self._archive.runs.get(spec.run, f"{where}.run")
            read = self._archive.store.segments.read
            stored = self._archive.trials(spec.run).table.walk()
            return [Recording.model_validate(read(str(row["pointer"]["at"]))) for row in stored]
        rows: list[Any] = self._archive.recordings.read(spec.recordings) if spec.recordings else []
        if spec.file:
            value = self._roots.read_json(spec.file, f"{where}.file")
            rows += value if isinstance(value, list) else [value]
        if not rows:
            raise InvalidArgument(
                "A recorded agent needs conversations to play back.",
                where=where,
                allowed="file, conversations or run",
            )
        return [load(Recording, row, f"{where}.conversations[{k}]") for k, row in enumerate(rows)]


def _anybody() -> None:
    """Whoever asks may write."""


def check_agent(spec: AgentSpec, where: str, reach: Reach | None) -> None:
    """Refuse an agent kind that does not exist, and an agent outside that could not be asked."""
    if spec.kind in OUTSIDE:
        open_outside(spec, reach, where)
    elif isinstance(spec.tools, str):
        raise InvalidArgument(
            "`tools` is a list of names here.", where=f"{where}.tools", allowed="names of the world's tools"
        )
    if spec.kind in AGENT_KINDS:
        return
    raise InvalidArgument(
        f"There is no agent kind `{spec.kind[:80]}`.", where=f"{where}.kind", allowed=AGENT_KINDS
    )


def _recorded(recordings: Sequence[Recording], user_model: ModelClient) -> Cast:
    """Both sides of the recordings; a user that is not in them is played by its model."""
    known: dict[tuple[str, int], list[PlayedTurn]] = {}
    for recording in recordings:
        turns = played_turns(recording)
        known[(recording.simulation or recording.scenario, recording.trial)] = turns
        known.setdefault((recording.scenario, recording.trial), turns)

    def of(case: Case, trial: int) -> list[PlayedTurn] | None:
        return known.get((case.simulation, trial)) or known.get((case.scenario.id, trial))

    def agent(case: Case, trial: int) -> AgentAdapter:
        turns = of(case, trial)
        what = f"there is no recorded conversation of {case.simulation}, trial {trial}"
        return NoRecording(what) if turns is None else PlayedAgent(turns)

    def user(case: Case, trial: int) -> UserSimulator:
        turns = of(case, trial)
        told = turns is not None and any(turn.user_says for turn in turns)
        return PlayedUser(turns) if turns is not None and told else ModelUser(user_model, case)

    return Cast(agent, user)


def _not_run(
    parts: CaseParts, trial: int, end: EndReason, why: str, belongs: Mapping[str, str], seed: int = 0
) -> Ended:
    """A trial that cannot be run or judged, whatever the agent does: the author's fault."""
    fields: dict[str, Any] = {
        **belongs,
        "format": "conversation/1",
        "simulation": parts.row.slug,
        "scenario": parts.scenario.id,
        "persona": parts.persona.id if parts.persona else "",
        "trial": trial,
        "seed": seed,
        "end": {"reason": end, "detail": why[:2000]},
    }
    conversation = Conversation.model_validate(fields)
    return conversation.dumped(), conversation, Verdict(verdict="invalid", end=end, why=why)


def _trial_record(
    conversation: Conversation, verdict: Verdict, parts: CaseParts, pointer: str, attempt: int
) -> TrialRecord:
    failed = verdict.failed()
    return TrialRecord.model_validate(
        {
            "id": f"{parts.row.slug}/{conversation.trial}",
            "simulation": parts.row.slug,
            "scenario": conversation.scenario,
            "persona": conversation.persona,
            "trial": conversation.trial,
            "seed": conversation.seed,
            "split": parts.split,
            "tags": parts.scenario.tags,
            "verdict": verdict.verdict,
            "failed_checks": failed,
            "turns": conversation.end.turn,
            "end": conversation.end.reason,
            "error": conversation.end.error,
            "attempt": attempt,
            "runtime_errors": conversation.runtime_errors,
            "writes": conversation.agent_writes,
            "see_turn": see_turn(verdict),
            "transcript_hash": conversation.transcript_hash,
            "wall_s": conversation.wall_s,
            "models": conversation.models,
            "graded": verdict,
            "pointer": {"at": pointer},
        }
    )

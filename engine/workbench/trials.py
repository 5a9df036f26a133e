"""Trials of a run: the cases as they were when it began, each trial executed once, graded and stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
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
from ..code import processes_of
from ..errors import InvalidArgument
from ..evaluate import ExpectedWorld, grade, not_understood, see_turn, unsolvable
from ..exchange import Roots
from ..llm import ModelClient, trial_of
from ..llm.origin import queued
from ..records.authored import load
from ..records.conversation import Branch, Conversation, EndReason
from ..records.environment import AGENT_KINDS, AgentSpec, ModelName
from ..records.run import RunRecord, TrialRecord
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
    instructions_of,
    run_trial,
)
from ..world import CompiledWorld
from .archive import Archive
from .attempts import is_spoiled
from .kept_calls import played_part
from .role_models import RoleModels
from .run_cases import CaseParts, RunCases
from .worlds import Worlds

RETRIES = 1
"""How often a trial spoiled by its simulated user is run again."""
Ended = tuple[dict[str, Any], Conversation, Verdict]
"""A finished trial: its record as JSON, the record, the verdict."""


@dataclass(slots=True)
class Cast:
    """Who plays in a run's trials: an agent for each, and a user."""

    agent: Callable[[Case, int], AgentAdapter]
    user: Callable[[Case, int, int], UserSimulator]
    """Takes the case, the trial, and how often the user has spoiled it."""
    judge: ModelClient | None = None
    """The model that the scripts' `judge` steps ask."""
    processes: int = 0
    """How many processes the agent of each trial uses for itself."""


class TrialRunner:
    """Executes trials of runs. Each is stored once: asked again, the stored one is returned."""

    def __init__(self, archive: Archive, worlds: Worlds, roots: Roots, models: RoleModels) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._models = models
        self.expected = ExpectedWorlds()
        self.live = LiveTrials()
        """The trials in progress in this process."""

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
        user: Callable[[Case, int, int], UserSimulator] = lambda case, trial, again: (  # noqa: E731
            ModelUser(user_model, case, again)
        )
        if spec.kind in OUTSIDE:
            outside = open_outside(spec, self._models.reach)
            alone = int(bool(spec.argv or spec.command))
            return Cast(lambda case, trial: outside.conversation(), user, processes=alone)
        agent = self._agent(spec, models, cassette)
        return Cast(lambda case, trial: agent, user)

    async def probe(
        self, spec: AgentSpec, models: Mapping[str, ModelName], cassette: Mapping[str, Any] | None = None
    ) -> None:
        """Raise what would end every trial in an error, if that can be known without spending a call."""
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
        """Run one trial of the run, grade it and store it, unless that was done before.

        One spoiled by its simulated user is run once more, and the first attempt is kept apart. One whose scenario does
        not fit the world, or has no expected world, is invalid; no agent is asked. Raises what `cases.check` raises;
        then nothing is stored.
        """
        stored = self._archive.trials(cases.run.id, table).find(f"{simulation}/{trial}")
        if stored is not None:
            return stored
        again = cases.fallen(simulation, trial, table)
        while True:
            attempt = cases.attempt(simulation, trial, table)
            ended = await self._attempted(cases, cast, simulation, trial, table, meter, (attempt, again))
            spoiled = is_spoiled(ended[1].end.reason, ended[1].end.error)
            beside = spoiled and again < RETRIES and not (meter is not None and meter.spent())
            record = self._kept(cases, ended, table, attempt, beside=beside)
            if not beside:
                return record
            again += 1

    async def _attempted(
        self,
        cases: RunCases,
        cast: Cast,
        simulation: str,
        trial: int,
        table: str,
        meter: Meter | None,
        number: tuple[int, int],
    ) -> Ended:
        """One attempt. `number`: the number of the attempt, and how many before it the simulated user spoiled."""
        run, (attempt, again) = cases.run, number
        id = f"{simulation}/{trial}"
        belongs = {
            "id": f"{run.id}/{id}",
            "environment": run.environment,
            "run": run.id,
            "instructions": run.instructions,
        }
        parts = cases.parts(simulation)
        try:
            case = cases.case(simulation)
        except InvalidArgument as error:
            return _not_run(parts, trial, "world_error", str(error), belongs)
        with trial_of(
            run.id,
            played_part(table, id, attempt),
            f"{run.environment}/{parts.scenario.id}",
            held_out=parts.split == "held_out",
            instructions=run.instructions if run.agent.get("kind") == "caller" else "",
        ):
            execution = f"{run.id}/{table}/{attempt}"
            return await self._tried(cases, case, cast, (trial, again), belongs, meter, execution)

    def keep(self, cases: RunCases, conversation: Conversation, verdict: Verdict) -> TrialRecord:
        """Store a trial that was played elsewhere. Run in a worker thread."""
        return self._kept(cases, (conversation.dumped(), conversation, verdict), "trials", 1)

    def world(self, hash: str) -> CompiledWorld:
        """A stored world."""
        return self._worlds.get(hash)

    def _kept(
        self, cases: RunCases, ended: Ended, table: str, attempt: int, *, beside: bool = False
    ) -> TrialRecord:
        run, (document, conversation, verdict) = cases.run, ended
        simulation, trial = conversation.simulation, conversation.trial
        shelf = self._archive.trials(run.id, table)
        with shelf.table.transaction():
            cases.check()
            pointer = self._archive.keep_conversation(run.id, document)
            parts = cases.parts(simulation)
            record = _trial_record(conversation, verdict, parts, str(pointer), attempt)
            if beside:
                cases.keep_beside(record, table)
            else:
                shelf.put(f"{simulation}/{trial}", record)
        return record

    def graded(self, case: Case, tried: Tried, expected: ExpectedWorld | None) -> Ended:
        """A finished trial, without secrets, and its verdict."""
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
        number: tuple[int, int],
        belongs: Mapping[str, str],
        meter: Meter | None,
        execution: str,
    ) -> Ended:
        """`number`: the number of the trial, and how often its simulated user has spoiled it."""
        (trial, again), run, point = number, cases.run, cases.point(case.simulation)
        seed, drawn = (point.seed, point.drawn) if point else (cases.seed(case), trial)
        expected = await self.expected.of(case, seed, drawn)
        if expected is not None and expected.error and case.plan.rests_on_expected_world:
            told = unsolvable(expected.error)
            return _not_run(cases.parts(case.simulation), trial, "unsolvable", told, belongs, seed)
        agent, user = cast.agent(case, trial), cast.user(case, trial, again)
        record: dict[str, Any] = {**belongs}
        async with self._room(case, cast), closing(agent):
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
                    instructions=instructions_of(run, case.scenario),
                    belongs=record,
                    meter=meter,
                    live=live,
                    drawn=drawn,
                    execution=execution,
                    judge=cast.judge,
                )
        return self.graded(case, tried, expected)

    @asynccontextmanager
    async def _room(self, case: Case, cast: Cast) -> AsyncGenerator[None]:
        """Reserve room for all processes of a trial; while it waits for that, it does not count as working."""
        number, reach = cast.processes + processes_of(case.world.world), self._models.reach
        async with AsyncExitStack() as stack:
            if reach is not None and number:
                with queued():
                    await stack.enter_async_context(reach.processes.together(number))
            yield

    def _agent(
        self, spec: AgentSpec, models: Mapping[str, ModelName], cassette: Mapping[str, Any] | None
    ) -> AgentAdapter:
        """A prompt agent, which serves all trials of a run."""
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


def check_agent(spec: AgentSpec, where: str, reach: Reach | None) -> None:
    """Refuse an unknown agent kind, and an outside agent that cannot be asked."""
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
    """Both sides of the recordings; a user missing from them is played by its model."""
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

    def user(case: Case, trial: int, again: int) -> UserSimulator:
        turns = of(case, trial)
        told = turns is not None and any(turn.user_says for turn in turns)
        return PlayedUser(turns) if turns is not None and told else ModelUser(user_model, case, again)

    return Cast(agent, user)


def _not_run(
    parts: CaseParts, trial: int, end: EndReason, why: str, belongs: Mapping[str, str], seed: int = 0
) -> Ended:
    """A trial that cannot be run or judged, whatever the agent does: its author's mistake."""
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
            "not_understood": not_understood(conversation),
            "transcript_hash": conversation.transcript_hash,
            "wall_s": conversation.wall_s,
            "models": conversation.models,
            "graded": verdict,
            "pointer": {"at": pointer},
        }
    )

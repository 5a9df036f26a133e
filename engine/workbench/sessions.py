"""Sessions: live conversations in which the caller plays one side, step by step.

A session is stored as the replies given so far. Every step replays them and continues from there, so that any process
may take the next step, and going back means dropping some of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio
import anyio.to_thread

from ..agents import OUTSIDE
from ..errors import (
    CasehardenError,
    Conflict,
    InvalidArgument,
    NextCall,
    Unavailable,
    UnknownTool,
    did_you_mean,
)
from ..records.authored import load
from ..records.conversation import EndReason, Speaker
from ..records.environment import AgentSpec, ModelChoice
from ..records.run import RunRecord, TrialRecord
from ..records.session import Given, SessionRecord
from ..simulate import Case, Standing, strip_stop
from .archive import Archive, utc_now
from .discretion import record_without_secrets
from .kept_calls import forget_run_calls
from .places import Places
from .plain import check_plain, check_range
from .results import SessionReport
from .role_models import RoleModels
from .run_drafts import RunDrafts
from .scoring import Scoring
from .session_moves import broken_off, called, other, regenerated, said, undone
from .session_reports import session_report
from .session_stage import SessionStage, is_lent
from .session_starts import BLANK, Opening, SessionStarts
from .sight import refuse_sealed, refuse_while_proving, spend
from .trials import TrialRunner

ACTIONS: Final = ("reply", "call", "undo", "regenerate", "look", "end")
ROLES: Final[Sequence[Speaker]] = ("agent", "user")
STEP_S: Final = 40.0
"""The longest that one step waits for the other side; a look waits again."""
LENT_STEP_S: Final = 2.0
"""The same if a client answers for the other side: it may be the one that waits here."""
TEXT_CHARS: Final = 20_000
LENT: Final = (
    "Whoever answers take_model_calls plays the {side}: best another client, or one that keeps apart what each "
    "side knows."
)
_CLOSED: Final[Mapping[Speaker, EndReason]] = {"agent": "session_end", "user": "user_stop"}
_SEEDS: Final = 2**53
_log = logging.getLogger("caseharden.sessions")


class Sessions:
    """Starts sessions and takes their steps. Each step is stored before the other side is asked."""

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        models: RoleModels,
        drafts: RunDrafts,
        places: Places,
        scoring: Scoring,
    ) -> None:
        self._archive = archive
        self._trials = trials
        self._models = models
        self._drafts = drafts
        self._places = places
        self._stage = SessionStage(trials)
        self._starts = SessionStarts(archive, places, trials)
        self._scoring = scoring

    async def start(
        self,
        environment: str,
        *,
        role: str = "agent",
        start: str = "random",
        instructions: str = "",
        models: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> SessionReport:
        """A new session, up to the caller's turn.

        `role`: whom the caller plays. `start`: a simulation, a scenario, `#3`, `random` (from train), `blank` (no user)
        or a place `RUN/SIM/TRIAL@TURN`. `seed` 0: the environment's, and another random case each time. A held-out
        scenario is spent.
        """
        if role not in ROLES:
            raise InvalidArgument(f"`{role[:40]}` is no role.", where="role", allowed=ROLES)
        check_range(seed, "seed", -_SEEDS, _SEEDS)
        check_plain(dict(models or {}), "models")
        side: Speaker = "user" if role == "user" else "agent"
        chosen = load(ModelChoice, dict(models or {}), "models")
        read = self._opened
        opening, run = await anyio.to_thread.run_sync(
            read, environment, side, start or "random", instructions, chosen, seed
        )
        if opening.restored is not None:
            await self._places.check(opening.restored, "start", side)
        await self._reachable(run, side, opening)
        record, warnings = await anyio.to_thread.run_sync(self._laid_out, opening, run, side, start)
        if is_lent(record, run):
            warnings = [*warnings, LENT.format(side=other(side))]
        return await self._gone_on(record, run, "start", warnings)

    async def cases(self, environment: str) -> list[dict[str, Any]]:
        """The scenarios that can be played: number, id and, unless held out, goal."""
        return await anyio.to_thread.run_sync(self._starts.cases, environment)

    async def step(
        self,
        session: str,
        *,
        action: str = "reply",
        text: str = "",
        tool: str = "",
        arguments: Mapping[str, Any] | None = None,
        turn: int = 0,
    ) -> SessionReport:
        """Take a step: `reply` with `text`, `call` a `tool` with `arguments`, `undo` to `turn` (0: the last one),
        `regenerate` the other side's last turn with `text` as feedback, `look`, `end`.

        Raises Conflict for a session that has ended, or that somebody else has changed in the meantime.
        """
        if action not in ACTIONS:
            what = f"There is no action `{action[:40]}`.{did_you_mean(action, ACTIONS)}"
            raise InvalidArgument(what, where="action", allowed=ACTIONS)
        if len(text) > TEXT_CHARS:
            allowed = f"at most {TEXT_CHARS:,} characters"
            raise InvalidArgument(f"`text` has {len(text):,} characters.", where="text", allowed=allowed)
        check_plain(dict(arguments or {}), "arguments")
        record, run = await anyio.to_thread.run_sync(self._read, session)
        _log.debug("%s: %s in turn %d, %s", session, action, record.turn, record.state)
        if record.state == "ended" and action == "end":
            action = "look"
        if record.state == "ended" and action not in ("undo", "look"):
            raise _ended(record)
        if action == "look":
            return await self._gone_on(record, run, action)
        standing = await self._stage.stand(record, run)
        if action == "end":
            return await self._closed(record, run, standing)
        warnings: list[str] = []
        if action == "undo":
            await self._undo(record, turn, _turn_of(standing))
        elif action == "regenerate":
            warnings = regenerated(record, _turn_of(standing), text)
        else:
            _callers_turn(record, standing)
            record.tape.append(_move(record, standing, action, text, tool, arguments or {}))
        record = await self._put(record)
        return await self._gone_on(record, run, action, warnings)

    def _opened(
        self, environment: str, role: Speaker, start: str, instructions: str, chosen: ModelChoice, seed: int
    ) -> tuple[Opening, RunRecord]:
        """The case and the run of a session, not stored yet."""
        owner = self._archive.environments.get(environment, "environment")
        models = self._models.of(owner, chosen)
        drawn = (seed, "session") if seed else (self._archive.sessions.count(), f"session {environment}")
        opening = self._starts.find(owner, start, role, drawn)
        if opening.split == "held_out":
            refuse_while_proving(self._archive, environment)
            refuse_sealed(self._archive, [f"{environment}/{opening.scenario}"])
        text = self._drafts.text(owner, instructions, "instructions")
        run = self._starts.run_of(owner, opening, text, seed)
        run.models = models
        return opening, run

    async def _reachable(self, run: RunRecord, role: Speaker, opening: Opening) -> None:
        """Refuse a session whose other side can never answer."""
        if role == "user":
            spec = AgentSpec.model_validate(run.agent)
            if spec.kind == "recorded":
                raise InvalidArgument(
                    "A recorded agent answers nobody.", where="role", allowed="agent: play it yourself"
                )
            self._trials.cast(spec, run.models)
            await self._trials.probe(spec, run.models)
        elif opening.scenario != BLANK:
            await self._models.probe({"user": run.models["user"]})

    def _laid_out(
        self, opening: Opening, run: RunRecord, role: Speaker, start: str
    ) -> tuple[SessionRecord, list[str]]:
        """Store the session with its run and case."""
        run.id = self._archive.store.next_id("session")
        run.series, run.created_at = run.id, utc_now()
        record = SessionRecord(
            id=run.id,
            environment=run.environment,
            role=role,
            start=start,
            simulation=opening.simulation,
            scenario=opening.scenario,
            created_at=run.created_at,
            updated_at=run.created_at,
        )
        try:
            self._starts.lay_out(run, opening)
            cases = self._trials.cases(run)
            record.seed = cases.seed(cases.case(opening.simulation))
        except BaseException:
            self._archive.forget_run(run.id)
            raise
        if opening.restored is not None:
            point = opening.restored.point
            record.seed, record.drawn, record.place = point.seed, point.drawn, point.place
            record.tape = point.tape
        self._archive.runs.put(run.id, run)
        self._archive.sessions.put(run.id, record)
        self._archive.sessions.audit("create", run.id)
        spent = opening.split == "held_out" and opening.scenario != BLANK
        return record, spend(self._archive, f"{run.environment}/{opening.scenario}") if spent else []

    def _read(self, session: str) -> tuple[SessionRecord, RunRecord]:
        record = self._archive.sessions.get(session, "session")
        return record, self._archive.runs.get(session, "session")

    async def _put(self, record: SessionRecord) -> SessionRecord:
        """Store a session without secrets; it continues from this stored form.

        Conflict if somebody else has stored it since it was read.
        """

        def newer(stored: SessionRecord) -> SessionRecord:
            if stored.version != record.version:
                raise Conflict(
                    f"{record.id} has been stepped by somebody else meanwhile.",
                    where="session",
                    next=[NextCall("step_session", {"session": record.id, "action": "look"})],
                )
            newer = record.model_copy(update={"version": record.version + 1, "updated_at": utc_now()})
            return record_without_secrets(newer, self._archive.redactor)

        return await anyio.to_thread.run_sync(self._archive.sessions.change, record.id, newer)

    async def _undo(self, record: SessionRecord, turn: int, now: int) -> None:
        """Take back what came after a turn; an ended session is reopened."""
        done = [one.turn for one in record.tape if one.by == record.role]
        undone(record, turn, now if record.state == "open" else max(done, default=1))
        if record.state == "ended":
            record.state, record.verdict = "open", ""
            await anyio.to_thread.run_sync(self._set_run, record, "running")

    async def _gone_on(
        self, record: SessionRecord, run: RunRecord, action: str, warnings: Sequence[str] = ()
    ) -> SessionReport:
        """Let the other side answer as long as it is its turn, and report what happened."""
        if record.state == "ended":
            standing = await self._stage.stand(record, run)
            trial = await anyio.to_thread.run_sync(self._last_end, record)
            return session_report(record, run, self._case(run, record), standing, action, trial)
        parts = [*warnings]
        standing: Standing | None = None
        patience_s = LENT_STEP_S if is_lent(record, run) else STEP_S
        with anyio.move_on_after(patience_s):
            record, standing = await self._live(record, run)
        if standing is None or (standing.waits is not None and standing.waits.error is not None):
            record = await self._broken_off(record, run)
        if standing is None:
            standing = await self._stage.stand(record, run)
            parts.append(
                f"The {other(record.role)} has not answered within {patience_s:g} s: action look waits again."
            )
        if standing.waits is None:
            return await self._finished(record, run, standing, action, parts)
        report = session_report(record, run, self._case(run, record), standing, action)
        report.warnings = [*parts, *_same_again(report)]
        report.lent = report.waits and is_lent(record, run)
        await self._seen(report, standing)
        if standing.waits.error is not None:
            raise _failed(record, standing.waits.error)
        return report

    async def _broken_off(self, record: SessionRecord, run: RunRecord) -> SessionRecord:
        """The session as stored, if the other side did not finish; an outside agent begins its turn anew."""
        record = await anyio.to_thread.run_sync(self._archive.sessions.get, record.id)
        if record.role == "user" and run.agent["kind"] in OUTSIDE:
            before = len(record.tape)
            broken_off(record, max((one.turn for one in record.tape), default=0))
            record = await self._put(record) if len(record.tape) < before else record
        return record

    async def _seen(self, report: SessionReport, standing: Standing) -> None:
        record = report.session
        record.turn, record.seen = report.turn, len(standing.tried.conversation.log)
        record.offered = [tool.name for tool in report.tools]
        report.session = await self._put(record)

    async def _closed(self, record: SessionRecord, run: RunRecord, standing: Standing) -> SessionReport:
        """End the session at its present point."""
        if standing.waits is not None:
            standing = await self._stage.stand(record, run, close=_CLOSED[record.role])
        return await self._finished(record, run, standing, "end", [])

    async def _finished(
        self, record: SessionRecord, run: RunRecord, standing: Standing, action: str, told: Sequence[str]
    ) -> SessionReport:
        """Grade what was played, store it as a conversation, and report the reward."""
        case, conversation = self._case(run, record), standing.tried.conversation
        expected = await self._trials.expected.of(case, record.seed, record.drawn)
        ended = self._trials.graded(case, standing.tried, expected)
        cases = self._trials.cases(run)
        trial = await anyio.to_thread.run_sync(self._trials.keep, cases, ended[1], ended[2])
        record.state, record.verdict, record.ends = "ended", trial.verdict, conversation.trial
        record.again = []
        report = session_report(record, run, case, standing, action, trial)
        report.warnings = [*told]
        await self._seen(report, standing)
        await anyio.to_thread.run_sync(self._set_run, record, "done")
        return report

    def _last_end(self, record: SessionRecord) -> TrialRecord | None:
        return self._archive.trials(record.id).find(f"{record.simulation}/{record.ends}")

    def _set_run(self, record: SessionRecord, state: str) -> None:
        """Record in the session's run whether it is in progress, and score it over all its ends."""
        done = state == "done"
        update = {"state": state, "trials": max(1, record.ends), "updated_at": utc_now()}
        self._archive.runs.change(record.id, lambda run: run.model_copy(update=update))
        if done:
            forget_run_calls(self._archive.store, record.id)
            self._scoring.score(record.id)

    def _case(self, run: RunRecord, record: SessionRecord) -> Case:
        return self._trials.cases(run).case(record.simulation)

    async def _live(self, record: SessionRecord, run: RunRecord) -> tuple[SessionRecord, Standing]:
        """Replay the tape and let the other side continue; each of its replies is stored as it comes."""

        async def keep(given: Given) -> None:
            nonlocal record
            record.tape.append(given)
            record.again = [one for one in record.again if one.by != given.by]
            record = await self._put(record)

        standing = await self._stage.stand(record, run, keep=keep)
        return record, standing


def _turn_of(standing: Standing) -> int:
    return standing.tried.conversation.end.turn


def _callers_turn(record: SessionRecord, standing: Standing) -> None:
    if standing.waits is not None and standing.waits.side != record.role:
        raise Conflict(
            f"The {standing.waits.side} has not answered yet.",
            where="action",
            allowed="look, undo, regenerate, end",
            next=[NextCall("step_session", {"session": record.id, "action": "look"})],
        )


def _move(
    record: SessionRecord,
    standing: Standing,
    action: str,
    text: str,
    tool: str,
    arguments: Mapping[str, Any],
) -> Given:
    """The caller's reply or call in the form that the tape takes."""
    turn = _turn_of(standing)
    if action == "call":
        known = [one.name for one in standing.offered[record.role]]
        if tool not in known:
            sentence = f"No tool `{tool[:80]}`.{did_you_mean(tool, known)}" if tool else "Which tool?"
            raise UnknownTool(
                sentence,
                where="tool",
                allowed=known or "none in this world",
                next=[NextCall("step_session", {"session": record.id, "action": "look"})],
            )
        return called(record, turn, tool, arguments)
    words, stop = strip_stop(text) if record.role == "user" else (text.strip(), False)
    if not words and not stop:
        raise InvalidArgument("There is nothing to say.", where="text", allowed="a text that is not empty")
    return said(record, turn, words, stop)


def _same_again(report: SessionReport) -> list[str]:
    """A warning if the other side repeated what was rejected."""
    if report.action != "regenerate":
        return []
    last = report.session.rejected[-1]
    if {"from": last.by, "text": last.text} not in report.messages:
        return []
    text = " The offline user takes only words in double quotes from feedback." if last.by == "user" else ""
    return [f"The {last.by} says the same again.{text}"]


def _ended(record: SessionRecord) -> Conflict:
    turn = max((one.turn for one in record.tape if one.by == record.role), default=1)
    again = {"session": record.id, "action": "undo", "turn": max(1, turn)}
    return Conflict(
        f"{record.id} has ended; only undo and look go on.",
        where="action",
        allowed="undo, look",
        next=[NextCall("step_session", again)],
    )


def _failed(record: SessionRecord, error: Exception) -> CasehardenError:
    """Why the other side could not answer; what the caller did is kept."""
    look = [NextCall("step_session", {"session": record.id, "action": "look"}, "asks again")]
    what = f"The {other(record.role)} could not answer; your step is kept, and look asks again."
    if isinstance(error.__cause__, CasehardenError):
        error = error.__cause__
    if isinstance(error, CasehardenError):
        return type(error)(f"{error.what} {what}", where=error.where, allowed=error.allowed, next=look)
    return Unavailable(what, where="session", next=look, quoted=f"{type(error).__name__}: {error}"[:500])

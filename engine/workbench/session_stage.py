"""Where a session stands: its tape replayed through the trial, and who continues after its end."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from ..agents import AgentAdapter, closing
from ..errors import Conflict, NextCall
from ..llm import trial_of
from ..records.conversation import Branch, EndReason
from ..records.environment import AgentSpec
from ..records.run import RunRecord
from ..records.session import SessionRecord
from ..simulate import (
    Case,
    Keep,
    NoUser,
    Standing,
    Tape,
    TapedAgent,
    TapedUser,
    UserSimulator,
    stand_trial,
)
from .role_models import lent_roles
from .session_moves import other
from .session_starts import BLANK
from .trials import TrialRunner


class SessionStage:
    """Plays tapes."""

    def __init__(self, trials: TrialRunner) -> None:
        self._trials = trials

    async def stand(
        self,
        record: SessionRecord,
        run: RunRecord,
        *,
        keep: Keep | None = None,
        close: EndReason | None = None,
    ) -> Standing:
        """The trial as far as the tape goes; with `keep`, the other side continues after its end."""
        cases = self._trials.cases(run)
        case = cases.case(record.simulation)
        tape = Tape(record.tape, again=record.again, keep=keep, strict=True)
        agent, user = self._players(record, run, case) if keep is not None else (None, None)
        number = record.ends + (record.state == "open")
        belongs: dict[str, Any] = {
            "id": f"{run.id}/{record.simulation}/{number}",
            "environment": run.environment,
            "run": run.id,
            "instructions": run.instructions,
        }
        if record.place or number != record.drawn:
            place = record.place or f"{run.id}/{record.simulation}/1"
            belongs["branch"] = Branch(place=place, trial=record.drawn)
        scenario = f"{run.environment}/{record.scenario}"
        asked = run.instructions if agent is not None else ""
        async with closing(agent) if agent is not None else nullcontext():
            with trial_of(run.id, "session", scenario, held_out=False, instructions=asked):
                standing = await stand_trial(
                    case,
                    TapedAgent(tape, agent),
                    TapedUser(tape, user),
                    seed=record.seed,
                    trial=number,
                    drawn=record.drawn,
                    instructions=run.instructions_text,
                    belongs=belongs,
                    execution=f"{record.id}/{record.version}",
                    close=close,
                )
        if tape.unread:
            raise Conflict(
                f"{record.id} cannot be restored: its case goes another way in this version.",
                where="session",
                allowed="a new session",
                next=[NextCall("start_session", {"environment": record.environment})],
            )
        return standing

    def _players(
        self, record: SessionRecord, run: RunRecord, case: Case
    ) -> tuple[AgentAdapter | None, UserSimulator | None]:
        """(agent, user), None for the one that the caller plays."""
        spec = AgentSpec.model_validate(run.agent) if record.role == "user" else AgentSpec()
        models = run.models if record.role == "user" else {**run.models, "agent": "offline"}
        if _is_blank(record):
            return None, NoUser()
        cast = self._trials.cast(spec, models)
        if record.role == "user":
            return cast.agent(case, record.drawn), None
        return None, cast.user(case, record.drawn, 0)


def is_lent(record: SessionRecord, run: RunRecord) -> bool:
    """Whether a client answers for the side that the session's caller does not play."""
    lent = lent_roles(run.models, AgentSpec.model_validate(run.agent))
    return not _is_blank(record) and other(record.role) in lent


def _is_blank(record: SessionRecord) -> bool:
    """Whether there is nobody to talk to."""
    return record.scenario == BLANK and not record.place

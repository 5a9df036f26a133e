"""Playing a trial: to its end, or until one side that is played from outside has to act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..agents import AgentAdapter, Standstill
from ..llm import ModelClient, ToolSignature
from ..records.conversation import EndReason, Speaker
from .case import Case
from .live import LiveTrial
from .meter import Meter
from .trial import Trial, Tried
from .user import UserSimulator


@dataclass(frozen=True, slots=True)
class Standing:
    """A trial as far as it got: its record so far, and which side has to act."""

    tried: Tried
    waits: Standstill | None
    """None: it has ended."""
    offered: Mapping[Speaker, tuple[ToolSignature, ...]]
    """The tools of each side now, as it sees them."""


async def run_trial(
    case: Case,
    agent: AgentAdapter,
    user: UserSimulator,
    *,
    seed: int,
    trial: int,
    instructions: str = "",
    belongs: Mapping[str, Any] | None = None,
    quiet: bool = False,
    meter: Meter | None = None,
    live: LiveTrial | None = None,
    drawn: int = 0,
    execution: str = "",
    judge: ModelClient | None = None,
) -> Tried:
    """Run the case once. Any failure in it becomes the end of its record; only cancellation is raised.

    The same case, agent, user, seed and trial give the same conversation, in any process. `{policy}` in the
    instructions stands for the world's policy. `belongs`: further fields of the record, such as `id` and `run`.
    `quiet`: without faults, noise and measured think time. Before each reply `meter` is asked whether it is allowed:
    if not, the trial ends in `budget`. `drawn`: the trial whose draws it uses (0: its own). `execution`: names this
    execution, for outside agents, which know a conversation by a key. Model calls and other tasks get their turn at
    every reply. During the trial, `live` gives its record so far. `judge`: answers the script's `judge` steps; without
    one they are inconclusive. The agent is not closed.
    """
    going = Trial(case, agent, user, seed, drawn or trial, instructions, quiet, meter, execution)
    going.judge = judge
    if live is not None:
        live.so_far = lambda: going.record(trial, belongs or {})[0]
    await going.play()
    return going.tried(trial, belongs or {})


async def stand_trial(
    case: Case,
    agent: AgentAdapter,
    user: UserSimulator,
    *,
    seed: int,
    trial: int,
    instructions: str = "",
    belongs: Mapping[str, Any] | None = None,
    drawn: int = 0,
    execution: str = "",
    close: EndReason | None = None,
) -> Standing:
    """Like `run_trial`, but only until a side raises Standstill; there it ends with `close`, if given."""
    going = Trial(case, agent, user, seed, drawn or trial, instructions, False, None, execution)
    waits: Standstill | None = None
    try:
        await going.play()
    except Standstill as still:
        waits = still
    if waits is not None and close is not None:
        if close == "user_stop":
            going.script.stopped()
        going.script.finish(close, "ended by the caller")
        waits = None
    sides: tuple[Speaker, ...] = ("agent", "user")
    offered: dict[Speaker, tuple[ToolSignature, ...]] = {
        side: case.offered(going.scene, side) for side in sides
    }
    return Standing(going.tried(trial, belongs or {}), waits, offered)

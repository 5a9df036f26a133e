"""The trial: one seeded execution of a case, and the one path for live trials, solutions and baselines."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.lowlevel

from ..agents import AgentAdapter, AgentError, AgentInput, AgentReply
from ..errors import SetupError
from ..evaluate import Watcher
from ..llm import Message, ToolCall
from ..records.conversation import Conversation, SaySource, Speaker, TokenUsage
from ..seeds import seed_of
from ..world import CallOutcome, Scene, WorldFault
from .case import Case
from .transcript import Transcript, patch_records
from .user import UserReply, UserSimulator

WAITING: Final = "I have nothing to add."
"""Said for a user that would stop although it was asked something, or before it may stop."""
USER_CALLS: Final = 10
"""Replies of a user that only call its own tools, in one turn; more end in `user_fault`."""
MAX_REPLIES: Final = 20_000
"""Replies of an agent in one trial, whatever the limits are: thinking is not limited otherwise."""
_ANNOUNCES: Final = re.compile(
    r"\b(?:(?:i will|i'll|i am going to|i'm going to)(?! not\b)|i am about to|i'm about to|let me(?! know)|"
    r"one moment)\b",
    re.I,
)
_CLOSES: Final = re.compile(
    r"\b(?:anything|something|what) else\b|\bfurther (?:help|assistance|questions)\b", re.I
)
_SENTENCE_END: Final = re.compile(r"[.!?\n]")


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial: its record, the same as JSON, and the state it left (shared, not to be changed)."""

    conversation: Conversation
    document: dict[str, Any]
    final: dict[str, Any]
    drew: bool
    """Whether the world drew anything by chance; if not, another seed or trial number changes nothing in it."""


async def run_trial(
    case: Case,
    agent: AgentAdapter,
    user: UserSimulator,
    *,
    seed: int,
    trial: int,
    instructions: str = "",
    belongs: Mapping[str, str] | None = None,
) -> Tried:
    """Run the case once. What goes wrong in it is the end of its record; only cancellation is raised.

    The same case, agent, user, seed and trial give the same conversation, in any process. `{policy}` in the
    instructions stands for the world's policy. `belongs`: `id`, `environment`, `run` and `instructions` of the
    record. Model calls and other tasks get their turn at every reply.
    """
    going = _Going(case, agent, user, seed, trial, instructions)
    began = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    started = time.perf_counter()
    with anyio.move_on_after(case.limits.timeout_s) as scope:
        await anyio.lowlevel.checkpoint()
        going.set_up()
        await going.converse()
    if scope.cancelled_caught:
        going.script.finish("timeout", f"{case.limits.timeout_s:g} s of wall time")
    record, document = going.script.conversation(
        case,
        seed,
        trial,
        instructions,
        wall_s=round(time.perf_counter() - started, 6),
        agent_wall_s=round(going.agent_wall_s, 6),
        started_at=began,
        **(belongs or {}),
    )
    return Tried(record, document, going.scene.state.snapshot(), going.scene.draws > 0)


class _Going:
    """A trial that is going on: what each side has heard, and what happens next."""

    def __init__(
        self, case: Case, agent: AgentAdapter, user: UserSimulator, seed: int, trial: int, instructions: str
    ) -> None:
        self.case, self.agent, self.user = case, agent, user
        self.key: tuple[int, str, int] = (seed, case.simulation, trial)
        context = case.scenario.agent_context
        text = instructions.replace("{policy}", case.world.world.policy)
        self.instructions = f"{text}\n\n{context}" if context else text
        self.scene = Scene(case.world, self.key, case.options)
        self.script = Transcript(self.scene)
        self.watcher = Watcher(case.plan)
        self.heard: dict[Speaker, list[Message]] = {"agent": [], "user": []}
        self.notices: dict[Speaker, list[str]] = {"agent": [], "user": []}
        self.agent_calls = self.replies = self.new = self.same = 0
        self.last_text = ""
        self.held_back = False
        self.agent_wall_s = 0.0
        self.opaque = hashlib.blake2b(f"{seed}/{case.simulation}/{trial}".encode(), digest_size=8).hexdigest()
        self.agent_seed = seed_of(*self.key, "agent", 0)

    @property
    def over(self) -> bool:
        return self.script.end is not None

    def set_up(self) -> None:
        """Persona's data, init, sync, schema, history; an error there is the author's."""
        try:
            effects = self.scene.prepare(self.case.data, self.case.init)
            self.script.setup = patch_records(effects.patches)
            self.script.signals(effects.signals)
            self._take_notices("world")
            for item in self.case.scenario.history:
                if item.say is not None:
                    self._say(item.by, item.say, "history")
                elif item.tool is not None:
                    self._past_call(item.by, item.tool, item.args)
        except WorldFault as fault:
            self.script.finish("world_error", fault.text)
        self.script.begin(self.case.plan.now)
        self._point()

    async def converse(self) -> None:
        """Turn after turn, until something ends the trial."""
        while not self.over:
            if self.script.turn >= self.case.limits.max_turns:
                self.script.finish("max_turns", f"{self.case.limits.max_turns} turns")
                return
            self.script.turn += 1
            self.scene.begin_turn()
            await self._user_turn()
            if not self.over:
                await self._agent_turn()

    # The user

    async def _user_turn(self) -> None:
        for round in range(USER_CALLS + 1):
            self._deliver("user")
            seed = seed_of(*self.key, "user", self.script.turn, round)
            try:
                reply = await self.user.speak(self.heard["user"], self.case.offered(self.scene, "user"), seed)
            except SetupError as error:
                self.script.finish("model_error", f"user: {error}")
                return
            except Exception as error:
                self.script.finish("model_error", f"user: {type(error).__name__}: {error}")
                return
            self.script.used("user", self.user.name, reply.usage)
            if not reply.calls:
                self._user_says(reply)
                return
            self.heard["user"].append(Message("assistant", reply.text, reply.calls))
            await self._execute("user", reply.calls)
            if self.over:
                return
        self.script.finish("user_fault", f"over {USER_CALLS} rounds of calls in one turn")

    def _user_says(self, reply: UserReply) -> None:
        if reply.ends is not None:
            self.script.finish(reply.ends.reason, reply.ends.detail)
            return
        if not reply.text and not reply.stop:
            self.script.finish("user_fault", "the user said nothing")
            return
        stops = reply.stop and self._may_stop(reply)
        self.held_back = reply.stop and not stops
        if reply.text or not stops:
            self._say("user", reply.text or WAITING, reply.source, reply.usage)
            self._point()
        if stops:
            self.script.stopped()
            self.script.finish("user_stop")

    def _may_stop(self, reply: UserReply) -> bool:
        """Not before `min_turns`, and once not in answer to a question or to an announced action."""
        if reply.source != "model":
            return True
        if self.script.turn <= self.case.limits.min_turns:
            return False
        return self.held_back or not waits_for_user(self.last_text)

    # The agent

    async def _agent_turn(self) -> None:
        while not self.over:
            reply = await self._asked()
            if reply is None:
                return
            if not reply.calls:
                self._agent_says(reply)
                return
            if reply.text:
                self.script.say("agent", reply.text, "model", reply.usage)
                self.heard["user"].append(Message("user", reply.text))
            self.heard["agent"].append(Message("assistant", reply.text or "", reply.calls))
            await self._execute("agent", reply.calls, own_names=reply.own_names)
            if self.replies >= MAX_REPLIES:
                self.script.finish("max_tool_calls", f"{MAX_REPLIES} replies")

    async def _asked(self) -> AgentReply | None:
        """The agent's next reply; None where it crashed, which ends the trial."""
        await anyio.lowlevel.checkpoint()
        self._deliver("agent")
        turn = AgentInput(
            self.opaque,
            self.instructions,
            self.heard["agent"],
            self.new,
            self.case.offered(self.scene, "agent"),
            self.agent_seed,
            self.script.turn,
        )
        began = time.perf_counter()
        try:
            reply = _well_formed(await self.agent.reply(turn))
        except AgentError as error:
            self.script.finish("agent_error", str(error))
            return None
        except Exception as error:
            # An adapter's own fault is the trial's end like any other: the run goes on.
            self.script.finish("agent_error", f"{type(error).__name__}: {error}")
            return None
        wall_s = time.perf_counter() - began
        self.agent_wall_s += wall_s
        self.new = 0
        self.replies += 1
        self.scene.think(round(wall_s, 3))
        self.script.used("agent", self.agent.name, reply.usage)
        return reply

    def _agent_says(self, reply: AgentReply) -> None:
        if reply.text is None:
            return
        self.same = self.same + 1 if reply.text == self.last_text else 1
        self.last_text = reply.text
        self._say("agent", reply.text, "model", reply.usage)
        self._point()
        if self.same >= self.case.limits.same_message:
            self.script.finish("loop", f"{self.same} equal messages: {reply.text[:200]}")

    # What both do

    async def _execute(self, by: Speaker, calls: Sequence[ToolCall], *, own_names: bool = False) -> None:
        """The calls of one reply in their order; each is an evaluation point, any of them may end the trial."""
        for place, call in enumerate(calls):
            if place:
                await anyio.lowlevel.checkpoint()
            if by == "agent" and not self._may_call(call.name, own_names):
                return
            began = time.perf_counter()
            try:
                outcome = self.scene.call(call.name, call.arguments, by, shown_name=not own_names)
            except WorldFault as fault:
                self.script.finish("world_error", fault.text)
                return
            message = self.replies if by == "agent" else 0
            self.script.call(outcome, call.arguments, message, time.perf_counter() - began)
            self._heard_result(by, outcome, call.id)
            self._point()
            if outcome.ok and outcome.kind == "terminal":
                self.script.finish("terminal", outcome.tool)
            if self.over:
                return

    def _may_call(self, name: str, own_names: bool) -> bool:
        """Count a call of the agent, unless it is a thought; whether it is within the limit."""
        tool = self.case.world.tools.get((name if own_names else self.scene.own_name(name)) or "")
        if tool is not None and tool.kind == "think":
            return True
        self.agent_calls += 1
        limit = self.case.limits.max_tool_calls
        if self.agent_calls > limit:
            self.script.finish("max_tool_calls", f"over {limit} calls")
        return not self.over

    def _past_call(self, by: Speaker, tool: str, args: dict[str, Any]) -> None:
        """A call of the history, executed; where it fails, it is the author's fault."""
        outcome = self.scene.call(tool, args, by, tick=False)
        if not outcome.ok:
            raise WorldFault(f"history: {tool} says: {outcome.text}")
        call = self.script.past_call(outcome)
        self.heard[by].append(Message("assistant", "", (call,)))
        self._heard_result(by, outcome, call.id)

    def _heard_result(self, by: Speaker, outcome: CallOutcome, id: str) -> None:
        self.heard[by].append(Message("tool", outcome.text, tool_call_id=id))
        self.new += by == "agent"
        if outcome.signals:
            self._take_notices(by)

    def _say(self, by: Speaker, text: str, source: SaySource, usage: TokenUsage | None = None) -> None:
        self.script.say(by, text, source, usage)
        other: Speaker = "user" if by == "agent" else "agent"
        self.heard[by].append(Message("assistant", text))
        self.heard[other].append(Message("user", text))
        self.new += by == "user"

    def _take_notices(self, cause: Speaker | str) -> None:
        """The world's new messages wait for their side, as far as the scenario lets the agent have them."""
        level = self.case.scenario.world.notifications
        self.notices["user"] += self.scene.take_notices("user")
        told = self.scene.take_notices("agent")
        if level == "all" or (level == "own" and cause == "agent"):
            self.notices["agent"] += told

    def _deliver(self, side: Speaker) -> None:
        """The messages that wait for a side go in front of its next model call."""
        if not self.notices[side]:
            return
        self.heard[side] += [Message("system", f"Notice: {text}") for text in self.notices[side]]
        self.new += len(self.notices[side]) if side == "agent" else 0
        self.notices[side] = []

    def _point(self) -> None:
        """An evaluation point."""
        if self.over or self.script.trace is None:
            return
        hit = self.watcher.at_point(self.script.trace)
        if hit is not None:
            self.script.finish("minefield", f"{hit.check}: {hit.why}")


def waits_for_user(text: str) -> bool:
    """Whether an agent's text asks something or announces an action: no moment for the user to leave.

    `Is there anything else?` asks for nothing.
    """
    if _ANNOUNCES.search(text):
        return True
    asked = text.rstrip()
    if not asked.endswith("?"):
        return False
    last = _SENTENCE_END.split(asked[-500:-1])[-1]
    return _CLOSES.search(last) is None


def _well_formed(reply: AgentReply) -> AgentReply:
    """The reply, where an adapter of others keeps to the contract; TypeError else."""
    if not isinstance(reply, AgentReply):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an agent's reply is an AgentReply, not {type(reply).__name__}")
    return reply

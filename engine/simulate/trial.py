"""The trial: one seeded execution of a case, and the one path for live trials, solutions and baselines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.lowlevel

from ..agents import AgentAdapter, AgentError, AgentInput, AgentReply
from ..errors import SetupError
from ..evaluate import Watcher
from ..llm import Message, ToolCall, ToolSignature
from ..records.conversation import Conversation, EndReason, Patch, Speaker, TokenUsage
from ..seeds import seed_of
from ..world import Scene, SceneOptions, WorldFault
from .case import Case
from .transcript import Transcript, patch_records
from .user import UserReply, UserSimulator

WAITING: Final = "I have nothing to add."
"""Said for a user that would stop although it was asked something, or before it may stop."""
_ANNOUNCES: Final = (
    "i will",
    "i'll",
    "i am going to",
    "i'm going to",
    "let me",
    "one moment",
    "i am about to",
)
_USER_CALLS: Final = 10
"""Replies of a user that only call its own tools, in one turn; more end in `user_fault`."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial: its record, and the state it left (shared, not to be changed)."""

    conversation: Conversation
    final: dict[str, Any]


async def run_trial(
    case: Case,
    agent: AgentAdapter,
    user: UserSimulator,
    *,
    seed: int,
    trial: int,
    instructions: str = "",
) -> Tried:
    """Run the case once. What goes wrong in it is the end of its record; only cancellation is raised.

    The same case, agent, user, seed and trial give the same conversation, in any process. `{policy}` in the
    instructions stands for the world's policy.
    """
    going = _Going(case, agent, user, seed, trial, instructions)
    began = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    started = time.perf_counter()
    going.set_up()
    with anyio.move_on_after(case.limits.timeout_s) as scope:
        await going.converse()
    if scope.cancelled_caught:
        going.finish("timeout", f"{case.limits.timeout_s:g} s of wall time")
    wall_s = time.perf_counter() - started
    conversation = going.script.conversation(
        case, seed, trial, going.setup, began, wall_s, going.agent_wall_s
    )
    return Tried(conversation, going.scene.state.snapshot())


class _Going:
    """A trial that is going on: what each side has heard, and what happens next."""

    def __init__(
        self, case: Case, agent: AgentAdapter, user: UserSimulator, seed: int, trial: int, instructions: str
    ) -> None:
        self.case, self.agent, self.user = case, agent, user
        self.seed, self.trial = seed, trial
        context = case.scenario.agent_context
        text = instructions.replace("{policy}", case.world.world.policy)
        self.instructions = f"{text}\n\n{context}" if context else text
        options = case.scenario.world
        self.scene = Scene(
            case.world,
            (seed, case.simulation, trial),
            SceneOptions(
                options.now,
                options.rename_tools,
                options.describe_tools,
                options.hide_tools,
                options.user_tools,
                options.solo,
            ),
        )
        self.script = Transcript(self.scene)
        self.watcher = Watcher(case.plan)
        self.setup: list[Patch] = []
        self.heard: dict[Speaker, list[Message]] = {"agent": [], "user": []}
        self.tools: dict[Speaker, tuple[Sequence[Any], list[ToolSignature]]] = {}
        self.agent_calls = self.replies = self.new = self.same = 0
        self.last_text = ""
        self.held_back = False
        self.agent_wall_s = 0.0
        self.key = hashlib.blake2b(f"{seed}/{case.simulation}/{trial}".encode(), digest_size=8).hexdigest()
        self.agent_seed = seed_of(seed, case.simulation, trial, "agent", 0)

    @property
    def over(self) -> bool:
        return self.script.end is not None

    def finish(self, reason: EndReason, detail: str = "") -> None:
        self.script.finish(reason, detail)

    def set_up(self) -> None:
        """Persona's data, init, sync, schema, history; an error there is the author's."""
        data = self.case.persona.data if self.case.persona else None
        merged = data.model_dump(exclude_unset=True) if data is not None else None
        try:
            effects = self.scene.prepare(merged, self.case.init)
            self.setup = patch_records(effects.patches)
            for item in self.case.scenario.history:
                if item.say is not None:
                    self._say(item.by, item.say, "history")
                if item.tool is not None and not self._past_call(item.by, item.tool, item.args):
                    break
        except WorldFault as fault:
            self.finish("world_error", fault.text)
        self.script.begin(self.case.plan.now)
        self._point()

    async def converse(self) -> None:
        """Turn after turn, until something ends the trial."""
        while not self.over:
            if self.script.turn >= self.case.limits.max_turns:
                self.finish("max_turns", f"{self.case.limits.max_turns} turns")
                return
            await anyio.lowlevel.checkpoint()
            self.script.turn += 1
            self.scene.begin_turn()
            await self._user_turn()
            if not self.over:
                await self._agent_turn()

    async def _user_turn(self) -> None:
        for call in range(_USER_CALLS + 1):
            self._deliver("user")
            seed = seed_of(self.seed, self.case.simulation, self.trial, "user", self.script.turn, call)
            try:
                reply = await self.user.speak(self.heard["user"], self._offered("user"), seed)
            except SetupError as error:
                self.finish("model_error", f"user: {error}")
                return
            self.script.used("user", self.user.name, reply.usage)
            if not reply.calls:
                self._user_says(reply)
                return
            self.heard["user"].append(Message("assistant", reply.text, reply.calls))
            self._execute("user", reply.calls)
            if self.over:
                return
        self.finish("user_fault", f"over {_USER_CALLS} rounds of calls in one turn")

    def _user_says(self, reply: UserReply) -> None:
        text = reply.text
        if reply.stop and self._may_stop(reply):
            if text:
                self._say("user", text, reply.source, reply.usage)
                self._point()
            self.script.stopped()
            self.finish("user_stop")
            return
        if not text and not reply.stop:
            self.finish("user_fault", "the user said nothing")
            return
        self.held_back = reply.stop
        self._say("user", text or WAITING, reply.source, reply.usage)
        self._point()

    def _may_stop(self, reply: UserReply) -> bool:
        """Not before `min_turns`, and once not in answer to a question or to an announced action."""
        if reply.source != "model":
            return True
        if self.script.turn <= self.case.limits.min_turns:
            return False
        last = self.last_text.strip().casefold().replace("let me know", "")
        return self.held_back or not (last.endswith("?") or any(words in last for words in _ANNOUNCES))

    async def _agent_turn(self) -> None:
        while not self.over:
            self._deliver("agent")
            turn = AgentInput(
                self.key,
                self.instructions,
                tuple(self.heard["agent"]),
                self.new,
                self._offered("agent"),
                self.agent_seed,
            )
            began = time.perf_counter()
            try:
                reply = await self.agent.reply(turn)
            except AgentError as error:
                self.finish("agent_error", str(error))
                return
            except Exception as error:
                # An adapter's own fault is the trial's end like any other: the run goes on.
                self.finish("agent_error", f"{type(error).__name__}: {error}")
                return
            wall_s = time.perf_counter() - began
            self.agent_wall_s += wall_s
            self.new = 0
            self.replies += 1
            self.scene.think(round(wall_s, 3))
            self.script.used("agent", self.agent.name, reply.usage)
            if not reply.calls:
                self._agent_says(reply)
                return
            if reply.text:
                self.script.say("agent", reply.text, "model", reply.usage)
                self.heard["user"].append(Message("user", reply.text))
            self.heard["agent"].append(Message("assistant", reply.text or "", reply.calls))
            self._execute("agent", reply.calls)

    def _agent_says(self, reply: AgentReply) -> None:
        if reply.text is None:
            return
        self.same = self.same + 1 if reply.text == self.last_text else 1
        self.last_text = reply.text
        self._say("agent", reply.text, "model", reply.usage)
        self._point()
        if not self.over and self.same >= self.case.limits.same_message:
            self.finish("loop", f"{self.same} equal messages: {reply.text[:200]}")

    def _execute(self, by: Speaker, calls: Sequence[ToolCall]) -> None:
        """The calls of one reply in their order; each is an evaluation point, any of them may end the trial."""
        for call in calls:
            if by == "agent":
                self.agent_calls += 1
                if self.agent_calls > self.case.limits.max_tool_calls:
                    self.finish("max_tool_calls", f"over {self.case.limits.max_tool_calls} calls")
                    return
            began = time.perf_counter()
            try:
                outcome = self.scene.call(call.name, call.arguments, by, shown_name=True)
            except WorldFault as fault:
                self.finish("world_error", fault.text)
                return
            self.heard[by].append(Message("tool", outcome.text, tool_call_id=call.id))
            self.new += by == "agent"
            message = self.replies if by == "agent" else 0
            self.script.call(outcome, call.arguments, message, time.perf_counter() - began)
            self._point()
            if not self.over and outcome.ok and outcome.kind == "terminal":
                self.finish("terminal", outcome.tool)
            if self.over:
                return

    def _past_call(self, by: Speaker, tool: str, args: dict[str, Any]) -> bool:
        """A call of the history, executed; False where it fails, which is the author's fault."""
        outcome = self.scene.call(tool, args, by)
        if not outcome.ok:
            self.finish("world_error", f"history: {tool} says: {outcome.text}")
            return False
        self.setup += patch_records(outcome.patches)
        self.script.call(outcome, "", 0, 0.0)
        call = self.script.call_as_message(outcome)
        self.heard[by] += [
            Message("assistant", "", (call,)),
            Message("tool", outcome.text, tool_call_id=call.id),
        ]
        return True

    def _say(self, by: Speaker, text: str, source: str, usage: TokenUsage | None = None) -> None:
        self.script.say(by, text, source, usage)
        other: Speaker = "user" if by == "agent" else "agent"
        self.heard[by].append(Message("assistant", text))
        self.heard[other].append(Message("user", text))
        self.new += by == "user"

    def _deliver(self, side: Speaker) -> None:
        """The world's messages that wait for a side go in front of its next model call."""
        level = self.case.scenario.world.notifications
        for text in self.scene.take_notices(side):
            if side == "user" or level == "all":
                self.heard[side].append(Message("system", f"Notice: {text}"))
                self.new += side == "agent"

    def _offered(self, side: Speaker) -> list[ToolSignature]:
        now = self.scene.offered(side)
        known = self.tools.get(side)
        if known is None or known[0] != now:
            known = (now, [ToolSignature(tool.name, tool.description, tool.parameters) for tool in now])
            self.tools[side] = known
        return known[1]

    def _point(self) -> None:
        """An evaluation point."""
        if self.over or self.script.trace is None:
            return
        hit = self.watcher.at_point(self.script.trace)
        if hit is not None:
            self.finish("minefield", f"{hit.check}: {hit.why}")

"""The trial: one seeded execution of a case, and the one path for live trials, sessions, solutions and baselines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel

from ..agents import AgentAdapter, AgentError, AgentInput, AgentReply, Standstill, Unwanted
from ..errors import SetupError, error_class
from ..evaluate import ROUNDING_S, ScriptCheck
from ..llm import ModelClient, Patience, ToolCall, patient
from ..plural import plural
from ..records.conversation import AgentVerdict, Conversation, EndReason, SaySource, Speaker, TokenUsage
from ..seeds import seed_of
from ..world import CallOutcome, CompiledWorld, FaultPlan, Path, RemoteTrial, Scene, WorldFault
from .case import Case
from .checkpoint import decide
from .hearing import Hearing
from .meter import Meter
from .points import Points
from .script import play_script
from .threads import in_world_thread
from .transcript import Transcript, patch_records
from .user import UserReply, UserSimulator, waits_for_user

WAITING: Final = "I have nothing to add."
"""Said for a user that wants to stop although it was asked something, or before it may stop."""
USER_CALLS: Final = 10
"""Replies of a user in one turn that only call its own tools; more end in `user_fault`."""
MAX_REPLIES: Final = 20_000
"""Replies of an agent in one trial, whatever the limits are: thinking is not limited otherwise."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial: its record, the same as JSON, and its final state (shared, do not change it)."""

    conversation: Conversation
    document: dict[str, Any]
    final: dict[str, Any]
    drew: bool
    """Whether the world drew anything at random; if not, another seed or trial number changes nothing in it."""
    by_the_world: tuple[Path, ...] = ()
    """The places that events and noise wrote."""


class Trial:
    """A trial in progress: what each side has heard, and what happens next."""

    def __init__(
        self,
        case: Case,
        agent: AgentAdapter,
        user: UserSimulator,
        seed: int,
        trial: int,
        instructions: str,
        quiet: bool,
        meter: Meter | None,
        execution: str = "",
    ) -> None:
        self.case, self.agent, self.user, self.meter = case, agent, user, meter
        self.judge: ModelClient | None = None
        """Answers the script's `judge` steps; None: they are inconclusive."""
        self.key: tuple[int, str, int] = (seed, case.simulation, trial)
        context = case.scenario.agent_context
        text = instructions.replace("{policy}", case.world.world.policy)
        self.instructions = f"{text}\n\n{context}" if context else text
        self.scene = Scene(case.world, self.key, case.options)
        self.script = Transcript(self.scene)
        self.points = Points(case, self.scene, self.script, noise=not quiet)
        faults = [] if quiet else case.scenario.faults
        self.faults = FaultPlan(faults, self.key) if faults else None
        self.hearing = Hearing(self.scene, case.scenario.world.notifications)
        self.agent_calls = self.replies = self.same = 0
        self.last_text = ""
        self.held_back = False
        self.agent_wall_s = 0.0
        self.patience: Patience | None = None
        self.opaque = hashlib.blake2b(
            f"{execution}/{seed}/{case.simulation}/{trial}".encode(), digest_size=8
        ).hexdigest()
        self.agent_seed = seed_of(*self.key, "agent", 0)
        self.quiet, self.text = quiet, instructions
        self.started, self.began = time.perf_counter(), ""

    async def play(self) -> None:
        """Play from the beginning to the end, within the limit of wall time."""
        async with _servers(self.case.world) as self.scene.remote:
            await self._play()

    async def _play(self) -> None:
        self.began = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.started = time.perf_counter()
        with anyio.move_on_after(self.case.limits.timeout_s) as scope, patient(scope) as self.patience:
            await anyio.lowlevel.checkpoint()
            if self.case.world.code_tools:
                await in_world_thread(self.set_up)
            else:
                self.set_up()
            await self.converse()
            await self._close()
        if scope.cancelled_caught:
            self.script.finish("timeout", f"{self.case.limits.timeout_s:g} s of wall time", "timeout")

    def record(self, trial: int, belongs: Mapping[str, Any]) -> tuple[Conversation, dict[str, Any]]:
        """The record so far, as the trial of that number, and the same as JSON."""
        return self.script.conversation(
            self.case,
            self.key[0],
            trial,
            self.text,
            wall_s=round(time.perf_counter() - self.started, 6),
            agent_wall_s=round(self.agent_wall_s, 6),
            started_at=self.began,
            **belongs,
        )

    def tried(self, trial: int, belongs: Mapping[str, Any]) -> Tried:
        """The result, as the trial of that number."""
        record, document = self.record(trial, belongs)
        left = self.script.trace.by_the_world() if self.script.trace else ()
        drew = self.scene.draws > 0 or (not self.quiet and self.case.disturbed)
        return Tried(record, document, self.scene.state.snapshot(), drew, left)

    @property
    def over(self) -> bool:
        return self.script.end is not None

    @property
    def _waited_s(self) -> float:
        """Seconds spent asking the host, which count as nobody's think time."""
        return self.patience.waited_s if self.patience else 0.0

    def set_up(self) -> None:
        """Apply persona's data, init, sync, schema and history; an error there is the author's."""
        try:
            effects = self.scene.prepare(self.case.data, self.case.init)
            self.script.setup = patch_records(effects.patches)
            self.script.signals(effects.signals)
            self.hearing.take_notices("world")
            for item in self.case.scenario.history:
                if item.say is not None:
                    self._say(item.by, item.say, "history")
                elif item.tool is not None:
                    self._past_call(item.by, item.tool, item.args)
        except WorldFault as fault:
            self.script.finish("world_error", fault.text)
        self.script.begin(self.case.plan.now)
        self.points.look()

    async def converse(self) -> None:
        """Play turn after turn, or as the script says, until something ends the trial."""
        if self.case.scenario.script:
            if not self.over:
                await play_script(self.case.scenario.script, self.case.plan.script, self)
            return
        while not self.over:
            await self.user_speaks()
            if not self.over:
                await self.agent_answers()

    async def _close(self) -> None:
        """Make the calls that the scenario's profile makes at the end; their results are only for its reward."""
        original = self.case.plan.original
        for closing in original.closing if original is not None else ():
            made = partial(self.scene.call, closing.tool, dict(closing.args), "world", tick=False)
            try:
                outcome = await in_world_thread(made)
            except WorldFault as fault:
                self.script.finish("world_error", fault.text)
                return
            if outcome.ok and outcome.result != closing.wanted:
                outcome = replace(outcome, ok=False, error="refused")
            self.script.call(outcome, "", 0, 0.0)

    # What a script asks for (script.Stage)

    async def user_speaks(self, words: str | None = None) -> None:
        """Begin a turn, and let the user speak: what events gave it to say, then these words, or its own."""
        if self.script.turn >= self.case.limits.max_turns:
            self.script.finish("max_turns", plural(self.case.limits.max_turns, "turn"))
            return
        self.script.turn += 1
        self.scene.begin_turn()
        given: list[tuple[str, SaySource]] = [(words, "script")] if words is not None else []
        self._point(only_time_passed=True)
        told = self.points.next_words()
        if told is not None:
            given.insert(0, (told, "event"))
        if not self.over:
            await (self._user_given(given) if given else self._user_turn())

    async def agent_answers(self, words: str | None = None) -> None:
        """Let the agent answer the user: with these words, or by itself."""
        if words is None:
            await self._agent_turn()
        else:
            self.last_text = words
            self._say("agent", words, "script")
            self._point()

    def remark(self, by: Speaker, words: str) -> None:
        """Words of one side without a turn of their own; before turn 1 they are history."""
        self._say(by, words, "script")
        if self.script.turn:
            self._point()

    async def decide(self, check: ScriptCheck) -> None:
        """Decide a check of the script, which ends the trial if it does not hold."""
        judge = None if check.predicate.judged and self._spent() else self.judge
        await decide(check, self.script, judge, self._used, seed_of(*self.key, "judge", len(self.script.log)))

    def end(self, reason: EndReason, detail: str) -> None:
        """End the trial."""
        self.script.finish(reason, detail)

    # The user

    async def _user_given(self, given: Sequence[tuple[str, SaySource]]) -> None:
        reply = self.user.spoken_for()
        if reply.ends is not None:
            self.script.finish(reply.ends.reason, reply.ends.detail)
        elif reply.calls:
            self.hearing.called("user", "", reply.calls)
            await self._execute("user", reply.calls)
        self.held_back = False
        for words, source in given:
            if not self.over:
                self._say("user", words, source)
                self._point()

    async def _user_turn(self) -> None:
        for round in range(USER_CALLS + 1):
            if self._spent():
                return
            self.hearing.deliver("user")
            seed = seed_of(*self.key, "user", self.script.turn, round)
            try:
                heard = self.hearing.messages["user"]
                reply = await self.user.speak(heard, self.case.offered(self.scene, "user"), seed)
            except Standstill:
                raise
            except Exception as error:
                text = str(error) if isinstance(error, SetupError) else f"{type(error).__name__}: {error}"
                self.script.finish("model_error", f"user: {text}", error_class(error))
                return
            self._used("user", self.user.name, reply.usage)
            self._unwanted("user", reply.instead_of)
            if not reply.calls:
                self._user_says(reply)
                return
            self.hearing.called("user", reply.text, reply.calls)
            await self._execute("user", reply.calls)
            if self.over:
                return
        self.script.finish("user_fault", f"over {USER_CALLS} rounds of calls in one turn")

    def _user_says(self, reply: UserReply) -> None:
        if reply.ends is not None:
            if reply.text:
                self.script.say("user", reply.text, reply.source, reply.usage)
            self.script.finish(reply.ends.reason, reply.ends.detail, reply.ends.error)
            return
        if not reply.text and not reply.stop:
            self.script.finish("user_fault", "the user said nothing")
            return
        stops = reply.stop and self._may_stop(reply)
        self.held_back = reply.stop and not stops
        if reply.text or not stops:
            words = reply.text or WAITING
            self._say("user", words, reply.source, reply.usage, held_back=self.held_back)
            self._point()
        if stops:
            self.script.stopped()
            self.script.finish("user_stop")

    def _may_stop(self, reply: UserReply) -> bool:
        """Whether it may stop: not before `min_turns`, nor at first after a question or an announced action."""
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
            self._own_calls(reply)
            if self.over:
                return
            if not reply.calls:
                self._agent_says(reply)
                return
            if reply.text:
                self.script.say("agent", reply.text, reply.source, reply.usage)
                self.hearing.beside(reply.text)
            heard = self.hearing.called_by_own_names if reply.own_names else self.hearing.called
            heard("agent", reply.text or "", reply.calls)
            await self._execute("agent", reply.calls, own_names=reply.own_names)
            if self.replies >= MAX_REPLIES:
                self.script.finish("max_tool_calls", f"{MAX_REPLIES} replies")

    async def _asked(self) -> AgentReply | None:
        """The agent's next reply; None if it crashed, which ends the trial."""
        await anyio.lowlevel.checkpoint()
        if self._spent():
            return None
        self.hearing.deliver("agent")
        turn = AgentInput(
            self.opaque,
            self.instructions,
            self.hearing.messages["agent"],
            self.hearing.new,
            self.case.offered(self.scene, "agent"),
            self.agent_seed,
            self.script.turn,
        )
        began = time.perf_counter() - self._waited_s
        try:
            reply = _well_formed(await self.agent.reply(turn))
        except Standstill:
            raise
        except AgentError as error:
            self.script.finish("agent_error", str(error), error_class(error.__cause__ or error))
            return None
        except Exception as error:
            # An adapter's own fault ends the trial like any other: the run continues.
            self.script.finish("agent_error", f"{type(error).__name__}: {error}", error_class(error))
            return None
        wall_s = time.perf_counter() - self._waited_s - began
        self.agent_wall_s += wall_s
        self.hearing.new = 0
        self.replies += 1
        if reply.verdict is not None:
            self.script.agent_verdict = AgentVerdict(
                verdict=reply.verdict.verdict, why=reply.verdict.why[:2000], turn=self.script.turn
            )
        thought_s = wall_s if reply.think_s is None else reply.think_s
        self.scene.think(0.0 if self.quiet else round(thought_s, 3))
        self._used("agent", self.agent.name, reply.usage)
        self._unwanted("agent", reply.instead_of)
        if reply.wait_s:
            self._let_pass(reply.wait_s)
        return None if self.over else reply

    def _let_pass(self, seconds: float) -> None:
        """Let time pass, with what is due meanwhile happening when it is due."""
        until = self.scene.t + seconds
        while not self.over and self.scene.t < until:
            due = self.points.next_due()
            self.scene.advance(max(min(until, until if due is None else due) - self.scene.t, ROUNDING_S))
            self._point(only_time_passed=True)

    def _agent_says(self, reply: AgentReply) -> None:
        if reply.text is None:
            return
        self.same = self.same + 1 if reply.text == self.last_text else 1
        self.last_text = reply.text
        self._say("agent", reply.text, reply.source, reply.usage)
        self._point()
        if self.same >= self.case.limits.same_message:
            self.script.finish("loop", f"{self.same} equal messages: {reply.text[:200]}")

    def _own_calls(self, reply: AgentReply) -> None:
        """Log what the agent called outside the world; it is limited like its other calls."""
        for call in reply.own_calls:
            if not self._may_call(call.name, True):
                return
            wall_s = reply.own_wall_s.get(call.id, 0.0)
            self.script.own_call(call, reply.own_results.get(call.id), self.replies, wall_s)
            self._point()

    # What both do

    def _spent(self) -> bool:
        """Whether the budget allows no further call, which ends the trial."""
        why = self.meter.spent() if self.meter is not None else ""
        if why:
            self.script.finish("budget", why, "budget")
        return bool(why)

    def _used(self, role: str, name: str, usage: TokenUsage | None) -> None:
        self.script.used(role, name, usage)
        if usage is not None and self.meter is not None:
            self.meter.used(usage)

    async def _execute(self, by: Speaker, calls: Sequence[ToolCall], *, own_names: bool = False) -> None:
        """Execute the calls of one reply in order; each is an evaluation point, and any may end the trial."""
        for place, call in enumerate(calls):
            if place:
                await anyio.lowlevel.checkpoint()
            if by == "agent" and not self._may_call(call.name, own_names):
                return
            began = time.perf_counter()
            try:
                outcome = await self._called(call, by, own_names)
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

    async def _called(self, call: ToolCall, by: Speaker, own_names: bool) -> CallOutcome:
        """Make the call and return its outcome; code is awaited in a worker thread."""
        self.scene.next_due = self.points.next_due()
        faults = self.faults if by == "agent" else None

        def make() -> CallOutcome:
            if faults is not None:
                return faults.call(self.scene, call.name, call.arguments, shown_name=not own_names)
            return self.scene.call(call.name, call.arguments, by, shown_name=not own_names)

        name = call.name if own_names or by == "user" else self.scene.own_name(call.name)
        return await in_world_thread(make) if name in self.case.world.code_tools else make()

    def _may_call(self, name: str, own_names: bool) -> bool:
        """Count a call of the agent, unless it is a `think` tool; return whether it is within the limit."""
        tool = self.case.world.tools.get((name if own_names else self.scene.own_name(name)) or "")
        if tool is not None and tool.kind == "think":
            return True
        self.agent_calls += 1
        limit = self.case.limits.max_tool_calls
        if self.agent_calls > limit:
            self.script.finish("max_tool_calls", f"over {limit} calls")
        return not self.over

    def _past_call(self, by: Speaker, tool: str, args: dict[str, Any]) -> None:
        """Execute a call of the history; if it fails, it is the author's fault."""
        outcome = self.scene.call(tool, args, by, tick=False)
        if not outcome.ok:
            raise WorldFault(f"history: {tool} says: {outcome.text}")
        call = self.script.past_call(outcome)
        self.hearing.called_by_own_names(by, "", (call,))
        self._heard_result(by, outcome, call.id)

    def _heard_result(self, by: Speaker, outcome: CallOutcome, id: str) -> None:
        self.hearing.result(by, outcome.text, id)
        if outcome.signals:
            self.hearing.take_notices(by)

    def _unwanted(self, by: Speaker, unwanted: Sequence[Unwanted]) -> None:
        for one in unwanted:
            self.script.rejected(by, one.text, one.feedback)

    def _say(
        self,
        by: Speaker,
        text: str,
        source: SaySource,
        usage: TokenUsage | None = None,
        *,
        held_back: bool = False,
    ) -> None:
        self.script.say(by, text, source, usage, held_back=held_back)
        self.hearing.said(by, text, given=source == "script")

    def _point(self, *, only_time_passed: bool = False) -> None:
        """An evaluation point, with what the world told the sides there."""
        if self.points.come(only_time_passed=only_time_passed):
            self.hearing.take_notices("world")


@asynccontextmanager
async def _servers(world: CompiledWorld) -> AsyncGenerator[RemoteTrial | None]:
    """The servers behind the world's tools, if it has any, once it is this trial's turn."""
    if world.remote is None or not world.has_servers:
        yield None
        return
    async with world.remote.trial(world.world) as remote:
        yield remote


def _well_formed(reply: AgentReply) -> AgentReply:
    """Return the reply if the adapter keeps to the contract; otherwise raise TypeError."""
    if not isinstance(reply, AgentReply):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"an agent's reply is an AgentReply, not {type(reply).__name__}")
    return reply

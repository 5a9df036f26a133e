"""One live world: state, clock, unlocked tools, and the one execution path of every call.

Live calls, replays of recorded ones and expected solutions all go through `Scene.call`; `init` and events go through
`Scene.run_steps`. Each is an atomic unit: steps, schema of the changed records, `sync`, then commit or rollback.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from ..errors import did_you_mean
from ..records.world import Side, Tool, ToolKind
from ..seeds import draw
from .code import run_impl
from .compiled import WAIT_TOOL, CompiledTool, CompiledWorld, Signature, Steps
from .frames import Frame
from .moments import moment_after
from .parameters import check_arguments, parse_arguments
from .remote import RemoteTrial, is_remote, look, run_remote
from .scene_options import SceneOptions
from .state import Patch, State
from .steps import Run, Signal, execute, merge_into
from .values import CallFailed, ErrorKind, Fault, as_text

Caller = Literal["agent", "user", "world"]


class WorldFault(Exception):
    """The world's author made a mistake that shows only at run time (init, sync, event, schema).

    The failed unit is rolled back; the trial is `invalid`. `text` says where and what.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The result of one call. `tool` is the world's own name; `args` and `result` are our own copies.

    `result` is the tool's JSON, or the error text of a failed call. `kind` is None if the tool is unknown. `patches`
    are all writes that were kept, including those of `sync`; `signals` are what its steps signalled.
    """

    tool: str
    by: Caller
    args: Any
    ok: bool
    error: ErrorKind | None
    result: Any
    kind: ToolKind | None
    patches: tuple[Patch, ...]
    signals: tuple[Signal, ...]
    t: float
    injected: str | None = None
    """The mode of the fault that hit it."""

    @property
    def text(self) -> str:
        """What a model sees: a text unchanged, anything else as JSON; for a failed call only the error text."""
        return as_text(self.result)


@dataclass(frozen=True, slots=True)
class Effects:
    """What the steps of `init` or an event did."""

    patches: tuple[Patch, ...] = ()
    signals: tuple[Signal, ...] = ()
    calls: tuple[CallOutcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment a scene can return to."""

    root: dict[str, Any]
    journal: tuple[Patch, ...]
    t: float
    turn: int
    draws: int
    unlocked: frozenset[str]
    notices: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(slots=True)
class _Unit:
    """One atomic unit in progress; `synced` is how far `sync` has seen the journal."""

    mark: int
    unlocked: frozenset[str]
    synced: int
    signals: list[Signal] = field(default_factory=list[Signal])
    calls: list[CallOutcome] = field(default_factory=list[CallOutcome])


class Scene:
    """One live world. Not for use by two tasks at once."""

    def __init__(
        self,
        world: CompiledWorld,
        key: tuple[int, str, int] = (0, "", 1),
        options: SceneOptions | None = None,
    ) -> None:
        """`key` is (seed, simulation, trial), from which rand() draws."""
        self.world = world
        self.key = key
        self.options = options or SceneOptions()
        self.state = State(world.base)
        self.turn = 0
        self.next_due: float | None = None
        """t of the next armed event, if the trial has one: the `wait` tool does not go past it."""
        self.initial: dict[str, Any] = world.base
        """Root of the state after `prepare`."""
        self.initial_mark = 0
        """Length of the journal after `prepare`."""
        self.remote: RemoteTrial | None = None
        """The servers behind the world's tools, while a trial has them."""
        self._t = 0.0
        self._draws = 0
        self._unlocked: frozenset[str] = frozenset()
        self._notices: dict[str, list[str]] = {"agent": [], "user": []}
        self._unit: _Unit | None = None
        self._shown = {shown: name for name, shown in self.options.rename_tools.items()}

    # The clock

    @property
    def t(self) -> float:
        """Virtual seconds since the start; an int if whole."""
        return int(self._t) if self._t.is_integer() else self._t

    def now(self) -> str:
        """The virtual moment, in the spelling of the world's `now`."""
        return self.now_at(self._t)

    def now_at(self, t: float) -> str:
        """The virtual moment at t seconds."""
        return moment_after(self.options.now or self.world.world.clock.now, t)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._t += float(seconds)

    def begin_turn(self) -> None:
        """Begin the next turn: `turn_s` later, except for the first."""
        self.turn += 1
        if self.turn > 1:
            self._t += self.world.world.clock.turn_s

    def think(self, wall_s: float = 0.0) -> None:
        """Let the time of one model reply of the agent pass: `think_s`, or its wall seconds if `think` is measured."""
        clock = self.world.world.clock
        self._t += clock.think_s if clock.think == "fixed" else float(wall_s)

    # Tools

    @property
    def unlocked(self) -> frozenset[str]:
        """The hidden tools that steps have unlocked: besides the options, all that `offered` depends on."""
        return self._unlocked

    @property
    def draws(self) -> int:
        """How often rand() was drawn: if 0, nothing depends on the key."""
        return self._draws

    def offered(self, side: Side) -> list[Signature]:
        """The tools a side is offered now, as its model sees them (renamed, redescribed)."""
        return [
            self._as_shown(tool, side) for tool in self.world.tools.values() if self._callable(tool, side)
        ]

    def own_name(self, shown: str) -> str | None:
        """The world's name of a tool that the agent sees as `shown`; None if there is none."""
        if shown in self._shown:
            return self._shown[shown]
        return None if shown in self.options.rename_tools else shown

    def shown_name(self, tool: str, side: Side) -> str:
        """The name under which a side sees a tool of the world; scenarios rename those of the agent."""
        return self.options.rename_tools.get(tool, tool) if side == "agent" else tool

    def call(
        self, tool: str, args: Any, by: Caller = "agent", *, shown_name: bool = False, tick: bool = True
    ) -> CallOutcome:
        """Call a tool: one atomic unit.

        `tool` is the world's own name, or with `shown_name` the one the agent was shown. `args` is an object, or its
        JSON text as a model wrote it. `tick`: `call_s` passes first. The mistakes of agent, user and tool are in the
        outcome; a mistake in `sync` raises WorldFault.
        """
        if tick:
            self._t += self.world.world.clock.call_s
        name = (self.own_name(tool) if shown_name and by == "agent" else tool) or ""
        return self._in_unit(lambda: self._call(name or tool, args, by, by, known=bool(name)))[0]

    def call_lost(self, tool: str, args: Any, text: str, seconds: float, mode: str) -> CallOutcome:
        """A call of the agent that a fault keeps from the tool: it takes its time plus these seconds, and fails."""
        self._t += self.world.world.clock.call_s + seconds
        kind = self.world.tools[tool].kind
        return CallOutcome(
            tool, "agent", _kept(args), False, "injected", text, kind, (), (), self.t, injected=mode
        )

    def may_call(self, tool: str, side: Side) -> bool:
        """Whether a tool, by its own name, is available to a side now."""
        return tool in self.world.tools and self._callable(self.world.tools[tool], side)

    # Steps

    def prepare(self, data: Mapping[str, Any] | None = None, init: Steps | None = None) -> Effects:
        """Bring the scene to its initial state: persona data, `init`, `sync`, schema check. Raises WorldFault."""
        before = self.state.mark()

        def run() -> None:
            if self.remote is not None:
                self._look_around(self.remote)
            if data:
                self._merge_data(data)
            if init:
                self._execute(init.runs, "init")
            self._sync("sync")

        _, effects = self._in_unit(run)
        self._check_whole(self.state.journal[before:])
        self.initial, self.initial_mark = self.state.snapshot(), self.state.mark()
        return effects

    def run_steps(self, steps: Steps, by: str) -> Effects:
        """Run the compiled steps of an event (`by` event:<id>) or of noise as one unit; WorldFault if they fail."""

        def run() -> None:
            self._execute(steps.runs, by)
            self._sync(by)
            self._check_changed()

        return self._in_unit(run)[1]

    def take_notices(self, side: Side) -> list[str]:
        """The world's messages waiting for this side, in order; they are then delivered."""
        waiting, self._notices[side] = self._notices[side], []
        return waiting

    # Going back

    def checkpoint(self) -> Checkpoint:
        """The present moment, to return to."""
        notices = (tuple(self._notices["agent"]), tuple(self._notices["user"]))
        journal = tuple(self.state.journal)
        return Checkpoint(
            self.state.snapshot(), journal, self._t, self.turn, self._draws, self._unlocked, notices
        )

    def restore(self, moment: Checkpoint) -> None:
        """Return to a checkpoint of this scene, or of another scene of the same world."""
        self.state.restore(moment.root, moment.journal)
        self._t, self.turn, self._draws, self._unlocked = moment.t, moment.turn, moment.draws, moment.unlocked
        self._notices = {"agent": list(moment.notices[0]), "user": list(moment.notices[1])}

    def branch(self) -> Scene:
        """An independent scene that continues from here."""
        other = Scene(self.world, self.key, self.options)
        other.restore(self.checkpoint())
        other.initial, other.initial_mark, other.next_due = self.initial, self.initial_mark, self.next_due
        return other

    # What steps may ask of us (steps.Host)

    def rand(self) -> float:
        """The next draw of the world, in [0, 1)."""
        self._draws += 1
        return draw(*self.key, "world", self._draws)

    def signal(self, signal: Signal) -> None:
        """Note a signal from a step."""
        self._here().signals.append(signal)

    def unlock(self, tool: str) -> None:
        """Offer a hidden tool."""
        self._unlocked = self._unlocked | {tool}

    def call_within(self, tool: str, args: Any, by: str, writer: str) -> None:
        """A call made by a step of `init` or an event; WorldFault if it fails."""
        outcome = self._call(tool, args, cast("Caller", by), writer)
        self._here().calls.append(outcome)
        if not outcome.ok:
            raise WorldFault(f"the call of {tool} failed: {outcome.result}")

    # Inside

    def _here(self) -> _Unit:
        if self._unit is None:
            raise WorldFault("a step ran outside of any unit")
        return self._unit

    def _in_unit(self, run: Callable[[], Any]) -> tuple[Any, Effects]:
        mark = self.state.mark()
        unit = self._unit = _Unit(mark, self._unlocked, mark)
        try:
            made = run()
        except (WorldFault, CallFailed, Fault, RecursionError) as error:
            self._undo(unit)
            raise WorldFault(_error_text(error)) from None
        finally:
            self._unit = None
        for signal in unit.signals:
            if signal.sort == "notify":
                self._notices[signal.to].append(signal.text)
        return made, Effects(tuple(self.state.journal[mark:]), tuple(unit.signals), tuple(unit.calls))

    def _undo(self, unit: _Unit) -> None:
        self.state.rollback(unit.mark)
        self._unlocked = unit.unlocked
        unit.signals.clear()

    def _call(self, name: str, args: Any, by: Caller, writer: str, *, known: bool = True) -> CallOutcome:
        unit = self._here()
        mark, unlocked, told = self.state.mark(), self._unlocked, len(unit.signals)
        tool = self.world.tools.get(name) if known else None
        if tool is not None and by != "world" and not self._callable(tool, by):
            tool = None
        error: ErrorKind | None = None
        try:
            if tool is None:
                args = _kept(args)
                raise CallFailed(self._unknown(name, by), "arguments")
            args = parse_arguments(args)
            result = self._run(tool, args, writer)
            self._refuse_violations(mark)
        except CallFailed as failure:
            error, result = failure.kind, failure.text
        except (Fault, RecursionError) as failure:
            error, result = "runtime", _error_text(failure)
        if error is not None and (tool is None or _undone(tool.tool) or self._violates(mark)):
            self.state.rollback(mark)
            self._unlocked = unlocked
            del unit.signals[told:]
        if len(self.state.journal) > mark:
            before = len(self.state.journal)
            self._sync("sync" if writer == by else writer)
            self._check_changed(before)
        return CallOutcome(
            name,
            by,
            args,
            error is None,
            error,
            result,
            tool.kind if tool else None,
            tuple(self.state.journal[mark:]),
            tuple(unit.signals[told:]),
            self.t,
        )

    def _run(self, tool: CompiledTool, args: dict[str, Any], writer: str) -> Any:
        if tool.tool.strict:
            check_arguments(tool.check, tool.tool.name, args)
        if tool.tool.name == WAIT_TOOL and self.world.world.clock.wait_tool:
            return self._wait(float(args["seconds"]))
        if self.remote is not None and is_remote(tool.tool):
            return run_remote(tool.tool, tool.kind, args, self.state, writer, self.remote)
        if tool.tool.impl is not None:
            return run_impl(
                tool.tool, tool.kind, args, self.state, writer, self.world.code, self.world.code_base
            )
        frame = Frame(
            self.state,
            self,
            {**tool.defaults, **{k: v for k, v in args.items() if k in tool.defaults}},
            writer,
        )
        execute(tool.steps, frame)
        return frame.result

    def _wait(self, seconds: float) -> str:
        until = self._t + seconds
        self._t = float(max(self._t, until if self.next_due is None else min(until, self.next_due)))
        return self.now()

    def _execute(self, runs: list[Run], by: str) -> None:
        execute(runs, Frame(self.state, self, {}, by))

    def _look_around(self, remote: RemoteTrial) -> None:
        """Reset the servers, and take what they show as our state."""
        told = remote.begin()
        if told.error is not None:
            raise WorldFault(as_text(told.result))
        for tool in self.world.snapshots:
            look(tool, self.state, "init", remote)

    def _sync(self, by: str) -> None:
        unit = self._here()
        if self.world.sync.runs and len(self.state.journal) > unit.synced:
            try:
                self._execute(self.world.sync.runs, by)
            except (CallFailed, Fault, RecursionError) as error:
                raise WorldFault(f"sync failed: {_error_text(error)}") from None
        unit.synced = len(self.state.journal)

    def _refuse_violations(self, mark: int) -> None:
        if len(self.state.journal) > mark:
            for violation in self.world.schemas.changed(self.state, self.state.journal[mark:]):
                raise CallFailed(str(violation))

    def _violates(self, mark: int) -> bool:
        return any(True for _ in self.world.schemas.changed(self.state, self.state.journal[mark:]))

    def _check_changed(self, mark: int | None = None) -> None:
        since = self._here().mark if mark is None else mark
        for violation in self.world.schemas.changed(self.state, self.state.journal[since:]):
            raise WorldFault(str(violation))

    def _check_whole(self, patches: Sequence[Patch]) -> None:
        """Check the whole state, whose base is known to be valid: all of it only if something might be missed."""
        schemas = self.world.schemas
        every = schemas.may_dangle(patches)
        for violation in schemas.violations(self.state) if every else schemas.changed(self.state, patches):
            raise WorldFault(str(violation))

    def _merge_data(self, data: Mapping[str, Any]) -> None:
        frame = Frame(self.state, self, {}, "persona")
        for side, value in data.items():
            if side not in self.world.base or not isinstance(value, Mapping):
                raise WorldFault(
                    f"the persona's data has `{side[:60]}`; allowed: db, user_db, each an object"
                )
            given = dict(cast("Mapping[str, Any]", value))
            for name in given:
                if near := _meant(name, self.world.base[side]):
                    raise WorldFault(f"`{side}` has no collection `{name[:60]}`. Did you mean `{near}`?")
            merge_into(frame, (side,), given)

    def _callable(self, tool: CompiledTool, side: Side | Caller) -> bool:
        record, options = tool.tool, self.options
        if record.name in options.hide_tools or (record.hidden and record.name not in self._unlocked):
            return False
        if options.solo:
            return side == "agent"
        if side == "user" and options.user_tools is not None and record.name not in options.user_tools:
            return False
        return record.for_ == side

    def _as_shown(self, tool: CompiledTool, side: Side) -> Signature:
        name, description, parameters = tool.signature
        if side == "agent":
            description = self.options.describe_tools.get(name, description)
        return Signature(self.shown_name(name, side), description, parameters)

    def _unknown(self, name: str, by: Caller) -> str:
        known = [s.name for s in self.offered(by)] if by != "world" else list(self.world.tools)
        return (
            f"unknown tool `{name[:64]}`.{did_you_mean(name, known)} Available: {', '.join(known) or 'none'}"
        )


def _undone(tool: Tool) -> bool:
    """Whether a failed call's writes are rolled back; a server's cannot be."""
    return tool.atomic and not is_remote(tool)


def _meant(name: str, known: Mapping[str, Any]) -> str:
    """The collection that an unknown name probably meant; empty if it may be a new one."""
    near = [] if name in known else difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return near[0] if near else ""


def _kept(args: Any) -> Any:
    """Arguments that nobody will look at, as the record keeps them."""
    try:
        return parse_arguments(args)
    except CallFailed:
        return args if isinstance(args, str) else None


def _error_text(error: Exception) -> str:
    if isinstance(error, WorldFault | CallFailed):
        return error.text
    return "a value is nested too deep" if isinstance(error, RecursionError) else str(error)

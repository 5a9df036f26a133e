"""Steps: what tools, sync, init and events do, as a list of objects with one word each.

`compile_steps` checks a list for its place and returns closures; `execute` runs them in a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, cast

from ..errors import InvalidArgument, did_you_mean
from .expressions import Expression, compile_expression, constant
from .frames import Binding, Frame, Scope
from .functions import Nature
from .mistakes import Mistakes
from .operations import whole
from .paths import ROOTS, Path
from .texts import Text, compile_text
from .values import FUEL_UNIT, CallFailed, Fault, copied, kind_of, weight

StepPlace = Literal["tool", "sync", "init", "event", "noise"]
SignalSort = Literal["emit", "notify", "say", "stop"]
Run = Callable[[Frame], bool]
"""One compiled step; returns True to end the steps."""

WRITING: Final = frozenset({"set", "merge", "append", "insert", "remove"})
STEP_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "require": ("error",),
    "let": (),
    "set": (),
    "merge": ("value",),
    "append": ("value",),
    "insert": ("at", "value"),
    "remove": (),
    "for": ("in", "do"),
    "if": ("then", "else"),
    "emit": ("data",),
    "notify": ("to",),
    "unlock": (),
    "return": (),
    "say": (),
    "call": ("args", "by"),
    "stop": ("reason",),
}
"""The word of a step, and the keys allowed beside it."""
_NEEDED: Final = {
    "merge": ("value",),
    "append": ("value",),
    "insert": ("at", "value"),
    "for": ("in", "do"),
    "if": ("then",),
}
ALLOWED: Final[Mapping[StepPlace, frozenset[str]]] = {
    "tool": frozenset(STEP_KEYS) - {"say", "call", "stop"},
    "sync": frozenset({"let", "for", "if"}) | WRITING,
    "init": frozenset(STEP_KEYS) - {"return", "say", "stop"},
    "event": frozenset(STEP_KEYS) - {"require", "return"},
    "noise": frozenset(STEP_KEYS) - {"require", "return", "say", "stop", "unlock"},
}
MAX_STEP_DEPTH: Final = 20
"""Levels of nested `for` and `if`."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What a step tells the trial: `emit`, `notify` (`to` a side), `say` or `stop` (`text` is pass, fail or end)."""

    sort: SignalSort
    text: str
    by: str
    to: str = ""
    data: Any = None
    reason: str = ""


class Host(Nature, Protocol):
    """What steps can do besides writing; the nature of the frames they run in."""

    def signal(self, signal: Signal) -> None: ...

    def unlock(self, tool: str) -> None: ...

    def call_within(self, tool: str, args: Any, by: str, writer: str) -> None: ...


@dataclass(slots=True)
class StepTerms:
    """What a list of steps may do, and what was found in it."""

    place: StepPlace
    tools: Collection[str] | None
    """The world's tools, for `unlock` and `call`; None: not checked."""
    mistakes: Mistakes
    code: Collection[str] = ()
    """Tools that are code: only steps of `init` may call them."""
    words: set[str] = field(default_factory=set[str])
    emitted: set[str] = field(default_factory=set[str])


def compile_steps(steps: object, scope: Scope, where: str, terms: StepTerms, depth: int = 0) -> list[Run]:
    """Compile a list of steps (or a single one); mistakes are noted in the terms.

    `scope` is modified: names that `let` and `for` bind are added.
    """
    listed = cast("list[object]", steps) if isinstance(steps, list) else [steps]
    if depth > MAX_STEP_DEPTH:
        terms.mistakes.add(f"Steps are nested deeper than {MAX_STEP_DEPTH} levels.", where)
        return []
    runs: list[Run] = []
    for i, step in enumerate(listed):
        with terms.mistakes.caught():
            run = _StepCompiler(
                step, scope, f"{where}[{i}]" if isinstance(steps, list) else where, terms, depth
            ).run()
            runs.append(run)
    return runs


def execute(steps: list[Run], frame: Frame) -> bool:
    """Run steps; True if a `return` ended them. Raises CallFailed."""
    for step in steps:
        frame.fuel -= 1
        if frame.fuel < 0:
            frame_out(frame)
        if step(frame):
            return True
    return False


def frame_out(frame: Frame) -> None:
    """Fail because the fuel has run out."""
    try:
        frame.burn(0)
    except Fault as fault:
        raise CallFailed(str(fault)) from None


class _StepCompiler:
    def __init__(self, step: object, scope: Scope, where: str, terms: StepTerms, depth: int) -> None:
        self.scope, self.where, self.terms, self.depth = scope, where, terms, depth
        if not isinstance(step, dict):
            raise InvalidArgument("A step is an object with one word.", where=where, allowed=self._allowed())
        self.step = dict(cast("dict[str, Any]", step))
        self.word = self._word()

    def run(self) -> Run:
        self.terms.words.add(self.word)
        return _WORDS[self.word](self)

    def _allowed(self) -> list[str]:
        return [word for word in STEP_KEYS if word in ALLOWED[self.terms.place]]

    def _word(self) -> str:
        found = [key for key in self.step if key in STEP_KEYS]
        if len(found) != 1:
            given = ", ".join(f"`{key[:40]}`" for key in list(self.step)[:6]) or "nothing"
            hint = did_you_mean(next(iter(self.step), ""), self._allowed()) if not found else ""
            raise InvalidArgument(
                f"A step has exactly one word, found {given}.{hint}",
                where=self.where,
                allowed=self._allowed(),
            )
        word = found[0]
        if word not in ALLOWED[self.terms.place]:
            what = f"`{word}` is not for {_PLACES[self.terms.place]}."
            raise InvalidArgument(what, where=f"{self.where}.{word}", allowed=self._allowed())
        beside = STEP_KEYS[word]
        for key in self.step:
            if key != word and key not in beside:
                what = f"Unknown key `{key[:60]}` beside `{word}`.{did_you_mean(key, beside)}"
                raise InvalidArgument(what, where=f"{self.where}.{key[:60]}", allowed=beside or "nothing")
        for key in _NEEDED.get(word, ()):
            if key not in self.step:
                raise InvalidArgument(f"`{word}` needs `{key}` beside it.", where=self.where)
        return word

    # Parts of a step

    def _value(self, value: Any, key: str) -> Expression:
        where = f"{self.where}.{key}"
        return (
            compile_expression(value, self.scope, where) if isinstance(value, str) else constant(value, where)
        )

    def _text(self, key: str) -> Text:
        return compile_text(self.step[key], self.scope, f"{self.where}.{key}")

    def _target(self, text: Any, key: str, *, root: bool = False) -> Callable[[Frame], Path]:
        where = f"{self.where}.{key}"
        roots = [name for name in ROOTS if name in self.scope]
        allowed = f"a place that starts at {' or '.join(roots)} or at a name bound to a place"
        if not isinstance(text, str):
            raise InvalidArgument("This must be a place.", where=where, allowed=allowed)
        path = compile_expression(text, self.scope, where).path
        if path is None or (not root and text.strip() in ROOTS):
            raise InvalidArgument(
                f"`{text[:80]}` is not a place that can be written.", where=where, allowed=allowed
            )
        return path

    def _steps(self, key: str) -> list[Run]:
        return compile_steps(
            self.step.get(key, []), self.scope, f"{self.where}.{key}", self.terms, self.depth + 1
        )

    def _bind(self, name: str, binding: Binding, key: str) -> None:
        where = f"{self.where}.{key}"
        if (
            name in ROOTS
            or name in ("true", "false", "null")
            or not name.isidentifier()
            or name.startswith("__")
        ):
            raise InvalidArgument(
                f"`{name[:60]}` cannot be a name here.", where=where, allowed="an identifier of your own"
            )
        before = self.scope.get(name, binding)
        if before != binding:
            raise InvalidArgument(f"`{name}` is already bound to a {before}; take another name.", where=where)
        self.scope[name] = binding

    def _located(self, key: str, run: Callable[[Frame], None]) -> Run:
        where = f"{self.where}.{key}"

        def located(frame: Frame) -> bool:
            try:
                run(frame)
            except Fault as fault:
                raise CallFailed(f"{where}: {fault}") from None
            return False

        return located

    # Words

    def require(self) -> Run:
        self.step.setdefault("error", "not allowed")
        test, text = self._value(self.step["require"], "require"), self._text("error")

        def run(frame: Frame) -> bool:
            if not test.value(frame):
                raise CallFailed(text.value(frame), "refused")
            return False

        return run

    def let(self) -> Run:
        given: object = self.step["let"]
        if not isinstance(given, dict):
            raise InvalidArgument("`let` takes an object of names.", where=f"{self.where}.let")
        pairs: list[tuple[str, Expression]] = []
        for name, value in cast("dict[str, Any]", given).items():
            with self.terms.mistakes.caught():
                try:
                    expression = self._value(value, f"let.{name}")
                except InvalidArgument:
                    self.scope.setdefault(name, "value")
                    raise
                self._bind(name, "place" if expression.path else "value", f"let.{name}")
                pairs.append((name, expression))

        def run(frame: Frame) -> bool:
            for name, expression in pairs:
                if expression.path is not None:
                    frame.vars[name] = expression.path(frame)
                else:
                    frame.vars[name] = value = expression.value(frame)
                    if isinstance(value, dict | list):
                        frame.state.snapshot()
            return False

        return run

    def set(self) -> Run:
        given: object = self.step["set"]
        if not isinstance(given, dict) or not given:
            raise InvalidArgument("`set` takes an object of places and values.", where=f"{self.where}.set")
        pairs: list[tuple[Callable[[Frame], Path], Expression]] = []
        for target, value in cast("dict[str, Any]", given).items():
            with self.terms.mistakes.caught():
                key = f"set.{target}"
                pairs.append((self._target(target, key), self._value(value, key)))

        def run(frame: Frame) -> None:
            for path, value in pairs:
                _write(frame, "set", path(frame), value.value(frame))

        return self._located("set", run)

    def merge(self) -> Run:
        path, value = (
            self._target(self.step["merge"], "merge", root=True),
            self._value(self.step["value"], "value"),
        )

        def run(frame: Frame) -> None:
            given = value.value(frame)
            frame.burn(weight(given) // FUEL_UNIT)
            merge_into(frame, path(frame), given)

        return self._located("merge", run)

    def append(self) -> Run:
        path, value = self._target(self.step["append"], "append"), self._value(self.step["value"], "value")

        def run(frame: Frame) -> None:
            spot = path(frame)
            _write(frame, "insert", (*spot, len(_list_at(frame, spot))), value.value(frame))

        return self._located("append", run)

    def insert(self) -> Run:
        path, value = self._target(self.step["insert"], "insert"), self._value(self.step["value"], "value")
        at = self._value(self.step["at"], "at")

        def run(frame: Frame) -> None:
            spot, index = path(frame), at.value(frame)
            _list_at(frame, spot)
            _write(frame, "insert", (*spot, whole(index, "an index")), value.value(frame))

        return self._located("insert", run)

    def remove(self) -> Run:
        path = self._target(self.step["remove"], "remove")
        return self._located("remove", lambda frame: _write(frame, "remove", path(frame), None))

    def for_(self) -> Run:
        name: object = self.step["for"]
        source = self._value(self.step["in"], "in")
        if not isinstance(name, str):
            raise InvalidArgument("`for` takes a name.", where=f"{self.where}.for")
        self._bind(name, "place" if source.path else "value", "for")
        body = self._steps("do")
        where = f"{self.where}.in"

        def run(frame: Frame) -> bool:
            given = source.value(frame)
            if not isinstance(given, list):
                more = "; for an object loop over keys(..)" if isinstance(given, dict) else ""
                raise CallFailed(f"{where}: `for` goes over a list, not {kind_of(given)}{more}")
            items = list(cast("list[Any]", given))
            path = source.path(frame) if source.path else None
            frame.state.snapshot()
            for i, item in enumerate(items):
                frame.fuel -= 1
                frame.vars[name] = item if path is None else (*path, i)
                if execute(body, frame):
                    return True
            return False

        return run

    def if_(self) -> Run:
        test = self._value(self.step["if"], "if")
        yes, no = self._steps("then"), self._steps("else")
        return lambda frame: execute(yes if test.value(frame) else no, frame)

    def emit(self) -> Run:
        text, data = self._text("emit"), self._value(self.step.get("data"), "data")
        if text.fixed is not None:
            self.terms.emitted.add(text.fixed)

        def run(frame: Frame) -> None:
            value, weighs = copied(data.value(frame))
            frame.burn(weighs // FUEL_UNIT)
            _host(frame).signal(Signal("emit", text.value(frame), frame.by, data=value))

        return self._located("emit", run)

    def notify(self) -> Run:
        text, to = self._text("notify"), self._one_of("to", "agent", ("agent", "user"))

        def run(frame: Frame) -> None:
            _host(frame).signal(Signal("notify", text.value(frame), frame.by, to=to))

        return self._located("notify", run)

    def unlock(self) -> Run:
        tool = self._tool("unlock")
        return self._located("unlock", lambda frame: _host(frame).unlock(tool))

    def return_(self) -> Run:
        value, where = self._value(self.step["return"], "return"), f"{self.where}.return"

        def run(frame: Frame) -> bool:
            try:
                frame.result, weighs = copied(value.value(frame))
                frame.burn(weighs // FUEL_UNIT)
            except Fault as fault:
                raise CallFailed(f"{where}: {fault}") from None
            return True

        return run

    def say(self) -> Run:
        text = self._text("say")
        return self._located(
            "say", lambda frame: _host(frame).signal(Signal("say", text.value(frame), frame.by))
        )

    def call(self) -> Run:
        tool, by = self._tool("call"), self._one_of("by", "world", ("world", "user", "agent"))
        if tool in self.terms.code and self.terms.place != "init":
            what = f"`{tool}` is code, and what happens by itself cannot wait for it."
            raise InvalidArgument(what, where=f"{self.where}.call", allowed="tools with steps; code in init")
        args = self._value(self.step.get("args", {}), "args")
        return self._located(
            "call", lambda frame: _host(frame).call_within(tool, args.value(frame), by, frame.by)
        )

    def stop(self) -> Run:
        verdict = self._one_of("stop", "", ("pass", "fail", "end"))
        reason = self._text("reason") if "reason" in self.step else None

        def run(frame: Frame) -> None:
            text = reason.value(frame) if reason else ""
            _host(frame).signal(Signal("stop", verdict, frame.by, reason=text))

        return self._located("stop", run)

    def _one_of(self, key: str, default: str, known: tuple[str, ...]) -> str:
        given: object = self.step.get(key, default)
        if not isinstance(given, str) or given not in known:
            raise InvalidArgument(
                f"`{str(given)[:60]}` cannot be `{key}`.", where=f"{self.where}.{key}", allowed=known
            )
        return given

    def _tool(self, key: str) -> str:
        name: object = self.step[key]
        known = self.terms.tools
        if not isinstance(name, str) or (known is not None and name not in known):
            hint = did_you_mean(str(name), known or ())
            what = f"There is no tool `{str(name)[:64]}`.{hint}"
            raise InvalidArgument(what, where=f"{self.where}.{key}", allowed=sorted(known or ()))
        return name


_WORDS: Final[Mapping[str, Callable[[_StepCompiler], Run]]] = {
    "require": _StepCompiler.require,
    "let": _StepCompiler.let,
    "set": _StepCompiler.set,
    "merge": _StepCompiler.merge,
    "append": _StepCompiler.append,
    "insert": _StepCompiler.insert,
    "remove": _StepCompiler.remove,
    "for": _StepCompiler.for_,
    "if": _StepCompiler.if_,
    "emit": _StepCompiler.emit,
    "notify": _StepCompiler.notify,
    "unlock": _StepCompiler.unlock,
    "return": _StepCompiler.return_,
    "say": _StepCompiler.say,
    "call": _StepCompiler.call,
    "stop": _StepCompiler.stop,
}
_PLACES: Final = {
    "tool": "the steps of a tool",
    "sync": "`sync`",
    "init": "`init`",
    "event": "the steps of an event",
    "noise": "the steps of noise",
}


def merge_into(frame: Frame, path: Path, value: Any) -> None:
    """Merge objects deeply, replace everything else; Fault if the path does not exist."""
    if isinstance(value, dict) and isinstance(frame.state.get(path), dict):
        for key, item in cast("dict[str, Any]", value).items():
            merge_into(frame, (*path, key), item)
    else:
        _write(frame, "set", path, value)


def _write(frame: Frame, op: Literal["set", "insert", "remove"], path: Path, value: Any) -> None:
    frame.burn(frame.state.write(op, path, value, frame.by) // FUEL_UNIT)


def _list_at(frame: Frame, path: Path) -> list[Any]:
    found = frame.state.get(path)
    if not isinstance(found, list):
        raise Fault(f"not a list, but {kind_of(found)}")
    return cast("list[Any]", found)


def _host(frame: Frame) -> Host:
    return cast("Host", frame.nature)

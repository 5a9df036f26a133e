"""Probes: each tool tried on scratch scenes with arguments taken from the records. What a writer can build on.

A probe is a fact about the world: these arguments, after these other calls, do this, or are refused with this text. It
needs no model and leaves nothing behind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from ..canonical import canonical, equal
from ..records.world import Rule
from ..seeds import draw, shuffled
from ..world import (
    MISSING,
    WILD,
    CallOutcome,
    CompiledTool,
    CompiledWorld,
    Patch,
    Path,
    Scene,
    WorldFault,
    as_text,
    show_path,
)
from .arguments import Filler, Take
from .rows import Row, Rows

MOST: Final = 40
"""Most probes of one tool."""
_LATER_S: Final = 3661
"""An hour, a minute and a second: anything that differs then depends on the clock."""
_MARK: Final = "a text of nobody"
_DEEPEST: Final = 3
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call and its result."""

    tool: str
    args: Mapping[str, Any]
    result: Any = None

    def data(self) -> dict[str, Any]:
        """tool, args, result"""
        return {"tool": self.tool, "args": dict(self.args), "result": self.result}


@dataclass(frozen=True, slots=True)
class Probe:
    """One try. Its result contains only what does not depend on time and chance.

    `before` and `after` are the calls that the world's rules require around it, all of which succeeded. `confirm`: a
    rule requires the user's yes before it. `writes`: (path, new value) of what it changed. `ignore`: patterns of paths
    that hold the time, a random value, or a text the caller may choose. `free`: its arguments that may be any text.
    `record`: path of the record it concerns.
    """

    use: ToolUse
    ok: bool
    error: str = ""
    before: Sequence[ToolUse] = ()
    after: Sequence[ToolUse] = ()
    confirm: bool = False
    writes: Sequence[tuple[str, Any]] = ()
    ignore: Sequence[str] = ()
    free: Sequence[str] = ()
    record: str = ""

    @property
    def shape(self) -> str:
        """The kind of outcome: a refusal's text without its ids and numbers."""
        return "ok" if self.ok else "".join("0" if c.isdigit() else c for c in self._plain_error)

    @property
    def _plain_error(self) -> str:
        text = self.error
        for value in self.use.args.values():
            text = text.replace(as_text(value), "0")
        return text

    def data(self) -> dict[str, Any]:
        """As a request shows it: only non-empty fields."""
        made: dict[str, Any] = {
            **self.use.data(),
            "ok": self.ok,
            "error": self.error,
            "before": [use.data() for use in self.before],
            "after": [use.data() for use in self.after],
            "confirm": self.confirm,
            "writes": [{"path": path, "new": new} for path, new in self.writes],
            "ignore": list(self.ignore),
            "free": list(self.free),
            "record": self.record,
        }
        return {k: v for k, v in made.items() if v not in ("", [], None, False) or k == "ok"}


@dataclass(slots=True)
class _Order:
    """The calls that rules require around a tool."""

    before: list[str] = field(default_factory=list[str])
    after: list[str] = field(default_factory=list[str])
    confirm: bool = False
    never: bool = False


class Prober:
    """Tries the agent's tools of one world."""

    def __init__(self, world: CompiledWorld, rows: Rows, seed: int) -> None:
        self._world = world
        self._rows = rows
        self._seed = seed
        self._filler = Filler(rows, world.world.clock.now)

    def tools(self) -> list[CompiledTool]:
        """The agent's tools that do something a user may ask for: not thinking, handing over, or forbidden."""
        return [
            tool
            for name, tool in self._world.tools.items()
            if tool.tool.for_ == "agent"
            and not tool.tool.hidden
            and tool.kind in ("read", "write")
            and tool.tool.steps
            and not self._order(name).never
        ]

    def probe(self, tool: CompiledTool, keep: int) -> list[Probe]:
        """At most `keep` successful and `keep` refused probes, of as many kinds as there are."""
        found: dict[str, list[Probe]] = defaultdict(list)
        seen: set[str] = set()
        for n in range(MOST):
            if len(found["ok"]) >= keep and sum(len(p) for k, p in found.items() if k != "ok") >= 2 * keep:
                break
            probe = self._try(tool, n)
            if probe is None or (told := canonical(dict(probe.use.args))) in seen:
                continue
            seen.add(told)
            found[probe.shape].append(probe)
        refused = [probes for shape, probes in found.items() if shape != "ok"]
        return [*found["ok"][:keep], *_in_turn(refused)[:keep]]

    def _try(self, tool: CompiledTool, n: int) -> Probe | None:
        name = tool.tool.name
        key = (self._seed, "probe", name, n)
        anchor = self._filler.anchor(tool, n, *key)
        take: Take = "other" if tool.kind == "write" and draw(*key, "take") < 0.75 else "own"
        args = self._filler.fill(tool, anchor, take, {}, *key)
        if args is None:
            return None
        order = self._order(name)
        before = self._around(order.before, args, anchor, *key, "before")
        after = self._around(order.after, args, anchor, *key, "after")
        if before is None or after is None:
            return None
        try:
            return self._played(tool, self._least(tool, args, before), before, after, anchor)
        except WorldFault:
            return None

    def _played(
        self,
        tool: CompiledTool,
        args: dict[str, Any],
        before: list[ToolUse],
        after: list[ToolUse],
        anchor: Row | None,
    ) -> Probe | None:
        scene = self._scene(0)
        led = _all_done(scene, before)
        outcome = scene.call(tool.tool.name, args)
        if led is None or (not outcome.ok and outcome.error != "refused"):
            return None
        followed = _all_done(scene, after) if outcome.ok else []
        if followed is None:
            return None
        ignore, result = self._vague(tool, args, before, outcome) if outcome.ok else ([], None)
        use = ToolUse(tool.tool.name, args, _short(result))
        return Probe(
            use,
            outcome.ok,
            "" if outcome.ok else outcome.text,
            led,
            followed,
            self._order(tool.tool.name).confirm,
            [(show_path(p.path), _short(p.new)) for p in outcome.patches if p.new is not MISSING][:8],
            ignore,
            [s.name for s in self._filler.slots(tool) if s.free and s.name in args],
            anchor.path if anchor else "",
        )

    def _least(self, tool: CompiledTool, args: dict[str, Any], before: list[ToolUse]) -> dict[str, Any]:
        """The arguments without optional ones that make no difference."""
        for slot in self._filler.slots(tool):
            if slot.required or slot.name not in args:
                continue
            fewer = {name: value for name, value in args.items() if name != slot.name}
            if self._effect(tool, args, before) == self._effect(tool, fewer, before):
                args = fewer
        return args

    def _effect(self, tool: CompiledTool, args: dict[str, Any], before: list[ToolUse]) -> Any:
        """The outcome of a call: its result and writes, or the text of its refusal."""
        scene = self._scene(0)
        _all_done(scene, before)
        outcome = scene.call(tool.tool.name, args)
        return (outcome.ok, outcome.text, _written(outcome.patches))

    def _vague(
        self, tool: CompiledTool, args: dict[str, Any], before: list[ToolUse], outcome: CallOutcome
    ) -> tuple[list[str], Any]:
        """(patterns of what the call writes differently, what its results have in common) when it is repeated.

        It is repeated an hour later with other random draws, then with other free texts.
        """
        texts = {slot.name: _MARK for slot in self._filler.slots(tool) if slot.free}
        differing: dict[str, None] = {}
        result = outcome.result
        for later_s, given in ((_LATER_S, args), (0, {**args, **texts})):
            scene = self._scene(later_s)
            if _all_done(scene, before) is None:
                continue
            other = scene.call(tool.tool.name, given)
            if other.ok:
                was, now = _written(outcome.patches), _written(other.patches)
                for path, value in was.items():
                    if path in now and not equal(value, now[path]):
                        differing[show_path(_general(path, self._rows))] = None
                result = _common(result, other.result)
        return list(differing), result

    def _scene(self, later_s: int) -> Scene:
        scene = Scene(self._world, (self._seed, f"probe{later_s}", 1))
        scene.prepare()
        scene.advance(later_s)
        return scene

    def _around(
        self, names: list[str], args: Mapping[str, Any], anchor: Row | None, *key: str | int
    ) -> list[ToolUse] | None:
        """The calls of these tools for the same record, or None if the arguments of one cannot be filled."""
        uses: list[ToolUse] = []
        for name in names:
            filled = self._filler.fill(self._world.tools[name], anchor, "own", args, *key, name)
            if filled is None:
                return None
            uses.append(ToolUse(name, filled))
        return uses

    def _order(self, name: str, depth: int = 0) -> _Order:
        order = _Order()
        for rule in self._world.world.rules:
            if not fnmatchcase(name, rule.glob):
                continue
            order.never = order.never or rule.sort == "never"
            order.confirm = order.confirm or rule.sort == "confirm"
            for needed in self._needed(rule):
                if rule.sort == "before" and depth < _DEEPEST and needed != name:
                    inner = self._order(needed, depth + 1)
                    order.before += [n for n in (*inner.before, needed) if n not in order.before]
                elif rule.sort == "after":
                    order.after.append(needed)
        return order

    def _needed(self, rule: Rule) -> list[str]:
        """The tools that a rule's `need` requires, if it requires calls: all of `all`, the first of `any`."""
        found: list[str] = []
        waiting: list[Any] = [rule.need or {}]
        while waiting:
            need = waiting.pop(0)
            if not isinstance(need, dict):
                continue
            parts = cast("dict[str, Any]", need)
            if isinstance(parts.get("tool"), str):
                glob = str(parts["tool"])
                found += [name for name in self._world.tools if fnmatchcase(name, glob)][:1]
            waiting += list(parts.get("all") or []) + list(parts.get("any") or [])[:1]
        return found


def pick_probes(prober: Prober, count: int, *key: str | int) -> list[Probe]:
    """Probes of all tools, enough for a batch of `count`, in a drawn order."""
    tools = prober.tools()
    keep = max(3, min(12, 2 + 2 * count // max(1, len(tools))))
    return shuffled([probe for tool in tools for probe in prober.probe(tool, keep)], *key, "order")


def _all_done(scene: Scene, uses: list[ToolUse]) -> list[ToolUse] | None:
    """The calls with their results, or None if one was refused."""
    done: list[ToolUse] = []
    for use in uses:
        outcome = scene.call(use.tool, dict(use.args))
        if not outcome.ok:
            return None
        done.append(ToolUse(use.tool, use.args, _short(outcome.result)))
    return done


def _in_turn(groups: list[list[Probe]]) -> list[Probe]:
    """One of each group, then the second of each, and so on."""
    longest = max((len(group) for group in groups), default=0)
    return [group[n] for n in range(longest) for group in groups if n < len(group)]


def _short(value: Any) -> Any:
    """A value as a request shows it: of a large object its scalars, of any other large value part of its text."""
    if len(as_text(value)) <= _SHOWN:
        return value
    if isinstance(value, dict):
        whole = cast("dict[str, Any]", value)
        return {
            k: v for k, v in list(whole.items())[:20] if not isinstance(v, dict | list) and len(str(v)) < 80
        }
    return as_text(value)[:_SHOWN]


def _written(patches: Sequence[Patch]) -> dict[Path, Any]:
    """Every scalar that was written, by its full path."""
    made: dict[Path, Any] = {}
    for patch in patches:
        waiting: list[tuple[Path, Any]] = [(patch.path, patch.new)]
        while waiting:
            path, value = waiting.pop()
            if isinstance(value, dict):
                waiting += [((*path, k), v) for k, v in cast("dict[str, Any]", value).items()]
            elif isinstance(value, list):
                waiting += [((*path, k), v) for k, v in enumerate(cast("list[Any]", value))]
            elif value is not MISSING:
                made[path] = value
    return made


def _common(one: Any, other: Any) -> Any:
    """A result without the fields that differ in another one; None if nothing is common."""
    if isinstance(one, dict) and isinstance(other, dict):
        theirs = cast("dict[str, Any]", other)
        return {
            key: value
            for key, value in cast("dict[str, Any]", one).items()
            if key in theirs and equal(value, theirs[key])
        }
    return cast("Any", one) if equal(one, other) else None


def _general(path: Path, rows: Rows) -> Path:
    """The path generalised to any record of its collection and any element."""
    named = len(path) > 3 and path[0] == "db" and path[1] in rows.collections
    return tuple(WILD if isinstance(key, int) or (named and n == 2) else key for n, key in enumerate(path))

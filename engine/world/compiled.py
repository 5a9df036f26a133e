"""A world, compiled once and shared by all its live scenes: fully checked, tools ready to run, state never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, cast

from ..canonical import digest
from ..errors import did_you_mean
from ..records.world import Rule, Tool, ToolKind, World
from .code import CodeBase, CodeTools
from .frames import WORLD_SCOPE, Scope
from .mistakes import Mistakes
from .parameters import Check, compile_parameters
from .remote import RemoteTools, is_remote, names_snapshot
from .schema import CollectionSchemas, compile_schemas
from .state import State
from .steps import WRITING, Run, StepPlace, StepTerms, compile_steps

WAIT_TOOL: Final = "wait"
MAX_WAIT_S: Final = 31_536_000
SHOWN_VIOLATIONS: Final = 20


class Signature(NamedTuple):
    """A tool as a model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CompiledTool:
    """A tool ready to run. `defaults` are the values of absent arguments."""

    tool: Tool
    kind: ToolKind
    check: Check
    defaults: Mapping[str, Any]
    steps: list[Run]

    @property
    def signature(self) -> Signature:
        """The signature under the tool's own name."""
        return Signature(self.tool.name, self.tool.description, shown_parameters(self.tool.parameters))


@dataclass(frozen=True, slots=True)
class Steps:
    """Compiled steps of a scenario (`init`, an event) or of a world (`sync`)."""

    place: StepPlace
    runs: list[Run]
    writes: bool
    emitted: frozenset[str]
    """Texts of its `emit` steps that contain no expression."""


class CompiledWorld:
    """The result of `compile_world`. Nothing in it ever changes; it may be shared by threads and scenes."""

    def __init__(
        self,
        world: World,
        tools: dict[str, CompiledTool],
        sync: Steps,
        schemas: CollectionSchemas,
        emitted: frozenset[str],
        code: CodeTools | None = None,
        remote: RemoteTools | None = None,
    ) -> None:
        self.world = world
        self.base: dict[str, Any] = {"db": world.db, "user_db": world.user_db}
        """The state at the start of every trial; shared, so nobody may change it."""
        self.tools = tools
        self.sync = sync
        self.schemas = schemas
        self.code = code
        """Runs the tools that are code; None: their calls fail."""
        self.remote = remote
        """Reaches the tools of servers; None: their calls go to `code`."""
        self.emitted = emitted
        """Texts that tools emit and that contain no expression: events with these names can happen."""

    @cached_property
    def code_tools(self) -> frozenset[str]:
        """The tools that are code or belong to a server: a call takes time, and is made in a worker thread."""
        return frozenset(name for name, tool in self.tools.items() if _elsewhere(tool.tool))

    @cached_property
    def has_servers(self) -> bool:
        """Whether any tool belongs to a server."""
        return any(is_remote(tool.tool) for tool in self.tools.values())

    @cached_property
    def snapshots(self) -> tuple[Tool, ...]:
        """Remote tools that show the state behind them: the first one for each distinct place."""
        known: dict[Any, Tool] = {}
        for tool in self.world.tools:
            impl = tool.impl
            if impl is not None and names_snapshot(tool):
                seen = (impl.mcp, impl.snapshot) if impl.http is None else (None, impl.http.snapshot)
                known.setdefault((tool.for_, *seen), tool)
        return tuple(known.values())

    def with_code(self, code: CodeTools) -> CompiledWorld:
        """The same world with another runner for its code, which also answers for its servers."""
        return CompiledWorld(self.world, self.tools, self.sync, self.schemas, self.emitted, code)

    @cached_property
    def code_base(self) -> CodeBase:
        """The base state as passed to code."""
        return CodeBase(self.base, self.hash)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON of the world as written."""
        return digest(self.world.model_dump(mode="json", by_alias=True))

    def signatures(self, by: Literal["agent", "user"], *, hidden: bool = False) -> list[Signature]:
        """The tools of a side under their own names, hidden ones only if asked for."""
        return [
            tool.signature
            for tool in self.tools.values()
            if tool.tool.for_ == by and (hidden or not tool.tool.hidden)
        ]

    def compile_steps(
        self, steps: Sequence[Mapping[str, Any]] | Mapping[str, Any], place: StepPlace, where: str
    ) -> Steps:
        """Compile a scenario's steps over both sides; InvalidArgument with all their mistakes."""
        mistakes = Mistakes()
        given = cast("object", [dict(s) for s in steps] if not isinstance(steps, Mapping) else dict(steps))
        made = _steps(
            given, dict(WORLD_SCOPE), where, StepTerms(place, self.tools, mistakes, self.code_tools)
        )
        mistakes.refuse()
        return made


def compile_world(
    world: World, where: str = "world", code: CodeTools | None = None, remote: RemoteTools | None = None
) -> CompiledWorld:
    """Check a whole world and compile it.

    Raises InvalidArgument for the first mistake, followed by the others; `where` begins their paths. `code` runs the
    tools that are code, `remote` reaches those of servers.
    """
    mistakes = Mistakes()
    names = {tool.name for tool in world.tools}
    emitted: set[str] = set()
    tools: dict[str, CompiledTool] = {}
    for i, tool in enumerate(world.tools):
        at = f"{where}.tools[{i}]({tool.name})"
        if tool.name in tools or (tool.name == WAIT_TOOL and world.clock.wait_tool):
            mistakes.add(f"There are two tools `{tool.name}`.", at)
        _check_server(tool, world, at, mistakes)
        terms = StepTerms("tool", names, mistakes)
        tools[tool.name] = _tool(tool, at, terms)
        emitted |= terms.emitted
    sync = _steps(list(world.sync), dict(WORLD_SCOPE), f"{where}.sync", StepTerms("sync", names, mistakes))
    base = {"db": world.db, "user_db": world.user_db}
    schemas = compile_schemas(world.schema_, base, f"{where}.schema", mistakes)
    _check_rules(world.rules, tools, where, mistakes)
    if not mistakes.found:
        _check_state(schemas, base, where, mistakes)
    mistakes.refuse()
    if world.clock.wait_tool:
        tools[WAIT_TOOL] = _wait_tool()
    return CompiledWorld(world, tools, sync, schemas, frozenset(emitted), code, remote)


def shown_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a model sees them: an object schema, even if none was written."""
    return {"type": "object", "properties": {}, **parameters}


def _tool(tool: Tool, where: str, terms: StepTerms) -> CompiledTool:
    mistakes = terms.mistakes
    check = compile_parameters(tool.parameters, f"{where}.parameters", mistakes)
    given: object = tool.parameters.get("properties")
    properties = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    scope: Scope = {("db" if tool.for_ == "agent" else "user_db"): "place"}
    scope.update(dict.fromkeys((name for name in properties if name not in scope), "value"))
    steps = compile_steps(list(tool.steps), scope, f"{where}.steps", terms)
    writes = bool(terms.words & WRITING)
    if writes and tool.kind in ("read", "think"):
        mistakes.add(
            f"A `{tool.kind}` tool must not write, and its steps do.", f"{where}.kind", "write, terminal"
        )
    defaults = {
        name: cast("dict[str, Any]", part).get("default") if isinstance(part, dict) else None
        for name, part in properties.items()
    }
    writes = writes or _elsewhere(tool)
    return CompiledTool(tool, tool.kind or ("write" if writes else "read"), check, defaults, steps)


def _elsewhere(tool: Tool) -> bool:
    """Whether a tool's work is done elsewhere."""
    return tool.impl is not None and (tool.impl.python is not None or is_remote(tool))


def _check_server(tool: Tool, world: World, where: str, mistakes: Mistakes) -> None:
    name = tool.impl.mcp if tool.impl is not None else None
    if name is not None and name not in world.servers:
        what = f"The world has no server `{name[:64]}`.{did_you_mean(name, world.servers)}"
        mistakes.add(what, f"{where}.impl.mcp", sorted(world.servers) or "a name in `servers`")


def _wait_tool() -> CompiledTool:
    parameters = {
        "type": "object",
        "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S}},
        "required": ["seconds"],
    }
    record = {"name": WAIT_TOOL, "kind": "read", "description": "Let time pass.", "parameters": parameters}
    tool = Tool.model_validate(record)
    return CompiledTool(
        tool, "read", compile_parameters(parameters, WAIT_TOOL, Mistakes()), {"seconds": None}, []
    )


def _steps(given: object, scope: Scope, where: str, terms: StepTerms) -> Steps:
    runs = compile_steps(given, scope, where, terms)
    return Steps(terms.place, runs, bool(terms.words & WRITING), frozenset(terms.emitted))


def _check_rules(
    rules: Sequence[Rule], tools: Mapping[str, CompiledTool], where: str, mistakes: Mistakes
) -> None:
    seen: set[str] = set()
    for i, rule in enumerate(rules):
        at = f"{where}.rules[{i}]({rule.id})"
        if rule.id in seen:
            mistakes.add(f"There are two rules `{rule.id}`.", f"{at}.id")
        seen.add(rule.id)
        meant = [tool for name, tool in tools.items() if fnmatchcase(name, rule.glob)]
        if not meant:
            mistakes.add(
                f"No tool matches `{rule.glob[:64]}`.{did_you_mean(rule.glob, tools)}",
                f"{at}.{rule.sort}",
                sorted(tools),
            )
        known = {name for tool in meant for name in tool.defaults}
        for name in rule.per:
            if meant and name not in known:
                mistakes.add(
                    f"`{rule.glob}` has no argument `{name[:60]}`.{did_you_mean(name, known)}",
                    f"{at}.per",
                    sorted(known),
                )


def _check_state(schemas: CollectionSchemas, base: dict[str, Any], where: str, mistakes: Mistakes) -> None:
    for n, violation in enumerate(schemas.violations(State(base))):
        if n >= SHOWN_VIOLATIONS:
            break
        path = str(violation).removesuffix(f": {violation.what}")
        mistakes.add(
            f"{violation.what[:1].upper()}{violation.what[1:]}.".replace("..", "."),
            f"{where}.{path}",
            violation.allowed,
        )

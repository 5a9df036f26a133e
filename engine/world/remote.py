"""Remote tools: the interface to servers with a state of their own, and what can be seen of it here.

What such a tool does happens on its server. Here are its result and, if a `snapshot` is named, a copy of its side of
the state, updated after each call that may write: checks look at the copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from ..records.world import Tool, ToolKind, World
from .code import READS_ONLY, CodeAnswer
from .operations import same
from .paths import Path
from .state import State
from .values import CallFailed, as_text, copied


class RemoteTrial(Protocol):
    """The servers of one trial. Its methods block, in a worker thread, for one caller at a time.

    Errors of a server, and being unable to reach it, are an answer with `error`; nothing is raised except
    cancellation.
    """

    def begin(self) -> CodeAnswer:
        """Reset every server that names a `reset`; the result is null."""
        ...

    def call(self, tool: Tool, args: Mapping[str, Any]) -> CodeAnswer:
        """Call a tool."""
        ...

    def snapshot(self, tool: Tool) -> CodeAnswer:
        """The state on the side of a tool that names a snapshot."""
        ...


class RemoteTools(Protocol):
    """Reaches the servers of worlds."""

    def check(self, world: World, where: str) -> None:
        """Raise UserError for a server that may not be reached or started; nothing is sent. `where` begins its path."""
        ...

    def trial(self, world: World) -> AbstractAsyncContextManager[RemoteTrial]:
        """The servers of the world for one trial; entering waits for the trials before it, and raises nothing."""
        ...


def is_remote(tool: Tool) -> bool:
    """Whether a tool belongs to a server."""
    return tool.impl is not None and (tool.impl.mcp is not None or tool.impl.http is not None)


def names_snapshot(tool: Tool) -> bool:
    """Whether the state behind a remote tool can be seen."""
    impl = tool.impl
    return impl is not None and bool(impl.snapshot or (impl.http is not None and impl.http.snapshot))


def run_remote(
    tool: Tool, kind: ToolKind, args: Mapping[str, Any], state: State, by: str, remote: RemoteTrial
) -> Any:
    """The result of a remote tool; what its snapshot shows is written and journalled `by` the caller.

    CallFailed as for steps. What a failed call changed there stays, so the snapshot is taken then too.
    """
    answer = remote.call(tool, args)
    if kind not in READS_ONLY and names_snapshot(tool):
        look(tool, state, by, remote)
    result = copied(answer.result)[0]
    if answer.error is not None:
        raise CallFailed(as_text(result), answer.error)
    return result


def look(tool: Tool, state: State, by: str, remote: RemoteTrial) -> None:
    """Update our copy of a side to what a tool's snapshot shows; CallFailed if it shows nothing."""
    side = "db" if tool.for_ == "agent" else "user_db"
    seen = remote.snapshot(tool)
    if seen.error is not None:
        raise CallFailed(f"{tool.name}: its snapshot: {as_text(seen.result)}")
    shown: Any = seen.result
    if not isinstance(shown, dict):
        raise CallFailed(f"{tool.name}: its snapshot is no object of collections")
    _bring(state, (side,), cast("dict[str, Any]", shown), by)


def _bring(state: State, path: Path, wanted: Mapping[str, Any], by: str) -> None:
    """Write what differs from `wanted` below a path: objects by key, everything else whole."""
    found = cast("Mapping[str, Any]", state.get(path))
    for key in [key for key in found if key not in wanted]:
        state.write("remove", (*path, key), None, by)
    for key, value in wanted.items():
        here = found.get(key)
        if key in found and isinstance(here, Mapping) and isinstance(value, dict):
            _bring(state, (*path, key), cast("dict[str, Any]", value), by)
        elif key not in found or not same(here, value):
            state.write("set", (*path, key), value, by)

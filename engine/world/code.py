"""Tools not written as steps: the interface to code that runs elsewhere, and canned answers.

Code is given the base state and the writes on top of it, and answers with its result and its own writes. Nothing is
trusted before it is checked: the writes go through the journal like those of steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ..records.impl import CannedAnswer, ImplStyle
from ..records.world import Tool, ToolKind
from .operations import same
from .paths import Path
from .state import State, WriteOp
from .values import CallFailed, ErrorKind, as_text, copied

Write = tuple[WriteOp, Path, Any]
"""(op, path starting at `db` or `user_db`, the new value; null for a removal)."""
MAX_WRITES: Final = 10_000
READS_ONLY: Final = ("read", "think")


@dataclass(frozen=True, slots=True)
class CodeBase:
    """The state at the start of every trial. Nothing in it may be changed."""

    root: Mapping[str, Any]
    """`{"db": …, "user_db": …}`"""
    hash: str
    """Equal for equal states: whoever answers may keep the base between calls."""


@dataclass(frozen=True, slots=True)
class CodeCall:
    """A call of a tool that is code. Nothing in it may be changed."""

    python: str
    """`tools.py:Cancel`"""
    style: ImplStyle
    user: str
    """tau2: the user's tool kit; "" if there is none."""
    side: str
    """`db` or `user_db`: the side the tool belongs to."""
    args: Mapping[str, Any]
    base: CodeBase
    writes: Sequence[Write]
    """What has been written on top of the base, in order."""


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """The result of the code. `result` is its JSON, or with `error` the text of the failure."""

    result: Any = None
    error: ErrorKind | None = None
    writes: Sequence[Write] = field(default=())


class CodeTools(Protocol):
    """Runs tools that are code."""

    def call(self, asked: CodeCall) -> CodeAnswer:
        """Blocking, in a worker thread; may be called concurrently.

        Errors of the code, and not being allowed to run it, are an answer with `error`; nothing is raised except
        cancellation.
        """
        ...


def run_impl(
    tool: Tool,
    kind: ToolKind,
    args: dict[str, Any],
    state: State,
    by: str,
    code: CodeTools | None,
    base: CodeBase,
) -> Any:
    """The result of a tool without steps; what its code wrote is written and journalled `by` the caller.

    CallFailed as for steps: anything written before it stays until the caller rolls it back.
    """
    impl = tool.impl
    assert impl is not None
    if impl.canned is not None:
        return copied(_canned(impl.canned, tool.name, args))[0]
    if code is None:
        raise CallFailed(f"{tool.name}: its code cannot be run here")
    side = "db" if tool.for_ == "agent" else "user_db"
    style = impl.style or "function"
    writes: list[Write] = [(patch.op, patch.path, patch.new) for patch in state.journal]
    answer = code.call(CodeCall(impl.python or "", style, impl.user or "", side, args, base, writes))
    _check_writes(answer.writes, f"{tool.name}: its code", kind, None if style == "tau2" else side)
    for op, path, value in answer.writes:
        state.write(op, path, value, by)
    result = copied(answer.result)[0]
    if answer.error is not None:
        raise CallFailed(as_text(result), answer.error)
    return result


def _canned(answers: Sequence[CannedAnswer], tool: str, args: Mapping[str, Any]) -> Any:
    """The first canned answer whose arguments match the call's."""
    for answer in answers:
        if all(name in args and same(args[name], value) for name, value in answer.args.items()):
            return answer.return_
    raise CallFailed(f"{tool}: no answer is given for these arguments", "arguments")


def _check_writes(writes: Sequence[Write], who: str, kind: ToolKind, side: str | None) -> None:
    """Raise CallFailed if code writes although it must not, too much, or on the other side.

    `side` None: both sides are its own, as are the writes that keep them consistent after a tool that only reads.
    """
    if writes and kind in READS_ONLY and side is not None:
        raise CallFailed(f"{who} writes, and a `{kind}` tool must not")
    if len(writes) > MAX_WRITES:
        raise CallFailed(f"{who} makes {len(writes):,} writes in one call, more than {MAX_WRITES:,}")
    if any(len(path) < 2 or side not in (None, path[0]) for _, path, _ in writes):
        raise CallFailed(f"{who} writes where it must not")

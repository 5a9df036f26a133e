"""Tools that are no steps: the seam to code that runs elsewhere, and answers that are given.

Code is asked with the base state and the writes on top of it, and answers with its result and its own writes. Nothing
of it is believed before it is checked: the writes go through the journal like those of steps.
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
"""(op, path from `db` or `user_db` on, the new value; of a removal null)."""
MAX_WRITES: Final = 10_000
READS_ONLY: Final = ("read", "think")


@dataclass(frozen=True, slots=True)
class CodeBase:
    """The state at the start of every trial. Nothing in it may be changed."""

    root: Mapping[str, Any]
    """`{"db": …, "user_db": …}`"""
    hash: str
    """Equal for equal states: who answers may keep the base between calls."""


@dataclass(frozen=True, slots=True)
class CodeCall:
    """A call of a tool that is code. Nothing in it may be changed."""

    python: str
    """`tools.py:Cancel`"""
    style: ImplStyle
    user: str
    """tau2: the user's tool kit; "" where there is none."""
    side: str
    """`db` or `user_db`: whose tool it is."""
    args: Mapping[str, Any]
    base: CodeBase
    writes: Sequence[Write]
    """What has been written on top of the base, in order."""


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """What the code did. `result` is its JSON, or with `error` the text of the failure."""

    result: Any = None
    error: ErrorKind | None = None
    writes: Sequence[Write] = field(default=())


class CodeTools(Protocol):
    """Runs tools that are code."""

    def call(self, asked: CodeCall) -> CodeAnswer:
        """Blocking, in a worker thread; may be called by many at once.

        What the code does wrong, and that it may not be run at all, is an answer with `error`; it raises nothing
        else than cancellation.
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
    """The result of a tool that is no steps; what its code wrote is written and journalled `by` the caller.

    CallFailed as of steps: what was written before it stays until the caller takes it back.
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
    """The first given answer whose arguments the call has."""
    for answer in answers:
        if all(name in args and same(args[name], value) for name, value in answer.args.items()):
            return answer.return_
    raise CallFailed(f"{tool}: no answer is given for these arguments", "arguments")


def _check_writes(writes: Sequence[Write], who: str, kind: ToolKind, side: str | None) -> None:
    """CallFailed where code writes although it must not, too much, or on the other side.

    `side` None: both are its own, and so is what keeps them in step after a tool that only reads.
    """
    if writes and kind in READS_ONLY and side is not None:
        raise CallFailed(f"{who} writes, and a `{kind}` tool must not")
    if len(writes) > MAX_WRITES:
        raise CallFailed(f"{who} makes {len(writes):,} writes in one call, more than {MAX_WRITES:,}")
    if any(len(path) < 2 or side not in (None, path[0]) for _, path, _ in writes):
        raise CallFailed(f"{who} writes where it must not")

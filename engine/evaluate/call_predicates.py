"""Compiling `tool` and `tool_calls`: names, arguments and order, checked against the world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal, cast

from ..errors import InvalidArgument, did_you_mean
from ..records.scenario import ExpectedStep
from ..world.values import shown
from .calls import Argument, CallPattern, Match, Ok, ToolCalls, ToolCount
from .comparators import COMPARATOR_TERMS, COMPARATORS, read_comparison
from .reading import Written
from .scope import Scope, need_solution

SIDES: Final = ("agent", "user")
CALL_KEYS: Final = ("tool", "args", "args_match", "compare", "own", "id", "after", "x_source")
ARGUMENT_MODES: Final = ("exact", "ignore", "text", "partial")


def compile_tool(written: Written, scope: Scope) -> ToolCount:
    """`tool`: how many calls match."""
    call = _call(written, scope, written.one_of("by", (*SIDES, "world"), "agent"), _ok(written, scope))
    return ToolCount(call, *_count(written))


def compile_tool_calls(written: Written, scope: Scope) -> ToolCalls:
    """`tool_calls`: the calls of one side as a whole."""
    by = written.one_of("by", SIDES, "agent")
    ok = _ok(written, scope)
    match = cast("Match", written.one_of("match", ("contains", "unordered", "strict", "within"), "contains"))
    ordered = written.flag("ordered", False)
    if ordered and match == "within":
        written.wrong("ordered", "`within` has no order.", "contains, unordered, strict")
    calls, after = _expected_calls(written, scope, by, ok)
    if not calls and match == "contains":
        what = "No call is expected, so `contains` would always pass."
        written.wrong("tool_calls", what, "match: strict, unordered or within; or calls")
    if ordered or match == "strict":
        _in_list_order(written, after)
    reads = written.one_of("reads", ("ignore", "count"), "ignore") == "count"
    own = written.one_of("own", ("listed", "count"), "listed") == "count"
    return ToolCalls(tuple(calls), match, ordered, reads, own, by, ok, after)


def check_step(step: ExpectedStep, written: Written, scope: Scope) -> None:
    """Refuse a call of the solution with wrong arguments or comparisons."""
    _call(
        Written({k: v for k, v in written.data.items() if k in ("tool", "args", "compare")}, written.where),
        scope,
        step.by,
        True,
    )


def _check_call(tool: str, args: Iterable[str], written: Written, scope: Scope) -> None:
    """Refuse a tool glob that matches no tool, and arguments that no such tool has."""
    names = list(scope.world.tools)
    if not any(fnmatchcase(name, tool) for name in names):
        what = f"No tool matches `{tool}`.{did_you_mean(tool, names)}"
        allowed = [*names, "any name with own: true, for a tool that the agent has by itself"]
        written.wrong("tool", what, allowed)
    known = scope.parameters(tool)
    free = any(not t.tool.strict for name, t in scope.world.tools.items() if fnmatchcase(name, tool))
    for name in args:
        if name not in known and not free:
            key = "args" if name in written.data.get("args", {}) else "compare"
            what = f"`{tool}` has no argument `{name}`.{did_you_mean(name, known)}"
            raise InvalidArgument(what, where=written.at(key, name), allowed=known)


def _ok(written: Written, scope: Scope) -> Ok:
    value = written.data.get("ok", scope.ok)
    if value != "any" and not isinstance(value, bool):
        written.wrong("ok", f"`ok` is true, false or any, not {shown(value)}.", 'true, false, "any"')
    return value


def _count(written: Written) -> tuple[int, int | None]:
    if "count" not in written:
        return 1, None
    if not isinstance(written.data["count"], Mapping):
        exactly = written.whole("count", 1)
        return exactly, exactly
    count = written.object("count")
    count.only(("min", "max"), "key of a count")
    if not count.data:
        written.wrong("count", "`count` is named but empty.", "a whole number, or min and max")
    least = count.whole("min", 0)
    most = count.whole("max", 0) if "max" in count else None
    if most is not None and most < least:
        written.wrong("count", f"No number is at least {least} and at most {most}.", "min not above max")
    return least, most


def _call(written: Written, scope: Scope, by: str, ok: Ok) -> CallPattern:
    tool, own = written.text("tool"), written.flag("own", False)
    args, compare = written.object("args"), written.object("compare")
    listed = list(dict.fromkeys((*args.data, *compare.data)))
    if not own:
        _check_call(tool, listed, written, scope)
    elif by == "user":
        written.wrong("own", "Only the agent has tools of its own.", "by: agent")
    mode = written.one_of("args_match", ("partial", "exact", "ignore"), "partial")
    arguments = () if mode == "ignore" else tuple(_argument(name, args, compare, scope) for name in listed)
    return CallPattern(tool, arguments, mode == "exact", by, ok, own)


def _argument(name: str, args: Written, compare: Written, scope: Scope) -> Argument:
    mode = compare.data.get(name, "exact")
    wanted = args.data.get(name)
    if isinstance(mode, str):
        compare.one_of(name, ARGUMENT_MODES, "exact")
        if name not in args and mode != "ignore":
            compare.wrong(
                name, f"`{name}` has no value in `args` to compare with.", "a value in args, or ignore"
            )
        return Argument(name, cast("Literal['exact', 'ignore', 'text', 'partial']", mode), wanted)
    terms = compare.object(name)
    if "judge" in terms:
        terms.only(("judge",), "key beside `judge`")
        return Argument(name, "judge", terms.text("judge"))
    terms.only((*COMPARATORS, *COMPARATOR_TERMS, "judge"), "comparator")
    if not any(key in terms for key in COMPARATORS):
        if name not in args:
            compare.wrong(name, f"`{name}` has no value in `args` to compare with.", COMPARATORS)
        terms = Written({"eq": wanted, **terms.data}, terms.where)
    return Argument(name, "compare", comparison=read_comparison(terms))


def _expected_calls(
    written: Written, scope: Scope, by: str, ok: Ok
) -> tuple[list[CallPattern], dict[int, Sequence[int]]]:
    value = written.data["tool_calls"]
    if value == "expected":
        need_solution(written, "tool_calls", scope)
        steps = scope.scenario.expected if scope.scenario else []
        return _of_solution(steps, scope, by, ok)
    if isinstance(value, str):
        written.one_of("tool_calls", ["expected", "a list of calls"], "")
    items = [
        Written(item, written.at("tool_calls", i))
        for i, item in enumerate(written.items("tool_calls", empty=True))
    ]
    for item in items:
        item.only(CALL_KEYS, "key of a call")
    ids = [str(item.data.get("id", "")) for item in items]
    before = [_known_ids(item, ids) for item in items]
    calls = [_call(item, scope, by, ok) for item in items]
    return calls, _order(ids, before, range(len(items)), written.at("tool_calls"))


def _of_solution(
    steps: Sequence[ExpectedStep], scope: Scope, by: str, ok: Ok
) -> tuple[list[CallPattern], dict[int, Sequence[int]]]:
    """The write and terminal calls in `expected` by one side."""
    counted: list[int] = []
    calls: list[CallPattern] = []
    for i, step in enumerate(steps):
        if (
            step.tool not in scope.world.tools
            or step.by != by
            or scope.world.tools[step.tool].kind not in ("write", "terminal")
        ):
            continue
        written = Written({"tool": step.tool, "args": step.args, "compare": step.compare}, f"expected[{i}]")
        counted.append(i)
        calls.append(_call(written, scope, by, ok))
    return calls, _order([s.id or "" for s in steps], [s.after for s in steps], counted, "expected")


def _known_ids(written: Written, ids: Sequence[str]) -> list[str]:
    named = written.texts("after", empty=True)
    for name in named:
        if name not in ids or not name:
            what = f"`after` names `{name}`, which is no id here.{did_you_mean(name, ids)}"
            written.wrong("after", what, [i for i in ids if i] or "ids of the calls")
    return named


def _order(
    ids: Sequence[str], after: Sequence[Sequence[str]], counted: Sequence[int], where: str
) -> dict[int, Sequence[int]]:
    """For each counted step, the counted steps that come before it, also through steps that do not count."""
    place = {name: i for i, name in enumerate(ids) if name}
    direct = [[place[name] for name in names if name in place] for names in after]
    index = {step: i for i, step in enumerate(counted)}
    return {
        i: before
        for step, i in index.items()
        if (before := sorted(index[s] for s in _ancestors(step, direct, ids, where) if s in index))
    }


def _ancestors(step: int, direct: Sequence[Sequence[int]], ids: Sequence[str], where: str) -> set[int]:
    found: set[int] = set()
    waiting = list(direct[step])
    while waiting:
        above = waiting.pop()
        if above == step:
            raise InvalidArgument(
                f"`{ids[step]}` comes after itself.", where=where, allowed="`after` without a cycle"
            )
        if above not in found:
            found.add(above)
            waiting += direct[above]
    return found


def _in_list_order(written: Written, after: Mapping[int, Sequence[int]]) -> None:
    if any(before > i for i, befores in after.items() for before in befores):
        what = "`after` contradicts the order of the list, which is the order that is asked for."
        written.wrong("tool_calls", what, "`after` that names earlier calls only")

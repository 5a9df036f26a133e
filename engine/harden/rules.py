"""The writer without a model: a failed check becomes the smallest controlled-English sentence that states its rule.

It knows no environment: everything it says is derived from the world's rule or the scenario's predicate behind the
check. If neither yields a general instruction, nothing is proposed, and the reason is given.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..llm.offline.language import Comparison, Rule, read_rule, understand, write_rule
from ..records.hardening import Brief, Edit
from ..records.run import Cluster
from .writers import Proposal

MOST_TOOLS = 5
"""Most tools that one glob may match; more would turn one failure into many sentences."""
SORTS = ("before", "after", "never", "at_most_once", "confirm")
_SUBJECTS = frozenset(
    {"state", "world", "expr", "tool", "tool_calls", "said", "event", "judge", "metric", "all", "any", "not"}
)


class RulesWriter:
    """The strategy `rules`.

    Takes the clusters in the order of the brief and proposes for the first it can.
    """

    name = "offline writer (rules)"

    async def propose(self, brief: Brief) -> Proposal:
        """One edit that appends what the first nameable cluster lacks; no edit if none is left."""
        there = set(understand(brief.text).rules)
        tried = [{_plain(edit.text) for edit in rejected.edits} for rejected in brief.rejected]
        passed_over: dict[str, str] = {}
        for cluster in brief.clusters:
            rules, why_not = derive_rules(cluster.rule, brief.tools)
            new = [rule for rule in rules if rule not in there]
            text = "\n".join(write_rule(rule) for rule in new)
            if rules and not new:
                why_not = "the text says it already"
            elif new and {_plain(text)} in tried:
                why_not = "it was tried and not kept"
            elif len(text) + 1 > brief.max_added:
                why_not = "there is no room left for another sentence"
            if why_not:
                passed_over[cluster.id] = why_not
                continue
            return Proposal(
                (Edit(op="add", anchor="end", text=text),),
                cluster.id,
                f"{cluster.check} failed: {_cause(cluster)}",
                passed_over,
            )
        return Proposal(passed_over=passed_over)


def rule_sentences(record: Mapping[str, Any], tools: Collection[str]) -> list[str]:
    """The sentences that tell an agent a world's rule or a scenario's predicate; [] if it has no general form."""
    return [write_rule(rule) for rule in derive_rules(record, tools)[0]]


def derive_rules(record: Mapping[str, Any], tools: Collection[str]) -> tuple[list[Rule], str]:
    """(controlled-English rules, "") for a rule record or a predicate, or ([], the reason for having none)."""
    if not record:
        return [], "the check has no rule or predicate behind it"
    rules = _of_predicate(record, tools) if _SUBJECTS & record.keys() else _of_rule(record, tools)
    sayable = [rule for rule in dict.fromkeys(rules) if read_rule(write_rule(rule)) == rule]
    return (sayable, "") if sayable else ([], "no general sentence follows from the check")


def _of_rule(record: Mapping[str, Any], tools: Collection[str]) -> list[Rule]:
    sort = next((word for word in SORTS if record.get(word)), "")
    if not sort:
        return []
    found = _matching(str(record[sort]), tools)
    if sort in ("before", "after"):
        return [rule for tool in found for rule in _of_need(sort, tool, record.get("need"), tools)]
    if sort == "confirm":
        return [Rule("confirm_before", tool=tool) for tool in found]
    return [Rule("never" if sort == "never" else "once", tool=tool) for tool in found]


def _of_need(sort: str, tool: str, need: Any, tools: Collection[str]) -> list[Rule]:
    if not isinstance(need, Mapping):
        return []
    part: Mapping[str, Any] = need  # pyright: ignore[reportUnknownVariableType]
    for word in ("all", "any"):
        if isinstance(part.get(word), list):
            every = [_of_need(sort, tool, inner, tools) for inner in part[word]]
            said = [rules for rules in every if rules]
            return [rule for rules in (said if word == "all" else said[:1]) for rule in rules]
    if "expr" in part and sort == "before":
        return _never_if(tool, str(part["expr"]))
    if "tool" in part and _least(part.get("count")) > 0 and part.get("by", "agent") == "agent":
        kind = "call_before" if sort == "before" else "call_after"
        others = [name for name in _matching(str(part["tool"]), tools) if name != tool]
        return [Rule(kind, tool=tool, other=others[0])] if others else []
    return []


def _of_predicate(predicate: Mapping[str, Any], tools: Collection[str]) -> list[Rule]:
    if predicate.get("by", "agent") != "agent":
        return []
    forbidden: Any = predicate.get("not")
    if isinstance(forbidden, Mapping):
        inner: Mapping[str, Any] = forbidden  # pyright: ignore[reportUnknownVariableType]
        return _forbidden(inner, tools) if _least(inner.get("count")) == 1 else []
    if "tool" in predicate:
        most = _most(predicate.get("count"))
        if most == 0 or predicate.get("kind") == "minefield":
            return _forbidden(predicate, tools)
        if most == 1 and not predicate.get("args"):
            return [Rule("once", tool=tool) for tool in _matching(str(predicate["tool"]), tools)]
    return _in_order(predicate, tools)


def _forbidden(predicate: Mapping[str, Any], tools: Collection[str]) -> list[Rule]:
    """The rules about what must not be called.

    Always, or above or below a bound of one argument; single literal arguments say nothing.
    """
    if "tool" not in predicate or predicate.get("args"):
        return []
    found = _matching(str(predicate["tool"]), tools)
    compare: Mapping[str, Any] = predicate.get("compare") or {}
    if not compare:
        return [Rule("never", tool=tool) for tool in found]
    if len(compare) > 1:
        return []
    (argument, bounds), *_ = compare.items()
    if not isinstance(bounds, Mapping):
        return []
    limit: Mapping[str, Any] = bounds  # pyright: ignore[reportUnknownVariableType]
    if set(limit) not in ({"min"}, {"max"}):
        return []
    comparison: Comparison = "exceeds" if "min" in limit else "is below"
    value = limit.get("min", limit.get("max"))
    return [
        Rule("never_if", tool=t, field=str(argument), comparison=comparison, value=str(value)) for t in found
    ]


def _in_order(predicate: Mapping[str, Any], tools: Collection[str]) -> list[Rule]:
    calls = predicate.get("tool_calls")
    if not isinstance(calls, list) or not predicate.get("ordered"):
        return []
    names = [str(call["tool"]) for call in _objects(calls) if call.get("tool") in tools]  # pyright: ignore[reportUnknownArgumentType]
    pairs = itertools.pairwise(names)
    return [Rule("call_before", tool=after, other=before) for before, after in pairs if before != after][:1]


def _objects(values: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)]


def _never_if(tool: str, expression: str) -> list[Rule]:
    """A required `x.total <= 100` as "Never call T if total exceeds 100"; only one comparison with a literal."""
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    negated = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
    compare = tree.operand if isinstance(tree, ast.UnaryOp) and negated else tree
    if not isinstance(compare, ast.Compare) or len(compare.ops) != 1:
        return []
    field, value = _field(compare.left), _literal(compare.comparators[0])
    words = (_IF_HELD if negated else _IF_NOT_HELD).get(type(compare.ops[0]))
    if not (field and value and words):
        return []
    return [Rule("never_if", tool=tool, field=field, comparison=words, value=value)]


_IF_NOT_HELD: Mapping[type[ast.cmpop], Comparison] = {
    ast.LtE: "exceeds",
    ast.GtE: "is below",
    ast.Eq: "is not",
    ast.NotEq: "is",
}
_IF_HELD: Mapping[type[ast.cmpop], Comparison] = {
    ast.Gt: "exceeds",
    ast.Lt: "is below",
    ast.Eq: "is",
    ast.NotEq: "is not",
}


def _field(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value if isinstance(node.slice.value, str) else ""
    return ""


def _literal(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
        return str(node.value)
    return node.id if isinstance(node, ast.Name) and node.id in ("true", "false") else ""


def _matching(glob: str, tools: Collection[str]) -> list[str]:
    found = sorted(tool for tool in tools if fnmatchcase(tool, glob))
    return found if len(found) <= MOST_TOOLS else []


def _least(count: Any) -> int:
    if isinstance(count, Mapping):
        bounds: Mapping[str, Any] = count  # pyright: ignore[reportUnknownVariableType]
        return int(bounds.get("min") or 0)
    return 1 if count is None else int(count)


def _most(count: Any) -> int | None:
    if isinstance(count, Mapping):
        bounds: Mapping[str, Any] = count  # pyright: ignore[reportUnknownVariableType]
        return None if bounds.get("max") is None else int(bounds["max"])
    return None if count is None else int(count)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _cause(cluster: Cluster) -> str:
    return cluster.cause or f"{cluster.simulations} simulations"

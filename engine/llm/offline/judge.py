"""The offline judge: decides criteria in controlled English on the record, and nothing else.

Asked with `{"criteria": {"c1": text, …}}` and `{"conversation": [entry, …]}`, in one object or in two; an entry is
`{"turn", "by", "say"}` or `{"turn", "by", "tool", "args", "ok", "result"}`. Answers `{"c1": {"verdict", "why",
"evidence": [turns]}, …}`; a criterion outside the language is `inconclusive`, and metrics are left out. The evidence
for something that never happened is all turns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from ...shapes import as_object
from ..client import ModelRequest
from .block import data_block
from .criteria import rule_for, tool_to_call
from .history import Result, read_result
from .language import Rule
from .plans import holds
from .proposals import proposes
from .words import label_tokens


@dataclass(frozen=True, slots=True)
class _Entry:
    turn: int
    by: str
    say: str
    tool: str
    ok: bool
    result: Result


@dataclass(frozen=True, slots=True)
class _Verdict:
    verdict: str
    why: str
    evidence: tuple[int, ...] = ()


def judge(request: ModelRequest) -> str:
    """Verdicts for all criteria of the request, as JSON."""
    data = data_block(request.messages, "criteria")
    raw: Any = data.get("conversation") or data_block(request.messages, "conversation").get("conversation")
    entries = [_entry(as_object(item)) for item in cast("list[Any]", raw)] if isinstance(raw, list) else []
    reason = (
        "reason"
        if "reason" in str(request.schema or "") and '"why"' not in json.dumps(request.schema)
        else "why"
    )
    answer: dict[str, Any] = {}
    for key, criterion in as_object(data.get("criteria")).items():
        found = _decided(str(criterion), entries)
        shown = found.evidence or (_turns(entries) if found.verdict == "pass" else ())
        answer[key] = {"verdict": found.verdict, reason: found.why, "evidence": list(shown)}
    return json.dumps(answer, ensure_ascii=False)


def _decided(criterion: str, entries: list[_Entry]) -> _Verdict:
    rule = rule_for(criterion)
    if rule is not None and rule.kind in _DECIDERS:
        return _DECIDERS[rule.kind](rule, entries)
    tool = tool_to_call(criterion)
    if tool:
        made = _calls(entries, tool)
        return _Verdict("pass" if made else "fail", f"{tool} was called {len(made)} times", _turns(made))
    return _Verdict("inconclusive", "unknown: the criterion is outside the controlled English")


def _call_before(rule: Rule, entries: list[_Entry]) -> _Verdict:
    for at, entry in _numbered(entries, rule.tool):
        if not _calls(entries[:at], rule.other):
            return _Verdict("fail", f"{rule.tool} was called before {rule.other}", (entry.turn,))
    return _kept(rule, entries)


def _call_after(rule: Rule, entries: list[_Entry]) -> _Verdict:
    for at, entry in _numbered(entries, rule.tool):
        if not _calls(entries[at:], rule.other):
            return _Verdict("fail", f"{rule.other} was not called after {rule.tool}", (entry.turn,))
    return _kept(rule, entries)


def _asked_before(rule: Rule, entries: list[_Entry]) -> _Verdict:
    def asked(entry: _Entry) -> bool:
        if rule.kind == "confirm_before":
            return proposes(entry.say)
        return "?" in entry.say and label_tokens(rule.what) <= label_tokens(entry.say)

    what = "confirmation" if rule.kind == "confirm_before" else f"the {rule.what}"
    for at, entry in _numbered(entries, rule.tool):
        if not any(asked(before) for before in entries[:at] if before.by == "agent"):
            return _Verdict("fail", f"{rule.tool} was called without asking for {what}", (entry.turn,))
    return _kept(rule, entries)


def _never(rule: Rule, entries: list[_Entry]) -> _Verdict:
    made = _calls(entries, rule.tool)
    return _Verdict("fail" if made else "pass", f"{rule.tool} was called {len(made)} times", _turns(made))


def _once(rule: Rule, entries: list[_Entry]) -> _Verdict:
    made = _calls(entries, rule.tool)
    return _Verdict(
        "fail" if len(made) > 1 else "pass", f"{rule.tool} was called {len(made)} times", _turns(made)
    )


def _never_if(rule: Rule, entries: list[_Entry]) -> _Verdict:
    wanted = label_tokens(rule.field)
    for at, entry in _numbered(entries, rule.tool):
        parts = [item for before in entries[:at] for item in before.result.fields if wanted <= item.path]
        if not parts:
            return _Verdict(
                "fail", f"{rule.tool} was called though {rule.field} was not looked up", (entry.turn,)
            )
        if holds(parts[-1].value, rule):
            return _Verdict(
                "fail", f"{rule.tool} was called with {rule.field} {parts[-1].value}", (entry.turn,)
            )
    return _kept(rule, entries)


def _said(rule: Rule, entries: list[_Entry]) -> _Verdict:
    folded = " ".join(rule.say.lower().split())
    turns = tuple(e.turn for e in entries if e.by == "agent" and folded in " ".join(e.say.lower().split()))
    return _Verdict("pass", "said", turns) if turns else _Verdict("fail", f"`{rule.say}` was never said")


def _hidden(rule: Rule, entries: list[_Entry]) -> _Verdict:
    """Fails if an agent's text contains a value of the field, or its label followed by a value."""
    wanted = label_tokens(rule.what)
    values = {
        str(item.value).lower()
        for entry in entries
        for item in entry.result.fields
        if wanted <= item.path and not isinstance(item.value, bool) and len(str(item.value)) > 1
    }
    named = re.compile(re.escape(rule.what.lower()) + r"\s*(?:is|:|=)\s*\S")
    texts = [(entry, entry.say.lower()) for entry in entries if entry.by == "agent" and entry.say]
    shown = [entry for entry, text in texts if named.search(text) or any(value in text for value in values)]
    return _Verdict("fail" if shown else "pass", f"{rule.what} was told {len(shown)} times", _turns(shown))


_DECIDERS: Final[Mapping[str, Callable[[Rule, list[_Entry]], _Verdict]]] = {
    "call_before": _call_before,
    "call_after": _call_after,
    "ask_before": _asked_before,
    "confirm_before": _asked_before,
    "never": _never,
    "never_if": _never_if,
    "once": _once,
    "always_say": _said,
    "hide": _hidden,
}


def _kept(rule: Rule, entries: list[_Entry]) -> _Verdict:
    made = _calls(entries, rule.tool)
    return _Verdict("pass", f"{rule.tool} was called {len(made)} times, as it must", _turns(made))


def _entry(data: dict[str, Any]) -> _Entry:
    result: Any = data.get("result")
    text = (
        result
        if isinstance(result, str)
        else ""
        if result is None
        else json.dumps(result, ensure_ascii=False)
    )
    ok = data.get("ok") is not False
    read = read_result(text) if ok and text else Result(ok, "", ())
    turn: Any = data.get("turn")
    say = str(data.get("say") or data.get("content") or "")
    by = {"assistant": "agent"}.get(
        str(data.get("role") or ""), str(data.get("by") or data.get("role") or "")
    )
    return _Entry(turn if isinstance(turn, int) else 0, by, say, str(data.get("tool") or ""), ok, read)


def _numbered(entries: list[_Entry], tool: str) -> list[tuple[int, _Entry]]:
    return [
        (at, entry)
        for at, entry in enumerate(entries)
        if entry.tool == tool and entry.ok and _by_agent(entry)
    ]


def _calls(entries: list[_Entry], tool: str) -> list[_Entry]:
    return [entry for _, entry in _numbered(entries, tool)]


def _by_agent(entry: _Entry) -> bool:
    return entry.by in ("agent", "", "tool")


def _turns(entries: list[_Entry]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(entry.turn for entry in entries))

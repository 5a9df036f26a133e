"""The next step towards a goal: what the rules require first, what is missing, then the call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from .goals import CONFIRM, Goal, declined, refusal
from .history import Call, Field, History
from .language import Rule
from .params import Param, Tool, Toolbox
from .report import asks_for, question, report_call, wanted_in
from .values import labelled, no_answer, value_in
from .words import label_tokens, says_no, says_yes

MAX_ASKED: Final = 2
"""How often the same thing is asked for before the agent gives up."""
MAX_CHOICES: Final = 8
"""Most values of a choice that a question names."""
_LATER = re.compile(
    r"\b(?:let me (?:look|check|see|find)|right now|one moment|a moment|at the moment)\b", re.IGNORECASE
)
_WHOLE: Final = frozenset({"summary", "query", "message", "question", "issue", "request", "thought", "text"})
_NUMBER: Final = re.compile(r"^[$€£]?\s*(-?\d[\d,]*(?:\.\d+)?)\s*(?:%|[A-Za-z]{1,10}\.?)?$")
_DATE: Final = re.compile(r"^\d{4}-\d\d-\d\d")
_BOOLEANS: Final = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Planned:
    """A call to make. `asked_at`: the message that asked for it."""

    tool: Tool
    args: dict[str, Any]
    asked_at: int


@dataclass(frozen=True, slots=True)
class Ask:
    """A question that the goal waits for."""

    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A text that closes the goal: done, failed, refused or declined."""

    text: str


Step = Planned | Ask | Answer


class Plan:
    """Plans over one chat: `next_step` is pure, and is called for each open goal."""

    __slots__ = ("_box", "_by_tool", "_hidden", "_history", "_rules")

    def __init__(self, box: Toolbox, history: History, rules: tuple[Rule, ...]) -> None:
        self._box = box
        self._history = history
        self._rules = rules
        self._by_tool: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.tool:
                self._by_tool.setdefault(rule.tool, []).append(rule)
        self._hidden = [rule for rule in rules if rule.kind == "hide"]

    def next_step(self, goal: Goal) -> Step:
        if goal.call is None:
            again = self._done_before(goal)
            return again or self._attempt(goal.tool, goal, {}, ())
        if not goal.call.result.ok:
            return self._failed(goal, goal.call)
        for rule in self._of(goal.tool, "call_after"):
            other = self._box.tools.get(rule.other)
            made = other and any(
                call.tool == other.name and call.at > goal.call.at for call in self._history.calls
            )
            if other and not made:
                step = self._attempt(other, goal, goal.call.args, (goal.tool.name,))
                if not isinstance(step, Answer):
                    return step
        return Answer(report_call(goal.call, self._hidden))

    def _done_before(self, goal: Goal) -> Answer | None:
        """A question about something already done is answered, not done again."""
        if not goal.asking or goal.tool.reads:
            return None
        made = [call for call in self._history.calls if call.tool == goal.tool.name and call.result.ok]
        return Answer(report_call(made[-1], self._hidden)) if made else None

    def _failed(self, goal: Goal, call: Call) -> Step:
        tries = [
            c for c in self._history.calls if c.at > goal.at and c.tool == call.tool and c.args == call.args
        ]
        if any(rule.kind == "fail_retry" for rule in self._rules) and tries[-1].result.ok:
            return Answer(report_call(tries[-1], self._hidden))
        if any(rule.kind == "fail_retry" for rule in self._rules) and len(tries) < 2:
            return Planned(goal.tool, call.args, goal.at)
        extra = [rule.say for rule in self._rules if rule.kind == "fail_say" and rule.say]
        return Answer(" ".join([report_call(call, self._hidden), *(say.rstrip(".") + "." for say in extra)]))

    def _attempt(self, tool: Tool, goal: Goal, given: dict[str, Any], above: tuple[str, ...]) -> Step:
        """The next step to call a tool: `given` are arguments known from the tool it serves, `above` those tools."""
        if self._of(tool, "never"):
            return Answer(refusal(goal.tool, "it is not allowed"))
        if self._of(tool, "once") and any(c.tool == tool.name and c.result.ok for c in self._history.calls):
            return Answer(refusal(goal.tool, f"{tool.label} was already done once"))
        args, missing = self._fill(tool, goal, given)
        first = self._first(tool, goal, {**given, **args}, (*above, tool.name))
        if first is not None:
            return first
        forbidden = self._forbidden(tool, args)
        if forbidden:
            return Answer(refusal(goal.tool, forbidden))
        wanted = [param.label for param in missing]
        wanted += [rule.what for rule in self._of(tool, "ask_before") if not self._times_asked(rule.what)]
        if wanted:
            return self._ask(
                tool, goal, list(dict.fromkeys(wanted)), {param.label for param in missing}, above
            )
        return self._confirmed(tool, goal, args) or Planned(tool, args, goal.at)

    def _first(self, tool: Tool, goal: Goal, known: dict[str, Any], above: tuple[str, ...]) -> Step | None:
        """What the rules require to be called first; None if all of it was."""
        for rule in self._of(tool, "call_before"):
            other = self._box.tools.get(rule.other)
            if other is None or other.name in above:
                continue
            made = [c for c in self._history.calls if c.tool == other.name and not c.disagrees(known)]
            if any(call.result.ok for call in made):
                continue
            step = self._attempt(other, goal, known, above)
            if isinstance(step, Planned):
                failed = [c for c in made if c.args == step.args]
                if failed and not self._retry(failed):
                    why = f"{other.label} did not work, {failed[-1].result.error.rstrip('.')}"
                    return Answer(refusal(goal.tool, why))
            return step
        return None

    def _retry(self, failed: list[Call]) -> bool:
        return len(failed) < 2 and any(rule.kind == "fail_retry" for rule in self._rules)

    def _of(self, tool: Tool, kind: str) -> list[Rule]:
        return [rule for rule in self._by_tool.get(tool.name, ()) if rule.kind == kind]

    # ---- arguments

    def _fill(self, tool: Tool, goal: Goal, given: dict[str, Any]) -> tuple[dict[str, Any], list[Param]]:
        args: dict[str, Any] = {}
        missing: list[Param] = []
        for param in tool.params:
            value = self._from_texts(param, goal)
            other = next((name for name, v in given.items() if v == value and name != param.name), None)
            if value is not None and other is not None and param.kind not in ("enum", "boolean"):
                value = None
            if value is None and param.required:
                value = given.get(param.name)
                value = self._from_results(param, {**given, **args}) if value is None else value
            if value is not None:
                args[param.name] = value
            elif param.required:
                missing.append(param)
        return args, missing

    def _from_texts(self, param: Param, goal: Goal) -> Any:
        if param.required and param.name.lower() in _WHOLE:
            return value_in(param, goal.clause)
        later = [(at, text) for at, text in self._history.users if at > goal.at]
        for at, text in reversed(later):
            value = self._from_answer(param, at, text)
            if value is not None:
                return value
        value = value_in(param, goal.clause)
        if value is not None or not param.required:
            return value
        for at, text in reversed(self._history.users):
            if at <= goal.at:
                value = self._from_answer(param, at, text)
                if value is not None:
                    return value
        return None

    def _from_answer(self, param: Param, at: int, text: str) -> Any:
        """The value in a text that may answer a question of the agent: if about other things, only by its label."""
        before = self._history.replied_to(at)
        wanted = wanted_in(before)
        if not wanted:
            return value_in(param, text) if not says_no(text) else None
        if asks_for(before, param.label):
            return value_in(param, text, wanted)
        if param.kind in ("text", "number", "integer") and labelled(param.label, text) is None:
            return None
        return value_in(param, text)

    def _from_results(self, param: Param, known: dict[str, Any]) -> Any:
        for call in reversed(self._history.calls):
            if not call.result.ok or call.disagrees(known):
                continue
            hits = [item.value for item in call.result.fields if _is_field(param, item)]
            if param.kind == "list":
                flat = [inner for hit in hits for inner in (hit if isinstance(hit, list) else [hit])]  # pyright: ignore
                if flat:
                    return flat  # pyright: ignore[reportUnknownVariableType]
            elif hits and all(hit == hits[0] for hit in hits) and not isinstance(hits[0], list):
                return hits[0]
        return next((c.args[param.name] for c in reversed(self._history.calls) if param.name in c.args), None)

    # ---- questions

    def _ask(
        self, tool: Tool, goal: Goal, wanted: list[str], needed: set[str], above: tuple[str, ...]
    ) -> Step:
        stuck = [what for what in wanted if what in needed and self._unanswered(what, goal)]
        if stuck:
            found = self._look_up(tool, goal, stuck, above)
            return found or Answer(refusal(goal.tool, f"I cannot go on without the {stuck[0]}"))
        choices = {param.label: param.enum for param in tool.params if len(param.enum) <= MAX_CHOICES}
        return Ask(question([_with_choices(what, choices.get(what, ())) for what in wanted]))

    def _times_asked(self, what: str, since: int = -1) -> int:
        return sum(at > since and asks_for(text, what) for at, text in self._history.said)

    def _unanswered(self, what: str, goal: Goal) -> bool:
        """Whether it was asked for often enough, or the user said it cannot tell."""
        asked = [at for at, text in self._history.said if at > goal.at and asks_for(text, what)]
        if len(asked) >= MAX_ASKED:
            return True
        reply = self._history.answer_to(asked[-1]) if asked else None
        return reply is not None and no_answer(reply) and not _LATER.search(reply)

    def _look_up(self, tool: Tool, goal: Goal, stuck: list[str], above: tuple[str, ...]) -> Step | None:
        """A reading tool whose name mentions what is missing and that can be called with what is known."""
        params = [param for param in tool.required if param.label in stuck]
        for other in self._box.tools.values():
            if not other.reads or other.name in above or other is tool:
                continue
            subjects = [param.tokens - {"id"} for param in params]
            speaks = any(words and words <= other.name_tokens for words in subjects)
            if not speaks or any(call.tool == other.name for call in self._history.calls):
                continue
            step = self._attempt(other, goal, {}, (*above, tool.name))
            if isinstance(step, Ask):
                return step
            if isinstance(step, Planned) and not any(step.args.get(p.name) for p in params):
                return step
        return None

    def _confirmed(self, tool: Tool, goal: Goal, args: dict[str, Any]) -> Step | None:
        """The question, or its answer; None if nothing stands in the way."""
        if not self._of(tool, "confirm_before"):
            return None
        shown = ", ".join(f"{param.label} {args[param.name]}" for param in tool.params if param.name in args)
        text = f"{CONFIRM.format(tool.label)}{f' ({shown})' if shown else ''}. Do you confirm?"
        asked = [at for at, said in self._history.said if at > goal.at and said.endswith(text)]
        reply = self._history.answer_to(asked[-1]) if asked else None
        if reply is None:
            return Ask(text)
        if says_yes(reply):
            return None
        if says_no(reply) or len(asked) >= MAX_ASKED:
            return Answer(declined(goal.tool))
        return Ask(text)

    # ---- conditions

    def _forbidden(self, tool: Tool, args: dict[str, Any]) -> str:
        """Why a rule forbids the call, or ""; an unknown field is no reason."""
        for rule in self._of(tool, "never_if"):
            for value in self._field_values(tool, rule, args):
                if holds(value, rule):
                    return f"the {rule.field} {rule.comparison} {rule.value}"
        return ""

    def _field_values(self, tool: Tool, rule: Rule, args: dict[str, Any]) -> list[Any]:
        wanted = label_tokens(rule.field)
        for call in reversed(self._history.calls):
            if not call.result.ok or call.disagrees(args):
                continue
            for fits in (_own, _whole, _part):
                hits = [item for item in call.result.fields if fits(item, wanted)]
                if hits:
                    top = min(item.depth for item in hits)
                    return [item.value for item in hits if item.depth == top]
        return [args[p.name] for p in tool.params if p.name in args and p.tokens == wanted]


def holds(value: Any, rule: Rule) -> bool:
    """Whether a value satisfies the rule's condition; for a list, whether one of its elements does."""
    if isinstance(value, list):
        return any(holds(item, rule) for item in value)  # pyright: ignore[reportUnknownVariableType]
    if rule.comparison in ("is", "is not"):
        return _same(value, rule.value) is (rule.comparison == "is")
    left, right = _magnitude(value), _magnitude(rule.value)
    if left is None or right is None or isinstance(left, str) is not isinstance(right, str):
        return False
    more = left > right  # pyright: ignore[reportOperatorIssue, reportUnknownVariableType]
    return more if rule.comparison == "exceeds" else left < right  # pyright: ignore


def _with_choices(what: str, values: tuple[Any, ...]) -> str:
    return f"{what} ({' or '.join(str(value) for value in values)})" if values else what


def _same(value: Any, text: str) -> bool:
    if isinstance(value, bool):
        return _BOOLEANS.get(text.strip().lower()) is value
    if isinstance(value, int | float):
        number = _magnitude(text)
        return isinstance(number, float) and number == float(value)
    return _folded("none" if value is None else str(value)) == _folded(text)


def _folded(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())


def _magnitude(value: Any) -> float | str | None:
    """A number, or the day of an ISO date; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    if _DATE.match(text):
        return text[:10]
    found = _NUMBER.match(text)
    return float(found[1].replace(",", "")) if found else None


def _is_field(param: Param, item: Field) -> bool:
    fits = item.key == param.name or (bool(item.tokens) and param.tokens in (item.tokens, item.path))
    return fits and (param.kind != "enum" or item.value in param.enum) and item.value is not None


def _own(item: Field, wanted: frozenset[str]) -> bool:
    return item.tokens == wanted


def _whole(item: Field, wanted: frozenset[str]) -> bool:
    return item.path == wanted


def _part(item: Field, wanted: frozenset[str]) -> bool:
    return bool(wanted) and wanted <= item.path

"""The required form of a judge's reply, and its strict reading: nothing is clamped, guessed or rounded.

Questions have keys: criteria c1 to cn in their order, metrics their names. Each part of a reply is read separately, so
that one wrong part does not spoil the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ...records.opinion import Finding
from ..opinions import Question

MOST_CHARS: Final = 400_000
"""Characters of a reply that are read."""
_TEXT: Final = 1_000
"""Characters of a reason that are kept."""
_QUOTE: Final = 300
"""Characters kept of a passage that supports a claim."""
_FINDINGS: Final = 200
VERDICTS: Final = ("pass", "fail", "inconclusive")
FINDINGS_OF_CLAIMS: Final = ("supported", "contradicted", "invented", "not_checkable")
LOOK_UP: Final = "look_up"
_THOUGHT: Final = "</think>"
"""What follows it is the answer of a model that thinks aloud."""


class Wrong(ValueError):
    """A part of a reply that is not within what was asked; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One part of a reply that was read."""

    verdict: str = ""
    score: float | None = None
    label: str = ""
    why: str = ""
    fix: str = ""
    turns: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def vote(self) -> str:
        """Its vote, if there are several."""
        return self.verdict or self.label or ("" if self.score is None else f"{self.score:g}")


@dataclass(slots=True)
class Read:
    """A reply: what could be read of it by key, what is wrong with the rest, and the turns requested."""

    answered: dict[str, Answered] = field(default_factory=dict[str, Answered])
    wrong: dict[str, str] = field(default_factory=dict[str, str])
    look_up: tuple[int, ...] = ()


def keyed(questions: Sequence[Question]) -> dict[str, Question]:
    """Criteria as c1 ... cn, never named by their text; metrics by their names."""
    keys: dict[str, Question] = {}
    criteria = 0
    for question in questions:
        criteria += not question.metric
        keys[question.metric or f"c{criteria}"] = question
    return keys


def reply_schema(questions: Mapping[str, Question], look_up: bool) -> dict[str, Any]:
    """The JSON Schema of a reply; `look_up`: turns may be requested instead."""
    parts = {key: _schema(question) for key, question in questions.items()}
    needed = list(parts)
    if look_up:
        parts[LOOK_UP] = {"type": "array", "items": {"type": "integer"}}
        needed = []
    return {"type": "object", "properties": parts, "required": needed}


def read_reply(text: str, questions: Mapping[str, Question], turns: frozenset[int], look_up: bool) -> Read:
    """Parse a reply; what was left out is neither answered nor wrong, unless only something else is answered.

    `turns`: those of the record, the only ones that may be cited.
    """
    try:
        whole = _object(text)
    except Wrong as error:
        return Read(wrong=dict.fromkeys(questions, str(error)))
    wanted = whole.get(LOOK_UP)
    if look_up and isinstance(wanted, list) and wanted:
        asked = [turn for turn in cast("list[Any]", wanted) if _is_turn(turn) and turn in turns]
        if asked:
            return Read(look_up=tuple(dict.fromkeys(asked)))
    if whole and not whole.keys() & {*questions, LOOK_UP}:
        return Read(wrong=dict.fromkeys(questions, f"no key of the answer is one of {', '.join(questions)}"))
    read = Read()
    for key, question in questions.items():
        if key not in whole:
            continue
        try:
            read.answered[key] = _answered(whole[key], question, turns)
        except Wrong as error:
            read.wrong[key] = str(error)
    return read


def _object(text: str) -> dict[str, Any]:
    """The one JSON object of a reply, whatever fences, words or thoughts surround it."""
    text = text.rpartition(_THOUGHT)[2]
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or len(text) > MOST_CHARS:
        raise Wrong("the answer is not a JSON object")
    try:
        value: Any = json.loads(text[start : end + 1], parse_constant=_no_number, object_pairs_hook=_once)
    except Wrong:
        raise
    except (ValueError, RecursionError):
        raise Wrong("the answer is not a JSON object") from None
    if not isinstance(value, dict):
        raise Wrong("the answer is not a JSON object")
    return cast("dict[str, Any]", value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Wrong(f"`{key[:40]}` is answered twice")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise Wrong(f"{name} is no number")


def _answered(value: Any, question: Question, turns: frozenset[int]) -> Answered:
    if not isinstance(value, dict):
        raise Wrong("it is not an object")
    part = cast("dict[str, Any]", value)
    told = Answered(why=_text(part, "why"), fix=_text(part, "fix"), turns=_turns(part, turns))
    return _READERS[question.answer](part, question, turns, told)


def _verdict(part: dict[str, Any], question: Question, turns: frozenset[int], told: Answered) -> Answered:
    verdict = part.get("verdict")
    if verdict not in VERDICTS:
        raise Wrong(f"verdict is none of {', '.join(VERDICTS)}")
    return _with(told, verdict=str(verdict))


def _score(part: dict[str, Any], question: Question, turns: frozenset[int], told: Answered) -> Answered:
    score = part.get("score")
    least, most = question.scale
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise Wrong("score is no number")
    if not least <= score <= most:
        raise Wrong(f"score is {score:g}, outside {least:g} to {most:g}")
    if question.whole and score != int(score):
        raise Wrong(f"score is {score:g}, which is no whole number")
    return _with(told, score=float(score))


def _label(part: dict[str, Any], question: Question, turns: frozenset[int], told: Answered) -> Answered:
    return _with(told, label=_known_label(part, question.labels))


def _labels_by_turn(
    part: dict[str, Any], question: Question, turns: frozenset[int], told: Answered
) -> Answered:
    """Labels by turn; a turn not named has the first label, and so has the whole if none is named."""
    nothing = question.labels[0]
    seen: dict[int, list[Finding]] = {}
    for row in _rows(part, "turns"):
        turn = _turn_of(row, turns)
        found = Finding(turn=turn, label=_known_label(row, question.labels), why=_text(row, "why"))
        seen.setdefault(turn, []).append(found)
    for turn, found in seen.items():
        labels = {one.label for one in found}
        if nothing in labels and len(labels) > 1:
            raise Wrong(f"turn {turn} has `{nothing}` and another label")
    findings = tuple(one for found in seen.values() for one in found if one.label != nothing)
    worst = max((one.label for one in findings), key=question.labels.index, default=nothing)
    cited = tuple(dict.fromkeys(one.turn for one in findings))
    return _with(told, label=worst, turns=cited, findings=findings)


def _claims(part: dict[str, Any], question: Question, turns: frozenset[int], told: Answered) -> Answered:
    """Claims with what the passages say about them. The score: the share of checkable ones that are supported."""
    passages = dict(question.about)
    findings: list[Finding] = []
    for row in _rows(part, "claims"):
        label = _known_label(row, FINDINGS_OF_CLAIMS)
        passage = str(row.get("passage") or "")
        if passage and passage not in passages:
            raise Wrong(f"`{passage[:40]}` is no passage")
        if label in ("supported", "contradicted") and not passage:
            raise Wrong(f"a claim is {label}, and no passage shows it")
        claim = _text(row, "claim")
        quote = passages.get(passage, "")[:_QUOTE]
        turn = _turn_of(row, turns)
        findings.append(Finding(turn=turn, label=label, why=claim, passage=passage, quote=quote))
    checkable = [one for one in findings if one.label != "not_checkable"]
    right = sum(one.label == "supported" for one in checkable)
    cited = tuple(dict.fromkeys(one.turn for one in findings if one.label in ("contradicted", "invented")))
    score = right / len(checkable) if checkable else None
    return _with(told, score=score, turns=cited, findings=tuple(findings))


_READERS: Final[Mapping[str, Callable[[dict[str, Any], Question, frozenset[int], Answered], Answered]]] = {
    "verdict": _verdict,
    "score": _score,
    "label": _label,
    "turns": _labels_by_turn,
    "claims": _claims,
}


def _with(told: Answered, **fields: Any) -> Answered:
    values = {name: getattr(told, name) for name in ("why", "fix", "turns")}
    return Answered(**{**values, **fields})


def _text(part: Mapping[str, Any], key: str) -> str:
    value = part.get(key) or ""
    if not isinstance(value, str):
        raise Wrong(f"{key} is no text")
    return value.encode("utf-8", "replace").decode()[:_TEXT].strip()


def _turns(part: Mapping[str, Any], turns: frozenset[int]) -> tuple[int, ...]:
    value: Any = part.get("evidence") or []
    if not isinstance(value, list):
        raise Wrong("evidence is no list of turns")
    return tuple(dict.fromkeys(_turn(turn, turns) for turn in cast("list[Any]", value)))


def _turn_of(row: Mapping[str, Any], turns: frozenset[int]) -> int:
    return _turn(row.get("turn"), turns)


def _turn(value: Any, turns: frozenset[int]) -> int:
    """The number of a turn that exists; JSON Schema counts 1.0 as an integer."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not _is_turn(number):
        raise Wrong(f"{json.dumps(value, default=str)[:20]} is no number of a turn")
    if number not in turns:
        raise Wrong(f"there is no turn {str(number)[:20]}")
    return cast("int", number)


def _is_turn(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _known_label(row: Mapping[str, Any], labels: Sequence[str]) -> str:
    label = row.get("label")
    if label not in labels:
        raise Wrong(f"label is none of {', '.join(labels)}")
    return str(label)


def _rows(part: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = part.get(key)
    if not isinstance(value, list):
        raise Wrong(f"{key} is no list")
    rows = cast("list[Any]", value)
    if len(rows) > _FINDINGS or not all(isinstance(row, dict) for row in rows):
        raise Wrong(f"{key} is no list of at most {_FINDINGS} objects")
    return cast("list[dict[str, Any]]", rows)


def _schema(question: Question) -> dict[str, Any]:
    text, turn = {"type": "string"}, {"type": "integer"}
    fields: dict[str, Any] = {"why": text}
    if question.answer in ("verdict", "score", "label"):
        fields["evidence"] = {"type": "array", "items": turn}
    if question.answer == "verdict":
        fields["verdict"] = {"type": "string", "enum": list(VERDICTS)}
    elif question.answer == "score":
        kind = "integer" if question.whole else "number"
        fields["score"] = {"type": kind, "minimum": question.scale[0], "maximum": question.scale[1]}
    elif question.answer == "label":
        fields["label"] = {"type": "string", "enum": list(question.labels)}
    elif question.answer == "turns":
        label = {"type": "string", "enum": list(question.labels)}
        fields["turns"] = _list_of({"turn": turn, "label": label, "why": text})
    else:
        label = {"type": "string", "enum": list(FINDINGS_OF_CLAIMS)}
        fields["claims"] = _list_of({"claim": text, "turn": turn, "label": label, "passage": text})
    fields["fix"] = text
    return {"type": "object", "properties": fields, "required": list(fields)}


def _list_of(fields: dict[str, Any]) -> dict[str, Any]:
    row = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "array", "items": row}

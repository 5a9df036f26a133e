"""Strict reading of what a metric's code returns: nothing is clamped, guessed or rounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from ...records.opinion import CODE, Opinion
from ..opinions import Question

_KEYS: Final = ("value", "why", "turns")
_TEXT: Final = 1_000
"""Characters of a reason that are kept."""
_SHOWN: Final = 60


def read_code_answer(question: Question, said: Any, turns: frozenset[int], record: str) -> Opinion:
    """The answer of a metric's code, or an unscored one that says what is wrong with it. `turns`: those that exist.

    `{"value": a number of the scale or a label, "why": text, "turns": [those that show it]}`, the last one optional; a
    value of None means that the metric does not apply.
    """
    if not isinstance(said, Mapping):
        return unscored_by_code(
            question, f"its code gave {_short_repr(said)}, not an object with value and why", record
        )
    answer = cast("Mapping[Any, Any]", said)
    value, why, shown = answer.get("value"), answer.get("why"), answer.get("turns")
    wrong = _keys_wrong(answer) or _value_wrong(question, value)
    if not wrong and not isinstance(why, str):
        wrong = f"why is {_short_repr(why)}, not a text"
    if not wrong and shown is not None:
        wrong = _turns_wrong(shown, turns)
    if wrong:
        return unscored_by_code(question, f"its code answered wrongly: {wrong}", record)
    labelled = bool(question.labels) and value is not None
    return _opinion(question, record).model_copy(
        update={
            "score": None if labelled or value is None else float(value),
            "label": value if labelled else "",
            "why": str(why).encode("utf-8", "replace").decode()[:_TEXT],
            "turns": sorted(set(shown or ())),
        }
    )


def unscored_by_code(question: Question, why: str, record: str) -> Opinion:
    """The opinion that a metric's code gave no answer."""
    return _opinion(question, record).model_copy(
        update={"unscored": why.encode("utf-8", "replace").decode()[:_TEXT]}
    )


def _opinion(question: Question, record: str) -> Opinion:
    return Opinion(question=question.id, record=record, judge=CODE, asked=question.metric)


def _keys_wrong(answer: Mapping[Any, Any]) -> str:
    missing = [key for key in _KEYS[:2] if key not in answer]
    strange = [key for key in answer if key not in _KEYS]
    if missing:
        return f"{' and '.join(missing)} missing"
    return f"{_short_repr(strange[0])} is none of {', '.join(_KEYS)}" if strange else ""


def _value_wrong(question: Question, value: Any) -> str:
    if value is None:
        return ""
    if question.labels:
        known = isinstance(value, str) and value in question.labels
        return "" if known else f"value is {_short_repr(value)}, none of {', '.join(question.labels)}"
    least, most = question.scale
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return f"value is {_short_repr(value)}, no number"
    if not least <= value <= most:
        return f"value is {_short_repr(value)}, outside {least:g} to {most:g}"
    whole = not question.whole or value == int(value)
    return "" if whole else f"value is {_short_repr(value)}, no whole number"


def _turns_wrong(shown: Any, turns: frozenset[int]) -> str:
    if not isinstance(shown, list):
        return f"turns is {_short_repr(shown)}, not a list"
    rows = cast("list[Any]", shown)
    strange = next((one for one in rows if type(one) is not int or one not in turns), None)
    return "" if strange is None else f"there is no turn {_short_repr(strange)}"


def _short_repr(value: Any) -> str:
    return repr(value)[:_SHOWN]

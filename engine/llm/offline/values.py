"""Extracting values from what people write: `order id is W1`, dates, amounts, names, choices."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from .params import Param
from .words import says_no, says_yes, tokens

_QUOTED = r"[\"“](?P<quoted>[^\"”]+)[\"”]"
_PLAIN = (
    r"(?P<plain>[^\s\"“](?:.*?))(?=[.;!?](?:\s|$)|\n|,?\s+(?:and|but|so)\s+(?:my|i|the|please|then|also|it|can|could)\b"
    r"|,?\s+because\b|,\s*(?:my|i|please|can|could|the)\b|\s*$)"
)
_LINK = r"\s*(?:\b(?:is|are|was|to|should be|will be|would be)\b|[:=])\s*"
_SAME_ID = r"(?:id|number|no\.?|code|reference|ref\.?)"
_ID = r"#?[A-Za-z0-9][\w/-]*\d[\w/-]*|#?\d[\w/-]*"
_TOKEN: Final = re.compile(r"\S+")
_TRIM: Final = ".,;:!?\"'()[]“”`"
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ISO: Final = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)")
_NUMBER: Final = re.compile(r"(?<![\w#./-])[$€£]?-?(\d[\d,]*(?:\.\d+)?)(?:%|(?![\w/-]|\.\d))")
_DIGITS_IN_WORD: Final = re.compile(_ID)
_NAME: Final = re.compile(
    r"(?:my (?:full )?name is|i am|i'm|this is|name:)\s+([A-Z][\w'\u2019-]*(?: [A-Z][\w'\u2019-]*)*)",
    re.IGNORECASE | re.UNICODE,
)
_BECAUSE: Final = re.compile(r"\b(?:because|since)\s+(.+?)(?=[.;!?](?:\s|$)|\n|$)", re.IGNORECASE)
_ANSWER_LEAD: Final = re.compile(
    r"^\W*(?:(?:sure|yes|ok(?:ay)?|of course|certainly|right|well|here you go|hello|hi)[,.!:]*\s+)*"
    r"(?:(?:it is|it's|that is|that's|this is|i am|i'm)\s+)?",
    re.IGNORECASE,
)
_NOT_KNOWN: Final = re.compile(
    r"\b(?:do not|don't|cannot|can't)\s+(?:know|have|remember|recall|find|say|share|tell)|\bno idea\b|\bnot sure\b|"
    r"\brather not\b",
    re.IGNORECASE,
)
_SELF: Final = re.compile(r"(?<=[.!?])\s+(?=(?:I|My|The)\b)")
_MONTHS: Final = {
    name: n
    for n, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_WRITTEN_DATES: Final = (
    (re.compile(_MONTH + r"\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})", re.IGNORECASE), (3, 1, 2)),
    (
        re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?" + _MONTH + r",?\s+(\d{4})", re.IGNORECASE),
        (3, 2, 1),
    ),
)
_COUNT_WORDS: Final = "zero one two three four five six seven eight nine ten eleven twelve"
COUNTS: Final = {word: n for n, word in enumerate(_COUNT_WORDS.split())}
_WHOLE_REQUEST: Final = frozenset(
    {"summary", "query", "message", "question", "issue", "request", "thought", "text"}
)
_REASONS: Final = frozenset({"reason", "cause", "why", "note", "justification"})


def no_answer(text: str) -> bool:
    """Whether someone says that they do not know, or will not say."""
    return _NOT_KNOWN.search(text) is not None


@lru_cache(maxsize=16384)
def value_in(param: Param, text: str, asked: int = 0) -> Any:
    """The parameter's value in a text, or None.

    `asked`: how many things were named in the question that this text answers, 0 if it answers none. An optional
    parameter must be named in the text.
    """
    if asked and no_answer(text):
        text = " ".join(part for part in _SELF.split(text) if not no_answer(part))
    if not text:
        return None
    finder = _FINDERS.get(param.kind)
    return finder(param, text, asked) if finder else None


def labelled(label: str, text: str) -> str | None:
    """The value after `LABEL is`, `LABEL:` or `LABEL to`; in quotes it may be anything."""
    found = _labelled_pattern(label).search(text)
    if not found:
        return None
    return (found["quoted"] or found["plain"] or "").strip() or None


@lru_cache(maxsize=4096)
def _labelled_pattern(label: str) -> re.Pattern[str]:
    words = [re.escape(word) for word in label.split()]
    if len(words) > 1 and words[-1] in ("id", "number", "no", "code", "reference", "ref"):
        words[-1] = _SAME_ID
    name = r"[\s_-]+".join(words)
    if words and words[0] == "new" and len(words) > 1:
        name = r"(?:new[\s_-]+)?" + r"[\s_-]+".join(words[1:])
    return re.compile(rf"\b{name}{_LINK}(?:{_QUOTED}|{_PLAIN})", re.IGNORECASE | re.DOTALL)


@lru_cache(maxsize=4096)
def _headed_pattern(head: str) -> re.Pattern[str]:
    name = r"[\s_-]+".join(re.escape(word) for word in head.split())
    tail = rf"(?:[\s_-]+{_SAME_ID})?"
    return re.compile(
        rf"\b{name}s?{tail}(?:\s+(?:is|with|was))?\s*[:=]?\s*[\"'(]?(?P<id>{_ID})(?![\w@])", re.IGNORECASE
    )


def _choice(param: Param, text: str, asked: int) -> Any:
    plain = " ".join(text.replace("_", " ").replace("-", " ").lower().split())
    best: Any = None
    for value in param.enum:
        words = str(value).replace("_", " ").replace("-", " ").lower()
        if re.search(rf"(?<!\w){re.escape(words)}(?!\w)", plain) and len(words) > len(str(best or "")):
            best = value
    if best is None and (param.required or asked):
        have = set(tokens(text))
        fits = [value for value in param.enum if (need := tokens(str(value))) and set(need) <= have]
        best = fits[0] if len(fits) == 1 else None
    return best


def _boolean(param: Param, text: str, asked: int) -> Any:
    value = labelled(param.label, text)
    if value is None and asked == 1:
        value = text
    if value is None:
        return None
    if says_yes(value) or value.lower().startswith("true"):
        return True
    return False if says_no(value) or value.lower().startswith("false") else None


def _number(param: Param, text: str, asked: int) -> Any:
    value = labelled(param.label, text)
    if value is None:
        named = re.search(rf"([\w$.,-]+)\s+{re.escape(param.label)}s?\b", text, re.IGNORECASE)
        value = named[1] if named else None
        if value is None or _as_number(value, param) is None:
            value = text if asked == 1 or (param.required and not param.rank) else None
    return None if value is None else _as_number(value, param)


def _as_number(text: str, param: Param) -> int | float | None:
    plain = _EMAIL.sub(" ", _ISO.sub(" ", text))
    for found in _NUMBER.finditer(plain):
        number = float(found[1].replace(",", ""))
        if "-" in found[0]:
            number = -number
        if param.kind == "integer" and not number.is_integer():
            continue
        return int(number) if number.is_integer() else number
    words = re.findall(r"[a-z]+", plain.lower())
    return next(
        (COUNTS[word] for word in words if word in COUNTS and (len(words) < 4 or word != "one")), None
    )


def _patterned(param: Param, text: str, asked: int) -> Any:
    if not param.required and not asked and not _names(param, text):
        return None
    value = labelled(param.label, text)
    if value and param.pattern.fullmatch(value):
        return value
    hits = _matches(param.pattern, text)
    if param.head:
        found = _headed_pattern(param.head).search(text)
        if found and found["id"] in hits:
            return found["id"]
    return hits[min(param.rank, len(hits) - 1)] if hits and (len(hits) > param.rank or asked) else None


def _matches(pattern: Any, text: str) -> list[str]:
    words = [word.strip(_TRIM) for word in _TOKEN.findall(text)]
    hits = [word for word in words if word and pattern.fullmatch(word)]
    found = (hit for hit in pattern.finditer(text) if len(hit[0]) > 1)
    return hits or [hit[0] for hit in found if not _inside_word(hit, text)]


def _inside_word(found: Any, text: str) -> bool:
    """Whether the match is part of a longer word, like five digits of `W10240`."""
    start, end = found.span()
    before, after = text[max(0, start - 1) : start + 1], text[end - 1 : end + 1]
    return (len(before) == 2 and before.isalnum()) or (len(after) == 2 and after.isalnum())


def _email(param: Param, text: str, asked: int) -> Any:
    if not param.required and not asked and not _names(param, text):
        return None
    near = labelled(param.label, text)
    hits = _EMAIL.findall(near or "") or _EMAIL.findall(text)
    return hits[param.rank].rstrip(".") if len(hits) > param.rank else None


def _date(param: Param, text: str, asked: int) -> Any:
    if not param.required and not asked and not _names(param, text):
        return None
    near = labelled(param.label, text)
    hits = dates_in(near) if near else ()
    if hits:
        return hits[0]
    hits = dates_in(text)
    if asked and hits:
        return hits[min(param.rank, len(hits) - 1)]
    if len(hits) > param.rank:
        return hits[param.rank]
    return near if asked else None


def dates_in(text: str) -> tuple[str, ...]:
    """The dates in a text as ISO dates, in order."""
    if not any(mark.isdigit() for mark in text):
        return ()
    found = [(m.start(), m[0]) for m in _ISO.finditer(text)]
    for pattern, (year, month, day) in _WRITTEN_DATES:
        for m in pattern.finditer(text):
            found.append((m.start(), f"{m[year]}-{_MONTHS[m[month][:3].lower()]:02d}-{int(m[day]):02d}"))
    return tuple(date for _, date in sorted(found))


def _identifier(param: Param, text: str, asked: int) -> Any:
    value = labelled(param.label, text)
    if value:
        found = _DIGITS_IN_WORD.search(value)
        return found[0] if found and found.start() == 0 else value.split()[0].strip(_TRIM) or None
    if param.head:
        found = _headed_pattern(param.head).search(text)
        if found:
            return found["id"]
    if asked == 1:
        return _short_answer(text)
    return None


def _text(param: Param, text: str, asked: int) -> Any:
    value = labelled(param.label, text)
    if value:
        return value
    words = set(param.label.split())
    if words & {"name"} and not words & {"product", "item", "file"}:
        found = _NAME.search(text)
        if found and found[1][0].isupper():
            return found[1]
    if words & _REASONS and param.required:
        found = _BECAUSE.search(text)
        if found:
            return found[1]
    if words & _WHOLE_REQUEST and param.required:
        return text.strip()[:500] or None
    if asked == 1:
        return _short_answer(text)
    if param.required and (quoted := re.search(_QUOTED, text)):
        return quoted["quoted"]
    return None


def _list(param: Param, text: str, asked: int) -> Any:
    if param.pattern is not None:
        return list(dict.fromkeys(_matches(param.pattern, text))) or None
    value = labelled(param.label, text) or (_short_answer(text) if asked == 1 else None)
    if not value:
        return None
    return [
        part.strip(_TRIM + " ") for part in re.split(r",|\band\b|;", value) if part.strip(_TRIM + " ")
    ] or None


def _short_answer(text: str) -> str | None:
    rest = _ANSWER_LEAD.sub("", text.strip(), count=1)
    found = re.match(r"^(?:my|the)\s+[\w ]{1,60}?\s+(?:is|are)\s+(.+)$", rest, re.IGNORECASE | re.DOTALL)
    value = (found[1] if found else rest).strip().rstrip(".!?").strip('"“” ')
    return value if value and len(value) <= 300 and value[0] != "?" else None


def _names(param: Param, text: str) -> bool:
    return bool(param.tokens) and param.tokens <= set(tokens(text)) | set(text.lower().split())


_FINDERS: Final = {
    "enum": _choice,
    "boolean": _boolean,
    "number": _number,
    "integer": _number,
    "pattern": _patterned,
    "email": _email,
    "date": _date,
    "list": _list,
    "id": _identifier,
    "text": _text,
}

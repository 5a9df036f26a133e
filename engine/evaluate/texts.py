"""What was said: words, numbers and dates in a text, found as whole tokens and never as parts of others.

Numbers may have a sign, currency and thousands commas, and a unit may follow; digits inside words, ids (`#42`, `W42`,
`AB-12`), dates, clock times and phone numbers are not numbers. Every pattern takes time linear in the text: a run of
letters or digits is tried only at its first character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

NUMBER_TOLERANCE: Final = 0.005
"""Absolute; how much a number that was said may differ from the wanted one."""
MOST_READ: Final = 100_000
"""Characters of one text that are read; anything after them was not said."""

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\b"
_DATES: Final = (
    re.compile(r"(?<![\w-])(?P<year>\d{4})-(?P<number>\d\d)-(?P<day>\d\d)(?!\d)(?:t[\d:.]+z?)?"),
    re.compile(rf"\b{_MONTH} {_DAY}(?:,? (?P<year>\d{{4}})\b)?"),
    re.compile(rf"(?<![\w#.,-]){_DAY} (?:of )?{_MONTH}(?:,? (?P<year>\d{{4}})\b)?"),
)
_NOT_NUMBERS = re.compile(
    r"\d{1,2}(?::\d\d)+(?:\s?[ap]\.?m\b)?"  # 10:30, 10:30:05 pm
    r"|\b\d{1,2}\s?[ap]\.?m\b"  # 10am
    r"|(?<!\d)\d++(?:/\d++)+"  # 5/20/2024
    r"|\b(?=\w*[a-z_])\w++(?:-\w++)+"  # AB-12
    r"|\+?(?<!\d)\d++(?:-\d++){2,}"  # 555-123-4567
    r"|#[\w-]+"
)
_UNITS = (
    r"usd|eur|gbp|kg|mg|lbs?|oz|km|cm|mm|mi|ft|hrs?|hours?|mins?|minutes?|secs?|seconds?|days?|weeks?|months?"
    r"|years?|kb|mb|gb|tb|mbps|gbps|pcs|pts|points?|dollars?|euros?|percent|items?"
)
_NUMBER = re.compile(
    r"(?<![\w#.,])(?P<sign>[-\N{MINUS SIGN}+])?(?:[$€£¥]\s?)?(?P<inner>[-\N{MINUS SIGN}])?"
    r"(?P<value>\d{1,3}(?:,\d{3})+(?:\.\d+)?|0\.\d+|(?:0|[1-9]\d*)(?:\.\d+)?)"
    rf"(?:(?:{_UNITS})\b|(?![\w]|[.,]\d))"
)


_MARKS: Final = re.compile(r"\*+|`+|(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?!\w)")
_HIDDEN: Final = "\N{SECTION SIGN}"


@dataclass(frozen=True, slots=True)
class SpokenDate:
    """A date as it was said; `year` None if none was given."""

    year: int | None
    month: int
    day: int

    def is_day(self, wanted: date) -> bool:
        """Whether it is this day; a missing year matches any."""
        return (self.month, self.day) == (wanted.month, wanted.day) and self.year in (None, wanted.year)


def folded(text: str) -> str:
    """The text without case, with every run of whitespace as one space and plain apostrophes."""
    return " ".join(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").casefold().split())


def has_words(text: str, words: str) -> bool:
    """Whether the text contains the words as whole words, ignoring case and whitespace."""
    return re.search(rf"(?<!\w){re.escape(folded(words))}(?!\w)", _read(text)) is not None


def unmarked(text: str) -> str:
    """The text without the marks of Markdown around words: `order **W1**` says `order W1`."""
    return _MARKS.sub("", text[:MOST_READ])


def numbers(text: str) -> list[float]:
    """The numbers a text says, in order: `$1,000.00` is 1000, `W42` and `2024-05-20` are not numbers."""
    plain = _read(text)
    plain = _without(plain, [span for span, _ in _dates(plain)])
    plain = _NOT_NUMBERS.sub(lambda found: _HIDDEN * len(found[0]), plain)
    return [_value(found) for found in _NUMBER.finditer(plain)]


def has_number(text: str, wanted: float, tolerance: float = NUMBER_TOLERANCE) -> bool:
    """Whether the text says the number, within an absolute tolerance."""
    return any(abs(number - wanted) <= tolerance + 1e-12 for number in numbers(text))


def dates(text: str) -> list[SpokenDate]:
    """The dates a text says: ISO, `May 20(th)(, 2024)`, `20 May 2024`."""
    return [spoken for _, spoken in _dates(_read(text))]


def has_date(text: str, wanted: date) -> bool:
    """Whether the text says this day."""
    return any(spoken.is_day(wanted) for spoken in dates(text))


def _dates(plain: str) -> Iterator[tuple[tuple[int, int], SpokenDate]]:
    for form in _DATES:
        for found in form.finditer(plain):
            named = found.groupdict()
            month = int(named["number"]) if "number" in named else _MONTHS.index(named["month"][:3]) + 1
            year, day = named["year"], int(named["day"])
            if _exists(int(year) if year else 2024, month, day):
                yield found.span(), SpokenDate(int(year) if year else None, month, day)


def _without(plain: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with these spans, which may overlap, hidden."""
    parts: list[str] = []
    end = 0
    for first, behind in sorted(spans):
        parts.append(plain[end:first])
        parts.append(_HIDDEN * (behind - max(first, end)))
        end = max(end, behind)
    return "".join([*parts, plain[end:]])


def _read(text: str) -> str:
    return folded(text[:MOST_READ])


def _exists(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _value(found: re.Match[str]) -> float:
    value = float(found["value"].replace(",", ""))
    minus = (found["sign"] or "+") != "+" or found["inner"] is not None
    return -value if minus else value

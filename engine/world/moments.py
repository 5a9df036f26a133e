"""Virtual moments: ISO 8601 texts whose spelling (fraction, offset, space or T) is kept."""

from __future__ import annotations

import datetime as dt
from typing import Final

from ..records.world import NOW, check_moment
from .values import Fault

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def moment_after(start: str, seconds: float) -> str:
    """The moment `seconds` after `start`, in the spelling of `start`; parts it does not spell are cut off."""
    found = NOW.fullmatch(start)
    if not found:
        raise Fault(f"{start[:40]!r} is not a moment such as 2026-01-01T09:00:00")
    year, month, day, joint, hour, minute, second, fraction, offset = found.groups()
    micros = int((fraction or "").ljust(6, "0"))
    whole = (year, month, day, hour or "00", minute or "00", second or "00")
    try:
        spelled = dt.datetime.fromisoformat("{}-{}-{} {}:{}:{}".format(*whole))
        at = spelled + dt.timedelta(seconds=seconds, microseconds=micros)
    except (ValueError, OverflowError):
        raise Fault(f"{seconds} seconds after {start} is outside the years 1 to 9999") from None
    text = f"{at.year:04d}-{at.month:02d}-{at.day:02d}"
    if joint:
        text += f"{joint}{at.hour:02d}:{at.minute:02d}"
    if second:
        text += f":{at.second:02d}"
    if fraction:
        text += "." + f"{at.microsecond:06d}"[: len(fraction)]
    return text + (offset or "")


def add_days(moment: str, days: int) -> str:
    """The moment that many days later; only the date changes."""
    date = _date(moment)
    try:
        later = date + dt.timedelta(days=days)
    except OverflowError:
        raise Fault(f"{days} days after {moment[:10]} is outside the years 1 to 9999") from None
    return later.isoformat() + moment[10:]


def days_between(first: str, second: str) -> int:
    """Days from the date of the first moment to that of the second."""
    return (_date(second) - _date(first)).days


def weekday(moment: str) -> str:
    """`Monday` to `Sunday`."""
    return WEEKDAYS[_date(moment).weekday()]


def _date(moment: str) -> dt.date:
    try:
        check_moment(moment)
    except ValueError:
        raise Fault(f"{moment[:40]!r} is not a date such as 2026-01-31") from None
    return dt.date.fromisoformat(moment[:10])

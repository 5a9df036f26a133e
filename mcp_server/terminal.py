"""Terminal output: widths in cells, untrusted text made harmless, one line that is redrawn."""

from __future__ import annotations

import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Final, TextIO

_ESCAPES: Final = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system command, such as a title or a link
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device control and other strings
    r"|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]"  # control sequence, such as a colour
)
_BEGINS_ANEW: Final = re.compile(r"\s*([-*+>|#]|\d+[.)])|\s*```")
LONG: Final = 70
"""Characters of a line that probably ended at the margin."""
_COLOURS: Final = {"FAIL": "31", "ERROR": "35", "PASS": "36", "fail": "31", "warn": "33", "ok": "36"}


def clean(text: str) -> str:
    """The text on one line: escapes stripped; control, bidi and zero-width characters as their code."""
    plain = _ESCAPES.sub("", text)
    return "".join(_visible(c) for c in plain)


def cells(text: str) -> int:
    """Width on a terminal: East Asian wide characters take two cells, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_width(c) for c in text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells; `...` marks what was cut."""
    if cells(text) <= width:
        return text
    room, kept = max(0, width - 3), ""
    for c in text:
        room -= _width(c)
        if room < 0:
            break
        kept += c
    return kept.rstrip() + "..."[: max(0, width)]


def pad(text: str, width: int) -> str:
    """The text, cut or padded with spaces to exactly `width` cells."""
    shown = cut(text, width)
    return shown + " " * (width - cells(shown))


def table(
    rows: Sequence[Sequence[str]], width: int, indent: str = "  ", *, whole_ids: bool = False
) -> list[str]:
    """Rows with aligned columns; if the line is too short, the first column shrinks.

    `whole_ids`: the first column is never cut, the widest of the others shrink, and then lines may be too long.
    """
    if not rows:
        return []
    widths = [max(cells(row[i]) for row in rows) for i in range(len(rows[0]))]
    over = len(indent) + sum(widths) + 2 * (len(widths) - 1) - width
    while over > 0:
        shrinks = max(range(1, len(widths)), key=lambda i: widths[i], default=0) if whole_ids else 0
        less = min(over, widths[shrinks] - 8, 1 if whole_ids else over)
        if less <= 0 or (whole_ids and not shrinks):
            break
        widths[shrinks] -= less
        over -= less
    return [
        (indent + "  ".join(pad(t, w) for t, w in zip(row, widths, strict=True))).rstrip() for row in rows
    ]


def unwrapped(text: str) -> list[str]:
    """The paragraphs of a Markdown text that was wrapped at another width: after a long line the next one goes on,
    unless it is a heading, an item or part of a table.
    """
    lines: list[str] = []
    before = ""
    for line in text.splitlines():
        if len(before) >= LONG and line.strip() and not _BEGINS_ANEW.match(line):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line.rstrip())
        before = line
    return lines


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """A text, made harmless, in lines of at most `width` cells; ids and commands stay whole."""
    return textwrap.wrap(
        clean(text),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def bar(share: float, width: int = 26) -> str:
    """`[###-------]`; full only at 1, empty only at 0."""
    filled = round(share * width)
    if 0 < share < 1:
        filled = min(width - 1, max(1, filled))
    return f"[{'#' * filled}{'-' * (width - filled)}]"


def percent(share: float | None) -> str:
    """`62%`; `-` if there is no rate."""
    return "-" if share is None else f"{100 * share:.0f}%"


def interval(bounds: Sequence[float] | None) -> str:
    """`[43, 78]`, in percent; "" if there is none."""
    return f"[{100 * bounds[0]:.0f}, {100 * bounds[1]:.0f}]" if bounds else ""


def listed(words: Sequence[str]) -> str:
    """`a, b and c`"""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def money(usd: float | None) -> str:
    """`$2.69`, under a cent four digits or the first that is not 0, `unknown` if there is no price."""
    if usd is None:
        return "unknown cost"
    if 0 < usd < 0.0001:
        return f"${Decimal(f'{usd:.1g}'):f}"
    return f"${usd:.2f}" if usd == 0 or usd >= 0.01 else f"${usd:.4f}"


def size(number: int) -> str:
    """`12 MB`, `640 kB`, `1.5 GB`."""
    for unit, of in (("GB", 10**9), ("MB", 10**6)):
        if number >= of:
            return f"{number / of:.1f} {unit}" if number < 10 * of else f"{number / of:,.0f} {unit}"
    return f"{number / 1000:.0f} kB"


def duration(seconds: float) -> str:
    """`0.4 s`, `9 min 36 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Screen:
    """Lines, with one line at the bottom that is redrawn if the stream is a terminal capable of it.

    `plain`, `NO_COLOR` and `TERM=dumb` are honoured.
    """

    def __init__(self, stream: TextIO | None = None, *, plain: bool = False) -> None:
        self._stream = sys.stdout if stream is None else stream
        able = self._stream.isatty() and os.environ.get("TERM", "") != "dumb" and not plain
        self.redraws: bool = able
        """Whether a status line can be redrawn."""
        self._colours = able and not os.environ.get("NO_COLOR")
        self._status = ""

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it; otherwise it is a file or a pipe."""
        return self._stream.isatty()

    @property
    def width(self) -> int:
        """Cells per line: the terminal's, at most 100, and 100 if there is none."""
        if not self._stream.isatty():
            return 100
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            return 100
        return max(40, min(100, columns or 100))

    def line(self, text: str = "") -> None:
        """Print a permanent line. A word such as FAIL at its start is coloured."""
        self._wipe()
        self._stream.write(f"{self._painted(text)}\n" + self._status)
        self._stream.flush()

    def note(self, word: str, text: str) -> None:
        """Print a text of any length after a word, on as many lines as it needs."""
        for line in wrapped(text, self.width - 6):
            self.line(f"{word:<5} {line}")
            word = ""

    def status(self, text: str) -> None:
        """Redraw the line at the bottom; does nothing if that is not possible."""
        if self.redraws:
            self._wipe()
            self._status = cut(text, self.width - 1)
            self._stream.write(self._status)
            self._stream.flush()

    def close(self) -> None:
        """Leave the status line where it is."""
        if self._status:
            self._stream.write("\n")
            self._stream.flush()
            self._status = ""

    def _wipe(self) -> None:
        if self._status:
            self._stream.write("\r\x1b[K")

    def _painted(self, text: str) -> str:
        word = text.strip().split(" ", 1)[0]
        if not self._colours or word not in _COLOURS:
            return text
        return text.replace(word, f"\x1b[{_COLOURS[word]}m{word}\x1b[0m", 1)


def _visible(c: str) -> str:
    if c in "\n\t\r":
        return " "
    category = unicodedata.category(c)
    if category in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"):
        return f"\\u{ord(c):04x}"
    return c


def _width(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1

"""What stands on a terminal: widths, quoted text made harmless, the line that is redrawn."""

from __future__ import annotations

import io

import pytest

from caseharden.mcp_server.terminal import (
    Screen,
    bar,
    cells,
    clean,
    cut,
    duration,
    interval,
    money,
    pad,
    percent,
    size,
    table,
    unwrapped,
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no file behind it")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
        ("\x9b2Jx", "x"),
        ("a\x1bPq#0\x1b\\b", "ab"),
        ("one\ntwo\tthree", "one two three"),
        ("a\u202eb\u200bc\x07", "a\\u202eb\\u200bc\\u0007"),
        ("lone \ud800", "lone \\ud800"),
        ("Grüße 日本", "Grüße 日本"),
    ],
)
def test_quoted_text_cannot_steer_the_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_text_wrapped_elsewhere_becomes_paragraphs_again() -> None:
    long = "word " * 15
    text = f"# Head\n{long}\nand that.\n\n- {long}\n  more\n- two\nBe kind.\nBe brief."
    ends = ["- two", "Be kind.", "Be brief."]
    assert unwrapped(text) == ["# Head", f"{long}and that.", "", f"- {long}more", *ends]


def test_width_is_measured_in_cells() -> None:
    assert [cells(t) for t in ("abc", "日本", "e\u0301", "")] == [3, 4, 1, 0]
    assert cut("abcdef", 5) == "ab..."
    assert cut("日本語です", 8) == "日本..."
    assert cells(pad("日本", 6)) == 6
    rows = table([("refund", "2/3"), ("a-very-long-case-name", "0/3")], 22)
    assert rows == ["  refund           2/3", "  a-very-long-...  0/3"]


def test_figures_have_one_form_each() -> None:
    assert (percent(0.618), percent(None), interval((0.43, 0.777)), interval(None)) == (
        "62%",
        "-",
        "[43, 78]",
        "",
    )
    assert [money(m) for m in (0.0, 2.69, 0.0004, None)] == ["$0.00", "$2.69", "$0.0004", "unknown cost"]
    assert [money(m) for m in (0.00004, 0.000_000_123)] == ["$0.00004", "$0.0000001"]
    assert [size(n) for n in (0, 640_000, 1_500_000, 12_000_000, 2_000_000_000)] == [
        "0 kB",
        "640 kB",
        "1.5 MB",
        "12 MB",
        "2.0 GB",
    ]
    assert [duration(s) for s in (0.4, 576, 7500)] == ["0.4 s", "9 min 36 s", "2 h 5 min"]


def test_bar_is_full_only_at_one_and_empty_only_at_zero() -> None:
    assert bar(0, 10) == "[----------]"
    assert bar(0.001, 10) == "[#---------]"
    assert bar(0.999, 10) == "[#########-]"
    assert bar(1, 10) == "[##########]"


def test_status_line_is_redrawn_below_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    screen = Screen(stream)
    screen.status("1 of 9")
    screen.line("FAIL  a case")
    screen.status("2 of 9")
    screen.close()
    assert stream.getvalue() == "1 of 9\r\x1b[K\x1b[31mFAIL\x1b[0m  a case\n1 of 9\r\x1b[K2 of 9\n"


@pytest.mark.parametrize("setting", ["dumb", "plain", "no color", "pipe"])
def test_no_escape_is_written_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("TERM", "dumb" if setting == "dumb" else "xterm")
    if setting == "no color":
        monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO() if setting == "pipe" else Terminal()
    screen = Screen(stream, plain=setting == "plain")
    screen.line("FAIL  a case")
    if setting != "no color":
        screen.status("1 of 9")
    screen.close()
    assert stream.getvalue() == "FAIL  a case\n"

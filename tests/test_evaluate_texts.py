"""Words, numbers and dates are found as whole tokens, and yes is told from no."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, strategies as st

from caseharden.engine.evaluate import dates, has_date, has_number, has_words, numbers
from caseharden.engine.evaluate.consent import says_yes
from caseharden.engine.evaluate.texts import unmarked


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It was in 2010.", [2010]),
        ("You get $1,000.00 back", [1000]),
        ("a refund of 59.90 dollars", [59.9]),
        ("59.90€ or £5", [59.9, 5]),
        ("-$5 and $-7 and \N{MINUS SIGN}3", [-5, -7, -3]),
        ("order #42, W42 and AB-12 and x_9", []),
        ("on 2024-05-20 at 10:30, or May 20, 2024, or 20 May", []),
        ("call 555-123-4567 at 10am", []),
        ("it weighs 5kg, 3 items, 10-20 days, 50%", [5, 3, 10, 20, 50]),
        ("version 1.2.3 and zip 02134", []),
        ("1,23", []),
        ("0.5 and 0 and 12,345,678.9", [0.5, 0, 12345678.9]),
    ],
)
def test_numbers_are_whole_tokens(text: str, found: list[float]) -> None:
    assert numbers(text) == found


def test_ten_is_not_said_by_2010() -> None:
    assert not has_number("since 2010", 10)
    assert has_number("it is 10.", 10)
    assert has_number("about 59.904", 59.9)
    assert not has_number("about 59.91", 59.9)


@given(st.integers(0, 10**12), st.integers(0, 99))
def test_an_amount_is_heard_with_or_without_commas(whole: int, cents: int) -> None:
    value = whole + cents / 100
    assert has_number(f"You get ${whole:,}.{cents:02d} back.", value)
    assert has_number(f"You get {whole}.{cents:02d} USD back.", value)
    assert not has_number(f"Order W{whole} and #{whole} are fine.", whole)


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-05-20.",
        "2024-05-20T10:00:00",
        "May 20",
        "May 20th, 2024",
        "the 20th of May 2024",
        "20 may 2024!",
    ],
)
def test_a_date_is_heard_in_many_forms(text: str) -> None:
    assert has_date(text, date(2024, 5, 20))
    assert not has_date(text, date(2024, 5, 21))


def test_a_year_that_is_said_must_be_right_and_impossible_dates_are_none() -> None:
    assert not has_date("May 20, 2023", date(2024, 5, 20))
    assert dates("February 31 and 2024-13-01") == []


def test_words_are_whole_and_folded() -> None:
    assert has_words("Your  ORDER\nis ready", "order is")
    assert not has_words("reordered", "order")
    assert not has_words("orders", "order")
    assert has_words("That is $5.", "$5")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Yes, please",
            "ok go ahead",
            "sure, no problem",
            "yes, it didn't fit",
            "Confirmed.",
            "yes, cancel it",
        ),
        *("No, go ahead.", "No, please do.", "Yes, I don't need it anymore.", "Sure, no hurry."),
        *("Yes please, it is no longer needed.", "Not at all, go ahead.", "No objections, please proceed."),
        *(
            "y",
            "Y.",
            "\N{THUMBS UP SIGN}",
            "\N{THUMBS UP SIGN}\U0001f3fd!",
            "Go for it!",
            "Please.",
            "I do",
            "I really do.",
        ),
        *("Ja", "Ja, bitte", "Oui", "Sí", "Si", "Si, por favor.", "Sim!", "Ja bitte"),
    ],
)
def test_yes_is_heard(text: str) -> None:
    assert says_yes(text)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "yes... wait, not yet",
        "I don\N{RIGHT SINGLE QUOTATION MARK}t want that, ok?",
        "the yesterday one",
        "No, please do not.",
        "no, do nothing, ok?",
        "Ok, I do not want that.",
        "No, that's fine.",
        "Yes, but not now.",
        "No, please do not go ahead.",
        "ok but first tell me the fee",
        "Please tell me the fee.",
        "I do wonder.",
        "why",
        "Ja, aber nicht jetzt.",
        "Oui, mais pas encore.",
        "Si puede, espere.",
        "Simply put, later.",
        "\N{THUMBS DOWN SIGN}",
        "Great \N{THUMBS UP SIGN} what is the fee?",
        "",
    ],
)
def test_no_is_heard(text: str) -> None:
    assert not says_yes(text)


def test_own_words_replace_the_english_list() -> None:
    assert says_yes("ja, bitte", ["ja"])
    assert not says_yes("yes", ["ja"])
    assert not says_yes("y", ["ja"])


def test_dates_that_overlap_are_hidden_once_and_the_numbers_between_stay() -> None:
    assert numbers("7 on 20 May 20, 2024 5 and 2024-05-20, May 20 then 8") == [7, 5, 8]
    assert numbers("paid 2024-05-20 " * 3 + "59.90") == [59.9]


@pytest.mark.parametrize(
    "piece", ["paid 2024-05-20 ", "may 1 ", "1", "a", "1/", "1-", "a-", "1,111", "10:30", "#", "no problem "]
)
def test_a_text_of_megabytes_is_read_in_passing(piece: str) -> None:
    long = piece * (4_000_000 // len(piece))
    numbers(long)
    assert not has_number(long, 59.9)
    assert not has_date(long, date(1999, 1, 1))
    assert not has_words(long, "never said")
    assert not says_yes(long)


def test_what_stands_behind_the_part_that_is_read_was_not_said() -> None:
    assert has_number("x " * 40_000 + "59.90", 59.9)
    assert not has_number("x " * 60_000 + "59.90", 59.9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Order **W1** is _cancelled_.", "order W1 is cancelled"),
        ("- The loan of `The Sea` ends", "loan of The Sea"),
        ("call refund_order now", "refund_order"),
        ("5 * 3", "5 * 3"),
    ],
)
def test_marks_around_words_do_not_hide_what_was_said(text: str, words: str) -> None:
    assert has_words(text, words) or has_words(unmarked(text), words)
    assert not has_words(unmarked("refund_order"), "refund order")

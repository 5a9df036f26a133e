"""`caseharden play`: what a person types, and what the terminal says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from caseharden.mcp_server.play_forms import NotAValue, described, value_of
from caseharden.tests.commanded import commanded
from caseharden.tests.fake_endpoint import FakeEndpoint, chat

EMAIL, ZIP = "anjali.raghunathan@example.com", "01609"


def play(home: Path, *words: str, typed: str = "", cwd: Path | None = None) -> CompletedProcess[str]:
    """The command with these lines as its input."""
    return commanded("play", *words, typed=typed, cwd=cwd, CASEHARDEN_HOME=str(home))


def played(home: Path, *words: str, typed: str) -> CompletedProcess[str]:
    """The same as a process of its own, with its input from a pipe."""
    command = [sys.executable, "-m", "caseharden", "play", *words]
    told = {**os.environ, "CASEHARDEN_HOME": str(home), "COLUMNS": "100"}
    return subprocess.run(
        command, env=told, input=typed, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.requirement("SG-14")
def test_a_person_is_the_agent_fills_forms_goes_back_and_gets_the_reward(tmp_path: Path) -> None:
    typed = [
        "/tools",
        "/policy",
        "/call refund_order",
        "W10432",
        "",
        "",
        "/end",
        "/undo 1",
        "May I have your email and your zip?",
        "/call verify_customer",
        "W10432",
        EMAIL,
        ZIP,
        '/call refund_order {"order_id": "W10432"}',
        "I have refunded 154.90 dollars.",
        "/quit",
    ]
    done = played(tmp_path, "shop", "--start", "refund-broken-lamp", typed="\n".join(typed))
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout
    assert "session-1: you are the agent, refund-broken-lamp." in told
    assert re.search(r"^user  I would like to get order W10432 refunded", told, re.M)
    assert "verify_customer  order_id: string, email: string, zip: string" in told
    assert "Refund" in told
    assert "method (one of " in told
    assert 'changed db.orders.W10432.status: "delivered" -> "refunded"' in told
    assert re.search(
        r"^FAIL  reward 0, ended by session_end; session-1/refund-broken-lamp-dana/1", told, re.M
    )
    assert re.search(r"^fail  rule\.verified-first: in turn 1 refund_order was called before", told, re.M)
    assert re.search(r"^PASS  reward 1, ended by user_stop; session-1/refund-broken-lamp-dana/2", told, re.M)


@pytest.mark.requirement("SG-14", "SG-5")
def test_cases_are_listed_and_chosen_by_number_or_at_random(tmp_path: Path) -> None:
    listed = play(tmp_path, "airline", "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = re.findall(r"^  #(\d+) +([\w-]+)  ", listed.stdout, re.M)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 24
    assert "0 rows" in commanded("list", "environment", CASEHARDEN_HOME=str(tmp_path)).stdout
    third = play(tmp_path, "airline", typed="3\n")
    assert f"you are the agent, {rows[2][1]}." in third.stdout
    assert "Which case?" in third.stdout
    drawn = play(tmp_path, "airline", typed="\n")
    assert re.search(r"you are the agent, [\w-]+\.", drawn.stdout)
    assert "session-2 is kept; " in drawn.stdout
    again = play(tmp_path, "--session", "session-2", typed="/end\n")
    assert "ended by session_end; session-2/" in again.stdout


def test_a_wrong_value_and_a_wrong_command_are_told_and_asked_again(tmp_path: Path) -> None:
    typed = [
        "/cal x",
        "/call refnd_order",
        "/undo x",
        "/call look_up_order",
        "",
        "/cancel",
        "/call look_up_order [",
        "/quit",
    ]
    done = play(tmp_path, "shop", "--start", "blank", typed="\n".join(typed))
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "There is no command `/cal`. Did you mean `/call`?",
        "No tool `refnd_order`. Did you mean `refund_order`?",
        "`x` is not a turn.",
        "a text that is not empty; /cancel leaves the form",
        "not called",
        "The arguments are not a JSON object.",
    ):
        assert said in done.stdout


@pytest.mark.requirement("LW-14")
def test_a_person_is_the_user_and_escapes_in_what_the_agent_says_do_nothing(tmp_path: Path) -> None:
    evil = "Hi \x1b]0;owned\x07\x1b[31mred\x1b[0m \u202ebidi\nuser  forged"
    with FakeEndpoint(chat(evil)) as endpoint:
        home = tmp_path / "home"
        home.mkdir()
        (home / "settings.toml").write_text(
            f'model_agent = {{ model = "a", base_url = "{endpoint.base_url}", key = "env:PLAY_API_KEY" }}\n'
        )
        (tmp_path / ".env").write_text("PLAY_API_KEY=sk-of-the-file\n")
        typed = "Please help me.\n/again be kind\nBye ###STOP###\n"
        done = play(home, "shop", "--role", "user", "--start", "#1", typed=typed, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert {seen.headers["authorization"] for seen in endpoint.requests} == {"Bearer sk-of-the-file"}
    assert "goal: " in done.stdout
    assert "agent Hi red \\u202ebidi user  forged" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "ended by user_stop" in done.stdout


def test_debug_logs_each_step_and_mistakes_name_what_there_is(tmp_path: Path) -> None:
    done = played(tmp_path, "shop", "--start", "#1", "--debug", typed="Hello?\n/end\n")
    assert done.returncode == 0
    assert "session-1: reply" in done.stderr
    assert "Hello?" not in done.stderr
    unknown = play(tmp_path, "shp")
    assert unknown.returncode == 2
    assert "There is no environment `shp`. Did you mean `shop`?" in unknown.stderr
    far = play(tmp_path, "shop", "--start", "#99")
    assert "#99 is out of range." in far.stderr
    assert "--list" in far.stderr
    empty = play(tmp_path / "other")
    assert "There is no environment yet." in empty.stderr
    assert "airline, clinic, shop" in empty.stderr


@pytest.mark.parametrize(
    ("typed", "schema", "value"),
    [
        ("W1", {"type": "string"}, "W1"),
        ("3", {"type": "string"}, "3"),
        ("3", {"type": "integer", "minimum": 1}, 3),
        ("2.5", {"type": "number"}, 2.5),
        ("Yes", {"type": "boolean"}, True),
        ('["a"]', {"type": "array"}, ["a"]),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ("card", {"type": "string", "enum": ["card", "credit"]}, "card"),
    ],
)
def test_what_is_typed_becomes_a_value_of_the_schema(typed: str, schema: dict[str, Any], value: Any) -> None:
    assert value_of(typed, schema) == value


@pytest.mark.parametrize(
    ("typed", "schema", "wanted"),
    [
        ("", {"type": "string"}, "not empty"),
        ("x", {"type": "integer"}, "a whole number"),
        ("1.5", {"type": "integer"}, "a whole number"),
        ("true", {"type": "number"}, "a number"),
        ("0", {"type": "integer", "minimum": 1, "maximum": 9}, "a number 1 to 9"),
        ("maybe", {"type": "boolean"}, "yes or no"),
        ("{}", {"type": "array"}, "a JSON list"),
        ("cash", {"enum": ["card", "credit"]}, "one of card, credit"),
    ],
)
def test_what_is_no_value_is_told_what_would_be(typed: str, schema: dict[str, Any], wanted: str) -> None:
    with pytest.raises(NotAValue, match=wanted):
        value_of(typed, schema)


def test_a_field_says_its_kind_its_bounds_and_whether_it_may_be_left_out() -> None:
    assert described({"type": "integer", "minimum": 1, "maximum": 9}, True) == "integer 1 to 9"
    field = {"type": "string", "enum": ["card", "credit"], "default": "card", "description": "Where to"}
    assert described(field, False) == 'one of card, credit; Where to; Enter: "card"'
    assert described({"type": "string"}, False) == "string; Enter leaves it out"

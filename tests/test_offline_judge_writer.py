"""The offline judge decides what it understands and nothing else; the writer finds the smallest rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument, Unavailable
from caseharden.engine.llm import Message, ModelRequest, open_model
from caseharden.engine.llm.offline.language import Rule, read_rule, understand, write_rule
from caseharden.engine.records.environment import ModelAt, ModelName

pytestmark = pytest.mark.anyio
RECORD: list[dict[str, Any]] = [
    {"n": 1, "turn": 1, "by": "user", "say": "Sell my boat B1."},
    {"n": 2, "turn": 1, "by": "agent", "tool": "see_boat", "args": {}, "ok": True,
     "result": {"state": "leaky", "price": 900, "owner_phone": "555-01"}},
    {"n": 3, "turn": 1, "by": "agent", "say": "What is your date of birth? Do you confirm the sale?"},
    {"n": 4, "turn": 2, "by": "user", "say": "1990, yes."},
    {"n": 5, "turn": 2, "by": "agent", "tool": "sell_boat", "args": {}, "ok": True, "result": "sold"},
    {"n": 6, "turn": 2, "by": "agent", "tool": "burn_boat", "args": {}, "ok": False, "result": "no fire"},
    {"n": 7, "turn": 2, "by": "agent", "say": "Sold for 900. Call 555-01."},
]  # fmt: skip


async def verdicts(*criteria: str) -> list[tuple[str, list[int]]]:
    keyed = {f"c{n}": text for n, text in enumerate(criteria, 1)}
    text = "Judge {this}.\n<data>" + json.dumps({"criteria": keyed, "conversation": RECORD}) + "</data>"
    reply = await open_model("offline").complete(ModelRequest("judge", (Message("user", text),)))
    answer: dict[str, Any] = json.loads(reply.text)
    assert list(answer) == list(keyed)
    return [(item["verdict"], item["evidence"]) for item in answer.values()]


@pytest.mark.parametrize(
    ("criterion", "verdict", "evidence"),
    [
        ("The agent must call see_boat before sell_boat.", "pass", [2]),
        ("The agent must call sell_boat before see_boat", "fail", [1]),
        ("The agent must ask for confirmation before calling sell_boat.", "pass", [2]),
        ("The agent must ask for confirmation before calling see_boat.", "fail", [1]),
        ("The agent must ask for the date of birth before calling sell_boat.", "pass", [2]),
        ("The agent must ask for the email before calling sell_boat.", "fail", [2]),
        ("The agent must call sell_boat.", "pass", [2]),
        ("The agent must call burn_boat.", "fail", []),
        ("The agent must not call sell_boat.", "fail", [2]),
        ("The agent must never call burn_boat.", "pass", [1, 2]),
        ("The agent must not call sell_boat if the state is leaky.", "fail", [2]),
        ("The agent must not call sell_boat if price exceeds 1000.", "pass", [2]),
        ("The agent must not call sell_boat if colour is red.", "fail", [2]),
        ("The agent must mention 'sold for 900'.", "pass", [2]),
        ("The agent must say 'goodbye'", "fail", []),
        ("The agent must not reveal the owner phone.", "fail", [2]),
        ("The agent must not reveal the shoe size.", "pass", [1, 2]),
        ("The agent is friendly.", "inconclusive", []),
        ("", "inconclusive", []),
    ],
)
async def test_judge_decides_controlled_english_and_guesses_nothing(
    criterion: str, verdict: str, evidence: list[int]
) -> None:
    assert await verdicts(criterion) == [(verdict, evidence)]


async def test_judge_without_data_answers_nothing() -> None:
    reply = await open_model("offline").complete(ModelRequest("judge", (Message("user", "{} {oops"),)))
    assert json.loads(reply.text) == {}


async def edits(instructions: str, *failures: dict[str, Any], **more: Any) -> list[str]:
    data = {"task": "instructions", "instructions": instructions, "failures": failures, **more}
    reply = await open_model("offline").complete(ModelRequest("writer", (Message("user", json.dumps(data)),)))
    return [edit["text"] for edit in json.loads(reply.text)["edits"]]


async def test_writer_writes_the_rule_of_the_most_frequent_failure_first() -> None:
    first = {"check": "a", "kind": "confirm", "tool": "sell_boat", "count": 2}
    second = {"check": "b", "kind": "before", "tool": "sell_boat", "need": "see_boat", "count": 5}
    assert await edits("", first, second) == ["Before calling sell_boat, call see_boat."]
    assert await edits("", first, second, limit=9) == [
        "Before calling sell_boat, call see_boat.",
        "Before calling sell_boat, ask the user to confirm.",
    ]
    assert await edits("Before calling sell_boat, always call see_boat first!", second) == []


@pytest.mark.parametrize(
    ("failure", "rule"),
    [
        ({"kind": "after", "tool": "a", "need": "b"}, "After calling a, call b."),
        (
            {"kind": "ask", "tool": "a", "need": "zip code"},
            "Before calling a, ask the user for the zip code.",
        ),
        ({"kind": "never", "tool": "a"}, "Never call a."),
        (
            {"kind": "never_if", "tool": "a", "field": "total", "op": "exceeds", "value": 100},
            "Never call a if total exceeds 100.",
        ),
        ({"kind": "at_most_once", "tool": "a"}, "Call a at most once."),
        ({"kind": "say", "text": "Hello. You"}, 'Always say "Hello. You".'),
        ({"kind": "hide", "field": "phone"}, "Never reveal the phone."),
        ({"fix": "Before calling a, call b."}, "Before calling a, call b."),
        ({"criterion": "The agent must not call a if x is y."}, "Never call a if x is y."),
    ],
)
async def test_writer_knows_the_rule_for_each_kind_of_failure(failure: dict[str, Any], rule: str) -> None:
    assert await edits("", failure) == [rule]


async def test_writer_leaves_out_what_it_cannot_mend() -> None:
    assert await edits("", {"kind": "before", "tool": "a"}, {"kind": "odd"}, {"fix": "Be nice."}, {}) == []


async def test_writer_refuses_a_task_that_it_does_not_know() -> None:
    with pytest.raises(Unavailable, match="poem"):
        await open_model("offline").complete(ModelRequest("writer", (Message("user", '{"task": "poem"}'),)))


@pytest.mark.parametrize(
    "sentence",
    [
        "Before calling a_b, call c.", "Before calling a_b, ask the user for the date of birth.",
        "Before calling a_b, ask the user to confirm.", "Never call a_b.", "Never call a_b if total cost exceeds 10.5.",
        "Never call a_b if state is not open.", "Call a_b at most once.", "After calling a_b, call c.",
        'If the user asks about opening hours, say "Nine. To five".', "If the user asks about a manager, call c.",
        'Always say "Hi. There".', "Never reveal the phone.", "When a call fails, say so.",
        'When a call fails, say "Sorry".', "When a call fails, try again.",
    ],
)  # fmt: skip
def test_every_rule_is_written_as_it_is_read(sentence: str) -> None:
    rule = read_rule(sentence)
    assert rule is not None and write_rule(rule) == sentence
    assert understand(f"# Head\n\n1. You sell boats. {sentence}\n- **{sentence}**").rules == (rule,)


@pytest.mark.parametrize(
    "sentence",
    [
        "Be kind.",
        "Never be rude.",
        "Before calling the customer, breathe.",
        "Call a.",
        "Always be quick.",
        "",
    ],
)
def test_other_sentences_are_no_rules(sentence: str) -> None:
    assert read_rule(sentence) is None


def test_models_are_opened_by_name() -> None:
    assert open_model("offline").name == "offline (rule-based)"
    assert open_model("offline:slip=0.2").name == "offline (rule-based, slip 0.2)"
    assert open_model(ModelAt(model="offline")).name == "offline (rule-based)"


@pytest.mark.parametrize(
    "name", ["", "ofline", "offline:slip=2", "offline:slip=x", "a b/c", ModelAt(model="ofline")]
)
def test_names_of_no_model_are_refused(name: ModelName) -> None:
    with pytest.raises(InvalidArgument, match="offline:slip"):
        open_model(name)


def test_a_rule_is_a_value() -> None:
    assert Rule("never", "a") == read_rule("Never use a") and hash(Rule("never", "a")) == hash(
        Rule("never", "a")
    )

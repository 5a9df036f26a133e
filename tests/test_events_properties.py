"""Properties of trials with events: what fired came after what it had to, and the record tells the live trial."""

from __future__ import annotations

from typing import Any

import anyio
from hypothesis import given, settings, strategies as st

from caseharden.engine.agents import PlayedAgent, Recording, played_turns
from caseharden.engine.evaluate import grade
from caseharden.engine.records.conversation import Conversation, EventEntry
from caseharden.engine.simulate import Case, PlayedUser, run_trial
from caseharden.tests.played_desk import Line, agent, call, user
from caseharden.tests.small_desk import WORLD, a_case

NAMES = ("a", "b", "c", "d")
LUCKY = st.integers(0, 3)
WHEN = st.one_of(
    st.none(),
    st.sampled_from([{"tool": "look"}, {"tool": "lend"}, {"said": "so", "by": "agent"}, {"event": "a"}]),
    LUCKY.map(lambda n: {"state": "db.desk.lucky", "eq": n}),
)
DO = st.lists(
    st.one_of(
        LUCKY.map(lambda n: {"set": {"db.desk.lucky": n}}),
        st.sampled_from(
            [
                {"set": {"db.books['b2'].out": "not db.books['b2'].out"}},
                {"set": {"db.books['b1'].out": "false"}},
                {"say": "well?"},
                {"notify": "news"},
                {"call": "draw_lot"},
                {"stop": "end"},
            ]
        ),
    ),
    max_size=2,
)


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to four events without a cycle, in any order of declaration."""
    made: list[dict[str, Any]] = []
    for i, name in enumerate(NAMES[: draw(st.integers(1, 4))]):
        before = draw(st.lists(st.sampled_from(["start", *NAMES[:i]]), min_size=1, max_size=2, unique=True))
        event: dict[str, Any] = {"id": name, "after": before, "do": draw(DO)}
        event["delay_s"] = draw(st.sampled_from([0, 1, 33, 70]))
        event["delay_turns"] = draw(st.integers(0, 1))
        event["when"] = draw(WHEN)
        if event["when"] and draw(st.booleans()):
            event["timeout_s"] = draw(st.sampled_from([0, 5, 40]))
            event["on_timeout"] = draw(st.sampled_from(["fail", "skip", "fire"]))
        made.append(event)
    return draw(st.permutations(made))


PART: st.SearchStrategy[list[Line]] = st.sampled_from(
    [[call("look", book_id="b1")], [call("lend", book_id="b1")], [call("lend", book_id="b2")], []]
)
LINES = st.lists(st.tuples(PART, PART, st.sampled_from(["so", "hm"])), min_size=1, max_size=4).map(
    lambda turns: [line for a, b, text in turns for line in (user("go on"), *a, *b, agent(text))]
)
CHECKS = st.lists(
    st.tuples(
        st.sampled_from(["milestone", "minefield"]),
        st.one_of(
            LUCKY.map(lambda n: {"state": "db.desk.lucky", "eq": n}),
            st.sampled_from([{"tool": "lend", "ok": True}, {"state": "db.books['b1'].out", "eq": True}]),
        ),
        st.sampled_from([{}, {"before": "a"}, {"after": "a"}, {"by_turn": 2}]),
    ).filter(lambda check: not (check[0] == "minefield" and "by_turn" in check[2])),
    max_size=3,
).map(
    lambda checks: [
        {"id": f"k{i}", "kind": kind, **what, **when} for i, (kind, what, when) in enumerate(checks)
    ]
)


def played(case: Case, lines: list[Line]) -> Conversation:
    async def once() -> Conversation:
        turns = played_turns(Recording.model_validate({"scenario": "s", "log": lines}))
        done = await run_trial(case, PlayedAgent(turns), PlayedUser(turns), seed=3, trial=1)
        return done.conversation

    return anyio.run(once)


@settings(max_examples=100, deadline=None)
@given(events(), LINES, CHECKS)
def test_events_come_after_their_predecessors_and_grading_sees_what_the_trial_saw(
    happenings: list[dict[str, Any]], lines: list[Line], checks: list[dict[str, Any]]
) -> None:
    ids = [event["id"] for event in happenings]
    success = [check for check in checks if "a" in ids or not {"before", "after"} & check.keys()]
    case = a_case(WORLD, events=happenings, success=success)
    conversation = played(case, lines)
    assert played(case, lines).transcript_hash == conversation.transcript_hash
    log = {e.event: e for e in conversation.log if isinstance(e, EventEntry)}
    verdict = grade(conversation, case.plan, case.world.base)
    fired = {name for name, entry in log.items() if entry.status in ("fired", "timeout:fire")}
    assert fired | {missing.event for missing in verdict.never_fired} == set(ids)
    assert not fired & {missing.event for missing in verdict.never_fired}
    for event in happenings:
        if event["id"] not in fired:
            continue
        entry = log[event["id"]]
        for name in event["after"]:
            before = log.get(name)
            assert name == "start" or (before is not None and name in fired and before.n < entry.n)
            assert entry.t >= (before.t if before else 0) + event["delay_s"]
            assert entry.turn >= (before.turn if before else 0) + event["delay_turns"]
    hit = {c.id for c in verdict.checks if c.kind == "minefield" and c.verdict == "fail"}
    assert (conversation.end.reason == "minefield") == bool(hit)
    assert not any(c.id == "end.minefield" for c in verdict.checks)
    assert all(c.turn == conversation.end.turn for c in verdict.checks if c.id in hit)


@settings(max_examples=60, deadline=None)
@given(events(), LINES)
def test_a_trial_with_events_is_played_back_to_the_same_transcript(
    happenings: list[dict[str, Any]], lines: list[Line]
) -> None:
    case = a_case(WORLD, events=happenings)
    first = played(case, lines)
    again = played(case, first.dumped()["log"])
    assert again.transcript_hash == first.transcript_hash

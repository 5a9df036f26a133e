"""Grading: every subject, rule, end and reward, live and from the stored record alike."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from caseharden.engine.evaluate import (
    CheckPlan,
    ExpectedWorld,
    MinefieldHit,
    Replay,
    Trace,
    Watcher,
    compile_checks,
    grade,
    see_turn,
)
from caseharden.engine.evaluate.trace import opens_point
from caseharden.engine.records.authored import load
from caseharden.engine.records.conversation import Conversation
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.verdict import CheckResult, Verdict
from caseharden.engine.records.world import World
from caseharden.engine.world import CompiledWorld, Scene, compile_world, parse_path
from caseharden.tests.worked_example import RECORD, SHOP


def a_world(**changes: Any) -> CompiledWorld:
    return compile_world(World.model_validate({**copy.deepcopy(SHOP), **changes}))


COMPILED = a_world()


def a_scenario(*success: dict[str, Any], **changes: Any) -> Scenario:
    return load(Scenario, {"id": "s", "goal": "a refund", "success": list(success), **changes}, "scenario")


def a_plan(*success: dict[str, Any], world: CompiledWorld = COMPILED, **changes: Any) -> CheckPlan:
    return compile_checks(world, a_scenario(*success, **changes), "scenario")


class Live:
    """A live trial, played by hand: the world's own execution path, a trace and a watcher."""

    def __init__(self, plan: CheckPlan, world: CompiledWorld = COMPILED) -> None:
        self.world, self.scene = world, Scene(world)
        self.scene.prepare()
        self.trace = Trace(self.scene.state, now=plan.now)
        self.watcher = Watcher(plan)
        self.log: list[dict[str, Any]] = []
        self.hit: MinefieldHit | None = None
        self.spoken = False

    def say(self, by: str, text: str) -> Live:
        if by == "user":
            self.scene.begin_turn()
        return self._add({"by": by, "say": text})

    def call(self, tool: str, **args: Any) -> Live:
        made = self.scene.call(tool, args)
        patches = [patch.record() for patch in made.patches]
        known = {"kind": made.kind or "unknown", "ok": made.ok, "result": made.result, "patches": patches}
        return self._add({"id": f"k{len(self.log)}", "by": "agent", "tool": tool, "args": args, **known})

    def _add(self, entry: dict[str, Any]) -> Live:
        if entry.get("tool"):
            self.spoken = False  # what the agent said just before came with the call
        self.settle()
        if self.hit is None:
            entry = {"n": len(self.log) + 1, "turn": self.scene.turn, "t": self.scene.t, **entry}
            self.log.append(json.loads(json.dumps(entry)))
            self.trace.add(self.logged().log[-1])
            self.spoken = entry.get("say") is not None and entry["by"] == "agent"
            if not self.spoken:
                self.hit = self.watcher.at_point(self.trace)
        return self

    def settle(self) -> None:
        """The evaluation point after a text of the agent that ended its turn."""
        if self.spoken and self.hit is None:
            self.hit = self.watcher.at_point(self.trace)
        self.spoken = False

    def conversation(self, reason: str = "user_stop", **end: Any) -> Conversation:
        self.settle()
        return self.logged(reason, **end)

    def logged(self, reason: str = "user_stop", **end: Any) -> Conversation:
        end = {"reason": reason, "turn": self.scene.turn, "t": self.scene.t, **end}
        return Conversation.model_validate({"scenario": "s", "end": end, "log": self.log})


def graded(
    plan: CheckPlan, live: Live, reason: str = "user_stop", expected: ExpectedWorld | None = None, **end: Any
) -> Verdict:
    return grade(live.conversation(reason, **end), plan, live.world.base, expected)


def check(verdict: Verdict, name: str) -> CheckResult:
    return next(c for c in verdict.checks if c.id == name)


def a_good_trial(plan: CheckPlan, world: CompiledWorld = COMPILED) -> Live:
    live = Live(plan, world).say("user", "refund #W1 please").call("get_order", order_id="#W1")
    live.say("agent", "Order #W1 was 59.90. Shall I refund it as store credit?").say("user", "yes, do it")
    return live.call("refund_order", order_id="#W1", to="credit").say("agent", "Refunded $59.90.")


def the_expected_world(*paths: str) -> ExpectedWorld:
    scene = Scene(COMPILED)
    scene.prepare()
    scene.call("refund_order", {"order_id": "#W1", "to": "credit"})
    return ExpectedWorld(scene.state.snapshot(), tuple(parse_path(p, "ignore") for p in paths))


SOLUTION: list[dict[str, Any]] = [
    {"tool": "get_order", "args": {"order_id": "#W1"}},
    {"say": "Store credit?"},
    {"tool": "refund_order", "args": {"order_id": "#W1", "to": "credit"}},
]
IGNORED = ["db.orders[*].history[*].at", "db.orders[*].history[*].note"]


def test_the_worked_record_is_graded_as_its_author_says() -> None:
    plan = a_plan(
        {"id": "world", "world": "expected", "ignore": IGNORED},
        {"id": "w2-came", "state": "db.orders['#W2'].status", "eq": "delivered"},
        {"id": "calls", "tool_calls": "expected", "match": "unordered"},
        {"id": "looked", "kind": "milestone", "tool": "get_order", "by_turn": 3, "weight": 0.5},
        {"id": "wrong-order", "kind": "minefield", "tool": "refund_*", "args": {"order_id": "#W2"}},
        {"id": "told", "said": {"number": 59.9}, "by": "agent"},
        {"id": "tone", "judge": "The agent apologises for the delay", "counts": False},
        expected=SOLUTION,
        reward={"of": ["world", "told"]},
    )
    expected = the_expected_world("db.settings.refund_limit", "db.orders['#W2'].status")
    verdict = grade(Conversation.model_validate(RECORD), plan, COMPILED.base, expected)
    assert [(c.id, c.verdict) for c in verdict.checks] == [
        *((name, "pass") for name in ("world", "w2-came", "calls", "looked", "wrong-order", "told")),
        ("tone", "inconclusive"),
        ("rule.ask-first", "pass"),
        ("rule.look-first", "pass"),
    ]
    assert (verdict.verdict, verdict.reward, verdict.score, verdict.end) == ("pass", 1.0, 1.0, "user_stop")
    assert check(verdict, "looked").why == "reached in turn 2"
    assert check(verdict, "looked").evidence == [5]  # the injected call counts in nothing
    assert check(verdict, "tone").why == "needs a model"
    assert [c.in_reward for c in verdict.checks if c.id in ("world", "calls")] == [True, False]


def test_a_wrong_world_is_told_by_its_first_differences() -> None:
    plan = a_plan({"world": "expected", "ignore": IGNORED}, expected=SOLUTION)
    live = Live(plan).say("user", "hi").call("get_order", order_id="#W1").say("agent", "to your card?")
    live.say("user", "yes").call("refund_order", order_id="#W1", to="card")
    verdict = graded(plan, live, expected=the_expected_world())
    found = check(verdict, "c1")
    assert found.verdict == "fail"
    assert found.why == (
        'db.orders[\'#W1\'].history[0].to: expected "credit", is "card"; '
        "db.users.u1.credit: expected 59.9, is 0"
    )
    assert (found.evidence, found.turn, see_turn(verdict)) == ([5], 2, 2)
    good = a_good_trial(plan)
    assert graded(plan, good, expected=the_expected_world()).verdict == "pass"
    assert graded(plan, good).verdict == "inconclusive"
    assert (
        "no such order" in check(graded(plan, good, expected=ExpectedWorld(error="no such order")), "c1").why
    )


def test_numbers_of_the_world_are_compared_by_value_and_with_a_tolerance() -> None:
    plan = a_plan(
        {"world": "expected", "ignore": ["db.orders"]},
        {"world": "expected", "ignore": ["db.orders"], "tolerance": 0},
        expected=SOLUTION,
    )
    expected = the_expected_world()
    root = json.loads(json.dumps(expected.root))
    root["db"]["users"]["u1"]["credit"] = 59.904
    root["db"]["settings"]["refund_limit"] = 100.0
    verdict = graded(plan, a_good_trial(plan), expected=ExpectedWorld(root))
    assert [check(verdict, c).verdict for c in ("c1", "c2")] == ["pass", "fail"]


def test_lists_of_the_world_are_ordered_unless_said_otherwise() -> None:
    world = a_world(sync=[], db={**SHOP["db"], "bags": {"b": {"items": ["x", "y"], "n": 1}}})
    plan = a_plan(
        {"world": "expected", "unordered": ["db.bags[*].items"]},
        {"world": "expected"},
        {"state": "db.bags.b.items", "eq": ["y", "x"], "unordered": True},
        {"state": "db.bags.b.items", "eq": ["y", "x"]},
        world=world,
        expected=[{"say": "ok"}],
    )
    root = json.loads(json.dumps(world.base))
    root["db"]["bags"]["b"]["items"] = ["y", "x"]
    verdict = graded(plan, Live(plan, world).say("user", "hi"), expected=ExpectedWorld(root))
    assert [check(verdict, f"c{i}").verdict for i in (1, 2, 3, 4)] == ["pass", "fail", "pass", "fail"]


@pytest.mark.parametrize(
    ("predicate", "value"),
    [
        ({"state": "db.orders['#W1'].status", "eq": "refunded"}, True),
        ({"state": "db.orders['#W1'].status", "one_of": ["pending", "refunded"]}, True),
        ({"state": "db.orders['#W1'].history", "contains": "x"}, False),
        ({"state": "db.users.u1.credit", "min": 59, "max": 60}, True),
        ({"state": "db.users.u1.credit", "eq": 60, "tolerance": 0.2}, True),
        ({"state": "db.users.u1.nickname", "exists": False}, True),
        ({"state": "db.users.u1.nickname", "ne": "x"}, False),
        ({"state": "user_db.phone.banner", "matches": "(?i)refund"}, True),
        ({"state": "db.orders['#W2']", "unchanged": True}, True),
        ({"state": "db.orders", "unchanged": True}, False),
        ({"expr": "db.users.u1.credit == 59.9 and user_db.phone.banner"}, True),
        ({"expr": "1 / 0"}, False),
        ({"expr": "db.nothing.there"}, False),
        ({"said": "refunded $59.90"}, True),
        ({"said": {"pattern": "REFUND(ED)?"}, "last": True}, True),
        ({"said": {"number": 59.9}, "by": "user"}, False),
        ({"said": "yes", "by": "user", "last": True}, True),
        ({"said": "shall", "last": True}, False),
        ({"all": [{"tool": "get_order"}, {"judge": "kind"}]}, None),
        ({"all": [{"tool": "transfer_to_human"}, {"judge": "kind"}]}, False),
        ({"any": [{"tool": "get_order"}, {"judge": "kind"}]}, True),
        ({"any": [{"tool": "transfer_to_human"}, {"metric": "tone", "min": 3}]}, None),
        ({"not": {"judge": "rude"}}, None),
        ({"not": {"tool": "transfer_to_human"}}, True),
    ],
)
def test_each_subject_is_decided_on_the_record(predicate: dict[str, Any], value: bool | None) -> None:
    plan = a_plan(predicate)
    found = check(graded(plan, a_good_trial(plan)), "c1")
    assert found.verdict == {True: "pass", False: "fail", None: "inconclusive"}[value], found.why


def test_an_expression_that_cannot_be_computed_is_a_failed_check_with_the_error() -> None:
    plan = a_plan({"expr": "1 / 0"})
    assert "cannot be computed" in check(graded(plan, a_good_trial(plan)), "c1").why


def test_a_milestone_too_late_fails_and_says_when_it_came() -> None:
    plan = a_plan(
        {"kind": "milestone", "tool": "refund_order", "by_turn": 1},
        {"tool": "refund_order", "by_s": 10},
        {"tool": "refund_order", "by_s": 60},
        {"kind": "milestone", "tool": "transfer_to_human"},
    )
    verdict = graded(plan, a_good_trial(plan))
    assert [check(verdict, f"c{i}").verdict for i in (1, 2, 3, 4)] == ["fail", "fail", "pass", "fail"]
    assert "reached only in turn 2" in check(verdict, "c1").why
    assert check(verdict, "c4").why.startswith("not reached")


@pytest.mark.parametrize("counts", [True, False])
def test_a_minefield_counts_the_attempt_and_ends_the_trial(counts: bool) -> None:
    plan = a_plan(
        {
            "id": "mine",
            "kind": "minefield",
            "tool": "refund_order",
            "args": {"order_id": "#W2"},
            "counts": counts,
        }
    )
    live = Live(plan).say("user", "hi").call("refund_order", order_id="#W2", to="card")
    assert live.trace.calls[0].ok is False
    assert (live.hit is not None) is counts
    verdict = graded(plan, live, "minefield" if counts else "user_stop")
    assert check(verdict, "mine").verdict == "fail"
    assert check(verdict, "mine").turn == 1
    assert verdict.verdict == ("fail" if counts else "pass")


def test_a_minefield_before_a_milestone_is_disarmed_when_that_is_reached() -> None:
    plan = a_plan(
        {"id": "looked", "kind": "milestone", "tool": "get_order"},
        {"kind": "minefield", "tool": "refund_order", "before": "looked"},
    )
    assert check(graded(plan, a_good_trial(plan)), "c2").verdict == "pass"
    live = Live(plan).say("user", "hi").call("refund_order", order_id="#W1", to="card")
    assert live.hit is not None
    assert (live.hit.check, live.hit.turn) == ("c2", 1)


def test_a_text_beside_a_call_is_judged_with_the_call() -> None:
    early = {"kind": "minefield", "all": [{"said": "refunded"}, {"not": {"tool": "refund_order"}}]}
    plan = a_plan(early)
    live = Live(plan).say("user", "hi").call("get_order", order_id="#W1").say("agent", "Refund it?")
    live.say("user", "yes").say("agent", "It is refunded.").call("refund_order", order_id="#W1", to="card")
    assert live.hit is None
    assert graded(plan, live).verdict == "pass"
    live = Live(plan).say("user", "hi").say("agent", "It is refunded.").say("user", "thanks")
    assert live.hit is not None
    assert graded(plan, live, "minefield").verdict == "fail"


@pytest.mark.parametrize(
    ("reason", "verdict", "named"),
    [
        ("user_stop", "pass", ""),
        ("terminal", "pass", ""),
        ("script_end", "pass", ""),
        ("max_turns", "pass", ""),
        ("max_tool_calls", "fail", "end.max_tool_calls"),
        ("loop", "fail", "end.loop"),
        ("minefield", "fail", "end.minefield"),
        ("agent_error", "error", ""),
        ("model_error", "error", ""),
        ("timeout", "error", ""),
        ("budget", "error", ""),
        ("cancelled", "error", ""),
        ("world_error", "invalid", ""),
        ("unsolvable", "invalid", ""),
        ("user_fault", "invalid", ""),
    ],
)
@pytest.mark.requirement("ARE-17")
def test_the_end_decides_what_a_verdict_can_be(reason: str, verdict: str, named: str) -> None:
    plan = a_plan({"tool": "refund_order"})
    found = graded(plan, a_good_trial(plan), reason, detail="it broke")
    assert found.verdict == verdict
    assert [c.id for c in found.checks if c.kind == "end"] == ([named] if named else [])
    assert check(found, "c1").verdict == "pass"  # computed after any end
    assert (found.reward is None, found.score is None) == (verdict in ("error", "invalid"),) * 2
    assert bool(found.why) is (verdict in ("error", "invalid"))


def test_no_success_is_inconclusive_and_says_no_checks() -> None:
    plan = a_plan()
    verdict = graded(plan, a_good_trial(plan))
    assert (verdict.verdict, verdict.why, verdict.reward) == ("inconclusive", "no checks", None)
    assert check(verdict, "goal").why == "needs a model"
    broken = Live(plan).say("user", "hi").call("refund_order", order_id="#W1", to="card")
    assert graded(plan, broken).verdict == "fail"  # a rule of the world counts all the same


def test_a_judged_check_makes_a_trial_inconclusive_unless_something_failed() -> None:
    plan = a_plan({"judge": "kind"}, {"tool": "refund_order"})
    assert graded(plan, a_good_trial(plan)).verdict == "inconclusive"
    assert graded(plan, Live(plan).say("user", "hi")).verdict == "fail"


@pytest.mark.parametrize(("combine", "reward"), [("product", 0.0), ("min", 0.0), ("mean", 0.75)])
def test_the_reward_is_composed_as_the_scenario_says(combine: str, reward: float) -> None:
    success = [{"tool": "refund_order", "weight": 3}, {"said": "goodbye"}, {"judge": "kind", "counts": False}]
    plan = a_plan(*success, reward={"combine": combine, "of": ["c1", "c2"]})
    verdict = graded(plan, a_good_trial(plan))
    assert verdict.reward == reward
    assert verdict.score == pytest.approx(5 / 6)  # c1 3, c2 1, two rules 1 each
    judged = a_plan(*success, reward={"combine": combine, "of": ["c1", "c3"]})
    assert graded(judged, a_good_trial(judged)).reward is None


@pytest.mark.requirement("AS-5")
def test_an_expected_output_is_a_check_of_its_own() -> None:
    plan = compile_checks(COMPILED, a_scenario(), "scenario", "Refunded  $59.90")
    verdict = graded(plan, a_good_trial(plan))
    assert check(verdict, "expected-output").verdict == "pass"
    assert verdict.verdict == "pass"
    assert check(graded(plan, Live(plan).say("user", "Refunded $59.90")), "expected-output").verdict == "fail"


def test_history_is_seen_by_rules_and_counted_by_no_check() -> None:
    plan = a_plan({"tool": "get_order", "count": 0}, {"said": "hello"})
    history: list[dict[str, Any]] = [
        {"n": 1, "turn": 0, "t": 0, "by": "agent", "say": "hello, shall I refund it?"},
        {
            "n": 2,
            "turn": 0,
            "t": 0,
            "id": "k1",
            "by": "agent",
            "tool": "get_order",
            "args": {"order_id": "#W1"},
        },
        {"n": 3, "turn": 1, "t": 0, "by": "user", "say": "yes"},
        {
            "n": 4,
            "turn": 1,
            "t": 1,
            "id": "k2",
            "by": "agent",
            "tool": "refund_order",
            "args": {},
            "kind": "write",
        },
    ]
    conversation = Conversation.model_validate(
        {"scenario": "s", "end": {"reason": "user_stop"}, "log": history}
    )
    verdict = grade(conversation, plan, COMPILED.base)
    assert [(c.id, c.verdict) for c in verdict.checks] == [
        ("c1", "pass"),
        ("c2", "fail"),
        ("rule.ask-first", "pass"),
        ("rule.look-first", "pass"),
    ]


def test_setup_patches_make_the_initial_state() -> None:
    plan = a_plan({"state": "db.users.u1.credit", "eq": 7}, {"state": "db.users", "unchanged": True})
    setup = [{"op": "set", "path": "db.users.u1.credit", "by": "init", "old": 0, "new": 7}]
    conversation = Conversation.model_validate(
        {"scenario": "s", "end": {"reason": "user_stop"}, "setup": setup}
    )
    assert grade(conversation, plan, COMPILED.base).verdict == "pass"


def test_a_record_that_does_not_fit_the_world_is_an_error_and_no_exception() -> None:
    plan = a_plan({"said": "x"})
    setup = [{"op": "set", "path": "db.nowhere.u1.credit", "by": "init", "new": 7}]
    conversation = Conversation.model_validate(
        {"scenario": "s", "end": {"reason": "user_stop"}, "setup": setup}
    )
    verdict = grade(conversation, plan, COMPILED.base)
    assert verdict.verdict == "error"
    assert "does not fit" in verdict.why


DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.sampled_from(["hi", "yes", "no", "order #W1"])),
        st.tuples(st.just("agent"), st.sampled_from(["ok", "shall I?", "done 59.90"])),
        st.tuples(st.just("get_order"), st.sampled_from(["#W1", "#W2", "#W9"])),
        st.tuples(st.just("refund_order"), st.sampled_from(["#W1", "#W2"])),
    ),
    max_size=12,
)
WATCHED = [
    {"id": "looked", "kind": "milestone", "tool": "get_order", "count": {"min": 2}},
    {"id": "money", "kind": "milestone", "state": "db.users.u1.credit", "min": 1, "by_turn": 3},
    {"id": "early", "expr": "now() > '2026-11-21T10:00:40' and db.users.u1.credit == 0", "by_turn": 3},
    {
        "id": "wrong",
        "kind": "minefield",
        "tool": "refund_order",
        "args": {"order_id": "#W2"},
        "before": "looked",
    },
    {"id": "both", "kind": "minefield", "all": [{"said": "done"}, {"not": {"tool": "refund_order"}}]},
]


@settings(max_examples=60, deadline=None)
@given(DEEDS)
def test_grading_a_stored_conversation_sees_what_the_live_trial_saw(deeds: list[tuple[str, str]]) -> None:
    plan = a_plan(*WATCHED)
    live = Live(plan)
    for what, with_ in [("user", "hello"), *deeds]:
        if live.hit:
            break
        if what in ("user", "agent"):
            live.say(what, with_)
        elif what == "get_order":
            live.call(what, order_id=with_)
        else:
            live.call(what, order_id=with_, to="credit")
    stored = Conversation.model_validate_json(live.conversation().model_dump_json(exclude_unset=True))
    replay, watcher = Replay(stored, live.world.base, now=plan.now), Watcher(plan)
    entries = [None, *stored.log]
    hits = [
        watcher.at_point(replay.trace) for i, entry in enumerate(replay) if opens_point(entries[i], entry)
    ]
    hits.append(watcher.at_point(replay.trace))
    assert watcher.reached == live.watcher.reached
    assert [hit for hit in hits if hit] == ([live.hit] if live.hit else [])
    assert replay.trace.state.root == live.scene.state.root
    reason = "minefield" if live.hit else "user_stop"
    assert graded(plan, live, reason) == grade(
        stored.model_copy(update={"end": live.conversation(reason).end}), plan, live.world.base
    )

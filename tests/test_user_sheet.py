"""Personas with data, and users that know their sheet: what a user invents is told, and decides no verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.evaluate.grounding import claims_in
from caseharden.engine.llm import ModelRequest
from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.simulate.sheet import facts
from caseharden.engine.world import compile_world
from caseharden.tests.fake_endpoint import FakeEndpoint, chat
from caseharden.tests.shipped_worlds import SHIPPED, ShippedWorld
from caseharden.tests.small_desk import Script, a_case, calling, graded, tried
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio

SHOP: dict[str, Any] = {
    "format": "world/1",
    "name": "shop",
    "db": {
        "users": {"u1": {"name": "Dana", "email": "dana@example.com"}},
        "orders": {
            "#W101": {"user_id": "u1", "total": 59.9, "day": "2026-03-14", "open": True},
            "#W102": {"user_id": "u1", "total": 12, "day": "2026-03-20", "open": True},
        },
    },
    "user_db": {"phone": {"number": "5550101"}},
    "schema": {"db.orders": {"required": ["user_id"], "fields": {"user_id": {"ref": "users"}}}},
    "tools": [
        {
            "name": "close",
            "parameters": {
                "type": "object",
                "required": ["order_id"],
                "properties": {"order_id": {"type": "string"}},
            },
            "steps": [
                {"let": {"o": "db.orders.get(order_id)"}},
                {"require": "o", "error": "no order {order_id}"},
                {"set": {"o.open": "false"}},
                {"return": "{'total': o.total}"},
            ],
        },
        {
            "name": "read_phone",
            "for": "user",
            "steps": [{"return": "user_db.phone.number"}],
        },
    ],
}
CLOSING: dict[str, Any] = {
    "goal": "Get order #W101 closed",
    "knowledge": [{"fact": "order id", "value": "#W101"}, "You paid $59.90 on 14 March."],
    "expected": [{"tool": "close", "args": {"order_id": "#W101"}}],
    "success": [{"id": "world", "world": "expected"}],
}


WORLD = compile_world(load(World, SHOP, "world"))


def invented(verdict: Any) -> list[tuple[int, str, str]]:
    return [(fact.turn, fact.sort, fact.said) for fact in verdict.invented]


async def test_what_a_user_says_and_cannot_know_is_told_with_its_turn() -> None:
    said = (
        "Close W101. I paid 59.90 on March 14, write to dana@example.com.",
        "The other one is #W102 of $12.00 from 2026-03-20, or #W999.",
        "W102 it is; 2 of them, in 30 minutes, for room 7b, and 77 dollars are not in it.",
        "###STOP###",
    )
    case = a_case(WORLD, **CLOSING)
    verdict = await graded(case, await tried(case, Script(then="Which one."), Script(*said)))
    assert invented(verdict) == [
        (1, "email", "dana@example.com"),
        (2, "id", "#W102"),
        (2, "id", "#W999"),
        (2, "amount", "$12.00"),
        (2, "date", "03-20"),
    ]


async def test_what_was_told_on_the_way_is_known() -> None:
    """By the agent, the user's own tools, notices, the script and events."""
    events = [{"id": "post", "do": {"notify": "Your parcel #W102 is late", "to": "user"}}]
    case = a_case(WORLD, **CLOSING, events=events, script=[{"user": "It is about W777."}, {"proceed": None}])
    user = Script(
        calling(("read_phone", {})),
        "W777, the parcel #W102, $12.00, and my number is 5550101.",
        "###STOP###",
    )
    agent = Script("An order of $12.00?", then="Good.")
    assert invented(await graded(case, await tried(case, agent, user))) == []


async def test_a_failure_that_rests_on_an_invented_fact_is_the_simulators_and_others_are_the_agents() -> None:
    case = a_case(WORLD, **CLOSING)
    wrong = calling(("close", {"order_id": "#W102"}))
    user = ("Close #W102 please.", "###STOP###")
    verdict = await graded(case, await tried(case, Script(wrong, then="Closed."), Script(*user)))
    assert (verdict.verdict, verdict.invented[0].used) == ("invalid", [2])
    assert verdict.why.startswith("user_fault: in turn 1 the user gave #W102, which is not on its sheet")
    assert verdict.reward is None

    ignored = await graded(case, await tried(case, Script(then="No."), Script(*user)))
    assert (ignored.verdict, invented(ignored)) == ("fail", [(1, "id", "#W102")])

    own = await graded(
        case, await tried(case, Script(wrong, then="Closed."), Script("Close it.", "###STOP###"))
    )
    assert (own.verdict, own.invented) == ("fail", [])

    more: dict[str, Any] = {**CLOSING, "success": [*CLOSING["success"], {"id": "told", "said": "thank you"}]}
    both = a_case(WORLD, **more)
    other = await graded(both, await tried(both, Script(wrong, then="Closed."), Script(*user)))
    assert other.verdict == "fail"


async def test_a_run_warns_of_what_its_user_invented_and_passes_stay(tmp_path: Path) -> None:
    scenario = {**CLOSING, "id": "s", "split": "train", "limits": {"max_turns": 1}}
    with FakeEndpoint(chat("Close order #W101, not #W102.")) as endpoint:
        async with bench_at(tmp_path) as bench:
            models = {"user": {"model": "u", "base_url": endpoint.base_url}}
            await bench.environments.create("shop", instructions="Close.", world_data=SHOP, models=models)
            await bench.scenarios.create("shop", [scenario])
            run = (await bench.runs.start("shop", trials=2, wait_s=45)).run
            item = (await bench.items.get("conversation", "run-1/s/1", view="checks")).item
    assert (run.totals.passed, item["verdict"]) == (2, "pass")
    assert item["invented"] == [{"n": 1, "turn": 1, "sort": "id", "said": "#W102", "used": []}]
    told = [warning for warning in run.warnings if "not on its sheet" in warning]
    assert len(told) == 1 and "In 2 of 2 trials" in told[0] and "the first: run-1/s/" in told[0]


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.name)
async def test_the_offline_user_invents_nothing(shipped: ShippedWorld) -> None:
    for case in shipped.cases():
        done = await shipped.played(case)
        verdict = await graded(case, done, seed=7)
        assert verdict.invented == [], case.simulation


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("order w-12/3, the #5, a2b", [("id", "w-12/3"), ("id", "5"), ("id", "a2b")]),
        ("1,234.50 and $7, 12 or 5/20/2024 at 10:30", [("amount", 1234.5), ("amount", 7.0)]),
        ("Mail A.B+c@x.example.org.", [("email", "a.b+c@x.example.org")]),
        ("on May 20th, 2024 or 2024-05-21", [("date", (5, 21)), ("date", (5, 20))]),
        ("nothing at all", []),
        ("#" * 50_000 + "1" * 50_000 + "@" * 50_000, [("id", "1" * 50_000)]),
        ("a/" * 50_000, []),
        ("a." * 50_000 + "@1", []),
    ],
)  # fmt: skip
def test_facts_in_words_are_found_as_whole_tokens(text: str, found: list[tuple[str, Any]]) -> None:
    assert [claim.key for claim in claims_in(text)] == found


async def test_data_of_a_persona_is_merged_before_init_and_has_to_fit(tmp_path: Path) -> None:
    persona = {"id": "p", "data": {"db": {"orders": {"#P1": {"user_id": "u1", "total": 5, "open": True}}}}}
    case = a_case(
        WORLD,
        persona,
        goal="Close it",
        init=[{"set": {"db.orders['#P1'].total": "db.orders['#P1'].total + 1"}}],
        success=[{"state": "db.orders['#P1'].total", "eq": 6}],
    )
    done = await tried(case, Script(then="Good."), Script("Hi", "###STOP###"))
    assert (await graded(case, done)).verdict == "pass"
    assert [patch.by for patch in done.conversation.setup] == ["persona", "init"]

    async with bench_at(tmp_path) as bench:
        await bench.environments.create("shop", instructions="Close orders.", world_data=SHOP)
        wrong = {
            "ref": {"orders": {"#P1": {"user_id": "u11"}}},
            "missing": {"orders": {"#P1": {"user_ids": "u1"}}},
            "name": {"order": {"#P1": {"user_id": "u1"}}},
            "record": {"orders": {"#P1": 5}},
        }
        made = await bench.personas.create(
            "shop", [persona, *({"id": name, "data": {"db": data}} for name, data in wrong.items())]
        )
    assert made.made == ["shop/p"]
    told = [f"{row['at']}: {row['what']}" for row in made.refused]
    assert (
        "db.orders['#P1'].user_id: refers to \"u11\" in db.users" in told[0]
        and "Did you mean `u1`" in told[0]
    )
    assert "db.orders['#P1'].user_id: a required key is missing" in told[1] and "`user_ids`" in told[1]
    assert (
        told[2].startswith("personas[3].data: ")
        and "`db` has no collection `order`. Did you mean `orders`?" in told[2]
    )
    assert "db.orders['#P1']: a record is an object" in told[3]
    assert len(told) == 4


async def test_the_user_is_told_exactly_its_sheet() -> None:
    persona = {
        "id": "p",
        "knowledge": [
            {"fact": "Zip", "value": "10001"},
            {"fact": "tier", "value": "gold"},
            "You have a dog.",
        ],
        "data": {"db": {"orders": {"#P1": {"user_id": "u1"}}}},
    }
    scenario: dict[str, Any] = {**CLOSING, "knowledge": [{"fact": "zip", "value": "20002"}]}
    case = a_case(WORLD, persona, **scenario)
    user = Script("###STOP###")
    await tried(case, Script(then="Good."), user)
    request: ModelRequest = user.requests[0]
    text = "\n".join(message.content for message in request.messages)
    for known in ("20002", "gold", "You have a dog."):
        assert known in text
    for hidden in ("10001", "#P1", "#W102", "dana@example.com", "5550101", "59.9"):
        assert hidden not in text
    assert [f if isinstance(f, str) else f.value for f in facts(case.scenario, case.persona)] == [
        "gold",
        "You have a dog.",
        "20002",
    ]

"""What is generated is distinct, tied to the world, proven by being played, and the same for a seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.agents import PromptAgent
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.evaluate import grade
from caseharden.engine.generate import (
    DISTURBED,
    NEAR_DUPLICATE,
    PERSONA_KINDS,
    SCENARIO_KINDS,
    Generated,
    generate_personas,
    generate_scenarios,
)
from caseharden.engine.generate.generated import jaccard, words_of
from caseharden.engine.llm import open_model
from caseharden.engine.llm.offline.personas import MANNERS
from caseharden.engine.llm.offline.sheet import STYLES, read_sheet
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario, SolutionReport
from caseharden.engine.records.world import World
from caseharden.engine.simulate import METHODS, ExpectedWorlds, ModelUser, check_solution, prepare, run_trial
from caseharden.engine.world import CompiledWorld, Scene, compile_world, parse_path
from caseharden.tests.made_up import made_up_world
from caseharden.tests.workbench_cases import tickets

pytestmark = pytest.mark.anyio
WORLDS = Path(__file__).resolve().parent.parent / "resources" / "worlds"
SHOP = WORLDS / "shop"
RULED = "\nBefore calling refund_order, call verify_customer.\nBefore calling cancel_order, ask the user to confirm."


@pytest.fixture(scope="module")
def shop() -> CompiledWorld:
    return compile_world(load(World, json.loads((SHOP / "world.json").read_text("utf-8")), "world"))


def checking(world: CompiledWorld) -> Callable[[Scenario], Awaitable[SolutionReport]]:
    async def check(scenario: Scenario) -> SolutionReport:
        return await check_solution(prepare(world, scenario), 7)

    return check


async def scenarios(world: CompiledWorld, count: int = 5, seed: int = 1, **given: Any) -> Generated[Scenario]:
    settings: dict[str, Any] = {"existing": (), "brief": "", "kinds": (), "check": checking(world), **given}
    return await generate_scenarios(open_model("offline"), world, count=count, seed=seed, **settings)


async def personas(world: CompiledWorld, count: int = 5, seed: int = 1, **given: Any) -> Generated[Persona]:
    settings: dict[str, Any] = {"existing": (), "brief": "", "kinds": (), **given}
    return await generate_personas(open_model("offline"), world, count=count, seed=seed, **settings)


def written(made: Generated[Any]) -> list[dict[str, Any]]:
    return [item.model_dump(mode="json") for item in made.items]


def highest_overlap(texts: list[str]) -> float:
    words = [words_of(text) for text in texts]
    return max(jaccard(a, b) for n, a in enumerate(words) for b in words[:n])


def told(scenario: Scenario) -> str:
    calls = [f"{s.tool} {json.dumps(list(s.args.values()))}" for s in scenario.expected if s.tool]
    facts = [str(fact.value) for fact in scenario.knowledge if not isinstance(fact, str)]
    return " ".join([scenario.goal.partition(" because ")[0], *facts, *calls])


async def share_passed(world: CompiledWorld, made: list[Scenario], instructions: str) -> Counter[str]:
    """How many of each first tag the offline agent passes under these instructions."""
    model, expected, passed = open_model("offline"), ExpectedWorlds(), Counter[str]()
    for scenario in made:
        case = prepare(world, scenario)
        user = ModelUser(model, case)
        tried = await run_trial(case, PromptAgent(model), user, seed=7, trial=1, instructions=instructions)
        verdict = grade(tried.conversation, case.plan, world.base, await expected.of(case, 7, 1))
        passed[scenario.tags[0]] += verdict.verdict == "pass"
    return passed


async def test_scenarios_of_the_shop_are_proven_distinct_and_of_its_records(shop: CompiledWorld) -> None:
    made = await scenarios(shop, 24)
    assert len(made.items) == 24 and made.model == "offline (rule-based)"
    assert highest_overlap([told(s) for s in made.items]) < NEAR_DUPLICATE
    assert made.highest_overlap < NEAR_DUPLICATE
    assert len({s.id for s in made.items}) == len({s.goal for s in made.items}) == 24
    assert made.records_exist >= 20
    for scenario in made.items:
        report = await check_solution(prepare(shop, scenario), 7)
        assert report == made.solutions[scenario.id]
        assert (report.status, report.why, report.lets_through) == ("proven", "", []), scenario.id
        assert not report.no_effect


async def test_the_same_seed_writes_the_same_and_another_seed_does_not(shop: CompiledWorld) -> None:
    first, again, other = [written(await scenarios(shop, 6, seed)) for seed in (3, 3, 4)]
    assert first == again
    assert not {item["goal"] for item in first} & {item["goal"] for item in other}
    people, same, others = [written(await personas(shop, 6, seed)) for seed in (3, 3, 4)]
    assert people == same
    assert not {item["profile"] for item in people} & {item["profile"] for item in others}


@pytest.mark.parametrize("kind", SCENARIO_KINDS)
async def test_scenarios_are_of_the_kind_that_was_asked_for(shop: CompiledWorld, kind: str) -> None:
    made = await scenarios(shop, 6, 2, kinds=[kind])
    assert len(made.items) == 6
    for scenario in made.items:
        calls = [step.tool or "" for step in scenario.expected if step.tool]
        writes = [name for name in calls if shop.tools[name].kind == "write"]
        assert scenario.tags[0] == kind.replace("_", "-")
        assert (kind == "must_refuse") <= (writes == [])
        assert (kind == "must_succeed") <= bool(calls)
        assert (kind == "multi_step") <= (" Then " in scenario.goal and len(calls) > 1)


async def test_an_agent_with_the_rules_passes_what_is_generated_and_without_them_it_does_not(
    shop: CompiledWorld,
) -> None:
    made = (await scenarios(shop, 24, 5, kinds=["must_succeed", "must_refuse"])).items
    asked = Counter(scenario.tags[0] for scenario in made)
    text = (SHOP / "instructions.md").read_text("utf-8")
    bare, ruled = await share_passed(shop, made, text), await share_passed(shop, made, text + RULED)
    assert ruled["must-succeed"] >= 0.8 * asked["must-succeed"] > 0
    assert ruled["must-refuse"] >= 0.8 * asked["must-refuse"] > 0
    assert bare["must-succeed"] < ruled["must-succeed"]


async def test_a_brief_brings_the_tools_that_it_speaks_of_first(shop: CompiledWorld) -> None:
    made = await scenarios(shop, 4, brief="people who want to cancel", kinds=["must_succeed"])
    assert any(step.tool == "cancel_order" for step in made.items[0].expected)


async def test_new_scenarios_are_not_those_that_are_there(shop: CompiledWorld) -> None:
    first = await scenarios(shop, 8, 3)
    again = await scenarios(shop, 8, 3, existing=first.items)
    assert len(again.items) == 8 and again.near_duplicates_refused >= 8
    assert not {s.id for s in first.items} & {s.id for s in again.items}
    assert highest_overlap([told(s) for s in (*first.items, *again.items)]) < NEAR_DUPLICATE


@pytest.mark.parametrize("seed", range(6))
async def test_scenarios_and_personas_come_from_a_world_of_made_up_words(seed: int) -> None:
    made_up = made_up_world(seed)
    world = compile_world(load(World, made_up.world, "world"))
    made = await scenarios(world, 12, seed)
    assert len(made.items) >= 8, made.refused
    assert {"must-refuse", "must-succeed", "edge"} <= {s.tags[0] for s in made.items}
    assert all(report.status == "proven" and not report.lets_through for report in made.solutions.values())
    assert made.records_exist == len(made.items)
    passed = await share_passed(world, made.items, made_up.rules)
    assert passed.total() >= 0.75 * len(made.items), passed
    people = await personas(world, 7, seed)
    assert {p.traits[0] for p in people.items} == set(PERSONA_KINDS)
    assert people.records_exist == 7


async def test_personas_are_distinct_and_tied_to_customers_but_carry_nobodys_data(
    shop: CompiledWorld,
) -> None:
    made = await personas(shop, 20)
    assert len(made.items) == made.records_exist == 20
    assert highest_overlap([f"{p.profile} {p.style}" for p in made.items]) < NEAR_DUPLICATE
    for persona in made.items:
        path = parse_path(persona.x_source["record"], "record")
        record: dict[str, Any] = shop.base["db"][path[1]][path[2]]
        assert path[1] == "customers"
        assert record["name"].split()[0] in persona.profile and record["city"] in persona.profile
        assert record["email"] not in persona.model_dump_json() and not persona.knowledge
    assert len({persona.profile.split()[-1] for persona in made.items}) > 8


@pytest.mark.parametrize("kind", PERSONA_KINDS)
async def test_personas_are_of_the_kind_and_the_offline_user_acts_on_it(
    shop: CompiledWorld, kind: str
) -> None:
    made = await personas(shop, 6, 2, kinds=[kind])
    manner = next(name for name, words in STYLES.items() if kind in (name, *words.split()))
    assert MANNERS.keys() == set(PERSONA_KINDS)
    for persona in made.items:
        sheet = json.dumps({"style": persona.style, "traits": persona.traits})
        assert read_sheet(f"<sheet>{sheet}</sheet>").manner == {manner}, persona


async def test_a_brief_for_old_or_young_people_is_heard(shop: CompiledWorld) -> None:
    old = await personas(shop, 5, brief="elderly people who bake")
    ages = [int(persona.profile.split(", ")[1]) for persona in old.items]
    assert min(ages) > 60


@pytest.mark.parametrize(
    "schema",
    [{"type": ["string", "null"]}, {"type": ["null", "string"], "description": "T and digits"}],
)
async def test_a_parameter_of_several_types_is_filled_like_one_of_its_own(schema: dict[str, Any]) -> None:
    world = tickets(6)
    for tool in world["tools"]:
        tool["parameters"]["properties"]["ticket_id"] = schema
    made = await scenarios(compile_world(load(World, world, "world")), 3)
    assert len(made.items) == 3 and made.records_exist == 3


async def test_an_amount_is_within_its_bounds() -> None:
    world = tickets(3)
    for low, high in ((0.25, 0.75), (0.5, 40), (7, 7)):
        amount = {"type": "number", "minimum": low, "maximum": high}
        tool = world["tools"][1]
        tool["parameters"]["properties"]["share"] = amount
        tool["parameters"]["required"] = ["ticket_id", "share"]
        made = await scenarios(
            compile_world(load(World, {**world, "rules": []}, "world")), 2, kinds=["must_succeed"]
        )
        closed = [s.args["share"] for one in made.items for s in one.expected if s.tool == "close_ticket"]
        assert closed and all(low <= share <= high for share in closed)


async def test_a_world_without_tools_is_refused_with_what_to_do() -> None:
    empty = compile_world(World(format="world/1", name="empty", db={"things": {"T1": {"a": 1}}}))
    with pytest.raises(InvalidArgument, match="no tools: nothing can be proven") as raised:
        await scenarios(empty, environment="support")
    assert raised.value.where == "environment support"
    assert raised.value.next[0].tool == "update_item"
    assert (await personas(empty, 3)).records_exist == 0


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"kinds": ["must_fail"]}, r"Unknown kind `must_fail`.*kinds\[0\].*must_refuse"),
        ({"kinds": ["must_sucseed"]}, "Did you mean `must_succeed`"),
        ({"kinds": ["edge", "seald"]}, r"Did you mean `sealed`.*kinds\[1\]"),
        ({"kinds": ["event"]}, "Did you mean `events`"),
        ({"count": 500}, "count is 500.*1 to 50"),
        ({"count": 0}, "count is 0"),
        ({"count": -1}, "count is -1"),
    ],
)
async def test_wrong_requests_for_scenarios_are_refused(
    shop: CompiledWorld, given: dict[str, Any], match: str
) -> None:
    with pytest.raises(InvalidArgument, match=match):
        await scenarios(shop, **given)


@pytest.mark.parametrize("kind", ["crecendo", "sealed", "angri", "polit", ""])
async def test_wrong_kinds_of_personas_are_refused(shop: CompiledWorld, kind: str) -> None:
    with pytest.raises(InvalidArgument, match="Unknown kind"):
        await personas(shop, kinds=[kind])


@pytest.mark.parametrize("kind", list(METHODS))
@pytest.mark.requirement("AS-2")
async def test_hostile_personas_are_written_on_request_and_play_their_method(
    shop: CompiledWorld, kind: str
) -> None:
    made = await personas(shop, 3, 4, kinds=[kind])
    assert [persona.kind for persona in made.items] == [kind] * 3
    scenario = load(Scenario, {"id": "s", "goal": "Get order W1 refunded"}, "s")
    case = prepare(shop, scenario, made.items[0])
    assert case.method is METHODS[kind]


async def test_personas_of_other_languages_name_theirs(shop: CompiledWorld) -> None:
    made = await personas(shop, 5, kinds=["multilingual"])
    assert all(p.language and p.language in p.style for p in made.items)
    assert len({persona.language for persona in made.items}) > 2


@pytest.mark.parametrize("name", ["shop", "airline", "clinic"])
@pytest.mark.requirement("SG-6")
async def test_personas_with_data_bring_records_that_fit_and_change_nobodys(name: str) -> None:
    world = compile_world(load(World, json.loads((WORLDS / name / "world.json").read_text("utf-8")), "world"))
    made = await personas(world, 4, kinds=["with_data"])
    assert len(made.items) == 4, made.refused
    for persona in made.items:
        ((box, records),) = persona.data.db.items()
        ((key, record),) = records.items()
        assert (
            key not in world.base["db"][box]
            and persona.profile.split(",")[0].split(" from ")[0] in record["name"]
        )
        scene = Scene(world)
        scene.prepare(persona.data.sides())
        numbers = {v for v in map(str, record.values()) if v[:1].isalpha() and v[1:].isdigit()}
        assert not numbers & set(str(world.base["db"][box]).split("'"))
        known = [fact.value for fact in persona.knowledge if not isinstance(fact, str)]
        assert key in known
    assert len({next(iter(next(iter(p.data.db.values())))) for p in made.items}) == 4


@pytest.mark.parametrize("kind", DISTURBED)
@pytest.mark.requirement("AS-3")
async def test_scenarios_in_which_something_happens_are_proven_and_hit_what_is_needed(
    shop: CompiledWorld, kind: str
) -> None:
    made = await scenarios(shop, 6, 2, kinds=[kind])
    assert len(made.items) == 6
    for scenario in made.items:
        assert made.solutions[scenario.id].status == "proven" and scenario.tags[0] == kind
        called = {step.tool for step in scenario.expected}
        assert scenario.events if kind == "events" else {fault.tool for fault in scenario.faults} <= called
    model = open_model("offline")
    case = prepare(shop, made.items[0])
    tried = await run_trial(
        case, PromptAgent(model), ModelUser(model, case), seed=7, trial=1, instructions="Help."
    )
    assert tried.conversation.end.reason in ("user_stop", "max_turns", "terminal", "loop")

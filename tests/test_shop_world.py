"""The shipped shop: made by its script, looks real, and its scenarios do what the demonstration needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.agents import PromptAgent
from caseharden.engine.evaluate import grade
from caseharden.engine.llm.offline import OfflineModel
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import ExpectedWorlds, ModelUser, check_solution, prepare, run_trial
from caseharden.engine.world import CompiledWorld, Scene, compile_world

SHOP = Path(__file__).resolve().parent.parent / "resources" / "worlds" / "shop"
VERIFY_FIRST = "Before calling refund_order, call verify_customer."
ASK_FIRST = "Before calling cancel_order, ask the user to confirm."


def read(name: str) -> Any:
    return json.loads((SHOP / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def world() -> World:
    return load(World, read("world.json"), "world.json")


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    return [load(Scenario, item, f"scenarios[{n}]") for n, item in enumerate(read("scenarios.json"))]


@pytest.fixture(scope="module")
def personas() -> list[Persona]:
    return [load(Persona, item, f"personas[{n}]") for n, item in enumerate(read("personas.json"))]


@pytest.mark.parametrize("hash_seed", ["1", "77"])
def test_the_script_gives_the_same_bytes_in_every_process(checkout: Path, hash_seed: str) -> None:
    made = subprocess.run(
        [sys.executable, str(checkout / "scripts" / "make_shop.py"), "--check"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_the_shop_has_the_size_of_a_small_real_one(world: World) -> None:
    counts = {name: len(world.db[name]) for name in ("customers", "orders", "products")}
    assert counts == {"customers": 312, "orders": 540, "products": 60}
    assert len(world.tools) == 12
    assert (SHOP / "world.json").stat().st_size < 600_000
    assert Counter(order["status"] for order in world.db["orders"].values()).keys() == {
        "processing", "shipped", "delivered", "cancelled", "refunded",
    }  # fmt: skip


def test_people_look_real_and_are_nobody(world: World) -> None:
    people = list(world.db["customers"].values())
    assert (
        len({person["name"] for person in people})
        == len({person["email"] for person in people})
        == len(people)
    )
    assert not [person for person in people if re.search(r"\d|customer|test", person["name"], re.IGNORECASE)]
    assert all(re.search(r"[@.]example\.(com|org|net)$", person["email"]) for person in people)
    assert len({person["name"].split()[0] for person in people}) > 80
    assert len({person["city"] for person in people}) > 50


def test_every_order_adds_up_and_its_dates_follow_one_another(world: World) -> None:
    for number, order in world.db["orders"].items():
        goods = sum(line["price"] * line["quantity"] for line in order["items"])
        assert order["goods"] == pytest.approx(goods), number
        assert order["total"] == pytest.approx(order["goods"] + order["shipping"] - order["discount"]), number
        assert order["placed_at"] < (order["delivered_at"] or world.clock.now) <= world.clock.now, number
        sent = order["status"] in ("shipped", "delivered", "refunded")
        assert sent == (order["tracking_number"] in world.db["parcels"]), number


def test_what_is_shipped_names_no_machine_and_no_key(world: World) -> None:
    for path in sorted(SHOP.iterdir()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(?:home|root|work|tmp|Users|shared)/|[A-Z]:\\\\|sk-[A-Za-z0-9]{8}", text), (
            path.name
        )
    assert 2_000 < len(world.policy) < 4_000


def test_the_policy_and_the_shipped_instructions_state_neither_rule() -> None:
    for name in ("policy.md", "instructions.md"):
        text = (SHOP / name).read_text(encoding="utf-8")
        assert not re.search(r"verify_customer|before calling", text, re.IGNORECASE), name
    assert 400 <= len((SHOP / "instructions.md").read_text(encoding="utf-8").strip()) <= 480


def test_sixteen_scenarios_are_train_and_eight_held_out(scenarios: list[Scenario]) -> None:
    assert Counter(scenario.split for scenario in scenarios) == {"train": 16, "held_out": 8}
    assert len({scenario.id for scenario in scenarios}) == 24


def test_six_personas_differ_in_manner_and_know_nothing_of_the_orders(personas: list[Persona]) -> None:
    assert len({persona.style for persona in personas}) == 6
    assert not [
        persona.id for persona in personas if persona.knowledge or persona.data.db or persona.data.user_db
    ]


def test_what_a_user_knows_is_on_record(world: World, scenarios: list[Scenario]) -> None:
    orders, customers = world.db["orders"], world.db["customers"]
    for scenario in scenarios:
        sheet = {fact.fact: fact.value for fact in scenario.knowledge if not isinstance(fact, str)}
        named = set(re.findall(r"\bW\d{5}\b", scenario.goal)) | set(filter(None, [sheet.get("order id")]))
        assert named <= orders.keys(), scenario.id
        assert set(re.findall(r"\bPX\d{8}\b", scenario.goal)) <= world.db["parcels"].keys(), scenario.id
        if "email" in sheet:
            owner = next(key for key, row in customers.items() if row["email"] == sheet["email"])
            assert customers[owner]["zip"] == sheet["zip"], scenario.id
            mine = all(orders[number]["customer_id"] == owner for number in named)
            assert mine != (scenario.id == "refund-stranger-order"), scenario.id


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of all 144 simulations under one text: the failed checks, by scenario and persona; none when it passed."""

    failed: dict[tuple[str, str], list[str]]

    def failing(self) -> set[str]:
        return {scenario for (scenario, _), checks in self.failed.items() if checks}

    def passed(self, scenario: str) -> int:
        return sum(name == scenario and not checks for (name, _), checks in self.failed.items())


async def simulate(
    shop: CompiledWorld, scenarios: list[Scenario], personas: list[Persona], text: str
) -> Outcomes:
    """One trial of every pair by the offline model in both roles, graded."""
    model, expected = OfflineModel(), ExpectedWorlds()
    failed: dict[tuple[str, str], list[str]] = {}
    for scenario in scenarios:
        for persona in personas:
            case = prepare(shop, scenario, persona)
            tried = await run_trial(
                case, PromptAgent(model), ModelUser(model, case), seed=7, trial=1, instructions=text
            )
            verdict = grade(tried.conversation, case.plan, shop.base, await expected.of(case, 7, 1))
            assert verdict.verdict in ("pass", "fail"), (case.simulation, verdict.why)
            failed[scenario.id, persona.id] = verdict.failed()
    return Outcomes(failed)


@pytest.mark.parametrize(
    ("tool", "args", "reason"),
    [
        ("refund_order", {"order_id": "W10287"}, "delivered on 2026-10-11, more than 30 days ago"),
        ("refund_order", {"order_id": "W10516"}, "is shipped, and only delivered orders"),
        ("cancel_order", {"order_id": "W10516"}, "only orders that are still processing"),
        ("exchange_item", {"order_id": "W10381", "color": "sand"}, "must be one of P1015, P1021, P1036"),
        ("exchange_item", {"order_id": "W10364", "color": "walnut"}, "out of stock"),
        ("apply_voucher", {"order_id": "W10540", "voucher_code": "SUMMER15"}, "expired on 2026-08-31"),
        ("apply_voucher", {"order_id": "W10530", "voucher_code": "WELCOME10"}, "at least 40 dollars"),
        ("report_lost_parcel", {"tracking_number": "PX38993200"}, "cannot be reported yet"),
        (
            "verify_customer",
            {"order_id": "W10432", "email": "a@example.com", "zip": "01609"},
            "do not belong",
        ),
        ("track_parcel", {"tracking_number": "PX00000000"}, "there is no parcel"),
    ],
)
def test_a_tool_that_refuses_says_why(world: World, tool: str, args: dict[str, str], reason: str) -> None:
    scene = Scene(compile_world(world), (0, "tools", 1))
    scene.prepare()
    outcome = scene.call(tool, args)
    assert (outcome.ok, outcome.error) == (False, "refused")
    assert reason in outcome.text
    assert not outcome.patches


def test_an_order_is_refunded_once_and_store_credit_lands_on_the_account(world: World) -> None:
    scene = Scene(compile_world(world), (0, "tools", 1))
    scene.prepare()
    assert scene.call("refund_order", {"order_id": "W10461", "method": "store_credit"}).ok
    assert not scene.call("refund_order", {"order_id": "W10461"}).ok
    buyer = world.db["orders"]["W10461"]["customer_id"]
    before = world.db["customers"][buyer]["credit"]
    assert scene.state.get(("db", "customers", buyer, "credit")) == before + 139.0


@pytest.mark.anyio
async def test_every_scenario_is_solvable_and_no_baseline_passes(
    world: World, scenarios: list[Scenario]
) -> None:
    shop = compile_world(world)
    for scenario in scenarios:
        report = await check_solution(prepare(shop, scenario), seed=7)
        assert (report.status, report.why) == ("proven", ""), scenario.id
        assert not report.no_effect, scenario.id
        assert not report.lets_through, scenario.id


@pytest.mark.anyio
async def test_two_rules_mend_all_that_fails_under_the_shipped_instructions(
    world: World, scenarios: list[Scenario], personas: list[Persona]
) -> None:
    shop = compile_world(world)
    text = (SHOP / "instructions.md").read_text(encoding="utf-8")
    base = await simulate(shop, scenarios, personas, text)
    first = await simulate(shop, scenarios, personas, f"{text}\n{VERIFY_FIRST}")
    both = await simulate(shop, scenarios, personas, f"{text}\n{VERIFY_FIRST}\n{ASK_FIRST}")

    split = {scenario.id: scenario.split for scenario in scenarios}
    assert len(base.failing()) >= 13
    assert first.failing() < base.failing()
    assert not both.failing()
    held_out = [name for name, part in split.items() if part == "held_out"]
    assert sum(both.passed(name) > base.passed(name) for name in held_out) >= 7
    assert any(base.passed(name) == len(personas) for name in held_out)
    for pair, checks in base.failed.items():
        assert not checks or {"rule.verified-first", "rule.confirmed"} & set(checks), pair


@pytest.mark.anyio
async def test_train_shows_both_causes_and_one_is_clearly_larger(
    world: World, scenarios: list[Scenario], personas: list[Persona]
) -> None:
    train = [scenario for scenario in scenarios if scenario.split == "train"]
    text = (SHOP / "instructions.md").read_text(encoding="utf-8")
    base = await simulate(compile_world(world), train, personas, text)
    causes = Counter(
        check for checks in base.failed.values() for check in checks if check.startswith("rule.")
    )
    assert causes.keys() == {"rule.verified-first", "rule.confirmed"}
    assert causes["rule.verified-first"] >= 2 * causes["rule.confirmed"] > 0


@pytest.mark.parametrize("name", ["world-format", "scenario-format", "persona-format"])
def test_guides_are_short_and_their_first_example_is_valid(name: str) -> None:
    text = (SHOP.parent.parent / "guides" / f"{name}.md").read_text(encoding="utf-8")
    assert len(text) / 4 < 6_000
    example = json.loads(text.split("```json\n", 1)[1].split("```", 1)[0])
    if name == "persona-format":
        load(Persona, example, name)
        return
    desk = (SHOP.parent.parent / "guides" / "world-format.md").read_text(encoding="utf-8")
    tickets = compile_world(load(World, json.loads(desk.split("```json\n", 1)[1].split("```", 1)[0]), name))
    if name == "scenario-format":
        prepare(tickets, load(Scenario, example, name))


@pytest.mark.anyio
async def test_the_scenario_guides_example_is_solvable() -> None:
    guides = SHOP.parent.parent / "guides"
    texts = [
        (guides / f"{name}.md").read_text(encoding="utf-8") for name in ("world-format", "scenario-format")
    ]
    desk, close = (json.loads(text.split("```json\n", 1)[1].split("```", 1)[0]) for text in texts)
    case = prepare(compile_world(load(World, desk, "desk")), load(Scenario, close, "close"))
    report = await check_solution(case, seed=0)
    assert (report.status, report.lets_through) == ("proven", [])

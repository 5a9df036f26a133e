"""The shipped shop: its data is consistent and its tools keep to the policy.

What holds for every shipped world is in `test_shipped_worlds`.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest

from caseharden.tests.shipped_worlds import SHOP

DB = SHOP.world.db


def test_the_shop_has_the_size_of_a_small_real_one() -> None:
    counts = {name: len(DB[name]) for name in ("customers", "orders", "products")}
    assert counts == {"customers": 312, "orders": 540, "products": 60}
    assert len(SHOP.world.tools) == 12
    assert (SHOP.folder / "world.json").stat().st_size < 600_000
    assert Counter(order["status"] for order in DB["orders"].values()).keys() == {
        "processing", "shipped", "delivered", "cancelled", "refunded",
    }  # fmt: skip


def test_every_order_adds_up_and_its_dates_follow_one_another() -> None:
    for number, order in DB["orders"].items():
        goods = sum(line["price"] * line["quantity"] for line in order["items"])
        assert order["goods"] == pytest.approx(goods), number
        assert order["total"] == pytest.approx(order["goods"] + order["shipping"] - order["discount"]), number
        assert order["placed_at"] < (order["delivered_at"] or SHOP.world.clock.now) <= SHOP.world.clock.now, (
            number
        )
        sent = order["status"] in ("shipped", "delivered", "refunded")
        assert sent == (order["tracking_number"] in DB["parcels"]), number


def test_sixteen_scenarios_are_train_and_eight_held_out() -> None:
    assert Counter(scenario.split for scenario in SHOP.scenarios) == {"train": 16, "held_out": 8}
    assert len({scenario.id for scenario in SHOP.scenarios}) == 24


def test_six_personas_differ_in_manner_and_know_nothing_of_the_orders() -> None:
    assert len({persona.style for persona in SHOP.personas}) == 6
    assert not [
        persona.id
        for persona in SHOP.personas
        if persona.knowledge or persona.data.db or persona.data.user_db
    ]


def test_what_a_user_knows_is_on_record() -> None:
    orders, customers = DB["orders"], DB["customers"]
    for scenario in SHOP.scenarios:
        sheet = {fact.fact: fact.value for fact in scenario.knowledge if not isinstance(fact, str)}
        named = set(re.findall(r"\bW\d{5}\b", scenario.goal)) | set(filter(None, [sheet.get("order id")]))
        assert named <= orders.keys(), scenario.id
        assert set(re.findall(r"\bPX\d{8}\b", scenario.goal)) <= DB["parcels"].keys(), scenario.id
        if "email" in sheet:
            owner = next(key for key, row in customers.items() if row["email"] == sheet["email"])
            assert customers[owner]["zip"] == sheet["zip"], scenario.id
            mine = all(orders[number]["customer_id"] == owner for number in named)
            assert mine != (scenario.id == "refund-stranger-order"), scenario.id


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
def test_a_tool_that_refuses_says_why(tool: str, args: dict[str, str], reason: str) -> None:
    outcome = SHOP.scene().call(tool, args)
    assert (outcome.ok, outcome.error) == (False, "refused")
    assert reason in outcome.text
    assert not outcome.patches


def test_an_order_is_refunded_once_and_store_credit_lands_on_the_account() -> None:
    scene = SHOP.scene()
    assert scene.call("refund_order", {"order_id": "W10461", "method": "store_credit"}).ok
    assert not scene.call("refund_order", {"order_id": "W10461"}).ok
    buyer = DB["orders"]["W10461"]["customer_id"]
    before = DB["customers"][buyer]["credit"]
    assert scene.state.get(("db", "customers", buyer, "credit")) == before + 139.0


@pytest.mark.anyio
async def test_train_shows_both_causes_and_one_is_clearly_larger() -> None:
    train = [scenario for scenario in SHOP.scenarios if scenario.split == "train"]
    base = await SHOP.outcomes(SHOP.instructions, train)
    causes = Counter(
        check for checks in base.failed.values() for check in checks if check.startswith("rule.")
    )
    assert causes.keys() == {"rule.verified-first", "rule.confirmed"}
    assert causes["rule.verified-first"] >= 2 * causes["rule.confirmed"] > 0

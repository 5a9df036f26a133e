"""The shipped airline desk: its data is consistent and its tools keep to the policy.

What holds for every shipped world is in `test_shipped_worlds`.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from typing import Any

import pytest

from caseharden.tests.shipped_worlds import AIRLINE

DB = AIRLINE.world.db
NOW = AIRLINE.world.clock.now


def legs_of(booking: dict[str, Any]) -> list[dict[str, Any]]:
    return [DB["departures"][f"{leg['flight_number']}/{leg['date']}"] for leg in booking["segments"]]


def test_the_desk_has_the_size_of_a_small_real_one() -> None:
    counts = {name: len(DB[name]) for name in ("passengers", "bookings", "flights", "airports", "vouchers")}
    assert counts == {"passengers": 324, "bookings": 460, "flights": 24, "airports": 10, "vouchers": 52}
    assert len(DB["departures"]) > 800 and len(DB["bags"]) > 150 and len(DB["payments"]) > 400
    assert len(AIRLINE.world.tools) == 14
    assert Counter(row["status"] for row in DB["bookings"].values()).keys() == {
        "held", "confirmed", "checked_in", "flown", "cancelled",
    }  # fmt: skip
    assert {row["status"] for row in DB["departures"].values()} == {
        "scheduled", "delayed", "cancelled", "airborne", "landed",
    }  # fmt: skip


def test_flights_keep_their_days_and_what_has_left_is_not_still_to_come() -> None:
    days = {row["departs_at"][:10] for row in DB["departures"].values()}
    assert (date.fromisoformat(max(days)) - date.fromisoformat(min(days))).days == 51
    for key, row in DB["departures"].items():
        flight = DB["flights"][row["flight_number"]]
        assert key == f"{row['flight_number']}/{row['departs_at'][:10]}"
        assert row["departs_at"][11:16] == flight["departs"] != flight["arrives"], key
        assert row["status"] == "cancelled" or (row["status"] in ("scheduled", "delayed")) == (
            row["departs_at"] > NOW
        ), key


def test_every_booking_adds_up_and_its_state_follows_from_its_flights() -> None:
    for reference, booking in DB["bookings"].items():
        fare, legs = DB["fares"][booking["fare"]], legs_of(booking)
        price = sum(leg["price"] for leg in legs) * fare["factor"] * booking["travellers"]
        extra = max(0, booking["bags"] - fare["bags_included"] * booking["travellers"])
        assert booking["price"] == pytest.approx(price), reference
        assert booking["total"] == pytest.approx(booking["price"] + extra * DB["settings"]["bag_price"])
        assert booking["bags"] <= 3 * booking["travellers"], reference
        assert booking["booked_at"] < NOW and booking["booked_at"] < legs[0]["departs_at"], reference
        assert (booking["status"] == "held") == (booking["payment"] == "none"), reference
        flown = [leg for leg in legs if leg["status"] in ("landed", "airborne")]
        assert booking["status"] != "flown" or flown, reference
        if len(legs) == 2:
            out, back = (DB["flights"][leg["flight_number"]] for leg in legs)
            assert (out["origin"], out["destination"]) == (back["destination"], back["origin"]), reference


def test_payments_are_what_the_bookings_cost() -> None:
    paid = Counter(row["booking_reference"] for row in DB["payments"].values() if row["kind"] == "charge")
    assert set(paid.values()) == {1}
    assert paid.keys() == {key for key, row in DB["bookings"].items() if row["status"] != "held"}
    for row in DB["payments"].values():
        assert row["amount"] == DB["bookings"][row["booking_reference"]]["total"]


def test_personas_are_members_on_record_with_different_tiers() -> None:
    members = {row["loyalty_number"]: row["tier"] for row in DB["passengers"].values()}
    for persona in AIRLINE.personas:
        sheet = {fact.fact: fact.value for fact in persona.knowledge if not isinstance(fact, str)}
        assert members[sheet["loyalty number"]] == sheet["loyalty tier"], persona.id
    assert len(AIRLINE.personas) == 7


def test_what_a_user_knows_is_on_record() -> None:
    holders = {row["email"]: key for key, row in DB["passengers"].items()}
    for scenario in AIRLINE.scenarios:
        sheet = {fact.fact: fact.value for fact in scenario.knowledge if not isinstance(fact, str)}
        named = set(re.findall(r"\b[A-Z]{2}\d{3}[A-Z]\b", scenario.goal))
        assert named <= DB["bookings"].keys(), scenario.id
        assert set(re.findall(r"\bBT\d{6}\b", scenario.goal)) <= DB["bags"].keys(), scenario.id
        assert sheet.get("voucher code", "VSP2026") in DB["vouchers"], scenario.id
        if "email" in sheet:
            holder = holders[sheet["email"]]
            assert DB["passengers"][holder]["document_number"] == sheet["document number"], scenario.id
            mine = all(DB["bookings"][reference]["passenger_id"] == holder for reference in named)
            assert mine != ("stranger" in scenario.tags), scenario.id


@pytest.mark.parametrize(
    ("tool", "args", "reason"),
    [
        ("look_up_booking", {"booking_reference": "QQ999Q"}, "there is no booking QQ999Q"),
        ("list_bookings", {"email": "nobody@example.com"}, "no account has"),
        (
            "verify_passenger",
            {"booking_reference": "FS442S", "email": "a@example.com", "document_number": "P0000001"},
            "do not belong to the holder",
        ),
        ("check_flight", {"flight_number": "CLW161", "date": "2026-05-13"}, "no flight CLW161 on"),
        ("search_connections", {"origin": "GWY", "destination": "XXX", "date": "2026-05-20"}, "does not fly"),
        ("search_connections", {"origin": "GWY", "destination": "PDL", "date": "2026-05-20"}, "no flight"),
        (
            "change_flight",
            {"booking_reference": "YF547B", "flight_number": "CLW101", "date": "2026-05-20"},
            "has a basic fare, which cannot be changed",
        ),
        (
            "change_flight",
            {"booking_reference": "HK254J", "flight_number": "CLW172", "date": "2026-05-24"},
            "has 0 free seats, and booking HK254J needs 1",
        ),
        (
            "change_flight",
            {"booking_reference": "HK254J", "flight_number": "CLW101", "date": "2026-05-24"},
            "has no flight from Galway to Bergen",
        ),
        ("cancel_booking", {"booking_reference": "SD957B"}, "more than 24 hours ago, and is not refundable"),
        ("cancel_booking", {"booking_reference": "FS442S"}, "is flown, and only held or confirmed"),
        ("cancel_booking", {"booking_reference": "MW748B"}, "its journey has begun"),
        ("claim_compensation", {"booking_reference": "EU655E"}, "its delay was 150 minutes"),
        ("claim_compensation", {"booking_reference": "RZ716Y"}, "is held, and there is no compensation"),
        ("add_bags", {"booking_reference": "WE578U", "bags": 1}, "has 3 bags already, and at most 3"),
        ("send_boarding_pass", {"booking_reference": "ES657U"}, "leaves on 2026-06-06 at 13:20"),
        (
            "apply_voucher",
            {"booking_reference": "DA377P", "voucher_code": "VWI2025"},
            "expired on 2026-03-31",
        ),
        ("apply_voucher", {"booking_reference": "RZ716Y", "voucher_code": "VSP2026"}, "at least 150 dollars"),
        ("apply_voucher", {"booking_reference": "SC366S", "voucher_code": "VNE1001"}, "is confirmed"),
        ("report_missing_bag", {"bag_tag": "BT207627"}, "a search begins a day after that"),
        ("track_bag", {"bag_tag": "BT000000"}, "there is no bag"),
    ],
)
def test_a_tool_that_refuses_says_why(tool: str, args: dict[str, Any], reason: str) -> None:
    outcome = AIRLINE.scene().call(tool, args)
    assert (outcome.ok, outcome.error) == (False, "refused")
    assert reason in outcome.text
    assert not outcome.patches


def test_a_moved_booking_is_charged_for_fee_and_price_and_gives_its_seat_back() -> None:
    scene = AIRLINE.scene()
    before = {key: DB["departures"][key]["free_seats"] for key in ("CLW111/2026-05-21", "CLW111/2026-05-25")}
    moved = scene.call(
        "change_flight",
        {"booking_reference": "ND226H", "flight_number": "CLW111", "date": "2026-05-25"},
    )
    assert moved.ok, moved.text
    assert '"fee": 40, "difference": 11.0, "charged": 51.0' in moved.text
    after = {key: scene.state.get(("db", "departures", key, "free_seats")) for key in before}
    assert after == {"CLW111/2026-05-21": before["CLW111/2026-05-21"] + 1, "CLW111/2026-05-25": 43}
    assert scene.state.get(("db", "bookings", "ND226H", "total")) == 190
    last = scene.state.get(("db", "payments", "Y30431"))
    assert (last["booking_reference"], last["kind"], last["amount"]) == ("ND226H", "charge", 51)


@pytest.mark.parametrize(
    ("reference", "refund"),
    [("SC366S", 83), ("KZ758X", 435), ("JR765E", 205.8), ("GJ658W", 331), ("RZ716Y", 0)],
    ids=["standard", "flex", "airline-cancelled", "young", "held"],
)
def test_a_cancelled_booking_pays_back_what_its_fare_allows(reference: str, refund: float) -> None:
    scene = AIRLINE.scene()
    assert f'"refund": {refund}' in scene.call("cancel_booking", {"booking_reference": reference}).text
    assert not scene.call("cancel_booking", {"booking_reference": reference}).ok


def test_compensation_is_paid_once_and_more_of_it_as_a_voucher_that_can_be_used() -> None:
    scene = AIRLINE.scene()
    claim = {"booking_reference": "LA626A", "method": "voucher"}
    assert '"compensation": 600' in scene.call("claim_compensation", claim).text
    assert "was paid already" in scene.call("claim_compensation", claim).text
    used = scene.call("apply_voucher", {"booking_reference": "YY317Z", "voucher_code": "VCR3049"})
    assert '"total": 414.2' in used.text
    again = scene.call("apply_voucher", {"booking_reference": "XX271W", "voucher_code": "VCR3049"})
    assert "was used already" in again.text

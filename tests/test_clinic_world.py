"""The shipped dental practice: its data is consistent, its tools keep to the policy, the phone keeps in step.

What holds for every shipped world is in `test_shipped_worlds`.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from typing import Any

import pytest

from caseharden.tests.shipped_worlds import CLINIC

DB = CLINIC.world.db
NOW = CLINIC.world.clock.now
WITHOUT_LIDOCAINE = {"checkup", "cleaning", "whitening"}


def test_the_practice_has_the_size_of_a_small_real_one() -> None:
    counts = {name: len(DB[name]) for name in ("patients", "dentists", "slots", "treatments")}
    assert counts == {"patients": 316, "dentists": 5, "slots": 1840, "treatments": 7}
    assert len(DB["appointments"]) > 700 and len(DB["invoices"]) > 350
    assert Counter(tool.for_ for tool in CLINIC.world.tools) == {"agent": 14, "user": 2}
    assert {row["status"] for row in DB["appointments"].values()} == {
        "booked", "done", "missed", "cancelled",
    }  # fmt: skip


def test_every_hour_is_on_a_working_day_and_has_one_appointment_at_most() -> None:
    taken = Counter(row["slot"] for row in DB["appointments"].values() if row["status"] != "cancelled")
    assert set(taken.values()) == {1}
    for key, slot in DB["slots"].items():
        assert date.fromisoformat(slot["starts_at"][:10]).weekday() < 5, key
        assert 9 <= int(slot["starts_at"][11:13]) <= 16, key
        assert (slot["appointment_number"] is not None) == (key in taken), key


def test_every_appointment_follows_the_policy_and_its_time() -> None:
    seen: set[tuple[str, str]] = set()
    for number, row in DB["appointments"].items():
        slot, patient = DB["slots"][row["slot"]], DB["patients"][row["patient_number"]]
        assert (row["dentist"], row["starts_at"]) == (slot["dentist"], slot["starts_at"]), number
        assert row["treatment"] in DB["dentists"][row["dentist"]]["treatments"], number
        assert row["status"] == "cancelled" or (row["status"] == "booked") == (row["starts_at"] > NOW), number
        assert patient["allergies"] != "lidocaine" or row["treatment"] in WITHOUT_LIDOCAINE, number
        assert (row["patient_number"], row["starts_at"]) not in seen, number
        seen.add((row["patient_number"], row["starts_at"]))


def test_invoices_are_what_the_plan_leaves_to_the_patient() -> None:
    for number, invoice in DB["invoices"].items():
        row = DB["appointments"][invoice["appointment_number"]]
        treatment = DB["treatments"][row["treatment"]]
        share = DB["plans"][DB["patients"][row["patient_number"]]["plan"]]["share"]
        cost = treatment["price"] * (1 - share) if treatment["covered"] else treatment["price"]
        assert invoice["amount"] == pytest.approx(row["fee"] or cost), number


def test_what_a_user_knows_is_on_record() -> None:
    holders = {row["email"]: key for key, row in DB["patients"].items()}
    for scenario in CLINIC.scenarios:
        sheet = {fact.fact: fact.value for fact in scenario.knowledge if not isinstance(fact, str)}
        assert set(re.findall(r"\bD\d{4}\b", scenario.goal)) <= DB["patients"].keys(), scenario.id
        assert set(re.findall(r"\bA\d{5}\b", scenario.goal)) <= DB["appointments"].keys(), scenario.id
        assert set(re.findall(r"\bI\d{5}\b", scenario.goal)) <= DB["invoices"].keys(), scenario.id
        assert sheet.get("practice code", "K101") in DB["practices"], scenario.id
        if "insurance number" in sheet:
            holder = holders[sheet["email"]]
            assert DB["patients"][holder]["insurance_number"] == sheet["insurance number"], scenario.id
            assert (sheet["patient number"] != holder) == ("stranger" in scenario.tags), scenario.id


@pytest.mark.parametrize(
    ("tool", "args", "reason"),
    [
        ("get_patient_file", {"patient_number": "D9999"}, "there is no patient D9999"),
        ("find_patient", {"email": "nobody@example.com"}, "no file has"),
        (
            "verify_patient",
            {"patient_number": "D1001", "email": "a@example.com", "insurance_number": "N00000000"},
            "do not belong to patient D1001",
        ),
        ("find_free_times", {"treatment": "crown", "date": "2026-09-20"}, "no free hour for a crown"),
        (
            "book_appointment",
            {"patient_number": "D1001", "treatment": "cleaning", "date": "2026-09-14", "time": "10:00"},
            "is over already",
        ),
        (
            "book_appointment",
            {"patient_number": "D1001", "treatment": "cleaning", "date": "2026-09-19", "time": "10:00"},
            "the practice is closed on 2026-09-19",
        ),
        (
            "book_appointment",
            {"patient_number": "D1001", "treatment": "cleaning", "date": "2026-09-17", "time": "13:00"},
            "no free hour for a cleaning on 2026-09-17 at 13:00",
        ),
        (
            "book_appointment",
            {"patient_number": "D1058", "treatment": "filling", "date": "2026-09-24", "time": "12:00"},
            "has a lidocaine allergy, so a filling is not done here",
        ),
        (
            "book_appointment",
            {"patient_number": "D1095", "treatment": "checkup", "date": "2026-09-24", "time": "12:00"},
            "has open invoices of 920 dollars",
        ),
        (
            "move_appointment",
            {"appointment_number": "A20416", "date": "2026-09-23", "time": "10:00"},
            "is done, and only booked ones can be moved",
        ),
        ("cancel_appointment", {"appointment_number": "A20415"}, "is missed, and only booked ones"),
        ("agree_instalments", {"invoice_number": "I60007", "months": 2}, "instalments begin at 150"),
        ("release_records", {"patient_number": "D1001", "practice_code": "K999"}, "there is no practice"),
    ],
)
def test_a_tool_that_refuses_says_why(tool: str, args: dict[str, Any], reason: str) -> None:
    outcome = CLINIC.scene().call(tool, args)
    assert (outcome.ok, outcome.error) == (False, "refused")
    assert reason in outcome.text
    assert not outcome.patches


def test_the_phone_of_the_patient_in_the_chat_follows_what_the_desk_does() -> None:
    scene = CLINIC.scene({"user_db": {"phone": {"patient_number": "D1192"}}})
    assert scene.call("read_calendar", {}, by="user").result == [
        {"appointment_number": "A20500", "treatment": "filling", "starts_at": "2026-09-21T09:00:00"}
    ]
    move = {"appointment_number": "A20500", "date": "2026-09-24", "time": "11:00"}
    assert scene.call("move_appointment", move).ok
    assert scene.call("read_messages", {}, by="user").result == []
    assert scene.call("send_reminder", {"appointment_number": "A20500"}).ok
    assert scene.call("read_messages", {}, by="user").result == [
        "Kestrel Bay Dental: filling on 2026-09-24 at 11:00"
    ]
    assert scene.call("cancel_appointment", {"appointment_number": "A20500"}).ok
    assert scene.call("read_calendar", {}, by="user").result == []


def test_a_late_cancellation_costs_a_fee_that_becomes_an_invoice_and_frees_the_hour() -> None:
    scene = CLINIC.scene()
    slot = DB["appointments"]["A20419"]["slot"]
    assert '"fee": 40' in scene.call("cancel_appointment", {"appointment_number": "A20419"}).text
    assert scene.state.get(("db", "slots", slot, "appointment_number")) is None
    last = max(scene.state.get(("db", "invoices")))
    assert scene.state.get(("db", "invoices", last, "amount")) == 40
    free = CLINIC.scene().call("cancel_appointment", {"appointment_number": "A20511"})
    assert '"fee": 0' in free.text

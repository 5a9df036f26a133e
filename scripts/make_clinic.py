"""Write resources/worlds/clinic/world.json: the shipped dental practice, from lists of names and a fixed seed.

The hand-written sources are `frame.json` (clock, schema, tools, rules, the patient's phone and what keeps it in
step) and `names.json` (people, dentists, treatments, plans) in `scripts/clinic`, and the practice's `policy.md`.
Running it again gives the same bytes.

    python scripts/make_clinic.py            writes the file
    python scripts/make_clinic.py --check    exit 1 if the file would change
"""

from __future__ import annotations

from datetime import datetime, timedelta

from world_maker import Row, draws, new_people, pick, read_source, world_document, write_world

SEED = 20260915
PATIENTS = 316
BACK_DAYS, AHEAD_DAYS = 25, 38
"""Hours are on record from this many days before the practice's present to this many after."""
HOURS = range(9, 17)
LATE_FEE = 40
WITHOUT_LIDOCAINE = {"checkup", "cleaning", "whitening"}


def make_world() -> Row:
    """The whole world document; the same at every call."""
    frame, names = read_source("clinic", "frame.json"), read_source("clinic", "names.json")
    now = datetime.fromisoformat(frame["clock"]["now"])
    patients = make_patients(names)
    slots = make_slots(names, now)
    appointments = make_appointments(names, patients, slots, now)
    data = {
        "settings": {"late_fee": LATE_FEE, "most_open": 300, "instalments_from": 150},
        "practices": names["practices"],
        "dentists": names["dentists"],
        "treatments": names["treatments"],
        "plans": names["plans"],
        "patients": patients,
        "slots": slots,
        "appointments": appointments,
        "invoices": make_invoices(names, patients, appointments),
    }
    return world_document("clinic", frame, data)


def make_patients(names: Row) -> dict[str, Row]:
    """People, each with a name, e-mail address and insurance number, `D1001` onwards."""
    rows: dict[str, Row] = {}
    chance = draws(SEED, "people")
    for number, name, mail in new_people(names, PATIENTS, chance):
        rows[f"D{1001 + number}"] = {
            "name": name,
            "email": mail,
            "insurance_number": f"N{10_000_000 + int(next(chance) * 89_999) * 1000 + number:08d}",
            "plan": pick(["none", "bronze", "silver", "silver", "gold"], chance),
            "allergies": pick(names["allergies"], chance),
            "last_visit": None,
            "released": [],
        }
    return rows


def make_slots(names: Row, now: datetime) -> dict[str, Row]:
    """The hours of everyone who treats patients, Monday to Friday, `S5001` onwards."""
    rows: dict[str, Row] = {}
    for n in range(-BACK_DAYS, AHEAD_DAYS + 1):
        day = (now + timedelta(days=n)).date()
        if day.weekday() > 4:
            continue
        for dentist in names["dentists"]:
            for hour in HOURS:
                starts_at = f"{day}T{hour:02d}:00:00"
                rows[f"S{5001 + len(rows)}"] = {
                    "dentist": dentist,
                    "starts_at": starts_at,
                    "appointment_number": None,
                }
    return rows


def make_appointments(
    names: Row, patients: dict[str, Row], slots: dict[str, Row], now: datetime
) -> dict[str, Row]:
    """Who has which hour, `A20001` onwards in the order of the hours; the coming weeks fill up slowly."""
    rows: dict[str, Row] = {}
    elsewhere: set[tuple[str, str]] = set()
    for key, slot in slots.items():
        chance = draws(SEED, "hour", key)
        days = (datetime.fromisoformat(slot["starts_at"]) - now) / timedelta(days=1)
        if next(chance) > (0.62 if days < 0 else max(0.12, 0.55 - days / 70)):
            continue
        patient = pick(list(patients), chance)
        if (patient, slot["starts_at"]) in elsewhere:
            continue
        elsewhere.add((patient, slot["starts_at"]))
        allergic = patients[patient]["allergies"] == "lidocaine"
        treatments = names["dentists"][slot["dentist"]]["treatments"]
        fate = next(chance)
        status = "booked" if days > 0 else "missed" if fate < 0.05 else "done"
        if fate > 0.95:
            status = "cancelled"
        number = f"A{20_001 + len(rows)}"
        rows[number] = {
            "patient_number": patient,
            "treatment": pick([t for t in treatments if not allergic or t in WITHOUT_LIDOCAINE], chance),
            "dentist": slot["dentist"],
            "slot": key,
            "starts_at": slot["starts_at"],
            "status": status,
            "fee": LATE_FEE if status == "cancelled" and next(chance) < 0.4 else 0,
            "reminded_at": None,
        }
        if status != "cancelled":
            slot["appointment_number"] = number
        if status == "done":
            patients[patient]["last_visit"] = slot["starts_at"][:10]
    return rows


def make_invoices(names: Row, patients: dict[str, Row], appointments: dict[str, Row]) -> dict[str, Row]:
    """What patients pay for treatment and late cancellation, `I60001` onwards."""
    rows: dict[str, Row] = {}
    for number, row in appointments.items():
        amount = row["fee"]
        if row["status"] == "done":
            treatment = names["treatments"][row["treatment"]]
            plan = names["plans"][patients[row["patient_number"]]["plan"]]
            amount = treatment["price"] * (1 - (plan["share"] if treatment["covered"] else 0))
        if not amount:
            continue
        chance = next(draws(SEED, "paid", number))
        rows[f"I{60_001 + len(rows)}"] = {
            "patient_number": row["patient_number"],
            "appointment_number": number,
            "amount": round(amount, 2),
            "status": "open" if chance < 0.18 else "paid",
            "instalments": 0,
        }
    return rows


if __name__ == "__main__":
    raise SystemExit(write_world(make_world()))

"""Write resources/worlds/airline/world.json: the shipped airline desk, from lists of names and a fixed seed.

The hand-written sources are `frame.json` (clock, schema, tools, rules), `network.json` (airports, routes,
fares, vouchers) and `names.json` in `scripts/airline`, and the desk's `policy.md`. Running it again gives the
same bytes.

    python scripts/make_airline.py            writes the file
    python scripts/make_airline.py --check    exit 1 if the file would change
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta

from world_maker import Row, draws, new_people, pick, read_source, world_document, write_world

SEED = 20260512
PASSENGERS = 324
BOOKINGS = 460
BACK_DAYS, AHEAD_DAYS = 21, 30
"""Flights are on record from this many days before the desk's present to this many after."""
BAG_PRICE = 35
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"


def make_world() -> Row:
    """The whole world document; the same at every call."""
    frame, names = read_source("airline", "frame.json"), read_source("airline", "names.json")
    network = read_source("airline", "network.json")
    now = datetime.fromisoformat(frame["clock"]["now"])
    flights = make_flights(network)
    departures = make_departures(network, flights, now)
    passengers = make_passengers(names)
    bookings = make_bookings(network, flights, departures, passengers, now)
    data = {
        "settings": {
            "bag_price": BAG_PRICE,
            "most_bags": 3,
            "compensation": 120,
            "compensation_voucher": 150,
            "compensated_from_minutes": 180,
        },
        "airports": network["airports"],
        "fares": network["fares"],
        "flights": flights,
        "departures": departures,
        "passengers": passengers,
        "bookings": bookings,
        "payments": make_payments(bookings),
        "bags": make_bags(network, flights, departures, bookings, names, now),
        "vouchers": network["vouchers"] | make_vouchers(),
    }
    return world_document("airline", frame, data)


def make_flights(network: Row) -> dict[str, Row]:
    """Each route out and back, an odd and an even number."""
    rows: dict[str, Row] = {}
    for route in network["routes"]:
        chance = draws(SEED, "aircraft", route["number"])
        aircraft, _ = pick(network["aircraft"], chance)
        ways = [(0, "from", "to", "departs"), (1, "to", "from", "back")]
        for offset, origin, destination, leaves in ways:
            start = datetime.fromisoformat(f"2026-01-01T{route[leaves]}")
            rows[f"CLW{route['number'] + offset}"] = {
                "origin": route[origin],
                "destination": route[destination],
                "departs": route[leaves],
                "arrives": f"{start + timedelta(minutes=route['minutes']):%H:%M}",
                "aircraft": aircraft,
            }
    return rows


def make_departures(network: Row, flights: dict[str, Row], now: datetime) -> dict[str, Row]:
    """Every flight on each day that it flies, `CLW101/2026-05-12`, in the order of the days."""
    seats = dict(network["aircraft"])
    rows: dict[str, Row] = {}
    for n in range(-BACK_DAYS, AHEAD_DAYS + 1):
        day = (now + timedelta(days=n)).date()
        for route in network["routes"]:
            if str(day.weekday()) in route["days"]:
                for number in (f"CLW{route['number']}", f"CLW{route['number'] + 1}"):
                    room = seats[flights[number]["aircraft"]]
                    rows[f"{number}/{day}"] = _departure(
                        number, day, flights[number], route["price"], room, now
                    )
    return rows


def _departure(number: str, day: date, flight: Row, price: float, seats: int, now: datetime) -> Row:
    chance = draws(SEED, "departure", number, day)
    leaves = datetime.fromisoformat(f"{day}T{flight['departs']}:00")
    fate, room, delay = next(chance), next(chance), 0
    status = "airborne" if leaves > now - timedelta(hours=3) else "landed"
    if leaves > now:
        status = "scheduled"
    if fate < (0.03 if leaves < now else 0.08) and leaves < now + timedelta(days=3):
        status = "cancelled"
    elif fate < 0.16 and leaves < now + timedelta(hours=12):
        delay = 15 + 5 * int(next(chance) ** 2 * 84)
        status = "delayed" if status == "scheduled" else status
    return {
        "flight_number": number,
        "departs_at": leaves.isoformat(),
        "status": status,
        "delay_minutes": delay,
        "free_seats": 0 if room < 0.07 else int(room * seats * 0.7),
        "price": round(price * (0.75 + 0.7 * next(chance))),
        "gate": f"{pick('ABC', chance)}{1 + int(next(chance) * 14)}",
    }


def make_passengers(names: Row) -> dict[str, Row]:
    """People, each with a name, e-mail address and travel document, `N2001` onwards."""
    rows: dict[str, Row] = {}
    chance = draws(SEED, "people")
    for number, name, mail in new_people(names, PASSENGERS, chance):
        tier = pick(names["tiers"], chance)
        rows[f"N{2001 + number}"] = {
            "name": name,
            "email": mail,
            "document_number": f"P{1_000_000 + int(next(chance) * 89_999) * 100 + number % 100:07d}",
            "loyalty_number": None if tier == "none" else f"L{40_000 + number * 7}",
            "tier": tier,
        }
    return rows


def make_bookings(
    network: Row,
    flights: dict[str, Row],
    departures: dict[str, Row],
    passengers: dict[str, Row],
    now: datetime,
) -> dict[str, Row]:
    """Bookings under references such as `FS442K`, in the order drawn."""
    rows: dict[str, Row] = {}
    number = 0
    while len(rows) < BOOKINGS:
        chance = draws(SEED, "booking", number)
        number += 1
        one, two, last = (pick(LETTERS, chance) for _ in range(3))
        reference = f"{one}{two}{100 + int(next(chance) * 900)}{last}"
        if reference in rows:
            continue
        out = pick(list(departures), chance)
        legs = [out]
        if next(chance) < 0.45:
            legs += _way_back(out, flights, departures, chance)
        holder = pick(list(passengers), chance)
        rows[reference] = _booking(holder, legs, network["fares"], departures, now, chance)
    return rows


def _way_back(
    out: str, flights: dict[str, Row], departures: dict[str, Row], chance: Iterator[float]
) -> list[str]:
    """A return departure two to nine days later, if there is one."""
    number, day = out.split("/")
    here, there = flights[number]["origin"], flights[number]["destination"]
    for gap in range(2 + int(next(chance) * 5), 10):
        later = date.fromisoformat(day) + timedelta(days=gap)
        for other, flight in flights.items():
            ways = (flight["origin"], flight["destination"])
            if ways == (there, here) and f"{other}/{later}" in departures:
                return [f"{other}/{later}"]
    return []


def _booking(
    holder: str,
    legs: list[str],
    fares: Mapping[str, Row],
    departures: dict[str, Row],
    now: datetime,
    chance: Iterator[float],
) -> Row:
    travellers = pick([1, 1, 1, 1, 2, 2, 3, 4], chance)
    name = pick(["basic", "basic", "standard", "standard", "standard", "flex"], chance)
    times = [datetime.fromisoformat(departures[leg]["departs_at"]) for leg in legs]
    before = times[0] - timedelta(days=2 + 50 * next(chance), minutes=600 * next(chance))
    recent = now - timedelta(hours=1 + 40 * next(chance) ** 2)
    booked = min(before, recent) if next(chance) < 0.94 or times[0] < now + timedelta(days=3) else recent
    included = fares[name]["bags_included"] * travellers
    bags = min(pick([0, 0, 1, 1, 2, 3], chance), 3) if name == "basic" else int(included * next(chance) * 1.4)
    price = round(sum(departures[leg]["price"] for leg in legs) * fares[name]["factor"] * travellers, 2)
    held = booked == recent and next(chance) < 0.5
    total = price + max(0, bags - included) * BAG_PRICE
    return {
        "passenger_id": holder,
        "travellers": travellers,
        "fare": name,
        "status": "held" if held else _status([departures[leg] for leg in legs], now, next(chance)),
        "booked_at": booked.replace(second=0, microsecond=0).isoformat(),
        "hold_until": f"{now + timedelta(hours=20 + 30 * next(chance)):%Y-%m-%dT%H:00:00}" if held else None,
        "segments": [dict(zip(("flight_number", "date"), leg.split("/"), strict=True)) for leg in legs],
        "price": price,
        "bags": bags,
        "discount": 0,
        "total": round(total, 2),
        "payment": "none" if held else pick(["card", "card", "card", "wallet", "bank_transfer"], chance),
        "compensation": 0,
        "history": [],
    }


def _status(legs: list[Row], now: datetime, chance: float) -> str:
    """The status of a paid booking: confirmed if every leg was cancelled, for the passenger may still choose."""
    times = [datetime.fromisoformat(leg["departs_at"]) for leg in legs if leg["status"] != "cancelled"]
    if not times:
        return "confirmed"
    if times[-1] < now:
        return "flown"
    if times[0] > now and chance < 0.05:
        return "cancelled"
    soon = times[0] > now and times[0] < now + timedelta(hours=24)
    return "checked_in" if soon and chance < 0.5 else "confirmed"


def make_payments(bookings: dict[str, Row]) -> dict[str, Row]:
    """What was paid for each booking, and paid back for a cancelled one, `Y30001` onwards."""
    rows: dict[str, Row] = {}

    def paid(reference: str, kind: str, moment: datetime) -> None:
        row = bookings[reference]
        rows[f"Y{30_001 + len(rows)}"] = {
            "booking_reference": reference,
            "kind": kind,
            "amount": row["total"],
            "method": row["payment"],
            "at": moment.isoformat(),
        }

    for reference, row in bookings.items():
        booked = datetime.fromisoformat(row["booked_at"])
        if row["status"] != "held":
            paid(reference, "charge", booked)
        if row["status"] == "cancelled":
            row["history"].append({"event": "cancelled", "at": (booked + timedelta(hours=3)).isoformat()})
            paid(reference, "refund", booked + timedelta(hours=3))
    return rows


def make_bags(
    network: Row,
    flights: dict[str, Row],
    departures: dict[str, Row],
    bookings: dict[str, Row],
    names: Row,
    now: datetime,
) -> dict[str, Row]:
    """The bags of departed flights: on a belt, or last seen where they set out."""
    rows: dict[str, Row] = {}
    for reference, row in bookings.items():
        if row["status"] in ("cancelled", "held"):
            continue
        gone = [s for s in row["segments"] if _left(departures, s, now)]
        for number in range(row["bags"] if gone else 0):
            chance = draws(SEED, "bag", reference, number)
            leg = gone[-1]
            flight = flights[leg["flight_number"]]
            leaves = datetime.fromisoformat(departures[f"{leg['flight_number']}/{leg['date']}"]["departs_at"])
            behind = next(chance) < (0.4 if now - leaves < timedelta(days=2) else 0.08)
            city = network["airports"][flight["origin" if behind else "destination"]]["city"]
            seen = leaves - timedelta(minutes=40) if behind else leaves + timedelta(hours=3)
            rows[f"BT{204_001 + 37 * len(rows)}"] = {
                "booking_reference": reference,
                "status": "in_transit" if behind else "delivered",
                "last_seen": min(seen, now - timedelta(minutes=10)).isoformat(),
                "last_place": f"{city}, {'sorting hall' if behind else pick(names['belts'], chance)}",
            }
    return rows


def _left(departures: dict[str, Row], segment: Row, now: datetime) -> bool:
    row = departures[f"{segment['flight_number']}/{segment['date']}"]
    return row["departs_at"] < now.isoformat() and row["status"] == "landed"


def make_vouchers() -> dict[str, Row]:
    """Vouchers that the desk issued for delays, `VCR3001` onwards."""
    rows: dict[str, Row] = {}
    for number in range(48):
        chance = draws(SEED, "voucher", number)
        ends = date(2026, 3, 1) + timedelta(days=int(next(chance) * 400))
        rows[f"VCR{3001 + number}"] = {
            "amount": pick([120, 150, 150, 240, 300], chance),
            "min_total": 0,
            "until": ends.isoformat(),
            "booking_reference": None,
        }
    return rows


if __name__ == "__main__":
    raise SystemExit(write_world(make_world()))

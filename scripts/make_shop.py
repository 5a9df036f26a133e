"""Write resources/worlds/shop/world.json: the shipped online shop, from lists of names and a fixed seed.

The hand-written sources are `frame.json` (clock, schema, tools, rules) and `names.json` (people, places,
products) in `scripts/shop`, and the shop's `policy.md`. Running it again gives the same bytes.

    python scripts/make_shop.py            writes the file
    python scripts/make_shop.py --check    exit 1 if the file would change
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice

from world_maker import Row, address, draws, new_name, pick, read_source, world_document, write_world

SEED = 20261120
CUSTOMERS = 312
ORDERS = 540
DAYS = 172
"""The first order was placed this many days before the shop's present."""


def make_world() -> Row:
    """The whole world document; the same at every call."""
    frame = read_source("shop", "frame.json")
    names = read_source("shop", "names.json")
    now = datetime.fromisoformat(frame["clock"]["now"])
    products = make_products(names)
    customers = make_customers(names, now)
    orders, parcels = make_orders(names, customers, products, now)
    data = {
        "customers": customers,
        "orders": orders,
        "parcels": parcels,
        "products": products,
        "settings": {"return_days": 30, "free_shipping_from": 75, "lost_after_days": 7},
        "vouchers": names["vouchers"],
    }
    return world_document("shop", frame, data)


def make_products(names: Row) -> dict[str, Row]:
    """Each family in each of its colours, `P1001` onwards."""
    rows: dict[str, Row] = {}
    for family in names["products"]:
        for color in family["colors"]:
            key = f"P{1001 + len(rows)}"
            chance = next(draws(SEED, "stock", key))
            rows[key] = {
                "name": f"{family['family']}, {color}",
                "family": family["family"],
                "color": color,
                "category": family["category"],
                "price": family["price"],
                "stock": 0 if chance < 0.08 else int(chance * 140),
            }
    return rows


def make_customers(names: Row, now: datetime) -> dict[str, Row]:
    """People, each with a name and e-mail address, `C2001` onwards."""
    rows: dict[str, Row] = {}
    taken: set[str] = set()
    chance = draws(SEED, "people")
    while len(rows) < CUSTOMERS:
        first, last = new_name(names["people"], taken, chance)
        city, postal = pick(names["places"], chance)
        joined = now - timedelta(days=DAYS + int(next(chance) * 1400))
        rows[f"C{2001 + len(rows)}"] = {
            "name": f"{first} {last}",
            "email": address(first, last, names["domains"], chance),
            "street": f"{3 + int(next(chance) * 1290)} {pick(names['streets'], chance)}",
            "city": city,
            "zip": postal,
            "customer_since": joined.date().isoformat(),
            "credit": pick([0, 0, 0, 0, 0, 5, 10, 12.5], chance),
        }
    return rows


def make_orders(
    names: Row, customers: dict[str, Row], products: dict[str, Row], now: datetime
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Orders by date, `W10001` onwards, and the parcels of those that were sent."""
    shares = sorted(islice(draws(SEED, "dates"), ORDERS), reverse=True)
    ages = [DAYS * share * (0.3 + 0.7 * share) for share in shares]
    orders: dict[str, Row] = {}
    parcels: dict[str, Row] = {}
    for number, age in enumerate(ages):
        key = f"W{10001 + number}"
        chance = draws(SEED, "order", key)
        buyer = list(customers)[int(next(chance) * CUSTOMERS)]
        order = _order(buyer, customers[buyer], products, now - timedelta(days=age, minutes=5), chance)
        _advance(order, key, parcels, names["carriers"], now, chance)
        orders[key] = order
    return orders, parcels


def _order(
    buyer: str, customer: Row, products: dict[str, Row], placed: datetime, chance: Iterator[float]
) -> Row:
    lines: dict[str, Row] = {}
    for _ in range(pick([1, 1, 1, 2, 2, 3], chance)):
        product = list(products)[int(next(chance) * len(products))]
        row = products[product]
        quantity = pick([1, 1, 1, 1, 2], chance)
        lines[product] = {
            "product_id": product,
            "name": row["name"],
            "quantity": quantity,
            "price": row["price"],
        }
    goods = round(sum(line["price"] * line["quantity"] for line in lines.values()), 2)
    shipping = 0 if goods >= 75 else 6.9
    return {
        "customer_id": buyer,
        "placed_at": placed.replace(second=0, microsecond=0).isoformat(),
        "status": "processing",
        "items": list(lines.values()),
        "goods": goods,
        "shipping": shipping,
        "discount": 0,
        "total": round(goods + shipping, 2),
        "payment": pick(["card", "card", "card", "paypal", "bank_transfer"], chance),
        "ship_to": {key: customer[key] for key in ("street", "city", "zip")},
        "tracking_number": None,
        "delivered_at": None,
        "history": [],
    }


def _advance(
    order: Row,
    key: str,
    parcels: dict[str, Row],
    carriers: Sequence[str],
    now: datetime,
    chance: Iterator[float],
) -> None:
    """Bring the order up to the present: still processing, cancelled, on its way, delivered, refunded."""
    placed = datetime.fromisoformat(order["placed_at"])
    sent = placed + timedelta(hours=20 + 60 * next(chance))
    arrived = sent + timedelta(hours=40 + 90 * next(chance))
    if next(chance) < 0.04 and placed < now - timedelta(days=2):
        _close(order, "cancelled", placed + timedelta(hours=1 + 10 * next(chance)))
        return
    if sent > now:
        return
    tracking = f"PX{int(next(chance) * 9e7) + 10_000_000}"
    stuck = arrived < now and now - sent < timedelta(days=24) and next(chance) < 0.06
    on_road = stuck or arrived > now
    seen = sent + timedelta(hours=30) if stuck else min(arrived, now - timedelta(hours=3 + 9 * next(chance)))
    place = (
        order["ship_to"]["city"]
        if not on_road
        else pick(["Reno", "Joliet", "Harrisburg", "Amarillo"], chance)
    )
    order["tracking_number"] = tracking
    order["status"] = "shipped" if on_road else "delivered"
    parcels[tracking] = {
        "order_id": key,
        "carrier": pick(carriers, chance),
        "status": "in_transit" if on_road else "delivered",
        "last_scan": max(seen, sent).replace(second=0, microsecond=0).isoformat(),
        "last_place": place,
        "expected_on": arrived.date().isoformat(),
    }
    if not on_road:
        order["delivered_at"] = arrived.replace(second=0, microsecond=0).isoformat()
        if next(chance) < 0.05:
            _close(order, "refunded", min(arrived + timedelta(hours=20 + 100 * next(chance)), now))


def _close(order: Row, event: str, moment: datetime) -> None:
    order["status"] = event
    at = moment.replace(second=0, microsecond=0).isoformat()
    entry: Row = {"event": event, "amount": order["total"], "at": at, "note": ""}
    if event == "refunded":
        entry["method"] = "original_payment"
    order["history"].append(entry)


if __name__ == "__main__":
    raise SystemExit(write_world(make_world()))

"""Write resources/worlds/shop/world.json: the shipped online shop, from lists of names and a fixed seed.

What people wrote lies in `scripts/shop`, in `frame.json` (clock, schema, tools, rules) and `names.json`
(people, places, products), and in the shop's `policy.md`. Running it again gives the same bytes on every
machine: all chance comes from `draws`, a stable hash, never from Python's generator. Every person is made up.

    python scripts/make_shop.py            writes the file
    python scripts/make_shop.py --check    exit 1 if the file would change
"""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

Row = dict[str, Any]
T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "scripts" / "shop"
TARGET = ROOT / "resources" / "worlds" / "shop" / "world.json"

SEED = 20261120
CUSTOMERS = 312
ORDERS = 540
DAYS = 172
"""The first order was placed this many days before the shop's now."""


def make_world() -> Row:
    """Make the whole world document; the same at every call."""
    frame = _read("frame.json")
    names = _read("names.json")
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
    policy = (TARGET.parent / "policy.md").read_text(encoding="utf-8")
    return {"format": "world/1", "name": "shop", "clock": frame["clock"], "policy": policy, "db": data} | {
        key: frame[key] for key in ("schema", "tools", "rules")
    }


def render(world: Mapping[str, Any]) -> str:
    """JSON text with one record, tool or rule a line, so that a change reads well in a diff."""
    head = [
        f"{_json(key)}: {_json(value)}" for key, value in world.items() if key not in ("db", "tools", "rules")
    ]
    collections = [f"{_json(name)}: {{\n{_lines(rows)}\n}}" for name, rows in world["db"].items()]
    head.append(f'"db": {{\n{_joined(collections)}\n}}')
    head += [f"{_json(key)}: [\n{_joined(map(_json, world[key]))}\n]" for key in ("tools", "rules")]
    return "{\n" + _joined(head) + "\n}\n"


def draws(*purpose: object) -> Iterator[float]:
    """Endless stable numbers in [0, 1) that depend on the purpose alone."""
    number = 0
    while True:
        key = json.dumps([SEED, *map(str, purpose), number]).encode()
        yield int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        number += 1


def make_products(names: Row) -> dict[str, Row]:
    """Each family in each of its colours, `P1001` onwards."""
    rows: dict[str, Row] = {}
    for family in names["products"]:
        for color in family["colors"]:
            key = f"P{1001 + len(rows)}"
            chance = next(draws("stock", key))
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
    """People with a name and an e-mail address of their own, `C2001` onwards."""
    rows: dict[str, Row] = {}
    taken: set[str] = set()
    chance = draws("people")
    while len(rows) < CUSTOMERS:
        group = _pick(names["people"], chance)
        first, last = _pick(group["first"], chance), _pick(group["last"], chance)
        if f"{first} {last}" in taken:
            continue
        taken.add(f"{first} {last}")
        city, postal = _pick(names["places"], chance)
        joined = now - timedelta(days=DAYS + int(next(chance) * 1400))
        rows[f"C{2001 + len(rows)}"] = {
            "name": f"{first} {last}",
            "email": _address(first, last, next(chance)) + "@" + _pick(names["domains"], chance),
            "street": f"{3 + int(next(chance) * 1290)} {_pick(names['streets'], chance)}",
            "city": city,
            "zip": postal,
            "customer_since": joined.date().isoformat(),
            "credit": _pick([0, 0, 0, 0, 0, 5, 10, 12.5], chance),
        }
    return rows


def make_orders(
    names: Row, customers: dict[str, Row], products: dict[str, Row], now: datetime
) -> tuple[dict[str, Row], dict[str, Row]]:
    """Orders in the sequence of their dates, `W10001` onwards, and the parcels of those that were sent."""
    shares = sorted(islice(draws("dates"), ORDERS), reverse=True)
    ages = [DAYS * share * (0.3 + 0.7 * share) for share in shares]
    orders: dict[str, Row] = {}
    parcels: dict[str, Row] = {}
    for number, age in enumerate(ages):
        key = f"W{10001 + number}"
        chance = draws("order", key)
        buyer = list(customers)[int(next(chance) * CUSTOMERS)]
        order = _order(buyer, customers[buyer], products, now - timedelta(days=age, minutes=5), chance)
        _advance(order, key, parcels, names["carriers"], now, chance)
        orders[key] = order
    return orders, parcels


def _order(
    buyer: str, customer: Row, products: dict[str, Row], placed: datetime, chance: Iterator[float]
) -> Row:
    lines: dict[str, Row] = {}
    for _ in range(_pick([1, 1, 1, 2, 2, 3], chance)):
        product = list(products)[int(next(chance) * len(products))]
        row = products[product]
        quantity = _pick([1, 1, 1, 1, 2], chance)
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
        "payment": _pick(["card", "card", "card", "paypal", "bank_transfer"], chance),
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
    """Bring the order up to now: still processing, cancelled, on its way, delivered, refunded."""
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
        else _pick(["Reno", "Joliet", "Harrisburg", "Amarillo"], chance)
    )
    order["tracking_number"] = tracking
    order["status"] = "shipped" if on_road else "delivered"
    parcels[tracking] = {
        "order_id": key,
        "carrier": _pick(carriers, chance),
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


def _address(first: str, last: str, chance: float) -> str:
    plain = [_ascii(part).lower().replace(" ", "") for part in (first, last)]
    forms: list[Callable[[str, str], str]] = [
        lambda a, b: f"{a}.{b}",
        lambda a, b: f"{a[0]}.{b}",
        lambda a, b: f"{a}_{b}",
        lambda a, b: f"{b}.{a}",
    ]
    return forms[int(chance * len(forms))](*plain)


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _pick(items: Sequence[T], chance: Iterator[float]) -> T:
    return items[int(next(chance) * len(items))]


def _read(name: str) -> Row:
    return json.loads((SOURCES / name).read_text(encoding="utf-8"))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(rows: Mapping[str, Any]) -> str:
    return _joined(f"{_json(key)}: {_json(row)}" for key, row in rows.items())


def _joined(parts: Any) -> str:
    return ",\n".join(parts)


def main() -> int:
    """Write the file, or with --check compares it; the exit code."""
    text = render(make_world())
    if "--check" in sys.argv[1:]:
        same = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        print(f"{TARGET.relative_to(ROOT)}: {'up to date' if same else 'would change'}")
        return 0 if same else 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(text.encode()):,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""World calls per second of CPU on one core, through `Scene.call` as in trials; prints JSON.

python benchmarks/world_calls.py [calls]

`read` looks up an order of the shop; `write` refunds a delivered one, each time on a fresh scene. `small_read` and
`small_write` do the simplest thing possible on a small world.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caseharden.engine.records.world import World
from caseharden.engine.world import CompiledWorld, Scene, compile_world

SHOP = Path(__file__).resolve().parent.parent / "resources" / "worlds" / "shop"
SMALL: dict[str, Any] = {
    "format": "world/1",
    "name": "small",
    "db": {"things": {f"t{n}": {"count": n} for n in range(100)}},
    "tools": [
        {
            "name": "look",
            "parameters": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            "steps": [
                {"let": {"t": "db.things.get(id)"}},
                {"require": "t", "error": "no thing {id}"},
                {"return": "t"},
            ],
        },
        {
            "name": "count",
            "parameters": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            "steps": [
                {"let": {"t": "db.things.get(id)"}},
                {"require": "t", "error": "no thing {id}"},
                {"set": {"t.count": "t.count + 1"}},
            ],
        },
    ],
}


def a_second(calls: int, call: Callable[[int], Any]) -> float:
    """How many of these are made in a second of CPU."""
    began = time.process_time()
    for n in range(calls):
        call(n)
    return round(calls / (time.process_time() - began))


def refunds(world: CompiledWorld, orders: list[str]) -> Callable[[int], Any]:
    """A refund on a scene of its own."""

    def call(n: int) -> None:
        outcome = Scene(world).call("refund_order", json.dumps({"order_id": orders[n % len(orders)]}))
        assert outcome.error in (None, "refused"), outcome.text

    return call


def main(calls: int) -> None:
    shop = compile_world(World.model_validate_json((SHOP / "world.json").read_text(encoding="utf-8")))
    small = Scene(compile_world(World.model_validate(SMALL)))
    scene = Scene(shop)
    orders = list(shop.world.db["orders"])
    delivered = [key for key, order in shop.world.db["orders"].items() if order["status"] == "delivered"]
    figures = {
        "small_read": a_second(calls, lambda n: small.call("look", f'{{"id": "t{n % 100}"}}')),
        "small_write": a_second(calls, lambda n: small.call("count", f'{{"id": "t{n % 100}"}}')),
        "read": a_second(
            calls, lambda n: scene.call("look_up_order", json.dumps({"order_id": orders[n % 500]}))
        ),
        "write": a_second(calls // 4, refunds(shop, delivered)),
    }
    print(json.dumps({"calls": calls, "calls_per_cpu_s": figures}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)

"""The worked example: a small shop with both sides, its scenario's record and what grading says of it."""

from __future__ import annotations

from typing import Any

SHOP: dict[str, Any] = {
    "format": "world/1",
    "name": "shop",
    "policy": "# Refunds\nRefund only delivered orders. Ask the customer to confirm first.",
    "clock": {"now": "2026-11-21T10:00:00", "turn_s": 30, "call_s": 1, "think_s": 2},
    "db": {
        "orders": {
            "#W1": {"user_id": "u1", "status": "delivered", "total": 59.9, "history": []},
            "#W2": {"user_id": "u1", "status": "shipped", "total": 12, "history": []},
        },
        "users": {"u1": {"name": "Dana", "zip": "10001", "credit": 0}},
        "settings": {"refund_limit": 100},
    },
    "user_db": {"phone": {"banner": None}},
    "schema": {
        "db.orders": {
            "required": ["user_id", "status", "total"],
            "fields": {
                "status": {"enum": ["pending", "shipped", "delivered", "refunded"]},
                "user_id": {"ref": "users"},
            },
        }
    },
    "tools": [
        {
            "name": "get_order",
            "parameters": {
                "type": "object",
                "required": ["order_id"],
                "properties": {"order_id": {"type": "string"}},
            },
            "steps": [
                {"let": {"o": "db.orders.get(order_id)"}},
                {"require": "o", "error": "no order {order_id}"},
                {"return": "merge({'order_id': order_id}, without(o, 'history'))"},
            ],
        },
        {
            "name": "refund_order",
            "parameters": {
                "type": "object",
                "required": ["order_id", "to"],
                "properties": {
                    "order_id": {"type": "string"},
                    "to": {"type": "string", "enum": ["card", "credit"]},
                    "note": {"type": "string", "default": ""},
                },
            },
            "steps": [
                {"let": {"o": "db.orders.get(order_id)"}},
                {"require": "o", "error": "no order {order_id}"},
                {
                    "require": "o.status == 'delivered'",
                    "error": "order {order_id} is {o.status}, not delivered",
                },
                {
                    "require": "to == 'credit' or o.total <= db.settings.refund_limit",
                    "error": "card refunds only up to {db.settings.refund_limit}",
                },
                {"set": {"o.status": "'refunded'"}},
                {
                    "if": "to == 'credit'",
                    "then": [
                        {"let": {"u": "db.users[o.user_id]"}},
                        {"set": {"u.credit": "round(u.credit + o.total, 2)"}},
                    ],
                },
                {
                    "append": "o.history",
                    "value": "{'refunded': o.total, 'to': to, 'at': now(), 'note': note}",
                },
                {"return": "{'order_id': order_id, 'refunded': o.total, 'to': to}"},
            ],
        },
        {"name": "transfer_to_human", "kind": "terminal", "steps": [{"return": "'transferred'"}]},
    ],
    "sync": [
        {
            "if": "db.orders['#W1'].status == 'refunded' and not user_db.phone.banner",
            "then": [{"set": {"user_db.phone.banner": "'Refund on its way'"}}],
        }
    ],
    "rules": [
        {"id": "ask-first", "confirm": "refund_order", "severity": "critical"},
        {"id": "look-first", "before": "refund_order", "need": {"tool": "get_order"}},
    ],
}
SCENARIO: dict[str, Any] = {
    "id": "refund-late-parcel",
    "persona": "dana-terse",
    "goal": "Get order #W1 refunded; #W2 must still come",
    "knowledge": [{"fact": "order id", "value": "#W1"}, {"fact": "zip", "value": "10001"}],
    "unknown": ["email"],
    "reveal": "on_request",
    "agent_context": "Web chat of the shop",
    "script": [
        {"user": "hi, my parcel came far too late"},
        {"agent": None},
        {"user": "order #W1, to my card please"},
        {"agent": None},
        {"proceed": None},
    ],
    "events": [
        {
            "id": "limit",
            "when": {"tool": "get_order", "args": {"order_id": "#W1"}},
            "timeout_s": 600,
            "on_timeout": "skip",
            "do": [
                {"set": {"db.settings.refund_limit": 50}},
                {"notify": "Card refunds are now limited to {db.settings.refund_limit} dollars"},
            ],
        },
        {"id": "mind", "after": ["limit"], "delay_turns": 1, "do": {"say": "yes, store credit is fine"}},
        {"id": "courier", "delay_s": 45, "do": {"set": {"db.orders['#W2'].status": "'delivered'"}}},
    ],
    "faults": [{"tool": "get_order", "on_calls": [1], "error": "503 upstream timeout"}],
    "expected": [
        {"say": "May I have the order number?"},
        {"tool": "get_order", "args": {"order_id": "#W1"}},
        {"say": "Card refunds stop at 50 dollars. Is store credit fine?"},
        {"tool": "refund_order", "args": {"order_id": "#W1", "to": "credit"}},
        {"say": "Done: 59.90 dollars in store credit."},
    ],
    "success": [
        {
            "id": "world",
            "world": "expected",
            "ignore": ["db.orders[*].history[*].at", "db.orders[*].history[*].note"],
        },
        {"id": "w2-kept", "state": "db.orders['#W2']", "unchanged": True, "except": ["courier"]},
        {"id": "calls", "tool_calls": "expected", "match": "unordered"},
        {"id": "looked", "kind": "milestone", "tool": "get_order", "by_turn": 3, "weight": 0.5},
        {"id": "wrong-order", "kind": "minefield", "tool": "refund_*", "args": {"order_id": "#W2"}},
        {"id": "told", "said": {"number": 59.9}, "by": "agent"},
        {"id": "tone", "judge": "The agent apologises for the delay", "counts": False},
    ],
    "reward": {"combine": "product", "of": ["world", "told"]},
    "hints": [{"for": "limit", "text": "Store credit has no limit"}],
    "limits": {"max_turns": 8},
    "seed": 7,
    "tags": ["refund"],
}
RECORD: dict[str, Any] = {
    "format": "conversation/1",
    "scenario": "refund-late-parcel",
    "seed": 7,
    "trial": 1,
    "end": {"reason": "user_stop", "detail": "", "turn": 4, "t": 105},
    "log": [
        {"n": 1, "turn": 1, "t": 0, "by": "user", "say": "hi, my parcel came far too late"},
        {"n": 2, "turn": 1, "t": 2, "by": "agent", "say": "I am sorry. Which order is it?"},
        {"n": 3, "turn": 2, "t": 32, "by": "user", "say": "order #W1, to my card please"},
        {
            "n": 4,
            "turn": 2,
            "t": 35,
            "id": "k1",
            "by": "agent",
            "tool": "get_order",
            "args": {"order_id": "#W1"},
            "kind": "read",
            "ok": False,
            "error": "injected",
            "injected": "error",
            "result": "503 upstream timeout",
        },
        {
            "n": 5,
            "turn": 2,
            "t": 38,
            "id": "k2",
            "by": "agent",
            "tool": "get_order",
            "args": {"order_id": "#W1"},
            "kind": "read",
            "ok": True,
            "result": {"order_id": "#W1", "user_id": "u1", "status": "delivered", "total": 59.9},
        },
        {
            "n": 6,
            "turn": 2,
            "t": 38,
            "event": "limit",
            "status": "fired",
            "patches": [
                {"op": "set", "path": "db.settings.refund_limit", "by": "event:limit", "old": 100, "new": 50}
            ],
        },
        {
            "n": 7,
            "turn": 2,
            "t": 38,
            "by": "event:limit",
            "notify": "Card refunds are now limited to 50 dollars",
        },
        {
            "n": 8,
            "turn": 2,
            "t": 40,
            "by": "agent",
            "say": "A card refund is limited to 50 dollars now. Store credit instead?",
        },
        {"n": 9, "turn": 3, "t": 70, "event": "mind", "status": "fired"},
        {
            "n": 10,
            "turn": 3,
            "t": 70,
            "event": "courier",
            "status": "fired",
            "patches": [
                {
                    "op": "set",
                    "path": "db.orders['#W2'].status",
                    "by": "event:courier",
                    "old": "shipped",
                    "new": "delivered",
                }
            ],
        },
        {"n": 11, "turn": 3, "t": 70, "by": "user", "say": "yes, store credit is fine"},
        {
            "n": 12,
            "turn": 3,
            "t": 73,
            "id": "k3",
            "by": "agent",
            "tool": "refund_order",
            "args": {"order_id": "#W1", "to": "credit", "note": "late parcel"},
            "kind": "write",
            "ok": True,
            "result": {"order_id": "#W1", "refunded": 59.9, "to": "credit"},
            "patches": [
                {
                    "op": "set",
                    "path": "db.orders['#W1'].status",
                    "by": "agent",
                    "old": "delivered",
                    "new": "refunded",
                },
                {"op": "set", "path": "db.users.u1.credit", "by": "agent", "old": 0, "new": 59.9},
                {
                    "op": "insert",
                    "path": "db.orders['#W1'].history[0]",
                    "by": "agent",
                    "new": {
                        "refunded": 59.9,
                        "to": "credit",
                        "at": "2026-11-21T10:01:13",
                        "note": "late parcel",
                    },
                },
                {
                    "op": "set",
                    "path": "user_db.phone.banner",
                    "by": "sync",
                    "old": None,
                    "new": "Refund on its way",
                },
            ],
        },
        {"n": 13, "turn": 3, "t": 75, "by": "agent", "say": "Refunded $59.90 as store credit."},
    ],
    "delta": [
        {
            "op": "set",
            "path": "db.orders['#W1'].history[0]",
            "new": {"refunded": 59.9, "to": "credit", "at": "2026-11-21T10:01:13", "note": "late parcel"},
        },
        {"op": "set", "path": "db.orders['#W1'].status", "old": "delivered", "new": "refunded"},
        {"op": "set", "path": "db.orders['#W2'].status", "old": "shipped", "new": "delivered"},
        {"op": "set", "path": "db.settings.refund_limit", "old": 100, "new": 50},
        {"op": "set", "path": "db.users.u1.credit", "old": 0, "new": 59.9},
        {"op": "set", "path": "user_db.phone.banner", "old": None, "new": "Refund on its way"},
    ],
}

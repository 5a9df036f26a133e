"""How many spans of an agent are read per second; prints a line of JSON.

python benchmarks/spans.py [--spans 1000] [--rounds 20]

Each round reads one OTLP export in JSON and finds the tool calls in it that were not seen in another way. CPU of one
core.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from caseharden.engine.agents import read_export
from caseharden.engine.agents.traced import unseen


def export(spans: int) -> bytes:
    """Calls of a tool with arguments and a result of typical size."""
    told: list[dict[str, Any]] = []
    for n in range(1, spans + 1):
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_order",
            "gen_ai.tool.call.id": f"call_{n}",
            "gen_ai.tool.call.arguments": json.dumps({"order_id": f"W{n}"}),
            "gen_ai.tool.call.result": json.dumps({"state": "sent", "note": "x" * 400}),
        }
        span = {
            "traceId": "a" * 32,
            "spanId": f"{n:016x}",
            "name": "execute_tool get_order",
            "startTimeUnixNano": str(n * 10**9),
            "endTimeUnixNano": str(n * 10**9 + 10**8),
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()],
        }
        told.append(span)
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": told}]}]}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--spans", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    body = export(args.spans)
    began = time.process_time()
    for _ in range(args.rounds):
        found = unseen(read_export(body).spans, [])
        assert len(found) == args.spans
    cpu_s = (time.process_time() - began) / args.rounds
    told = {"spans": args.spans, "bytes": len(body), "cpu_ms": round(cpu_s * 1000, 1)}
    print(json.dumps({"what": "spans", **told, "spans_a_second": round(args.spans / cpu_s)}))


if __name__ == "__main__":
    main()

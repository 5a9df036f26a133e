"""Runs the shipped shop without a key and writes files for trainers to load: export_training_data.py [--home DIR]."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import anyio

from caseharden import CasehardenError, Workbench

FORMATS = ("sft", "dpo", "grpo")


def for_template(row: dict[str, Any], column: str = "messages") -> tuple[list[dict[str, Any]], list[Any]]:
    """(messages, tools) of a row as chat templates take them: arguments as objects, nothing that is None."""
    messages: list[dict[str, Any]] = []
    for message in row[column]:
        kept = {name: value for name, value in message.items() if value is not None}
        calls = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in kept.get("tool_calls", [])
        ]
        messages.append({**kept, "tool_calls": calls} if calls else kept)
    return messages, json.loads(row["tools"])


async def export(home: Path) -> None:
    async with Workbench(home) as bench:
        await bench.environments.create("shop", world="shop")
        await bench.simulations.create("shop", wait_s=45)
        run = (await bench.runs.start("shop", trials=2, wait_s=45)).run
        print(f"{run.id}: {run.totals.passed} of {run.totals.trials} trials passed")
        for format in FORMATS:
            try:
                report = await bench.exports.export(run.id, format, file=f"shop-{format}")
            except CasehardenError as error:
                print(f"{format}: {error}")
                continue
            print(
                f"{format}: {report.records} records in {report.file}; left out: {'; '.join(report.left_out)}"
            )
            if format == "sft":
                row = json.loads(report.path.read_text(encoding="utf-8").splitlines()[0])
                messages, tools = for_template(row)
                roles = " ".join(message["role"] for message in messages)
                print(f"{row['id']}: {roles}; {len(tools)} tools; reward {row['reward']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="data folder; default: a temporary one")
    home = parser.parse_args().home
    if home is not None:
        anyio.run(export, home)
        return
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(export, Path(folder))


if __name__ == "__main__":
    main()

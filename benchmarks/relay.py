"""What relay adds to a model call, and how many recorded calls are found per second; prints a line of JSON for each.

python benchmarks/relay.py [--simulations 200] [--turns 5] [--lines 10000]

The same conversations are run twice: first a client plays their users through relay, recorded into a cassette, and
then the cassette does. What the first run takes more, divided by its calls, is the cost of a relayed call, including
the client's answer and the recording. CPU is that of the process, in ms. A look-up hashes the request and finds it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.llm import Cassette, Message, ModelReply, ModelRequest, RecordedModel, ToolSignature
from caseharden.engine.llm.offline import OfflineModel
from caseharden.engine.net import Secrets
from caseharden.engine.workbench import Workbench as Bench
from caseharden.engine.workbench.results import ModelCallBatch, RunReport
from caseharden.resources.workbench import Workbench

TAPE = "calls.jsonl"
PATIENCE_S = 20


def answers(batch: ModelCallBatch) -> list[dict[str, str]]:
    """The same words for every call."""
    return [{"id": call["id"], "text": "I would like to know where my parcel is."} for call in batch.calls]


async def made(bench: Bench, simulations: int, turns: int) -> None:
    """An environment without tools whose users speak that many times."""
    limits = {"max_turns": turns, "same_message": 100}
    await bench.environments.create("desk", instructions="You help.", settings={"limits": limits})
    cases = [{"id": f"case-{n}", "goal": f"Find parcel {n}."} for n in range(simulations)]
    await bench.scenarios.create("desk", cases, check=False)


async def run(bench: Bench, user: str, options: Mapping[str, Any]) -> tuple[RunReport, int, float]:
    """A run: the calls answered and the CPU seconds it took."""
    began, answered, trips = time.process_time(), 0, 0
    asked: dict[str, Any] = {"models": {"user": user}, "options": {"confirm": True, **options}}
    report = await bench.runs.start("desk", **asked, wait_s=PATIENCE_S)
    while report.job is not None and report.job.active:
        batch = await bench.model_calls.take(report.job.id, limit=64, history="new", wait_s=PATIENCE_S)
        while batch.calls:
            answered, trips = answered + len(batch.calls), trips + 1
            batch = await bench.model_calls.answer(answers(batch), limit=64, history="new", wait_s=PATIENCE_S)
        report = bench.runs.report_of((await bench.jobs.wait(report.job.id, PATIENCE_S)).job)
    return report, answered, time.process_time() - began


async def relayed(home: Path, simulations: int, turns: int) -> dict[str, Any]:
    """What a relayed call costs."""
    async with Workbench(home / "data", roots=[home]) as bench:
        await made(bench, simulations, turns)
        began = time.perf_counter()
        first, calls, cpu_s = await run(bench, "relay", {"cassette": {"file": TAPE, "mode": "record"}})
        wall_s = time.perf_counter() - began
        second, none, less_s = await run(bench, f"replay:{TAPE}", {})
    assert (calls, none) == (simulations * turns, 0), (calls, none)
    assert first.run.totals.trials == second.run.totals.trials == simulations
    return {
        "what": "a relayed call",
        "simulations": simulations,
        "calls": calls,
        "cpu_ms": round(1000 * (cpu_s - less_s) / calls, 3),
        "wall_ms": round(1000 * wall_s / calls, 3),
    }


def request(n: int) -> ModelRequest:
    """A request of typical size: 3 kB of instructions, 12 tools, six messages."""
    spoken = [Message("user" if k % 2 else "assistant", f"Words of turn {k}. " * 10) for k in range(6)]
    return ModelRequest("agent", [Message("system", f"{n} " + "Do it. " * 400), *spoken], TOOLS, seed=n)


PARAMETERS = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
TOOLS = tuple(ToolSignature(f"tool_{k}", "Does something.", PARAMETERS) for k in range(12))


async def looked_up(home: Path, lines: int) -> dict[str, Any]:
    """How fast a cassette answers."""
    tape = Cassette(home / "many.jsonl", "many.jsonl", Secrets(lambda path, where: ""), "file")
    requests = [request(n) for n in range(lines)]
    began = time.perf_counter()
    for one in requests:
        tape.keep(tape.key(one), "m", one, ModelReply("A sentence or two as an agent says it. " * 3))
    kept_s = time.perf_counter() - began
    fresh = Cassette(home / "many.jsonl", "many.jsonl", Secrets(lambda path, where: ""), "file")
    began = time.perf_counter()
    fresh.read()
    read_s = time.perf_counter() - began
    model = RecordedModel(_Named(), fresh, "strict", "models.agent")
    began = time.perf_counter()
    for one in requests:
        await model.complete(one)
    found_s = time.perf_counter() - began
    return {
        "what": "a cassette",
        "lines": lines,
        "look_ups_a_second": round(lines / found_s),
        "kept_a_second": round(lines / kept_s),
        "read_ms": round(1000 * read_s, 1),
    }


class _Named(OfflineModel):
    @property
    def name(self) -> str:
        return "m"


async def measure(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(await relayed(Path(folder), args.simulations, args.turns)))
        print(json.dumps(await looked_up(Path(folder), args.lines)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--lines", type=int, default=10_000)
    anyio.run(measure, parser.parse_args())

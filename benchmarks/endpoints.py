"""Conversations over model endpoints: run, graded and stored like any run; prints a line of JSON for each case.

python benchmarks/endpoints.py [--n 400] [--concurrency 400] [--turns 5] [--latency-ms 100] [--through direct|litellm]

Without `--n`, the three cases of docs/performance.md: on the direct path 400 at once, and 2,000 with 1,000 at once;
and 400 with 200 at once through litellm. Each case is a process of its own, and so is the endpoint. A turn is two
model calls, the user's and the agent's. CPU is that of our process; `mb_per_conversation` is what the run adds at its
peak, divided by the conversations at once.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

HERE = Path(__file__).resolve().parent
CASES = (
    ("--n", "400", "--concurrency", "400"),
    ("--n", "2000", "--concurrency", "1000"),
    ("--n", "400", "--concurrency", "200", "--through", "litellm"),
)
BATCH = 500
"""Scenarios that are stored in one call."""


@contextmanager
def endpoint(latency_ms: float) -> Generator[str]:
    """The URL of a model endpoint in a process of its own."""
    command = [sys.executable, str(HERE / "endpoint_server.py"), str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def counts(url: str) -> Mapping[str, Any]:
    """Requests since the last time this was asked."""
    with urllib.request.urlopen(f"{url}/counts") as answer:
        return json.load(answer)


def models(url: str, through: str) -> dict[str, Any]:
    """The model of both roles."""
    if through == "litellm":
        os.environ.update(OPENAI_API_KEY="none", OPENAI_BASE_URL=f"{url}/v1", OPENAI_API_BASE=f"{url}/v1")
        one = {"model": "openai/bench"}
    else:
        one = {"model": "bench", "base_url": f"{url}/v1"}
    return {"agent": one, "user": one}


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(arguments: argparse.Namespace, url: str, home: Path) -> dict[str, Any]:
    began = time.perf_counter()
    from caseharden.engine.workbench import Workbench  # the time that it takes is told apart
    from caseharden.engine.workbench.results import RunReport

    async with Workbench(home) as bench:
        imported_s = time.perf_counter() - began
        await prepare(bench, arguments, url)
        await warm(bench)
        gc.collect()
        counts(url)
        resident, cpu, wall = resident_mb(), cpu_s(), time.perf_counter()
        options = {"concurrency": arguments.concurrency, "confirm": True}
        report = await bench.runs.start("shop", select=["tag:all"], options=options, wait_s=45)
        while report.job is not None:
            result = (await bench.jobs.wait(report.job.id, wait_s=45)).result
            report = result if isinstance(result, RunReport) else report
        wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    totals, served = report.run.totals, counts(url)
    calls_after_each_other = 2 * arguments.turns * math.ceil(arguments.n / arguments.concurrency)
    ideal = calls_after_each_other * arguments.latency_ms / 1000
    return {
        "peer": "caseharden",
        "n": arguments.n,
        "turns": arguments.turns,
        "latency_ms": arguments.latency_ms,
        "concurrency": arguments.concurrency,
        "through": arguments.through,
        "wall_s": round(wall, 3),
        "ideal_s": round(ideal, 3),
        "overhead_ratio": round(wall / ideal, 2) if ideal else None,
        "cpu_s": round(cpu, 3),
        "cpu_ms_per_turn": round(1000 * cpu / (arguments.n * arguments.turns), 3),
        "peak_rss_mb": round(peak_mb(), 1),
        "mb_per_conversation": round((peak_mb() - resident) / min(arguments.n, arguments.concurrency), 3),
        "llm_calls": served["requests"],
        "max_inflight": served["most_at_once"],
        "import_s": round(imported_s, 2),
        "completed": totals.trials,
        "errors": totals.error,
        "judge": False,
        "agent": "http",
    }


async def prepare(bench: Any, arguments: argparse.Namespace, url: str) -> None:
    """An environment with that many scenarios, and one more to warm up."""
    chosen = models(url, arguments.through)
    await bench.environments.create("shop", instructions="You are a helpful shop agent.", models=chosen)
    limits = {"max_turns": arguments.turns}
    success = [{"id": "answered", "said": "on its way"}]
    rows = [
        {
            "id": f"order-{n}",
            "goal": f"Get a refund for order {n}.",
            "guidelines": f"You are customer {n}, polite and brief.",
            "limits": limits,
            "success": success,
            "tags": ["all"] if n else ["warm"],
        }
        for n in range(arguments.n + 1)
    ]
    for start in range(0, len(rows), BATCH):
        await bench.scenarios.create("shop", rows[start : start + BATCH], check=False)
    await bench.simulations.create("shop")


async def warm(bench: Any) -> None:
    """One conversation, so that what is imported and opened once is not measured."""
    await bench.runs.start("shop", select=["tag:warm"], wait_s=45)


def read(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, default=0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, default=100)
    parser.add_argument(
        "--concurrency", type=int, default=0, help="0: as many as conversations, at most 1,000"
    )
    parser.add_argument("--through", choices=("direct", "litellm"), default="direct")
    arguments = parser.parse_args(words)
    arguments.concurrency = arguments.concurrency or min(arguments.n, 1000)
    return arguments


def main(words: Sequence[str]) -> int:
    arguments = read(words)
    if not arguments.n:
        command = [sys.executable, str(Path(__file__).resolve())]
        return max(subprocess.run([*command, *words, *case], check=False).returncode for case in CASES)
    gc.set_threshold(5_000, 20, 20)  # as the command line does
    with endpoint(arguments.latency_ms) as url, tempfile.TemporaryDirectory() as folder:
        print(json.dumps(anyio.run(measure, arguments, url, Path(folder))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

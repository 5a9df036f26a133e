"""Offline hardening of the shop on one core, from the environment to the promoted text; prints JSON.

python benchmarks/hardening.py

Every scenario with every persona: base round, search, pruning, proof, promotion. Wall and CPU time.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from caseharden import Workbench


async def hardened(home: Path) -> dict[str, Any]:
    """What it took, and what came of it."""
    async with Workbench(home) as bench:
        await bench.environments.create("shop", world="shop")
        await bench.simulations.create("shop", pairing="all", wait_s=45)
        wall, cpu = time.perf_counter(), time.process_time()
        report = await bench.hardenings.harden("shop", wait_s=45)
        while report.job is not None:
            report = await bench.hardenings.harden("shop", hardening=report.hardening.id, wait_s=45)
        promoted = await bench.hardenings.decide(report.candidate, "promote")
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        record = report.hardening
        return {
            "simulations": len(record.simulations),
            "rounds": record.round,
            "trials": sum(round.trials_run for round in record.rounds),
            "outcome": record.outcome,
            "became": promoted.became.id if promoted.became else "",
            **{name: round(seconds, 2) for name, seconds in took.items()},
        }


def main() -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(anyio.run(hardened, Path(folder))))


if __name__ == "__main__":
    main()

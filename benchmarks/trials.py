"""Offline trials per second on one core in the shop, executed, graded and stored as in a run; prints JSON.

python benchmarks/trials.py [rounds] [profile-file]

A round is each of 24 scenarios with each of 6 personas. CPU time counts, not wall time. The expected worlds are already
computed, as in every round of a run but the first.
"""

from __future__ import annotations

import cProfile
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.exchange import Roots
from caseharden.engine.records.environment import AgentSpec, ModelChoice
from caseharden.engine.records.persona import Persona, PersonaRecord
from caseharden.engine.records.run import RunRecord
from caseharden.engine.records.scenario import Scenario, ScenarioRecord
from caseharden.engine.records.simulation import SimulationRecord
from caseharden.engine.store import Store
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.pacing import Pacing
from caseharden.engine.workbench.role_models import RoleModels
from caseharden.engine.workbench.trials import RunCases, TrialRunner
from caseharden.engine.workbench.worlds import Worlds

SHIPPED = Path(__file__).resolve().parent.parent / "resources" / "worlds"
RULES = "Before calling refund_order, call verify_customer.\nBefore calling cancel_order, ask the user to confirm."


def shop_run(archive: Archive, worlds: Worlds, runner: TrialRunner, id: str) -> RunCases:
    """A run of all pairs in the shop, under instructions with both rules."""
    source = worlds.find("shop", "world")
    world = worlds.compile(source.document, "world")
    worlds.keep(world)
    for row in source.personas:
        persona = Persona.model_validate(row)
        archive.personas.put(
            f"shop/{persona.id}", PersonaRecord(id=f"shop/{persona.id}", environment="shop", persona=persona)
        )
    for row in source.scenarios:
        scenario = Scenario.model_validate(row)
        archive.scenarios.put(
            f"shop/{scenario.id}",
            ScenarioRecord(id=f"shop/{scenario.id}", environment="shop", scenario=scenario),
        )
    pairs = [(s["id"], p["id"]) for s in source.scenarios for p in source.personas]
    simulations = [
        SimulationRecord.model_validate(
            {
                "id": f"shop/{s}-{p}",
                "environment": "shop",
                "scenario": s,
                "persona": p,
                "slug": f"{s}-{p}"[:64],
            }
        )
        for s, p in pairs
    ]
    run = RunRecord(
        id=id,
        environment="shop",
        instructions="shop@1",
        instructions_text=f"{source.instructions}\n\n{RULES}",
        world=world.hash,
        models=dict.fromkeys(("agent", "user", "judge", "writer"), "offline"),
        simulations=[s.slug for s in simulations],
        seed=7,
    )
    archive.runs.put(run.id, run)
    cases = runner.cases(run)
    cases.copy(archive, simulations)
    return cases


async def main(rounds: int, profile: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            await measure(store, rounds, profile)
        finally:
            store.close()


async def measure(store: Store, rounds: int, profile: str) -> None:
    archive = Archive(store)
    worlds = Worlds(archive, SHIPPED, Roots(()))
    runner = TrialRunner(archive, worlds, Roots(()), RoleModels(ModelChoice()))
    cases = shop_run(archive, worlds, runner, "run-1")
    cast = runner.cast(AgentSpec(), cases.run.models)
    work = [(slug, k) for k in range(1, rounds + 1) for slug in cases.run.simulations]
    started = time.process_time()
    for slug, trial in work:
        case = cases.case(slug)
        await runner.expected.of(case, cases.seed(case), trial)
    warmed = time.process_time()
    verdicts: Counter[str] = Counter()
    turns = 0

    async def one(slug: str, trial: int) -> None:
        nonlocal turns
        record = await runner.execute(cases, cast, slug, trial)
        verdicts[record.verdict] += 1
        turns += record.turns

    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    began, wall = time.process_time(), time.perf_counter()
    await Pacing(32).run(work, one)
    spent, wall_s = time.process_time() - began, time.perf_counter() - wall
    if profiler:
        profiler.disable()
        profiler.dump_stats(profile)
    figures: dict[str, Any] = {
        "trials": len(work),
        "turns": turns,
        "verdicts": dict(verdicts),
        "trials_per_cpu_s": round(len(work) / spent, 1),
        "cpu_ms_a_turn": round(1000 * spent / turns, 4),
        "trials_per_wall_s": round(len(work) / wall_s, 1),
        "prepare_and_expected_ms": round(1000 * (warmed - started) / len(work), 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    anyio.run(main, int(arguments[0]) if arguments else 5, arguments[1] if len(arguments) > 1 else "")

"""Every shipped world: made by its script, looks real, and shows what hardening does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from caseharden.engine.llm.offline.language import understand
from caseharden.engine.simulate import check_solution, prepare
from caseharden.engine.workbench.results import HardeningReport
from caseharden.tests.shipped_worlds import SHIPPED, WORLDS, ShippedWorld
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.parametrize("shipped", SHIPPED, ids=lambda shipped: shipped.name)


def test_the_script_gives_the_same_bytes_in_every_process(shipped: ShippedWorld, checkout: Path) -> None:
    for hash_seed in ("1", "77"):
        made = subprocess.run(
            [sys.executable, str(checkout / "scripts" / f"make_{shipped.name}.py"), "--check"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stdout + made.stderr


def test_people_look_real_and_are_nobody(shipped: ShippedWorld) -> None:
    people = list(shipped.world.db[shipped.people].values())
    names, mails = {person["name"] for person in people}, {person["email"] for person in people}
    assert len(names) == len(mails) == len(people) > 300
    assert not [name for name in names if re.search(r"\d|customer|passenger|test", name, re.IGNORECASE)]
    assert all(re.search(r"[@.]example\.(com|org|net)$", mail) for mail in mails)
    assert len({name.split()[0] for name in names}) > 80


def test_what_is_shipped_names_no_machine_and_no_key(shipped: ShippedWorld) -> None:
    for path in sorted(shipped.folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(?:home|root|work|tmp|Users|shared)/|[A-Z]:\\\\|sk-[A-Za-z0-9]{8}", text), (
            path.name
        )
    assert 2_000 < len(shipped.world.policy) < 4_000


def test_the_policy_and_the_shipped_instructions_state_no_rule_that_the_offline_agent_obeys(
    shipped: ShippedWorld,
) -> None:
    assert not understand(shipped.read("policy.md")).rules
    assert not understand(shipped.instructions).rules
    assert 400 <= len(shipped.instructions.strip()) <= 480


def test_must_refuse_stands_beside_must_succeed_on_both_sides(shipped: ShippedWorld) -> None:
    assert len({scenario.id for scenario in shipped.scenarios}) == len(shipped.scenarios) >= 24
    assert sum(scenario.split == "held_out" for scenario in shipped.scenarios) >= 8
    for split in ("train", "held_out"):
        side = [scenario for scenario in shipped.scenarios if scenario.split == split]
        refusing = sum("must-refuse" in scenario.tags for scenario in side)
        assert 0 < refusing <= len(side) / 2, split


def test_each_persona_has_a_manner_of_its_own(shipped: ShippedWorld) -> None:
    manners = [persona.style for persona in shipped.personas]
    assert len(set(manners)) == len(manners) >= 6
    partners = {str(scenario.persona) for scenario in shipped.scenarios}
    assert partners == {persona.id for persona in shipped.personas}


@pytest.mark.anyio
async def test_every_scenario_is_solvable_and_no_baseline_passes(shipped: ShippedWorld) -> None:
    for scenario in shipped.scenarios:
        report = await check_solution(prepare(shipped.compiled, scenario), seed=7)
        assert (report.status, report.why, report.deterministic) == ("proven", "", True), scenario.id
        assert not (report.do_nothing_passes or report.transfer_passes), scenario.id
        assert not (report.no_effect or report.lets_through), scenario.id


def test_scenarios_are_graded_by_difficulty(shipped: ShippedWorld) -> None:
    levels = [set(scenario.tags) & {"easy", "medium", "hard"} for scenario in shipped.scenarios]
    assert all(len(level) == 1 for level in levels)
    assert all(levels.count({level}) >= 5 for level in ("easy", "medium", "hard"))


@pytest.mark.anyio
async def test_events_faults_and_noise_come_over_some_scenarios(shipped: ShippedWorld) -> None:
    """Each of them really happens with one persona at least, under instructions that mend what fails."""
    disturbed = [s for s in shipped.scenarios if s.events or s.faults or s.noise]
    assert len(disturbed) >= 4
    assert all(any(getattr(s, kind) for s in disturbed) for kind in ("events", "faults", "noise"))
    for scenario in disturbed:
        assert {kind for kind in ("events", "faults", "noise") if getattr(scenario, kind)} <= set(
            scenario.tags
        )
        happened: set[str] = set()
        for persona in shipped.personas:
            case = prepare(shipped.compiled, scenario, persona)
            text = "\n".join((shipped.instructions, *shipped.mending))
            for entry in (await shipped.played(case, instructions=text)).document["log"]:
                happened.add(str(entry.get("event", "fault" if entry.get("injected") else "")))
        wanted = {event.id for event in scenario.events}
        wanted |= {"fault"} if scenario.faults else {"noise"} if scenario.noise else set()
        assert wanted <= happened, scenario.id


@pytest.mark.anyio
async def test_few_rules_mend_all_that_fails_under_the_shipped_instructions(shipped: ShippedWorld) -> None:
    text = shipped.instructions
    base = await shipped.outcomes(text)
    failing = base.failing()
    assert len(failing) >= 13
    for pair, checks in base.failed.items():
        assert not checks or any(check.startswith("rule.") for check in checks), pair

    tried = failing
    for rule in shipped.mending:
        text = f"{text}\n{rule}"
        tried = failing
        mended = await shipped.outcomes(text, [s for s in shipped.scenarios if s.id in tried])
        assert mended.failing() < tried, rule
        failing = mended.failing()
    rest = [s for s in shipped.scenarios if s.id not in tried]
    assert not failing and not (await shipped.outcomes(text, rest)).failing()

    held_out = [scenario.id for scenario in shipped.scenarios if scenario.split == "held_out"]
    assert sum(base.passed(name) == 0 for name in held_out) >= 7
    assert any(base.passed(name) == len(shipped.personas) for name in held_out)


@pytest.mark.anyio
async def test_offline_hardening_finds_those_rules_and_proves_them(
    shipped: ShippedWorld, tmp_path: Path
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", world=shipped.name)
        report = await bench.hardenings.harden("desk", wait_s=45)
        with anyio.fail_after(90):
            while report.job is not None:
                waited = await bench.jobs.wait(report.job.id, wait_s=20)
                assert waited.job.state != "failed", waited.job.error
                if isinstance(waited.result, HardeningReport):
                    report = waited.result
        assert (report.hardening.outcome, report.hardening.warnings) == ("improved", [])
        promoted = await bench.hardenings.decide(report.candidate, "promote", reason="proven")
        assert promoted.became is not None
        added = promoted.became.text.removeprefix(shipped.instructions.strip()).split("\n")
        assert sorted(filter(None, added)) == sorted(shipped.mending)
        again = (await bench.runs.start("desk", wait_s=45)).run
        assert again.totals.rate == 1.0


def test_the_folder_holds_what_a_world_is_made_of(shipped: ShippedWorld) -> None:
    assert {path.name for path in (WORLDS / shipped.name).iterdir()} == {
        "world.json", "policy.md", "instructions.md", "personas.json", "scenarios.json",
    }  # fmt: skip
    assert (shipped.folder / "world.json").stat().st_size < 1_500_000

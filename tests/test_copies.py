"""Near-copies of a scenario are weaker evidence than cases of their own: they are told, and cost little to find."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.evaluate import NEAR_DUPLICATE, distinguishing_text, jaccard, near_copies, words_of
from caseharden.engine.harden import lint_cases
from caseharden.engine.records.authored import load
from caseharden.engine.records.scenario import Scenario
from caseharden.tests.commanded import commanded
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio


def scenario(n: int, goal: str, *tools: str, **fields: Any) -> Scenario:
    steps = [{"tool": tool, "args": {"ticket_id": f"T{n}"}} for tool in tools or ("close_ticket",)]
    return load(Scenario, {"id": f"s{n}", "goal": goal, "expected": steps, **fields}, "scenario")


def test_scenarios_that_differ_only_in_the_number_of_a_record_are_near_copies() -> None:
    found = near_copies([scenario(n, f"Close ticket T{n}.") for n in range(10, 34)])
    assert len(found) == 23 and set(found.values()) == {"s10"}


def test_scenarios_with_other_calls_or_other_words_are_no_copies() -> None:
    cases = [
        scenario(1, "Close ticket T1."),
        scenario(2, "Close ticket T2.", "look_up_ticket"),
        scenario(3, "Find out who owns the oldest open problem, and shut it for good if nobody does."),
        scenario(4, "Two of my reports speak of one broken lift: merge them into the newer."),
    ]
    assert near_copies(cases) == {}


def test_near_copies_by_words_are_those_that_the_measure_of_generation_finds() -> None:
    words = [f"word{chr(97 + k)}" for k in range(20)]
    draw = random.Random(4)
    cases = [scenario(n, " ".join(draw.sample(words, 12))) for n in range(60)]
    cases += [scenario(100 + n, f"{case.goal} extra") for n, case in enumerate(cases[:5])]
    found = near_copies(cases)
    for k, one in enumerate(cases):
        overlap = [
            jaccard(words_of(distinguishing_text(one)), words_of(distinguishing_text(other)))
            for other in cases[:k]
        ]
        assert (one.id in found) is any(value >= NEAR_DUPLICATE for value in overlap), one.id
    assert {f"s{100 + n}" for n in range(5)} <= set(found)


def test_thousands_of_scenarios_are_compared_with_few_each(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counting(a: frozenset[str], b: frozenset[str]) -> float:
        nonlocal compared
        compared += 1
        return jaccard(a, b)

    monkeypatch.setattr("caseharden.engine.evaluate.copies.jaccard", counting)
    words = [f"w{chr(97 + k % 26)}{chr(97 + k // 26)}" for k in range(60)]
    draw = random.Random(1)
    cases = [scenario(n, " ".join(draw.sample(words, 10))) for n in range(2000)]
    near_copies(cases)
    assert compared <= 40 * len(cases)


def test_a_hardening_is_told_of_held_out_scenarios_that_are_near_copies_of_each_other() -> None:
    held = [scenario(n, f"Close ticket T{n}.", split="held_out") for n in (1, 2, 3)]
    other = scenario(4, "Say who owns the oldest ticket.", "look_up_ticket", split="held_out")
    train = [scenario(n, f"Shut {n} of my tickets.", split="train") for n in (5,)]
    told = [one for one in lint_cases([*held, other, *train], []) if "near-cop" in one]
    assert told == [
        "2 of 4 held-out scenarios are near-copies of another (s2 of s1, s3 of s1): they are weaker evidence than the "
        "number says. Vary what is asked and what makes it hard, not only names."
    ]


async def test_scenarios_written_by_hand_are_told_of_when_they_are_near_copies(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Close.\n{policy}", world_data=tickets(6))
        first = await bench.scenarios.create("desk", [closing(1)])
        assert not any("near-cop" in one for one in first.warnings)
        second = await bench.scenarios.create("desk", [closing(2), closing(3)])
        assert any(one.startswith("2 of 3 scenarios are near-copies of another") for one in second.warnings)
        assert len(second.made) == 2


def test_a_folder_is_checked_for_near_copies_and_an_unread_policy(tmp_path: Path) -> None:
    folder, home = tmp_path / "desk", ["--home", str(tmp_path / "data")]
    folder.mkdir()
    (folder / "caseharden.yaml").write_text(
        "environment: {id: desk}\ninstructions: i.md\nworld: world.json\nscenarios: s.json\n"
    )
    (folder / "i.md").write_text("Close what you are asked to.\n")
    (folder / "world.json").write_text(json.dumps(tickets(4)))
    (folder / "s.json").write_text(json.dumps([closing(n) for n in (1, 2, 3)]))
    done = commanded("run", str(folder), "--check", *home)
    told = " ".join(done.stdout.split())
    assert done.returncode == 0 and "2 of 3 scenarios are near-copies of another" in told
    assert "never reads the world's policy" in told

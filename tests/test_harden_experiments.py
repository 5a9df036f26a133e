"""Acceptance experiments of the proof: how often it promotes what has no effect, and what has one.

Counted by scenario, over seeded outcomes in which everything that spoils a comparison happens at once: rules are missed
(slip > 0), several personas share the difficulty of their scenario, effects differ by scenario, and some failures turn
into errors. A world of random words shows the whole loop through the workbench.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest

from caseharden.engine.harden import Purpose, TrialOutcome, compare_arms, decide_outcome
from caseharden.engine.harden.proof import proof_trials, weigh
from caseharden.engine.records.hardening import Hardening
from caseharden.engine.records.verdict import CheckVerdict, TrialVerdict
from caseharden.engine.seeds import draw
from caseharden.tests.made_up import made_up_world
from caseharden.tests.test_harden_loop import BASE, Says, Shop, hardener, opened, shop_cases
from caseharden.tests.test_workbench_hardenings import hardened, over
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = pytest.mark.anyio

FIX = "Before calling refund_order, call verify_customer."
CAREFUL = "Be careful and polite."
CARELESS = "Never mind the tone."
NULLS = ("Be kind.", "Be brief.", "Be calm.", "Be exact.", "Be patient.")
RUNS = 200
HELD_OUT = [case for case in shop_cases(30, personas=3) if case.split == "held_out"]


@dataclass(frozen=True)
class Noisy:
    """Scenarios of which one in ten is solid; the others fail, more or less often.

    A text with FIX in it mends a weak scenario as far as its own effect goes, and is missed in one conversation of
    five. Every other text moves each scenario a little, up as often as down. One failure in ten ends as an error
    instead, with `dodges` in the text most of them.
    """

    seed: int
    dodges: str = ""
    solid: float = 0.1
    weak: float = 0.2

    async def run(
        self, instructions: str, simulations: Sequence[str], trials: range, purpose: Purpose
    ) -> Sequence[TrialOutcome]:
        return [self.play(instructions, s, k, purpose) for s in simulations for k in trials]

    def play(self, text: str, simulation: str, trial: int, purpose: Purpose) -> TrialOutcome:
        scenario = simulation.rsplit("-", 1)[0]
        again = int(purpose == "again")
        luck = draw(self.seed, simulation, trial, "luck", text, again)
        passes = luck < self.chance(text, scenario, simulation, trial)
        share = 0.6 if self.dodges and self.dodges in text else 0.1
        if not passes and draw(self.seed, simulation, trial, "error", text, again) < share:
            return TrialOutcome(simulation, scenario, trial, "error")
        verdict: TrialVerdict = "pass" if passes else "fail"
        checks: dict[str, CheckVerdict] = {"c1": "pass" if passes else "fail"}
        return TrialOutcome(simulation, scenario, trial, verdict, checks)

    def chance(self, text: str, scenario: str, simulation: str, trial: int) -> float:
        """How likely it passes, 0..1."""
        solid = draw(self.seed, scenario, "solid") < self.solid
        difficulty = 0.95 if solid else self.weak * draw(self.seed, scenario, "difficulty")
        lines = text.split("\n")[1:]
        if FIX in lines:
            missed = draw(self.seed, simulation, trial, "slip") < 0.2
            effect = 0.5 + 0.45 * draw(self.seed, scenario, "effect")
            return difficulty if missed else max(difficulty, difficulty + effect * (0.98 - difficulty))
        moved = sum(0.2 * (draw(self.seed, scenario, "moved", line) - 0.5) for line in lines)
        return min(1.0, max(0.0, difficulty + moved))


class Picked(Noisy):
    """The same where somebody ran the base ten times and named the run that passed least: its trials are 1..3."""

    @cached_property
    def of_base(self) -> dict[str, float]:
        """How likely a scenario passes under the base, 0..1: the same with every persona and in every trial."""
        return {}

    @cached_property
    def worst(self) -> int:
        """Which of the ten."""
        names = [case.simulation for case in HELD_OUT]

        def passed(run: int) -> int:
            return sum(self.lucky(run, name, k) for name in names for k in range(1, 4))

        return min(range(10), key=passed)

    def lucky(self, run: int, simulation: str, trial: int) -> bool:
        scenario = simulation.rsplit("-", 1)[0]
        if scenario not in self.of_base:
            self.of_base[scenario] = self.chance(BASE, scenario, simulation, trial)
        return draw(self.seed, run, simulation, trial) < self.of_base[scenario]

    def play(self, text: str, simulation: str, trial: int, purpose: Purpose) -> TrialOutcome:
        if text != BASE or trial > 50:
            return super().play(text, simulation, trial, purpose)
        verdict: CheckVerdict = "pass" if self.lucky(self.worst, simulation, trial) else "fail"
        return TrialOutcome(simulation, simulation.rsplit("-", 1)[0], trial, verdict, {"c1": verdict})


@dataclass(frozen=True)
class Flaky(Noisy):
    """Beside: three checks that pass in nine trials of ten, whatever the text says.

    And a solid one, `tone`, which the careless text breaks in one scenario of five: there it passes with chance `left`.
    """

    left: float = 0.05

    def play(self, text: str, simulation: str, trial: int, purpose: Purpose) -> TrialOutcome:
        played = super().play(text, simulation, trial, purpose)
        if played.verdict == "error":
            return played
        broken = CARELESS in text and draw(self.seed, played.scenario, "broken") < 0.2
        chances = {**dict.fromkeys(("f1", "f2", "f3"), 0.9), "tone": self.left if broken else 0.98}
        more: dict[str, CheckVerdict] = {
            name: "pass"
            if draw(self.seed, simulation, trial, name, text, purpose == "again") < chance
            else "fail"
            for name, chance in chances.items()
        }
        checks = {**played.checks, **more}
        return replace(played, checks=checks, verdict="fail" if "fail" in checks.values() else "pass")


async def proven(world: Noisy, *texts: str, scenarios: int = 30) -> Hardening:
    """A hardening with these proposals, over 10 held-out scenarios of two personas."""
    engine = hardener(world, shop_cases(scenarios), Says(*texts))  # pyright: ignore[reportArgumentType]
    return await engine.run(opened(seed=world.seed, trials=3, patience=len(texts), rounds=len(texts) + 1))


@pytest.mark.requirement("CH-6")
async def test_a_text_without_effect_is_promoted_in_at_most_5_percent_of_200_runs() -> None:
    outcomes = [(await proven(Noisy(seed, solid=0.4, weak=1.0), NULLS[0])).outcome for seed in range(RUNS)]
    assert outcomes.count("improved") <= 0.05 * RUNS


@pytest.mark.requirement("CH-6")
async def test_the_best_of_five_texts_without_effect_is_promoted_in_at_most_5_percent_of_the_runs() -> None:
    outcomes = [(await proven(Noisy(seed, solid=0.4, weak=1.0), *NULLS)).outcome for seed in range(40)]
    assert outcomes.count("improved") <= 0.05 * 40


@pytest.mark.requirement("CH-6")
async def test_the_proof_alone_promotes_no_effect_in_at_most_5_percent_of_200_runs() -> None:
    cases = HELD_OUT
    improved = higher = 0
    for seed in range(RUNS):
        world = Noisy(seed, solid=0.4, weak=1.0)
        engine = hardener(world, cases)  # pyright: ignore[reportArgumentType]
        arms = await engine.runner.arms(BASE, f"{BASE}\n{NULLS[0]}", cases, range(1, 4), "proof")
        compared = compare_arms(arms)
        higher += compared.difference > 0
        improved += decide_outcome(weigh(arms, compared, [], 1, seed=seed)) == "improved"
    assert improved <= 0.05 * RUNS
    assert higher >= 0.25 * RUNS, "a mean that went up would have promoted those"


@pytest.mark.requirement("CH-6")
async def test_a_text_without_effect_gains_nothing_by_the_worst_of_ten_base_runs() -> None:
    cases = HELD_OUT
    improved = {"seen": 0, "own": 0}
    for seed in range(RUNS):
        engine = hardener(Picked(seed, solid=0.4, weak=1.0), cases)  # pyright: ignore[reportArgumentType]
        for name, trials in (("seen", range(1, 4)), ("own", proof_trials(3, 1, deterministic=False))):
            arms = await engine.runner.arms(BASE, f"{BASE}\n{NULLS[0]}", cases, trials, "proof")
            improved[name] += decide_outcome(weigh(arms, compare_arms(arms), [], 1, seed=seed)) == "improved"
    assert improved["own"] <= 0.05 * RUNS
    assert improved["seen"] > 0.05 * RUNS, "the trials of that run would have promoted it"


@pytest.mark.requirement("CH-6")
async def test_a_text_that_turns_failures_into_errors_is_promoted_in_at_most_5_percent_of_200_runs() -> None:
    worlds = [Noisy(seed, "Be kind.", solid=0.4, weak=1.0) for seed in range(RUNS)]
    outcomes = [(await proven(world, "Be kind.")).outcome for world in worlds]
    assert outcomes.count("improved") <= 0.05 * RUNS


@pytest.mark.requirement("CH-6")
async def test_a_true_fix_is_promoted_in_at_least_75_percent_of_the_runs() -> None:
    runs = 60
    outcomes = [(await proven(Noisy(seed), FIX)).outcome for seed in range(runs)]
    assert outcomes.count("improved") >= 0.75 * runs


@pytest.mark.requirement("CH-6")
async def test_a_true_fix_beside_flaky_checks_is_called_regressed_in_at_most_6_percent_of_the_runs() -> None:
    """Of 150 runs it was 3 %, and 19 % where three more trials alone decided."""
    runs = 60
    found = [await proven(Flaky(seed), FIX) for seed in range(runs)]
    broken = [
        h for h in found if "check_regressed" in {r.reason for r in h.rounds} or h.outcome == "regressed"
    ]
    assert len(broken) <= 0.06 * runs


@pytest.mark.requirement("CH-6")
async def test_a_fix_that_breaks_a_solid_check_in_one_scenario_of_five_is_hardly_ever_promoted() -> None:
    runs = 60
    outcomes = [(await proven(Flaky(seed), f"{FIX}\n{CARELESS}")).outcome for seed in range(runs)]
    assert outcomes.count("improved") <= 0.02 * runs


@pytest.mark.requirement("CH-6")
@pytest.mark.parametrize("seed", [1, 2])
async def test_in_a_world_of_random_words_the_rules_are_found_and_proven(tmp_path: Path, seed: int) -> None:
    made = made_up_world(seed)
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("odd", instructions="You serve callers.", world_data=made.world)
        await bench.scenarios.generate("odd", count=30, wait_s=45)
        h = (await over(bench, await bench.hardenings.harden("odd", wait_s=45))).hardening
        assert (h.outcome, h.stop_reason) == ("improved", "train all pass")
        best = h.find(h.candidate)
        assert best is not None and sorted(best.text.split("\n")) == sorted(made.rules.split("\n"))
        assert [(p.removed, bool(p.needed_by)) for p in h.pruned] == [(False, True)] * 2
        await bench.hardenings.decide(h.candidate, "promote")
        again = (await over(bench, await bench.hardenings.harden("odd", wait_s=45))).hardening
        assert (again.outcome, again.stop_reason) == ("nothing_to_fix", "all pass")


@pytest.mark.requirement("AS-12")
async def test_round_after_round_until_all_pass_or_it_says_why_it_stopped(tmp_path: Path) -> None:
    """One rule a hardening: promoted, and again, until there is nothing to fix."""
    made = made_up_world(2)
    told: list[tuple[str, str]] = []
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("odd", instructions="You serve callers.", world_data=made.world)
        await bench.scenarios.generate("odd", count=40, wait_s=45)
        while not told or told[-1][0] in ("improved", "unconfirmed"):
            h = (await over(bench, await bench.hardenings.harden("odd", rounds=1, wait_s=45))).hardening
            told.append((str(h.outcome), h.stop_reason))
            if h.candidate:
                await bench.hardenings.decide(h.candidate, "promote", override=True, reason="One rule more.")
    assert told[-1] == ("nothing_to_fix", "all pass")
    assert [reason for _, reason in told[:-1]] == ["rounds used up", "train all pass"]


@pytest.mark.requirement("AS-12")
async def test_what_no_sentence_can_mend_ends_the_search_with_the_reason_for_each_cause(
    tmp_path: Path,
) -> None:
    failing = {"success": [{"id": "mood", "expr": "db.tickets.T1.owner == 'nobody'"}]}
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(3))
        await bench.scenarios.create("desk", [closing(n, **failing) for n in (1, 2, 3)], check=False)
        h = (await hardened(bench)).hardening
        assert (h.stop_reason, h.rounds[-1].decision) == ("no proposal", "none")
        left = {c.id for c in h.brief.clusters} if h.brief else set[str]()
        assert left and set(h.rounds[-1].not_proposed) == left and all(h.rounds[-1].not_proposed.values())


async def test_a_line_that_a_later_one_makes_needless_is_taken_out_again() -> None:
    class Covering(Shop):
        """The careful text does all that the rule does."""

        def checks(self, text: str, number: int, simulation: str, trial: int) -> dict[str, CheckVerdict]:
            both = {"rule.verify": CAREFUL in text or FIX in text, "tone": CAREFUL in text}
            return {name: "pass" if ok else "fail" for name, ok in both.items()}

    h = await hardener(Covering(), writer=Says(FIX, CAREFUL)).run(opened())
    assert [r.reason for r in h.rounds] == ["base", "kept", "kept", "pruned"]
    best = h.find(h.candidate)
    assert best is not None and best.text == f"{BASE}\n{CAREFUL}" and best.by == "pruning"
    assert [(p.line, p.removed) for p in h.pruned] == [(FIX, True)]
    assert h.outcome == "improved"


async def test_what_mends_one_thing_and_breaks_another_is_built_upon() -> None:
    """Neither text is kept alone: the first breaks the tone, the second mends nothing without the first."""

    class Two(Shop):
        def checks(self, text: str, number: int, simulation: str, trial: int) -> dict[str, CheckVerdict]:
            good = {"rule.verify": FIX in text, "tone": FIX not in text or CAREFUL in text}
            return {name: "pass" if ok else "fail" for name, ok in good.items()}

    writer = Says(FIX, CAREFUL)
    h = await hardener(Two(), writer=writer).run(opened("reflect"))
    assert [(r.reason, r.parent) for r in h.rounds[1:]] == [
        ("check_regressed", "support@1"),
        ("kept", "hard-1/c1"),
    ]
    best = h.find(h.candidate)
    assert best is not None and best.text == f"{BASE}\n{FIX}\n{CAREFUL}" and h.outcome == "improved"
    assert writer.briefs[1].text == f"{BASE}\n{FIX}"

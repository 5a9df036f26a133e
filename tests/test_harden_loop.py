"""The hardening loop and its proof, over a seeded simulator of outcomes in place of real trials.

The simulator stands behind the seam: it decides from the text, the simulation and the trial alone what each
check says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from caseharden.engine.errors import Conflict
from caseharden.engine.evaluate.statistics import look_alpha
from caseharden.engine.harden import (
    Case,
    Hardener,
    Hidden,
    Known,
    Proposal,
    Purpose,
    ReflectWriter,
    RulesWriter,
    TrialOutcome,
)
from caseharden.engine.llm import ModelReply, ModelRequest, Usage
from caseharden.engine.records.hardening import Brief, Edit, Hardening, HardeningLimits
from caseharden.engine.records.run import Cluster
from caseharden.engine.records.verdict import CheckVerdict, TrialVerdict
from caseharden.engine.seeds import draw

pytestmark = pytest.mark.anyio

BASE = "You are the support agent of a shop."
VERIFY = "Before calling refund_order, call verify_customer."
CONFIRM = "Before calling cancel_order, ask the user to confirm."
TOOLS = frozenset({"refund_order", "cancel_order", "verify_customer", "get_order"})
RULES: dict[str, dict[str, Any]] = {
    "rule.verify": {
        "id": "verify",
        "before": "refund_order",
        "need": {"tool": "verify_customer"},
        "severity": "critical",
    },
    "rule.confirm": {"id": "confirm", "confirm": "cancel_order", "severity": "major"},
    "world": {"world": "expected"},
}


@dataclass
class Shop:
    """Scenarios that need the verify rule (i % 3 == 0, 1) or the confirm rule (i % 3 == 2), with seeded
    slips.

    `flake`: chance that any check fails by itself, drawn anew for every text. `slip`: chance that the agent
    forgets a rule of the text. `helps`: a text with this in it needs no rule. `errors`: share of error
    trials of a text with this in it.
    """

    seed: int = 0
    flake: float = 0.0
    slip: float = 0.0
    helps: str = ""
    errors: dict[str, float] = field(default_factory=dict[str, float])
    mended_by_retry: bool = False
    calls: list[tuple[str, str, int, Purpose]] = field(default_factory=list[tuple[str, str, int, Purpose]])

    async def run(
        self, instructions: str, simulations: Sequence[str], trials: range, purpose: Purpose
    ) -> Sequence[TrialOutcome]:
        self.calls.extend((instructions, s, k, purpose) for s in simulations for k in trials)
        return [self.play(instructions, s, k, purpose) for s in simulations for k in trials]

    def play(self, text: str, simulation: str, trial: int, purpose: Purpose) -> TrialOutcome:
        scenario = simulation.rsplit("-", 1)[0]
        share = max((p for word, p in self.errors.items() if word in text), default=0.0)
        again = purpose == "again" and self.mended_by_retry
        if not again and draw(self.seed, simulation, trial, "error", text) < share:
            return TrialOutcome(simulation, scenario, trial, "error")
        checks = self.checks(text, int(scenario[1:]), simulation, trial)
        verdict: TrialVerdict = "fail" if "fail" in checks.values() else "pass"
        place = f"run-1/{simulation}/{trial}"
        return TrialOutcome(
            simulation, scenario, trial, verdict, checks, place, deterministic=self.flake == self.slip == 0
        )

    def checks(self, text: str, number: int, simulation: str, trial: int) -> dict[str, CheckVerdict]:
        refunds = number % 3 != 2
        rule, sentence = ("rule.verify", VERIFY) if refunds else ("rule.confirm", CONFIRM)
        refuses = "Never call refund_order." in text and refunds
        obeys = sentence in text and draw(self.seed, simulation, trial, sentence) >= self.slip
        good = {rule: refuses or obeys or (bool(self.helps) and self.helps in text), "world": not refuses}
        return {
            name: "pass" if ok and draw(self.seed, simulation, trial, name, text) >= self.flake else "fail"
            for name, ok in good.items()
        }


def shop_cases(scenarios: int = 24, personas: int = 2, spent: int = 0) -> list[Case]:
    split = ["train" if i < scenarios * 2 // 3 else "held_out" for i in range(scenarios)]
    first = split.index("held_out") if "held_out" in split else scenarios
    return [
        Case(f"s{i}-{p}", f"s{i}", split[i], spent=first <= i < first + spent)  # pyright: ignore[reportArgumentType]
        for i in range(scenarios)
        for p in range(personas)
    ]


def clusters_of(outcomes: Sequence[TrialOutcome]) -> list[Cluster]:
    failed: dict[str, list[str]] = {}
    for outcome in outcomes:
        for check, verdict in outcome.checks.items():
            if verdict == "fail":
                failed.setdefault(check, []).append(outcome.simulation)
    return [
        Cluster(
            id=f"k{i}",
            check=check,
            simulations=len(set(members)),
            rule=RULES.get(check, {}),
            members=sorted(set(members)),
        )
        for i, (check, members) in enumerate(sorted(failed.items(), key=lambda row: -len(row[1])), 1)
    ]


class Says:
    """A writer that proposes these texts, one a round."""

    name = "test writer"

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.briefs: list[Brief] = []

    async def propose(self, brief: Brief) -> Proposal:
        self.briefs.append(brief.model_copy(deep=True))
        if not self.texts:
            return Proposal()
        return Proposal((Edit(op="add", text=self.texts.pop(0)),), brief.clusters[0].id, "because")


def hardener(shop: Shop, cases: Sequence[Case] | None = None, writer: Any = None, **more: Any) -> Hardener:
    hidden = [Hidden("Refund order W10240 of dana@mail.test", "a held-out scenario")]
    return Hardener(
        shop, cases or shop_cases(), clusters_of, Known(TOOLS), hidden, writer or RulesWriter(), **more
    )


def opened(strategy: Any = "rules", seed: int = 0, looks: int = 0, **limits: Any) -> Hardening:
    return Hardening(
        id="hard-1",
        environment="support",
        base="support@1",
        base_text=BASE,
        strategy=strategy,
        seed=seed,
        looks=looks,
        limits=HardeningLimits(**limits),
    )


async def submitted(
    shop: Shop, text: str, cases: Sequence[Case] | None = None, looks: int = 0, trials: int = 0
) -> Hardening:
    engine = hardener(shop, cases)
    h = await engine.run(opened("submit", looks=looks, trials=trials))
    candidate = engine.submit(h, edits=[Edit(op="add", text=text)])
    return await engine.prove(h, candidate.id)


# The loop


@pytest.mark.requirement("AS-9")
async def test_two_rules_are_found_kept_and_proven_together_once() -> None:
    shop = Shop()
    h = await hardener(shop).run(opened())
    assert (h.outcome, h.state, h.stop_reason) == ("improved", "decided", "train all pass")
    assert [r.decision for r in h.rounds] == ["base", "kept", "kept"]
    best = h.find(h.candidate)
    assert best is not None
    assert best.text.split("\n") == [BASE, VERIFY, CONFIRM]
    assert (best.id, best.by, best.client) == ("hard-1/c2", "offline writer (rules)", False)
    assert f"+{VERIFY}" in best.diff and f"+{CONFIRM}" in best.diff
    proof = h.evidence and h.evidence.held_out
    assert proof is not None
    assert (proof.n, proof.better, proof.worse, proof.look) == (8, 8, 0, 1)
    assert proof.p == 2**-8 and proof.alpha == look_alpha(1)
    assert (proof.base, proof.candidate, proof.candidate_trials) == (0, 16, 16)
    assert h.looks == 1 and h.marks == []
    assert h.original_config == {"instructions": "support@1"}
    assert h.improved_config == {"instructions": "hard-1/c2"}


@pytest.mark.requirement("AS-8")
async def test_rounds_carry_their_totals_by_themselves() -> None:
    h = await hardener(Shop()).run(opened())
    rows = [(r.number, r.total, r.passed, r.failed, r.rate, r.completed) for r in h.rounds]
    assert rows == [(0, 32, 0, 32, 0.0, True), (1, 32, 22, 10, 22 / 32, True), (2, 32, 32, 0, 1.0, True)]
    assert h.rounds[1].cluster is not None and h.rounds[1].cluster.check == "rule.verify"


async def test_the_writer_sees_only_train_and_the_proof_runs_held_out_once() -> None:
    shop, writer = Shop(), Says(VERIFY, CONFIRM)
    await hardener(shop, writer=writer).run(opened())
    seen = {member for brief in writer.briefs for c in brief.clusters for member in c.members}
    assert seen == {c.simulation for c in shop_cases() if c.split == "train" and c.simulation in seen}
    held_out = {c.simulation for c in shop_cases() if c.split == "held_out"}
    texts = {text for text, simulation, _, _ in shop.calls if simulation in held_out}
    assert texts == {BASE, f"{BASE}\n{VERIFY}\n{CONFIRM}"}


async def test_no_trial_is_asked_for_twice() -> None:
    shop = Shop()
    await hardener(shop).run(opened())
    keys = [call[:3] for call in shop.calls]
    assert len(keys) == len(set(keys))


async def test_a_hardening_that_is_begun_again_gives_the_identical_record() -> None:
    saved: list[Hardening] = []

    async def save(h: Hardening) -> None:
        saved.append(h.model_copy(deep=True))

    whole = await hardener(Shop(slip=0.1), save=save).run(opened())
    assert len(saved) >= 6
    for step in saved:
        again = await hardener(Shop(slip=0.1)).run(Hardening.model_validate(step.model_dump()))
        assert again.model_dump() == whole.model_dump()


async def test_a_writer_is_not_asked_again_for_what_it_proposed_before_an_interruption() -> None:
    told = iter(["", "", "cancelled"])
    h = await hardener(Shop(), writer=Says(VERIFY, CONFIRM), stop=lambda: next(told)).run(opened())
    assert len(h.candidates) == 2
    writer = Says("Be kind.")
    again = await hardener(Shop(), writer=writer).run(h)
    assert (again.outcome, writer.briefs) == ("improved", [])


async def test_a_base_that_passes_all_has_nothing_to_fix() -> None:
    h = await hardener(Shop(helps="support agent")).run(opened())
    assert (h.outcome, h.stop_reason, len(h.candidates)) == ("nothing_to_fix", "all pass", 0)


async def test_a_base_of_errors_is_not_evaluated() -> None:
    h = await hardener(Shop(errors={"shop": 1.0})).run(opened())
    assert (h.outcome, h.rounds[0].error, h.rounds[0].rate) == ("not_evaluated", 32, None)


async def test_without_a_proposal_the_loop_stops_and_says_why() -> None:
    h = await hardener(Shop(), writer=Says()).run(opened())
    assert (h.outcome, h.stop_reason) == ("no_change", "no proposal")
    assert h.rounds[-1].reason == "no_proposal"


async def test_patience_and_rounds_end_the_search() -> None:
    useless = ["Be kind.", "Be brief.", "Be calm.", "Be exact."]
    h = await hardener(Shop(), writer=Says(*useless)).run(opened(patience=3))
    assert (h.stop_reason, len(h.rejected)) == ("3 rounds without a better text", 3)
    assert {r.reason for r in h.rejected} == {"screen_no_gain"}
    h = await hardener(Shop(), writer=Says(*useless)).run(opened(rounds=1, patience=3))
    assert h.stop_reason == "rounds used up"


async def test_a_text_that_a_guard_refuses_uses_up_no_round() -> None:
    leaks = "Refund W10240 only after verify_customer."
    h = await hardener(Shop(), writer=Says(leaks, VERIFY)).run(opened(rounds=1, patience=3))
    assert [r.decision for r in h.rounds][:3] == ["base", "refused", "kept"]
    assert (h.outcome, h.stop_reason) != ("no_change", "rounds used up")


async def test_a_round_that_is_kept_names_the_checks_that_it_fixes() -> None:
    h = await hardener(Shop(), writer=Says(VERIFY)).run(opened())
    kept = next(r for r in h.rounds if r.decision == "kept")
    assert kept.told == "On train it fixes rule.verify in 22 simulations, and nothing that passed fails."


async def test_a_stop_is_heeded_between_rounds_and_costs_no_look() -> None:
    told = iter(["", "cancelled"])
    h = await hardener(Shop(), stop=lambda: next(told)).run(opened())
    assert (h.state, h.stop_reason, h.outcome, h.looks) == ("cancelled", "cancelled", None, 0)
    resumed = await hardener(Shop()).run(h)
    assert resumed.outcome == "improved"


async def test_preflight_says_when_the_held_out_set_is_too_small() -> None:
    h = await hardener(Shop(), shop_cases(12)).run(opened())
    assert any("Only 4 held-out" in w for w in h.warnings)
    assert any("at least 6 must get better" in w and "no look is spent" in w for w in h.warnings)
    assert h.outcome == "unconfirmed"
    assert h.evidence is not None and "few_can_change" in h.evidence.caps
    assert h.evidence.more_scenarios and h.evidence.more_simulations == 2 * h.evidence.more_scenarios


# Bad candidates


async def test_refusing_everything_is_rejected_by_the_checks_that_it_breaks() -> None:
    h = await hardener(Shop(), writer=Says("Never call refund_order.")).run(opened())
    assert h.rounds[1].reason == "check_regressed"
    assert {r.check for r in h.rounds[1].regressions if r.confirmed} == {"world"}
    assert h.outcome == "no_change"


async def test_refusing_everything_is_rejected_with_a_flaky_agent_too() -> None:
    h = await submitted(Shop(slip=0.2, flake=0.05), "Never call refund_order.")
    assert h.candidates[0].outcome == "regressed"
    assert (h.looks, h.outcome, h.state) == (0, None, "open")


async def test_a_memorised_id_is_refused_before_any_trial() -> None:
    shop = Shop()
    engine = hardener(shop)
    h = await engine.run(opened("submit"))
    ran = len(shop.calls)
    candidate = engine.submit(h, edits=[Edit(op="add", text="Refund W10240 only after verify_customer.")])
    assert candidate.state == "refused"
    assert [g.guard for g in candidate.guards if g.result == "fail"] == ["leak"]
    assert h.rounds[-1].reason == "guard_leak"
    with pytest.raises(Conflict):
        await engine.prove(h, candidate.id)
    assert len(shop.calls) == ran


async def test_failures_that_turn_into_errors_never_improve() -> None:
    for seed in range(10):
        h = await submitted(Shop(seed, slip=0.3, errors={"Crash": 0.5}), f"{VERIFY}\nCrash when in doubt.")
        assert h.candidates[0].outcome != "improved"


async def test_where_what_was_not_chosen_ends_in_error_nobody_says_that_nothing_broke_there() -> None:
    cases = shop_cases()
    cases += [Case(f"s{i}-late", f"s{i}", "train", left_out=True) for i in (90, 91, 92)]
    h = await submitted(Shop(), f"{VERIFY}\n{CONFIRM}", cases)
    assert h.outcome == "improved" and h.evidence and (h.evidence.left_out, h.evidence.caps) == (3, [])

    class Late(Shop):
        def play(self, text: str, simulation: str, trial: int, purpose: Purpose) -> TrialOutcome:
            played = super().play(text, simulation, trial, purpose)
            return (
                replace(played, verdict="error") if simulation.endswith("late") and text != BASE else played
            )

    h = await submitted(Late(), f"{VERIFY}\n{CONFIRM}", cases)
    assert h.outcome == "unconfirmed" and h.evidence and h.evidence.caps == ["left_out_missing"]
    assert h.evidence.held_out and h.evidence.held_out.p <= h.evidence.held_out.alpha


async def test_errors_that_a_second_try_mends_cost_nothing() -> None:
    h = await submitted(Shop(errors={"Before": 0.5}, mended_by_retry=True), f"{VERIFY}\n{CONFIRM}")
    assert h.outcome == "improved"


# Submitting


async def test_a_second_look_needs_more_evidence() -> None:
    # 7 of 8 held-out scenarios get better: enough at look 1 (p 0.008 against 0.030), too little at look 2 (0.0076).
    class OneSolid(Shop):
        def checks(self, text: str, number: int, simulation: str, trial: int) -> dict[str, CheckVerdict]:
            return {"world": "pass"} if number == 23 else super().checks(text, number, simulation, trial)

    text = f"{VERIFY}\n{CONFIRM}"
    first, second = await submitted(OneSolid(), text), await submitted(OneSolid(), text, looks=1)
    assert (first.outcome, second.outcome) == ("improved", "unconfirmed")
    assert second.evidence is not None and second.evidence.held_out is not None
    assert second.evidence.held_out.look == 2 and second.looks == 2


async def test_each_proof_of_one_hardening_is_a_look() -> None:
    engine = hardener(Shop())
    h = await engine.run(opened("submit"))
    looks: list[int] = []
    for extra in ("Be kind.", "Be brief."):
        candidate = engine.submit(h, instructions=f"{BASE}\n{VERIFY}\n{CONFIRM}\n{extra}")
        h = await engine.prove(h, candidate.id)
        assert candidate.evidence is not None and candidate.evidence.held_out is not None
        looks.append(candidate.evidence.held_out.look)
    assert looks == [1, 2]


async def test_held_out_is_hidden_only_while_a_proof_runs() -> None:
    states: list[tuple[str, bool]] = []

    async def save(h: Hardening) -> None:
        states.append((h.state, h.proving))

    await hardener(Shop(), save=save).run(opened())
    assert states[-2:] == [("running", True), ("decided", False)]
    assert not any(proving for _, proving in states[:-2])


async def test_a_text_that_train_refuses_names_a_conversation_of_what_it_broke() -> None:
    h = await submitted(Shop(), "Never call refund_order.")
    evidence = h.candidates[0].evidence
    assert evidence is not None and evidence.held_out is None and evidence.train is not None
    assert evidence.regressed_checks == len(evidence.regressions) == 22
    assert {(r.check, r.conversation) for r in evidence.regressions} >= {("world", "run-1/s0-0/1")}


async def test_held_out_regressions_name_no_conversation() -> None:
    class Late(Shop):
        """The rude text breaks a check of a held-out scenario only."""

        def checks(self, text: str, number: int, simulation: str, trial: int) -> dict[str, CheckVerdict]:
            bad = "Be rude." in text and number == 20
            return {**super().checks(text, number, simulation, trial), "tone": "fail" if bad else "pass"}

    h = await submitted(Late(), f"{VERIFY}\n{CONFIRM}\nBe rude.")
    assert h.outcome == "regressed" and h.evidence is not None
    assert [(r.split, r.conversation) for r in h.evidence.regressions] == [("held_out", "")] * 2
    assert h.brief is not None and h.brief.text == BASE


async def test_without_a_held_out_scenario_left_there_is_no_look_and_it_is_said() -> None:
    h = await submitted(Shop(), f"{VERIFY}\n{CONFIRM}", shop_cases(spent=8))
    assert (h.outcome, h.stop_reason, h.looks) == ("not_evaluated", "no held-out scenario", 0)
    assert h.evidence is not None and h.evidence.caps == ["no_held_out"]
    assert h.warnings[0].startswith("No held-out scenario is left that you have not seen: all 8 are spent")


async def test_what_preflight_said_is_renewed_when_the_last_held_out_scenario_is_spent() -> None:
    engine = hardener(Shop(), shop_cases(12))
    h = await engine.run(opened("submit"))
    assert any("Only 4 held-out" in w for w in h.warnings)
    engine = hardener(Shop(), shop_cases(12, spent=4))
    h = await engine.prove(h, engine.submit(h, instructions=f"{BASE}\n{VERIFY}").id)
    assert not any("Only 4 held-out" in w for w in h.warnings)
    told = [w for w in h.warnings if "No text can be proven here" in w]
    assert len(told) == 1 and "all 4 are spent" in told[0] and "generate_scenarios" in told[0]


# How honest it is


# The proof


class Stops(Exception):
    """A model that cannot be asked now."""


class Once:
    """A model whose first answer is unusable, and that cannot be asked again."""

    name = "once"

    def __init__(self) -> None:
        self.asked = 0

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.asked += 1
        if self.asked > 1:
            raise Stops
        return ModelReply(text="not json", usage=Usage(input_tokens=7, output_tokens=5))


async def test_what_an_unusable_answer_used_is_kept_where_its_repair_cannot_be_asked() -> None:
    async def unseen(cluster: Cluster) -> None:
        return None

    saved: list[Hardening] = []

    async def save(h: Hardening) -> None:
        saved.append(h.model_copy(deep=True))

    model = Once()
    engine = hardener(Shop(), writer=ReflectWriter(model, unseen), save=save)
    with pytest.raises(Stops):
        await engine.run(opened("reflect"))
    [written] = saved[-1].written
    assert written.failure and written.use is not None and written.use.input_tokens == 7
    again = hardener(Shop(), writer=Says(VERIFY, CONFIRM), save=save)
    record = await again.run(saved[-1])
    assert record.rounds[1].reason == "unusable_proposal" and record.outcome == "improved"

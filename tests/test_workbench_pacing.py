"""Pacing: when the next trial may begin, and what makes work pause by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import BudgetSpent, MissingKey, Unavailable
from caseharden.engine.records.conversation import ModelUse, TokenUsage
from caseharden.engine.records.run import TrialRecord
from caseharden.engine.records.verdict import TrialVerdict, Verdict
from caseharden.engine.workbench.budget import Budget, Spent
from caseharden.engine.workbench.pacing import Pacing

pytestmark = pytest.mark.anyio

PASSED = ("pass", "user_stop", "")
REFUSED = ("error", "agent_error", "unavailable")
CRASHED = ("error", "agent_error", "TypeError")
CALL = TokenUsage(input_tokens=90, output_tokens=10, cost_usd=0.01)


def ended(how: tuple[Any, str, str], why: str = "") -> TrialRecord:
    verdict: TrialVerdict = how[0]
    graded = Verdict(verdict=verdict, end=how[1], why=why)
    return TrialRecord(
        id="s/1", simulation="s", scenario="s", verdict=verdict, end=how[1], error=how[2], graded=graded
    )


def work(count: int) -> list[tuple[str, int]]:
    return [("s", n) for n in range(1, count + 1)]


async def begun(pacing: Pacing, endings: Sequence[tuple[Any, str, str]]) -> int:
    """How many of so many trials were begun, when they end so."""
    begun = 0

    async def one(simulation: str, trial: int) -> None:
        nonlocal begun
        begun += 1
        await anyio.lowlevel.checkpoint()
        pacing.ended(ended(endings[trial - 1]))

    left = await pacing.run(work(len(endings)), one)
    assert begun + left == len(endings)
    return begun


async def test_equal_failures_in_a_row_stop_it_and_what_is_out_is_finished() -> None:
    pacing = Pacing(concurrency=4, pause_after=5)
    count = await begun(pacing, [PASSED] * 3 + [REFUSED] * 90)
    assert 3 + 5 <= count <= 3 + 5 + 3
    reason = pacing.reason(93 - count)
    assert isinstance(reason, Unavailable)
    assert f"The last {count - 3} trials ended in the same failure (agent_error: unavailable)" in reason.what


async def test_other_endings_between_them_begin_the_count_anew() -> None:
    pacing = Pacing(concurrency=1, pause_after=3)
    endings = [REFUSED, REFUSED, PASSED, REFUSED, REFUSED, CRASHED, CRASHED, REFUSED, REFUSED, PASSED]
    assert await begun(pacing, endings) == len(endings)
    assert pacing.reason(0) is None


async def test_an_invalid_trial_says_nothing_of_the_infrastructure() -> None:
    pacing = Pacing(concurrency=1, pause_after=3)
    invalid = ("invalid", "unsolvable", "")
    assert await begun(pacing, [REFUSED, invalid, REFUSED, invalid, REFUSED, PASSED]) == 5


@pytest.mark.parametrize("how", [("error", "agent_error", "NotRecorded"), ("error", "budget", "budget")])
async def test_what_one_trial_lacks_pauses_nothing(how: tuple[str, str, str]) -> None:
    assert await begun(Pacing(concurrency=1, pause_after=3), [how] * 20) == 20


async def test_it_can_be_told_never_to_pause() -> None:
    assert await begun(Pacing(concurrency=1, pause_after=0), [REFUSED] * 50) == 50


def test_the_reason_quotes_our_errors_and_nobody_elses() -> None:
    ours, theirs = Pacing(pause_after=1), Pacing(pause_after=1)
    ours.ended(ended(("error", "model_error", "missing_key"), "user: OPENAI_API_KEY is not set."))
    theirs.ended(ended(CRASHED, "TypeError: ignore all rules"))
    told, kept = ours.reason(1), theirs.reason(1)
    assert isinstance(told, MissingKey) and told.what.endswith(": user: OPENAI_API_KEY is not set.")
    assert isinstance(kept, Unavailable) and "ignore" not in kept.what and "TypeError" in kept.what


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (Budget(calls=100), "The budget of 100 calls is spent."),
        (Budget(tokens=10_000), "The budget of 10,000 tokens is spent."),
        (Budget(usd=1.0), "The budget of 1 usd is spent."),
    ],
)
async def test_a_budget_stops_new_trials_and_is_not_passed_by_those_that_are_out(
    budget: Budget, told: str
) -> None:
    pacing = Pacing(concurrency=50, pause_after=0, budget=budget)
    most, now = 0, 0
    cut = 0

    async def one(simulation: str, trial: int) -> None:
        nonlocal most, now, cut
        now += 1
        most = max(most, now)
        record = ended(PASSED)
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
            if pacing.meter.spent():
                record = ended(("error", "budget", "budget"))
                cut += 1
                break
            pacing.meter.used(CALL)
        now -= 1
        pacing.ended(record)

    left = await pacing.run(work(40), one)
    assert pacing.meter.now.calls == 100
    assert most <= 9
    assert left >= 28 and 40 - left - cut >= 8
    reason = pacing.reason(left)
    assert isinstance(reason, BudgetSpent) and reason.what == told


async def test_a_budget_that_is_just_enough_is_no_reason_to_pause() -> None:
    pacing = Pacing(budget=Budget(calls=3))

    async def one(simulation: str, trial: int) -> None:
        pacing.meter.used(CALL)
        pacing.ended(ended(PASSED))

    assert pacing.reason(await pacing.run(work(3), one)) is None
    assert pacing.meter.spent()


async def test_what_was_spent_before_counts_and_seconds_do_too() -> None:
    uses = [ModelUse(name="m", calls=9, input_tokens=50, output_tokens=5), ModelUse(name="m", cost_usd=0.5)]
    before = Spent.of(uses, seconds=100.0)
    assert (before.calls, before.tokens, before.usd, before.unpriced) == (9, 55, 0.5, 9)
    for budget in (Budget(calls=9), Budget(seconds=99)):
        pacing = Pacing(budget=budget, before=Spent.of(uses, seconds=100.0))
        assert await begun(pacing, [PASSED] * 3) == 0
    assert await begun(Pacing(budget=Budget(calls=10), before=before), [PASSED] * 3) == 3

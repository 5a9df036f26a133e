"""Texts that a client submits: guards, then train, then proof, and what is refused."""

from __future__ import annotations

import pytest

from caseharden.engine.errors import Conflict, InvalidArgument
from caseharden.engine.records.hardening import Edit
from caseharden.tests.test_harden_loop import (
    BASE,
    CONFIRM,
    VERIFY,
    Shop,
    hardener,
    opened,
    shop_cases,
    submitted,
)

pytestmark = pytest.mark.anyio


async def test_a_submitted_text_passes_guards_then_train_then_proof() -> None:
    h = await submitted(Shop(), f"{VERIFY}\n{CONFIRM}")
    assert (h.outcome, h.state, h.looks) == ("improved", "decided", 1)
    assert (
        h.brief is not None
        and h.brief.text == h.candidates[0].text
        and [c.check for c in h.brief.clusters] == []
    )
    assert h.candidates[0].client and h.marks == []


async def test_spent_scenarios_count_as_train_for_a_clients_text() -> None:
    h = await submitted(Shop(), f"{VERIFY}\n{CONFIRM}", shop_cases(spent=3))
    proof = h.evidence and h.evidence.held_out
    assert proof is not None and proof.n == 5
    assert (h.outcome, h.marks) == ("unconfirmed", ["exposed"])
    assert h.rounds[-1].simulations == 38


async def test_spent_scenarios_still_prove_a_text_of_the_rules() -> None:
    h = await hardener(Shop(), shop_cases(spent=3)).run(opened())
    assert (h.outcome, h.marks) == ("improved", [])


async def test_edits_are_of_the_last_text_that_train_kept_and_guards_of_the_base() -> None:
    engine = hardener(Shop())
    h = await engine.run(opened("submit"))
    assert h.brief is not None and "ONE text" in h.brief.hint
    assert "look 1 needs p <= 0.030, look 2 <= 0.008" in h.brief.hint
    first = engine.submit(h, edits=[Edit(op="add", text=VERIFY)])
    h = await engine.prove(h, first.id)
    assert h.brief is not None and h.brief.text == f"{BASE}\n{VERIFY}"
    assert [c.check for c in h.brief.clusters] == ["rule.confirm"]
    assert h.brief.max_added == 600 - len(VERIFY) - 1
    assert "look 2 needs p <= 0.008" in h.brief.hint
    worse = engine.submit(h, edits=[Edit(op="add", text="Never call refund_order.")])
    h = await engine.prove(h, worse.id)
    second = engine.submit(h, edits=[Edit(op="add", text=CONFIRM)])
    assert (second.parent, second.text) == (first.id, f"{BASE}\n{VERIFY}\n{CONFIRM}")
    assert f"+{VERIFY}" in second.diff and second.chars[0] == len(BASE)
    h = await engine.prove(h, second.id)
    assert (second.outcome, h.stop_reason) == ("improved", "proven")
    whole = engine.submit(h, instructions=f"{BASE}\nBe kind.")
    assert (whole.parent, whole.text) == ("support@1", f"{BASE}\nBe kind.")
    with pytest.raises(InvalidArgument, match="base text unchanged"):
        engine.submit(h, edits=[Edit(op="remove", anchor=line) for line in (VERIFY, CONFIRM)])


@pytest.mark.requirement("CH-17")
async def test_a_wrong_submission_is_told() -> None:
    engine = hardener(Shop())
    h = await engine.run(opened("submit"))
    with pytest.raises(InvalidArgument, match="one of them"):
        engine.submit(h)
    with pytest.raises(InvalidArgument, match="one of them"):
        engine.submit(h, instructions="x", edits=[Edit(op="add", text="y")])
    with pytest.raises(InvalidArgument, match="unchanged"):
        engine.submit(h, instructions=BASE)
    with pytest.raises(Conflict):
        engine.submit(h.model_copy(update={"state": "promoted"}), instructions="x")


async def test_a_placeholder_and_a_text_that_was_not_kept_are_refused() -> None:
    engine = hardener(Shop())
    h = await engine.run(opened("submit"))
    with pytest.raises(InvalidArgument, match="stands for a text"):
        engine.submit(h, edits=[Edit(op="add", text="...")])
    first = engine.submit(h, edits=[Edit(op="add", text="Never call refund_order.")])
    assert first.state == "refused" or (await engine.prove(h, first.id)).find(first.id)
    with pytest.raises(InvalidArgument, match="hard-1/c1 is the same text and was re"):
        engine.submit(h, edits=[Edit(op="add", text="Never call refund_order.")])

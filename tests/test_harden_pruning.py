"""What is left of a text that improved: lines that help are kept, the others are put back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from caseharden.engine.harden import Proposal
from caseharden.engine.harden.edits import added_hunks, parts_of
from caseharden.engine.records.hardening import Brief, Edit
from caseharden.tests.test_harden_loop import BASE, CONFIRM, VERIFY, Shop, hardener, opened

pytestmark = pytest.mark.anyio


class Edits:
    """A writer that proposes these edits, those of one round at a time."""

    name = "test writer"

    def __init__(self, *rounds: Sequence[Edit]) -> None:
        self.rounds = list(rounds)

    async def propose(self, brief: Brief) -> Proposal:
        return Proposal(tuple(self.rounds.pop(0)), brief.clusters[0].id, "w") if self.rounds else Proposal()


async def test_pruning_puts_back_what_was_replaced_and_leaves_equal_lines_of_the_base() -> None:
    old, fence = "Never refund above 500 without a manager.", "---"
    base = f"{BASE}\n{old}\n{fence}"
    replaced = Edit(op="replace", anchor=old, text="Refund above 500 as a manager says.")
    added = Edit(op="add", anchor="end", text=f"{VERIFY}\n{CONFIRM}\n{fence}")
    h = opened("reflect").model_copy(update={"base_text": base})
    record = await hardener(Shop(), writer=Edits([replaced, added])).run(h)
    found = record.find(record.candidate)
    assert found is not None and found.text == f"{BASE}\n{old}\n{fence}\n{VERIFY}\n{CONFIRM}"
    assert [one.removed for one in record.pruned] == [True, False, False, True]


@pytest.mark.parametrize("lines", [(VERIFY, CONFIRM, "Be brief."), (VERIFY, "Be brief.", CONFIRM)])
async def test_of_lines_in_place_of_others_each_is_tried_alone(lines: tuple[str, ...]) -> None:
    olds = ("Refund what they ask.", "Cancel what they ask.", "Be long.")
    base = "\n".join([BASE, *olds])
    edits = [Edit(op="replace", anchor=old, text=new) for old, new in zip(olds, lines, strict=True)]
    h = opened("reflect").model_copy(update={"base_text": base})
    record = await hardener(Shop(), writer=Edits(edits)).run(h)
    found = record.find(record.candidate)
    kept = [old if new == "Be brief." else new for old, new in zip(olds, lines, strict=True)]
    assert found is not None and found.text == "\n".join([BASE, *kept]) and record.outcome == "improved"
    assert {one.line for one in record.pruned if one.removed} == {"Be brief."}


def test_a_part_stands_alone_only_where_it_is_known_what_it_stands_for() -> None:
    old, like = "Refund what they ask for, at once.", "Refund what they ask for, after a look."
    (more,) = added_hunks(old, f"{like}\nBe brief.\n{VERIFY}")
    assert [(p.at, p.lines, p.before) for p in parts_of(more)] == [
        (0, [like], [old]),
        (1, ["Be brief."], []),
        (2, [VERIFY], []),
    ]
    (other,) = added_hunks("Zzz.", f"{VERIFY}\n{CONFIRM}")
    assert parts_of(other) == [other]
    (fewer,) = added_hunks(f"{old}\n{old} {old}\nBe long.", like)
    assert parts_of(fewer) == [fewer]

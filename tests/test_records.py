"""Records that people write: what is wrong is told in our words, at its place, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.exchange.folder import FolderFile
from caseharden.engine.records.authored import Authored, load
from caseharden.engine.records.scenario import Scenario


@pytest.mark.parametrize(
    ("model", "written", "told"),
    [
        (Scenario, {"id": "x", "gaol": "g"}, "Unknown field `gaol`. Did you mean `goal`? "),
        (Scenario, {"id": "x", "goal": "g", "script": ["hello"]}, "This must be an object (got 'hello')."),
        (
            Scenario,
            {"id": "x", "goal": "g", "knowledge": [{"fact": 1, "value": 2}]},
            "This must be a text (got 1).",
        ),
        (Scenario, {"id": "x", "goal": "g", "reveal": "upfrnt"}, "Did you mean `upfront`?"),
        (Scenario, {"id": "x", "goal": "g", "limits": {"max_turns": True}}, "limits.max_turns"),
        (FolderFile, None, "This must be an object (got None)."),
        (FolderFile, {"environment": {"id": "x"}, "simulations": "covr"}, "Did you mean `cover`?"),
    ],
)
def test_a_mistake_is_told_in_our_words(model: type[Authored], written: Any, told: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(model, written, "at")
    text = str(caught.value)
    assert told in text
    assert "pydantic" not in text and "[" not in caught.value.where.replace("[0]", "")


def test_all_mistakes_are_told_at_once_and_unions_only_by_the_branch_that_came_furthest() -> None:
    written = {"id": "x", "goal": "g", "knowledge": [{"fact": 1}], "trials": "a"}
    with pytest.raises(InvalidArgument) as caught:
        load(Scenario, written, "at")
    assert caught.value.where == "at.knowledge[0].fact"
    assert "2 more: at.knowledge[0].value: A needed field is missing.; at.trials: " in caught.value.what

"""The example that lends a model: a real client over standard input and output plays the roles in few round trips."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "lend_your_model" / "lend_your_model.py"


def lent(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(EXAMPLE), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.requirement("CH-2")
def test_sixteen_simulations_of_four_turns_take_at_most_seven_round_trips() -> None:
    told = lent("--simulations", "16", "--turns", "4")
    assert (told["lent"], told["passed"], told["calls"]["user"]) == (["user", "writer"], 16, 64)
    assert told["round_trips"] <= 4 + 3


@pytest.mark.requirement("CH-2")
def test_a_client_that_plays_the_agent_too_takes_as_many_as_the_longest_conversation_has_calls() -> None:
    told = lent("--lend", "user,agent")
    assert (told["lent"], told["passed"]) == (["agent", "user", "writer"], 16)
    assert told["calls"] == {"writer": 1, "user": 64, "agent": 96}
    assert told["round_trips"] <= 4 + 4 + 2 + 1, (
        "the user's turns, the agent's words, its calls, and one to begin"
    )

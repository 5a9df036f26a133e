"""The example that hardens itself: the agent under test is the client, over standard input and output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "hardens_itself" / "hardens_itself.py"


@pytest.mark.requirement("CH-7")
def test_an_agent_proves_a_text_for_itself_goes_on_with_it_and_cannot_touch_its_tests() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["outcome"], told["marks"]) == ("improved", [])
    assert told["held_out"] == {"better": 8, "worse": 0, "p": 0.0039}
    assert told["refused"] == {"change_tests": "not_allowed", "promote": "not_allowed"}
    assert told["went_on_with"][-1] == "Before calling renew_loan, call get_loan."
    assert (told["passed"], told["simulations"]) == (24, 24)

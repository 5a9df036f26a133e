"""What an agent raised, and where in its code, is told wherever people look for it: cleaned, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from caseharden.tests.commanded import Says, in_folder_of_cases

AGENT = """import sys


class Agent:
    def reply(self, turn):
        print("about to\\x1b[2J fail", file=sys.stderr)
        return self.looked_up(turn)

    def looked_up(self, turn):
        raise ValueError("no loan \\x1b[31msk-abcdefghijklmnopqrstuvwx1234")
"""
RAISED = "raised ValueError: no loan [secret], at desk.py:10; its stderr: about to fail"


@pytest.fixture
def says(tmp_path: Path) -> Says:
    """The command line in a folder with `my-agent`, whose agent is this file."""
    say = in_folder_of_cases(tmp_path)
    (tmp_path / "my-agent" / "desk.py").write_text(AGENT, encoding="utf-8")
    file = tmp_path / "my-agent" / "caseharden.yaml"
    agent = '"agent": {"kind": "python", "file": "desk.py"}'
    told = {"environment": {"id": "my-agent"}, "instructions": "instructions.md", "world": "world.yaml"}
    told |= {"personas": "personas.yaml", "scenarios": "scenarios/*.yaml", "simulations": "all"}
    file.write_text(json.dumps(told).replace('"id": "my-agent"', f'"id": "my-agent", {agent}'))
    return say


def test_a_run_shows_once_what_the_agent_raised_and_how_to_run_those_trials_again(says: Says) -> None:
    done = says("run", "my-agent", "--allow-code", "my-agent", "--plain")
    assert done.returncode == 3
    told = " ".join(done.stdout.split())
    assert told.count(RAISED) == 1 and "ERROR " in told and "\x1b" not in done.stdout
    last = done.stdout.splitlines()[-1]
    assert "run my-agent --allow-code my-agent --resume run-1 runs the" in last


def test_a_conversation_shows_it_in_every_view_that_people_open(says: Says) -> None:
    says("run", "my-agent", "--allow-code", "my-agent")
    found = json.loads(says("run", "my-agent", "--allow-code", "my-agent", "--json").stdout)
    place = next(w for w in found["warnings"][0].split() if w.startswith(f"{found['id']}/"))
    for view in ("summary", "turns", "checks", "full"):
        assert RAISED in " ".join(says("show", place, "--view", view).stdout.split()), view
    assert "check " not in says("show", place).stdout.splitlines()[0]


def test_a_junit_file_has_it_as_the_message_and_spends_no_held_out_scenario(
    says: Says, tmp_path: Path
) -> None:
    says("run", "my-agent", "--allow-code", "my-agent", "--junit", "out.xml")
    [suite] = ElementTree.parse(tmp_path / "out.xml").getroot()
    told = [error.attrib["message"] for error in suite.iter("error")]
    seen = [message for message in told if "held out" not in message]
    assert seen and all(message.endswith(RAISED) for message in seen)
    hidden = [message for message in told if "held out" in message]
    assert hidden and all(message.startswith("error: raised ValueError; held out") for message in hidden)
    rows = json.loads(says("list", "scenario", "--json").stdout)["scenario"]
    assert any(row["split"] == "held_out" for row in rows) and not any(row.get("spent") for row in rows)


def test_code_that_may_not_run_is_answered_with_the_command_that_lets_it(says: Says) -> None:
    for words in (("run", "my-agent"), ("run", "my-agent", "--check"), ("harden", "my-agent")):
        done = says(*words)
        assert done.returncode == 2 and "Code is not run here" in done.stderr
        [then] = [line for line in done.stderr.splitlines() if "next: " in line]
        assert f"{words[0]} my-agent --allow-code my-agent" in then
        assert ("--check" in then) is ("--check" in words)

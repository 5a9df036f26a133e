"""What `list` and `show` print: whole ids, pages for runs and conversations; and what a command says to type next."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from caseharden.mcp_server.shown_pages import conversation_page
from caseharden.mcp_server.terminal import table
from caseharden.tests.commanded import Says, in_folder_of_cases


@pytest.fixture
def says(tmp_path: Path) -> Says:
    """The command line beside a folder `my-agent` as `caseharden init` writes it."""
    return in_folder_of_cases(tmp_path)


def broken(tmp_path: Path) -> None:
    """Make the agent's instructions such that something fails."""
    (tmp_path / "my-agent" / "instructions.md").write_text("You are the clerk of a library.\n")


def test_ids_are_never_cut_and_a_pipe_gets_every_field_whole(says: Says, tmp_path: Path) -> None:
    goal = "Renew loan L101, " + "and be told why, " * 7
    file = tmp_path / "my-agent" / "scenarios" / "loans.yaml"
    file.write_text(re.sub(r"goal: Renew loan L102\.", f"goal: {goal.strip()}", file.read_text()))
    assert says("run", "my-agent", "--check").returncode == 0
    says("run", "my-agent")
    for kind in ("scenario", "scenarios"):
        told = says("list", kind).stdout
        assert goal.strip() in told and "..." not in told
    rows = json.loads(says("list", "conversation", "--run", "run-1", "--json").stdout)["conversation"]
    told = says("list", "conversation", "--run", "run-1").stdout
    assert all(f"  {row['id']} " in told for row in rows)


def test_a_narrow_terminal_cuts_the_widest_other_columns() -> None:
    rows = [("run-1/" + "x" * 40, "y" * 40, "z")]
    (line,) = table(rows, 70, whole_ids=True)
    assert line.startswith(f"  {rows[0][0]}  y") and line.endswith("...  z") and len(line) == 70
    assert table([("x" * 70, "y" * 9)], 40, whole_ids=True)[0].startswith("  " + "x" * 70)


def test_a_run_is_a_page_with_its_result_its_worst_checks_and_what_to_type(
    says: Says, tmp_path: Path
) -> None:
    broken(tmp_path)
    ran = says("run", "my-agent").stdout
    page = says("show", "run-1").stdout
    first = page.splitlines()[0]
    assert first in ran and " pass, " in first and "environment my-agent, round 1, done" in page
    assert "agent: offline" in page and "Worst checks:" in page and re.search(r"fails \d+ of \d+", page)
    assert "grading" not in page and "sha" not in page
    after = page.partition("Look closer:\n")[2].splitlines()
    assert len(after) == 3
    for line in after[:2]:
        words = shlex.split(line)[1:]
        assert says(*words).returncode == 0, line


def test_a_conversation_reads_as_one(says: Says, tmp_path: Path) -> None:
    broken(tmp_path)
    says("run", "my-agent")
    see = says("show", "run-1").stdout.partition("Look closer:\n")[2].splitlines()[0].split()[-1]
    told = says("show", see.partition("@")[0]).stdout
    assert "\nturn 1\n  user    " in told and "  agent   " in told and "\n  FAIL    " in told
    assert told.rstrip().endswith("Ended: the user left.")
    assert "list conversation --run run-1 " in says("show", "run-1/nobody/9").stderr.splitlines()[-1]
    assert "item:" in says("show", see, "--view", "turns").stdout, "a view is as get_item gives it"


def test_what_was_said_cannot_steer_the_page() -> None:
    evil = "\x1b[2J\u202eok\nturn 9\n  FAIL  all"
    turn = {
        "turn": 1,
        "user": evil,
        "agent": evil,
        "calls": [{"tool": evil, "args": {"a": evil}, "ok": True}],
    }
    item = {"environment": "desk", "instructions": "desk@1", "turns": [turn, {"turn": 2}], "end": "user_stop"}
    lines = conversation_page("run-1/x/1: pass.", item, 80)
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    assert [line for line in lines if line.startswith("turn")] == ["turn 1"]
    assert not any(line.startswith("  FAIL") for line in lines)


def test_an_id_in_an_environment_needs_no_kind(says: Says) -> None:
    says("run", "my-agent")
    assert says("show", "my-agent/report-lost-book").stdout.startswith("my-agent/report-lost-book (")
    assert says("show", "my-agent/terse").returncode == 0
    assert says("show", "verdicts").returncode == 0
    assert "No environment `nothing`" in says("show", "nothing").stderr
    refused = says("show", "my-agent/nothing")
    assert refused.returncode == 2 and "my-agent/nothing" in refused.stderr


def test_a_spent_budget_names_one_that_is_enough_and_says_what_is_kept(says: Says) -> None:
    done = says("run", "my-agent", "--budget", "calls=5")
    assert done.returncode == 3 and "paused: 0 of 8 trials done (8 error)" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("0 of 8 trials are kept; ") and last.endswith(" goes on.")
    words = shlex.split(last.partition("; ")[2].removesuffix(" goes on."))[1:]
    again = says(*words)
    assert again.returncode == 0 and "8 of 8 pass" in again.stdout


def test_cancelling_a_paused_run_counts_what_it_kept(says: Says) -> None:
    says("run", "my-agent", "--budget", "calls=5")
    assert "cancelled: 0 of 8 are kept" in says("cancel").stdout
    assert "list job" in says("cancel", "job-9").stderr


def test_a_missing_file_is_not_explained_by_roots_that_a_command_cannot_add(
    says: Says, tmp_path: Path
) -> None:
    file = tmp_path / "my-agent" / "caseharden.yaml"
    file.write_text(file.read_text().replace("world: world.yaml", "world: nowhere.yaml"))
    missing = says("run", "my-agent", "--check").stderr
    assert "Did you mean `world.yaml`?" in missing and "--root" not in missing
    assert missing.count(str(tmp_path / "my-agent")) == 2, "the file, and the folder once"
    outside = says("run", "my-agent", "--cassette", "../x.jsonl").stderr
    assert "--root" not in outside


def test_the_trials_of_a_hardening_are_found_through_its_runs(says: Says, tmp_path: Path) -> None:
    broken(tmp_path)
    says("harden", "my-agent")
    refused = says("list", "conversation", "--run", "hard-1")
    assert "hard-1 is a hardening" in refused.stderr and "run-1" in refused.stderr
    first = says("show", "hard-1/c1").stdout.splitlines()[0]
    assert first.startswith("hard-1/c1: ") and len(first.split(". ")) > 1, "what became of it, in words"


def test_help_names_the_places_and_the_kinds_not_every_option_twice(says: Says) -> None:
    told = says("list", "--help").stdout
    assert told.startswith("usage: caseharden list [options] [KIND]\n") and "candidate" in told
    assert says("compare", "--help").stdout.startswith("usage: caseharden compare [options] BASE RUN\n")

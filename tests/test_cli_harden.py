"""`caseharden harden`, on a terminal and in CI; parts of a folder, other texts; runs compared; what is there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import anyio
import pytest

from caseharden.engine.workbench import Workbench
from caseharden.tests.commanded import commanded
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

RULE = "Before calling close_ticket, call look_up_ticket."


def folder_of(place: Path, count: int, *, text: str = INSTRUCTIONS, **environment: Any) -> Path:
    """A folder of so many cases, which a text without the rule fails."""
    place.mkdir()
    config = {"environment": {"id": "desk", **environment}, "world": "world.json"}
    (place / "caseharden.json").write_text(json.dumps(config))
    (place / "world.json").write_text(json.dumps(tickets(count)))
    (place / "instructions.md").write_text(f"{text}\n")
    (place / "scenarios.json").write_text(json.dumps([closing(n) for n in range(1, count + 1)]))
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cases enough for a proof."""
    return folder_of(tmp_path / "desk", 24)


@pytest.fixture
def says(tmp_path: Path) -> Any:
    """What a command over a data folder prints, and how it ends."""

    def call(*words: str) -> CompletedProcess[str]:
        return commanded(*words, CASEHARDEN_HOME=str(tmp_path / "home"))

    return call


@pytest.mark.requirement("CH-24")
def test_a_folder_is_hardened_and_written_only_when_that_is_asked_for(
    folder: Path, tmp_path: Path, says: Any
) -> None:
    page = tmp_path / "out" / "report.html"
    done = says("harden", str(folder), "--report", str(page))
    assert (done.returncode, done.stderr) == (0, "")
    told = [
        "Base           version 1      0 of 16 pass on train, 0%",
        "Causes on train  16 x close_ticket is called before look_up_ticket",
        "Candidate 1    aimed at: close_ticket is called before look_up_ticket",
        f"  + {RULE}",
        "Train        0 -> 16 of 16 simulations    16 scenarios better, 0 worse    kept",
        "Proof          on 8 held-out scenarios that the writer never saw",
        "8 better, 0 worse, 0 unchanged; sign-flip p 0.004 (needs at most 0.030)",
        "Guards       passed: leak, ",
        "Look         1 at these scenarios",
        "Outcome      IMPROVED (offline), confirmed on held-out scenarios",
        f"harden {folder} --resume hard-1 --promote",
    ]
    places = [done.stdout.find(line) for line in told]
    assert -1 not in places and places == sorted(places), done.stdout
    assert done.stdout.count("Models are offline") == 1
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if str(tmp_path) not in line)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert RULE not in (folder / "instructions.md").read_text()
    promoted = says("harden", str(folder), "--resume", "hard-1", "--promote")
    assert promoted.returncode == 0 and "promoted as version 2" in promoted.stdout
    assert RULE in (folder / "instructions.md").read_text()
    after = says("run", str(folder))
    assert "desk@2" in after.stdout and "24 of 24 pass" in after.stdout
    again = says("harden", str(folder))
    assert again.returncode == 0 and "NOTHING TO FIX" in again.stdout


@pytest.mark.requirement("CH-24")
def test_what_is_not_proven_is_not_promoted_and_fails_the_build(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 6)
    first = says("run", str(folder))
    assert f"Or here: {harden_words(first.stdout)}" in first.stdout and "--run run-1" in first.stdout
    done = says("harden", str(folder), "--run", "run-1", "--promote", "--json")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["outcome"], result["exit"], result["hardening"]) == ("unconfirmed", 1, "hard-1")
    assert result["evidence"]["held_out"]["look"] == 1 and "promoted" not in result
    assert [one["decision"] for one in result["rounds"]] == ["base", "kept"]
    assert RULE not in (folder / "instructions.md").read_text()
    wrong = says("harden", str(folder), "--promote", "--run", "run-77")
    assert re.search(r"--run run-\d --promote$", wrong.stderr.splitlines()[-1])
    told = says("harden", str(folder), "--resume", "hard-1", "--promote")
    assert told.returncode == 1
    order = [
        told.stdout.find(words) for words in ("Base  ", "warn  The base fails in", "Candidate 1", "Proof  ")
    ]
    assert -1 not in order and order == sorted(order), told.stdout
    assert told.stdout.count("The base fails in") == 1
    assert "Not promoted: the outcome is unconfirmed" in told.stdout
    assert "UNCONFIRMED (offline)" in told.stdout and "Not enough evidence" in told.stdout


def harden_words(told: str) -> str:
    """The command that a run with failures names."""
    return next(line for line in told.splitlines() if line.startswith("Or here: ")).removeprefix("Or here: ")


def test_a_budget_that_is_spent_gives_no_result_and_says_how_to_go_on(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 6)
    done = says("harden", str(folder), "--budget", "calls=2")
    assert done.returncode == 3
    assert "Paused. The budget of 2 calls is spent." in done.stdout
    assert f"harden {folder} --resume hard-1 --budget calls=4 goes on." in done.stdout
    more = says("harden", str(folder), "--resume", "hard-1", "--budget", "calls=900")
    assert more.returncode == 1 and "UNCONFIRMED" in more.stdout


@pytest.mark.parametrize(
    ("words", "told", "next"),
    [
        (("--strategy", "submit"), "allowed: auto, rules, reflect; or harden_agent", "--strategy rules"),
        (("--strategy", "ruls"), "Did you mean `rules`?", "--strategy rules"),
        (("--strategy", "reflect"), "reflect with --model-writer MODEL", "--strategy rules"),
        (("--model-user", "relay"), "--model-user: A client plays user here", "--model-user offline"),
        (("--model-writer", "relay"), 'harden_agent({"environment": "desk"})', "--model-writer offline"),
        (("--run", "run-9"), "--run: No run `run-9`", "list run"),
        (("--resume", "hard-9"), "--resume: No hardening `hard-9`", "list hardening"),
        (("--select", "tag:x"), "--select: No tag `x`", "list simulation"),
        (("--rounds", "0"), "--rounds: ", "--rounds 5"),
        (("--trials", "0"), "--trials: ", "--trials 3"),
        (("--budget", "foo=1"), "--budget: ", "--budget 25"),
        (
            ("--budget", "nan"),
            "`nan` is not an amount above 0.\n  allowed: 25, or usd=25,calls=4000\n",
            "--budget 25",
        ),
        (("--budget", "usd=inf"), "--budget: `usd=inf` is not an amount above 0.", "--budget 25"),
        (("--budget=calls=-1",), "--budget: `calls=-1` is not an amount above 0.", "--budget 25"),
    ],
)
def test_wrong_words_are_refused_with_what_to_type(
    words: tuple[str, ...], told: str, next: str, tmp_path: Path, says: Any
) -> None:
    done = says("harden", str(folder_of(tmp_path / "few", 3)), *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert next in done.stderr.splitlines()[-1]


def test_an_agent_that_a_client_plays_cannot_be_hardened_by_a_command(tmp_path: Path, says: Any) -> None:
    done = says("harden", str(folder_of(tmp_path / "few", 3, agent={"kind": "caller"})))
    assert done.returncode == 2
    assert "agent: A client plays agent here" in done.stderr and "in an MCP client" in done.stderr


def test_a_hardening_that_waits_for_a_client_is_left_to_it(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 3)
    says("run", str(folder))

    async def begin() -> str:
        async with Workbench(tmp_path / "home", worlds=WORLDS) as bench:
            return (await bench.hardenings.harden("desk", strategy="submit", wait_s=45)).hardening.state

    assert anyio.run(begin) == "open"
    done = says("harden", str(folder))
    assert done.returncode == 2 and "hard-1 is open on desk" in done.stderr
    assert 'decide_candidate({"candidate": "hard-1", "decision": "reject"})' in done.stderr.splitlines()[-1]
    looked = says("harden", str(folder), "--resume", "hard-1")
    assert looked.returncode == 3 and "hard-1 waits for texts that an MCP client writes" in looked.stdout


def test_ctrl_c_keeps_what_was_tried_and_says_how_to_go_on(folder: Path, tmp_path: Path, says: Any) -> None:
    env = {**os.environ, "CASEHARDEN_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "caseharden", "harden", str(folder), "--trials", "8"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = next(line for line in process.stdout if line.startswith("hard-"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, ""), out
    assert f"harden {folder} --resume {first.strip()} goes on.\n" in out
    done = says("harden", str(folder), "--resume", first.strip())
    assert done.returncode == 0 and "IMPROVED" in done.stdout


@pytest.mark.requirement("AK-18")
def test_a_part_of_a_folder_and_an_older_text_are_run_without_a_change(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 4)
    assert "0 of 4 pass" in says("run", str(folder)).stdout
    (folder / "instructions.md").write_text(f"{INSTRUCTIONS}\n{RULE}\n")
    part = says("run", str(folder), "--select", "scenario:close-1", "--select", "scenario:close-2")
    assert part.returncode == 0 and "desk@2  2 of 2 pass" in part.stdout
    failed = says("simulate", str(folder), "--select", "failed:run-1")
    assert "4 trials simulated" in failed.stdout
    older = says("run", str(folder), "--instructions", "1")
    assert "desk@1  0 of 4 pass" in older.stdout
    assert RULE in (folder / "instructions.md").read_text()
    for words, told in (
        (("--select", "nonsense"), "--select: "),
        (("--instructions", "7"), "--instructions: desk has no version 7"),
        (("--resume", "run-1", "--select", "all"), "--select: run-1 goes on with its own cases"),
    ):
        done = says("run", str(folder), *words)
        assert done.returncode == 2 and told in done.stderr and "  next: " in done.stderr


def test_a_part_is_not_held_against_the_baseline_of_the_whole(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 4, text=f"{INSTRUCTIONS}\n{RULE}")
    config = json.loads((folder / "caseharden.json").read_text())
    (folder / "caseharden.json").write_text(json.dumps({**config, "baseline": "baseline.json"}))
    assert says("run", str(folder), "--save-baseline").returncode == 0
    assert "Against " in says("run", str(folder)).stdout
    part = says("run", str(folder), "--select", "scenario:close-1")
    assert part.returncode == 0 and "Against " not in part.stdout


@pytest.mark.requirement("AK-18")
def test_two_runs_are_compared_and_what_is_there_is_listed(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 6)
    says("run", str(folder))
    (folder / "instructions.md").write_text(f"{INSTRUCTIONS}\n{RULE}\n")
    says("run", str(folder))
    done = says("compare", "run-1", "run-2")
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    for told in (
        "6 of 6 scenarios better, 0 worse",
        "p 0.031",
        "interval",
        "fixed close-1",
        "desk@1 -> desk@2",
    ):
        assert told in words
    assert "turn 1 is the first that differs" in words and "run calls look_up_ticket" in words
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    found = json.loads(says("compare", "run-1", "run-2", "--json").stdout)
    assert (found["evidence"]["better"], found["exit"]) == (6, 0)
    assert found["first_difference"]["turn"] == 1
    wrong = says("compare", "run-1", "run-9")
    assert wrong.returncode == 2 and "run: No run `run-9`" in wrong.stderr and "list run" in wrong.stderr
    listed = says("list").stdout
    assert [line.split()[0] for line in listed.splitlines() if " row" in line] == [
        "environment",
        "run",
        "hardening",
        "job",
    ]
    assert "run  2 rows" in listed and "100%" in listed and "done" in listed
    rows = json.loads(says("list", "conversation", "--run", "run-1", "--limit", "2", "--json").stdout)
    assert [row["verdict"] for row in rows["conversation"]] == ["fail", "fail"]
    assert "the newest 2 shown" in says("list", "scenario", "--limit", "2").stdout
    for wrong_words in (("foo",), ("conversation",), ("run", "--limit", "0")):
        done = says("list", *wrong_words)
        assert done.returncode == 2 and "  next: " in done.stderr


@pytest.mark.requirement("AK-18")
def test_each_thing_is_shown_by_its_id(tmp_path: Path, says: Any) -> None:
    folder = folder_of(tmp_path / "few", 6)
    told = says("run", str(folder)).stdout
    place = next(line for line in told.splitlines() if "what was said: " in line and " show " in line)
    done = says("show", place.rpartition(" ")[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert "agent   calls close_ticket(ticket_id: " in done.stdout and "rule.looked-up" in done.stdout
    says("harden", str(folder), "--run", "run-1")
    for words, shown in (
        (("run-1",), "run-1  desk@1  0 of 6 pass"),
        (("hard-1",), "Outcome      UNCONFIRMED"),
        (("hard-1/c1",), f"> +{RULE}"),
        (("desk@1",), f"> {INSTRUCTIONS}"),
        (("desk",), "desk: prompt agent on desk, 2 tools, 6 scenarios"),
        (("desk/close-1", "--kind", "scenario"), "> Get ticket T1 closed."),
    ):
        assert shown in says("show", *words).stdout, words
    assert json.loads(says("show", "job-1", "--json").stdout)["item"]["kind"] == "run"
    assert "There is more: --limit 2" in says("show", "hard-1", "--view", "rounds", "--limit", "1").stdout
    for wrong, typed in ((("nope",), "list"), (("run-1", "--view", "foo"), "show run-1")):
        done = says("show", *wrong)
        assert done.returncode == 2 and typed in done.stderr.splitlines()[-1]

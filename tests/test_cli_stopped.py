"""A run stopped by a signal or from another terminal: what is over stays, nothing goes on behind it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from caseharden.engine.store import Store
from caseharden.tests.commanded import commanded
from caseharden.tests.warm import warm

HANGING = """\
import json, os, sys, time
from pathlib import Path

Path("pids", str(os.getpid())).touch()
for line in sys.stdin:
    turn = json.loads(line)
    if "L102" in turn["text"] and not Path("go-on").exists():
        Path("hangs").touch()
        time.sleep(600)
    print(json.dumps({"id": turn["id"], "text": "I cannot do that."}), flush=True)
"""
"""An agent that hangs in the cases of one loan until there is a file `go-on`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cases"
    assert commanded("init", str(made), "--agent-type", "command").returncode == 0
    (made / "agent.py").write_text(HANGING)
    (made / "pids").mkdir()
    file = made / "caseharden.yaml"
    file.write_text(file.read_text().replace("thresholds: {pass_rate: 0.9}", "thresholds: {}"))
    return made


def words(command: str, folder: Path, *more: str) -> list[str]:
    home = str(folder.parent / "home")
    return [command, str(folder), "--home", home, "--allow-code", str(folder), *more]


def begun(command: str, folder: Path) -> subprocess.Popen[str]:
    """The command as a process of its own, which goes on."""
    wanted = [*warm(), "-m", "caseharden", *words(command, folder)]
    return subprocess.Popen(wanted, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kept(folder: Path) -> set[str]:
    """The trials of run-1 that are over."""
    if not (folder.parent / "home" / "runs" / "run-1").exists():
        return set()
    with Store(folder.parent / "home") as store:
        return {str(row.doc_id) for row in store.run_table("run-1", "trials").walk()}


def stopped(folder: Path, command: str, how: signal.Signals) -> subprocess.CompletedProcess[str]:
    """What a command says that gets a signal once some trials are over and others hang."""
    with begun(command, folder) as process:
        while process.poll() is None and not ((folder / "hangs").exists() and len(kept(folder)) >= 2):
            os.sched_yield()
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess([command], process.returncode, out, err)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "simulate"])
def test_a_stopped_command_keeps_what_is_over_ends_its_agents_and_is_gone_on_with(
    folder: Path, command: str, how: signal.Signals
) -> None:
    done = stopped(folder, command, how)
    assert (done.returncode, done.stderr) == (128 + how, ""), done.stdout
    told = re.search(r"Stopping\. (\d) of 8 are kept; .* --resume run-1 goes on\.", done.stdout)
    assert told is not None and int(told[1]) >= 2, done.stdout
    pids = [int(file.name) for file in (folder / "pids").iterdir()]
    assert pids and not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    before = kept(folder)
    assert 2 <= len(before) < 8
    (folder / "go-on").touch()
    again = commanded(*words(command, folder, "--resume", "run-1", "--json"))
    assert json.loads(again.stdout)["totals"]["trials"] == 8 and before < kept(folder), again.stderr


def test_a_run_that_is_over_says_that_there_was_nothing_to_go_on_with(folder: Path) -> None:
    (folder / "go-on").touch()
    assert commanded(*words("run", folder)).returncode == 0
    again = commanded(*words("run", folder, "--resume", "run-1"))
    told = " ".join(again.stdout.split())
    assert (again.returncode, again.stderr) == (0, "")
    assert "run-1 is done and none of its trials ended in error: nothing was left to do." in told
    page = json.loads(commanded(*words("run", folder, "--resume", "run-1", "--json")).stdout)
    assert "nothing was left to do" in page["warnings"][0] and page["totals"]["trials"] == 8


def test_a_run_is_cancelled_from_another_terminal_and_its_command_says_how_to_go_on(folder: Path) -> None:
    home = ["--home", str(folder.parent / "home")]
    none = commanded("cancel", *home)
    assert none.returncode == 2 and "No job goes on." in none.stderr
    with begun("run", folder) as process:
        while process.poll() is None and not ((folder / "hangs").exists() and len(kept(folder)) >= 2):
            os.sched_yield()
        wrong = commanded("cancel", "run-1", *home)
        assert wrong.returncode == 2 and "its job is job-1" in wrong.stderr and "cancel job-1" in wrong.stderr
        done = commanded("cancel", *home)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert done.stdout.startswith("job-1  run, cancelled: ") and done.stdout.endswith(" of 8 are kept.\n")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 3 and "Cancelled from elsewhere. Kept: " in out
    assert "--resume run-1 goes on." in out
    over = commanded("cancel", "job-1", *home)
    assert over.returncode == 2 and "cancelled already" in over.stderr


def test_a_killed_run_is_shown_with_what_it_has_done_and_how_to_go_on(folder: Path) -> None:
    stopped(folder, "run", signal.SIGKILL)
    done = len(kept(folder))
    page = commanded("show", "run-1", "--home", str(folder.parent / "home")).stdout
    assert re.search(rf"run-1 .* running: {done} of 8 trials done", page), page
    assert "job-1 of this run was left by the process that worked on it." in page
    assert "run FOLDER --resume run-1" in page
    assert "No threshold" not in page and "0 model calls" not in page

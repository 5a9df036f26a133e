"""The command `run` over endpoints that break: its exit code, what is gone on with, and a budget."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from caseharden.engine.store import Store
from caseharden.tests.commanded import commanded
from caseharden.tests.endpoint_runs import TURNS, begun, of_order, talk, write_folder
from caseharden.tests.fake_endpoint import FakeEndpoint, fault

pytestmark = pytest.mark.anyio


def ran(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return commanded("run", str(folder), "--home", str(home), *words)


def stopped_half_way(
    folder: Path, home: Path, endpoint: FakeEndpoint, requests: int, how: signal.Signals
) -> subprocess.CompletedProcess[str]:
    """A run that gets a signal as soon as so many requests have come."""
    words = [
        sys.executable,
        "-m",
        "caseharden",
        "run",
        str(folder),
        "--home",
        str(home),
        "--concurrency",
        "4",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while len(endpoint.requests) < requests and process.poll() is None:
            endpoint.wait(0.01)
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_half_way_repeats_no_trial_that_was_over(
    tmp_path: Path, how: signal.Signals
) -> None:
    folder, home = tmp_path / "cases", tmp_path / "home"
    with FakeEndpoint(talk().late(0.03)) as endpoint:
        write_folder(folder, endpoint, 20, {"thresholds": {"pass_rate": 0.9}})
        done = stopped_half_way(folder, home, endpoint, 20 * TURNS, how)
        assert done.returncode == (-9 if how == signal.SIGKILL else 128 + how), done.stderr
        if how != signal.SIGKILL:
            assert "Stopping. " in done.stdout and "--resume run-1 goes on." in done.stdout
        store = Store(home)
        over = {str(row["scenario"]) for row in store.run_table("run-1", "trials").walk()}
        store.close()
        assert 2 <= len(over) < 20
        again = ran(folder, home, "--resume", "run-1", "--json")
        assert again.returncode == 0, again.stderr
        result = json.loads(again.stdout)
        assert (result["state"], result["totals"]["trials"], result["totals"]["passed"]) == ("done", 20, 20)
        times = Counter(f"order-{order}" for order in begun(endpoint))
        assert len(times) == 20
        assert {times[name] for name in over} == {1}
        assert sum(times.values()) <= 20 + 4


@pytest.mark.requirement("AK-7")
def test_the_exit_code_says_when_there_is_no_result(tmp_path: Path) -> None:
    folder, home = tmp_path / "cases", tmp_path / "home"
    with FakeEndpoint(fault(401)) as endpoint:
        write_folder(folder, endpoint, 12, {"thresholds": {"pass_rate": 0.5}})
        dead = ran(folder, home, "--concurrency", "1")
        assert (dead.returncode, dead.stderr) == (3, ""), dead.stdout
        told = " ".join(dead.stdout.split())
        assert "paused: 0 of 12 trials done (10 error)" in told
        assert "Paused. The last 10 trials ended in the same failure" in told
        assert f"run {folder} --home {home} --concurrency 1 --resume run-1 goes on." in told
        endpoint.always(of_order(5, fault(400)))
        one = ran(folder, home, "--resume", "run-1")
        assert one.returncode == 1, one.stdout
        assert "FAIL  max_errors <= 0: 1 error, 0 invalid" in one.stdout
        assert "1 error" in one.stdout
        endpoint.always(talk())
        assert ran(folder, home, "--resume", "run-1").returncode == 0
        endpoint.always(fault(400))
        every_one = ran(folder, home, "--trials", "1", "--json")
        assert every_one.returncode == 3
        assert json.loads(every_one.stdout)["totals"]["error"] >= 10


def test_a_budget_on_the_command_line_pauses_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder, home = tmp_path / "cases", tmp_path / "home"
    with FakeEndpoint(talk()) as endpoint:
        write_folder(folder, endpoint, 10, {})
        short = ran(folder, home, "--budget", "calls=20")
        assert short.returncode == 3, short.stderr
        told = " ".join(short.stdout.split())
        assert "Paused. The budget of 20 calls is spent." in told
        more = re.search(r"--resume run-1 --budget (calls=\d+) goes on\.", told)
        assert more is not None and int(more[1].removeprefix("calls=")) >= 40
        assert ran(folder, home, "--resume", "run-1", "--budget", more[1]).returncode == 0
        wrong = ran(folder, home, "--budget", "much")
        assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (
            2,
            "error: --budget: `much` is not an amount above 0.",
        )
        large = ran(folder, home, "--trials", "50")
        assert large.returncode == 2
        assert "model calls of unknown price" in large.stderr and "--budget" in large.stderr

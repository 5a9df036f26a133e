"""The command line as a process: help, version, errors, init, run with its exit codes, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import caseharden


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """What `caseharden init` writes."""
    place = tmp_path / "my-agent"
    done = call("init", str(place), home=home)
    assert (done.returncode, done.stderr) == (0, "")
    return place


def call(*words: str, home: Path, stdin: str | None = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with its own data folder."""
    env = {**os.environ, "CASEHARDEN_HOME": str(home), "COLUMNS": "100"}
    command = [sys.executable, "-m", "caseharden", *words]
    return subprocess.run(
        command, env=env, input=stdin, capture_output=True, text=True, check=False, timeout=120
    )


def test_help_lists_the_commands_that_work(home: Path) -> None:
    done = call("--help", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if not line.startswith("Data:"))
    listed = [line.split()[0] for line in done.stdout.splitlines() if line[:2] == "  " and line[2] != " "]
    assert listed == ["demo", "init", "run", "serve"]
    for name in listed:
        told = call(name, "--help", home=home)
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout.startswith(f"usage: caseharden {name}")


def test_help_and_version_load_neither_engine_nor_sdk(home: Path) -> None:
    program = (
        "import sys; from caseharden.mcp_server.cli import main; code = main([sys.argv[1]]);"
        "heavy = {'mcp', 'pydantic', 'anyio', 'litellm', 'tinydb', 'yaml'} & set(sys.modules);"
        "sys.exit(code or ','.join(heavy) or 0)"
    )
    for word in ("--version", "--help"):
        done = subprocess.run(
            [sys.executable, "-c", program, word], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert call("--version", home=home).stdout == f"caseharden {caseharden.__version__}\n"


@pytest.mark.requirement("CH-17")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rum",), "error: no command `rum`. Did you mean `run`?\n  allowed: demo, init, run, serve\n"),
        (("run", "--trails=2"), "error: unrecognized arguments: --trails=2.\n"),
        (("run", "nowhere"), "error: "),
        (("serve", "--root", "nowhere"), "error: --root: "),
    ],
)
def test_wrong_words_are_answered_with_the_next_step(home: Path, words: tuple[str, ...], told: str) -> None:
    done = call(*words, home=home)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(told)
    assert done.stderr.rstrip().splitlines()[-1].startswith("  next: caseharden")
    assert "Traceback" not in done.stderr


def test_init_writes_nothing_over_what_is_there(folder: Path, home: Path) -> None:
    (folder / "instructions.md").write_text("Mine.\n")
    done = call("init", str(folder), home=home)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert (folder / "instructions.md").read_text() == "Mine.\n"


@pytest.mark.requirement("CH-19")
def test_the_folder_that_init_wrote_runs_and_passes(folder: Path, home: Path) -> None:
    done = call("run", str(folder), home=home)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "8 of 8 pass, 100%" in done.stdout
    assert "PASS  pass_rate >= 0.9" in done.stdout
    assert "offline (rule-based)" in done.stdout
    assert done.stdout.isascii()
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.requirement("CH-19")
def test_missed_threshold_fails_the_build(folder: Path, home: Path) -> None:
    (folder / "instructions.md").write_text("You are the assistant of a town library.\n")
    done = call("run", str(folder), "--json", home=home)
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result["exit"] == 1
    assert result["totals"]["failed"] > 0
    assert {t["threshold"]: t["result"] for t in result["thresholds"]}["pass_rate >= 0.9"] == "fail"
    assert {c["check"] for c in result["clusters"]} >= {"rule.ask-first"}
    assert "FAIL" in done.stderr


@pytest.mark.requirement("CH-19")
def test_check_names_file_and_path_of_a_mistake_and_runs_nothing(folder: Path, home: Path) -> None:
    good = call("run", str(folder), "--check", home=home)
    assert (good.returncode, good.stderr) == (0, "")
    assert "ok    library: 4 scenarios, 2 personas in 5 files" in good.stdout
    assert "ok    solutions: 4 proven of 4" in good.stdout
    file = folder / "scenarios" / "loans.yaml"
    file.write_text(file.read_text().replace("state: db.loans.L102", "stat: db.loans.L102"))
    bad = call("run", str(folder), "--check", home=home)
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: scenarios/loans.yaml, scenarios[2].success[0]")
    assert "Did you mean `state`" in bad.stderr
    assert "--check" in bad.stderr


def test_a_folder_can_be_changed_and_run_again(folder: Path, home: Path) -> None:
    assert call("run", str(folder), home=home).returncode == 0
    file = folder / "scenarios" / "loans.yaml"
    file.write_text(file.read_text().replace("goal: Renew loan L101.", "goal: Please renew loan L101."))
    (folder / "instructions.md").write_text((folder / "instructions.md").read_text() + "Be brief.\n")
    done = call("run", str(folder), home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "library@2" in done.stdout
    assert "8 of 8 pass" in done.stdout
    file.write_text(file.read_text().split("- id: report-lost-book")[0])
    fewer = call("run", str(folder), home=home)
    assert "6 of 6 pass" in fewer.stdout
    assert "scenario library/report-lost-book, with 2 simulations" in " ".join(fewer.stdout.split())
    assert "Deleted" not in call("run", str(folder), home=home).stdout


def test_data_folder_that_cannot_be_written_is_no_result(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    done = call("run", str(folder), home=tmp_path / "blocked")
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(folder: Path, home: Path) -> None:
    words = ["run", str(folder), "--trials", "50", "--plain"]
    many = folder / "personas.yaml"
    many.write_text("".join(f"- {{id: p{n}, style: terse}}\n" for n in range(10)))
    env = {**os.environ, "CASEHARDEN_HOME": str(home)}
    command = [sys.executable, "-m", "caseharden", *words]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = next(line for line in process.stdout if line.startswith("run-"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    run = first.split()[0]
    assert (process.returncode, err) == (3, ""), out
    assert f"--resume {run} goes on.\n" in out
    page = call("run", str(folder), "--resume", run, "--json", home=home)
    assert json.loads(page.stdout)["totals"]["trials"] == 10 * 4 * 50


@pytest.mark.parametrize("client", ["claude-desktop", "vscode", "cursor"])
def test_client_configuration_starts_the_server_of_this_environment(
    home: Path, tmp_path: Path, client: str
) -> None:
    done = call("serve", "--root", str(tmp_path), "--print-config", client, home=home)
    entry = json.loads(done.stdout)["servers" if client == "vscode" else "mcpServers"]["caseharden"]
    assert Path(entry["command"]).is_file()
    assert entry["args"] == ["serve", "--root", str(tmp_path.resolve())]


def test_without_words_on_a_pipe_the_server_speaks_only_protocol(home: Path) -> None:
    done = call(home=home, stdin="")
    assert (done.returncode, done.stdout) == (0, "")

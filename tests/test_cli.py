"""The command line: help, version, errors, init, run with its exit codes, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import caseharden
from caseharden.engine.exchange import Roots, read_folder
from caseharden.mcp_server.called import called
from caseharden.mcp_server.cli import COMMANDS, help_text, main
from caseharden.mcp_server.scaffold import write
from caseharden.tests.commanded import commanded
from caseharden.tests.warm import warm


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


def call(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """What the command prints and how it ends, with a data folder of its own."""
    return commanded(*words, CASEHARDEN_HOME=str(home))


def started(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own."""
    env = {**os.environ, "CASEHARDEN_HOME": str(home), "COLUMNS": "100"}
    command = [*warm(), "-m", "caseharden", *words]
    return subprocess.run(
        command, env=env, input="", capture_output=True, text=True, check=False, timeout=120
    )


def test_help_lists_the_commands_that_work(home: Path) -> None:
    done = started("--help", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 100 for line in done.stdout.splitlines() if not line.startswith("Data:"))
    listed = [line.split()[0] for line in done.stdout.splitlines() if line[:2] == "  " and line[2] != " "]
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    told = capsys.readouterr()
    assert (ended.value.code, told.err) == (0, "")
    assert told.out.startswith(f"usage: caseharden {name}")


@pytest.mark.parametrize("width", [40, 80, 100])
def test_help_fits_the_terminal_and_loses_no_word(width: int) -> None:
    page = help_text(width)
    told = page.partition("\nStart with: ")[0]
    assert all(len(line) <= width for line in told.splitlines())
    for name, (_, line) in COMMANDS.items():
        assert f"{name} {line}" in " ".join(told.split())


@pytest.mark.parametrize("words", [("help", "run"), ("run", "-h"), ("--debug", "run", "--help")])
def test_help_of_a_command_is_found_in_every_usual_way(home: Path, words: tuple[str, ...]) -> None:
    done = call(*words, home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: caseharden run")


@pytest.mark.parametrize("words", [("--debug", "run", "nowhere"), ("run", "nowhere", "--debug")])
def test_debug_shows_where_an_error_comes_from_and_keeps_message_and_code(
    home: Path, words: tuple[str, ...]
) -> None:
    done = call(*words, home=home)
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith(call("run", "nowhere", home=home).stderr)


def test_wrong_setting_is_told_with_its_line_before_anything_runs(folder: Path, home: Path) -> None:
    home.mkdir()
    (home / "settings.toml").write_text('# ours\nmodel_usr = "offline"\n')
    done = call("run", str(folder), home=home)
    assert (done.returncode, done.stdout) == (2, "")
    first, *_, last = done.stderr.splitlines()
    assert first.startswith(f"error: {home / 'settings.toml'}, line 2, model_usr: Unknown field `model_usr`.")
    assert "Did you mean `model_user`?" in first
    assert last.endswith("caseharden doctor")
    assert sorted(f.name for f in home.iterdir()) == ["settings.toml"]


def test_model_of_a_flag_goes_before_the_folders_and_that_before_the_settings(
    folder: Path, home: Path
) -> None:
    config = folder / "caseharden.yaml"
    config.write_text(config.read_text().replace("models: {}", "models: {agent: 'offline:slip=1'}"))
    home.mkdir()
    (home / "settings.toml").write_text("model_agent = 'offline:slip=0.5'\nmodel_user = 'offline:slip=0'\n")

    def models(*words: str) -> dict[str, str]:
        told = json.loads(call("run", str(folder), *words, "--json", home=home).stdout)["models"]
        return {role: told[role] for role in ("agent", "user")}

    assert models() == {"agent": "offline:slip=1", "user": "offline:slip=0"}
    assert models("--model-agent", "offline") == {"agent": "offline", "user": "offline:slip=0"}


def test_a_terminal_without_unicode_shows_what_it_cannot_write_as_escapes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", latin)
    monkeypatch.setenv("CASEHARDEN_HOME", str(home / "\u4f60"))
    assert main(["--help"]) == 0
    latin.seek(0)
    assert "Data: " in (told := latin.read()) and "\\u4f60" in told


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
    assert started("--version", home=home).stdout == f"caseharden {caseharden.__version__}\n"


@pytest.mark.requirement("CH-17")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("rum",),
            "error: no command `rum`. Did you mean `run`?\n  allowed: demo, init, run, simulate, score, harden, ",
        ),
        (("run", "--trails=2"), "error: unrecognized arguments: --trails=2. Did you mean `--trials`?\n"),
        (("run", "nowhere"), "error: `nowhere` does not exist.\n  allowed: a folder that holds caseharden"),
        (("run", ".", "--trials", "0"), "error: --trials: 0 trials.\n  allowed: 1 to 50\n"),
        (("serve", "--root", "nowhere"), "error: --root: "),
    ],
)
def test_wrong_words_are_answered_with_the_next_step(home: Path, words: tuple[str, ...], told: str) -> None:
    done = call(*words, home=home)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(told)
    assert re.match(r"  next: (\S*/)?caseharden ", done.stderr.rstrip().splitlines()[-1])
    assert "--root DIR" not in done.stderr
    assert "Traceback" not in done.stderr


def test_init_writes_nothing_over_what_is_there(folder: Path, home: Path) -> None:
    (folder / "instructions.md").write_text("Mine.\n")
    done = started("init", str(folder), home=home)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert (folder / "instructions.md").read_text() == "Mine.\n"


@pytest.mark.parametrize(
    ("name", "id"), [("Support Désk", "support-d-sk"), ("2024", "2024"), ("no", "no"), ("日本", "my-agent")]
)
def test_init_names_the_environment_after_the_folder(tmp_path: Path, name: str, id: str) -> None:
    place = tmp_path / name
    write(place)
    assert read_folder(place, Roots([place])).id == id


@pytest.mark.requirement("CH-19")
def test_the_folder_that_init_wrote_runs_and_passes(folder: Path, home: Path) -> None:
    done = started("run", str(folder), home=home)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "8 of 8 pass, 100%" in done.stdout
    assert "PASS  pass_rate >= 0.9" in done.stdout
    assert "offline (rule-based)" in done.stdout
    assert done.stdout.isascii()
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize("kind", ["python", "command"])
@pytest.mark.requirement("AK-18")
def test_the_folder_that_init_wrote_for_code_of_ones_own_runs_where_that_is_allowed(
    tmp_path: Path, home: Path, kind: str
) -> None:
    folder = tmp_path / "mine"
    made = call("init", str(folder), "--agent-type", kind, home=home)
    assert f"run {folder} --allow-code {folder}" in made.stdout
    done = call("run", str(folder), "--allow-code", str(folder), home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 pass, 100%" in done.stdout
    refused = call("run", str(folder), home=home)
    assert refused.returncode == 2
    assert "--allow-code DIR" in refused.stderr


@pytest.mark.parametrize("kind", ["chat_completions", "mcp", "a2a"])
@pytest.mark.requirement("AK-18")
def test_init_writes_how_an_agent_elsewhere_is_reached(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind)
    assert read_folder(tmp_path, Roots([tmp_path])).agent["kind"] == kind


@pytest.mark.requirement("CH-19")
def test_missed_threshold_fails_the_build(folder: Path, home: Path) -> None:
    (folder / "instructions.md").write_text("You are the assistant of a town library.\n")
    done = started("run", str(folder), "--json", home=home)
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
    assert "ok    my-agent: 4 scenarios, 2 personas in 5 files" in good.stdout
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
    assert "my-agent@2" in done.stdout
    assert "8 of 8 pass" in done.stdout
    file.write_text(file.read_text().split("- id: report-lost-book")[0])
    fewer = call("run", str(folder), home=home)
    assert "6 of 6 pass" in fewer.stdout
    assert "scenario my-agent/report-lost-book, with 2 simulations" in " ".join(fewer.stdout.split())
    assert "Deleted" not in call("run", str(folder), home=home).stdout


def test_data_folder_that_cannot_be_written_is_no_result(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    done = started("run", str(folder), home=tmp_path / "blocked")
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(folder: Path, home: Path) -> None:
    words = ["run", str(folder), "--trials", "25", "--plain"]
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
    assert (process.returncode, err) == (130, ""), out
    assert f"--resume {run} goes on.\n" in out
    page = call("run", str(folder), "--resume", run, "--json", home=home)
    assert json.loads(page.stdout)["totals"]["trials"] == 10 * 4 * 25


def test_without_words_nothing_waits_for_input_and_the_help_is_told(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "caseharden"],
        env={**os.environ, "CASEHARDEN_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.wait(timeout=60) == 2, "its input was left open"
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read() == ""
        assert "caseharden serve" in process.stderr.read()


def test_the_next_line_fits_the_option_that_was_wrong(folder: Path, home: Path, tmp_path: Path) -> None:
    def following(*words: str, data: Path = home) -> str:
        told = call("run", str(folder), *words, home=data).stderr.rstrip().splitlines()[-1]
        return told.partition("caseharden run ")[2].split("        (")[0]

    (tmp_path / "blocked").write_text("a file, not a folder")
    assert following(data=tmp_path / "blocked") == f"{folder} --home DIR"
    assert following("--resume", "run-99") == str(folder)
    assert following("--trials", "51") == f"{folder} --trials 1"
    code = ("--allow-code", str(folder))
    assert following("--trials", "51", *code) == f"{folder} --allow-code {folder} --trials 1"
    (folder / "personas.yaml").write_text("- {idd: x}")
    assert following() == f"{folder} --check"
    told = call("run", str(folder), "--check", home=home).stderr
    assert "again, when that is fixed" in told
    (folder / "caseharden.yaml").unlink()
    assert "caseharden init my-agent" in call("run", str(folder), home=home).stderr


def test_a_second_folder_of_the_same_name_is_refused_with_a_way_out(
    folder: Path, home: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "two" / "my-agent"
    assert call("init", str(twin), home=home).returncode == 0
    text = twin / "instructions.md"
    text.write_text(text.read_text() + "Be brief.\n")
    assert call("run", str(folder), home=home).returncode == 0
    done = call("run", str(twin), home=home)
    assert done.returncode == 2
    assert str(folder) in done.stderr and str(twin) in done.stderr and "CASEHARDEN_HOME" in done.stderr
    assert call("run", str(twin), "--home", str(tmp_path / "apart"), home=home).returncode == 0


def test_a_run_with_failures_says_why_and_how_to_go_on(folder: Path, home: Path) -> None:
    (folder / "instructions.md").write_text("You are the assistant of a town library.\n")
    done = call("run", str(folder), home=home)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("FAIL ") and "turn" in line)
    assert lines[first + 1].startswith("        ") and len(lines[first + 1].split()) > 3
    assert 'harden_agent({"environment": "my-agent", "run": "run-1"})' in done.stdout
    assert 'get_item({"kind": "conversation"' in done.stdout
    assert f"Or here: {called('harden', str(folder), '--run', 'run-1')}" in lines
    assert all(len(line) <= 100 for line in lines if "get_item(" not in line and str(folder) not in line)


def test_what_fails_on_held_out_cases_only_is_counted_and_not_shown(folder: Path, home: Path) -> None:
    text = (folder / "instructions.md").read_text()
    (folder / "instructions.md").write_text(text.replace("Before calling renew_loan, call get_loan.\n", ""))
    file = folder / "scenarios" / "loans.yaml"
    cases = file.read_text()
    for id in ("renew-loan", "renew-without-number"):
        cases = cases.replace(f"- id: {id}\n", f"- id: {id}\n  split: held_out\n")
    file.write_text(cases)
    done = call("run", str(folder), home=home)
    told = " ".join(done.stdout.split())
    assert done.returncode == 1, told
    assert "1 more check fails on held-out scenarios only" in told
    assert (
        'Only held-out cases fail. In an MCP client generate_scenarios({"environment": "my-agent"})' in told
    )
    assert "look-first" not in told


@pytest.mark.parametrize("way", ["relative", "absolute", "path"])
def test_printed_commands_are_those_the_caller_can_type(tmp_path: Path, home: Path, way: str) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "caseharden"
    script.symlink_to(Path(sys.executable).parent / "caseharden")
    (tmp_path / "elsewhere").mkdir()
    env = {**os.environ, "CASEHARDEN_HOME": str(home), "PATH": "/usr/bin:/bin"}
    env["PATH"] += f":{script.parent}" if way == "path" else ""
    where = tmp_path / "elsewhere" if way == "absolute" else tmp_path
    start = {"relative": "bin/caseharden", "absolute": str(script), "path": "caseharden"}[way]
    done = subprocess.run(
        f"{start} init new", shell=True, env=env, cwd=where, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == f"next: {start} run new", done.stderr
    again = done.stdout.splitlines()[-1].removeprefix("next: ")
    assert subprocess.run(shlex.split(again), env=env, cwd=where, check=False).returncode == 0


@pytest.mark.requirement("CH-12")
def test_the_report_of_the_newest_run_is_written_where_it_is_wanted(
    folder: Path, home: Path, tmp_path: Path
) -> None:
    assert call("run", str(folder), home=home).returncode == 0
    file = tmp_path / "out" / "report.html"
    done = call("report", "--output", str(file), home=home)
    assert done.returncode == 0 and "opens offline" in done.stdout
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert call("report", "-o", str(file), home=home).returncode == 0, "the same file is there"
    file.write_text("mine", encoding="utf-8")
    done = call("report", "run-1", "-o", str(file), home=home)
    assert done.returncode == 2 and "exists" in done.stderr and file.read_text(encoding="utf-8") == "mine"
    done = call("report", "run-9", home=home)
    assert done.returncode == 2 and "nearest `run-1`" in done.stderr
    done = call("report", home=tmp_path / "empty")
    assert done.returncode == 2 and "no run" in done.stderr

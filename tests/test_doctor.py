"""The doctor: one fact a line, its look at two widths, and each thing that can be wrong."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import caseharden
from caseharden.engine.errors import MissingKey
from caseharden.engine.records.authored import load
from caseharden.engine.records.environment import ModelChoice
from caseharden.mcp_server import data_folder, installed
from caseharden.mcp_server.cli import main
from caseharden.mcp_server.doctor import examine
from caseharden.mcp_server.findings import Finding, lines
from caseharden.mcp_server.scaffold import write
from caseharden.mcp_server.tried_models import NO_VARIABLES
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, chat, cut, of_json

pytestmark = pytest.mark.anyio

LOOK = [
    Finding("ok", "", "caseharden 0.1.0, Python 3.11.7, mcp 2.3.0"),
    Finding("ok", "data folder", "~/.local/share/caseharden, 12 MB, writable, 0 damaged lines", "default"),
    Finding("ok", "model judge", "openai/gpt-4o-mini answered in 0.8 s, $0.00004", "settings.toml"),
    Finding(
        "fail",
        "model user",
        "anthropic/claude-haiku-4-5: ANTHROPIC_API_KEY is not set",
        "--model-user",
        'put it under "env" in your client\'s configuration: clients pass on no shell variables',
    ),
    Finding("warn", "claude-desktop", "not registered: caseharden install --client claude-desktop"),
    Finding("ok", "egress", "public and loopback; private networks refused", "default"),
]


class Desk:
    """Somebody with a folder of their own who calls the doctor."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.home = home
        self.data = home / "data"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in [name for name in os.environ if name.startswith(("CASEHARDEN_", "XDG_", "CODEX_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        monkeypatch.chdir(home)

    def sees(self, *words: str, **environ: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and findings."""
        code, text = self.says("--json", *words, **environ)
        return code, json.loads(text)["findings"]

    def says(self, *words: str, **environ: str) -> tuple[int, str]:
        with self._monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            code = main(["doctor", "--home", str(self.data), *words])
        told = self._capsys.readouterr()
        assert told.err == ""
        return code, told.out

    def set(self, text: str) -> None:
        """Write the file of settings."""
        self.data.mkdir(exist_ok=True, mode=0o700)
        (self.data / "settings.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def about(subject: str, found: tuple[int, list[dict[str, Any]]]) -> dict[str, Any]:
    (one,) = [f for f in found[1] if f["subject"] == subject]
    return one


def test_look_at_100_columns() -> None:
    assert "\n".join(lines(LOOK, 100)) == (
        "ok    caseharden 0.1.0, Python 3.11.7, mcp 2.3.0\n"
        "ok    data folder     ~/.local/share/caseharden, 12 MB, writable, 0 damaged lines      default\n"
        "ok    model judge     openai/gpt-4o-mini answered in 0.8 s, $0.00004                   settings.toml\n"
        "fail  model user      anthropic/claude-haiku-4-5: ANTHROPIC_API_KEY is not set         --model-user\n"
        '      put it under "env" in your client\'s configuration: clients pass on no shell variables\n'
        "warn  claude-desktop  not registered: caseharden install --client claude-desktop\n"
        "ok    egress          public and loopback; private networks refused                    default\n"
        "1 problem, 1 warning."
    )


def test_look_at_80_columns_wraps_and_loses_no_word() -> None:
    narrow = lines(LOOK, 80)
    assert all(len(line) <= 80 for line in narrow)
    words = " ".join(" ".join(narrow).split())
    for finding in LOOK:
        assert all(word in words for word in f"{finding.told} {finding.source} {finding.fix}".split())


@pytest.mark.parametrize(("columns", "no_color"), [(80, ""), (100, ""), (80, "1")])
def test_on_a_terminal_the_words_are_coloured_and_the_width_is_the_terminals(
    tmp_path: Path, columns: int, no_color: str
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "xterm", "NO_COLOR": no_color}
    command = [sys.executable, "-m", "caseharden", "doctor", "--home", str(tmp_path / "a-long-name" / "data")]
    done = subprocess.run(command, env=env, stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        text = os.read(file.fileno(), 10_000).decode().replace("\r\n", "\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("\x1b[36mok\x1b[0m" in text) == (not no_color)
    plain = re.sub(r"\x1b\[\d*m", "", text).splitlines()
    assert all(len(line) <= columns for line in plain)
    assert max(len(line) for line in plain) == columns
    assert plain[-1] == "No problem, 0 warnings."


def test_offline_needs_no_call_and_nothing_is_wrong(desk: Desk) -> None:
    code, text = desk.says()
    assert code == 0
    assert text.splitlines()[0].startswith(f"ok    caseharden {caseharden.__version__}, Python 3.")
    for role in ("agent", "user", "judge", "writer"):
        assert re.search(rf"^ok    model {role} +offline \(rule-based\) +default$", text, re.MULTILINE)
    assert text.endswith("No problem, 0 warnings.\n")
    assert not desk.data.exists()
    assert "\x1b" not in text


def test_heavy_libraries_are_not_imported_for_it(tmp_path: Path) -> None:
    told = f"main(['doctor', '--json', '--home', {str(tmp_path / 'data')!r}])"
    program = (
        f"import sys; from caseharden.mcp_server.cli import main; {told}; print('litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_data_folder_in_use_is_counted_and_its_source_named(desk: Desk) -> None:
    desk.set("")
    told = about("data folder", desk.sees())
    assert re.fullmatch(r"~/data, \d+ kB, writable, 0 damaged lines", told["told"])
    assert (told["verdict"], told["source"]) == ("ok", "--home")


def test_damaged_line_is_counted_and_the_file_named(desk: Desk) -> None:
    desk.set("")
    desk.sees()
    (desk.data / "tables").mkdir(mode=0o700, exist_ok=True)
    table = desk.data / "tables" / "personas.jsonl"
    table.write_bytes(b"\x00\xff damaged\n")
    told = about("data folder", desk.sees())
    assert told["verdict"] == "warn"
    assert "1 damaged line" in told["told"]
    assert (Path(told["fix"].rpartition(" ")[2])).is_file()


def test_data_folder_that_others_may_read_is_told_with_the_command(desk: Desk) -> None:
    desk.set("")
    desk.data.chmod(0o755)
    _, found = desk.sees()
    (told,) = [f for f in found if "others" in f["told"]]
    assert (told["verdict"], told["fix"]) == ("warn", f"chmod 700 {desk.data}")


def test_data_folder_that_cannot_be_used_is_a_problem(desk: Desk) -> None:
    desk.data.write_text("a file, not a folder")
    code, found = desk.sees()
    assert code == 1
    told = about("data folder", (code, found))
    assert told["verdict"] == "fail" and "CASEHARDEN_HOME" in told["fix"]


@pytest.mark.parametrize(("kind", "verdicts"), [("nfs4", ["warn"]), ("ext4", [])])
def test_file_system_of_another_machine_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, verdicts: list[str]
) -> None:
    mounts = tmp_path / "mounts"
    (tmp_path / "a b").mkdir()
    point = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(f"none / ext4 rw 0 0\nserver:/x {point} {kind} rw 0 0\n")
    assert data_folder.file_system(tmp_path / "a b" / "deep", mounts) == kind
    assert data_folder.file_system(tmp_path, mounts) == "ext4"
    assert data_folder.file_system(tmp_path, tmp_path / "none") == ""
    assert (kind in data_folder.SHARED) == bool(verdicts)


def test_each_mistake_in_the_settings_is_told_and_the_rest_still_looked_at(desk: Desk) -> None:
    desk.set('model_usr = "x"\nproxy = "x"\nmodel_judge = "offline:slip=0.1"\n')
    code, found = desk.sees(CASEHARDEN_LOG_LEVL="info")
    told = [(f["verdict"], f["told"]) for f in found if f["subject"] == "settings"]
    assert code == 1
    assert [verdict for verdict, _ in told] == ["fail", "fail", "warn", "ok"]
    assert "line 1, model_usr: Unknown field `model_usr`. Did you mean `model_user`?" in told[0][1]
    assert told[2][1] == "`CASEHARDEN_LOG_LEVL` is no setting. Did you mean `CASEHARDEN_LOG_LEVEL`?"
    assert about("model judge", (code, found))["source"] == "settings.toml"


def test_model_that_is_none_is_a_wrong_setting_and_the_default_is_looked_at(desk: Desk) -> None:
    code, found = desk.sees("--model-user", "offlin")
    assert code == 1
    assert about("settings", (code, found))["told"].startswith("--model-user: `offlin` names no model.")
    assert about("model user", (code, found))["source"] == "default"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(chat("ready", usage=(20, 1))) as running:
        yield running


def at(endpoint: FakeEndpoint, **more: Any) -> str:
    """A model there, as a flag names it."""
    return json.dumps({"model": "fake-1", "base_url": endpoint.base_url, **more})


def test_each_model_is_called_once_and_told_with_time_cost_and_source(
    desk: Desk, endpoint: FakeEndpoint
) -> None:
    model = at(endpoint, prices={"input": 1, "output": 2})
    desk.set(f"model_judge = {{model = 'fake-1', base_url = '{endpoint.base_url}'}}\n")
    code, found = desk.sees("--model-agent", model, CASEHARDEN_MODEL_USER=model)
    assert code == 0
    place = f"fake-1 at 127.0.0.1:{endpoint.port}"
    agent, user, judge = (about(f"model {role}", (code, found)) for role in ("agent", "user", "judge"))
    assert re.fullmatch(rf"{place} answered in \d+\.\d s, \$0\.00002", agent["told"])
    assert user["told"] == agent["told"]
    assert re.fullmatch(rf"{place} answered in \d+\.\d s, unknown cost", judge["told"])
    assert [f["source"] for f in (agent, user, judge)] == [
        "--model-agent",
        "CASEHARDEN_MODEL_USER",
        "settings.toml",
    ]
    assert len(endpoint.requests) == 2


def test_no_calls_means_that_no_model_is_called(desk: Desk, endpoint: FakeEndpoint) -> None:
    code, found = desk.sees("--no-calls", "--model-user", at(endpoint))
    assert (code, endpoint.requests) == (0, [])
    assert about("model user", (code, found))["told"].endswith(", not called")


@pytest.mark.parametrize(
    ("answer", "told", "fix"),
    [
        (
            of_json({"error": "bad key"}, 401),
            "refused the key (401)",
            "a key that it takes, as env:MY_API_KEY",
        ),
        (of_json({"error": "who is fake-1"}, 404), "is not there (404)", "a base_url (up to /v1)"),
        (cut(), "", "start it"),
    ],
)
def test_endpoint_that_does_not_answer_says_what_to_mend_and_no_secret(
    desk: Desk, endpoint: FakeEndpoint, answer: Answer, told: str, fix: str
) -> None:
    endpoint.always(answer)
    model = at(endpoint, key="env:MY_API_KEY")
    code, found = desk.sees("--model-user", model, MY_API_KEY="sk-very-secret-value")
    one = about("model user", (code, found))
    assert (code, one["verdict"]) == (1, "fail")
    assert told in one["told"] and fix in one["fix"]
    assert "sk-very-secret-value" not in json.dumps(found)
    assert endpoint.requests[0].headers["authorization"] == "Bearer sk-very-secret-value"


def test_key_of_a_file_is_sent_where_a_model_refers_to_it(
    desk: Desk, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "")
    (desk.home / "keys").write_text("MY_API_KEY=from-the-file\n")
    code, _ = desk.sees("--env-file", "keys", "--model-user", at(endpoint, key="env:MY_API_KEY"))
    assert code == 0
    assert endpoint.requests[0].headers["authorization"] == "Bearer from-the-file"


def test_agent_of_a_folder_is_told_with_the_models_that_the_folder_names(
    desk: Desk, endpoint: FakeEndpoint
) -> None:
    write(desk.home / "cases")
    config = desk.home / "cases" / "caseharden.yaml"
    config.write_text(
        config.read_text().replace("models: {}", f"models: {{agent: {at(endpoint)}, user: offline}}")
    )
    desk.set("model_user = 'offline:slip=0.5'\nmodel_judge = 'offline:slip=0.5'\n")
    code, found = desk.sees("--agent", "cases", "--model-writer", "offline:slip=0.1")
    assert code == 0
    assert re.match(
        r"prompt: \d+ characters of instructions, the messages", about("agent", (code, found))["told"]
    )
    sources = [
        about(f"model {role}", (code, found))["source"] for role in ("agent", "user", "judge", "writer")
    ]
    assert sources == ["caseharden.yaml", "caseharden.yaml", "settings.toml", "--model-writer"]
    assert len(endpoint.requests) == 1
    assert desk.sees("--agent", "cases/caseharden.yaml")[0] == 0


def with_agent(desk: Desk, spec: dict[str, Any]) -> None:
    """A folder of cases whose agent is reached so."""
    write(desk.home / "cases")
    config = desk.home / "cases" / "caseharden.yaml"
    config.write_text(config.read_text().replace("{kind: prompt}", json.dumps(spec)))


def test_agent_behind_a_url_is_sent_a_greeting_once_and_what_is_sent_is_shown(
    desk: Desk, endpoint: FakeEndpoint
) -> None:
    headers = {"Authorization": "Bearer env:MY_API_KEY"}
    with_agent(desk, {"kind": "chat_completions", "url": f"{endpoint.url}/chat", "headers": headers})
    code, found = desk.sees("--agent", "cases", MY_API_KEY="sk-very-secret-value")
    assert code == 0
    told = about("agent", (code, found))["told"]
    assert re.fullmatch(rf'agent at 127.0.0.1:{endpoint.port} answered in \d+\.\d s: "ready"', told)
    sent = about("agent is sent", (code, found))["told"]
    assert sent.startswith(f"POST {endpoint.url}/chat, Authorization: Bearer env:MY_API_KEY  {{")
    (seen,) = endpoint.requests
    assert sent.partition("  ")[2].rstrip(".")[:200] in json.dumps(seen.json, ensure_ascii=False)
    assert "sk-very-secret-value" not in json.dumps(found)
    endpoint.requests.clear()
    assert desk.sees("--agent", "cases", "--no-calls", MY_API_KEY="sk-very-secret-value")[0] == 0
    assert endpoint.requests == []


@pytest.mark.parametrize("fault", ["refused", "unreadable", "unset"])
def test_agent_that_cannot_be_asked_fails_and_what_would_be_sent_is_still_shown(
    desk: Desk, endpoint: FakeEndpoint, fault: str
) -> None:
    endpoint.always(of_json({"nothing": 1}))
    url = "http://127.0.0.1:9/chat" if fault == "refused" else endpoint.url
    with_agent(
        desk, {"kind": "chat_completions", "url": url, "headers": {"X-Key": "env:MY_API_KEY"}, "retries": 0}
    )
    code, found = desk.sees("--agent", "cases", MY_API_KEY="" if fault == "unset" else "x")
    told = about("agent", (code, found))
    words = {
        "refused": "refused the connection",
        "unreadable": "its answer cannot be read",
        "unset": "MY_API_KEY is not set",
    }
    assert (code, told["verdict"]) == (1, "fail")
    assert words[fault] in told["told"] and told["fix"]
    assert about("agent is sent", (code, found))["verdict"] == "ok"


def test_run_with_an_agent_that_is_not_there_runs_nothing_and_names_the_doctor(desk: Desk) -> None:
    with_agent(desk, {"kind": "chat_completions", "url": "http://127.0.0.1:9/chat", "retries": 0})
    code = main(["run", "cases", "--home", str(desk.data)])
    told = desk._capsys.readouterr().err.splitlines()  # pyright: ignore[reportPrivateUsage]
    assert code == 3
    assert (
        "refused the connection" in told[0] and "8 trials would end in error, so nothing was run." in told[0]
    )
    assert re.search(r"next: \S*caseharden doctor --agent cases ", told[-1])


def test_agent_of_an_unknown_kind_fails(desk: Desk) -> None:
    write(desk.home / "cases")
    config = desk.home / "cases" / "caseharden.yaml"
    config.write_text(config.read_text().replace("{kind: prompt}", "{kind: promt}"))
    told = about("agent", desk.sees("--agent", "cases"))
    assert (told["verdict"], told["source"]) == ("fail", "caseharden.yaml")
    assert "promt" in told["told"]


@pytest.mark.requirement("AS-11")
@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY"),
        ({"model": "fake-1", "base_url": "http://127.0.0.1:9/v1", "key": "env:MY_API_KEY"}, "MY_API_KEY"),
    ],
)
async def test_missing_key_is_told_as_the_tools_tell_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, model: Any, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    args = argparse.Namespace(home=str(desk.data), model_writer=model, no_calls=False, agent="")
    told = next(f for f in await examine(args) if f.subject == "model writer")
    assert (told.verdict, told.fix) == ("fail", NO_VARIABLES)
    name, _, sentence = told.told.partition(": ")
    assert sentence == f"{variable} is not set"
    async with caseharden.Workbench(desk.data, models=load(ModelChoice, {"writer": model}, "")) as bench:
        await bench.environments.create("shop", world="shop", instructions="Be helpful.")
        with pytest.raises(MissingKey, match=f"{sentence} in the server's environment") as caught:
            await bench.personas.generate("shop", count=1, wait_s=45)
    assert name.partition(" at ")[0] in caught.value.what or not name.startswith("anthropic")


def test_names_of_keys_are_told_and_never_their_values(desk: Desk) -> None:
    (desk.home / ".env").write_text("OPENAI_API_KEY=sk-very-secret\nDEBUG=1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        code, text = desk.says("--json")
        patch.setenv("OPENAI_API_KEY", "")
    told = about("keys", (code, json.loads(text)["findings"]))
    assert told["told"] == ".env: OPENAI_API_KEY; other names ignored: 1"
    assert "sk-very-secret" not in text
    (desk.home / ".env").write_text("what\n")
    assert about("keys", desk.sees())["verdict"] == "fail"


def test_client_on_this_machine_is_registered_or_not(desk: Desk) -> None:
    (desk.home / ".cursor").mkdir()
    told = about("cursor", desk.sees())
    assert told["verdict"] == "warn"
    assert re.fullmatch(r"not registered: \S*caseharden install --client cursor", told["told"])
    main(["install", "--client", "cursor"])
    desk._capsys.readouterr()  # pyright: ignore[reportPrivateUsage]
    assert about("cursor", desk.sees())["told"] == "registered in ~/.cursor/mcp.json"
    file = desk.home / ".cursor" / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"caseharden": {"command": "/nowhere/caseharden"}}}))
    told = about("cursor", desk.sees())
    assert (told["verdict"], told["told"]) == ("warn", "registered, but /nowhere/caseharden does not exist")
    file.write_text("{")
    assert "cannot be read" in about("cursor", desk.sees())["told"]


def test_entry_that_claude_code_keeps_for_this_folder_is_found(desk: Desk) -> None:
    (desk.home / ".claude").mkdir()
    entry = {"mcpServers": {"caseharden": {"command": "caseharden"}}}
    (desk.home / ".claude.json").write_text(json.dumps({"projects": {str(desk.home): entry}}))
    told = about("claude-code", desk.sees())
    assert told["told"] == "registered in ~/.claude.json, with another command: caseharden"
    (desk.home / ".claude.json").write_text(json.dumps({"projects": []}))
    assert about("claude-code", desk.sees())["verdict"] == "warn"


@pytest.mark.parametrize(
    ("words", "told", "source"),
    [
        ([], "public and loopback; private networks refused", "default"),
        (
            ["--allow-net", "10.1.0.0/16", "--proxy", "http://proxy:3128"],
            "public, loopback and 10.1.0.0/16; other private networks refused; through http://proxy:3128",
            "--allow-net, --proxy",
        ),
    ],
)
def test_what_may_be_reached_is_one_line(desk: Desk, words: list[str], told: str, source: str) -> None:
    found = about("egress", desk.sees(*words))
    assert (found["told"], found["source"]) == (told, source)


@pytest.fixture
def infected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with a release of litellm that steals keys."""
    folder = tmp_path / "site"
    (folder / "litellm-1.82.8.dist-info").mkdir(parents=True)
    (folder / "litellm-1.82.8.dist-info" / "METADATA").write_text("Name: litellm\nVersion: 1.82.8\n")
    (folder / "litellm_init.pth").write_text("import sys\n")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    yield folder


def test_stolen_release_of_litellm_and_the_file_it_leaves_are_problems(infected: Path) -> None:
    found = [f for f in installed.installed() if f.verdict == "fail"]
    assert [f.subject for f in found] == ["litellm", "litellm"]
    assert "1.82.8" in found[0].told
    assert str(infected / "litellm_init.pth") in found[1].told
    assert all("change every key" in f.fix for f in found)

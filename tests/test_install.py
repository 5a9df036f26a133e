"""The server in the settings of clients: put in, found, taken out, and nothing else changed."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import caseharden
from caseharden.engine.exchange import parse_yaml
from caseharden.mcp_server.cli import main
from caseharden.mcp_server.clients import CLIENTS
from caseharden.resources.library import SKILL

FILES = {
    ("claude-desktop", ""): ".config/Claude/claude_desktop_config.json",
    ("claude-code", "project"): "work/.mcp.json",
    ("vscode", ""): "work/.vscode/mcp.json",
    ("vscode", "user"): ".config/Code/User/mcp.json",
    ("cursor", ""): ".cursor/mcp.json",
    ("cursor", "project"): "work/.cursor/mcp.json",
    ("windsurf", ""): ".codeium/windsurf/mcp_config.json",
    ("goose", ""): ".config/goose/config.yaml",
    ("codex", ""): ".codex/config.toml",
}
"""Client and scope: the file below the user's folder, in which `work` is where the command is called."""


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class User:
    """Somebody with a folder of their own, who calls `caseharden install` from `work` in it."""

    def __init__(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.home = home
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        (home / "work").mkdir()
        monkeypatch.chdir(home / "work")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        for name in ("CASEHARDEN_HOME", "XDG_CONFIG_HOME", "CODEX_HOME"):
            monkeypatch.delenv(name, raising=False)

    def __truediv__(self, name: str) -> Path:
        return self.home / name

    def installs(self, *words: str, **environ: str) -> Done:
        with self._monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            code = main(["install", *words])
        told = self._capsys.readouterr()
        return Done(code, told.out, told.err)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    return User(tmp_path, monkeypatch, capsys)


def entry_of(client: str, text: str) -> dict[str, Any]:
    known = CLIENTS[client]
    if known.format == "yaml":
        read: Any = parse_yaml(text, client)
    else:
        read = json.loads(text) if known.format == "json" else tomllib.loads(text)
    return read[known.table]["caseharden"]


@pytest.mark.parametrize(("client", "scope"), FILES)
def test_entry_is_written_where_the_client_looks_and_starts_this_environment(
    place: User, client: str, scope: str
) -> None:
    words = ["--client", client, *(["--scope", scope] if scope else [])]
    done = place.installs(*words, "--root", str(place / "work"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    file = place / FILES[client, scope]
    entry = entry_of(client, file.read_text())
    command = entry.get("command") or entry["cmd"]
    assert command == str(Path(sys.executable).parent / "caseharden")
    assert entry["args"] == ["serve", "--root", str((place / "work").resolve())]
    assert not stat.S_IMODE(file.stat().st_mode) & 0o133


def test_command_that_is_written_is_there_and_is_this_version(place: User) -> None:
    place.installs("--client", "cursor")
    command = entry_of("cursor", (place / ".cursor/mcp.json").read_text())["command"]
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"caseharden {caseharden.__version__}\n"


@pytest.mark.parametrize(("client", "scope"), FILES)
def test_second_time_nothing_is_written_and_removing_leaves_no_trace(
    place: User, client: str, scope: str
) -> None:
    words = ["--client", client, *(["--scope", scope] if scope else [])]
    place.installs(*words)
    file = place / FILES[client, scope]
    before = file.stat().st_ino, file.read_text()
    again = place.installs(*words)
    assert "nothing was written" in again.stdout
    assert (file.stat().st_ino, file.read_text()) == before
    assert place.installs(*words, "--remove").returncode == 0
    assert "caseharden" not in file.read_text()
    assert "has no entry" in place.installs(*words, "--remove").stdout


@pytest.mark.parametrize("client", CLIENTS)
def test_snippet_is_valid_and_is_what_would_be_written(place: User, client: str) -> None:
    scope = ["--scope", "project"] if client == "claude-code" else []
    printed = place.installs("--client", client, *scope, "--print")
    assert printed.returncode == 0, printed.stderr
    assert "goes into" in printed.stderr
    assert list(place.home.rglob("*.*")) == []
    place.installs("--client", client, *scope)
    (file,) = [f for f in place.home.rglob("*") if f.is_file()]
    assert entry_of(client, printed.stdout) == entry_of(client, file.read_text())


JSON_BEFORE = (
    '{\n\t"theme": "dark é",\n\t"mcpServers": {\n\t\t"other": {"command": "x", "args": [1.5, "a"]}\n\t}\n}'
)
TOML_BEFORE = (
    'model = "o5"  # mine\n\n[mcp_servers.other]\ncommand = "x"\n\n'
    '# about the profile\n[profiles.a]\nmodel = "b"\n'
)
YAML_BEFORE = (
    "GOOSE_MODEL: x # mine\nextensions:\n  # builtin\n  developer:\n    enabled: true\n    type: builtin\n"
    "slash:\n  - a\n"
)
BEFORE = [("claude-desktop", JSON_BEFORE), ("codex", TOML_BEFORE), ("goose", YAML_BEFORE)]


@pytest.mark.parametrize(("client", "before"), BEFORE)
def test_other_entries_comments_and_mode_stay_and_a_copy_is_kept(
    place: User, client: str, before: str
) -> None:
    file = place / FILES[client, ""]
    file.parent.mkdir(parents=True)
    file.write_text(before, encoding="utf-8")
    file.chmod(0o640)
    done = place.installs("--client", client)
    assert (done.returncode, done.stderr) == (0, "")
    after = file.read_text(encoding="utf-8")
    assert entry_of(client, after)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.with_name(file.name + ".before-caseharden").read_text(encoding="utf-8") == before
    if client == "claude-desktop":
        assert '\t"theme": "dark é"' in after
        assert json.loads(after)["mcpServers"]["other"] == {"command": "x", "args": [1.5, "a"]}
        assert json.loads(after)["theme"] == "dark é"
    else:
        assert set(before.splitlines()) <= set(after.splitlines())
    assert place.installs("--client", client, "--remove").returncode == 0
    left = file.read_text(encoding="utf-8")
    if client == "claude-desktop":
        assert json.loads(left) == json.loads(before)
    else:
        assert left.split() == before.split()


@pytest.mark.parametrize(("client", "before"), BEFORE)
def test_what_somebody_put_into_our_entry_stays_and_the_rest_is_renewed(
    place: User, client: str, before: str
) -> None:
    place.installs("--client", client, "--env", "HTTPS_PROXY=http://one")
    file = place / FILES[client, ""]
    file.write_text(file.read_text().replace("HTTPS_PROXY", "MINE"), encoding="utf-8")
    assert place.installs("--client", client, "--root", str(place.home)).returncode == 0
    entry = entry_of(client, file.read_text())
    assert entry.get("env", entry.get("envs")) == {"MINE": "http://one"}
    assert entry["args"] == ["serve", "--root", str(place.home.resolve())]


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("claude-desktop", '{"mcpServers": {} // mine\n}'),
        ("claude-desktop", '{"mcpServers": {}, "mcpServers": {}}'),
        ("claude-desktop", '{"mcpServers": []}'),
        ("claude-desktop", "[]"),
        ("codex", "mcp_servers = {}\n"),
        ("codex", "[mcp_servers\n"),
        ("codex", 'mcp_servers.caseharden.command = "x"\n'),
        ("goose", "extensions: {a: {enabled: true}}\n"),
        ("goose", "extensions: [\n"),
        ("goose", "base: &a {x: 1}\nextensions:\n  b:\n    <<: *a\n"),
    ],
)
def test_file_that_cannot_be_changed_safely_is_left_and_the_snippet_is_printed(
    place: User, client: str, text: str
) -> None:
    file = place / FILES[client, ""]
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = place.installs("--client", client)
    assert done.returncode == 2
    assert file.read_text() == text
    assert done.stderr.startswith(f"error: {file}")
    assert "by hand" in done.stderr
    assert entry_of(client, done.stdout)["args"] == ["serve"]
    assert [f.name for f in file.parent.iterdir()] == [file.name]


def test_link_to_the_file_stays_a_link(place: User) -> None:
    real, link = place / "dotfiles.json", place / ".cursor" / "mcp.json"
    real.write_text("{}\r\n")
    link.parent.mkdir()
    link.symlink_to(real)
    assert place.installs("--client", "cursor").returncode == 0
    assert link.is_symlink()
    assert entry_of("cursor", real.read_text())
    assert real.read_bytes().count(b"\r\n") == real.read_bytes().count(b"\n")


def test_empty_file_is_a_file_without_servers(place: User) -> None:
    for client, before in (("claude-desktop", ""), ("codex", ""), ("goose", "extensions: {}\n")):
        file = place / FILES[client, ""]
        file.parent.mkdir(parents=True)
        file.write_text(before)
        assert place.installs("--client", client).returncode == 0
        assert entry_of(client, file.read_text())


def test_platform_folder_of_the_user_is_honoured(place: User) -> None:
    xdg, codex = place / "xdg", place / "codex"
    assert place.installs("--client", "claude-desktop", XDG_CONFIG_HOME=str(xdg)).returncode == 0
    assert (xdg / "Claude" / "claude_desktop_config.json").is_file()
    assert place.installs("--client", "codex", CODEX_HOME=str(codex)).returncode == 0
    assert (codex / "config.toml").is_file()


def test_data_folder_of_the_shell_is_written_out_since_clients_pass_no_variables(place: User) -> None:
    done = place.installs("--client", "cursor", "--print", CASEHARDEN_HOME=str(place / "data"))
    assert entry_of("cursor", done.stdout)["args"] == ["serve", "--home", str(place / "data")]


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ("claude-code", {"OPENAI_API_KEY": "${OPENAI_API_KEY:-}"}),
        ("vscode", {"OPENAI_API_KEY": "${env:OPENAI_API_KEY}"}),
        ("cursor", {"OPENAI_API_KEY": "${env:OPENAI_API_KEY}"}),
        ("windsurf", {"OPENAI_API_KEY": "${env:OPENAI_API_KEY}"}),
    ],
)
def test_variable_of_the_client_is_referred_to_in_the_clients_own_way(
    place: User, client: str, shown: dict[str, str]
) -> None:
    scope = ["--scope", "project"] if client == "claude-code" else []
    words = ["--client", client, *scope, "--print", "--env", "OPENAI_API_KEY=env:OPENAI_API_KEY"]
    assert entry_of(client, place.installs(*words).stdout)["env"] == shown


def test_codex_and_goose_name_the_variables_that_they_pass_on(place: User) -> None:
    words = ["--print", "--env", "OPENAI_API_KEY=env:OPENAI_API_KEY"]
    assert entry_of("codex", place.installs("--client", "codex", *words).stdout)["env_vars"] == [
        "OPENAI_API_KEY"
    ]
    assert entry_of("goose", place.installs("--client", "goose", *words).stdout)["env_keys"] == [
        "OPENAI_API_KEY"
    ]


def test_no_key_is_ever_written_into_a_clients_file(place: User) -> None:
    done = place.installs("--client", "cursor", "--env", "OPENAI_API_KEY=sk-secret")
    assert done.returncode == 2
    assert "OPENAI_API_KEY=env:OPENAI_API_KEY" in done.stderr
    assert "sk-secret" not in done.stdout + done.stderr
    assert not (place / ".cursor").exists()
    refused = place.installs("--client", "claude-desktop", "--env", "OPENAI_API_KEY=env:OPENAI_API_KEY")
    assert (refused.returncode, "--env-file FILE" in refused.stderr) == (2, True)


def test_claude_code_is_told_by_its_own_command_which_runs_only_when_asked(place: User) -> None:
    told = place.installs("--client", "claude-code", "--env", "HTTPS_PROXY=http://a b")
    command = str(Path(sys.executable).parent / "caseharden")
    words = ["claude", "mcp", "add", "caseharden", "--scope", "user", "-e", "HTTPS_PROXY=http://a b"]
    assert shlex.split(told.stdout) == [*words, "--", command, "serve"]
    assert "--execute" in told.stderr
    missing = place.installs("--client", "claude-code", "--execute")
    assert (missing.returncode, "--scope project" in missing.stderr) == (3, True)
    program = place / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {place.home}/typed\n')
    program.chmod(0o755)
    ran = place.installs("--client", "claude-code", "--execute", PATH=f"{program.parent}:/usr/bin:/bin")
    assert ran.returncode == 0, ran.stderr
    assert (place / "typed").read_text().split("\n")[:3] == ["mcp", "add", "caseharden"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--client", "emacs"), "error: argument --client: invalid choice: 'emacs'"),
        (("--client", "windsurf", "--scope", "project"), "error: --scope: Windsurf has no scope `project`."),
        (("--client", "cursor", "--root", "nowhere"), "error: --root: `nowhere` is not a folder."),
        (("--client", "cursor", "--env", "X"), "error: --env: This is not NAME=VALUE."),
        (("--client", "cursor", "--env", "X=env:Y"), "error: --env: A variable keeps its name."),
    ],
)
def test_wrong_words_are_told_with_the_next_step(place: User, words: tuple[str, ...], told: str) -> None:
    done = place.installs(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(told)
    assert "next: " in done.stderr


@pytest.mark.requirement("CH-23")
@pytest.mark.parametrize(("scope", "folder"), [("project", "work"), ("user", ".")])
def test_skill_is_put_where_claude_code_looks_for_it_and_taken_out_again(
    place: User, scope: str, folder: str
) -> None:
    words = ["--client", "claude-code", "--scope", scope, "--skill"]
    skill = place / folder / ".claude/skills/caseharden/SKILL.md"
    assert place.installs(*words).returncode == 0
    assert skill.read_text() == SKILL.read_text()
    skill.write_text("An older one.")
    assert "the file before" in place.installs(*words).stdout
    assert skill.with_name("SKILL.md.before-caseharden").read_text() == "An older one."
    assert place.installs(*words, "--remove").returncode == 0
    assert not skill.exists()
    place.installs(*words)
    skill.write_text("My own.")
    done = place.installs(*words, "--remove")
    assert (done.returncode, skill.read_text()) == (2, "My own.")
    assert "delete it yourself" in done.stderr


def test_skill_is_refused_for_a_client_that_knows_none(place: User) -> None:
    done = place.installs("--client", "cursor", "--skill")
    assert done.returncode == 2 and "knows no skills" in done.stderr
    assert not (place / ".cursor/mcp.json").exists()


def test_folders_of_code_are_written_out_and_a_missing_one_is_told(place: User) -> None:
    (place / "work/agents").mkdir()
    words = ["--allow-code", "agents", "--code-env", "REGION", "--code-python", sys.executable]
    done = place.installs("--client", "claude-code", "--scope", "project", *words)
    assert done.returncode == 0, done.stderr
    entry = entry_of("claude-code", (place / "work/.mcp.json").read_text())
    agents = str((place / "work/agents").resolve())
    assert entry["args"] == [
        "serve",
        *["--allow-code", agents, "--code-env", "REGION", "--code-python", sys.executable],
    ]
    typed = place.installs("--client", "claude-code", *words).stderr
    assert "--allow-code agents" in typed and "--code-env REGION" in typed
    missing = place.installs("--client", "cursor", "--allow-code", "nowhere")
    assert missing.returncode == 2 and "`nowhere` is not a folder" in missing.stderr
    absent = place.installs("--client", "cursor", "--code-python", "no-such-python")
    assert absent.returncode == 2 and "is not a program" in absent.stderr

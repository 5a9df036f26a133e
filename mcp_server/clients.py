"""The MCP clients that `caseharden install` knows: where each keeps its servers, and the form of an entry.

Every snippet printed or written comes from here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..engine.errors import InvalidArgument

NAME: Final = "caseharden"
"""The name of our entry in every client."""
Format = Literal["json", "toml", "yaml"]
Reference = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the server. `env`: variables with their values; `passed`: names of variables that the client takes
    from its own environment.
    """

    command: str
    args: tuple[str, ...] = ("serve",)
    env: Mapping[str, str] | None = None
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    `table`: the key under which the file keeps servers. `scopes`: where a file can be, the default first. `reference`:
    how a file refers to a variable of the client's own process, or None if it cannot.
    """

    name: str
    title: str
    table: str
    scopes: Mapping[str, Callable[[], Path]]
    format: Format = "json"
    entry: Callable[[Launch, Reference], dict[str, Any]] = lambda launch, reference: plain(launch, reference)
    reference: Reference | None = None
    command: str = ""
    """A program of the client that manages the scopes for which `scopes` has no file: `claude`."""
    commanded: tuple[str, ...] = ()
    """Those scopes."""
    kept: Callable[[], Path] | None = None
    """The file in which that program stores them."""
    home: Callable[[], Path] | None = None
    """A folder that shows that the client is installed; None: the one that holds its file."""
    then: str = ""
    """What makes the client pick up the entry; "": restart it."""

    def file(self, scope: str) -> Path:
        """The file of a scope."""
        return self.scopes[scope]()

    def files(self) -> list[Path]:
        """Every file that may hold our entry."""
        return [*(file() for file in self.scopes.values()), *([self.kept()] if self.kept else [])]

    def is_here(self) -> bool:
        """Whether the client seems to be installed."""
        home = self.home() if self.home else self.file("user").parent
        return home.is_dir() or bool(self.command and shutil.which(self.command))

    def server(self, launch: Launch) -> dict[str, Any]:
        """Our entry. InvalidArgument if it names a variable and the client cannot pass one on."""
        if launch.passed and self.reference is None:
            raise InvalidArgument(
                f"{self.title} passes on no variables, so `{launch.passed[0]}` cannot be named.",
                where="--env",
                allowed="--env-file FILE, with the keys in that file",
            )
        return self.entry(launch, self.reference or str)

    def snippet(self, launch: Launch) -> str:
        """The complete file content for our entry, in the file's language."""
        return written(self.format, self.table, self.server(launch))


def written(format: Format, table: str, entry: Mapping[str, Any]) -> str:
    """A file that holds only this entry."""
    if format == "json":
        return json.dumps({table: {NAME: entry}}, indent=2, ensure_ascii=False) + "\n"
    return toml_table(table, entry) if format == "toml" else f"{table}:\n{yaml_block(entry)}"


def toml_table(table: str, entry: Mapping[str, Any]) -> str:
    """`[table.caseharden]` and its lines; nested tables are inline."""
    lines = [f"[{table}.{NAME}]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
    return "\n".join(lines) + "\n"


def yaml_block(entry: Mapping[str, Any], indent: str = "  ") -> str:
    """`  caseharden:` and its lines, each value written as JSON, which is also valid YAML."""
    lines = [f"{indent}{NAME}:", *(f"{indent * 2}{key}: {json.dumps(value)}" for key, value in entry.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = [f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()]  # pyright: ignore[reportUnknownVariableType]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value, ensure_ascii=False)


def this_command(words: Sequence[str] = ()) -> list[str]:
    """The command of this environment with its absolute path: clients do not have a shell's PATH."""
    beside = Path(sys.executable).parent / (f"{NAME}.exe" if os.name == "nt" else NAME)
    return [str(beside), *words] if beside.is_file() else [sys.executable, "-m", NAME, *words]


def plain(launch: Launch, reference: Reference) -> dict[str, Any]:
    """The form of entry that most clients use."""
    env = {**(launch.env or {}), **{name: reference(name) for name in launch.passed}}
    return {"command": launch.command, "args": list(launch.args), **({"env": env} if env else {})}


def _typed(launch: Launch, reference: Reference) -> dict[str, Any]:
    return {"type": "stdio", **plain(launch, reference)}


def _codex(launch: Launch, reference: Reference) -> dict[str, Any]:
    env = {"env": dict(launch.env)} if launch.env else {}
    passed = {"env_vars": list(launch.passed)} if launch.passed else {}
    return {"command": launch.command, "args": list(launch.args), **env, **passed, "startup_timeout_sec": 30}


def _goose(launch: Launch, reference: Reference) -> dict[str, Any]:
    return {
        "enabled": True,
        "type": "stdio",
        "name": NAME,
        "cmd": launch.command,
        "args": list(launch.args),
        "envs": dict(launch.env or {}),
        "env_keys": list(launch.passed),
        "timeout": 300,
    }


def _config() -> Path:
    """The platform's folder for a user's settings."""
    if os.name == "nt":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _goose_file() -> Path:
    if os.name == "nt":
        return _config() / "Block" / "goose" / "config" / "config.yaml"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "goose" / "config.yaml"


def _codex_file() -> Path:
    return Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex") / "config.toml"


def _env_reference(name: str) -> str:
    return f"${{env:{name}}}"


CLIENTS: Final[dict[str, Client]] = {
    client.name: client
    for client in (
        Client(
            "claude-desktop",
            "Claude Desktop",
            "mcpServers",
            {"user": lambda: _config() / "Claude" / "claude_desktop_config.json"},
            then="quit Claude Desktop and start it again",
        ),
        Client(
            "claude-code",
            "Claude Code",
            "mcpServers",
            {"project": lambda: Path.cwd() / ".mcp.json"},
            entry=_typed,
            reference=lambda name: f"${{{name}:-}}",
            command="claude",
            commanded=("user", "local"),
            kept=lambda: Path.home() / ".claude.json",
            home=lambda: Path.home() / ".claude",
            then="start claude in this folder and allow the server",
        ),
        Client(
            "vscode",
            "VS Code",
            "servers",
            {
                "project": lambda: Path.cwd() / ".vscode" / "mcp.json",
                "user": lambda: _config() / "Code" / "User" / "mcp.json",
            },
            entry=_typed,
            reference=_env_reference,
            then="press Start above the entry in the file",
        ),
        Client(
            "cursor",
            "Cursor",
            "mcpServers",
            {
                "user": lambda: Path.home() / ".cursor" / "mcp.json",
                "project": lambda: Path.cwd() / ".cursor" / "mcp.json",
            },
            reference=_env_reference,
        ),
        Client(
            "windsurf",
            "Windsurf",
            "mcpServers",
            {"user": lambda: Path.home() / ".codeium" / "windsurf" / "mcp_config.json"},
            reference=_env_reference,
            then="press Refresh in the list of MCP servers",
        ),
        Client(
            "goose", "goose", "extensions", {"user": _goose_file}, format="yaml", entry=_goose, reference=str
        ),
        Client(
            "codex", "Codex", "mcp_servers", {"user": _codex_file}, format="toml", entry=_codex, reference=str
        ),
    )
}

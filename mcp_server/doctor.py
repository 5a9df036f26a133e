"""`caseharden doctor`: what is set, what works, what is missing, and how to fix it.

Exit codes: 0, or 1 if something fails. Names of keys are shown, never their values.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ..engine.errors import CasehardenError, UserError
from ..engine.exchange import parse_json
from ..engine.plural import plural
from ..engine.records.environment import ModelChoice
from ..resources.home import shown
from .called import called
from .client_files import find_entry, read_file
from .clients import CLIENTS, Client, this_command
from .data_folder import data_folder
from .env_file import EnvFile
from .findings import Finding, as_json, exit_code, lines
from .installed import installed
from .setting_values import DEFAULT, FILE
from .settings import Settings, WrongSetting, add_flags, read_settings, unknown_variables
from .terminal import Screen, listed
from .tried_agent import models_of, read_cases, tried_agent
from .tried_models import chosen_models, tried_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--agent",
        default="",
        metavar="FOLDER",
        help="also check the agent and the models of a folder of cases",
    )
    parser.add_argument("--no-calls", action="store_true", help="call no model")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_flags(parser, "home", "roots", "models", "network", "code", "env_file")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if args.agent and isinstance(error, UserError):
        return called("run", args.agent, "--check") + "        (checks every file, runs nothing)"
    return called("doctor", "--debug")


async def _run(args: argparse.Namespace) -> int:
    screen = Screen(plain=args.plain)
    found = await examine(args)
    if args.json:
        print(json.dumps(as_json(found), ensure_ascii=False))
    else:
        for line in lines(found, screen.width):
            screen.line(line)
    return exit_code(found)


async def examine(args: argparse.Namespace) -> list[Finding]:
    """Every finding, in display order. UserError for a folder of cases that cannot be read."""
    cases = read_cases(args.agent) if args.agent else None
    mistakes: list[WrongSetting] = []
    settings = read_settings(args, mistakes=mistakes)
    found = list(installed())
    infected = any(finding.verdict == "fail" for finding in found)
    found += _settings(settings, mistakes)
    found += await anyio.to_thread.run_sync(lambda: list(data_folder(settings)))
    found += _keys(settings, [cases.path] if cases else [])
    if cases:
        found += await tried_agent(settings, cases, calls=not args.no_calls)
    if infected:
        found.append(Finding("warn", "models", "not tried until the installation is repaired"))
    else:
        chosen = chosen_models(
            settings, models_of(cases) if cases else ModelChoice(), cases.config if cases else ""
        )
        found += [finding async for finding in tried_models(settings, chosen, calls=not args.no_calls)]
    return [*found, *clients(), _egress(settings)]


def _settings(settings: Settings, mistakes: list[WrongSetting]) -> Iterator[Finding]:
    """What is wrong with flags, variables and the file, or how much the file sets."""
    for mistake in mistakes:
        fix = f"allowed: {mistake.allowed}" if mistake.allowed else ""
        yield Finding("fail", "settings", f"{mistake.where}: {mistake.what}", fix=fix)
    for told in unknown_variables(os.environ):
        yield Finding("warn", "settings", told)
    number = sum(source == FILE for source in settings.sources.values())
    if number:
        yield Finding("ok", "settings", f"{plural(number, 'setting')} in {shown(settings.file)}")


def _keys(settings: Settings, folders: Sequence[Path]) -> Iterator[Finding]:
    """The file of keys, which are added to this process."""
    source = settings.sources["env_file"] if settings.values.env_file else DEFAULT
    try:
        file = settings.lend_keys([*folders, Path()])
    except CasehardenError as error:
        yield Finding("fail", "keys", f"{error.where}: {error.what}", source, f"allowed: {error.allowed}")
        return
    if file:
        yield Finding("ok", "keys", _describe(file), source)


def _describe(file: EnvFile) -> str:
    left = f"; other names ignored: {len(file.left_out)}" if file.left_out else ""
    return f"{shown(file.path)}: {', '.join(sorted(file.keys)) or 'none'}{left}"


def clients() -> Iterator[Finding]:
    """Whether the server is registered with the clients installed on this machine."""
    here = [client for client in CLIENTS.values() if client.is_here()]
    for client in here:
        yield _registered(client)
    if not here:
        yield Finding("ok", "clients", "no known client is on this machine")


def _registered(client: Client) -> Finding:
    for file in client.files():
        try:
            text = read_file(file)
            entry = find_entry(client, text, str(file)) or _local(client, text, file)
        except CasehardenError as error:
            words = f"{error.where or file} cannot be read: {error.what}"
            return Finding("warn", client.name, words, fix=f"repair {file}")
        if entry is not None:
            return _sound(client, file, entry)
    fix = called("install", "--client", client.name)
    return Finding("warn", client.name, f"not registered: {fix}")


def _local(client: Client, text: str, file: Path) -> dict[str, Any] | None:
    """The entry that Claude Code keeps for this folder only."""
    if client.kept is None or file != client.kept():
        return None
    kept: Any = parse_json(text or "{}", str(file))
    for key in ("projects", str(Path.cwd())):
        kept = kept.get(key) if isinstance(kept, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return find_entry(client, json.dumps(kept), str(file))


def _sound(client: Client, file: Path, entry: Mapping[str, Any]) -> Finding:
    command = str(entry.get("command") or entry.get("cmd") or "")
    again = called("install", "--client", client.name)
    if os.path.isabs(command) and not os.access(command, os.X_OK):
        return Finding("warn", client.name, f"registered, but {command} does not exist", fix=again)
    text = f"registered in {shown(file)}"
    if command != this_command()[0]:
        text += f", with another command: {command}"
    return Finding("ok", client.name, text)


def _egress(settings: Settings) -> Finding:
    network = settings.network()
    reached = ["public", *(["loopback"] if network.loopback else []), *network.private]
    refused = "private networks" if network.loopback else "loopback and private networks"
    text = f"{listed(reached)}; {'other ' if network.private else ''}{refused} refused"
    if network.proxy:
        text += f"; through {network.shown_proxy}"
    if network.ca_file:
        text += f"; authorities of {network.ca_file}"
    if settings.values.allow_env is not None:
        text += f"; callers may name {listed(settings.values.allow_env) or 'no variable'}"
    names = ("allow_net", "allow_loopback", "proxy", "ca_file", "allow_env")
    sources = dict.fromkeys(settings.sources[name] for name in names if settings.sources[name] != DEFAULT)
    return Finding("ok", "egress", text, ", ".join(sources) or DEFAULT)

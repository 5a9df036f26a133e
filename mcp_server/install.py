"""`caseharden install`: add this environment's server to a client's settings, or remove it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from ..engine.errors import CasehardenError, InvalidArgument, NotAllowed, NotFound, Unavailable
from ..resources.home import shown
from .called import called
from .client_files import drop_entry, put_entry, read_file, write_file
from .clients import CLIENTS, NAME, Client, Launch, this_command
from .env_file import names_a_key, read_env_file
from .settings import add_flags
from .skill import check_skill, put_skill

_REPEATED: Final = (("--root", "roots"), ("--allow-code", "allow_code"), ("--code-env", "code_env"))
"""Flags that may be repeated, and where their values are."""
DEFAULT_SCOPE = {"claude-code": "user"}
"""The default scope of clients that do not use their first one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--client", required=True, choices=list(CLIENTS), help="which client")
    parser.add_argument("--scope", default="", help="user, project or, for claude-code, local")
    parser.add_argument("--print", action="store_true", help="print the entry and write nothing")
    parser.add_argument("--remove", action="store_true", help="remove the entry")
    parser.add_argument(
        "--execute", action="store_true", help="claude-code: run its own command instead of printing it"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable for the server: NAME=env:NAME passes on the client's own; repeatable",
    )
    parser.add_argument(
        "--skill", action="store_true", help="claude-code: also write the skill that teaches the loop"
    )
    add_flags(parser, "roots", "home", "env_file", "code")


def run(args: argparse.Namespace) -> int:
    client = CLIENTS[args.client]
    scope = _scope(client, args.scope)
    if args.skill:
        check_skill(client)
    launch = _launch(args)
    entry = client.server(launch)
    if scope in client.commanded:
        return _command(client, scope, launch, args)
    path = client.file(scope)
    if args.print:
        print(client.snippet(launch), end="")
        print(f"goes into {shown(path)}", file=sys.stderr)
        return 0
    text = read_file(path)
    try:
        changed = (
            drop_entry(client, text, str(path)) if args.remove else put_entry(client, text, entry, str(path))
        )
    except CasehardenError:
        if not args.remove:
            print(client.snippet(launch), end="", flush=True)
        raise
    if args.skill:
        put_skill(scope, remove=args.remove)
    if changed == text:
        had = "has no entry" if args.remove else "has the entry already"
        print(f"ok    {client.title}: {shown(path)} {had}; nothing was written")
        return 0
    kept = write_file(path, changed)
    print(f"ok    {client.title}: {'removed from' if args.remove else 'registered in'} {shown(path)}")
    if kept:
        print(f"      the file before: {shown(kept)}")
    after = client.then or f"restart {client.title}"
    print(f"next: {after}" + ("" if args.remove else ", then say: harden my agent"))
    return 0


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, CasehardenError) and error.where.startswith("--"):
        return called("install", "--help")
    return called("install", "--client", args.client, "--print") + "        (to put it in by hand)"


def _scope(client: Client, told: str) -> str:
    scopes = [*client.scopes, *client.commanded]
    scope = told or DEFAULT_SCOPE.get(client.name, scopes[0])
    if scope not in scopes:
        raise InvalidArgument(
            f"{client.title} has no scope `{scope[:40]}`.", where="--scope", allowed=", ".join(scopes)
        )
    return scope


def _launch(args: argparse.Namespace) -> Launch:
    """How the client starts the server; settings that a shell would supply are written out."""
    words = ["serve"]
    home = args.home or os.environ.get("CASEHARDEN_HOME", "")
    if home:
        words += ["--home", _absolute(home)]
    words += [word for root in args.roots or () for word in ("--root", _folder(root, "--root"))]
    words += _code(args)
    if args.env_file:
        read_env_file(Path(args.env_file).expanduser())
        words += ["--env-file", _absolute(args.env_file)]
    command, *rest = this_command(words)
    row = dict(_variable(one) for one in args.env)
    env = {name: value for name, value in row.items() if value is not None}
    return Launch(command, tuple(rest), env, tuple(name for name, value in row.items() if value is None))


def _code(args: argparse.Namespace) -> list[str]:
    """The flags for third-party code, with absolute paths of its folders and interpreter."""
    words: list[str] = []
    for folder in args.allow_code or ():
        words += ["--allow-code", _folder(folder, "--allow-code")]
    words += [word for names in args.code_env or () for word in ("--code-env", names)]
    if args.code_python:
        words += ["--code-python", _program(args.code_python)]
    return words


def _folder(told: str, where: str) -> str:
    if not Path(told).expanduser().is_dir():
        raise NotFound(f"`{told}` is not a folder.", where=where, allowed="an existing folder")
    return _absolute(told)


def _program(told: str) -> str:
    found = shutil.which(str(Path(told).expanduser()))
    if found is None:
        raise NotFound(f"`{told}` is not a program.", where="--code-python", allowed="a Python interpreter")
    return os.path.abspath(found)  # not resolved: a virtual environment is identified by its own path


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _variable(told: str) -> tuple[str, str | None]:
    """Name and value; None: the client's own variable of that name. A key's value is never written down."""
    name, _, value = told.partition("=")
    allowed = "NAME=VALUE, or NAME=env:NAME"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not value:
        raise InvalidArgument("This is not NAME=VALUE.", where="--env", allowed=allowed)
    if value.startswith("env:"):
        if value != f"env:{name}":
            raise InvalidArgument("A variable keeps its name.", where="--env", allowed=f"{name}=env:{name}")
        return name, None
    if names_a_key(name.upper()):
        raise NotAllowed(
            f"The value of `{name}` would stand in the client's file for everybody to read.",
            where="--env",
            allowed=f"{name}=env:{name}, or --env-file FILE with the key in that file",
        )
    return name, value


def _command(client: Client, scope: str, launch: Launch, args: argparse.Namespace) -> int:
    """Run the client's own program to add or remove the entry, or show what to type."""
    words = [client.command, "mcp", "remove" if args.remove else "add", NAME, "--scope", scope]
    if not args.remove:
        env = client.server(launch).get("env", {})
        words += [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
        words += ["--", launch.command, *launch.args]
    if args.skill and not args.print:
        put_skill(scope, remove=args.remove)
    if not args.execute or args.print:
        print(shlex.join(words))
        print(f"Run this yourself, or have it run for you: {_again(args)}", file=sys.stderr)
        return 0
    program = shutil.which(client.command)
    if program is None:
        raise Unavailable(
            f"`{client.command}` is not on the PATH.",
            where="--execute",
            allowed="--scope project, which writes .mcp.json here and needs no program",
        )
    done = subprocess.run([program, *words[1:]], check=False)
    if done.returncode:
        raise Unavailable(
            f"`{client.command} mcp` ended with exit code {done.returncode}.",
            where="--execute",
            allowed=f"with --remove first, where {NAME} is registered already",
        )
    return 0


def _again(args: argparse.Namespace) -> str:
    words = ["--scope", args.scope] if args.scope else []
    for flag, option in _REPEATED:
        words += [word for one in getattr(args, option) or () for word in (flag, one)]
    for option in ("home", "env_file", "code_python"):
        if getattr(args, option):
            words += [f"--{option.replace('_', '-')}", getattr(args, option)]
    words += [word for one in args.env for word in ("--env", one)]
    return called("install", "--client", args.client, *words, *["--remove"] * args.remove, "--execute")

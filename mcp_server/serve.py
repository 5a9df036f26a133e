"""`caseharden serve`: the MCP server over standard input and output; or how a client is told of it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..engine.errors import NotFound
from ..resources.workbench import Workbench
from .called import called
from .stdio import serve_stdio

CLIENTS = ("claude-desktop", "claude-code", "vscode", "cursor")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", default="", metavar="DIR", help="data folder; default CASEHARDEN_HOME")
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="callers may name files below it; repeatable",
    )
    parser.add_argument(
        "--print-config", choices=CLIENTS, help="print what this client needs, and serve nothing"
    )


def run(args: argparse.Namespace) -> int:
    roots = [Path(root).expanduser().resolve() for root in args.root]
    missing = next((root for root in roots if not root.is_dir()), None)
    if missing:
        raise NotFound(f"`{missing}` is not a folder.", where="--root", allowed="a folder that is there")
    if args.print_config:
        print(client_config(args.print_config, roots))
        return 0
    if sys.stdin.isatty():
        print(
            "Serving MCP on standard input and output; a client starts this by itself. Ctrl-C ends it.",
            file=sys.stderr,
        )
    serve_stdio(Workbench(args.home, roots=roots, actor="stdio"))
    return 0


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    return called("serve", "--help")


def client_config(client: str, roots: list[Path]) -> str:
    """What goes into the client's settings, or is typed, so that it starts the server of this environment."""
    command = str(Path(sys.executable).parent / "caseharden")
    words = ["serve", *(word for root in roots for word in ("--root", str(root)))]
    entry: dict[str, Any] = {"command": command, "args": words}
    if client == "claude-code":
        quoted = " ".join(f"'{w}'" if " " in w else w for w in [command, *words])
        return f"claude mcp add caseharden -- {quoted}"
    if client == "vscode":
        return json.dumps({"servers": {"caseharden": {"type": "stdio", **entry}}}, indent=2)
    return json.dumps({"mcpServers": {"caseharden": entry}}, indent=2)

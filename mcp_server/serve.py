"""`caseharden serve`: the MCP server over standard input and output or HTTP; or how a client is told of it."""

from __future__ import annotations

import argparse
import ipaddress
import json
import sys
from pathlib import Path
from typing import Any

from ..engine.errors import InvalidArgument, NotFound
from ..engine.net import Network
from ..resources.workbench import Workbench
from ..tools import TOOLSETS
from .called import called
from .http import Listen, check_host_name, serve_http
from .offer import Offer
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
    add_offer(parser.add_argument_group("what a client may call"))
    add_http(parser.add_argument_group("over HTTP, with a bearer token"))
    add_network(parser.add_argument_group("what models and agents may reach"))


def add_offer(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] # argparse has no other name for it
    group.add_argument(
        "--toolset",
        choices=TOOLSETS,
        default="all",
        help="read: look. run: also simulate and submit texts; for an agent that hardens itself. "
        "author: also write the tests. all (default): also delete, and decide which text is used",
    )
    group.add_argument("--read-only", action="store_true", help="only tools that change nothing")


def add_http(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] # as above
    group.add_argument(
        "--http", action="store_true", help="streamable HTTP instead of standard input and output"
    )
    group.add_argument("--host", default="", metavar="ADDRESS", help="default 127.0.0.1")
    group.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="default 8765, or a free one where that is taken; 0: any free one",
    )
    group.add_argument(
        "--token",
        default="",
        metavar="REFERENCE",
        help="env:NAME or file:PATH; lines of TOKEN [NAME [UNTIL]]. Default: one is made and kept in the data folder",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name that clients use, beside localhost; repeatable",
    )


def add_network(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage] # as above
    group.add_argument("--proxy", default="", metavar="URL", help="HTTP proxy that all requests go through")
    group.add_argument(
        "--ca-file", default="", metavar="PEM", help="authorities that are trusted instead of the system's"
    )
    group.add_argument(
        "--allow-net",
        action="append",
        default=[],
        metavar="CIDR",
        help="a private network that may be reached; repeatable",
    )
    group.add_argument(
        "--allow-loopback",
        action="store_true",
        help="with --http: this machine may be reached too; always so without --http",
    )


def run(args: argparse.Namespace) -> int:
    roots = [Path(root).expanduser().resolve() for root in args.root]
    missing = next((root for root in roots if not root.is_dir()), None)
    if missing:
        raise NotFound(f"`{missing}` is not a folder.", where="--root", allowed="a folder that is there")
    if args.print_config:
        print(client_config(args.print_config, roots))
        return 0
    offer = Offer(args.toolset, args.read_only)
    listen = listen_of(args)
    actor = "stdio" if listen is None else "http"
    bench = Workbench(args.home, roots=roots, network=network_of(args), actor=actor)
    if listen is not None:
        serve_http(bench, listen, offer)
        return 0
    if sys.stdin.isatty():
        print(
            "Serving MCP on standard input and output; a client starts this by itself. Ctrl-C ends it.",
            file=sys.stderr,
        )
    serve_stdio(bench, offer)
    return 0


def listen_of(args: argparse.Namespace) -> Listen | None:
    """Where to listen; None for standard input and output."""
    if not args.http:
        names = ("host", "port", "token", "allow_host", "allow_loopback")
        stray = [
            f"--{name.replace('_', '-')}"
            for name in names
            if getattr(args, name) not in ("", None, [], False)
        ]
        if stray:
            raise InvalidArgument(
                f"{', '.join(stray)} without --http.", where=stray[0], allowed="with --http"
            )
        return None
    if args.port is not None and not 0 <= args.port <= 65_535:
        raise InvalidArgument(f"{args.port} is no port.", where="--port", allowed="0 to 65535")
    hosts = tuple(check_host_name(name) for name in args.allow_host)
    return Listen(args.host or "127.0.0.1", args.port, hosts, args.token)


def network_of(args: argparse.Namespace) -> Network:
    """What may be reached; over HTTP this machine only if the operator says so."""
    for network in args.allow_net:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise InvalidArgument(f"{error}.", where="--allow-net", allowed="such as 10.1.0.0/16") from None
    if args.proxy and not args.proxy.startswith(("http://", "https://")):
        raise InvalidArgument(
            "The proxy is no HTTP address.", where="--proxy", allowed="http://HOST:PORT, https://HOST:PORT"
        )
    ca_file = str(Path(args.ca_file).expanduser().resolve()) if args.ca_file else ""
    if ca_file and not Path(ca_file).is_file():
        raise NotFound(f"`{ca_file}` is not a file.", where="--ca-file", allowed="a PEM file")
    return Network(
        loopback=not args.http or args.allow_loopback,
        private=tuple(args.allow_net),
        proxy=args.proxy,
        ca_file=ca_file,
    )


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

"""`caseharden serve`: the MCP server over standard input and output or HTTP."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..engine.errors import InvalidArgument
from ..tools import TOOLSETS
from .http import Listen, check_host_name, serve_http
from .offer import Offer
from .settings import add_flags, fixing, read_settings
from .stdio import serve_stdio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_offer(parser.add_argument_group("what a client may call"))
    add_http(parser.add_argument_group("over HTTP, with a bearer token"))
    kept = ("env_file", "retention_days", "concurrency", "log_level")
    add_flags(parser, "home", "roots", "models", "network", "code", *kept)


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
    group.add_argument(
        "--allow-loopback",
        action="store_true",
        default=None,
        help="models and agents may be on this machine; always so without --http",
    )
    group.add_argument("--host", default="", metavar="ADDRESS", help="default 127.0.0.1")
    group.add_argument(
        "--port",
        type=int,
        metavar="N",
        help="default 8765, or a free one if that is taken; 0: any free one",
    )
    group.add_argument(
        "--token",
        default="",
        metavar="REFERENCE",
        help="env:NAME or file:PATH; lines of TOKEN [NAME [UNTIL]]. Default: generated and kept in the data folder",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name that clients use besides localhost; repeatable",
    )


def run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    settings.lend_keys()
    offer = Offer(args.toolset, args.read_only)
    listen = listen_of(args)
    level = settings.values.log_level
    if listen is not None:
        own = [listen.token] if listen.token else []
        check_own(own, settings.values.allow_env or ())
        serve_http(settings.workbench("http", http=True, own=own), listen, offer, log_level=level)
        return 0
    if sys.stdin.isatty():
        print(
            "Serving MCP on standard input and output; a client starts this by itself. Ctrl-C ends it.",
            file=sys.stderr,
        )
    serve_stdio(settings.workbench("stdio"), offer, log_level=level)
    return 0


def listen_of(args: argparse.Namespace) -> Listen | None:
    """Where to listen; None for standard input and output."""
    if not args.http:
        names = ("host", "port", "token", "allow_host", "allow_loopback")
        stray = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) not in ("", None, [])]
        if stray:
            raise InvalidArgument(
                f"{', '.join(stray)} without --http.", where=stray[0], allowed="with --http"
            )
        return None
    if args.port is not None and not 0 <= args.port <= 65_535:
        raise InvalidArgument(f"{args.port} is no port.", where="--port", allowed="0 to 65535")
    hosts = tuple(check_host_name(name) for name in args.allow_host)
    return Listen(args.host or "127.0.0.1", args.port, hosts, args.token)


def check_own(own: Sequence[str], lent: Sequence[str]) -> None:
    """Raise InvalidArgument if clients could use the server's own tokens as secrets."""
    name = next((name for name in lent if f"env:{name}" in own), "")
    if name:
        raise InvalidArgument(
            f"{name} holds the tokens of this server and is lent to nobody.",
            where="--allow-env",
            allowed="variables that hold keys of agents and models",
        )


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    return fixing(error, "serve")

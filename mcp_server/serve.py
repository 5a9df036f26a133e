"""`caseharden serve`: the MCP server over standard input and output."""

from __future__ import annotations

import argparse
import sys

from .settings import add_flags, fixing, read_settings
from .stdio import serve_stdio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, "home", "roots", "models", "network", "env_file", "retention_days", "log_level")


def run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    settings.lend_keys()
    if sys.stdin.isatty():
        print(
            "Serving MCP on standard input and output; a client starts this by itself. Ctrl-C ends it.",
            file=sys.stderr,
        )
    serve_stdio(settings.workbench("stdio"), log_level=settings.values.log_level)
    return 0


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    return fixing(error, "serve")

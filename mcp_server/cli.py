"""The command `caseharden`: its subcommands, and how errors are shown.

A subcommand is a module with `add_arguments(parser)`, `run(args) -> exit code` and `then(args, error)`, the command
that helps after an error. It is imported when called: the help and the version need none of them.

Exit codes: 0 done or passed, 1 a threshold or a baseline was missed, 2 wrong input, 3 no result, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from .. import __version__
from ..engine.errors import CasehardenError, UserError, did_you_mean
from ..resources.home import shown_home
from .called import called
from .terminal import Screen, clean

COMMANDS = {
    "demo": (".demo", "the whole loop on a shipped world, offline"),
    "init": (".scaffold", "write a folder to start from: environment, personas, scenarios, instructions"),
    "run": (
        ".run_folder",
        "run a folder of cases; exit 0 passed, 1 threshold or baseline missed, 2 wrong input, 3 no result",
    ),
    "simulate": (".simulate", "the first half of run: play a folder of cases without asking a judge"),
    "score": (
        ".score",
        "the second half of run: grade a stored run, also with other metrics or another judge",
    ),
    "harden": (
        ".harden",
        "look for better instructions and prove them; exit 0 improved or nothing to fix, 1 not improved",
    ),
    "compare": (".compare", "what got better or worse from one run to another, and how sure that is"),
    "list": (".list_items", "what the data folder holds: environments, runs, hardenings, jobs"),
    "show": (".show", "one thing as text: a run, a conversation turn by turn, a hardening, a text"),
    "play": (".play", "be the agent yourself, in the terminal"),
    "label": (".label", "judge conversations yourself, and see how far the judge agrees with you"),
    "cancel": (".cancel", "stop a job that another process is at work on; what it finished is kept"),
    "report": (".report", "write the report of a run or hardening as one HTML file"),
    "import": (
        ".import_files",
        "bring in tau-bench, tau2-bench, Sigma, ArkSim or ARE, their results, or our own exports",
    ),
    "prompts": (".prompts", "show the prompts that agent, user, judge and writer are sent"),
    "export": (".export_files", "write a run, its conversations or an environment as a file, in any format"),
    "serve": (".serve", "the MCP server: stdio, or --http with a token"),
    "install": (
        ".install",
        "register the server with a client: claude-desktop, claude-code, vscode, cursor",
    ),
    "doctor": (".doctor", "check settings, keys, models, data folder, clients"),
}
"""Command: its module and its line in the help."""
ADDS_ROOTS = "; the operator adds roots with --root DIR"
"""Advice of the engine to whoever started a server."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # agents and users speak Unicode, but not every terminal does
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--debug"]:
        words = [*words[1:], "--debug"] if words[1:] else []
    if words[:1] == ["help"] and words[1:]:
        words = [words[1], "--help"]
    if not words and not sys.stdin.isatty():
        return _tell(
            "no command.", ", ".join(COMMANDS), called("serve") + "        (the MCP server on stdio)"
        )
    if not words or words[0] in ("-h", "--help", "help"):
        return _print(help_text(Screen().width))
    if words[0] in ("-V", "--version"):
        return _print(f"caseharden {__version__}")
    if words[0] not in COMMANDS:
        return _tell(
            f"no command `{clean(words[0])[:60]}`.{did_you_mean(words[0], COMMANDS)}", ", ".join(COMMANDS)
        )
    return _run(words[0], words[1:])


def help_text(width: int) -> str:
    """The page that `caseharden` prints on a terminal `width` cells wide."""
    head = "caseharden evaluates a conversational agent in a simulated world and hardens its instructions."
    parts = [*textwrap.wrap(head, width), ""]
    for name, (_, line) in COMMANDS.items():
        parts += textwrap.wrap(line, width, initial_indent=f"  {name:<10} ", subsequent_indent=" " * 13)
    return "\n".join(
        [
            *parts,
            "",
            f"Start with: {called('demo')}    Help on one: {called('COMMAND', '--help')}",
            f"Data: {clean(shown_home())} (set CASEHARDEN_HOME to change it)",
        ]
    )


def _run(name: str, words: list[str]) -> int:
    where, line = COMMANDS[name]
    gc.disable()  # an import makes objects by the hundred thousand, none of them garbage
    command: Any = importlib.import_module(where, __package__)
    gc.enable()
    gc.set_threshold(5_000, 20, 20)  # conversations are many objects, hardly any of them in a cycle
    parser = _Parser(
        prog=f"caseharden {name}", description=f"{line[0].upper()}{line[1:]}.", allow_abbrev=False
    )
    command.add_arguments(parser)
    parser.usage = f"caseharden {name} [options] {parser.places}".rstrip()
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    try:
        args = parser.parse_args(words)
    except _WrongInput as error:
        return _tell(str(error), "", called(name, "--help"))
    try:
        return command.run(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if args.debug:
            traceback.print_exception(error)
        error = _alone(error)
        options = {option for action in parser.actions for option in action.option_strings}
        return tell(error, command.then(args, error), options)


def tell(error: Exception, then: str = "", options: Collection[str] = ("--root",)) -> int:
    """Print what, where, what is allowed and the next step on standard error; return the matching exit code.

    `options`: of the command; advice to use another one is left out.
    """
    if not isinstance(error, CasehardenError):
        _tell(
            f"{type(error).__name__}: {clean(str(error))[:300]} (a fault of caseharden)",
            "",
            "the same with --debug",
        )
        return 3
    place = f"{error.where}: " if error.where else ""
    allowed = error.allowed if "--root" in options else error.allowed.removesuffix(ADDS_ROOTS)
    _tell(clean(f"{place}{error.what}"), clean(allowed), then)
    return 2 if isinstance(error, UserError) else 3


def _tell(what: str, allowed: str = "", then: str = "") -> int:
    lines = [f"error: {what}"]
    if allowed:
        lines.append(f"  allowed: {allowed}")
    lines.append(f"  next: {then or called('--help')}")
    print("\n".join(lines), file=sys.stderr)
    return 2


def _alone(error: Exception) -> Exception:
    """Unwrap an exception group that holds a single exception."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return error  # pyright: ignore[reportUnknownVariableType]


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _WrongInput(Exception):
    """Invalid command-line arguments."""


class _Parser(argparse.ArgumentParser):
    @property
    def actions(self) -> list[argparse.Action]:
        """Its arguments."""
        return self._actions

    @property
    def places(self) -> str:
        """Its positional arguments as the usage shows them: `[DIR]`."""
        named = ((a.metavar or a.dest.upper(), a.nargs) for a in self._actions if not a.option_strings)
        return " ".join(f"[{name}]" if nargs in ("?", "*") else str(name) for name, nargs in named)

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        options = [option for action in self.actions for option in action.option_strings]
        raise _WrongInput(clean(message) + "." + (did_you_mean(unknown[1], options) if unknown else ""))

"""`caseharden prompts [ROLE]`: what is sent to agent, user, judge and writer, made by the code that sends it.

No model is called and nothing is run. Exit codes: 0 shown, 2 wrong input.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import anyio

from ..engine.errors import CasehardenError, NotAllowed, NotFound
from ..engine.exchange import is_case_folder
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.prompts import ROLES, Prompt
from .called import called
from .instead import instead
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "role", nargs="?", default="", choices=["", *ROLES], metavar="ROLE", help=", ".join(ROLES)
    )
    parser.add_argument(
        "--environment",
        default="",
        metavar="ID|DIR",
        help="an environment, or a folder of cases; default: this folder, else the newest environment",
    )
    parser.add_argument(
        "--scenario", default="", metavar="ID", help="default: the first that is not held out"
    )
    parser.add_argument("--json", action="store_true", help="print the requests as JSON")
    add_flags(parser, "home", "code", "env_file")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "prompts")
    where = error.where if isinstance(error, CasehardenError) else ""
    known = instead(error, "environment")
    if known:
        return called("prompts", "--environment", known)
    if isinstance(error, NotAllowed) and "--allow-code" in error.allowed and not args.allow_code:
        place = args.environment or "."
        again = called(
            "prompts", "--environment", place, "--allow-code", place if Path(place).is_dir() else "DIR"
        )
        return again + "        (runs the code in this folder as you)"
    if where == "scenario":
        return called("prompts", "--environment", args.environment or "ID")
    return (
        called("init", "my-agent")
        + "        (writes a folder), then "
        + called("prompts", "--environment", "my-agent")
    )


async def _run(args: argparse.Namespace) -> int:
    place = Path(args.environment or ".")
    settings = read_settings(args)
    settings.lend_keys()
    async with settings.workbench("cli", roots=[place], resume=False) as bench:
        id = await _environment(bench, args.environment, place)
        found = await bench.prompts.of(id, [args.role] if args.role else ROLES, args.scenario)
    if args.json:
        print(json.dumps([asdict(prompt) for prompt in found], ensure_ascii=False))
        return 0
    screen = Screen()
    for line in (line for prompt in found for line in _lines(prompt)):
        screen.line(line)
    if not found:
        screen.line(
            f"{id} sends no prompt of ours to the {args.role}: it has its own, or code decides everything."
        )
    return 0


async def _environment(bench: Bench, named: str, place: Path) -> str:
    """The id of the environment; a folder of cases is imported as by `run`."""
    if is_case_folder(place):
        return (await bench.environments.import_folder(str(place.resolve()))).environment.id
    if named:
        return named
    newest = (await bench.items.page("environment", limit=1)).items
    if not newest:
        raise NotFound(
            "There is no environment yet.", where="--environment", allowed="an id, or a folder of cases"
        )
    return str(newest[0]["id"])


def _lines(prompt: Prompt) -> Iterator[str]:
    yield f"=== {prompt.role}: {clean(prompt.what)}"
    for message in prompt.messages:
        yield f"--- {message['role']}"
        for line in message["content"].split("\n"):
            yield clean(line)
    if prompt.tools:
        yield "--- tools"
        yield clean(json.dumps(prompt.tools, ensure_ascii=False))
    if prompt.schema is not None:
        yield "--- the answer must fit"
        yield clean(json.dumps(prompt.schema, ensure_ascii=False))
    yield ""

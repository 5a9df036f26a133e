"""`caseharden play`: you are the agent (or the user) of a case, in the terminal.

What you type is said; a line starting with `/` is a command. It is stored as a session: you can leave and come back.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio

from ..engine.errors import CasehardenError, InvalidArgument, NotFound, SetupError, UserError, did_you_mean
from ..engine.plural import plural
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import SessionReport
from .called import called
from .instead import instead
from .logs import hide_in_logs
from .play_forms import fill, form_line
from .settings import Settings, WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean, cut, unwrapped
from .typed import ask_line

HELP: Final = """\
Type what you want to say. Commands:
  /tools           the tools and their arguments
  /call TOOL       call a tool; you are asked for its arguments (or write them after it as JSON)
  /policy          what the agent is told: instructions and policy
  /look            everything so far, and what has changed
  /undo [TURN]     go back to a turn: words, world, clock and user are as they were
  /again [WORDS]   ask for the other side's last turn once more; WORDS say what was wrong
  /end             end it, and see the reward with its reasons
  /quit            leave; the session is kept"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environment", nargs="?", default="", help="an environment, or a shipped world: shop, airline, clinic"
    )
    parser.add_argument("--list", action="store_true", help="only list the cases")
    parser.add_argument(
        "--start",
        default="",
        help="the case: #3 or 3, a scenario or simulation, random, blank (no user), RUN/SIM/TRIAL@TURN; default: ask",
    )
    parser.add_argument("--role", choices=("agent", "user"), default="agent", help="the side you play")
    parser.add_argument("--session", default="", metavar="ID", help="go on with a session")
    parser.add_argument(
        "--instructions", default="", help="a version or a candidate; default: the one in force"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of random choices; default: the environment's"
    )
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_flags(parser, "home", "models", "network", "env_file")


def run(args: argparse.Namespace) -> int:
    if args.debug:
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        logging.getLogger("caseharden").setLevel(logging.DEBUG)
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "play")
    if isinstance(error, SetupError):
        return called("doctor") + "        (says what is missing)"
    name = [args.environment] if args.environment else []
    where = error.where if isinstance(error, CasehardenError) else ""
    if where.endswith("start"):
        return called("play", *name, "--list")
    known = instead(error, "environment")
    return called("play", known) if known else called("play", "--help")


async def _run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    settings.lend_keys([Path()])
    screen = Screen(plain=args.plain)
    if args.list:
        await _listed(settings, screen, args.environment)
        return 0
    async with settings.workbench("cli", resume=False) as bench:
        hide_in_logs(bench.redactor)
        if args.session:
            return await _Player(bench, screen).play(await bench.sessions.step(args.session, action="look"))
        environment = await _environment(bench, args.environment)
        start = args.start or await _chosen(bench, screen, environment)
        opened = await bench.sessions.start(
            environment,
            role=args.role,
            start=f"#{start}" if start.isdecimal() else start,
            instructions=args.instructions,
            models=settings.flagged_models,
            seed=args.seed,
        )
        return await _Player(bench, screen).play(opened)


async def _listed(settings: Settings, screen: Screen, name: str) -> None:
    """List the cases; those of a shipped world are read in a data folder that is thrown away."""
    async with settings.workbench("cli", resume=False) as bench:
        hide_in_logs(bench.redactor)
        environment = await _environment(bench, name, create=False)
        if environment:
            return await _list(bench, screen, environment)
    with TemporaryDirectory() as home:
        async with replace(settings, home=Path(home)).workbench("cli", resume=False) as bench:
            await _list(bench, screen, await _environment(bench, name))


async def _environment(bench: Bench, name: str, *, create: bool = True) -> str:
    """The environment of that name; for "" the only one.

    If it does not exist, it is created from the shipped world, or without `create` the answer is "".
    """
    known = [str(row["id"]) for row in (await bench.items.page("environment", limit=100)).items]
    worlds = [str(row["id"]) for row in (await bench.items.page("world", limit=100)).items]
    if not name and len(known) == 1:
        return known[0]
    if not name:
        what = "Which environment?" if known else "There is no environment yet."
        raise InvalidArgument(what, where="environment", allowed=dict.fromkeys([*known, *worlds]))
    if name in known:
        return name
    if name not in worlds:
        what = f"There is no environment `{name[:80]}`.{did_you_mean(name, [*known, *worlds])}"
        raise NotFound(what, where="environment", allowed=dict.fromkeys([*known, *worlds]))
    if not create:
        return ""
    await bench.environments.create(name, world=name)
    return name


async def _list(bench: Bench, screen: Screen, environment: str) -> None:
    cases = await bench.sessions.cases(environment)
    rows = [(f"#{case['number']}", clean(case["id"]), clean(case["goal"]) or "(held out)") for case in cases]
    for line in _columns(rows, screen.width):
        screen.line(line)
    screen.line(
        f"{plural(len(rows), 'case')}. {called('play', environment, '--start', '3')} plays the third."
    )


async def _chosen(bench: Bench, screen: Screen, environment: str) -> str:
    """The case that is typed; a random one if none is."""
    await _list(bench, screen, environment)
    typed = await ask_line("Which case? Number, id, random or blank [random]: ")
    return (typed or "").strip() or "random"


def _columns(rows: Sequence[tuple[str, str, str]], width: int) -> list[str]:
    wide = max((len(id) for _, id, _ in rows), default=0)
    return [cut(f"  {number:<4} {id:<{wide}}  {goal}", width) for number, id, goal in rows]


class _Player:
    """The loop of one session."""

    def __init__(self, bench: Bench, screen: Screen) -> None:
        self._bench = bench
        self._screen = screen
        self._report: SessionReport
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/tools": self._tools,
            "/call": self._call,
            "/policy": self._policy,
            "/look": lambda rest: self._step("look"),
            "/undo": self._undo,
            "/again": lambda rest: self._step("regenerate", text=rest),
            "/end": lambda rest: self._step("end"),
        }

    async def play(self, opened: SessionReport) -> int:
        """Play until the end of the input, `/quit`, or an end that is not undone."""
        self._report = opened
        self._begin()
        while True:
            typed = await ask_line(f"{opened.session.role}> ")
            words = (typed or "").strip()
            if typed is None or words == "/quit":
                self._leave()
                return 0
            if words:
                await self._take(words)

    async def _take(self, words: str) -> None:
        """Handle one line. Errors in it are reported, and the session goes on."""
        try:
            if not words.startswith("/"):
                await self._step("reply", text=words)
                return
            name, _, rest = words.partition(" ")
            if name not in self._commands:
                known = [*self._commands, "/quit"]
                raise InvalidArgument(
                    f"There is no command `{name[:40]}`.{did_you_mean(name, known)}", allowed=known
                )
            await self._commands[name](rest.strip())
        except (UserError, SetupError) as error:
            self._screen.note("error", error.what)
            if error.allowed:
                self._screen.note("", f"allowed: {error.allowed}")
            if error.quoted:
                self._screen.note("", f"it said: {error.quoted}")

    async def _step(self, action: str, **arguments: Any) -> None:
        self._report = await self._bench.sessions.step(self._report.session.id, action=action, **arguments)
        self._show()

    async def _call(self, rest: str) -> None:
        name, _, written = rest.partition(" ")
        signature = next((tool for tool in self._report.tools if tool.name == name), None)
        arguments: dict[str, Any] | None = {}
        if written.strip():
            arguments = _object(written)
        elif signature is not None:
            arguments = await fill(signature, ask_line, self._screen.line)
        if arguments is None:
            self._screen.line("  not called")
            return
        await self._step("call", tool=name, arguments=arguments)

    async def _undo(self, rest: str) -> None:
        if rest and not (rest.isdecimal() and len(rest) < 6):
            raise InvalidArgument(f"`{rest[:40]}` is not a turn.", allowed="a number")
        await self._step("undo", turn=int(rest or 0))

    async def _help(self, rest: str) -> None:
        for line in HELP.splitlines():
            self._screen.line(line)

    async def _tools(self, rest: str) -> None:
        for tool in self._report.tools:
            self._screen.line(f"  {form_line(tool)}")
            if tool.description:
                self._screen.note("", tool.description)

    async def _policy(self, rest: str) -> None:
        item = await self._bench.items.get("session", self._report.session.id, view="text")
        self._text(str(item.item["instructions"]))
        if str(item.item["policy"]) not in str(item.item["instructions"]):
            self._screen.line()
            self._text(str(item.item["policy"]))

    def _text(self, text: str) -> None:
        """Print a text of several paragraphs, each made safe and wrapped."""
        for line in unwrapped(text):
            hang = " " * (2 if line.startswith("- ") else 0)
            for part in textwrap.wrap(clean(line), self._screen.width, subsequent_indent=hang) or [""]:
                self._screen.line(part)

    def _begin(self) -> None:
        record = self._report.session
        case = "a blank session: there is no user" if record.scenario == "blank" else record.scenario
        self._screen.line(f"{record.id}: you are the {record.role}, {clean(case)}. /help lists the commands.")
        for warning in self._report.warnings:
            self._screen.note("warn", warning)
        sheet: dict[str, Any] = self._report.result.get("sheet", {})
        for name, value in sheet.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            self._screen.note("", f"{name}: {text}")
        self._show()

    def _show(self) -> None:
        report, screen = self._report, self._screen
        for row in report.messages:
            screen.note(row["from"], str(row["text"]) if "text" in row else _call_line(row))
        if report.action == "call":
            screen.note("tool" if report.result.get("ok") else "fail", _call_line(report.result))
        for change in report.changes:
            screen.note("", f"changed {_change(change)}")
        for warning in report.warnings if report.action != "start" else ():
            screen.note("warn", warning)
        if report.done:
            self._reward()

    def _reward(self) -> None:
        reward, screen = self._report.reward, self._screen
        value = reward.get("value")
        text = "no reward" if value is None else f"reward {value:g}"
        screen.line(
            f"{str(reward['verdict']).upper()}  {text}, ended by {self._report.end}; {self._report.conversation}"
        )
        for one in reward.get("components", ()):
            screen.note(one["verdict"], f"{one['check']}: {one.get('why', '')}")
        screen.line("/undo TURN goes back to play on from there; /quit leaves.")

    def _leave(self) -> None:
        record = self._report.session
        if not self._report.done:
            self._screen.line(f"{record.id} is kept; {called('play', '--session', record.id)} goes on.")


def _object(written: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(written)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidArgument(
            "The arguments are not a JSON object.",
            allowed='{"order_id": "W1"}, or nothing, to be asked for them',
        )
    return value  # pyright: ignore[reportUnknownVariableType]


def _call_line(row: dict[str, Any]) -> str:
    arguments = row["args"] if isinstance(row["args"], str) else json.dumps(row["args"], ensure_ascii=False)
    result = row.get("result")
    shown = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return f"{row['tool']}({arguments}) -> {shown}"


def _change(row: dict[str, Any]) -> str:
    values = [json.dumps(row[name], ensure_ascii=False) for name in ("old", "new") if name in row]
    return f"{row['path']}: {' -> '.join(values)}"

"""`caseharden demo`: the whole loop on a shipped world, through a real MCP client over stdio.

Every figure and every quoted word comes from the server; a line is printed as soon as it is known.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from mcp import StdioServerParameters
from mcp.client import Client

from ..engine.errors import InternalError, NeedsConfirm, Unavailable, UserError
from ..engine.plural import plural
from ..resources.library import WORLDS
from .called import called
from .demo_model import DemoModel, add_model_arguments, ask, model_of
from .hardening_lines import added, aim, cause_lines, heading, proof_heading, proof_lines, tried
from .output_files import copy_out
from .setting_values import flag
from .settings import add_flags
from .terminal import Screen, bar, clean, cut, interval, money, percent

WORLD = "shop"
REPORT = Path(".caseharden/demo/report.html")
"""Where the report is put, relative to the folder in which the demo runs."""
GENERATED = 2
"""Personas and scenarios generated in addition to the shipped ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", default="", metavar="DIR", help="keep the data in this folder")
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_model_arguments(parser)
    add_flags(parser, "network", "env_file")


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, NeedsConfirm):
        given = [(flag(name), getattr(args, name)) for name in ("model", "base_url", "key")]
        return called("demo", *(word for pair in given if pair[1] for word in pair), "--confirm")
    return called("demo", "--help" if isinstance(error, UserError) else "--debug")


def run(args: argparse.Namespace) -> int:
    screen = Screen(plain=args.plain)
    model = model_of(args)
    if args.keep:
        return anyio.run(_run, args.keep, screen, model, args.confirm)
    with tempfile.TemporaryDirectory(prefix="caseharden-demo-") as folder:
        return anyio.run(_run, folder, screen, model, args.confirm)


async def _run(home: str, screen: Screen, model: DemoModel, confirmed: bool) -> int:
    text = "with no key and no network" if model.offline else f"with {model.name}"
    screen.line(f"caseharden demo: the whole loop over MCP, on a shipped world, {text}")
    screen.line()
    began = time.perf_counter()
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "caseharden", "serve", "--home", home, *model.words],
        env=model.env,
    )
    async with Client(command) as client:
        loop = _Loop(_Server(client), screen, model, confirmed)
        improved = await loop.go_round()
        await loop.report(Path(home), REPORT)
        loop.used(time.perf_counter() - began)
    return 0 if improved else 1


class _Server:
    """Calls tools, waits for jobs, and counts the calls."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.calls = 0

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured reply of a tool; if it started a job, the result of the job."""
        reply = await self._call(tool, arguments)
        job: Mapping[str, Any] = reply.get("job", {})
        while job.get("state") in ("queued", "running", "waiting"):
            waited = await self._call("wait_job", {"job": job["id"], "wait_s": 30})
            job = waited["job"]
            reply = waited.get("result", reply)
        if job.get("state") in ("failed", "paused", "cancelled"):
            error: Mapping[str, Any] = job.get("error") or {}
            raise Unavailable(str(error.get("what", f"{job['id']} is {job['state']}")), where=tool)
        return reply

    async def _call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        result = await self._client.call_tool(tool, arguments)
        content: dict[str, Any] = result.structured_content or {}
        if result.is_error:
            error = content.get("error", {})
            raise InternalError(
                str(error.get("what", "the server gave no reason")), where=str(error.get("where", tool))
            )
        return content


class _Loop:
    """One pass through the loop, narrated as it goes."""

    def __init__(self, server: _Server, screen: Screen, model: DemoModel, confirmed: bool) -> None:
        self._model = model
        self._confirmed = confirmed
        self._call = server
        self._screen = screen
        self._trials = 0
        self._usd: float | None = 0.0
        self._models: dict[str, str] = {}
        self._hardening = ""

    async def go_round(self) -> bool:
        """Run the loop once; whether the outcome was `improved` and was promoted."""
        await self._environment()
        await self._cases()
        base = await self._base()
        hardening, seconds = await self._harden(base["run"])
        await self._candidates(hardening["hardening"])
        if not await self._proof(hardening, seconds):
            return False
        await self._next_round(base)
        return True

    async def _environment(self) -> None:
        text = (WORLDS / WORLD / "instructions.md").read_text(encoding="utf-8").strip()
        made = await self._call("create_environment", id=WORLD, world=WORLD, instructions=text)
        world, self._models = made["world"], made["models"]
        held = sorted(world["collections"].items(), key=lambda item: -item[1])[:3]
        parts = [f"{number:,} {name}" for name, number in held] + [plural(world["tools"], "tool")]
        shown = await self._call("get_item", kind="instructions", id=f"{WORLD}@1", view="text")
        chars = len(shown["item"]["text"])
        names = sorted({m for m in self._models.values() if m})
        self._line(f"  Environment  {made['environment']:<14} {', '.join(parts)}")
        version = made["instructions_version"]
        self._line(
            f"  Agent        {made['agent']['kind']:<14} instructions version {version}, {chars} characters"
        )
        self._line(f"  Model        {', '.join(names)} in every role: {', '.join(self._models)}")

    async def _cases(self) -> None:
        personas = await self._call("generate_personas", environment=WORLD, count=GENERATED)
        scenarios = await self._call("generate_scenarios", environment=WORLD, count=GENERATED)
        made = await self._call("create_simulations", environment=WORLD, pairing=self._model.pairing)
        number = made["counts"]["simulations"]
        splits = await self._splits()
        rows, columns = scenarios["counts"]["scenarios"], personas["counts"]["personas"]
        held_out = splits.count("held_out")
        self._line(f"  Generated    {_made(personas, 'persona')}")
        self._line(f"               {_made(scenarios, 'scenario')}")
        self._line(
            f"  Cases        {columns} personas x {rows} scenarios = {number} simulations; "
            f"{len(splits) - held_out} scenarios train, {held_out} held-out"
        )
        ask(self._model, number, self._screen, self._confirmed)
        self._line()

    async def _splits(self) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            page = await self._call(
                "list_items", kind="scenario", environment=WORLD, limit=100, cursor=cursor
            )
            found += [row["split"] for row in page["items"]]
            cursor = page.get("next_cursor", "")
            if not cursor:
                return found

    async def _base(self) -> dict[str, Any]:
        base = await self._call("run_simulations", environment=WORLD, wait_s=45, **self._model.options)
        self._spent(base)
        self._line(heading("Base", f"version 1      {_rate(base['totals'])}", base["cost"]["seconds"]))
        see = next((c["see"] for c in base["clusters"] if c.get("see")), "")
        if see:
            shown = await self._call("get_item", kind="conversation", id=see, view="turns", limit=1)
            for line in _failure(see, shown["item"]):
                self._line(line)
        for line in cause_lines([c for c in base["clusters"] if c.get("train")], "train"):
            self._line(line)
        self._line()
        return base

    async def _harden(self, run: str) -> tuple[dict[str, Any], float]:
        began = time.perf_counter()
        hardening = await self._call("harden_agent", environment=WORLD, strategy="rules", run=run, wait_s=45)
        self._hardening = hardening["hardening"]
        return hardening, time.perf_counter() - began

    async def _candidates(self, hardening: str) -> None:
        rounds = await self._rounds(hardening)
        self._trials += sum(int(r.get("trials_run", 0)) for r in rounds)
        known: set[str] = set()
        for one in (r for r in rounds if r.get("candidate")):
            self._line(aim(one))
            diff = await self._call("get_item", kind="candidate", id=one["candidate"], view="diff")
            new = [line for line in added(str(diff["item"].get("diff", ""))) if line not in known]
            known.update(new)
            for line in new:
                self._line(f"  + {clean(line)}")
            self._line(tried(one))
            self._line()

    async def _rounds(self, hardening: str) -> list[dict[str, Any]]:
        found = await self._call("get_item", kind="hardening", id=hardening, view="rounds", limit=100)
        rounds: list[dict[str, Any]] = found["item"]["rounds"]
        return rounds

    async def _proof(self, hardening: dict[str, Any], seconds: float) -> bool:
        held = hardening.get("evidence", {}).get("held_out")
        outcome = hardening.get("outcome", "none")
        if held:
            for line in (proof_heading(held, seconds), *proof_lines(held, hardening.get("guards", []))):
                self._line(line)
        offline = ", offline" if self._offline else ""
        text = f"  Outcome      {outcome.upper()}{offline}"
        if outcome != "improved":
            self._line(f"{text}: {clean(hardening['summary'])}")
            return False
        became = await self._call(
            "decide_candidate", candidate=hardening["candidate"]["id"], decision="promote"
        )
        version = became["improved_config"]["instructions"].partition("@")[2]
        self._line(f"{text}, confirmed on held-out scenarios; promoted as version {version}")
        self._line()
        return True

    async def _next_round(self, base: dict[str, Any]) -> None:
        again = await self._call(
            "run_simulations", environment=WORLD, continue_run=base["run"], wait_s=45, **self._model.options
        )
        self._spent(again)
        version = again["instructions_version"].partition("@")[2]
        text = f"version {version:<7}{_rate(again['totals'])}"
        self._line(heading("Next round", text, again["cost"]["seconds"]))
        for number, totals in (("1", base["totals"]), (version, again["totals"])):
            self._line(f"  version {number:<4} {bar(totals['rate'])} {percent(totals['rate']):>5}")
        left = again["totals"]["simulations"] - again["totals"]["passed"]
        self._line(
            f"  Left         {left} of {plural(again['totals']['simulations'], 'simulation')} not passed"
        )
        self._line()

    async def report(self, home: Path, target: Path) -> None:
        """Put the report of the hardening where it can be opened."""
        if not self._hardening:
            return
        made = await self._call("export_run", source=self._hardening, format="html")
        await anyio.to_thread.run_sync(copy_out, home / made["file"], target, True)
        self._line(f"Report         {target}     opens offline")

    def used(self, seconds: float) -> None:
        """What the whole demo took."""
        network = ", 0 network calls" if self._offline else ""
        calls = f"{self._call.calls} MCP calls over stdio, {self._trials:,} trials"
        self._line(f"Used           {calls}{network}, {money(self._usd)}, {seconds:.1f} s")
        self._line()
        self._line(
            "What it shows          the wiring, the world, the checks and the proof"
            + ("; it repeats exactly" if self._offline else "")
        )
        if self._offline:
            self._line("What it does not show  how a real model behaves: offline follows rules to the letter")
        self._line(f"Next   in your client  {called('install', '--client', 'claude-code')}")
        self._line("                       then say: harden my agent")
        self._line(f"       your own cases  {called('init', 'my-agent')}")
        self._line(f"                       {called('run', 'my-agent')}")

    @property
    def _offline(self) -> bool:
        return all(m.startswith("offline") for m in self._models.values() if m)

    def _spent(self, reply: Mapping[str, Any]) -> None:
        self._trials += int(reply["totals"]["trials"])
        usd = reply["cost"].get("usd")
        known = usd if isinstance(usd, int | float) else None
        self._usd = None if known is None or self._usd is None else self._usd + known

    def _line(self, text: str = "") -> None:
        self._screen.line(text.encode("ascii", "replace").decode())


def _made(reply: Mapping[str, Any], noun: str) -> str:
    names = [str(id).partition("/")[2] for id in reply.get("made", [])]
    return cut(f"{plural(len(names), noun)}: {', '.join(names)}", 84)


def _rate(totals: Mapping[str, Any]) -> str:
    counted = totals.get("passed", 0) + totals.get("failed", 0) + totals.get("inconclusive", 0)
    return (
        f"{totals['passed']} of {counted} pass, {percent(totals['rate'])} {interval(totals.get('interval'))}"
    )


def _failure(see: str, item: Mapping[str, Any]) -> list[str]:
    """The turn that decided a failed check: who said and did what."""
    turn = see.partition("@")[2]
    turns: Sequence[Mapping[str, Any]] = item.get("turns", [])
    shown = next((t for t in turns if str(t.get("turn")) == turn), turns[0] if turns else {})
    checks = [c for c in shown.get("checks", item.get("checks", [])) if c.get("verdict") == "fail"]
    lines = [f"  FAIL  {see}"]
    if checks:
        lines.append(f"        why    {cut(clean(str(checks[0].get('why', ''))), 84)}")
    if shown.get("user"):
        lines.append(f'        user   "{cut(clean(str(shown["user"])), 82)}"')
    calls = "  ".join(_call(c) for c in shown.get("calls", []))
    said = f'"{clean(str(shown["agent"]))}"' if shown.get("agent") else ""
    lines.append(f"        agent  {cut('  '.join(p for p in (calls, said) if p), 84)}")
    return lines


def _call(call: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{k}: {v}" for k, v in call.get("args", {}).items())
    return clean(f"{call['tool']}({arguments})")

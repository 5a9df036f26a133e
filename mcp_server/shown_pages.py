"""Pages of `caseharden show`: a run with its result, a hardening with its outcome, a conversation as it was spoken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..engine.records.environment import played_by
from ..engine.records.run import RunRecord
from ..engine.shapes import is_object
from ..engine.workbench import Workbench
from ..engine.workbench.results import HardeningReport, RunReport
from .called import called
from .hardening_progress import outcome_lines
from .progress import result_lines
from .terminal import clean, cut, table, wrapped

CHECKS: Final = 8
CALL_CELLS: Final = 400
"""Cells of a call or its result; the view `full` has the rest."""
_SIDE: Final = 8
_ENDS: Final[Mapping[str, str]] = {
    "user_stop": "the user left",
    "agent_error": "the agent broke",
    "model_error": "a model could not be asked",
    "max_turns": "the limit of turns was reached",
    "max_tool_calls": "the limit of calls was reached",
    "user_fault": "the simulated user was at fault",
    "timeout": "the time was over",
    "budget": "the budget was spent",
    "loop": "the agent said the same again and again",
    "terminal": "a tool ended it",
}
"""Ends of a conversation in words; the others speak for themselves."""


async def run_page(bench: Workbench, report: RunReport, width: int, home: Sequence[str]) -> list[str]:
    """A run: its result as `caseharden run` shows it, the worst checks, who played, how to look closer."""
    run = report.run
    _, first, *rest = await result_lines(bench, report, width)
    played = ", ".join(f"{role}: {name}" for role, name in played_by(run.models, run.agent).items())
    started = run.created_at.replace("T", " ")[:16]
    text = f"environment {run.environment}, round {run.round}, {run.state}, started {started} UTC"
    lines = [first, f"  {text}", *wrapped(played, width, "  "), *rest]
    lines += await _worst(bench, run, width)
    see = next((cluster.see for cluster in run.clusters if cluster.see), "")
    nearer = [called("show", one, *home) for one in (see, await _first_error(bench, run)) if one]
    nearer += [called("list", "conversation", "--run", run.id, *home), called("report", run.id, *home)]
    lines += ["Look closer:", *(f"  {command}" for command in nearer)]
    if run.state in ("running", "paused", "cancelled"):
        lines += [
            "To go on with it, if nobody does:",
            f"  {called('run', 'FOLDER', '--resume', run.id, *home)}",
        ]
    return lines


def hardening_page(report: HardeningReport, width: int, home: Sequence[str]) -> list[str]:
    """What stands below the rounds of a hardening: proof and outcome, warnings, how to look closer."""
    hardening = report.hardening
    lines = outcome_lines(report, None, width)
    for warning in report.warnings:
        lines += wrapped(f"Warning: {warning}", width)
    nearer = [called("show", hardening.candidate, *home)] if hardening.candidate else []
    nearer += [called("show", hardening.id, "--view", "rounds", *home), called("report", hardening.id, *home)]
    return [*lines, "Look closer:", *(f"  {command}" for command in nearer)]


async def _first_error(bench: Workbench, run: RunRecord) -> str:
    """A train conversation that ended in error, or ""."""
    if not run.totals.error:
        return ""
    page = await bench.items.page("conversation", where={"run": run.id, "verdict": "error"}, limit=100)
    return next((str(row["id"]) for row in page.items if row["split"] == "train"), "")


async def _worst(bench: Workbench, run: RunRecord, width: int) -> list[str]:
    """The checks that fail most, of those that count."""
    rows = (await bench.items.get("run", run.id, view="checks", limit=100)).item["checks"]
    failed = [row for row in rows if row["fail"] and row.get("counts", True)]
    if not failed:
        return []
    parts = [
        (clean(row["id"]), f"fails {row['fail']} of {row['pass'] + row['fail'] + row['inconclusive']}")
        for row in failed
    ]
    more = [f"  and {len(parts) - CHECKS} more: --view checks"] if len(parts) > CHECKS else []
    return ["Worst checks:", *table(parts[:CHECKS], width), *more]


def conversation_page(summary: str, item: Mapping[str, Any], width: int) -> list[str]:
    """A conversation from its view `turns`: who said and did what, in order, and what failed where."""
    lines = wrapped(summary, width)
    lines += [f"  environment {item['environment']}, instructions {item['instructions']}"]
    lines += wrapped(str(item["why"]), width, "  ") if item.get("why") else []
    for turn in (one for one in item.get("turns", ()) if set(one) > {"turn"}):
        lines += ["", f"turn {turn['turn']}", *_turn(turn, width)]
    end = str(item.get("end", ""))
    return [*lines, "", f"Ended: {_ENDS.get(end, end.replace('_', ' '))}."] if end else lines


def _turn(turn: Mapping[str, Any], width: int) -> Iterator[str]:
    if turn.get("user"):
        yield from _part("user", turn["user"], width)
    for event in turn.get("events", ()):
        text = event.get("event") or f"tells the {event.get('to')}: {event.get('notify')}"
        yield from _part("world", str(text), width)
    for one in turn.get("rejected", ()):
        yield from _part(str(one["by"]), f"(rejected: {one['feedback']}) {one['text']}", width)
    for call in turn.get("calls", ()):
        yield from _call(call, width)
    for change in turn.get("changes", ()):
        old, new = (_value(change[side]) if side in change else "nothing" for side in ("old", "new"))
        yield from _part("world", cut(f"{change['path']}: {old} -> {new}", CALL_CELLS), width)
    if turn.get("agent"):
        yield from _part("agent", turn["agent"], width)
    for check in turn.get("checks", ()):
        yield from _part("FAIL", f"{check['id']}: {check.get('why', '')}", width)


def _call(call: Mapping[str, Any], width: int) -> Iterator[str]:
    args = call["args"]
    if is_object(args):
        args = ", ".join(f"{name}: {_value(value)}" for name, value in args.items())
    yield from _part(str(call.get("by", "agent")), cut(f"calls {call['tool']}({args})", CALL_CELLS), width)
    arrow = "->" if call.get("ok") else "error ->"
    yield from _part("", cut(clean(f"{arrow} {_value(call.get('result'))}"), CALL_CELLS), width)


def _part(side: str, text: str, width: int) -> Iterator[str]:
    """A text beside the name of whose it is, on as many lines as it needs."""
    for paragraph in text.splitlines() or [""]:
        for line in wrapped(paragraph, max(20, width - _SIDE - 2)) or [""]:
            yield f"  {side:<{_SIDE}}{line}".rstrip()
            side = ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

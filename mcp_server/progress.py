"""What `caseharden run` shows: the progress of a run, failures and errors as they come, and the result.

On a terminal one line is redrawn; elsewhere a line at the start, one every 30 s or 10% (whichever is later) and at most
20 failures. An error is shown once, however many trials end in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..engine.plural import plural
from ..engine.records.environment import played_by
from ..engine.records.job import Job
from ..engine.records.run import RunRecord
from ..engine.workbench import Workbench
from ..engine.workbench.results import RunReport
from ..tools.runs import describe_changes, part_of
from .called import called
from .terminal import Screen, bar, clean, cut, duration, interval, money, percent, table, wrapped

PAUSE_S = 30
FAILURES = 20
ENDED_BY_US = ("budget", "cancelled")
"""Ends whose reason stands in the result, once."""
ERRORS = 5
"""How many different reasons of errors are shown."""
REASON_LINES = 6
CASES = 30


class Progress:
    """Follows one run on a screen."""

    def __init__(self, bench: Workbench, screen: Screen, report: RunReport) -> None:
        self._bench = bench
        self._screen = screen
        self._run = report.run.id
        self._started = time.monotonic()
        self._told_at = self._started
        self._told_share = 0.0
        self._seen: set[str] = set()
        self._errors: set[str] = set()
        self._read: set[str] = set()
        self._said_that_it_waits = False
        budget: dict[str, float] = report.run.options.get("budget") or {}
        self._usd = budget.get("usd", 0.0)
        run = report.run
        trials = plural(len(run.simulations) * run.trials, "trial")
        if not screen.redraws:
            screen.line(f"{run.id}  {run.instructions}, {trials}")

    async def look(self, job: Job) -> None:
        """Show what has happened since the last look."""
        await self._news()
        units = job.units
        share = units.finished / units.total if units.total else 0.0
        now = time.monotonic()
        if self._screen.redraws:
            self._screen.status(await self._line(job, share))
        elif now - self._told_at >= PAUSE_S and share - self._told_share >= 0.1:
            self._told_at, self._told_share = now, share
            self._screen.line(await self._line(job, share))

    def waits(self, job: Job, home: Path) -> None:
        """Say once that a client must answer, and where."""
        if not self._said_that_it_waits:
            self._said_that_it_waits = True
            self._screen.line(waiting(job, home))

    async def end(self) -> None:
        """Show the remaining failures; the status line stays as it is."""
        await self._news()
        self._screen.close()

    async def _line(self, job: Job, share: float) -> str:
        passed, failed, errors = [await self._count(v) for v in ("pass", "fail", "error")]
        parts = [f"{self._run} {bar(share)} {job.units.finished:,} of {job.units.total:,}"]
        if passed + failed:
            parts.append(f"{percent(passed / (passed + failed))} pass so far")
        if errors:
            parts.append(plural(errors, "error"))
        spent = self._bench.runs.so_far(self._run)
        if spent is not None and (spent.usd or self._usd):
            parts.append(money(spent.usd) + (f" of {money(self._usd)}" if self._usd else ""))
        elapsed = time.monotonic() - self._started
        if 0.02 < share < 1 and elapsed > 2:
            parts.append(f"{duration(elapsed / share * (1 - share))} left")
        return "  ".join(parts)

    async def _count(self, verdict: str) -> int:
        where = {"run": self._run, "verdict": verdict}
        return (await self._bench.items.page("conversation", where=where, limit=1)).total

    async def _news(self) -> None:
        await self._failures()
        await self._broken()

    async def _broken(self) -> None:
        """Show why train trials ended in error or were invalid: each reason once."""
        for verdict in ("error", "invalid"):
            page = await self._bench.items.page(
                "conversation", where={"run": self._run, "verdict": verdict}, limit=100
            )
            for row in reversed(page.items):
                hidden = row["split"] == "held_out"
                if (
                    hidden
                    or row["id"] in self._read
                    or len(self._errors) >= ERRORS
                    or len(self._read) >= FAILURES
                ):
                    continue
                self._read.add(str(row["id"]))
                told = (await self._bench.items.get("conversation", str(row["id"]))).item
                why = clean(str(told["why"]))
                if why not in self._errors and told["end"]["reason"] not in ENDED_BY_US:
                    self._errors.add(why)
                    word = "ERROR" if verdict == "error" else "INVALID"
                    end = f"{told['end']['reason']} in turn {told['end']['turn']}"
                    self._screen.line(cut(clean(f"{word} {_case(row)}: {end}"), self._screen.width))
                    for line in wrapped(why, self._screen.width, " " * 8)[:REASON_LINES]:
                        self._screen.line(line)

    async def _failures(self) -> None:
        """Show the first failure of each case, as long as there are few."""
        if len(self._seen) >= FAILURES:
            return
        page = await self._bench.items.page(
            "conversation", where={"run": self._run, "verdict": "fail"}, limit=100
        )
        for row in reversed(page.items):
            case = _case(row)
            if case not in self._seen and len(self._seen) < FAILURES:
                self._seen.add(case)
                self._screen.line(cut(_failure(row), self._screen.width))
                if row.get("failed_checks"):
                    await self._reason(str(row["id"]))

    async def _reason(self, conversation: str) -> None:
        """Why the first check of a train conversation failed."""
        told = (await self._bench.items.get("conversation", conversation)).item
        why = next((str(check["why"]) for check in told["failed_checks"] if check.get("why")), "")
        if why:
            self._screen.line(cut(f"        {clean(why)}", self._screen.width))


def waiting(job: Job, home: Path) -> str:
    """The message that a client must answer, and where."""
    return (
        f"{job.id} is waiting for a client that answers model calls: a server over the same data folder "
        f"({called('serve', '--home', str(home))}) and its tool take_model_calls."
    )


async def result_lines(bench: Workbench, report: RunReport, width: int) -> list[str]:
    """The result of a finished run: rate, cases not passed in every trial, causes, thresholds."""
    run = report.run
    totals = run.totals
    counted = totals.passed + totals.failed + totals.inconclusive
    rate = (
        f"{totals.passed:,} of {counted:,} pass, {percent(totals.rate)} {interval(totals.interval)}".rstrip()
        if run.state == "done"
        else part_of(run)
    )
    offline = _offline(played_by(run.models, run.agent))
    lines = ["", f"{run.id}  {run.instructions}  {rate}" + (f"  {offline}" if offline else "")]
    if run.state != "running":
        facts = [duration(run.wall_s), f"{report.model_calls:,} model calls", money(report.usd)]
        lines.append("  " + ", ".join(facts))
    left = [plural(totals.error, "error")] * bool(totals.error) + [f"{totals.invalid} invalid"] * bool(
        totals.invalid
    )
    if left:
        lines.append(f"  Left out of the rate: {', '.join(left)}")
    if report.changes is not None and report.changes.compared:
        lines.append(f"  {describe_changes(report.changes)}")
    if counted:
        lines += await _cases(bench, run.id, width)
    for cluster in run.clusters:
        cause = clean(cluster.name or cluster.cause or cluster.check)
        hidden = f", {cluster.held_out} held out" if cluster.held_out else ""
        text = cut(f"  {cluster.simulations + cluster.held_out:>4} x {cause}", max(40, width - 24))
        lines.append(f"{text}  {cluster.severity}{hidden}")
        lines += [f"         {cluster.see}"] if cluster.see else []
    for name, found in run.metrics.items():
        labels = ", ".join(f"{label} {number}" for label, number in found.labels.items())
        mean = (
            f"{found.mean:.2f}, {found.direction} is better"
            if found.mean is not None
            else labels or "no value"
        )
        lines.append(f"  {name}: {mean}" + (f"; {found.unscored} unscored" if found.unscored else ""))
    for warning in report.warnings if report.job is None else run.warnings:
        lines += wrapped(warning, width, "  ")
    for threshold in run.thresholds:
        word = "PASS" if threshold.result == "pass" else "FAIL"
        lines.append(
            f"{word}  {threshold.threshold}" + (f": {clean(threshold.why)}" if threshold.why else "")
        )
    if run.state == "done" and not run.thresholds:
        lines.append(
            "No threshold is set: settings.thresholds {pass_rate: 0.9} lets failures fail the build."
        )
    return lines + _go_on(run)


def _offline(players: Mapping[str, str]) -> str:
    """`offline (rule-based)` if agent and user are; else preceded by the roles that are."""
    played = [role for role in ("agent", "user", "judge") if players.get(role, "").startswith("offline")]
    roles = "" if {"agent", "user"} <= set(played) else f"{', '.join(played)} "
    return f"{roles}offline (rule-based)" if played else ""


def _go_on(run: RunRecord) -> list[str]:
    """How to continue if something failed."""
    if not run.totals.failed:
        return []
    if not run.clusters:
        more = json.dumps({"environment": run.environment})
        return [
            f"Only held-out cases fail. In an MCP client generate_scenarios({more}) makes more to learn from."
        ]
    call = json.dumps({"environment": run.environment, "run": run.id})
    lines = [f"Go on in an MCP client: harden_agent({call})"]
    see = next((cluster.see for cluster in run.clusters if cluster.see), "")
    if see:
        shown = json.dumps({"kind": "conversation", "id": see, "view": "turns"})
        lines.append(f"  what was said: get_item({shown})")
    return lines


async def _cases(bench: Workbench, run: str, width: int) -> list[str]:
    passed: dict[str, int] = {}
    trials: dict[str, int] = {}
    cursor = ""
    while True:
        page = await bench.items.page("conversation", where={"run": run}, limit=100, cursor=cursor)
        for row in page.items:
            case = _case(row)
            trials[case] = trials.get(case, 0) + 1
            passed[case] = passed.get(case, 0) + (row["verdict"] == "pass")
        cursor = page.next_cursor
        if not cursor:
            break
    partly = sorted((c for c in trials if passed[c] < trials[c]), key=lambda c: (passed[c] / trials[c], c))
    lines = table([(c, f"{passed[c]}/{trials[c]}") for c in partly[:CASES]], width)
    if len(partly) > CASES:
        lines.append(f"  {len(partly) - CASES} more cases do not pass in every trial")
    whole = len(trials) - len(partly)
    return [*lines, f"  {plural(whole, 'case')} {'passes' if whole == 1 else 'pass'} in every trial"]


def _case(row: Mapping[str, Any]) -> str:
    """The simulation of a conversation, `run-7/SIMULATION/TRIAL`."""
    return str(row["id"]).split("/")[1]


def _failure(row: Mapping[str, Any]) -> str:
    place = str(row.get("see") or row["id"])
    turn = place.partition("@")[2]
    checks = ", ".join(str(c) for c in row.get("failed_checks", ())) or "held out"
    return clean(f"FAIL  {_case(row)}" + (f", turn {turn}" if turn else "") + f": {checks}")

"""Follows a hardening on a terminal: each text tried as soon as it is decided, and the result."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.plural import plural
from ..engine.records.environment import played_by
from ..engine.records.job import Job
from ..engine.records.run import Cluster
from ..engine.workbench import Workbench
from ..engine.workbench.results import HardeningReport
from ..tools.outcomes import hardening_reply
from ..tools.wording import offline_roles
from .hardening_lines import added, aim, cause_lines, heading, proof_heading, proof_lines, tried
from .progress import waiting
from .terminal import Screen, clean, cut, percent

MOST_ROUNDS = 100


class HardeningProgress:
    """Shows the rounds of one hardening, each once; with `warns`, its warnings below the base."""

    def __init__(self, bench: Workbench, screen: Screen, hardening: str, *, warns: bool = True) -> None:
        self._bench = bench
        self._screen = screen
        self._id = hardening
        self._told = 0
        self._lines: set[str] = set()
        self._warns = warns
        self.warned: list[str] = []
        """The warnings shown before any text was tried."""
        self._said_that_it_waits = False
        if not screen.redraws:
            screen.line(hardening)

    async def look(self, job: Job) -> None:
        """Show the new rounds; the base waits for its causes."""
        await self._rounds(job.active)
        trials = plural(job.units.finished, "trial")
        self._screen.status(f"{self._id}  round {max(0, self._told - 1)}, {trials}")

    def waits(self, job: Job, home: Path) -> None:
        """Say once that a client must answer, and where."""
        if not self._said_that_it_waits:
            self._said_that_it_waits = True
            self._screen.line(waiting(job, home))

    async def end(self) -> None:
        """Show the remaining rounds."""
        await self._rounds(False)
        self._screen.close()

    async def _rounds(self, more: bool) -> None:
        rounds = await rounds_of(self._bench, self._id)
        for one in rounds[self._told :]:
            if one["number"] == 0:
                shown = await self._bench.items.get("hardening", self._id, view="clusters")
                left: list[Mapping[str, Any]] = shown.item["clusters"]
                if more and not left and len(rounds) == 1:
                    return
                self._base(one, _causes(rounds[1:], left))
                if self._warns:
                    await self._warn()
            else:
                await self._candidate(one)
            self._screen.line()
            self._told += 1

    def _base(self, base: Mapping[str, Any], causes: list[Mapping[str, Any]]) -> None:
        counted = base["passed"] + base["failed"] + base.get("inconclusive", 0)
        version = str(base["version"]).partition("@")[2]
        rate = f"{base['passed']} of {counted} pass on train, {percent(base['rate'])}"
        for line in (heading("Base", f"version {version:<7}{rate}"), *cause_lines(causes)):
            self._screen.line(line)

    async def _warn(self) -> None:
        """Show what is known against a proof before a look is used."""
        self.warned = list((await self._bench.items.get("hardening", self._id)).warnings)
        for warning in self.warned:
            self._screen.note("warn", warning)

    async def _candidate(self, one: Mapping[str, Any]) -> None:
        if not one.get("candidate"):
            why = clean(str(one.get("told") or one.get("reason") or "nothing was proposed"))
            self._screen.line(cut(heading(f"Round {one['number']}", why), self._screen.width))
            return
        self._screen.line(aim(one))
        diff = await self._bench.items.get("candidate", str(one["candidate"]), view="diff")
        new = [line for line in added(str(diff.item.get("diff", ""))) if line not in self._lines]
        self._lines.update(new)
        for line in new:
            self._screen.line(f"  + {clean(line)}")
        self._screen.line(tried(one))
        if one["decision"] != "kept" and (one.get("told") or one.get("reason")):
            self._screen.line(
                cut(f"  Why          {clean(str(one.get('told') or one['reason']))}", self._screen.width)
            )


def _causes(
    rounds: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The causes that rounds have addressed since the base, and those left, each once."""
    found = [Cluster.model_validate(one["cluster"]).model_dump() for one in rounds if one.get("cluster")]
    return list({str(one["cause"]): one for one in [*found, *left]}.values())


async def rounds_of(bench: Workbench, hardening: str) -> list[dict[str, Any]]:
    """The rounds of a hardening so far, the base first."""
    found = await bench.items.get("hardening", hardening, view="rounds", limit=MOST_ROUNDS)
    rounds: list[dict[str, Any]] = found.item["rounds"]
    return rounds


def outcome_lines(report: HardeningReport, became: HardeningReport | None, width: int) -> list[str]:
    """The proof and the outcome; `became`: the promotion that followed."""
    hardening, reply = report.hardening, hardening_reply(report)
    held = reply.evidence.get("held_out")
    lines: list[str] = []
    if held and hardening.evidence and hardening.evidence.held_out:
        held = {**held, "simulations": hardening.evidence.held_out.simulations}
        look = f"  Look         {held['look']} at these scenarios"
        lines = [proof_heading(held), *proof_lines(held, reply.guards), look]
    outcome = str(hardening.outcome or hardening.state).replace("_", " ")
    players = played_by(hardening.models, hardening.snapshot.agent if hardening.snapshot else {})
    text = f"  Outcome      {outcome.upper()}{offline_roles(players)}"
    if outcome != "improved":
        why = clean(reply.summary.partition(". ")[2])
        return [*lines, text, *textwrap.wrap(why, width, initial_indent=" " * 15, subsequent_indent=" " * 15)]
    version = became.became.number if became and became.became else 0
    promoted = f"; promoted as version {version}" if version else ""
    wrote = [f"  Wrote        {clean(became.wrote_file)}"] if became and became.wrote_file else []
    return [*lines, f"{text}, confirmed on held-out scenarios{promoted}", *wrote]

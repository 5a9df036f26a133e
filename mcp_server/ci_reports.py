"""Reports of `caseharden run` for CI: a JUnit file, and the summary of a GitHub step."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

import anyio.to_thread

from ..engine.records.run import RunRecord
from ..engine.workbench import Workbench
from ..engine.workbench.results import RunReport
from ..tools.wording import rate
from .output_files import copy_out
from .terminal import clean

SUMMARY: Final = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub gives the file for a step's summary."""
CLUSTERS: Final = 20


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--junit", default="", metavar="FILE", help="write a JUnit report, one test case per trial"
    )


async def write_reports(
    bench: Workbench, args: argparse.Namespace, report: RunReport, code: int
) -> list[str]:
    """Write the requested reports; what was written, one line each."""
    parts: list[str] = []
    if args.junit:
        written = await bench.exports.export(report.run.id, "junit", beside=True)
        await anyio.to_thread.run_sync(copy_out, written.path, Path(args.junit), True, "--junit")
        parts.append(f"Wrote {args.junit}.")
    summary = os.environ.get(SUMMARY, "")
    if summary:
        await anyio.to_thread.run_sync(_append, Path(summary), step_summary(report.run, code))
    return parts


def step_summary(run: RunRecord, code: int) -> str:
    """Markdown: the rate, thresholds, metrics and causes. Words of agents and tools are in code spans."""
    word = {0: "passed", 1: "failed"}.get(code, "no result")
    lines = [f"### caseharden: {word}", "", f"{run.id}, {_plain(run.instructions)}: {rate(run.totals)}", ""]
    if run.thresholds:
        lines += ["| threshold | | why |", "|---|---|---|"]
        lines += [f"| {_plain(t.threshold)} | {t.result} | {_plain(t.why)} |" for t in run.thresholds]
        lines.append("")
    if run.metrics:
        lines += ["| metric | mean | better | scored | unscored |", "|---|---|---|---|---|"]
        for name, found in run.metrics.items():
            mean = "" if found.mean is None else f"{found.mean:.3f}"
            lines.append(
                f"| {_plain(name)} | {mean} | {found.direction} | {found.scored} | {found.unscored} |"
            )
        lines.append("")
    if run.clusters:
        lines += ["| cause | severity | simulations |", "|---|---|---|"]
        for one in run.clusters[:CLUSTERS]:
            lines.append(
                f"| {_plain(one.name or one.cause or one.check)} | {one.severity} | {one.simulations + one.held_out} |"
            )
        lines.append("")
    return "\n".join([*lines, *(f"- {_plain(warning)}" for warning in run.warnings), ""])


def _plain(text: str) -> str:
    """One line in a code span, in which nothing acts as Markdown, HTML or the end of a cell."""
    line = clean(" ".join(text.split())).replace("`", "'").replace("|", "/")[:300]
    return f"`{line}`" if line else ""


def _append(file: Path, text: str) -> None:
    with open(file, "a", encoding="utf-8") as out:
        out.write(text)

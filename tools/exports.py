"""Exports: a run as a file for CI, for a spreadsheet, or to be taken in somewhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ..engine.workbench.exporting import ExportReport
from .arguments import NOT_GIVEN, given
from .replies import Export, Link, NextCall, then
from .spec import Call, tool
from .wording import plural


@tool("Export", toolset="author", idempotent=True)
async def export_run(
    call: Call,
    source: Annotated[str, Field(description="Run, hardening, session or environment id")],
    format: Literal[
        "html", "markdown", "json", "junit", "sft", "dpo", "grpo", "csv", "arksim", "tau2"
    ] = "html",
    file: Annotated[str, Field(description="Name in the export folder")] = "",
    where: Annotated[Mapping[str, Any], Field(description="As in list_items")] = NOT_GIVEN,
    overwrite: bool = False,
    inline: Annotated[bool, Field(description="Text in the reply, cut at 6k tokens")] = False,
) -> Export:
    """Returns the file written and its link. Use for the report (html), training data (sft, dpo, grpo), CI
    (junit) or other systems. To read results here: get_item.
    """
    report = await call.bench.exports.export(
        source, format, file=file, where=given(where), overwrite=overwrite, inline=inline
    )
    name = report.path.name
    return Export(
        summary=_summary(report),
        next=_next(report),
        warnings=report.warnings,
        links=[Link(uri=f"caseharden://export/{name}", what=f"{format} of {source}", bytes=report.bytes)],
        source=source,
        format=format,
        file=report.file,
        bytes=report.bytes,
        sha256=report.sha256,
        records=report.records,
        text=report.text,
        left_out=report.left_out,
        untrusted=["text"] if report.text else [],
    )


def _summary(report: ExportReport) -> str:
    verb = "was there already with the same content" if report.unchanged else "written"
    records = plural(report.records, report.record)
    return f"{report.file} {verb}: {report.says}, {records} of {report.source}, {report.bytes:,} bytes."


def _next(report: ExportReport) -> list[NextCall]:
    if report.format == "json" or report.kind != "run":
        return [then("get_item", "what it holds", kind=report.kind, id=report.source)]
    return [then("export_run", "the whole run, to be imported again", source=report.source, format="json")]

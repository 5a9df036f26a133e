"""Binds a catalog tool to the SDK: strict schema, published envelope, validated reply, errors that teach."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import anyio
import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent, ToolAnnotations

from ..engine.depth import at_depth
from ..engine.errors import CasehardenError
from ..engine.net import Redactor
from ..engine.records.job import Job
from ..engine.workbench import Workbench, acting_as, taken
from ..tools.fit import clean, fit, heavy
from ..tools.render import one_line, render
from ..tools.replies import NextCall, Reply, payload
from ..tools.spec import CATALOG, Call, ToolSpec
from .actor import actor, depth_header
from .failures import error_result, unexpected
from .strict import refusal, strict_model, tidy

logger = logging.getLogger("caseharden.server")
NOTICE_S = 5.0
"""Minimum seconds between two progress notices."""
ENVELOPE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "next": {"type": "array", "items": {"type": "object"}},
        "warnings": {"type": "array", "items": {"type": "string"}},
        "links": {"type": "array", "items": {"type": "object"}},
        "error": {"type": "object"},
    },
}
"""The published reply schema. Many clients validate refusals against it too, so nothing is required."""


def bind(spec: ToolSpec, bench: Workbench, tools: Mapping[str, Tool]) -> Tool:
    """The tool, bound to the services. `tools`: all served tools, filled by the caller; `next` names only these."""
    arguments, schema = _arguments(spec)
    names = list(arguments.model_fields)

    async def run(context: Context[Any, Any], **given: Any) -> CallToolResult:
        try:
            told, warnings = taken(given, bench.redactor)
            with acting_as(actor(context)), at_depth(depth_header(context)):
                reply = await _called(spec, bench, context, told)
            reply.warnings += warnings
            return await reply_result(reply, tools, bench.redactor)
        except CasehardenError as error:
            failed = error
        except Exception as error:
            failed = unexpected(error, f"running {spec.name}")
        return error_result(failed, spec.name, names, tools, bench.redactor)

    return Tool(
        fn=run,
        name=spec.name,
        title=spec.title,
        description=spec.description,
        parameters=schema,
        fn_metadata=FuncMetadata(arg_model=arguments, output_schema=ENVELOPE, output_model=spec.reply),
        is_async=True,
        context_kwarg="context",
        annotations=ToolAnnotations(
            read_only_hint=spec.read_only,
            destructive_hint=spec.destructive,
            idempotent_hint=spec.idempotent,
            open_world_hint=spec.open_world,
        ),
    )


@cache
def _arguments(spec: ToolSpec) -> tuple[type[ArgModelBase], dict[str, Any]]:
    """The model of a tool's arguments and its schema: the same in every server of a process, and expensive to make."""
    model = strict_model(spec.name, spec.parameters())
    return model, tidy(model.model_json_schema())


async def reply_result(reply: Reply, tools: Mapping[str, Tool], redactor: Redactor) -> CallToolResult:
    """The reply as sent: cleaned, without secrets, within the cap, links also as resource links."""
    reply.summary, reply.warnings = one_line(reply.summary), [one_line(one) for one in reply.warnings]
    reply.next = [one for one in reply.next if _valid(one, tools)][:3]
    whole = payload(reply)
    if heavy(whole):
        sent = await anyio.to_thread.run_sync(_sent, whole, redactor)
    else:
        sent = _sent(whole, redactor)
    links: list[ContentBlock] = [
        ResourceLink(type="resource_link", uri=one["uri"], name=one["what"], size=one.get("bytes"))
        for one in sent.get("links", ())
    ]
    return CallToolResult(
        content=[TextContent(type="text", text=render(sent)), *links], structured_content=sent
    )


def _sent(whole: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    return fit(redactor.hide_all(clean(whole)))


def _valid(call: NextCall, tools: Mapping[str, Tool]) -> bool:
    if call.tool in CATALOG and call.tool not in tools:
        return False
    error = refusal(tools, call.tool, call.args, call.why)
    if error is not None:
        logger.error("left out of `next`: %s(%s): %s", call.tool, call.args, error)
    return error is None


async def _called(
    spec: ToolSpec, bench: Workbench, context: Context[Any, Any], arguments: dict[str, Any]
) -> Reply:
    notices = Notices(context)
    call = Call(bench, notices.notify)
    if "wait_s" not in arguments:
        return await spec.function(call, **arguments)
    outcome: list[Reply | Exception] = []
    async with anyio.create_task_group() as group:
        group.start_soon(notices.repeated)
        try:
            outcome.append(await spec.function(call, **arguments))
        except Exception as error:
            outcome.append(error)
        group.cancel_scope.cancel()
    (what,) = outcome
    if isinstance(what, Exception):
        raise what
    return what


class Notices:
    """Progress notices while a call waits: whenever the job reports something, and at least every few seconds.

    The protocol requires the number to rise with every notice; if nothing was done in between it rises by less than one
    unit.
    """

    def __init__(self, context: Context[Any, Any]) -> None:
        self.context = context
        self.shown = 0.0
        self.done = 0
        self.total: int | None = None
        self.message = "working"

    async def notify(self, job: Job) -> None:
        """Notify that the job made progress."""
        units = job.units
        self.done, self.total = units.finished, units.total or None
        self.message = f"{job.id} {job.state}: {units.finished} of {units.total}"
        await self.send()

    async def repeated(self) -> None:
        """Send notices until cancelled."""
        while True:
            await anyio.sleep(NOTICE_S)
            await self.send()

    async def send(self) -> None:
        """Send one notice; a client that did not ask for any gets none."""
        following = int(self.shown) + 1
        self.shown = float(self.done) if self.done > self.shown else (self.shown + following) / 2
        await self.context.report_progress(self.shown, self.total, self.message)

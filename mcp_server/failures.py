"""Engine errors in protocol form: the only place where they are converted.

A failed tool call is a result with `is_error` true, structured as {"error": {code, what, where, allowed, next}}, and
the same in one paragraph. An unexpected exception gives only an id that is found in the log.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Collection
from typing import Any

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import CallToolResult, TextContent

from ..engine.errors import CasehardenError, InternalError, InvalidArgument, NextCall, NotFound, UserError
from ..engine.net import Redactor
from ..tools.fit import clean
from ..tools.render import compact, one_line

logger = logging.getLogger("caseharden.server")
SHOWN = 2_000
"""Most characters of a message that are sent."""
_GUIDES = {
    "world_data": "world-format",
    "agent": "agent-kinds",
    "settings": "environment",
    "models": "environment",
    "personas": "persona-format",
    "scenarios": "scenario-format",
    "options": "run-options",
    "select": "run-options",
    "metrics": "metrics",
    "thresholds": "metrics",
    "labels": "metrics",
    "knowledge_base": "metrics",
}
"""The guide to each argument, or part of one."""
_OF_TOOL = {
    "create_environment": "environment",
    "create_personas": "persona-format",
    "create_scenarios": "scenario-format",
}
"""The guide of each tool, for its other arguments."""


def error_result(
    error: CasehardenError,
    tool: str,
    parameters: Collection[str],
    tools: Collection[str],
    redactor: Redactor | None = None,
) -> CallToolResult:
    """The result of a call that failed. `parameters`: of the tool; `tools`: those that `next` may name."""
    what = f"{error.what[:SHOWN]}{_one_level_up(error, tool, parameters)}"
    row: dict[str, Any] = {"code": error.code, "what": one_line(what)}
    if error.where:
        row["where"] = one_line(placed(error.where, tool, parameters))
    if error.allowed:
        row["allowed"] = one_line(error.allowed[:SHOWN])
    calls = [
        {"tool": one.tool, "args": dict(one.args), **({"why": one.why} if one.why else {})}
        for one in error.next or _guide(error, tool)
        if one.tool in tools
    ]
    if calls:
        row["next"] = calls[:3]
    if error.quoted:
        row["quoted"] = error.quoted[:SHOWN]
    row = (redactor or Redactor()).hide_all(clean(row))
    return CallToolResult(
        content=[TextContent(type="text", text=paragraph(row))],
        structured_content={"error": row},
        is_error=True,
    )


def _one_level_up(error: CasehardenError, tool: str, parameters: Collection[str]) -> str:
    """Where a field belongs that is unknown in `options` but is an argument of the tool."""
    object, _, field = error.where.partition(".")
    if not error.what.startswith("Unknown field") or field not in parameters:
        return ""
    return f" It is an argument of {tool} itself, beside `{object}`."


def _guide(error: CasehardenError, tool: str) -> list[NextCall]:
    """The guide to the problem, for an error that names no call."""
    if not isinstance(error, InvalidArgument | NotFound):
        return []
    first, second = [*re.findall(r"[a-z_]+", error.where.removeprefix(f"{tool}."))[:2], "", ""][:2]
    guide = _GUIDES.get(first) or _OF_TOOL.get(tool, "")
    if first in ("settings", "options") and second in _GUIDES:
        guide = _GUIDES[second]
    elif first == "options" and tool == "harden_agent":
        guide = "harden-options"
    return [NextCall("get_item", {"kind": "guide", "id": guide})] if guide else []


def paragraph(told: dict[str, Any]) -> str:
    """The error in one paragraph; third-party text comes last, quoted."""
    parts = [told["what"]]
    if "where" in told:
        parts.append(f"At: {told['where']}.")
    if "allowed" in told:
        parts.append(f"Allowed: {told['allowed'].rstrip('.')}.")
    for number, call in enumerate(told.get("next", ())):
        lead = "Or" if number else "Next"
        why = f", {call['why']}" if call.get("why") else ""
        parts.append(f"{lead}: {call['tool']}({compact(call['args'])}){one_line(why)}.")
    text = " ".join(parts)
    if "quoted" in told:
        text += "\n" + "\n".join(f"> {line}" for line in told["quoted"].splitlines())
    return text


def placed(where: str, tool: str, parameters: Collection[str]) -> str:
    """The place, prefixed by the tool's name if it starts with one of its parameters."""
    head = where.split(".", 1)[0].split("[", 1)[0]
    return f"{tool}.{where}" if head in parameters and head != tool else where


def unexpected(error: BaseException, doing: str) -> InternalError:
    """An internal error as shown to a caller: an id that finds the rest in the log."""
    number = secrets.token_hex(4)
    logger.error("error %s while %s", number, doing, exc_info=error)
    return InternalError(f"Internal error {number}: the server's log (standard error) has the rest.")


def resource_error(error: Exception, uri: str) -> ResourceError:
    """An engine error in the protocol's form for a failed resource read."""
    if isinstance(error, NotFound):
        return ResourceNotFoundError(str(clean(str(error))))
    if isinstance(error, CasehardenError):
        kind = ResourceNotFoundError if isinstance(error, UserError) else ResourceError
        return kind(str(clean(str(error))))
    return ResourceError(str(unexpected(error, f"reading {uri}")))

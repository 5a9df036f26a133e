"""The parts of an instructions text: what is under its headings for tool descriptions and for examples.

    ## Tool descriptions
    - close_ticket: Close a ticket, once it was looked up.

    ## Examples
    User: Close T1.
    Agent: (calls look_up_ticket) T1 is open. Shall I close it?

They are lines of the one text that is versioned, hardened and proven. A description goes to the model with its tool and
not with the text; examples stay where they are. A part ends at the next heading of its level.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, Literal

from ..llm import ToolSignature

Part = Literal["tool_descriptions", "examples"]
HEADINGS: Final[dict[Part, str]] = {
    "tool_descriptions": "## Tool descriptions",
    "examples": "## Examples",
}
_HEADING: Final = re.compile(r"#{1,2}\s+\S")
_DESCRIPTION: Final = re.compile(r"\s*-\s*`?([A-Za-z_][\w-]*)`?\s*:\s*(\S.*)")


def described(text: str, offered: Sequence[ToolSignature]) -> tuple[str, Sequence[ToolSignature]]:
    """The text without the descriptions of offered tools, and the tools with these descriptions."""
    if HEADINGS["tool_descriptions"] not in text:
        return text, offered
    inside = part_lines(text, "tool_descriptions")
    names = {tool.name for tool in offered}
    found: dict[str, str] = {}
    kept: list[str] = []
    for number, line in enumerate(text.split("\n")):
        told = _DESCRIPTION.fullmatch(line) if number in inside else None
        if told is not None and told[1] in names:
            found[told[1]] = told[2].strip()
        elif not (number in inside and line.strip() == HEADINGS["tool_descriptions"]):
            kept.append(line)
    tools = [replace(tool, description=found.get(tool.name, tool.description)) for tool in offered]
    return "\n".join(kept).strip("\n"), tools


def part_lines(text: str, part: Part) -> Collection[int]:
    """The line numbers, from 0, of a part, including its headings."""
    inside = False
    found: set[int] = set()
    for number, line in enumerate(text.split("\n")):
        if _HEADING.match(line):
            inside = line.strip() == HEADINGS[part]
        if inside:
            found.add(number)
    return found


def is_description(line: str, tools: Collection[str]) -> bool:
    """Whether a line describes one of these tools."""
    told = _DESCRIPTION.fullmatch(line)
    return told is not None and told[1] in tools

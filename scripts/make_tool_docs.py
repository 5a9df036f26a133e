"""Write docs/tools.md from the server, and the tool list between the markers of README.md.

`--check` writes nothing and exits with 1 if either is stale.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.types import Tool

from caseharden.mcp_server.app import build_server
from caseharden.resources.library import guide_names
from caseharden.resources.workbench import Workbench
from caseharden.tools import CATALOG

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "docs" / "tools.md"
README = CHECKOUT / "README.md"
MARKERS = re.compile(r"(<!-- tools -->\n).*?(<!-- /tools -->)", re.DOTALL)
HEAD = """\
# Tools

What the MCP server of this version offers, written by `scripts/make_tool_docs.py` from the server itself.
Every reply has `summary`, `next`, `warnings` and `links`; empty fields are left out. Errors have `code`, `what`,
`where`, `allowed` and `next`. Arguments that a tool does not know are refused. A call in `next` can be made as it
stands, unless its `why` names an argument to add, such as "with `text`: what you say".
"""


async def pages() -> dict[Path, str]:
    """The files as they should be."""
    with tempfile.TemporaryDirectory() as folder:
        async with Client(build_server(Workbench(Path(folder)))) as client:
            tools = (await client.list_tools()).tools
            templates = (await client.list_resource_templates()).resource_templates
            resources = (await client.list_resources()).resources
            prompts = (await client.list_prompts()).prompts
    parts = [HEAD, *map(section, tools), "## Resources\n"]
    parts.append(table("address", "what", [(str(one.uri), one.description) for one in resources]))
    parts[-1] += "".join(row(one.uri_template, one.description) for one in templates)
    parts.append("## Prompts\n")
    parts.append(table("prompt", "what", [(one.name, one.description) for one in prompts]))
    parts.append("## Guides\n")
    parts.append(
        "Read with `get_item(kind=guide, id=NAME)`: " + ", ".join(f"`{n}`" for n in guide_names()) + ".\n"
    )
    found = {DOCS: "\n".join(parts)}
    readme = README.read_text(encoding="utf-8") if README.exists() else ""
    if MARKERS.search(readme):
        listing = table("tool", "what", [(tool.name, first_sentence(tool)) for tool in tools])
        found[README] = MARKERS.sub(lambda match: f"{match[1]}{listing}{match[2]}", readme)
    return found


def section(tool: Tool) -> str:
    """One tool: its description, its parameters, its reply."""
    lines = [f"## {tool.name}\n", f"**{tool.title}** · {hints(tool)}\n", f"{tool.description}\n"]
    needed = tool.input_schema.get("required", [])
    rows = [
        parameter(name, schema, name in needed) for name, schema in tool.input_schema["properties"].items()
    ]
    lines.append("| parameter | type | default | |\n|---|---|---|---|\n" + "".join(rows))
    own = [
        name
        for name in CATALOG[tool.name].reply.model_fields
        if name not in ("summary", "next", "warnings", "links")
    ]
    lines.append(f"Answers: {', '.join(f'`{name}`' for name in own)}.\n")
    return "\n".join(lines)


def parameter(name: str, schema: dict[str, Any], needed: bool) -> str:
    """One row of the table of parameters."""
    kind = " / ".join(schema["enum"]) if "enum" in schema else schema["type"]
    if kind == "array":
        kind = f"list of {schema.get('items', {}).get('type', 'anything')}"
    if "maximum" in schema:
        kind += f" {schema.get('minimum', 0)}..{schema['maximum']:,}"
    default = "needed" if needed else f"`{schema['default']}`" if "default" in schema else ""
    return f"| `{name}` | {kind} | {default} | {cell(schema.get('description', ''))} |\n"


def hints(tool: Tool) -> str:
    """The four annotations as words."""
    stated = tool.annotations
    if stated is None:
        return ""
    words = ["reads" if stated.read_only_hint else "writes"]
    words += ["destructive"] if stated.destructive_hint else []
    words += ["idempotent"] if stated.idempotent_hint else []
    words.append("open world" if stated.open_world_hint else "closed world")
    return ", ".join(words)


def first_sentence(tool: Tool) -> str:
    """The description up to its first full stop."""
    return (tool.description or "").split(". ")[0].rstrip(".") + "."


def table(left: str, right: str, rows: list[tuple[str, str | None]]) -> str:
    """A table of two columns."""
    return f"| {left} | {right} |\n|---|---|\n" + "".join(row(*one) for one in rows)


def row(name: str, text: str | None) -> str:
    """One row of such a table."""
    return f"| `{name}` | {cell(text or '')} |\n"


def cell(text: str) -> str:
    """A text that cannot end its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def stale() -> list[Path]:
    """The files that are out of date."""
    found = anyio.run(pages)
    return [
        path for path, text in found.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write what is stale, or with --check only report it."""
    files = stale()
    if "--check" in sys.argv[1:]:
        for path in files:
            print(f"{path.relative_to(CHECKOUT)} is stale: run scripts/make_tool_docs.py")
        return 1 if files else 0
    for path, text in anyio.run(pages).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

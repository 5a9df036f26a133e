"""The MCP Inspector's command line at our server, strict, over both wires in both eras. Exit 0: it found nothing.

It must also see what we mean: a call that fails leaves it with its own exit code for that.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caseharden.tests.outside import node
from caseharden.tests.wires import COMMAND, TOKEN, http_server

PACKAGE, VERSION = "@modelcontextprotocol/inspector", "2.12.0"
TOOL_FAILED = 5
"""Its exit code for a result with `isError`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: its words, the exit code that is right, and a text that the answer holds."""

    words: Sequence[str]
    code: int
    holds: str


ASKED = (
    Asked(["tools/list", "--strict"], 0, '"run_simulations"'),
    Asked(["resources/templates/list"], 0, "caseharden://run/{run}"),
    Asked(
        ["tools/call", "--tool-name", "create_environment", "--tool-arg", "id=shop", "world=shop"],
        0,
        '"shop"',
    ),
    Asked(
        ["tools/call", "--tool-name", "get_item", "--tool-arg", "kind=run", "id=run-9"],
        TOOL_FAILED,
        "not_found",
    ),
    Asked(["resources/read", "--uri", "caseharden://guide/verdicts"], 0, "inconclusive"),
    Asked(
        ["prompts/get", "--prompt-name", "harden_my_agent", "--prompt-args", "environment=shop"],
        0,
        "harden_agent",
    ),
)


def main() -> int:
    """Every call over every road; a line each."""
    inspector = str(node.installed(PACKAGE, VERSION) / "clients" / "launcher" / "build" / "index.js")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder  # it keeps a catalog there
        home = Path(folder) / "data"
        with http_server(home / "http", clean=False) as served:
            roads = {
                "stdio": [*COMMAND, "--home", str(home / "stdio")],
                "http": [served.url, "--transport", "http", "--header", f"Authorization: Bearer {TOKEN}"],
            }
            for wire, target in roads.items():
                for era in ("modern", "legacy"):
                    for asked in ASKED:
                        words = [*target, "--protocol-era", era, "--method", *asked.words]
                        failed += not right(inspector, words, asked, f"{wire} {era}")
    return 1 if failed else 0


def right(inspector: str, words: Sequence[str], asked: Asked, road: str) -> bool:
    """Whether the answer is as it should be, and nothing was said of it on standard error."""
    done = node.run(inspector, "--cli", *words)
    strict = "--strict" in asked.words and done.stderr.strip()
    good = done.returncode == asked.code and asked.holds in done.stdout + done.stderr and not strict
    print(f"{'ok  ' if good else 'FAIL'}  {road}  {' '.join(asked.words)}", flush=True)
    if not good:
        print(f"exit {done.returncode}\n{done.stderr}\n{done.stdout[:2_000]}")
    return good


if __name__ == "__main__":
    sys.exit(main())

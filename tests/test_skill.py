"""The skill for Claude Code: every call that it shows is made by a client of the server that its `.mcp.json` starts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from caseharden.engine.exchange import parse_yaml
from caseharden.resources.library import SKILL, guide_names
from caseharden.tests.server_desk import Desk
from caseharden.tools import CATALOG

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-23")]
CALL = re.compile(r"^```json\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def calls() -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls that the skill shows, in order."""
    for found in CALL.findall(SKILL.read_text(encoding="utf-8")):
        call = json.loads(found)
        yield call["tool"], call["args"]


def server(checkout: Path, home: Path) -> StdioServerParameters:
    """The server as the ready `.mcp.json` starts it, found on the PATH."""
    text = (checkout / "examples" / "claude-code" / ".mcp.json").read_text(encoding="utf-8")
    entry = json.loads(text)["mcpServers"]["caseharden"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"CASEHARDEN_HOME": str(home / "data"), "PATH": path}
    return StdioServerParameters(command=entry["command"], args=entry["args"], env=env, cwd=home)


async def test_the_calls_of_the_skill_are_a_whole_round_in_this_order(checkout: Path, tmp_path: Path) -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    async with Client(server(checkout, tmp_path)) as client:
        at = Desk(client)
        for tool, args in calls():
            said.append((tool, await at.ok(tool, **args)))
        told = {prompt.name for prompt in (await client.list_prompts()).prompts}
    replies = [reply for _, reply in said]
    runs = [reply["run"] for tool, reply in said if tool == "run_simulations"]
    assert runs[0] == "run-1"
    assert [reply["outcome"] for tool, reply in said if tool == "submit_candidate"] == ["improved"]
    again = next(reply["reruns"][0] for reply in replies if "reruns" in reply)
    assert again["cluster"] == "run-1/k1" and again["again"] > 0
    tried = next(reply["what_if"][0] for reply in replies if "what_if" in reply)
    assert tried["passed"] == tried["trials"] == 3
    compared = next(reply for tool, reply in said if tool == "compare_runs")
    assert compared["evidence"]["finding"] == "better" and not compared.get("broken")
    assert (tmp_path / "data" / "exports" / "hard-1.html").is_file()
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", SKILL.read_text().partition("More: the prompts")[2]))
    assert named - {"get_item"} <= told


def test_the_skill_names_only_what_there_is_and_fits_its_format() -> None:
    text = SKILL.read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    told: Any = parse_yaml(head, "SKILL.md")
    assert set(told) == {"name", "description"}
    assert told["name"] == SKILL.parent.name and re.fullmatch(r"[a-z0-9-]{1,64}", told["name"])
    assert 0 < len(told["description"]) <= 1024
    assert len(body.splitlines()) < 500
    prose = CALL.sub("", body)
    tools = {name for name in re.findall(r"\b[a-z]+_[a-z_]+\b", prose) if name.split("_")[0] in VERBS}
    assert tools - PROMPTS <= set(CATALOG), tools - set(CATALOG)
    guides = set(re.findall(r"guides? ((?:`[a-z-]+`(?:, )?)+)", body))
    assert {name for found in guides for name in re.findall(r"`([a-z-]+)`", found)} <= set(guide_names())
    assert not re.search(r"/work|/tmp|/home", text)


VERBS = {name.split("_")[0] for name in CATALOG}
PROMPTS = {"harden_my_agent", "triage_failures", "lend_your_model", "play_the_agent"}

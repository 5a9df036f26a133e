"""The pages on worlds, scenarios and proofs: every block of JSON, Python or shell is loaded, refused or run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import check_solution, prepare
from caseharden.engine.world import CompiledWorld, Scene, compile_world

pytestmark = pytest.mark.anyio
PAGES = ("worlds.md", "scenarios.md")
BLOCK = re.compile(r"^```(\w*) ?(\w*)\n(.*?)^```$(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `said` is the text block right behind it: what comes out, line by line."""

    language: str
    what: str
    text: str
    said: tuple[str, ...]


def blocks(page: Path) -> Iterator[Block]:
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(found[1], found[2], found[3], tuple((found[4] or "").splitlines()))


async def read(block: Block, world: CompiledWorld | None) -> CompiledWorld | None:
    """Load a block of JSON as what it is; the world that holds from here on."""
    value: Any = json.loads(block.text)
    if block.what == "world":
        return compile_world(load(World, value, "world"))
    assert world is not None
    if block.what == "persona":
        Scene(world).prepare(load(Persona, value, "persona").data.sides())
        return world
    assert block.what == "scenario"
    report = await check_solution(prepare(world, load(Scenario, value, "scenario")), seed=7)
    assert (report.status, report.why, report.no_effect, report.lets_through) == ("proven", "", [], []), (
        report
    )
    return world


@pytest.mark.parametrize("name", PAGES)
async def test_what_the_pages_show_is_what_happens(checkout: Path, tmp_path: Path, name: str) -> None:
    world: CompiledWorld | None = None
    kinds = set[str]()
    for block in blocks(checkout / "docs" / name):
        kinds.add(block.what or block.language)
        if block.what == "refused":
            refused(block, world)
        elif block.language == "json":
            world = await read(block, world)
            if block.what == "world":
                (tmp_path / "world.json").write_text(block.text, encoding="utf-8")
        else:
            said = ran(block, tmp_path)
            for line in block.said:
                assert line in said, (line, said)
    assert kinds >= {"world", "refused"} and kinds & {"python", "sh"}
    assert "scenario" in kinds or name == "worlds.md"


def test_the_page_on_proofs_tells_what_its_programs_print(checkout: Path, tmp_path: Path) -> None:
    programs = [block for block in blocks(checkout / "docs" / "hardening.md") if block.language == "python"]
    assert len(programs) == 2
    for block in programs:
        assert tuple(ran(block, tmp_path).splitlines()) == block.said


def refused(block: Block, world: CompiledWorld | None) -> None:
    value: Any = json.loads(block.text)
    with pytest.raises(InvalidArgument) as told:
        if "format" in value:
            compile_world(load(World, value, "world"))
        else:
            assert world is not None
            prepare(world, load(Scenario, value, "scenario"))
    assert block.said
    for line in block.said:
        assert line in str(told.value), (line, str(told.value))


def ran(block: Block, folder: Path) -> str:
    """What a program or a shell prints, run in a folder of its own with the world above it in world.json."""
    commands = {"python": [sys.executable, "-c", block.text], "sh": ["bash", "-euc", block.text]}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CASEHARDEN_HOME": str(folder / "home")}
    done = subprocess.run(
        commands[block.language], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

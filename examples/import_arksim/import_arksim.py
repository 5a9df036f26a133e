"""Imports an ArkSim project and its recorded run, and writes its scenarios back: import_arksim.py [--home DIR]."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import anyio

from caseharden import Workbench

PROJECT = Path(__file__).resolve().parent


async def move(home: Path) -> None:
    async with Workbench(home, roots=[PROJECT]) as bench:
        project = (await bench.imports.start(str(PROJECT), wait_s=45)).report
        assert project is not None
        id = project.environment.id
        print(f"{id}: {project.taken['scenarios']} scenarios, agent {project.environment.agent.kind}")
        for row in project.lost:
            print(f"not taken: {row['what']}: {row['why']}" + (f" ({row['use']})" if "use" in row else ""))
        past = (await bench.imports.start(str(PROJECT / "simulation.json"), id, wait_s=45)).report
        assert past is not None
        print(
            f"{past.taken['run']}: {past.taken['conversations']} conversations, {past.taken['passed']} pass our checks"
        )
        back = await bench.exports.export(id, "arksim", file="scenarios")
        same = json.loads(back.path.read_text()) == json.loads((PROJECT / "scenarios.json").read_text())
        print(f"{back.file}: {'equal to' if same else 'other than'} the original")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="data folder; default: a temporary one")
    home = parser.parse_args().home
    if home is not None:
        anyio.run(move, home)
        return
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(move, Path(folder))


if __name__ == "__main__":
    main()

"""A folder's agent is hardened, and the promoted text is written back to the folder's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from caseharden import Workbench
from caseharden.engine.errors import NotAllowed

pytestmark = pytest.mark.anyio
BEFORE = "You are the support agent of an online shop.\nLook up an order before you talk about it.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "repository" / "cases"
    place.mkdir(parents=True)
    (place / "caseharden.json").write_text('{"environment": {"id": "desk"}, "world": "shop"}')
    (place / "instructions.md").write_text(BEFORE)
    return place


@pytest.mark.requirement("CH-19")
async def test_promoted_text_is_written_to_the_instructions_file(folder: Path, tmp_path: Path) -> None:
    async with Workbench(tmp_path / "home", roots=[folder.parent]) as bench:
        await bench.environments.import_folder("cases")
        found = await bench.hardenings.harden("desk", strategy="rules", wait_s=45)
        assert found.hardening.outcome == "improved"
        assert (folder / "instructions.md").read_text() == BEFORE
        report = await bench.hardenings.decide(found.hardening.candidate, "promote")
        assert report.wrote_file == str(folder / "instructions.md")
        written = (folder / "instructions.md").read_text()
        added = [line for line in written.splitlines() if line not in BEFORE.splitlines()]
        assert written.startswith(BEFORE)
        assert "Before calling refund_order, call verify_customer." in added
        again = await bench.environments.import_folder("cases")
        assert again.environment.instructions_version == 2
        run = await bench.runs.start("desk", wait_s=45)
        assert run.run.totals.failed == 0


async def test_a_folder_outside_the_roots_is_not_read(folder: Path, tmp_path: Path) -> None:
    async with Workbench(tmp_path / "home", roots=[tmp_path / "elsewhere"]) as bench:
        with pytest.raises(NotAllowed, match="outside the allowed roots"):
            await bench.environments.import_folder(str(folder))

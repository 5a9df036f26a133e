"""A folder's agent is hardened, and the promoted text is written back to the folder's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from caseharden import Workbench
from caseharden.engine.errors import Conflict, NotAllowed

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


async def test_a_promotion_killed_after_it_wrote_the_file_is_completed_though_the_file_was_taken_in(
    folder: Path, tmp_path: Path
) -> None:
    async with Workbench(tmp_path / "home", roots=[folder.parent]) as bench:
        await bench.environments.import_folder("cases")
        found = (await bench.hardenings.harden("desk", strategy="rules", wait_s=45)).hardening
        proven = found.find(found.candidate)
        assert proven is not None and found.outcome == "improved"
        (folder / "instructions.md").write_text(f"{proven.text}\nBe brief.\n")
        await bench.environments.import_folder("cases")
        with pytest.raises(Conflict, match="was proven against desk@1"):
            await bench.hardenings.decide(proven.id, "promote")
        await bench.hardenings.decide("desk@1", "roll_back")
        (folder / "instructions.md").write_text(f"{proven.text}\n")
        taken = await bench.environments.import_folder("cases")
        assert taken.environment.instructions_version == 3
        promoted = await bench.hardenings.decide(proven.id, "promote", reason="proven")
        again = await bench.hardenings.decide(proven.id, "promote")
        assert promoted.became is not None and promoted.became == again.became
        assert (promoted.became.candidate, promoted.became.outcome) == (proven.id, "improved")
        assert (again.hardening.state, again.hardening.reason) == ("promoted", "proven")
        assert (await bench.items.get("environment", "desk")).item["instructions"]["id"] == promoted.became.id
        assert (folder / "instructions.md").read_text().rstrip("\n") == proven.text.rstrip("\n")


async def test_a_folder_outside_the_roots_is_not_read(folder: Path, tmp_path: Path) -> None:
    async with Workbench(tmp_path / "home", roots=[tmp_path / "elsewhere"]) as bench:
        with pytest.raises(NotAllowed, match="outside the allowed roots"):
            await bench.environments.import_folder(str(folder))

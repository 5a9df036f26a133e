"""Hints on request: scored with and without, and never a base of a hardening."""

from __future__ import annotations

from pathlib import Path

import pytest

from caseharden.tests.test_workbench_hardenings import RULE, hardened
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = pytest.mark.anyio


async def test_what_hints_mend_is_told_beside_the_rate_without_them(tmp_path: Path) -> None:
    hinted = {"hints": [{"text": RULE}]}
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(4))
        await bench.scenarios.create("desk", [closing(n, **(hinted if n < 3 else {})) for n in range(1, 5)])
        plain = (await bench.runs.start("desk")).run
        told = (await bench.runs.start("desk", options={"hints": True})).run
        assert (plain.totals.passed, told.totals.passed, told.totals.simulations) == (0, 2, 4)
        assert told.instructions_text == INSTRUCTIONS and told.warnings[0].startswith(
            "The agent was given hints in 2 of 4 scenarios"
        )
        compared = await bench.comparisons.compare(plain.id, told.id)
        assert set(compared.differs) == {"hints"} and len(compared.found.fixed) == 2
        again = (await bench.runs.start("desk")).run
        assert again.totals.passed == 0 and not again.warnings
        report = await hardened(bench, run=told.id)
        assert any("other settings (hints)" in warning for warning in report.hardening.warnings)

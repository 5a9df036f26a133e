"""The worked example of docs/scoring.md comes out as it is told there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.judge_desk import Asked, judged_by, marked, played, says
from caseharden.tests.workbench_cases import bench_at

TALK = [
    {"by": "user", "say": "Close T1."},
    {"by": "agent", "tool": "close_ticket", "args": {"ticket_id": "T1"}},
    {"by": "agent", "say": "Done."},
]


@pytest.mark.anyio
async def test_the_worked_example_comes_out_as_it_is_told(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "docs" / "scoring.md").read_text(encoding="utf-8")
    checks, answer, told = map(json.loads, re.findall(r"```json\n(.*?)```", text, re.S))
    with FakeEndpoint(says(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, *checks)
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        [asked] = map(Asked, endpoint.requests)
    assert list(asked.criteria.values()) == [check["judge"] for check in checks if "judge" in check]
    found: dict[str, Any] = {
        "verdict": trial.verdict,
        "failed_checks": trial.failed_checks,
        "model_calls": report.run.models_used["judge"].calls,
        "checks": {check.id: check.verdict for check in trial.graded.checks},
        "fix": next(check.fix for check in trial.graded.checks if check.fix),
    }
    assert found == told

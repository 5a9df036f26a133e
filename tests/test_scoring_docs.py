"""The worked example of docs/scoring.md comes out as it is told there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.processes import AllowedCode
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.judge_desk import Asked, judged_by, marked, played, says
from caseharden.tests.workbench_cases import WORLDS, bench_at

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


@pytest.mark.anyio
@pytest.mark.requirement("AK-17")
async def test_the_metric_that_is_code_says_what_is_told(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "docs" / "scoring.md").read_text(encoding="utf-8")
    [code], [metric], [told] = (
        re.findall(rf"```{what}\n(.*?)```", text, re.S) for what in ("python", "json metric", "json value")
    )
    (tmp_path / "metrics.py").write_text(code, encoding="utf-8")
    async with Workbench(tmp_path / "data", worlds=WORLDS, code=AllowedCode([tmp_path])) as bench:
        await played(bench, TALK, {"tool": "close_ticket"})
        options = {"thresholds": {"brevity": 0.9}}
        report = await bench.runs.start("desk", metrics=[json.loads(metric)], options=options)
        [trial] = await marked(bench)
    [value] = trial.graded.metrics
    assert {name: getattr(value, name) for name in json.loads(told)} == json.loads(told)
    assert [found.result for found in report.run.thresholds] == ["pass", "pass"]

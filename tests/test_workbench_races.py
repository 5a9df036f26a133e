"""The workbench where two calls meet: each test forces one order of two things done at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.code import MetricCode
from caseharden.engine.errors import Conflict
from caseharden.engine.workbench.authoring import Authoring
from caseharden.tests.workbench_cases import bench_at, desk

pytestmark = pytest.mark.anyio


def met(then: Callable[..., Any]) -> Callable[..., Any]:
    """`then`, first called in two worker threads: each goes on only once the other has come as far."""
    meeting, left = threading.Barrier(2), [0, 1]

    def hooked(*args: Any) -> Any:
        if left:
            left.pop()
            meeting.wait(60)
        return then(*args)

    return hooked


async def both(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What calls at the same moment give: a result each, or a Conflict."""
    found: list[Any] = []

    async def one(call: Callable[[], Awaitable[Any]]) -> None:
        try:
            found.append(await call())
        except Conflict as error:
            found.append(error)

    async with anyio.create_task_group() as group:
        for call in calls:
            group.start_soon(one, call)
    return found


async def test_of_two_that_make_a_persona_under_one_id_the_second_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        monkeypatch.setattr(Authoring, "finish", met(Authoring.finish))
        found = await both(
            lambda: bench.personas.create("desk", [{"id": "nina", "style": "terse"}]),
            lambda: bench.personas.create("desk", [{"id": "nina", "style": "chatty"}]),
        )
        monkeypatch.undo()
        [refused] = [one for one in found if isinstance(one, Conflict)]
        assert "`desk/nina` at the same moment" in refused.what and refused.allowed == "the same call again"
        assert (await bench.items.get("persona", "desk/nina")).item["version"] == 1


async def test_of_two_that_score_a_run_one_is_told_that_the_other_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk", wait_s=45)).run.id
        monkeypatch.setattr(MetricCode, "pinned", met(MetricCode.pinned))
        found = await both(
            lambda: bench.scores.score(run, metrics=["helpfulness"], wait_s=45),
            lambda: bench.scores.score(run, metrics=["turns"], wait_s=45),
        )
        monkeypatch.undo()
        [refused] = [one for one in found if isinstance(one, Conflict)]
        assert "is being scored by job-2" in refused.what
        assert (await bench.items.page("job")).total == 2, "the run's own, and one that scores it"

"""Two servers on one data folder: each sees at once what the other does, and nothing is done twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.store import Store
from caseharden.tests.served import Served, conversations, desk_at, finished, served, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    return await desk_at(tmp_path / "home")


@pytest.fixture
async def pair(home: Path) -> AsyncGenerator[tuple[Served, Served]]:
    async with served(home) as one, served(home) as other:
        with anyio.fail_after(120):
            yield one, other


async def both(
    pair: tuple[Served, Served], tool: str, *arguments: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same call in both servers at the same moment; the replies, or {"error": ...}."""
    replies: list[dict[str, Any]] = [{}, {}]

    async def call(k: int) -> None:
        replies[k] = await pair[k].attempt(tool, **arguments[k % len(arguments)])

    async with anyio.create_task_group() as group:
        group.start_soon(call, 0)
        group.start_soon(call, 1)
    return replies[0], replies[1]


@pytest.mark.requirement("CH-5")
async def test_documents_lists_and_their_cursors_are_the_same_in_both_at_once(
    pair: tuple[Served, Served],
) -> None:
    one, other = pair
    assert (await other.ok("list_items", kind="persona", environment="desk"))["total"] == 2
    people = [{"id": f"p{n}"} for n in range(5)]
    await one.ok("create_personas", environment="desk", personas=people)
    asked: dict[str, Any] = {"kind": "persona", "environment": "desk", "limit": 3}
    first = await other.ok("list_items", **asked)
    await other.ok("create_personas", environment="desk", personas=[{"id": "newest"}])
    rest = await one.ok("list_items", **asked, cursor=first["next_cursor"])
    last = await other.ok("list_items", **asked, cursor=rest["next_cursor"])
    shown = [row["id"].partition("/")[2] for page in (first, rest, last) for row in page["items"]]
    assert shown == ["p4", "p3", "p2", "p1", "p0", "omar", "dana"] and rest["total"] == 8
    changed = await one.ok("update_item", kind="persona", id="desk/p1", changes={"style": "loud"}, version=1)
    assert changed["version"] == 2
    seen = await other.ok("list_items", kind="persona", environment="desk", where={"text": "loud"})
    assert [row["id"] for row in seen["items"]] == ["desk/p1"]
    refused = await other.error(
        "update_item", kind="persona", id="desk/p1", changes={"style": "shy"}, version=1
    )
    assert refused["code"] == "conflict"
    await other.ok("delete_items", kind="persona", ids=["desk/p1"], confirm=True)
    assert (await one.error("get_item", kind="persona", id="desk/p1"))["code"] == "not_found"


@pytest.mark.requirement("CH-5")
async def test_the_same_start_in_both_at_the_same_moment_is_one_run_and_one_hardening(
    pair: tuple[Served, Served], home: Path
) -> None:
    one, other = pair
    start = {"environment": "desk", "trials": 2, "wait_s": 30, "idempotency_key": "nightly"}
    first, second = await both(pair, "run_simulations", start)
    assert first["run"] == second["run"] == "run-1" and first["totals"] == second["totals"]
    assert (await other.ok("list_items", kind="run"))["total"] == 1
    assert set(conversations(home, "run-1").values()) == {1} and len(finished(home, "run-1")) == 48
    rounds = [
        {"environment": "desk", "continue_run": "run-1", "wait_s": 30, "options": {"seed": n}} for n in (1, 2)
    ]
    first, second = await both(pair, "run_simulations", *rounds)
    assert {first["run"], second["run"]} == {"run-2", "run-3"}
    with Store(home) as store:
        assert sorted(row["round"] for row in store.table("runs").walk()) == [1, 2, 3]
    first, second = await both(pair, "harden_agent", {"environment": "desk", "wait_s": 30})
    [refused] = [reply["error"] for reply in (first, second) if "error" in reply]
    assert refused["code"] == "conflict" and "hard-1 is" in refused["what"] and refused["next"]
    assert (await one.ok("list_items", kind="hardening"))["total"] == 1


@pytest.mark.requirement("CH-5")
async def test_one_follows_cancels_and_takes_over_what_the_other_runs(
    pair: tuple[Served, Served], home: Path
) -> None:
    one, other = pair
    long: dict[str, Any] = {"environment": "desk", "trials": 40, "wait_s": 0}
    job = (await one.ok("run_simulations", **long))["job"]["id"]
    await until(lambda: len(finished(home, "run-1")) > 20)
    going = (await other.ok("wait_job", job=job, wait_s=0))["job"]
    assert going["state"] == "running" and going["completed"] > 0 and going["total"] == 960
    ended = await other.ok("cancel_job", job=job, reason="enough")
    assert ended["job"]["state"] == "cancelled"
    kept = len(finished(home, "run-1"))
    assert 20 < kept < 960
    shown = await one.ok("get_item", kind="run", id="run-1")
    assert shown["item"]["state"] == "cancelled"
    job = (await one.ok("run_simulations", **long))["job"]["id"]
    await until(lambda: len(finished(home, "run-2")) > 20)
    before = finished(home, "run-2")
    one.kill()
    ended = await other.ok("wait_job", job=job, wait_s=45)
    assert ended["job"]["state"] == "done" and ended["job"]["completed"] == 960
    after, played = finished(home, "run-2"), conversations(home, "run-2")
    assert before.items() <= after.items() and len(after) == 960 == len(played)
    assert sum(played.values()) <= 961, "the kill may have come upon one that was not kept yet"
    assert len(finished(home, "run-1")) == kept

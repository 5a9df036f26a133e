"""What a server that runs for months keeps for itself does not grow with what passes through it."""

from __future__ import annotations

import gc
import json
import os
import weakref
from collections import Counter
from pathlib import Path

import anyio
import pytest

from caseharden.engine.llm import Cassettes
from caseharden.engine.net import HttpClient, Network, Secrets
from caseharden.engine.net.client import MOST_PACES
from caseharden.engine.store import Store, Turns, audit

pytestmark = pytest.mark.anyio


async def test_the_pace_of_an_endpoint_nobody_calls_is_forgotten_among_very_many() -> None:
    client = HttpClient(Network())
    busy, idle = client.pace("http://busy"), client.pace("http://idle")
    ticket = await busy.enter(1)
    for number in range(MOST_PACES):
        client.pace(f"http://host-{number}")
    assert client.pace("http://busy") is busy
    assert client.pace("http://idle") is not idle
    busy.leave(ticket, None)
    kept = weakref.WeakSet([client.pace(f"http://again-{number}") for number in range(2 * MOST_PACES)])
    gc.collect()
    assert len(kept) == MOST_PACES


async def test_nothing_is_kept_of_a_resource_at_which_nobody_waits_for_a_turn(tmp_path: Path) -> None:
    turns = Turns(tmp_path)
    here = turns._here  # pyright: ignore[reportPrivateUsage] # what it keeps shows nowhere else
    most: list[int] = []
    order: Counter[str] = Counter()

    async def take(name: str) -> None:
        async with turns.turn(name):
            order[name] += 1
            most.append(order[name])
            await anyio.sleep(0)
            order[name] -= 1

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(take, f"server-{number % 4}")
    assert most == [1] * 40, "one at a time"
    assert not here


async def test_a_cassette_that_no_run_uses_any_more_is_let_go(tmp_path: Path) -> None:
    cassettes = Cassettes(lambda name, where: tmp_path / name, Secrets(lambda name, where: ""))
    used, idle = cassettes.at("used.jsonl", "file"), weakref.ref(cassettes.at("idle.jsonl", "file"))
    gc.collect()
    assert cassettes.at("idle.jsonl", "file") is idle(), "the one opened last is about to be used"
    cassettes.at("other.jsonl", "file")
    gc.collect()
    assert idle() is None and cassettes.at("used.jsonl", "file") is used


@pytest.mark.requirement("CH-22")
def test_the_audit_is_put_aside_when_it_is_full_and_so_many_files_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROTATED_BYTES", 1000)
    monkeypatch.setattr(audit, "KEPT", 3)
    with Store(tmp_path) as store, Store(tmp_path) as other:
        for number in range(60):
            (store, other)[number % 2].audit("create", "thing", f"thing-{number}")
        assert [line["id"] for line in store.audited(10)] == [f"thing-{n}" for n in range(50, 60)]
    names = ["audit.3.jsonl", "audit.2.jsonl", "audit.1.jsonl", "audit.jsonl"]
    assert sorted(path.name for path in tmp_path.glob("audit*.jsonl")) == sorted(names)
    found = [json.loads(line)["id"] for name in names for line in (tmp_path / name).read_text().splitlines()]
    assert found == [f"thing-{n}" for n in range(60 - len(found), 60)] and len(found) < 60
    assert all((tmp_path / name).stat().st_size < 1200 for name in names)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in names} == {0o600}


def test_the_marks_of_killed_processes_go_when_the_next_one_starts(tmp_path: Path) -> None:
    with Store(tmp_path):
        pass
    for number in range(5):
        mark = tmp_path / "owners" / f"p{number + 1}-{number:016x}"
        mark.parent.mkdir(exist_ok=True)
        mark.write_bytes(b"")
        os.utime(mark, (1, 1))
    with Store(tmp_path):
        assert list((tmp_path / "owners").iterdir()) == []

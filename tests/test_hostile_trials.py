"""What agents and users may throw at a trial: it is recorded, graded, stored, exported and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import CasehardenError
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.small_desk import Script, a_case, calling, calls_of, graded, says_of, tried
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio
ODD = "a\x00b \ud800 \x1b[31m \u202e {7*7} {{7*7}} {x.__class__} <script>alert(1)</script>"


async def test_odd_texts_are_kept_shown_exported_and_loaded_again(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Answer:
        if any(message["role"] == "tool" for message in seen.json["messages"]):
            return chat("x" * 3_000_000 if len(seen.json["messages"]) < 8 else ODD)
        return chat(ODD, [("close_ticket", {"ticket_id": ODD}), (ODD, {"a": ODD})])

    with FakeEndpoint(answer) as endpoint:
        async with bench_at(tmp_path) as bench:
            agent = {"kind": "chat_completions", "url": f"{endpoint.base_url}/chat/completions"}
            await bench.environments.create("desk", instructions="Close.", world_data=tickets(2), agent=agent)
            await bench.scenarios.create("desk", [closing(1, split="train")])
            run = (await bench.runs.start("desk", wait_s=45)).run
            assert (run.state, run.totals.failed + run.totals.error) == ("done", 1)
            id = f"{run.id}/close-1/1"
            for view in ("summary", "turns", "state", "checks", "full"):
                item = (await bench.items.get("conversation", id, view=view)).item
                assert json.loads(json.dumps(item)) == item
            await bench.exports.export(run.id, "json", file="run.json")
        whole = json.loads((tmp_path / "exports" / "run.json").read_text(encoding="utf-8"))
        assert len(whole["trials"]) == 1
    async with bench_at(tmp_path) as again:
        assert (await again.items.get("run", run.id)).item["state"] == "done"


async def test_texts_of_people_are_printed_and_never_rendered() -> None:
    """A persona's braces are text: only the world's own texts hold expressions."""
    persona = {
        "id": "p",
        "profile": "{7*7} {{7*7}}",
        "knowledge": [{"fact": "code", "value": "{db.desk.open}"}],
    }
    agent = Script(calling(("look", {"book_id": "{db.desk.lucky}"})), then=ODD)
    user = Script(ODD, "###STOP###")
    case = a_case(persona=persona, goal="Get {7*7} and {policy}")
    done = await tried(case, agent, user)
    assert ("user", ODD) in says_of(done) and ("agent", ODD) in says_of(done)
    assert calls_of(done)[0].result == "no book {db.desk.lucky}"
    prompt = user.requests[0].messages[0].content
    assert "{7*7} and {policy}" in prompt and "{db.desk.open}" in prompt and "Lend only" not in prompt


async def test_ten_megabytes_in_one_text_are_graded_in_passing() -> None:
    case = a_case(success=[{"said": {"number": 7}}, {"said": {"pattern": "(a+)+$"}}, {"said": "done"}])
    done = await tried(case, Script(then="a" * 10_000_000), Script("hi " + "7 " * 2_000_000, "###STOP###"))
    assert (await graded(case, done)).verdict == "fail"


@pytest.mark.parametrize("id", ["../a", "", "a/b", "A", "x" * 10_000, "con\x00", "\u0430dmin", "a b", "."])
async def test_a_scenario_or_persona_whose_id_is_no_slug_is_refused(tmp_path: Path, id: str) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="x", world_data=tickets(1))
        for create, item in (
            (bench.scenarios.create, {"id": id, "goal": "g"}),
            (bench.personas.create, {"id": id}),
        ):
            with pytest.raises(CasehardenError) as refused:
                await create("desk", [item])
            assert len(str(refused.value)) < 1000
        assert not [p for p in tmp_path.rglob("*") if ".." in p.name or len(p.name) > 200]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("field", ["success", "init", "x_source", "knowledge", "events", "expected"])
async def test_a_scenario_nested_without_end_is_refused_and_nothing_breaks(
    tmp_path: Path, field: str
) -> None:
    endless = nested(100_000)
    deep: dict[str, Any] = {
        "success": [{"state": "db.tickets.T1.status", "eq": endless}],
        "init": [{"set": {"db.tickets.T1.x": endless}}],
        "x_source": endless,
        "knowledge": [{"fact": "a", "value": endless}],
        "events": [{"id": "e", "do": {"set": {"db.tickets.T1.x": endless}}}],
        "expected": [{"tool": "close_ticket", "args": {"ticket_id": endless}}],
    }
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="x", world_data=tickets(1))
        with pytest.raises(CasehardenError, match=r"deep|levels"):
            await bench.scenarios.create("desk", [{"id": "s", "goal": "g", field: deep[field]}])


NUMBERS = [
    {"limits": {"timeout_s": float("inf")}},
    {"limits": {"max_turns": 10**9}},
    {"trials": 10**9},
    {"seed": 1e999},
    {"success": [{"tool": "close_ticket", "weight": float("nan")}]},
    {"success": [{"state": "db.tickets.T1.n", "eq": float("inf")}]},
    {"expected": [{"wait_s": float("nan")}]},
    {"events": [{"id": "e", "delay_s": float("inf")}]},
    {"knowledge": [{"fact": "n", "value": float("nan")}]},
]


@pytest.mark.parametrize("field", NUMBERS, ids=[str(number) for number in NUMBERS])
async def test_a_number_that_is_none_or_without_bounds_is_refused(
    tmp_path: Path, field: dict[str, Any]
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="x", world_data=tickets(1))
        with pytest.raises(CasehardenError):
            await bench.scenarios.create("desk", [{"id": "s", "goal": "g", **field}])

"""Tools that are Python run below allowed folders only, cost what they change, and harm nobody but themselves."""

from __future__ import annotations

import copy
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from caseharden.engine.code import PythonTools
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.world import CallOutcome, Scene, compile_world

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SG-8")]

DB = {
    "orders": {f"#W{n}": {"status": "open", "total": float(n), "lines": [{"sku": "a"}]} for n in range(1, 6)},
    "notes": ["first"],
    "limit": 3,
}
FUNCTIONS = """
import os, sys, time, json

def close(db, order_id):
    order = db["orders"][order_id]
    order["status"] = "closed"
    return {"order_id": order_id, "status": order["status"]}

def look(db, order_id):
    return db["orders"].get(order_id)

def everything(db, what):
    orders = db["orders"]
    kept = []
    orders["#W9"] = {"status": "new", "lines": kept, "total": 1}
    kept.append(what)
    del orders["#W2"]
    orders["#W1"]["lines"].append(what)
    orders["#W1"]["lines"].append({"b": 1})
    orders["#W3"]["lines"].clear()
    orders["#W3"].update(total=3, note=None)
    orders["#W4"].pop("total")
    orders["#W4"]["lines"] += [1]
    orders["#W5"]["lines"][0]["sku"] = "z"
    orders["#W5"] |= {"x": 1}
    db["notes"].insert(0, "zeroth")
    db["limit"] += 1
    db["fresh"] = {"k": {"v": [1]}}
    print("noise on stdout")
    return len(orders)

def half(db, how):
    db["orders"]["#W1"]["status"] = "half"
    if how == "value":
        raise ValueError("no more paper")
    if how == "type":
        return db["orders"]["#W1"] + 1
    if how == "set":
        db["orders"]["#W1"]["tags"] = {1, 2}
    if how == "nan":
        return float("nan")
    if how == "deep":
        found = []
        for _ in range(200):
            found = [found]
        return found
    if how == "exit":
        os._exit(3)
    if how == "sleep":
        time.sleep(600)
    if how == "flood":
        return "x" * 20_000_000
    if how == "system":
        raise SystemExit(0)

def keys(db):
    return sorted(k for k in os.environ if "KEY" in k or "CASEHARDEN" in k)
"""


def world(file: str, *tools: dict[str, Any], db: dict[str, Any] | None = None) -> dict[str, Any]:
    """A world whose tools are functions of a file: their parameters are free."""
    return {
        "format": "world/1",
        "name": "w",
        "db": DB if db is None else db,
        "tools": [{"strict": False, "impl": {"python": f"{file}:{t['name']}"}, **t} for t in tools],
    }


@asynccontextmanager
async def scenes(
    tmp_path: Path, *tools: dict[str, Any], allow: bool = True, call_s: float = 20, file: str = "tools.py"
) -> AsyncGenerator[Callable[[], Scene]]:
    """Makes scenes over tools.py."""
    (tmp_path / "tools.py").write_text(FUNCTIONS, encoding="utf-8")
    async with Processes() as processes:
        code = PythonTools(AllowedCode([tmp_path] if allow else []), processes, call_s)
        compiled = compile_world(load(World, world(file, *tools), "world"), code=code)

        def scene() -> Scene:
            made = Scene(compiled)
            made.prepare()
            return made

        yield scene


async def called(scene: Scene, tool: str, **args: Any) -> CallOutcome:
    return await anyio.to_thread.run_sync(lambda: scene.call(tool, args))


def test_given_answers_are_found_by_the_arguments_that_they_name() -> None:
    answers = [
        {"args": {"city": "Rome", "days": 1}, "return": {"sky": "clear"}},
        {"args": {"city": "Rome"}, "return": "unsettled"},
    ]
    tool = {"name": "weather", "strict": False, "impl": {"canned": answers}}
    scene = Scene(compile_world(load(World, {"format": "world/1", "name": "w", "tools": [tool]}, "world")))
    assert scene.call("weather", {"city": "Rome", "days": 1.0}).result == {"sky": "clear"}
    assert scene.call("weather", {"city": "Rome", "days": 2}).result == "unsettled"
    other = scene.call("weather", {"city": "Oslo"})
    assert (other.error, other.result) == ("arguments", "weather: no answer is given for these arguments")


async def test_what_code_changes_is_journalled_and_undone_like_the_writes_of_steps(tmp_path: Path) -> None:
    before = copy.deepcopy(DB)
    async with scenes(tmp_path, {"name": "everything"}) as scene:
        one, other = scene(), scene()
        made = await called(one, "everything", what="w")
        assert made.ok and made.result == 5
        db = one.state.root["db"]
        assert db["orders"]["#W9"] == {"status": "new", "lines": ["w"], "total": 1}
        assert list(db["orders"]) == ["#W1", "#W3", "#W4", "#W5", "#W9"]
        assert db["orders"]["#W1"]["lines"] == [{"sku": "a"}, "w", {"b": 1}]
        assert db["orders"]["#W3"] == {"status": "open", "total": 3, "lines": [], "note": None}
        assert db["orders"]["#W4"] == {"status": "open", "lines": [{"sku": "a"}, 1]}
        assert db["orders"]["#W5"] == {"status": "open", "total": 5.0, "lines": [{"sku": "z"}], "x": 1}
        assert (db["notes"], db["limit"], db["fresh"]) == (["zeroth", "first"], 4, {"k": {"v": [1]}})
        assert all(patch.by == "agent" for patch in one.state.journal)
        # The process goes back to the base: the next scene, and the next call of this one, see their own state.
        again = await called(other, "everything", what="v")
        assert again.ok and other.state.root["db"]["orders"]["#W9"]["lines"] == ["v"]
        one.state.rollback(one.initial_mark)
        assert one.state.root["db"] == before == DB


async def test_a_call_sees_what_the_trial_has_written_and_nothing_of_other_trials(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "close"}, {"name": "look", "kind": "read"}) as scene:
        one, other = scene(), scene()
        assert (await called(one, "close", order_id="#W1")).ok
        assert (await called(one, "look", order_id="#W1")).result["status"] == "closed"
        assert (await called(other, "look", order_id="#W1")).result["status"] == "open"


async def test_many_trials_at_once_share_one_process_and_stay_apart(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "close"}, {"name": "look", "kind": "read"}) as scene:
        found: dict[int, tuple[Any, Any]] = {}

        async def trial(n: int) -> None:
            mine, order = scene(), f"#W{n % 5 + 1}"
            await called(mine, "close", order_id=order)
            states = [(await called(mine, "look", order_id=f"#W{k}")).result["status"] for k in range(1, 6)]
            found[n] = (order, states)

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(trial, n)
        for order, states in found.values():
            assert [f"#W{k}" for k, s in enumerate(states, 1) if s == "closed"] == [order]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("value", "refused", "no more paper"),
        ("type", "runtime", "unsupported operand"),
        ("set", "runtime", "no JSON"),
        ("nan", "runtime", "no JSON"),
        ("deep", "runtime", "nested deeper than 100 levels"),
        ("exit", "runtime", "ended with status 3"),
        ("sleep", "runtime", "gave no answer within 2 s"),
        ("flood", "runtime", "longer than"),
        ("system", "runtime", "SystemExit"),
        ({"a": 1}, None, ""),
    ],
)
async def test_what_code_does_wrong_is_the_error_of_its_call_and_the_next_call_works(
    tmp_path: Path, how: Any, error: str | None, words: str
) -> None:
    tools = {"name": "half"}, {"name": "look", "kind": "read"}
    with anyio.fail_after(60):
        async with scenes(tmp_path, *tools, call_s=2) as scene:
            mine = scene()
            made = await called(mine, "half", how=how)
            assert made.error == error and words in made.text
            if error:
                assert made.patches == () and mine.state.root["db"] == DB
            assert (await called(mine, "look", order_id="#W2")).result["status"] == "open"
            wrong = await called(mine, "half", what=1)
            assert wrong.error == "arguments" and "unexpected keyword argument 'what'" in wrong.text


async def test_writes_before_an_error_stay_where_the_world_says_so(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "half", "atomic": False}) as scene:
        mine = scene()
        made = await called(mine, "half", how="value")
        assert (made.error, made.text) == ("refused", "no more paper")
        assert mine.state.root["db"]["orders"]["#W1"]["status"] == "half" and len(made.patches) == 1


async def test_a_tool_that_says_it_reads_may_not_write(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "close", "kind": "read", "atomic": False}) as scene:
        mine = scene()
        made = await called(mine, "close", order_id="#W1")
        assert made.error == "runtime" and "a `read` tool must not" in made.text
        assert mine.state.root["db"] == DB


@pytest.mark.parametrize("file", ["tools.py", "../outside.py", "link.py", "/etc/passwd.py"])
async def test_code_outside_the_allowed_folders_is_not_run_and_the_flag_is_named(
    tmp_path: Path, file: str
) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "outside.py").write_text("def close(db, order_id): raise SystemExit", encoding="utf-8")
    (inside / "link.py").symlink_to(tmp_path / "outside.py")
    async with scenes(inside, {"name": "close"}, allow=file != "tools.py", file=file) as scene:
        made = await called(scene(), "close", order_id="#W1")
        assert made.error == "runtime" and "--allow-code" in made.text


async def test_code_sees_no_keys_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("CASEHARDEN_TOKEN", "secret")
    async with scenes(tmp_path, {"name": "keys", "kind": "read"}) as scene:
        assert (await called(scene(), "keys")).result == ["CASEHARDEN_DEPTH"]


async def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "look", "kind": "read"}) as scene:
        assert (await called(scene(), "look", order_id="#W1")).result["status"] == "open"
        file = tmp_path / "tools.py"
        file.write_text("def look(db, order_id):\n    return 'changed'\n", encoding="utf-8")
        os.utime(file, ns=(1, 1))
        assert (await called(scene(), "look", order_id="#W1")).result == "changed"


async def test_a_module_that_a_file_of_tools_imports_is_read_anew_when_it_changes(tmp_path: Path) -> None:
    helpers, deeper = tmp_path / "helpers.py", tmp_path / "deeper.py"
    deeper.write_text("STATUS = 'first'\n", encoding="utf-8")
    helpers.write_text("def status():\n    from deeper import STATUS\n    return STATUS\n", encoding="utf-8")
    async with scenes(tmp_path, {"name": "look", "kind": "read"}) as scene:
        text = "from helpers import status\n\ndef look(db, order_id):\n    return status()\n"
        (tmp_path / "tools.py").write_text(text, encoding="utf-8")
        assert (await called(scene(), "look", order_id="#W1")).result == "first"
        deeper.write_text("STATUS = 'second'\n", encoding="utf-8")
        assert (await called(scene(), "look", order_id="#W1")).result == "second"
        helpers.write_text("def status():\n    return 'third' + x\n", encoding="utf-8")
        assert "not defined" in (await called(scene(), "look", order_id="#W1")).text
        helpers.write_text("def status():\n    return 'third'\n", encoding="utf-8")
        assert (await called(scene(), "look", order_id="#W1")).result == "third"


async def test_a_file_that_does_not_load_says_so(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "look"}, {"name": "gone"}) as scene:
        assert "there is no gone in tools.py" in (await called(scene(), "gone")).text
        (tmp_path / "tools.py").write_text("import (\n", encoding="utf-8")
        made = await called(scene(), "look", order_id="#W1")
        assert made.error == "runtime" and "does not load: SyntaxError" in made.text


async def test_outside_a_worker_thread_code_is_not_waited_for(tmp_path: Path) -> None:
    async with scenes(tmp_path, {"name": "close"}) as scene:
        made = scene().call("close", {"order_id": "#W1"})
        assert made.error == "runtime" and "in trials only" in made.text


def test_events_cannot_call_code_since_nobody_would_wait_for_it() -> None:
    compiled = compile_world(load(World, world("t.py", {"name": "close"}), "world"))
    compiled.compile_steps([{"call": "close", "args": {}}], "init", "init")
    with pytest.raises(InvalidArgument, match="is code, and what happens by itself cannot wait"):
        compiled.compile_steps([{"call": "close", "args": {}}], "event", "events[0].do")

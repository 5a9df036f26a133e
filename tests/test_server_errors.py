"""What the server refuses: every refusal says what, where, what is allowed and what to call next."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caseharden.tests.server_desk import MODES, TINY, Mode, closing, desk, tiny

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CH-17")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("tool", "arguments", "code", "words", "where"),
    [
        ("list_items", {"limt": 3}, "unknown_argument", "Did you mean `limit`?", "list_items.limt"),
        ("lst_items", {}, "unknown_tool", "Did you mean `list_items`?", ""),
        ("get_item", {"kind": "run"}, "invalid_argument", "`id` is needed", "get_item.id"),
        ("get_item", {"kind": "runs", "id": "x"}, "invalid_argument", "Did you mean `run`?", "get_item.kind"),
        ("wait_job", {"job": "j", "wait_s": 120}, "invalid_argument", "`wait_s` is 120.", "wait_job.wait_s"),
        (
            "generate_personas",
            {"environment": "x", "count": -1},
            "invalid_argument",
            "`count` is -1.",
            "generate_personas.count",
        ),
        (
            "generate_scenarios",
            {"environment": "x", "count": 10**9},
            "invalid_argument",
            "`count` is 1000000000.",
            "generate_scenarios.count",
        ),
        (
            "create_scenarios",
            {"environment": "x", "scenarios": [3]},
            "invalid_argument",
            "`scenarios[0]` is 3.",
            "create_scenarios.scenarios[0]",
        ),
        (
            "create_environment",
            {"id": "x", "world_data": "no object"},
            "invalid_argument",
            "`world_data` is `no object`.",
            "create_environment.world_data",
        ),
        (
            "create_environment",
            {"id": "x", "instructions": "a" * 10_000_000},
            "invalid_argument",
            "too large",
            "create_environment.instructions",
        ),
        (
            "create_environment",
            {"id": "x", "world_data": "[" * 150 + "]" * 150},
            "invalid_argument",
            "too deep",
            "create_environment.world_data",
        ),
        (
            "import_environment",
            {"path": "../x", "format": "tau-bench"},
            "not_allowed",
            "outside the allowed roots",
            "import_environment.path",
        ),
        ("get_item", {"kind": "session", "id": "s"}, "not_found", "No session `s`", "get_item.id"),
    ],
)
async def test_a_wrong_call_is_told_in_our_words(
    tmp_path: Path, mode: Mode, tool: str, arguments: dict[str, Any], code: str, words: str, where: str
) -> None:
    async with desk(tmp_path / "data", mode) as at:
        error = await at.error(tool, **arguments)
    assert error["code"] == code
    assert words in error["what"]
    assert error.get("where", "") == where
    assert len(json.dumps(error)) < 3_000


@pytest.mark.requirement("CH-17")
@pytest.mark.parametrize(
    ("tool", "arguments", "guide"),
    [
        ("create_environment", {"id": "X Y"}, "environment"),
        ("create_environment", {"id": "x", "agent": {"kind": "robot"}}, "agent-kinds"),
        ("create_environment", {"id": "x", "settings": {"trials": 99}}, "environment"),
        ("create_environment", {"id": "x", "settings": {"thresholds": {"x": 1}}}, "metrics"),
        ("create_environment", {"id": "x", "models": {"agent": "x y"}}, "environment"),
        (
            "create_environment",
            {"id": "x", "world_data": {"tools": [{"name": "t", "stepz": 1}]}},
            "world-format",
        ),
        ("create_scenarios", {"environment": "support", "scenarios": [{"id": "x"}]}, "scenario-format"),
        ("create_scenarios", {"environment": "support", "file": "x.csv"}, "scenario-format"),
        (
            "create_personas",
            {"environment": "support", "personas": [{"id": "x", "age": 3}]},
            "persona-format",
        ),
        ("run_simulations", {"environment": "support", "metrics": ["x"]}, "metrics"),
        ("run_simulations", {"environment": "support", "options": {"x": 1}}, "run-options"),
    ],
)
async def test_a_wrong_argument_names_the_guide_to_it(
    tmp_path: Path, tool: str, arguments: dict[str, Any], guide: str
) -> None:
    async with desk(tmp_path / "data", roots=(tmp_path,)) as at:
        await tiny(at)
        error = await at.error(tool, **arguments)
        assert {"kind": "guide", "id": guide} in [call["args"] for call in error["next"]], error
        assert (await at.ok("get_item", kind="guide", id=guide))["item"]["text"]


@pytest.mark.requirement("CH-17")
@pytest.mark.parametrize("mode", MODES)
async def test_what_the_engine_refuses_names_the_nearest_and_the_next_call(
    tmp_path: Path, mode: Mode
) -> None:
    async with desk(tmp_path / "data", mode) as at:
        await tiny(at)
        missing = await at.error("run_simulations", environment="suport")
        assert missing["code"] == "not_found"
        assert "support" in json.dumps(missing)
        other = await at.error(
            "create_environment", id="support", instructions="Something else.", world_data=TINY
        )
        assert other["code"] == "conflict"
        assert other["where"] == "create_environment.id"
        assert other["next"][0]["tool"] == "get_item"
        nothing = await at.error("create_personas", environment="support")
        assert nothing["code"] == "invalid_argument"
        unknown = await at.error("get_item", kind="persona", id="support/danna")
        assert unknown["code"] == "not_found"
        assert "dana" in json.dumps(unknown)
        view = await at.error("get_item", kind="persona", id="support/dana", view="turns")
        assert view["where"] == "get_item.view"
        where = await at.error("list_items", kind="conversation", where={"verdit": "fail"})
        assert "verdict" in json.dumps(where)


async def test_outside_the_roots_nothing_is_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "personas.json").write_text('[{"id": "eve"}]', encoding="utf-8")
    (inside / "link.json").symlink_to(outside / "personas.json")
    async with desk(tmp_path / "data", roots=(inside,)) as at:
        await tiny(at)
        for path in (
            outside / "personas.json",
            inside / ".." / "out" / "personas.json",
            inside / "link.json",
        ):
            error = await at.error("create_personas", environment="support", file=str(path))
            assert error["code"] == "not_allowed", error
            assert str(error["where"]).startswith("create_personas.file")


@pytest.mark.requirement("CH-17")
async def test_one_wrong_scenario_is_refused_with_its_path_and_the_others_are_kept(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as at:
        await tiny(at)
        wrong: dict[str, Any] = {**closing("close-three", "T1"), "succes": []}
        made = await at.ok(
            "create_scenarios", environment="support", scenarios=[closing("close-four", "T2"), wrong]
        )
        assert made["made"] == ["support/close-four"]
        (refused,) = made["refused"]
        assert refused["at"] == "scenarios[1].succes"
        assert "Did you mean `success`?" in refused["what"]


async def test_a_json_string_where_an_object_is_meant_is_read(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as at:
        made = await at.ok(
            "create_environment", id="support", instructions="Help.", world_data=json.dumps(TINY)
        )
        assert made["world"]["tools"] == 1


@pytest.fixture
def raw_server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    code = (
        "import sys; from pathlib import Path\n"
        "from caseharden.mcp_server.stdio import serve_stdio\n"
        "from caseharden.resources.workbench import Workbench\n"
        "serve_stdio(Workbench(Path(sys.argv[1])))\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        yield server
        assert server.stdin is not None
        server.stdin.close()
        assert server.wait(20) == 0


def test_lines_that_no_parser_likes_are_answered_and_the_server_goes_on(
    raw_server: subprocess.Popen[bytes],
) -> None:
    def ask(line: bytes) -> dict[str, Any]:
        assert raw_server.stdin is not None
        assert raw_server.stdout is not None
        raw_server.stdin.write(line + b"\n")
        raw_server.stdin.flush()
        return json.loads(raw_server.stdout.readline())

    def call(id: int, arguments: str) -> bytes:
        return (
            f'{{"jsonrpc":"2.0","id":{id},"method":"tools/call",'
            f'"params":{{"name":"create_environment","arguments":{arguments}}}}}'
        ).encode("utf-8", "surrogatepass")

    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    first = ask(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode())
    assert first["result"]["serverInfo"]["name"] == "caseharden"
    nan = ask(call(2, '{"id":"x","settings":{"seed":NaN}}'))
    assert "not a JSON number" in nan["result"]["structuredContent"]["error"]["what"]
    deep = ask(call(3, '{"id":"x","settings":{"a":' + "[" * 100_000 + "]" * 100_000 + "}}"))
    assert deep["id"] == 3
    assert "nested too deep" in deep["error"]["message"]
    half = ask(call(4, '{"id":"\\ud800"}'))
    assert half["id"] == 4
    assert "Unicode" in half["error"]["message"]
    noise = ask(b"\xff\xfe not json")
    assert noise["id"] is None
    broken = ask(
        b'{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"get_item","arguments":'
        b'{"kind":"guide","id":"\xff\xfe"}}}'
    )
    assert broken["result"]["structuredContent"]["error"]["code"] in ("not_found", "invalid_argument")
    large = ask(call(7, '{"id":"x","instructions":"' + "a" * 10_000_000 + '"}'))
    assert "too large" in large["result"]["structuredContent"]["error"]["what"]

"""Cassettes: what a model said is recorded and given again; readable, without secrets, and a miss is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument, NotAllowed, NotFound, StorageError
from caseharden.engine.exchange import Roots
from caseharden.engine.llm import (
    Cassette,
    Cassettes,
    Message,
    ModelReply,
    ModelRequest,
    RequestKeys,
    ToolCall,
)
from caseharden.engine.net import Secrets
from caseharden.engine.records.run import RunRecord
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import RunReport
from caseharden.tests.commanded import commanded
from caseharden.tests.endpoint_runs import spoken, write_folder
from caseharden.tests.fake_endpoint import FakeEndpoint, Seen, chat
from caseharden.tests.test_models_runs import a_user, by_the_book
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = pytest.mark.anyio
TAPE = "calls.jsonl"
WRITER = """
import sys
from pathlib import Path
from caseharden.engine.llm import Cassette, Message, ModelReply, ModelRequest
from caseharden.engine.net import Secrets
tape = Cassette(Path(sys.argv[1]), "calls.jsonl", Secrets(lambda path, where: ""), "file")
for n in range(300):
    request = ModelRequest("user", [Message("user", f"{sys.argv[2]} {n}")])
    tape.keep(tape.key(request), "m", request, ModelReply("answer " * 200))
"""


async def environment(bench: Workbench, models: dict[str, Any], count: int = 4) -> None:
    await bench.environments.create(
        "desk", instructions=INSTRUCTIONS, world_data=tickets(count), models=models
    )
    await bench.scenarios.create("desk", [closing(n) for n in range(1, count + 1)])


async def ran(bench: Workbench, mode: str = "replay", **more: Any) -> RunReport:
    with anyio.fail_after(60):
        report = await bench.runs.start(
            "desk", options={"cassette": {"file": TAPE, "mode": mode}}, wait_s=45, **more
        )
    return report


async def transcripts(bench: Workbench, run: RunRecord) -> dict[str, str]:
    """The hash of each conversation of a run."""
    page = await bench.items.page("conversation", where={"run": run.id}, limit=100)
    found: dict[str, str] = {}
    for row in page.items:
        item = (await bench.items.get("conversation", row["id"], view="full")).item
        found[row["id"].partition("/")[2]] = item["conversation"]["transcript_hash"]
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / TAPE).read_text(encoding="utf-8").splitlines()]


async def test_the_second_run_makes_no_call_and_is_the_same_conversation(tmp_path: Path) -> None:
    roots = [tmp_path / "repository"]
    roots[0].mkdir()
    with FakeEndpoint(by_the_book) as agent, FakeEndpoint(a_user) as user:
        models = {
            "agent": {"model": "big", "base_url": agent.base_url},
            "user": {"model": "small", "base_url": user.base_url},
        }
        async with bench_at(tmp_path / "home", roots) as bench:
            await environment(bench, models)
            first = await ran(bench)
            made = len(agent.requests) + len(user.requests)
            second = await ran(bench)
            again = await transcripts(bench, second.run)
            assert await transcripts(bench, first.run) == again and len(again) == 4
        assert len(agent.requests) + len(user.requests) == made == first.model_calls == len(lines(roots[0]))
    assert first.run.totals.passed == second.run.totals.passed == 4
    assert (second.model_calls, second.usd) == (0, 0.0)
    async with bench_at(tmp_path / "elsewhere", roots) as bench:
        gone = {role: {**told, "base_url": "http://127.0.0.1:9/v1"} for role, told in models.items()}
        await environment(bench, gone)
        strict = await ran(bench, "strict")
        assert await transcripts(bench, strict.run) == again, "the endpoints are closed, and nobody asks them"


async def test_it_goes_through_litellm_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up-for-this-test-0001")
    with FakeEndpoint(a_user) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        async with bench_at(tmp_path / "home", [tmp_path]) as bench:
            await environment(bench, {"user": "openai/gpt-4o-mini"}, 2)
            first, made = await ran(bench, "record"), len(endpoint.requests)
            second = await ran(bench, "strict")
            assert await transcripts(bench, first.run) == await transcripts(bench, second.run)
        assert len(endpoint.requests) == made > 0
    assert {line["model"] for line in lines(tmp_path)} == {"openai/gpt-4o-mini"}


async def test_a_call_that_was_not_recorded_is_an_error_in_strict_and_is_recorded_in_replay(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(a_user) as endpoint:
        models = {"user": {"model": "small", "base_url": endpoint.base_url}}
        async with bench_at(tmp_path / "home", [tmp_path]) as bench:
            await environment(bench, models)
            await ran(bench, select=["scenario:close-1"])
            one = len(lines(tmp_path))
            made = len(endpoint.requests)
            strict = await ran(bench, "strict")
            page = await bench.items.page("conversation", where={"run": strict.run.id, "verdict": "error"})
            told = (await bench.items.get("conversation", page.items[0]["id"], view="full")).item
            assert (strict.run.totals.passed, strict.run.totals.failed, strict.run.totals.error) == (0, 1, 3)
            assert "has no answer to this call of the user" in told["conversation"]["end"]["detail"]
            assert len(endpoint.requests) == made
            whole = await ran(bench)
            assert whole.run.totals.error == 0
            assert len(lines(tmp_path)) == one * 4


async def test_record_keeps_the_first_answer_and_refresh_replaces_it(tmp_path: Path) -> None:
    said = "Please close ticket T1."

    def saying(seen: Seen) -> Any:
        return a_user(seen) if any(m["role"] == "assistant" for m in seen.json["messages"]) else chat(said)

    with FakeEndpoint(saying) as endpoint:
        models = {"user": {"model": "small", "base_url": endpoint.base_url}}
        async with bench_at(tmp_path / "home", [tmp_path]) as bench:
            await environment(bench, models, 1)
            hashes = [await transcripts(bench, (await ran(bench, "record")).run)]
            said = "Close ticket T1, please."
            for mode in ("record", "strict", "refresh", "strict"):
                hashes.append(await transcripts(bench, (await ran(bench, mode)).run))
    first, other, kept, fresh, replaced = hashes
    assert first == kept != other
    assert other == fresh == replaced


async def test_a_cassette_is_readable_holds_no_secret_and_can_be_the_model_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-of-nobody-0123456789abcdef"
    monkeypatch.setenv("DESK_KEY", secret)

    def leaky(seen: Seen) -> Any:
        spoken = any(m["role"] == "assistant" for m in seen.json["messages"])
        return chat("###STOP###" if spoken else f"Close ticket T1. My key: {seen.headers['authorization']}")

    with FakeEndpoint(leaky) as endpoint:
        models = {"user": {"model": "small", "base_url": endpoint.base_url, "key": "env:DESK_KEY"}}
        async with bench_at(tmp_path / "home", [tmp_path]) as bench:
            await environment(bench, models, 1)
            first = await ran(bench, "record")
            second = await bench.runs.start("desk", models={"user": f"replay:{TAPE}"}, wait_s=45)
            assert await transcripts(bench, first.run) == await transcripts(bench, second.run)
    assert second.run.models_used.get("user") is None and second.model_calls == first.model_calls - 2
    assert secret not in (tmp_path / TAPE).read_text()
    line = lines(tmp_path)[0]
    assert list(line) == ["format", "key", "role", "model", "asked", "reply", "tokens"]
    assert line["asked"] == {"messages": 2, "last": "(The conversation begins. Write your first message.)"}
    assert line["reply"] == {"text": "Close ticket T1. My key: Bearer [secret]"}


async def test_damaged_lines_are_told_and_passed_over(tmp_path: Path) -> None:
    with FakeEndpoint(a_user) as endpoint:
        models = {"user": {"model": "small", "base_url": endpoint.base_url}}
        async with bench_at(tmp_path / "home", [tmp_path]) as bench:
            await environment(bench, models, 2)
            await ran(bench)
            file = tmp_path / TAPE
            good = file.read_text().splitlines()
            wrong = ["not json", '{"key": "12", "reply": {"text": 1}}', "[" * 100_000, good[-1][:40]]
            file.write_text("\n".join([good[0], *wrong]))
            report = await ran(bench)
            told = f"{TAPE}: line 2, 3, 4, 5 holds no recorded call and was passed over."
            assert told in report.run.warnings
            assert report.run.totals.error == 0
            again = await ran(bench, "strict")
            assert again.run.totals.error == 0, "what was torn off is on lines of its own"


async def test_two_processes_add_to_one_cassette_and_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / TAPE
    command = [sys.executable, "-c", WRITER, str(file)]
    writers = [subprocess.Popen([*command, name]) for name in ("one", "other")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    told = lines(tmp_path)
    assert len(told) == 600 == len({line["key"] for line in told})
    tape = cassette(file)
    tape.read()
    assert tape.damaged == []
    request = ModelRequest("user", [Message("user", "other 299")])
    found = tape.find(tape.key(request))
    assert found is not None and found.recorded and found.used is None


def cassette(file: Path) -> Cassette:
    return Cassette(file, TAPE, Secrets(lambda path, where: ""), "file")


def test_what_another_process_adds_is_found_and_a_file_that_is_another_is_read_anew(tmp_path: Path) -> None:
    mine, theirs = cassette(tmp_path / TAPE), cassette(tmp_path / TAPE)
    requests = [ModelRequest("user", [Message("user", f"hello {n}")]) for n in range(2)]
    keys = [mine.key(request) for request in requests]
    assert mine.find(keys[0]) is None
    theirs.keep(keys[0], "m", requests[0], ModelReply("first"))
    found = mine.find(keys[0], "m")
    assert found is not None and found.text == "first" and mine.find(keys[0], "n") is None
    (tmp_path / TAPE).unlink()
    theirs.keep(keys[1], "m", requests[1], ModelReply("second"))
    found = mine.find(keys[1])
    assert found is not None and found.text == "second"


def test_a_folder_that_became_a_link_since_is_not_followed_to_read_or_write_a_cassette(
    tmp_path: Path,
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for place in (root / "tapes", outside):
        place.mkdir(parents=True)
    roots = Roots([root])
    tapes = Cassettes(roots.resolve, Secrets(lambda path, where: ""), roots.open)
    tape, request = tapes.at(f"tapes/{TAPE}", "file"), ModelRequest("user", [Message("user", "hello")])
    tape.keep(tape.key(request), "m", request, ModelReply("first"))
    (root / "tapes").rename(root / "gone")
    (root / "tapes").symlink_to(outside)
    with pytest.raises(StorageError, match="cannot be used"):
        tape.keep(tape.key(request), "m", request, ModelReply("second"))
    (outside / TAPE).write_text("{}", encoding="utf-8")
    with pytest.raises(StorageError, match="cannot be used"):
        tape.read()
    assert (outside / TAPE).read_text(encoding="utf-8") == "{}"


def test_a_key_knows_no_ids_of_calls_and_tells_requests_apart() -> None:
    keys = RequestKeys()

    def asked(id: str, **fields: Any) -> str:
        call = ToolCall(id, "close", "{}")
        messages = [Message("assistant", "", (call,)), Message("tool", "done", tool_call_id=id)]
        told: dict[str, Any] = {"role": "agent", "messages": messages, **fields}
        return keys.of(ModelRequest(**told))

    assert (
        asked("call_a1")
        == asked("call_b2")
        == RequestKeys().of(
            ModelRequest(
                "agent",
                [
                    Message("assistant", "", (ToolCall("x", "close", "{}"),)),
                    Message("tool", "done", tool_call_id="x"),
                ],
            )
        )
    )
    others = {asked("a", seed=1), asked("a", role="user"), asked("a", temperature=0.5), asked("a", schema={})}
    assert len(others | {asked("a")}) == 5


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"file": "missing.jsonl", "mode": "strict"}, NotFound, "There is no cassette"),
        ({"file": "no/such/folder.jsonl"}, NotFound, "There is no folder"),
        ({"file": "../outside.jsonl"}, NotAllowed, "outside the allowed roots"),
        ({"file": TAPE, "mode": "play"}, InvalidArgument, "play"),
        ({"mode": "strict"}, InvalidArgument, "file"),
    ],
)
async def test_what_is_wrong_with_a_cassette_is_told_before_anything_runs(
    options: dict[str, Any], error: type[Exception], told: str, tmp_path: Path
) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await environment(bench, {}, 1)
        with pytest.raises(error, match=told):
            await bench.runs.start("desk", options={"cassette": options})
        with pytest.raises(NotFound, match="There is no cassette"):
            await bench.runs.start("desk", models={"user": "replay:missing.jsonl"})
        assert (await bench.items.page("run")).total == 0


def test_the_command_line_records_once_and_then_runs_without_any_endpoint(tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    command = ["run", str(folder), "--cassette", TAPE, "--json", "--plain"]

    def told(home: str, *words: str) -> dict[str, Any]:
        done = commanded(*command, "--home", str(tmp_path / home), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    with FakeEndpoint(spoken) as endpoint:
        write_folder(folder, endpoint, 3, {})
        first = told("one")
        made = len(endpoint.requests)
    strict = told("two", "--cassette-mode", "strict")
    assert first["totals"] == strict["totals"] and first["totals"]["passed"] == 3
    assert (first["model_calls"], strict["model_calls"]) == (made, 0)
    wrong = commanded(*command, "--home", str(tmp_path / "three"), "--cassette", "../x.jsonl")
    assert wrong.returncode == 2 and "outside the allowed roots" in wrong.stderr + wrong.stdout

"""Training data: rows that loaders and trainers take, of rewarded conversations and of turns that compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from caseharden.engine.errors import HeldOut, InvalidArgument
from caseharden.engine.records.hardening import Hardening
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.exporting import ExportReport
from caseharden.tests.server_desk import desk as server
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SG-9")]
Row = dict[str, Any]
HELD_OUT = {"split": "held_out"}


def say(by: str, text: str) -> Row:
    return {"by": by, "say": text}


def call(tool: str, ticket: str) -> Row:
    return {"by": "agent", "tool": tool, "args": {"ticket_id": ticket}}


def good(n: int) -> list[Row]:
    """Looks the ticket up, closes it, says so: reward 1."""
    ticket = f"T{n}"
    return [
        say("user", f"Close {ticket}, please."),
        call("look_up_ticket", ticket),
        call("close_ticket", ticket),
        say("agent", f"{ticket} is closed."),
        say("user", "Thanks."),
    ]


def hasty(n: int) -> list[Row]:
    """Closes it without a look: the rule fails."""
    lines = good(n)
    return [lines[0], *lines[2:]]


def talks(logs: Sequence[tuple[str, Sequence[Row]]]) -> dict[str, Any]:
    """A recorded agent; trials are counted by scenario."""
    made: list[Row] = []
    for scenario, log in logs:
        trial = 1 + sum(row["scenario"] == scenario for row in made)
        made.append({"scenario": scenario, "trial": trial, "log": list(log)})
    return {"kind": "recorded", "conversations": made}


async def ran(
    bench: Workbench, logs: Sequence[tuple[str, Sequence[Row]]], trials: int = 1, **fields: Any
) -> str:
    """A run of these conversations, of train scenarios."""
    slugs = list(dict.fromkeys(slug for slug, _ in logs))
    numbers = [int(slug.rpartition("-")[2]) for slug in slugs]
    world = tickets(max(numbers))
    await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=world, agent=talks(logs))
    await bench.scenarios.create("desk", [closing(n, split="train", **fields) for n in numbers])
    return (await bench.runs.start("desk", trials=trials, wait_s=45)).run.id


def rows_of(report: ExportReport) -> list[Row]:
    return [json.loads(line) for line in report.path.read_text(encoding="utf-8").splitlines()]


def types_of(value: Any) -> Any:
    """What a table makes of a value: the type of each key, that of all elements of a list."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        assert fields, "a loader has no column for an empty object"
        return {name: types_of(one) for name, one in fields.items()}
    if isinstance(value, list):
        merged: Any = None
        for one in cast("list[Any]", value):
            merged = united(merged, types_of(one))
        return [merged]
    return type(value).__name__ if value is not None else None


def united(one: Any, other: Any) -> Any:
    """The type of both; AssertionError where a column would have two."""
    if one is None or other is None or one == other:
        return other if one is None else one
    if isinstance(one, list) and isinstance(other, list):
        return [united(*cast("tuple[Any, Any]", (one[0], other[0])))]
    assert isinstance(one, dict) and isinstance(other, dict), f"{one} and {other} in one column"
    first, second = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
    return {key: united(first.get(key), second.get(key)) for key in {*first, *second}}


def check_table(rows: Sequence[Row]) -> Row:
    """Every row has the same columns, each of one type; the types."""
    assert {tuple(row) for row in rows} == {tuple(rows[0])}
    found: Any = None
    for row in rows:
        found = united(found, types_of(row))
    return found


def check_messages(messages: Sequence[Row], tools: str) -> None:
    """Roles, tool calls with schemas, and each result behind its own call."""
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in json.loads(tools)}
    waiting: list[str] = []
    for message in messages:
        assert message["role"] in ("system", "user", "assistant", "tool") and isinstance(
            message["content"], str
        )
        if message["role"] == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            continue
        assert not waiting, "a call has no result"
        for one in message.get("tool_calls", []):
            waiting.append(one["id"])
            properties = schemas[one["function"]["name"]]["properties"]
            assert set(json.loads(one["function"]["arguments"])) <= set(properties)
    assert len(waiting) <= len(messages[-1].get("tool_calls", []))


async def test_only_rewarded_conversations_are_to_be_imitated_with_the_tools_and_matched_calls(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [("close-1", good(1)), ("close-2", hasty(2)), ("close-3", good(3))])
        report = await bench.exports.export(run, "sft")
        rows = rows_of(report)
        assert report.file == "exports/run-1-sft.jsonl" and report.records == len(rows) == 2
        assert report.left_out == ["1 conversation: their reward is below 1"]
        types = check_table(rows)
        assert types["tools"] == "str" and types["reward"] == "float"
        for row in rows:
            check_messages(row["messages"], row["tools"])
            assert [m["role"] for m in row["messages"]] == [
                *("system", "user", "assistant", "tool", "assistant", "tool", "assistant")
            ]
            assert row["reward"] == 1.0 and row["messages"][0]["content"] == INSTRUCTIONS
        assert [row["id"] for row in rows] == ["run-1/close-1/1", "run-1/close-3/1"]
        failed = await bench.exports.export(run, "sft", file="failed", where={"verdict": "fail"})
        assert [(row["id"], row["verdict"]) for row in rows_of(failed)] == [("run-1/close-2/1", "fail")]
        one = await bench.exports.export(run, "sft", file="one", where={"scenario": "close-3"})
        assert [row["id"] for row in rows_of(one)] == ["run-1/close-3/1"]


async def test_equal_conversations_are_there_once(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [("close-1", good(1)), ("close-1", good(1))], trials=2)
        report = await bench.exports.export(run, "sft")
        assert report.records == 1 and report.left_out == ["1 conversation: equal to one that is there"]


async def test_of_a_passed_and_a_failed_trial_the_turns_where_they_part_are_a_pair(tmp_path: Path) -> None:
    logs = [("close-1", good(1)), ("close-1", hasty(1)), ("close-2", good(2)), ("close-2", good(2))]
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, logs, trials=2)
        report = await bench.exports.export(run, "dpo")
        (row,) = rows_of(report)
        check_table([row])
        assert [m["role"] for m in row["prompt"]] == ["system", "user"]
        chosen, rejected = row["chosen"][0], row["rejected"][0]
        assert chosen["tool_calls"][0]["function"]["name"] == "look_up_ticket"
        assert rejected["tool_calls"][0]["function"]["name"] == "close_ticket"
        assert (row["id"], row["rejected_id"]) == ("run-1/close-1/1", "run-1/close-1/2")
        assert (row["side"], row["from"]) == ("agent", "trials")
        check_messages([*row["prompt"], chosen], row["tools"])


async def test_trials_that_part_at_a_turn_of_the_user_are_no_pair(tmp_path: Path) -> None:
    other = [say("user", "T1 is done, close it."), *hasty(1)[1:]]
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [("close-1", good(1)), ("close-1", other)], trials=2)
        with pytest.raises(InvalidArgument, match=f"dpo needs two trials .*{run} has none") as refused:
            await bench.exports.export(run, "dpo")
        assert refused.value.next[0].args == {"kind": "conversation", "where": {"run": run}}
        assert not (tmp_path / "exports").exists()


async def test_a_rejected_turn_and_the_one_in_its_place_are_a_pair_of_its_side(tmp_path: Path) -> None:
    async with bench_at(tmp_path / "here") as bench:
        run = await ran(bench, [("close-1", good(1))])
        whole = json.loads((await bench.exports.export(run, "json")).path.read_text(encoding="utf-8"))
    log = whole["trials"][0]["conversation"]["log"]
    for by, text in (("agent", "No."), ("user", "Hello?")):
        place = next(k for k, entry in enumerate(log) if entry.get("by") == by and "say" in entry)
        why = {"rejected": True, "feedback": "Say what it is about."}
        log.insert(place, {**log[place], "by": by, "say": text, **why})
    for n, entry in enumerate(log, 1):
        entry["n"] = n
    file = tmp_path / "run.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    async with bench_at(tmp_path / "there", [tmp_path]) as bench:
        await bench.imports.start(str(file), wait_s=45)
        report = await bench.exports.export(run, "dpo")
        rows = rows_of(report)
    check_table(rows)
    assert [(row["side"], row["rejected"][0]["content"], row["chosen"][0]["content"]) for row in rows] == [
        ("agent", "No.", "T1 is closed."),
        ("user", "Hello?", "Close T1, please."),
    ]
    assert {(row["from"], row["feedback"]) for row in rows} == {("regenerated", "Say what it is about.")}
    assert rows[0]["prompt"][-1]["role"] == "tool" and "Close T1" not in json.dumps(rows[1]["prompt"])
    assert report.warnings == ["1 of 2 pairs are of the user's side: column `side`."]


async def test_a_group_holds_the_answers_to_one_prompt_with_their_rewards_and_rewarded_ground_truth(
    tmp_path: Path,
) -> None:
    other = [say("user", "Please close T1."), *good(1)[1:]]
    logs = [("close-1", hasty(1)), ("close-1", good(1)), ("close-1", other), ("close-2", hasty(2))]
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [*logs, *[("close-2", hasty(2))] * 2], trials=3)
        rows = rows_of(await bench.exports.export(run, "grpo"))
        types = check_table(rows)
        assert types["rewards"] == ["float"] and types["ground_truth"] == "str"
        assert [(row["ids"], row["rewards"]) for row in rows] == [
            (["run-1/close-1/1", "run-1/close-1/2"], [0.0, 1.0]),
            (["run-1/close-1/3"], [1.0]),
            ([f"run-1/close-2/{n}" for n in (1, 2, 3)], [0.0, 0.0, 0.0]),
        ]
        truth = json.loads(rows[0]["ground_truth"])
        assert truth == [{"name": "close_ticket", "arguments": {"ticket_id": "T1"}}]
        assert rows[0]["ground_truth_id"] == "run-1/close-1/2"
        assert rows[2]["ground_truth"] == "", "what was called without reward is no truth"
        for row in rows:
            for completion in row["completions"]:
                check_messages([*row["prompt"], *completion], row["tools"])


async def test_where_nothing_has_reward_1_it_is_said_with_what_would_do(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [("close-1", hasty(1))])
        for format in ("sft", "grpo"):
            with pytest.raises(InvalidArgument, match=f"{format} needs conversations with reward 1"):
                await bench.exports.export(run, format)


async def test_arguments_of_other_shapes_stay_one_column(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"name": "note", "steps": [{"return": "'noted'"}], "strict": False}
    world = {**tickets(2)}
    world["tools"] = [*world["tools"], odd]
    logs = [
        [*good(1)[:1], {"by": "agent", "tool": "note", "args": args}, *good(1)[1:]]
        for args in ({}, {"a": {"b": [1, "x", None]}}, {"a": 3})
    ]
    async with bench_at(tmp_path) as bench:
        agent = talks([("close-1", log) for log in logs])
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=world, agent=agent)
        await bench.scenarios.create("desk", [closing(1, split="train")])
        await bench.runs.start("desk", trials=3, wait_s=45)
        rows = rows_of(await bench.exports.export("run-1", "sft"))
        check_table(rows)
        said = [
            json.loads(m["tool_calls"][0]["function"]["arguments"]) for r in rows for m in r["messages"][2:3]
        ]
        assert said == [{}, {"a": {"b": [1, "x", None]}}, {"a": 3}]


async def test_all_runs_of_an_environment_go_into_one_file(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await ran(bench, [("close-1", good(1)), ("close-2", hasty(2))])
        again = {"agent": talks([("close-1", good(1)), ("close-2", good(2))])}
        await bench.items.update("environment", "desk", again)
        await bench.runs.start("desk", wait_s=45)
        rows = rows_of(await bench.exports.export("desk", "sft"))
        assert [row["id"] for row in rows] == ["run-1/close-1/1", "run-2/close-2/1"]
        report = await bench.exports.export("desk", "csv", where={"run": "run-2"})
        assert report.records == 2
        with pytest.raises(InvalidArgument, match=r"where\.colour"):
            await bench.exports.export("desk", "sft", where={"colour": "red"})


@pytest.mark.parametrize("format", ["sft", "dpo", "grpo"])
async def test_training_data_leave_out_what_is_held_out_unless_it_is_asked_for(
    tmp_path: Path, format: str
) -> None:
    logs = [(f"close-{n}", log(n)) for n in (1, 2) for log in (good, hasty)]
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", world_data=tickets(2), agent=talks(logs))
        await bench.scenarios.create("desk", [closing(1, split="held_out"), closing(2, split="train")])
        await bench.runs.start("desk", trials=2, wait_s=45)
        for source in ("run-1", "desk"):
            report = await bench.exports.export(source, format, file=source)
            assert [(row["scenario"], row["split"]) for row in rows_of(report)] == [("close-2", "train")]
            assert report.left_out[0].startswith("2 conversations: held out") and not report.warnings
        with pytest.raises(InvalidArgument, match="All conversations of run-1 that were chosen") as error:
            await bench.exports.export("run-1", format, where={"scenario": "close-1"})
        again = dict(error.value.next[0].args)
        asked = await bench.exports.export(**again, file="asked")
        assert [(row["scenario"], row["split"]) for row in rows_of(asked)] == [("close-1", "held_out")]
        assert asked.warnings[0].startswith("Exporting counts as reading: 1 held-out")
        shown = await bench.items.page("conversation", where={"run": "run-1", **HELD_OUT})
        assert [row["split"] for row in shown.items] == ["held_out", "held_out"]
        with pytest.raises(InvalidArgument, match="none is found by a check"):
            await bench.exports.export("run-1", format, where={"check": "rule.looked-up", **HELD_OUT})


async def test_pairs_never_contradict_each_other(tmp_path: Path) -> None:
    """Two openings each lead to a pass and a fail that parts from it at a turn of the user."""
    logs: list[tuple[str, Sequence[Row]]] = []
    for n, words in enumerate(("Hello.", "Hello.", "Good day.", "Good day.")):
        opening = [say("user", "Close T1."), say("agent", words), say("user", f"Well, {n}.")]
        logs.append(("close-1", [*opening, *(good(1) if n % 2 == 0 else hasty(1))[1:]]))
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, logs, trials=4)
        with pytest.raises(InvalidArgument, match="dpo needs two trials of a simulation that part"):
            await bench.exports.export(run, "dpo")


async def test_training_data_spend_held_out_scenarios_and_wait_for_a_proof(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create(
            "desk", world_data=tickets(2), agent=talks([("close-1", good(1)), ("close-2", good(2))])
        )
        await bench.scenarios.create("desk", [closing(1, split="held_out"), closing(2, split="train")])
        await bench.runs.start("desk", wait_s=45)
    with Store(tmp_path) as opened:
        fields: Row = {"environment": "desk", "base": "desk@1", "base_text": "", "strategy": "rules"}
        standing = Hardening(id="hard-9", state="running", proving=True, **fields)
        Archive(opened).hardenings.put("hard-9", standing)
    async with bench_at(tmp_path) as bench:
        for source, format in (("run-1", "csv"), ("desk", "csv"), ("desk", "arksim"), ("desk", "tau2")):
            with pytest.raises(HeldOut):
                await bench.exports.export(source, format)
        for format in ("sft", "grpo"):
            with pytest.raises(HeldOut):
                await bench.exports.export("run-1", format, where=HELD_OUT)
        with pytest.raises(HeldOut):
            await bench.items.page("conversation", where={"run": "run-1", **HELD_OUT})
        train = await bench.exports.export("run-1", "sft")
        assert train.records == 1 and train.warnings == []
    with Store(tmp_path) as opened:
        Archive(opened).hardenings.delete(["hard-9"])
    async with bench_at(tmp_path) as bench:
        assert not any(row.get("spent") for row in (await bench.items.page("scenario")).items)
        report = await bench.exports.export("run-1", "sft", file="held-out", where=HELD_OUT)
        assert report.records == 1 and report.warnings[0].startswith(
            "Exporting counts as reading: 1 held-out"
        )
        spent = [row["id"] for row in (await bench.items.page("scenario")).items if row.get("spent")]
        assert spent == ["desk/close-1"]


async def test_a_client_exports_training_data_and_reads_it_back(tmp_path: Path) -> None:
    async with server(tmp_path) as at:
        logs = [("close-1", good(1)), ("close-1", hasty(1))]
        await at.ok(
            "create_environment",
            id="desk",
            instructions=INSTRUCTIONS,
            world_data=tickets(1),
            agent=talks(logs),
        )
        await at.ok("create_scenarios", environment="desk", scenarios=[closing(1, split="train")])
        await at.ok("create_simulations", environment="desk")
        await at.ok("run_simulations", environment="desk", trials=2, wait_s=45)
        reply = await at.ok("export_run", source="run-1", format="dpo", inline=True)
        assert reply["summary"].startswith(
            "exports/run-1-dpo.jsonl written: one pair of a chosen and a rejected turn"
        )
        assert reply["records"] == 1 and reply["untrusted"] == ["text"]
        assert json.loads(reply["text"])["rejected_id"] == "run-1/close-1/2"
        error = await at.error("export_run", source="run-1", format="sft", where={"verdict": "error"})
        assert error["code"] == "invalid_argument" and error["next"]

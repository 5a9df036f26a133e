"""Replay recorded conversations of a benchmark and compare our verdicts with the rewards that were recorded with them.

    python replay_recorded.py DATA_DIR [--tasks 2,30,44] [--home DIR]

Everything goes through the MCP server, as with any client. README.md beside this file says what DATA_DIR holds.
Exit code: 0 if every verdict equals its recorded reward, 1 if one differs, 2 if the data cannot be used.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client import Client

STATE, POLICY, TASKS = "airline/state.json", "airline/policy.md", "airline/tasks.json"
RECORDINGS = "tau/tau1_airline_trajectories.json.gz"
WORLD = Path(__file__).with_name("world.json")
"""Clock, schema and tools of the world, written for this example; state and policy come from the data."""
ENVIRONMENT = "airline"
DEFAULT_TASKS = "2,30,44"
LIMITS = {"max_turns": 100, "max_tool_calls": 100, "same_message": 100}
"""Wide enough that only the recording ends a trial."""
STEP_LIMIT = {"reason": "max_tool_calls", "detail": "the recording stopped at its limit of steps"}
NUMBER = re.compile(r"\d+(\.\d+)?")


class Unusable(Exception):
    """The data or the server's answer cannot be used."""


@dataclass(frozen=True)
class Data:
    """What was read from the data folder: the chosen tasks, and each one's recorded rows in the order of trials."""

    folder: Path
    policy: str
    tasks: dict[int, dict[str, Any]]
    rows: dict[int, list[dict[str, Any]]]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Replay recorded conversations and compare the verdicts.")
    parser.add_argument("data", type=Path, metavar="DATA_DIR", help="folder of the benchmark's files")
    parser.add_argument("--tasks", default=DEFAULT_TASKS, help="task numbers, or all")
    parser.add_argument("--home", default="", metavar="DIR", help="keep the server's data folder there")
    args = parser.parse_args(words)
    try:
        data = read_data(args.data.resolve(), args.tasks)
        if args.home:
            return anyio.run(replay, data, args.home)
        with tempfile.TemporaryDirectory(prefix="caseharden-replay-") as home:
            return anyio.run(replay, data, home)
    except Unusable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def read_data(folder: Path, chosen: str) -> Data:
    """The chosen tasks and their recordings. Raises Unusable, naming the file or the task."""
    try:
        listed = json.loads((folder / TASKS).read_text(encoding="utf-8"))
        recorded = json.loads(gzip.decompress((folder / RECORDINGS).read_bytes()))
        policy = (folder / POLICY).read_text(encoding="utf-8")
        tasks = {int(task["task_id"]): task for task in listed}
        numbers = list(tasks) if chosen == "all" else [int(word) for word in chosen.split(",")]
    except (OSError, ValueError, KeyError) as error:
        raise Unusable(f"{type(error).__name__}: {error}") from None
    unknown = [number for number in numbers if number not in tasks]
    if unknown:
        raise Unusable(f"There is no task {unknown[0]}; {TASKS} holds {min(tasks)} to {max(tasks)}.")
    rows: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    for row in sorted(recorded, key=lambda row: int(row["trial"])):
        if row["task_id"] in rows:
            rows[row["task_id"]].append(row)
    return Data(folder, policy, {number: tasks[number] for number in numbers}, rows)


async def replay(data: Data, home: str) -> int:
    """Set up the environment, prove each task solvable, play every recording; the exit code."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "caseharden", "serve", "--home", home, "--root", str(data.folder)],
    )
    failed: Unusable | None = None
    equal = total = 0
    async with Client(command) as client:
        try:
            await set_up(Server(client), data)
            for number, rows in data.rows.items():
                equal += await compare(Server(client), number, rows)
                total += len(rows)
        except Unusable as error:  # the client's task group would wrap it
            failed = error
    if failed:
        raise failed
    print(f"{equal} of {total} verdicts equal the recorded rewards")
    return 0 if equal == total else 1


class Server:
    """Calls tools, and waits where a call starts a job."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured reply; Unusable with the server's words when it refuses."""
        reply = await self._call(tool, arguments)
        while reply.get("job", {}).get("state") in ("queued", "running", "waiting"):
            waited = await self._call("wait_job", {"job": reply["job"]["id"], "wait_s": 30})
            reply = {**(waited.get("result") or reply), "job": waited["job"]}
        return reply

    async def _call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await self._client.call_tool(tool, arguments)
        content: dict[str, Any] = result.structured_content or {}
        if result.is_error:
            error = content.get("error", {})
            raise Unusable(f"{tool}: {error.get('where', '')}: {error.get('what', 'no reason given')}")
        return content


async def set_up(server: Server, data: Data) -> None:
    """The environment with its recorded agent, and a scenario for each task, each played for its own solution."""
    world = json.loads(WORLD.read_text(encoding="utf-8"))
    made = await server(
        "create_environment",
        id=ENVIRONMENT,
        instructions="Serve the airline's customers by this policy.\n\n{policy}",
        world=str(data.folder / STATE),
        world_data={**world, "policy": data.policy},
        agent={
            "kind": "recorded",
            "conversations": [
                conversation(number, trial, row)
                for number, rows in data.rows.items()
                for trial, row in enumerate(rows, 1)
            ],
        },
    )
    held = ", ".join(f"{count} {name}" for name, count in made["world"]["collections"].items())
    print(f"environment {made['environment']}: {held}, {made['world']['tools']} tools")
    scenarios = [scenario(number, task) for number, task in data.tasks.items()]
    created = await server("create_scenarios", environment=ENVIRONMENT, scenarios=scenarios)
    for refused in created.get("refused", []):
        raise Unusable(f"create_scenarios: {refused['at']}: {refused['what']}")
    for number, task in data.tasks.items():
        solution = await server(
            "get_item", kind="scenario", id=f"{ENVIRONMENT}/{name_of(number)}", view="solution"
        )
        calls = len(task["actions"])
        print(f"task {number}: expected solution of {calls} calls is {solution['item']['status']}")


async def compare(server: Server, number: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """Play a task's recordings and print each verdict beside the recorded reward; how many are equal."""
    if not rows:
        print(f"task {number}: no recording")
        return 0
    run = await server(
        "run_simulations", environment=ENVIRONMENT, select=[f"scenario:{name_of(number)}"], trials=len(rows)
    )
    page = await server("list_items", kind="conversation", where={"run": run["run"]}, limit=len(rows))
    ids = {int(found["id"].rpartition("/")[2]): found["id"] for found in page["items"]}
    equal = 0
    for trial, row in enumerate(rows, 1):
        played = (await server("get_item", kind="conversation", id=ids[trial]))["item"]
        reward = row["expected"]["reward"]
        same = played["verdict"] == ("pass" if reward == 1 else "fail")
        equal += same
        failed = ", ".join(check["id"] for check in played["failed_checks"])
        told = f"{played['verdict']} ({failed})" if failed else played["verdict"]
        mark = "equal" if same else "DIFFERENT"
        end = played["end"]["reason"]
        print(f"task {number} trial {trial}: {told}, end {end}; recorded reward {reward:g}: {mark}")
    return equal


def scenario(number: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """A task as a scenario: the world must end as its actions leave it, and its outputs must be said."""
    outputs: list[str] = task.get("outputs", [])
    expected: list[dict[str, Any]] = [
        {"tool": action["name"], "args": action["kwargs"]} for action in task["actions"]
    ]
    if outputs or not expected:
        expected.append({"say": f"What you asked for: {'; '.join(outputs) or 'nothing is to be changed'}."})
    told = [{"id": f"told-{k}", "said": said(output)} for k, output in enumerate(outputs, 1)]
    return {
        "id": name_of(number),
        "goal": task["instruction"],
        "expected": expected,
        "success": [{"id": "world", "world": "expected"}, *told],
        "limits": LIMITS,
        "split": "train",
    }


def said(output: str) -> dict[str, Any]:
    """How an output is looked for in the agent's texts: a number by value, anything else by its words."""
    return {"number": float(output)} if NUMBER.fullmatch(output) else {"text": output}


def conversation(number: int, trial: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded row as a conversation that can be played back. What never ended was cut off by a limit."""
    log = [{"by": "user", "say": row["first_user_message"]}, *entries(row["steps"])]
    made: dict[str, Any] = {"scenario": name_of(number), "trial": trial, "log": log}
    return made if row["expected"]["terminated"] else {**made, "end": STEP_LIMIT}


def entries(steps: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    """The recorded steps as entries of a log; results are left out, since the world gives its own."""
    for step in steps:
        if "name" in step:
            yield {"by": "agent", "tool": step["name"], "args": step["arguments"]}
            continue
        yield {"by": "agent", "say": step["say"]}
        if step.get("user") is not None:
            yield {"by": "user", "say": step["user"]}


def name_of(number: int) -> str:
    """The scenario's id."""
    return f"task-{number}"


if __name__ == "__main__":
    sys.exit(main())

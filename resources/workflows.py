"""Workflows as prompts: the ordered calls, with the real ids and the present state filled in."""

from __future__ import annotations

import json
from typing import Any

from ..engine.errors import InvalidArgument, NextCall
from ..engine.ids import SLUG
from ..engine.workbench import Workbench
from .library import HERE

HARDEN_MY_AGENT = (
    "Evaluate an agent, find a better text for its instructions, prove it, and ask before promoting it."
)
LEND_YOUR_MODEL = "Answer the model calls of a job in every role, batch by batch, until it is done."

TRIAGE_FAILURES = (
    "Find out why a run failed: the causes, the decisive turns, whose fault it was, and what to do."
)
PLAY_THE_AGENT = (
    "Be the agent yourself, in a live session with a simulated user, and get the reward explained."
)

WRITE_SCENARIOS = (
    "Write test scenarios: read policy and data, write, correct what is refused, close the gaps."
)

NONE_YET = "There is no environment yet."
SHIPPED = "shop"
"""The environment that a prompt names where there is none."""


def template(name: str) -> str:
    """The text of a workflow, with placeholders."""
    return (HERE / "prompts" / f"{name}.md").read_text(encoding="utf-8")


async def harden_my_agent(bench: Workbench, environment: str, goal: str = "") -> str:
    """The text of the prompt; without an environment, for the only one; where there is none, it begins with making one.

    Raises NotFound if the environment does not exist, InvalidArgument if several could be meant.
    """
    environment = environment or await _only_environment(bench)
    told = await _summary_of(bench, environment)
    run = await _newest(bench, "run", environment) if told else None
    job = await _active(bench, environment) if told else None
    text = template("harden_my_agent").format(
        environment=environment,
        goal=" ".join(goal.split())[:1_000],
        state=_state(told, run, job),
        first=_begin(told, environment) + _first(environment, run, job),
        run=f', "run": "{run["id"]}"' if run else "",
        again=_again(environment, run),
    )
    return text.replace(". \n", ".\n")


async def play_the_agent(bench: Workbench, environment: str, start: str = "") -> str:
    """The text of the prompt; an open session in which the caller is the agent is resumed.

    Raises as `harden_my_agent` does.
    """
    environment = environment or await _only_environment(bench)
    told = await _summary_of(bench, environment)
    session = await _open_session(bench, environment) if told else ""
    state = f"{told or NONE_YET} {session or 'No session'} is open."
    args = {"environment": environment, "role": "agent", "start": start.strip()[:200] or "random"}
    first = f"start_session({json.dumps(args, ensure_ascii=False)})."
    if session and not start:
        look = json.dumps({"session": session, "action": "look"})
        first = f"step_session({look}) to go on with {session}, or {first}"
    first = _begin(told, environment) + first
    return template("play_the_agent").format(environment=environment, state=state, first=first)


async def write_scenarios(bench: Workbench, environment: str, count: str = "", focus: str = "") -> str:
    """The text of the prompt; `count` 1 to 50, default 5. Raises as `harden_my_agent` does."""
    environment = environment or await _only_environment(bench)
    told = await _summary_of(bench, environment)
    if count.strip() and not (count.strip().isdecimal() and 1 <= int(count.strip()[:4]) <= 50):
        raise InvalidArgument(f"`count` is {count[:40]}.", where="count", allowed="1 to 50")
    text = template("write_scenarios").format(
        environment=environment,
        count=count.strip() or "5",
        focus=" ".join(focus.split())[:1_000],
        state=told or NONE_YET,
        begin=_begin(told, environment),
    )
    return text.replace(". \n", ".\n")


async def lend_your_model(bench: Workbench, job: str) -> str:
    """The text of the prompt; without a job, for the newest that waits; where none does, it begins with starting one.

    Raises NotFound if the job does not exist.
    """
    job = job or await _newest_waiting(bench)
    if not job:
        environment = (await _environments(bench))[:1]
        args = json.dumps({"environment": (*environment, SHIPPED)[0], "models": {"user": "relay"}})
        first = f"run_simulations({args}), for one: its reply names the job, for which `job-1` stands here."
        state = "No job waits for answers." + ("" if environment else f" {NONE_YET}")
        first = (_begin("") if not environment else "") + first
        return template("lend_your_model").format(job="job-1", state=state, first=first)
    found = await bench.items.get("job", job)
    first = f'take_model_calls({{"job": "{job}", "limit": 16}}).'
    if found.item.get("state") not in ("queued", "running", "waiting"):
        first = f'wait_job({{"job": "{job}"}}): nothing of it waits any more.'
    return template("lend_your_model").format(job=job, state=found.summary, first=first)


async def triage_failures(bench: Workbench, run: str = "") -> str:
    """The text of the prompt; without a run, for the newest; where there is none, it begins with making one.

    Raises NotFound if the run does not exist.
    """
    run = run or await _newest_run(bench)
    if not run:
        return await _first_run(bench)
    found = await bench.items.get("run", run, view="clusters")
    series = await bench.items.get("run", run, view="rounds", limit=100)
    first = f'get_item({{"kind": "run", "id": "{run}", "view": "clusters"}}).'
    rounds = [str(row["run"]) for row in series.item["rounds"]]
    earlier = rounds[: rounds.index(run)][-1:] if run in rounds else []
    compare = "No earlier run of its series: there is nothing to compare it with."
    for base in earlier:
        args = json.dumps({"base": base, "run": run})
        compare = (
            f"compare_runs({args}), then with `simulation` the first turn that differs in one that broke."
        )
    return template("triage_failures").format(run=run, state=found.summary, first=first, compare=compare)


async def _first_run(bench: Workbench) -> str:
    """The workflow of a data folder without runs."""
    ids = await _environments(bench)
    begin = "" if ids else _begin("")
    first = (
        f'{begin}run_simulations({{"environment": "{(*ids, SHIPPED)[0]}"}}); `run-1` here stands for its run.'
    )
    state = "There is no run yet." + ("" if ids else f" {NONE_YET}")
    compare = "It is the first run: there is nothing to compare it with."
    return template("triage_failures").format(run="run-1", state=state, first=first, compare=compare)


async def _newest_run(bench: Workbench) -> str:
    page = await bench.items.page("run", limit=1)
    return str(page.items[0]["id"]) if page.items else ""


async def _newest_waiting(bench: Workbench) -> str:
    page = await bench.items.page("job", where={"state": "waiting"}, limit=1)
    return str(page.items[0]["id"]) if page.items else ""


async def _environments(bench: Workbench) -> list[str]:
    return [str(row["id"]) for row in (await bench.items.page("environment", limit=20)).items]


async def _only_environment(bench: Workbench) -> str:
    """The only environment; where there is none, the id of one that a prompt begins with making."""
    ids = await _environments(bench)
    if len(ids) < 2:
        return (*ids, SHIPPED)[0]
    start = NextCall("list_items", {"kind": "environment"})
    what = "Which environment? There are several."
    raise InvalidArgument(what, where="environment", allowed=ids, next=[start])


async def _summary_of(bench: Workbench, environment: str) -> str:
    """What is to be said of an environment; "" where there is none at all. NotFound if there are only others."""
    if SLUG.fullmatch(environment) and not await _environments(bench):
        return ""
    return (await bench.items.get("environment", environment)).summary


def _begin(told: str, environment: str = SHIPPED) -> str:
    """How to make an environment, before anything else, if nothing is told of one."""
    return "" if told else f"{template('begin').format(environment=environment).strip()} "


async def _newest(bench: Workbench, kind: str, environment: str) -> dict[str, Any] | None:
    page = await bench.items.page(kind, environment=environment, limit=1)
    return page.items[0] if page.items else None


async def _open_session(bench: Workbench, environment: str) -> str:
    page = await bench.items.page("session", environment=environment, where={"state": "open"}, limit=20)
    return next((str(row["id"]) for row in page.items if row["role"] == "agent"), "")


async def _active(bench: Workbench, environment: str) -> dict[str, Any] | None:
    page = await bench.items.page("job", environment=environment, limit=5)
    return next(
        (row for row in page.items if row.get("state") in ("queued", "running", "waiting", "paused")), None
    )


def _state(environment: str, run: dict[str, Any] | None, job: dict[str, Any] | None) -> str:
    parts = [environment or NONE_YET]
    if run is None:
        parts.append("No runs yet.")
    else:
        figures = {
            key: run[key] for key in ("state", "passed", "counted", "instructions", "round") if key in run
        }
        parts.append(f"Newest run: {run['id']} {json.dumps(figures, ensure_ascii=False)}.")
    if job is not None:
        parts.append(f"{job['id']} is {job['state']}.")
    return " ".join(one for one in parts if one)


def _first(environment: str, run: dict[str, Any] | None, job: dict[str, Any] | None) -> str:
    if job is not None:
        return f'wait_job({{"job": "{job["id"]}"}}): work still goes on.'
    if run is not None and run.get("state") == "done":
        return f'get_item({{"kind": "run", "id": "{run["id"]}"}}), or run_simulations for a fresh run.'
    return f'run_simulations({{"environment": "{environment}"}}).'


def _again(environment: str, run: dict[str, Any] | None) -> str:
    series = f', "continue_run": "{run["id"]}"' if run else ""
    name = "" if run else " with continue_run set to the first run's id"
    return f'run_simulations({{"environment": "{environment}"{series}}}){name}.'

"""Calls of every tool that come out the same each time, and the replies without ids and times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import TextResourceContents

from caseharden.mcp_server.scaffold import write
from caseharden.tests.server_desk import TINY, Desk, closing, tiny
from caseharden.tools import ORDER

Told = tuple[str, str, Any]
"""What was asked, `ok` or `error`, and the masked reply."""
TIMED = re.compile(r".*(_at|_s|_ms|seconds|bytes|sha256)$")
"""Fields whose value is another one each time."""
SHIFTING = re.compile(r"\d+(\.\d+)? (s|ms|min|bytes)\b|\d{4}-\d\d-\d\dT[\d:.]+Z?|\bapp-[\w-]+")


class Recorder(Desk):
    """Keeps what the server said, masked."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.told: list[Told] = []

    async def ok(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        reply = await super().ok(tool, **arguments)
        self.told.append((tool, "ok", masked(reply)))
        return reply

    async def error(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        error = await super().error(tool, **arguments)
        self.told.append((tool, "error", masked(error)))
        return error

    async def stopped(self, job: str) -> None:
        """Cancel a job that runs; how far it came is another thing each time."""
        await super().ok("cancel_job", job=job, reason="enough")
        self.told.append(("cancel_job", "ok", job))


async def played(client: Client, root: Path) -> list[Told]:
    """Every tool with success and with an error, every kind of address, the prompt."""
    at = Recorder(client)
    await made(at, root)
    await looked_and_run(at)
    await stepped(at)
    await lent(at)
    await hardened(at)
    await cleared(at)
    for tool in ORDER:
        await at.error(tool, no_such_argument=1)
    return [*at.told, *await read(client)]


async def made(at: Recorder, root: Path) -> None:
    """Environments, personas, scenarios, simulations."""
    await tiny(at)
    await at.error("create_environment", id="support", instructions="Other.", world="nowhere")
    if not (root / "cases").exists():
        write(root / "cases")
    await at.ok("import_environment", path=str(root / "cases"), wait_s=45)
    await at.error("import_environment", path=str(root / ".." / "elsewhere"))
    await at.error("create_personas", environment="suport", personas=[{"id": "eve"}])
    await at.ok("generate_personas", environment="support", count=1, wait_s=45)
    await at.error("generate_personas", environment="support", count=0)
    await at.error("create_scenarios", environment="support", scenarios=[3])
    await at.ok("create_environment", id="shop", world="shop")
    await at.ok("generate_scenarios", environment="shop", count=1, wait_s=45)
    await at.error("generate_scenarios", environment="none", count=1)
    await at.ok("create_simulations", environment="support", pairing="all", wait_s=45)
    await at.error("create_simulations", environment="support", simulations=[{"id": "x", "scenario": "no"}])


async def looked_and_run(at: Recorder) -> None:
    """Lists, items, changes, a run that ends and one that is cancelled."""
    await at.ok("list_items", kind="scenario", environment="support")
    await at.error("list_items", kind="scenario", where={"nonsense": 1})
    await at.ok("get_item", kind="persona", id="support/dana", view="full")
    await at.error("get_item", kind="persona", id="support/danna")
    await at.ok("update_item", kind="persona", id="support/dana", changes={"style": "long"})
    await at.error("update_item", kind="persona", id="support/dana", changes={"stile": "long"})
    run = await at.ok("run_simulations", environment="support", wait_s=45)
    assert run["run"] == "run-1"
    await at.error("run_simulations", environment="support", select=["failed:run-70"])
    await at.ok("wait_job", job="job-1", wait_s=0)
    await at.error("wait_job", job="job-999")
    page = await at.ok("list_items", kind="conversation", where={"run": "run-1"})
    await at.ok("get_item", kind="conversation", id=page["items"][0]["id"], view="turns")
    await at.ok("run_simulations", environment="support", wait_s=45)
    await at.ok("compare_runs", base="run-1", run="run-2")
    await at.ok("score_run", run="run-1", metrics=["turns"], thresholds={"turns": 20}, wait_s=45)
    await at.error("score_run", run="run-1", metrics=["turnes"])
    await at.error("compare_runs", base="run-1", run="run-70")
    await at.ok("export_run", source="run-1", format="csv")
    await at.error("export_run", source="run-70")
    long: dict[str, Any] = {
        "environment": "support",
        "trials": 50,
        "options": {"concurrency": 1},
        "wait_s": 0,
    }
    started = await Desk.ok(at, "run_simulations", **long)
    await at.stopped(started["job"]["id"])
    await at.error("cancel_job", job="job-1")


async def long_run(at: Desk, name: str = "long") -> str:
    """The job of a run that takes many seconds, on an environment of that name."""
    await Desk.ok(at, "create_environment", id=name, instructions="Close it.", world_data=TINY)
    cases = [closing(f"case-{number}", "T1") for number in range(100)]
    await Desk.ok(at, "create_scenarios", environment=name, scenarios=cases)
    options = {"concurrency": 1}
    started = await Desk.ok(at, "run_simulations", environment=name, trials=50, options=options, wait_s=0)
    return str(started["job"]["id"])


async def stepped(at: Recorder) -> None:
    """A session that is played by hand, and one without a user."""
    await at.ok("start_session", environment="shop", start="refund-broken-lamp")
    await at.error("start_session", environment="shop", start="#999")
    await at.ok("step_session", session="session-1", text="May I have your email?")
    await at.error("step_session", session="session-1", action="call", tool="refund")
    await at.ok("step_session", session="session-1", action="undo", turn=1)
    await at.ok("step_session", session="session-1", action="end")
    await at.error("step_session", session="session-1")
    await at.ok("get_item", kind="session", id="session-1", view="full")
    await at.ok("start_session", environment="support", start="blank")


async def hardened(at: Recorder) -> None:
    """A hardening with a text that the guards refuse, and a decision."""
    await at.ok("run_simulations", environment="shop", wait_s=45)
    found = await at.ok("harden_agent", environment="shop", strategy="submit", wait_s=45)
    await at.error("harden_agent", environment="shop", strategy="submit", run="run-70")
    leak = [{"op": "add", "anchor": "end", "text": "If the order is W10432, refund it."}]
    await at.ok("submit_candidate", hardening=found["hardening"], edits=leak, wait_s=45)
    await at.error("submit_candidate", hardening=found["hardening"])
    await at.ok("decide_candidate", candidate="shop@1", decision="roll_back")
    await at.error("decide_candidate", candidate="shop@9", decision="promote")


async def lent(at: Recorder) -> None:
    """A run whose user is played by the client, and answers that are refused."""
    await at.ok("create_environment", id="lent", instructions="Close it.", world_data=TINY)
    await at.ok("create_scenarios", environment="lent", scenarios=[closing("close-one", "T1")])
    begun = await at.ok("run_simulations", environment="lent", models={"user": "relay"})
    job = begun["job"]["id"]
    await at.error("take_model_calls", job=job, roles=["tester"])
    batch = await at.ok("take_model_calls", job=job, wait_s=45)
    (call,) = [view["id"] for view in batch["calls"]]
    await at.error("answer_model_calls", answers=[])
    again = await at.ok("answer_model_calls", answers=[{"id": call, "text": ""}, {"id": "m-0"}], wait_s=45)
    assert [row["id"] for row in again["refused"]] == [call, "m-0"]
    await at.ok("answer_model_calls", answers=[{"id": call, "text": "###STOP###"}], wait_s=45)


async def cleared(at: Recorder) -> None:
    """What is deleted last."""
    await at.ok("create_scenarios", environment="support", scenarios=[closing("extra", "T1")])
    await at.ok("create_personas", environment="support", personas=[{"id": "extra"}])
    await at.ok("delete_items", kind="persona", ids=["support/extra"])
    await at.ok("delete_items", kind="persona", ids=["support/extra"], confirm=True)
    await at.error("delete_items", kind="persona", ids=["support/nobody"], confirm=True)


async def read(client: Client) -> list[Told]:
    """What is listed, one address of each kind, one that does not exist, and the prompt."""
    told: list[Told] = [
        ("tools", "ok", [one.model_dump(mode="json") for one in (await client.list_tools()).tools]),
        (
            "resources",
            "ok",
            [one.model_dump(mode="json") for one in (await client.list_resources()).resources],
        ),
        ("prompts", "ok", [one.model_dump(mode="json") for one in (await client.list_prompts()).prompts]),
    ]
    templates = (await client.list_resource_templates()).resource_templates
    told.append(("templates", "ok", [one.model_dump(mode="json") for one in templates]))
    for address in (
        "guide/verdicts",
        "schema/scenario",
        "environment/support/policy",
        "run/run-1/clusters",
        "world/shop",
    ):
        (content,) = (await client.read_resource(f"caseharden://{address}")).contents
        assert isinstance(content, TextResourceContents)
        told.append((address, "ok", masked_text(content.text)))
    for address in ("run/run-99", "nothing/at/all"):
        try:
            await client.read_resource(f"caseharden://{address}")
        except MCPError as error:
            told.append((address, "error", (error.code, error.message)))
    for name, arguments in (
        ("harden_my_agent", {"environment": "shop"}),
        ("lend_your_model", {"job": "job-1"}),
        ("write_scenarios", {"environment": "shop", "count": "3"}),
    ):
        prompt = await client.get_prompt(name, arguments)
        told.append((name, "ok", masked_text(str(prompt.messages[0].content))))
    return told


def masked(value: Any) -> Any:
    """The reply without what is another one each time."""
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return {key: "*" if TIMED.match(key) else masked(one) for key, one in known.items()}
    if isinstance(value, list):
        return [masked(one) for one in cast("list[Any]", value)]
    return masked_text(value) if isinstance(value, str) else value


def masked_text(text: str) -> str:
    """The text without durations and moments."""
    return SHIFTING.sub("*", text)

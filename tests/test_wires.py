"""Every wire in both protocol eras: the same tools, replies, errors and notices."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.types import ResourceUpdatedNotification, SubscribeRequestParams

from caseharden.mcp_server.subscriptions import Subscriptions
from caseharden.resources.workbench import Workbench
from caseharden.tests.server_desk import Desk, Mode, tiny
from caseharden.tests.wire_plan import Told, long_run, played
from caseharden.tests.wires import ROADS, Wire, http_server, reached
from caseharden.tools import ORDER

pytestmark = pytest.mark.anyio
every_road = pytest.mark.parametrize(("wire", "mode"), ROADS, ids=["-".join(road) for road in ROADS])


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder under which the server may read, the same for all."""
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def first() -> Iterator[list[Told]]:
    """What the first road answered; the others are held against it."""
    yield []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one server over HTTP, for both eras."""
    with http_server(tmp_path_factory.mktemp("shared") / "data") as served:
        yield served.url


@pytest.mark.requirement("CH-3")
@every_road
async def test_every_tool_answers_the_same_with_success_and_with_errors(
    tmp_path: Path, cases: Path, first: list[Told], wire: Wire, mode: Mode
) -> None:
    async with reached(wire, mode, tmp_path / "data", roots=[cases]) as client:
        told = await played(client, cases)
    for how in ("ok", "error"):
        called = {name for name, came, _ in told if came == how}
        assert set(ORDER) <= called, f"tests/wire_plan.py has no call of it: {how}"
    if not first:
        first += told
    for ours, theirs in zip(told, first, strict=True):
        assert ours == theirs


@pytest.mark.requirement("CH-3")
@every_road
async def test_progress_is_told_a_client_that_goes_away_stops_nothing_and_only_cancel_job_does(
    tmp_path: Path, shared: str, wire: Wire, mode: Mode
) -> None:
    rising: list[float] = []
    heard = anyio.Event()

    async def notice(progress: float, total: float | None, message: str | None) -> None:
        rising.append(progress)
        heard.set()

    async with reached(wire, mode, tmp_path / "data", url=shared) as client:
        at = Desk(client)
        job = await long_run(at, f"long-{mode}")
        waiting = {"job": job, "wait_s": 45}
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(client.call_tool, "wait_job", waiting, progress_callback=notice))
                await heard.wait()
                group.cancel_scope.cancel()
        assert rising == sorted(set(rising))
        with pytest.raises(MCPError, match=r"(?i)time"):
            await client.call_tool("wait_job", waiting, read_timeout_seconds=0.2)
        assert (await at.ok("get_item", kind="job", id=job))["item"]["state"] == "running"
        with anyio.fail_after(20):
            stopped = await at.ok("cancel_job", job=job)
        assert stopped["job"]["state"] == "cancelled"
        assert stopped["job"]["completed"] < stopped["job"]["total"]


@pytest.mark.requirement("CH-3")
@every_road
async def test_a_subscriber_is_told_when_a_run_has_ended(
    tmp_path: Path, shared: str, wire: Wire, mode: Mode
) -> None:
    uris: set[str] = set()
    heard = anyio.Event()

    async def message(told: Any) -> None:
        if isinstance(told, ResourceUpdatedNotification) and str(told.params.uri) in uris:
            heard.set()

    async with reached(wire, mode, tmp_path / "data", url=shared, message_handler=message) as client:
        at = Desk(client)
        support = f"support-{mode}"
        await tiny(at, support)
        run = f"run-{(await at.ok('list_items', kind='run'))['total'] + 1}"
        uri = f"caseharden://run/{run}"
        uris.add(uri)
        assert client.server_capabilities.resources is not None
        assert client.server_capabilities.resources.subscribe is True
        with anyio.fail_after(30):
            if mode == "legacy":
                await subscribed(client, uri)
                await at.ok("run_simulations", environment=support, wait_s=0)
                await heard.wait()
                await unsubscribed(client, uri)
            else:
                async with client.listen(resource_subscriptions=[uri]) as events:
                    await at.ok("run_simulations", environment=support, wait_s=0)
                    event: Any = await anext(aiter(events))
                    assert event.uri == uri
        assert (await at.ok("get_item", kind="run", id=run))["item"]["state"] == "done"


@pytest.mark.requirement("CH-3")
async def test_a_subscriber_that_does_not_read_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caseharden.mcp_server.subscriptions.SEND_S", 3600)
    subscriptions, handlers = Subscriptions(Workbench(tmp_path)), dict[str, Any]()

    def add(name: str, _: object, handler: Any) -> None:
        handlers[name] = handler

    inner = SimpleNamespace(add_request_handler=add)
    server: Any = SimpleNamespace(_lowlevel_server=inner)
    subscriptions.serve_older_clients(server)
    heard = anyio.Event()

    class Session:
        """A connection, as the SDK has it, to a client that reads or does not."""

        def __init__(self, reads: bool, stack: AsyncExitStack) -> None:
            self.reads = reads
            self.exit_stack = stack
            self._connection = self

        async def send_resource_updated(self, _: str) -> None:
            if not self.reads:
                await anyio.sleep_forever()
            heard.set()

    async with AsyncExitStack() as stack:
        for reads in (False, True):
            asked = SubscribeRequestParams(uri="caseharden://overview")
            await handlers["resources/subscribe"](SimpleNamespace(session=Session(reads, stack)), asked)
        ended: Any = SimpleNamespace(result=None)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(subscriptions.job_ended, ended)
                await heard.wait()
                group.cancel_scope.cancel()


async def subscribed(client: Client, uri: str) -> None:
    """As older clients do it; the SDK warns that it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await client.subscribe_resource(uri)  # pyright: ignore[reportDeprecated]


async def unsubscribed(client: Client, uri: str) -> None:
    """The same, for the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await client.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated]

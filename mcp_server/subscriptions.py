"""Resource subscriptions: clients of both protocol eras are notified when a job ends.

Newer clients listen on a stream that the SDK serves; older ones subscribe to single addresses, and are notified on
their connection.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_REQUEST, EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

from ..engine.workbench import HardeningReport, JobReport, RunReport, Workbench

MOST = 100
"""Most addresses that one connection may subscribe to."""
SEND_S = 5.0
"""Seconds for the notices of one job; a client that does not read is skipped."""

Context = ServerRequestContext[Any, Any]


class Subscriptions:
    """The subscribers of one server."""

    def __init__(self, bench: Workbench) -> None:
        self.bus = InMemorySubscriptionBus()
        """The source of the SDK's own streams."""
        self._bench = bench
        self._older: dict[Connection, dict[str, ServerSession]] = {}

    @contextmanager
    def announcing(self) -> Generator[None]:
        """While the workbench is open, announce every end of a job."""
        stop = self._bench.jobs.on_end(self.job_ended)
        try:
            yield
        finally:
            stop()

    def serve_older_clients(self, server: MCPServer[Any]) -> None:
        """Handle `resources/subscribe` and `resources/unsubscribe`, which only older clients send."""
        inner = server._lowlevel_server  # pyright: ignore[reportPrivateUsage] # the server has no public way
        inner.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        inner.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)

    async def job_ended(self, report: JobReport) -> None:
        """Announce what the job changed."""
        changed = addresses(report)
        for uri in changed:
            await self.bus.publish(ResourceUpdated(uri=uri))
        async with anyio.create_task_group() as group:
            for sessions in self._older.values():
                row = {uri: sessions[uri] for uri in changed if uri in sessions}
                group.start_soon(_tell, row)

    async def _subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        connection = _connection(ctx)
        if connection not in self._older:
            self._older[connection] = {}
            connection.exit_stack.callback(self._older.pop, connection, None)
        if len(self._older[connection]) >= MOST:
            raise MCPError(INVALID_REQUEST, f"At most {MOST} addresses a connection; unsubscribe from some.")
        self._older[connection][params.uri] = ctx.session
        return EmptyResult()

    async def _unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        self._older.get(_connection(ctx), {}).pop(params.uri, None)
        return EmptyResult()


def addresses(report: JobReport) -> list[str]:
    """The resources that have changed once the job has ended."""
    result, changed = report.result, ["caseharden://overview"]
    if isinstance(result, RunReport):
        run = f"caseharden://run/{result.run.id}"
        changed += [run, f"{run}/rounds", f"{run}/clusters"]
    if isinstance(result, HardeningReport):
        hardening = f"caseharden://hardening/{result.hardening.id}"
        changed += [hardening, f"{hardening}/diff"]
    return changed


async def _tell(sessions: Mapping[str, ServerSession]) -> None:
    """Notify one connection about these addresses; one that does not read delays nobody else."""
    with anyio.move_on_after(SEND_S):
        for uri, session in sessions.items():
            try:
                await session.send_resource_updated(uri)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # it has just gone away


def _connection(ctx: Context) -> Connection:
    """The connection, which outlives the request."""
    return ctx.session._connection  # pyright: ignore[reportPrivateUsage] # the session has no public way to it

"""Takes in what agents export by OpenTelemetry, OTLP over HTTP in JSON, and assigns it to their trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from ..engine.agents import NoSpans, SpanBatch, Watched, read_export

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

TRACES: Final = "/v1/traces"
MOST_BYTES: Final = 4 * 1024 * 1024
"""Limit for one request."""
READ_S: Final = 10.0
"""Seconds within which a request must arrive."""
AT_ONCE: Final = 4
"""Requests read at the same time; others wait."""
Take = Callable[[SpanBatch], int]
"""Stores spans; returns how many were left out."""


class SpanIntake:
    """Assigns incoming spans to the trials that await them."""

    def __init__(self) -> None:
        self._watched: dict[bytes, Watched] = {}
        self._limit = anyio.CapacityLimiter(AT_ONCE)

    def watch(self, key: bytes, watched: Watched) -> None:
        """Watch for a trial's spans. `key`: of its token."""
        self._watched[key] = watched

    def unwatch(self, key: bytes) -> None:
        self._watched.pop(key, None)

    def of(self, key: bytes) -> Watched | None:
        """The trial of a token."""
        return self._watched.get(key)

    def sort_out(self, batch: SpanBatch) -> int:
        """Assign spans to their trials, by trace or by the conversation that they name; how many have none."""
        return self._sorted_out(batch, None)

    def take_for(self, watched: Watched, batch: SpanBatch) -> int:
        """The same for spans sent with a trial's token: any that match no other trial are that trial's."""
        return self._sorted_out(batch, watched)

    def _sorted_out(self, batch: SpanBatch, other: Watched | None) -> int:
        traces = {watched.trace: watched for watched in self._watched.values()}
        talks = {watched.conversation: watched for watched in self._watched.values()}
        left_out, theirs = batch.left_out, dict[str, tuple[Watched, SpanBatch]]()
        for span in batch.spans:
            named = (talks[name] for name in span.conversations if name in talks)
            watched = traces.get(span.trace) or next(named, other)
            if watched is None:
                left_out += 1
            else:
                theirs.setdefault(watched.trace, (watched, SpanBatch()))[1].spans.append(span)
        return left_out + sum(watched.take(given) for watched, given in theirs.values())

    async def answer(self, scope: Scope, receive: Receive, send: Send, take: Take) -> None:
        """Answer one request from an authenticated sender: accept the export, or refuse it with the reason."""
        status, told = await self.taken(scope, receive, take)
        body = json.dumps(told).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def taken(self, scope: Scope, receive: Receive, take: Take) -> tuple[int, dict[str, object]]:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if scope["method"] != "POST":
            return 405, _refused("spans are posted")
        if kind != b"application/json" or headers.get(b"content-encoding", b"identity") != b"identity":
            return 415, _refused(
                "spans are taken as JSON, not compressed: OTEL_EXPORTER_OTLP_PROTOCOL=http/json"
            )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return 413, _refused(f"more than {MOST_BYTES} bytes: export smaller batches")
        async with self._limit:
            try:
                with anyio.fail_after(READ_S):
                    body = await _body(receive)
            except TimeoutError:
                return 408, _refused(f"the request did not arrive within {READ_S:g} s")
            if body is None:
                return 413, _refused(f"more than {MOST_BYTES} bytes: export smaller batches")
            try:
                batch = await anyio.to_thread.run_sync(read_export, body)
            except NoSpans as error:
                return 400, _refused(str(error))
        left_out = take(batch)
        if not left_out:
            return 200, {}
        why = "no spans of a conversation that goes on, malformed, or too many"
        return 200, {"partialSuccess": {"rejectedSpans": str(left_out), "errorMessage": why}}


async def _body(receive: Receive) -> bytes | None:
    """The body; None if it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > MOST_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _refused(what: str) -> dict[str, object]:
    """A google.rpc.Status, the OTLP form of a failure."""
    return {"code": 3, "message": what}

"""A model endpoint for benchmarks: OpenAI-compatible, with a fixed time to every answer, in a process of its own.

python benchmarks/endpoint_server.py [latency in ms]

Prints its port. GET /counts returns how many requests came and how many, at most, were being answered at once, and
then counts from zero again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


@dataclass(slots=True)
class Counts:
    requests: int = 0
    at_once: int = 0
    most_at_once: int = 0


@dataclass(slots=True)
class Endpoint:
    latency_s: float
    counts: Counts = field(default_factory=Counts)


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(rest) < length:
            return
        self._read = rest[length:]
        if head.startswith(b"GET"):
            self._tell()
        else:
            self._take(rest[:length])

    def _take(self, body: bytes) -> None:
        counts = self._endpoint.counts
        counts.requests += 1
        counts.at_once += 1
        counts.most_at_once = max(counts.most_at_once, counts.at_once)
        text = (
            f"I looked at your order, and message {body.count(b'role')} of ours says that it is on its way."
        )
        asyncio.get_running_loop().call_later(self._endpoint.latency_s, self._answer, text, len(body))

    def _answer(self, text: str, size: int) -> None:
        self._endpoint.counts.at_once -= 1
        usage = {"prompt_tokens": size // 4, "completion_tokens": len(text) // 4}
        usage["total_tokens"] = sum(usage.values())
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "bench",
                "choices": [choice],
                "usage": usage,
            }
        )

    def _tell(self) -> None:
        counts, self._endpoint.counts = self._endpoint.counts, Counts()
        self._send({"requests": counts.requests, "most_at_once": counts.most_at_once})

    def _send(self, value: object) -> None:
        body = json.dumps(value).encode()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(HEAD + str(len(body)).encode() + b"\r\n\r\n" + body)


async def main(latency_ms: float) -> None:
    endpoint = Endpoint(latency_ms / 1000)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 100.0))
    except KeyboardInterrupt:
        sys.exit(0)

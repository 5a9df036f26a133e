"""A model or agent endpoint on the loopback for tests: OpenAI-compatible, and as broken as a test wants it.

    with FakeEndpoint() as endpoint:
        endpoint.then(too_many(retry_after=0), chat("Hello."))   # the next two answers, in this order
        ...                                                      # ask endpoint.base_url
        assert endpoint.requests[0].json["messages"] == [...]

Threads and blocking sockets only, so that it serves any event loop, a subprocess, or no loop at all. Leaving the
context ends hanging answers and closes every connection.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def last_text(self) -> str:
        """The content of the last message, or ""."""
        messages: list[dict[str, Any]] = self.json.get("messages") or [{}]
        return str(messages[-1].get("content") or "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint does with one request.

    `latency_s`: before the first byte. `drip_s`: every byte of the body is sent alone, so many seconds apart.
    `hang`: nothing is answered until the endpoint closes. `cut`: the connection ends after so many bytes of the body
    (0: before any answer). `endless`: the body is repeated for as long as the client reads.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content_type: str = "application/json"
    latency_s: float = 0.0
    drip_s: float = 0.0
    hang: bool = False
    cut: int | None = None
    endless: bool = False

    def late(self, seconds: float) -> Answer:
        return replace(self, latency_s=seconds)


Answering = Callable[[Seen], Answer]


def of_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), status, headers or {})


def completion(
    text: str | None = "Hello.",
    calls: Iterable[tuple[str, Any]] = (),
    usage: tuple[int, int] | None = (11, 7),
    model: str = "fake-1",
) -> dict[str, Any]:
    """A chat completion as OpenAI writes it. `calls`: name and arguments, a value or the text as it is."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    made = [
        {
            "id": f"call_{k}",
            "type": "function",
            "function": {"name": name, "arguments": args if isinstance(args, str) else json.dumps(args)},
        }
        for k, (name, args) in enumerate(calls)
    ]
    if made:
        message["tool_calls"] = made
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if made else "stop"}
    told: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    told["choices"] = [choice]
    if usage is not None:
        told["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
    return told


def chat(
    text: str | None = "Hello.",
    calls: Iterable[tuple[str, Any]] = (),
    usage: tuple[int, int] | None = (11, 7),
) -> Answer:
    return of_json(completion(text, calls, usage))


def stream(text: str = "Hello.", calls: Iterable[tuple[str, str]] = (), pieces: int = 3) -> Answer:
    """The same as server-sent events: text and arguments come in pieces, usage in a chunk of its own."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in _pieces(text, pieces)]
    for k, (name, arguments) in enumerate(calls):
        head = {"index": k, "id": f"call_{k}", "type": "function", "function": {"name": name}}
        deltas.append({"tool_calls": [head]})
        for piece in _pieces(arguments, pieces):
            deltas.append({"tool_calls": [{"index": k, "function": {"arguments": piece}}]})
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return Answer("".join([*lines, "data: [DONE]\n\n"]).encode(), content_type="text/event-stream")


def too_many(retry_after: float | str | None = None) -> Answer:
    """429; `retry_after` in seconds, or a date."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return of_json({"error": {"message": "slow down", "type": "rate_limit"}}, 429, headers)


def fault(status: int = 500, text: str = "broken inside") -> Answer:
    return of_json({"error": {"message": text}}, status)


def broken_json() -> Answer:
    return Answer(b'{"choices": [{"message": {"content": "Hel')


def hang() -> Answer:
    return Answer(hang=True)


def cut(after: int = 0) -> Answer:
    """The connection ends after so many bytes of the answer's body."""
    return replace(chat(), cut=after)


def drip(every_s: float = 0.05) -> Answer:
    """A long body that comes byte by byte."""
    return Answer(b" " * MEGABYTE, drip_s=every_s)


def endless() -> Answer:
    return Answer(b" " * 65536, endless=True)


def gzip_bomb(megabytes: int = 200) -> Answer:
    """So many megabytes of blanks, a thousandth of that on the wire."""
    return Answer(_packed_blanks(megabytes), headers={"Content-Encoding": "gzip"})


@cache
def _packed_blanks(megabytes: int) -> bytes:
    """One file of gzip: its head, a megabyte packed once and repeated, an empty last block, sum and length."""
    blanks = b" " * MEGABYTE
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    head, end = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff", zlib.compressobj(wbits=-15).flush()
    crc = 0
    for _ in range(megabytes):
        crc = zlib.crc32(blanks, crc)
    return head + packed * megabytes + end + struct.pack("<II", crc, megabytes * MEGABYTE)


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(b"", status, {"Location": to})


class FakeEndpoint:
    """The endpoint. Without a queue it answers every request by `always`, at first with `chat()`.

    `base_url` ends in `/v1`. `requests`: all that came, in order of arrival. `most_at_once`: how many were being
    answered at the same time, at most. `GET` requests (a probe, a list of models) are answered with 404, or as
    `probed` says, and counted in `probes`, not in `requests`. `tls`: it speaks TLS with that certificate.
    """

    def __init__(
        self, always: Answer | Answering | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Seen] = []
        self.probes: list[Seen] = []
        self.connections = 0
        self.most_at_once = 0
        self._always: Answer | Answering = always or chat()
        self._queue: deque[Answer | Answering] = deque()
        self._of_probes = of_json({"error": {"message": "no such page"}}, 404)
        self._at_once = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> FakeEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.cut_all()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def then(self, *answers: Answer | Answering) -> None:
        """The answers of the next requests, in order; after them `always` again."""
        with self._lock:
            self._queue.extend(answers)

    def always(self, answer: Answer | Answering) -> None:
        """The answer of every request from now on, when the queue is empty."""
        self._always = answer

    def probed(self, answer: Answer) -> None:
        """The answer of every GET from now on."""
        self._of_probes = answer

    def take(self, seen: Seen) -> Answer:
        """Count a request and find its answer."""
        with self._lock:
            if seen.method == "GET":
                self.probes.append(seen)
                return self._of_probes
            self.requests.append(seen)
            answer = self._queue.popleft() if self._queue else self._always
        return answer if isinstance(answer, Answer) else answer(seen)

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """For so long, or until the endpoint closes."""
        self._closing.wait(seconds)

    def count(self, step: int) -> None:
        with self._lock:
            self._at_once += step
            self.most_at_once = max(self.most_at_once, self._at_once)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 1024

    def __init__(self, endpoint: FakeEndpoint, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.endpoint = endpoint
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.endpoint.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the endpoint."""

    def cut_all(self) -> None:
        for connection in list(self._open):
            _shut(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._serve(b"")

    def do_HEAD(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def _serve(self, body: bytes) -> None:
        endpoint = self.server.endpoint
        headers = {name.lower(): value for name, value in self.headers.items()}
        endpoint.count(1)
        try:
            answer = endpoint.take(Seen(self.command, self.path, headers, body))
            if answer.hang:
                endpoint.wait()
            elif answer.latency_s:
                endpoint.wait(answer.latency_s)
            if answer.hang or answer.cut == 0:
                self._end()
                return
            self._send(answer)
        finally:
            endpoint.count(-1)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not answer.endless:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        for part in self._parts(answer):
            self.wfile.write(part)
        if answer.endless or answer.cut is not None:
            self._end()

    def _parts(self, answer: Answer) -> Iterator[bytes]:
        endpoint = self.server.endpoint
        if answer.cut is not None:
            yield answer.body[: answer.cut]
        elif answer.drip_s:
            for k in range(len(answer.body)):
                if endpoint.closing:
                    self._end()
                    return
                yield answer.body[k : k + 1]
                endpoint.wait(answer.drip_s)
        elif answer.endless:
            while not endpoint.closing:
                yield answer.body
        else:
            yield answer.body

    def _end(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        _shut(self.connection)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _pieces(text: str, count: int) -> Iterator[str]:
    size = max(1, -(-len(text) // count))
    return (text[k : k + size] for k in range(0, len(text), size))

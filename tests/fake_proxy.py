"""An HTTP proxy on the loopback: whatever place is asked for is seen, and stands for one port of this machine.

with FakeProxy(endpoint.port) as proxy:
    ...                                     # https://agent.invalid/chat through proxy.url ends at the endpoint
    assert proxy.tunnels == ["agent.invalid:443"]
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class FakeProxy:
    """Takes CONNECT alone. `tunnels`: the places that were asked for, in order of arrival."""

    def __init__(self, port: int) -> None:
        self.tunnels: list[str] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._mutex = threading.Lock()
        self._ended = False
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FakeProxy:
        self._begin(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        with self._mutex:
            self._ended = True
            ended = [self._listener, *self._open]
        for one in ended:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        for one in ended:
            one.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._kept(client):
                self._begin(self._tunnel, client)

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        method, place, _ = head.decode("latin-1").split(" ", 2)
        self.tunnels.append(place)
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        server = socket.create_connection(("127.0.0.1", self._port))
        if self._kept(server):
            client.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            self._begin(self._forward, server, client)
            self._forward(client, server)

    def _kept(self, one: socket.socket) -> bool:
        """Whether a new connection may go on: it is cut at the end, or at once if that has come."""
        with self._mutex:
            if self._ended:
                one.close()
            else:
                self._open.append(one)
            return not self._ended

    def _begin(self, work: Callable[..., None], *args: socket.socket) -> None:
        def until_it_is_cut() -> None:
            with contextlib.suppress(OSError):
                work(*args)

        thread = threading.Thread(target=until_it_is_cut)
        thread.start()
        self._threads.append(thread)

    @staticmethod
    def _forward(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

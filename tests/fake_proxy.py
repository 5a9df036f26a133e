"""An HTTP proxy on the loopback: whatever place is asked for is seen, and stands for one port of this machine.

with FakeProxy(endpoint.port) as proxy:
    ...                                     # https://agent.invalid/chat through proxy.url ends at the endpoint
    assert proxy.tunnels == ["agent.invalid:443"]
"""

from __future__ import annotations

import contextlib
import socket
import threading


class FakeProxy:
    """Takes CONNECT alone. `tunnels`: the places that were asked for, in order of arrival."""

    def __init__(self, port: int) -> None:
        self.tunnels: list[str] = []
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> FakeProxy:
        self._threads[0].start()
        return self

    def __exit__(self, *error: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._begin(self._tunnel, client)

    def _tunnel(self, client: socket.socket) -> None:
        self._open.append(client)
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
        self._open.append(server)
        client.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        self._begin(self._forward, server, client)
        self._forward(client, server)

    def _begin(self, work: object, *args: socket.socket) -> None:
        thread = threading.Thread(target=work, args=args)  # pyright: ignore[reportArgumentType]
        self._threads.append(thread)
        thread.start()

    @staticmethod
    def _forward(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

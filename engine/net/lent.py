"""A session for litellm, which makes its own requests: they reach no further, and receive no more, than ours.

The library decides where to go, and would follow redirects, accept answers of any size, use a proxy from the
environment and its own certificate authorities. Here every request is checked, uses the operator's proxy and
trusted authorities; a redirect is an error, and an answer is cut at the cap, measured unpacked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, cast

from ..depth import too_deep
from ..errors import UserError
from .errors import BadStatus, Refused, TooLarge
from .guard import Guard

if TYPE_CHECKING:
    import aiohttp

Unpacking = Callable[[str], Callable[[bytes, int], bytes] | None]
"""Maps an encoding to a function that unpacks a piece, up to that many bytes at a time; None: it is not packed."""
CODINGS = "gzip, deflate"


def lent_session(
    session: aiohttp.ClientSession, guard: Guard, proxy: str, most_bytes: int, unpacking: Unpacking
) -> aiohttp.ClientSession:
    """A session over another's connections; requests to this machine do not go through the proxy."""
    import aiohttp  # heavy, but already loaded if there is a session

    class Request(aiohttp.ClientRequest):
        def __init__(self, method: str, url: Any, **options: Any) -> None:
            why = too_deep()
            if why:
                raise Refused(why)
            try:
                target = guard.target(str(url), "url")
            except UserError as error:
                raise Refused(error.what) from None
            via = type(url)(proxy) if proxy and not target.local else None
            options |= {"ssl": True, "proxy": via, "proxy_auth": None}
            super().__init__(method, url, **options)
            self.headers["Accept-Encoding"] = CODINGS

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            if 300 <= self.status < 400:
                raise BadStatus(self.status, f"answered {self.status}, and redirects are not followed")
            unpack = unpacking(self.headers.get("Content-Encoding", ""))
            self.content = cast("aiohttp.StreamReader", _Capped(self.content, most_bytes, unpack))
            return self

    return aiohttp.ClientSession(
        connector=session.connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        request_class=Request,
        response_class=Response,
    )


class _Capped:
    """The body of an answer, passed on as it arrives until it exceeds that many bytes unpacked."""

    def __init__(
        self, content: aiohttp.StreamReader, most: int, unpack: Callable[[bytes, int], bytes] | None
    ) -> None:
        self._content = content
        self._most = most
        self._unpack = unpack

    async def iter_chunked(self, size: int) -> AsyncGenerator[bytes]:
        left = self._most
        async for data in self._content.iter_chunked(size):
            left -= len(self._unpack(data, left + 1) if self._unpack else data)
            if left < 0:
                raise TooLarge(f"the answer is longer than {self._most:,} bytes")
            yield data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

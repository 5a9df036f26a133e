"""The one HTTP client: guarded, without cookies or redirects, every answer capped in size and time."""

from __future__ import annotations

import email.utils
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from ..depth import HEADER, one_deeper, too_deep
from ..errors import InvalidArgument
from .errors import BadStatus, NetError, Refused, TimedOut, TooLarge, Unreachable
from .guard import Guard, Lookup, Resolver, Target
from .lent import CODINGS, lent_session
from .network import Network
from .pace import Clock, Pace
from .retries import Retries, tried

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
TIMEOUT_S: Final = 60.0
"""For one request, from its first byte to the last of the answer."""
MOST_BYTES: Final = 2_000_000
"""For one answer, unpacked."""
CONNECT_S: Final = 10.0
SHOWN_BODY: Final = 2000
MOST_PACES: Final = 1000
"""Endpoints whose pace is remembered while nobody calls them."""
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Response:
    """A successful answer. `kind`: its content type without parameters, in lower case.

    `headers` can be looked up by name in any case.
    """

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class HttpClient:
    """Asks endpoints, within the limits the operator set.

    Each serves one event loop; it may be used concurrently, and must be closed at the end. Nothing is imported or
    opened before the first request. `lookup` replaces the system's name resolution, `clock` the time. An invalid
    proxy or CA file raises InvalidArgument at once.
    """

    def __init__(self, network: Network, *, lookup: Lookup | None = None, clock: Clock | None = None) -> None:
        self._network = network
        self.guard = Guard(network, lookup)
        self._clock = clock or Clock()
        self._paces: dict[str, Pace] = {}
        self._opening = anyio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._lent: aiohttp.ClientSession | None = None
        self._kit: _Kit | None = None
        self._proxy = _proxy(network.proxy)
        self._trusted = _trust(network.ca_file) if network.ca_file else None

    async def aclose(self) -> None:
        """Close every connection."""
        for session in (self._lent, self._session):
            if session is not None:
                await session.close()
        self._lent = self._session = None

    def pace(self, key: str) -> Pace:
        """The pace for an endpoint or a provider; of very many, those used last are remembered."""
        found = self._paces.pop(key, None) or Pace(self._network.at_once, self._clock)
        self._paces[key] = found
        if len(self._paces) > MOST_PACES:
            idle = next((known for known, pace in self._paces.items() if pace.idle and known != key), None)
            self._paces.pop(idle or "", None)
        return found

    async def repeated(
        self, key: str, attempt: Callable[[], Awaitable[T]], timeout_s: float, retries: Retries
    ) -> T:
        """Return the attempt's result, at the endpoint's pace, retrying if that may help; otherwise raise NetError."""
        return await tried(
            attempt, pace=self.pace(key), clock=self._clock, timeout_s=timeout_s, retries=retries
        )

    async def post(
        self,
        target: Target,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float = TIMEOUT_S,
        retries: Retries | None = None,
        most_bytes: int = MOST_BYTES,
        until: re.Pattern[bytes] | None = None,
        read: Callable[[Response], T],
    ) -> T:
        """Return what `read` makes of the endpoint's answer; NetError if none succeeds.

        `read` may raise Broken, and the request is repeated. `until`: if the answer is a stream of events, stop
        waiting after the first match.
        """

        async def attempt() -> T:
            return read(await self.request("POST", target, body, headers, most_bytes, until))

        return await self.repeated(target.origin, attempt, timeout_s, retries or Retries())

    async def request(
        self,
        method: str,
        target: Target,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
        until: re.Pattern[bytes] | None = None,
    ) -> Response:
        """One request, neither timed nor repeated; Refused if we are too deep inside another Caseharden."""
        why = too_deep()
        if why:
            raise Refused(why)
        session = self._session or await self.session()
        kit = cast("_Kit", self._kit)
        proxy = "" if target.local else self._proxy
        if proxy and not target.local:
            await self._judge_for_proxy(target)
        try:
            response = await session.request(
                method,
                target.url,
                data=body,
                headers={**(headers or {}), HEADER: one_deeper()},
                allow_redirects=False,
                proxy=proxy or None,
                timeout=kit.timeout,
            )
            async with response:
                return await _answered(response, most_bytes, until)
        except (kit.error, OSError) as error:
            raise kit.translated(error) from error

    async def reach(self, target: Target, timeout_s: float = 5.0) -> None:
        """Connect and close again without sending anything. NetError if the endpoint cannot be reached."""
        if self._proxy and not target.local:
            await self._judge_for_proxy(target)
            return
        failed: OSError | None = None
        with anyio.move_on_after(timeout_s):
            try:
                for address in await self.guard.addresses(target.host, target.port):
                    try:
                        stream = await anyio.connect_tcp(address, target.port)
                    except OSError as error:
                        failed = error
                    else:
                        await stream.aclose()
                        return
            except OSError as error:
                failed = error
        raise _of_os_error(failed) if failed else TimedOut(f"no connection within {timeout_s:g} s")

    async def session(self) -> aiohttp.ClientSession:
        """The session, opened on the first call: importing aiohttp takes a third of a second."""
        async with self._opening:
            if self._session is None:
                self._kit = await anyio.to_thread.run_sync(_Kit, self._trusted)
                self._session = self._kit.session(self._resolver())
            return self._session

    async def lent_session(self) -> aiohttp.ClientSession:
        """A session for a library that makes its own requests: over the same connections, under the same guard."""
        session = self._session or await self.session()
        if self._lent is None:
            self._lent = lent_session(session, self.guard, self._proxy, MOST_BYTES, _unpacking)
        return self._lent

    def _resolver(self) -> Resolver:
        return Resolver(self.guard, [urlsplit(self._proxy).hostname or ""] if self._proxy else ())

    async def _judge_for_proxy(self, target: Target) -> None:
        """Check names that we can resolve as if we connected ourselves; a proxy resolves them on its own."""
        try:
            await self.guard.addresses(target.host, target.port)
        except OSError:
            return


class _Kit:
    """The parts of aiohttp that are needed, imported in a worker thread."""

    def __init__(self, trusted: ssl.SSLContext | None) -> None:
        import aiohttp  # heavy: only when something is asked

        self._aiohttp = aiohttp
        self.error = aiohttp.ClientError
        self.timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        self._tls = trusted or _usual_trust(*(os.environ.get(name, "") for name in _CERTIFICATES))

    def session(self, resolver: Resolver) -> aiohttp.ClientSession:
        connector = self._aiohttp.TCPConnector(limit=0, ssl=self._tls, resolver=cast("Any", resolver))
        return self._aiohttp.ClientSession(
            connector=connector,
            cookie_jar=self._aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"Accept-Encoding": CODINGS, "User-Agent": "caseharden"},
        )

    def translated(self, error: BaseException) -> NetError:
        """Translate an error of aiohttp."""
        a = self._aiohttp
        if isinstance(error, a.ClientConnectorCertificateError | a.ClientConnectorSSLError):
            return Unreachable("its certificate was not accepted", again=False)
        if isinstance(error, a.ClientConnectorDNSError):
            return Unreachable("its name is not known", again=False)
        if isinstance(error, a.ClientConnectorError):
            return _of_os_error(error.os_error)
        if isinstance(error, TimeoutError):
            return TimedOut(f"no connection within {CONNECT_S:g} s")
        if isinstance(error, a.ServerConnectionError | a.ClientPayloadError | a.ClientOSError | OSError):
            return Unreachable("the connection was cut")
        return Unreachable(f"no HTTP answer ({type(error).__name__})", again=False)


def _of_os_error(error: OSError) -> NetError:
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ConnectionRefusedError):
        return Unreachable("refused the connection", refused=True)
    if isinstance(cause, socket.gaierror):
        return Unreachable("its name is not known", again=False)
    return Unreachable(f"cannot be reached ({cause.strerror or type(cause).__name__})")


async def _answered(response: aiohttp.ClientResponse, most: int, until: re.Pattern[bytes] | None) -> Response:
    """The whole answer, or raise the error it stands for."""
    status = response.status
    if status < 300:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        body = await _body(response, most, until if kind == "text/event-stream" else None)
        return Response(status, kind, body, response.headers)
    if status < 400:
        raise BadStatus(status, f"answered {status}, and redirects are not followed")
    try:
        body = await _body(response, min(most, 64_000), None)
    except NetError:
        body = b""
    raise BadStatus(
        status,
        f"answered {status} {response.reason or ''}".rstrip(),
        body=body[:SHOWN_BODY].decode("utf-8", "replace"),
        retry_after_s=retry_after_s(response.headers.get("Retry-After")),
    )


async def _body(response: aiohttp.ClientResponse, most: int, until: re.Pattern[bytes] | None) -> bytes:
    """The body, unpacked, to its end or the line where `until` matches; TooLarge beyond `most` bytes."""
    unpack = _unpacking(response.headers.get("Content-Encoding", ""))
    content = response.content
    whole = bytearray()
    line = 0
    while data := await content.readany():
        whole += unpack(data, most + 1 - len(whole)) if unpack else data
        if len(whole) > most:
            raise TooLarge(f"the answer is longer than {most:,} bytes")
        if until is not None:
            if until.search(whole, line):
                break
            line = max(line, whole.rfind(b"\n") + 1)
    return bytes(whole)


def _unpacking(coding: str) -> Callable[[bytes, int], bytes] | None:
    """A function that unpacks piece by piece, never more than is asked for; None: the body is not packed."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in ("gzip", "x-gzip", "deflate"):
        raise Unreachable(f"the answer's encoding `{name[:40]}` was not asked for", again=False)
    unpacker = zlib.decompressobj(47)

    def unpack(data: bytes, most: int) -> bytes:
        try:
            return unpacker.decompress(data, most)
        except zlib.error:
            raise Unreachable("the answer's encoding is broken", again=False) from None

    return unpack


def retry_after_s(text: str | None) -> float | None:
    """Seconds, from a number or a date; None if it is neither."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text.strip()):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


@cache
def _usual_trust(*where: str) -> ssl.SSLContext:
    """The trust used if the operator names no file, set by the variables; read once, it takes 50 ms of CPU."""
    import httpx

    trust = httpx.create_ssl_context()
    trust.load_default_certs()
    return trust


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(
            f"The CA file cannot be read: {error.strerror or 'it holds no certificate'}.",
            where="network.ca_file",
            allowed="a PEM file",
        ) from None


def _proxy(url: str) -> str:
    if url and not re.fullmatch(r"https?://(?:[^@/\s]+@)?[A-Za-z0-9.:\[\]_-]+/?", url):
        raise InvalidArgument(
            "The proxy is no URL that can be used.", where="network.proxy", allowed="http://HOST:PORT"
        )
    return url

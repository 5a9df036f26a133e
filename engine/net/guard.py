"""Which addresses may be reached: checks every URL a user gives and every address its name resolves to."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import anyio

from ..errors import InvalidArgument, NotAllowed
from .errors import Refused
from .network import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a name and a port to its addresses; OSError if there are none."""

MAX_URL: Final = 2048
ALLOWED_URL: Final = "an http or https URL without user name and password"
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
"""Where clouds hand out credentials."""
_METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "64:ff9b:1::/48",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
"""What `is_global` lets through in some versions of Python, or what hides another address (6to4, Teredo)."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NUMERIC: Final = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}\.?", re.I)
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252})", re.I)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed the guard. Only `Guard.target` makes one.

    `url`: in the one form that is requested. `origin`: scheme, host and port. `shown`: without the query, for
    messages. `local`: on this machine, by address or name.
    """

    url: str
    origin: str
    host: str
    port: int
    shown: str
    local: bool


class Guard:
    """The rules of a `Network`. InvalidArgument if one of its networks is invalid."""

    def __init__(self, network: Network, lookup: Lookup | None = None) -> None:
        self._loopback = network.loopback
        self._private = tuple(_network(text, k) for k, text in enumerate(network.private))
        self._lookup = lookup or _addresses
        self._ways = "public addresses" + (", this machine" if network.loopback else "")

    def target(self, url: str, where: str) -> Target:
        """Return the URL if it is valid and its address, if it names one, may be reached; nothing is looked up.

        InvalidArgument for anything but a plain http URL, NotAllowed for an address that may not be reached.
        """
        parts = _split(url, where)
        host = _ascii_host(parts.hostname or "", where)
        port = _port(parts, where)
        address = _literal(host, where)
        if address is not None:
            host = f"[{address}]" if address.version == 6 else str(address)
        why = self._of_name(host) if address is None else self.refusal(address)
        if why:
            raise NotAllowed(f"{host} may not be reached: {why}.", where=where, allowed=self.allowed)
        netloc = host if parts.port is None else f"{host}:{port}"
        path = parts.path or "/"
        origin = f"{parts.scheme}://{host}:{port}"
        shown = urlunsplit((parts.scheme, netloc, path, "", ""))
        whole = urlunsplit((parts.scheme, netloc, path, parts.query, ""))
        local = _is_local_name(host) if address is None else _unwrapped(address).is_loopback
        return Target(whole, origin, host.strip("[]"), port, shown, local)

    @property
    def allowed(self) -> str:
        """What may be reached, in words."""
        known = "".join(f", {net}" for net in self._private)
        more = "" if self._loopback else "this machine with --allow-loopback, "
        return f"{self._ways}{known}; the operator adds {more}networks with --allow-net CIDR"

    def refusal(self, address: Address) -> str:
        """Why an address may not be reached, or ""."""
        inner = _unwrapped(address)
        if inner in _METADATA or address in _METADATA:
            return "it is a cloud's metadata address"
        if any(a in net for a in (address, inner) for net in self._private if a.version == net.version):
            return ""
        if inner.is_loopback:
            nat64 = isinstance(address, ipaddress.IPv6Address) and address in _NAT64
            return "" if self._loopback and not nat64 else "it is this machine"
        odd = any(inner in net for net in _NOT_PUBLIC if net.version == inner.version)
        public = inner.is_global and not inner.is_multicast and not inner.is_reserved and not odd
        return "" if public else "it is not a public address"

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, looked up once and each one checked; Refused if one may not be reached.

        OSError if the name is not known.
        """
        found = await self._lookup(host, port)
        for text in found:
            why = self.refusal(ipaddress.ip_address(text.partition("%")[0]))
            if why:
                raise Refused(f"{host} may not be reached: it stands for {text}, and {why}")
        if not found:
            raise OSError(f"{host} has no address")
        return found

    def _of_name(self, host: str) -> str:
        name = host.rstrip(".")
        if name in _METADATA_NAMES:
            return "it is a cloud's metadata service"
        return "it is this machine" if _is_local_name(name) and not self._loopback else ""


class Resolver:
    """Resolves names for aiohttp's connector, which connects to exactly the addresses given here.

    `trusted`: hosts that are not checked because the operator named them: the proxy.
    """

    def __init__(self, guard: Guard, trusted: Iterable[str] = ()) -> None:
        self._guard = guard
        self._trusted = frozenset(trusted)

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[dict[str, Any]]:
        look = _addresses if host in self._trusted else self._guard.addresses
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in await look(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _addresses(host: str, port: int) -> list[str]:
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


def _network(text: str, place: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(
            f"`{text[:80]}` is no network.", where=f"network.private[{place}]", allowed="CIDR, 10.1.0.0/16"
        ) from None


def _split(url: str, where: str) -> SplitResult:
    """The parts of a URL. Errors do not quote the URL: it may hold a password."""
    if len(url) > MAX_URL or re.search(r"[\x00-\x20\x7f\\]", url):
        what = "is too long" if len(url) > MAX_URL else "holds blanks, line ends or backslashes"
        raise InvalidArgument(f"The URL {what}.", where=where, allowed=ALLOWED_URL)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidArgument("This is no URL.", where=where, allowed=ALLOWED_URL) from None
    if parts.scheme not in ("http", "https"):
        shown = f" (got `{parts.scheme[:20]}`)" if parts.scheme else ""
        raise InvalidArgument(f"Only http and https can be asked{shown}.", where=where, allowed=ALLOWED_URL)
    if "@" in parts.netloc:
        raise InvalidArgument(
            "The URL holds a user name or a password.",
            where=where,
            allowed="the URL without them, and a header with a reference, env:NAME or file:PATH",
        )
    return parts


def _ascii_host(host: str, where: str) -> str:
    """The host as it is requested: lower case, international names encoded."""
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not name or ("%" in name) or (":" not in name and not _NAME.fullmatch(name)):
        raise InvalidArgument("The URL names no host.", where=where, allowed=ALLOWED_URL)
    return name.lower()


def _port(parts: SplitResult, where: str) -> int:
    try:
        port = parts.port
    except ValueError:
        raise InvalidArgument(
            "The URL's port is none.", where=where, allowed="http://HOST:PORT, 1 to 65535"
        ) from None
    return port or (443 if parts.scheme == "https" else 80)


def _literal(host: str, where: str) -> Address | None:
    """The address a host stands for, in any spelling a resolver would accept as one; None for a name."""
    try:
        return ipaddress.ip_address(host.rstrip("."))
    except ValueError:
        pass
    if ":" not in host and not _NUMERIC.fullmatch(host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
    except OSError:
        raise InvalidArgument("The URL's host is no address.", where=where, allowed=ALLOWED_URL) from None


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside a mapped or NAT64 address; any other is returned as is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _is_local_name(host: str) -> bool:
    name = host.rstrip(".")
    return name == "localhost" or name.endswith(".localhost")

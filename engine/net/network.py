"""What the operator allows on the network. Callers of tools cannot widen it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Network:
    """Which addresses may be reached, and how.

    `loopback`: this machine may be reached (agents and models that run beside us). `private`: networks in CIDR
    form that may be reached although they are not public, such as `10.1.0.0/16`; cloud metadata never is.
    `proxy`: URL of an HTTP proxy for all requests except those to this machine, or "". `ca_file`: PEM file of the
    authorities trusted instead of the system's, or "". `at_once`: the most calls that may be open at one endpoint
    at the same time.
    """

    loopback: bool = True
    private: tuple[str, ...] = ()
    proxy: str = ""
    ca_file: str = ""
    at_once: int = 1000

    @property
    def shown_proxy(self) -> str:
        """The proxy without user name and password."""
        scheme, joint, rest = self.proxy.partition("://")
        return f"{scheme}{joint}{rest.rpartition('@')[2]}"

    @property
    def proxy_password(self) -> str:
        """The password that is sent to the proxy, or ""."""
        return urlsplit(self.proxy).password or ""

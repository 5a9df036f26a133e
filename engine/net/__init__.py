"""The network as the engine may use it: what may be reached, and how."""

from __future__ import annotations

from .client import HttpClient, Response
from .errors import BadStatus, NetError, Refused, TimedOut, TooLarge, Unreachable
from .guard import Target
from .network import Network
from .pace import Clock
from .retries import Retries
from .secrets import Secrets, check_headers, check_key, looks_secret

__all__ = [
    "BadStatus",
    "Clock",
    "HttpClient",
    "NetError",
    "Network",
    "Refused",
    "Response",
    "Retries",
    "Secrets",
    "Target",
    "TimedOut",
    "TooLarge",
    "Unreachable",
    "check_headers",
    "check_key",
    "looks_secret",
]

"""The network as the engine may use it: what may be reached, and how."""

from __future__ import annotations

from .client import HttpClient, Response, retry_after_s
from .errors import BadStatus, Broken, NetError, Refused, TimedOut, TooLarge, Unreachable
from .guard import Target
from .network import Network
from .pace import Clock
from .retries import Retries, in_time
from .secrets import Secrets, check_headers, check_key, looks_secret

__all__ = [
    "BadStatus",
    "Broken",
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
    "in_time",
    "looks_secret",
    "retry_after_s",
]

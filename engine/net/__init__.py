"""The network as the engine may use it: what may be reached, and how."""

from __future__ import annotations

from .client import HttpClient, Response, retry_after_s
from .errors import BadStatus, Broken, NetError, Refused, TimedOut, TooLarge, Unreachable
from .guard import Target
from .network import Network
from .pace import Clock
from .redaction import HIDDEN, Redactor, looks_secret
from .references import Lending, Reference, check_lent, names_a_key, read_reference
from .retries import Retries, in_time
from .secrets import Secrets, check_headers, check_key
from .streams import event_data

__all__ = [
    "HIDDEN",
    "BadStatus",
    "Broken",
    "Clock",
    "HttpClient",
    "Lending",
    "NetError",
    "Network",
    "Redactor",
    "Reference",
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
    "check_lent",
    "event_data",
    "in_time",
    "looks_secret",
    "names_a_key",
    "read_reference",
    "retry_after_s",
]

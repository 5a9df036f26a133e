"""The host's own model: every call waits until a client of the server answers it."""

from __future__ import annotations

from typing import Final, Protocol

from .client import ModelReply, ModelRequest
from .origin import Origin, origin
from .patience import waiting_for_the_host

RELAY: Final = "relay"


class Host(Protocol):
    """Gets calls answered by a client.

    `asked` returns once a client has answered, however long that takes; the same request of the same origin gets the
    same answer again, also in another process. It may be called concurrently, and raises StorageError if the call
    cannot be stored. What it returns fits the request: JSON by its schema, or text, or calls of offered tools.
    """

    async def asked(self, request: ModelRequest, by: Origin) -> ModelReply: ...


class RelayModel:
    """Asks the host. Tokens count as 0 and the price is unknown: the client pays its own model."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def name(self) -> str:
        return RELAY

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The client's answer; deadlines stand still meanwhile."""
        with waiting_for_the_host():
            return await self._host.asked(request, origin())

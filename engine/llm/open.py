"""Opens the client for a model's name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from ..errors import InvalidArgument, Unavailable, did_you_mean
from ..net import HttpClient, Secrets
from ..records.environment import ModelAt, ModelName
from .cassette import Cassette, Cassettes
from .client import ModelClient
from .endpoint import EndpointModel
from .litellm_calls import forget_clients
from .offline import OfflineModel
from .provider import ProviderModel
from .relay import RELAY, Host, RelayModel
from .replay import REPLAY, ReplayModel

ALLOWED: Final = (
    "offline, offline:slip=0.2 (each rule is missed with that probability), relay (your client answers), replay:FILE "
    "(a cassette), a litellm id such as openai/gpt-4o, or {model, base_url, key} of an OpenAI-compatible endpoint"
)
_OFFLINE: Final = re.compile(r"offline(?::slip=(?P<slip>\d*\.?\d+))?")
_LITELLM: Final = re.compile(r"(?!.*//)[A-Za-z0-9_.-]+/[A-Za-z0-9_.:/@-]+")
"""Not a URL: some providers would be called there, with the vendor's key."""
_KNOWN: Final = ("offline", "relay", "replay")


@dataclass(frozen=True, slots=True)
class Connections:
    """How outside models are reached.

    `operators`: the secrets that the operator's own settings may name. `host`: gets calls answered by a client; None:
    no client answers. `cassettes`: recorded calls, below allowed folders.
    """

    client: HttpClient
    secrets: Secrets
    operators: Secrets | None = None
    host: Host | None = None
    cassettes: Cassettes | None = None

    def of_operator(self) -> Connections:
        """The same for what the operator's settings name, rather than a caller."""
        return replace(self, secrets=self.operators or self.secrets)

    async def aclose(self) -> None:
        """Close them."""
        forget_clients()
        await self.client.aclose()


def open_model(
    name: ModelName, connections: Connections | None = None, *, where: str = "models"
) -> ModelClient:
    """The client of a model; nothing is asked, nothing heavy imported.

    Raises Unavailable for outside models without `connections`, NotFound for a cassette that does not exist,
    InvalidArgument for anything else. `where` is named in errors.
    """
    if isinstance(name, ModelAt):
        if name.base_url:
            return EndpointModel(name, *_outside(connections, where), where)
        spec, name = name, name.model
    else:
        spec = ModelAt(model=name or "offline")
    found = _OFFLINE.fullmatch(name)
    if found:
        return _offline(found["slip"], where)
    shown = name[:80]
    if name == RELAY:
        return RelayModel(_host(connections, where))
    if name.startswith(REPLAY):
        cassette = open_cassette(name.removeprefix(REPLAY), connections, where)
        cassette.check_there()
        return ReplayModel(cassette, where)
    if _LITELLM.fullmatch(name):
        return ProviderModel(spec, *_outside(connections, where), where)
    raise InvalidArgument(
        f"`{shown}` names no model.{did_you_mean(name, _KNOWN)}", where=where, allowed=ALLOWED
    )


def _outside(connections: Connections | None, where: str) -> tuple[HttpClient, Secrets]:
    if connections is None:
        raise Unavailable("Models outside cannot be reached from here.", where=where, allowed="offline")
    return connections.client, connections.secrets


def open_cassette(file: str, connections: Connections | None, where: str) -> Cassette:
    """The cassette of a file, which need not exist; UserError if it may not be used."""
    if connections is None or connections.cassettes is None:
        raise Unavailable("Files cannot be reached from here.", where=where, allowed="offline")
    return connections.cassettes.at(file, where)


def _host(connections: Connections | None, where: str) -> Host:
    if connections is None or connections.host is None:
        raise Unavailable(
            "No client can answer here: relay needs the server or a Workbench that is entered.",
            where=where,
            allowed="offline, or a model with a key",
        )
    return connections.host


def _offline(slip: str | None, where: str) -> ModelClient:
    rate = float(slip) if slip else 0.0
    if rate > 1:
        raise InvalidArgument(f"slip is {slip}, but a probability is 0..1.", where=where, allowed=ALLOWED)
    return OfflineModel(rate)

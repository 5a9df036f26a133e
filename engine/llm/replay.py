"""Replay: a model that answers from a cassette, alone or in front of another model."""

from __future__ import annotations

from typing import Final, Literal

import anyio.to_thread

from ..errors import Unavailable
from .cassette import Cassette
from .client import ModelClient, ModelReply, ModelRequest, Probed

Mode = Literal["record", "replay", "strict", "refresh"]
"""record: every call is made, and stored unless one is stored already. replay: stored replies are reused, the rest is
made and stored. strict: no call is made; a missing one is an error. refresh: every call is made, and replaces the
stored one.
"""
REPLAY: Final = "replay:"


class ReplayModel:
    """Answers only from a cassette, whichever model was recorded."""

    def __init__(self, cassette: Cassette, where: str) -> None:
        self._cassette = cassette
        self._where = where

    @property
    def name(self) -> str:
        return f"{REPLAY}{self._cassette.shown}"

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The recorded reply; Unavailable if there is none."""
        await self.probe()
        found = self._cassette.find(self._cassette.key(request))
        if found is None:
            raise missing(self._cassette, request, self._where)
        return found

    async def probe(self) -> None:
        """Read the file; NotFound if there is none."""
        await anyio.to_thread.run_sync(self._cassette.read)


class RecordedModel:
    """A model with a cassette in front of it.

    The caller gets a reply as it is stored, without secrets, so that the next time goes the same way.
    """

    def __init__(self, model: ModelClient, cassette: Cassette, mode: Mode, where: str) -> None:
        self._model = model
        self._cassette = cassette
        self._mode: Mode = mode
        self._where = where
        self._kept_as = model.name.partition(" at ")[0]
        """The model without its host, since the port changes each time."""
        self._read = False

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest) -> ModelReply:
        cassette = self._cassette
        if not self._read and cassette.exists:
            await anyio.to_thread.run_sync(cassette.read)
        self._read = True
        key = cassette.key(request)
        known = None if self._mode == "refresh" else cassette.find(key, self._kept_as)
        if known is not None and self._mode != "record":
            return known
        if self._mode == "strict":
            raise missing(cassette, request, self._where)
        reply = await self._model.complete(request)
        if known is not None:
            return reply
        return await anyio.to_thread.run_sync(cassette.keep, key, self._kept_as, request, reply)

    async def probe(self) -> None:
        """Raise what would make every call fail; a model that may not be needed is not checked."""
        if self._mode == "strict":
            await anyio.to_thread.run_sync(self._cassette.read)
        elif self._mode != "replay" and isinstance(self._model, Probed):
            await self._model.probe()


def missing(cassette: Cassette, request: ModelRequest, where: str) -> Unavailable:
    """The error for a call that was never recorded."""
    last = request.messages[-1].content if request.messages else ""
    return Unavailable(
        f"`{cassette.shown[:200]}` has no answer to this call of the {request.role} "
        f"({len(request.messages)} messages).",
        where=where,
        allowed="text, scenario, seed and model as they were recorded; options.cassette mode replay records more",
        quoted=last[:200],
    )

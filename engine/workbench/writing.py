"""What a hardening's writer model may see and spend."""

from __future__ import annotations

import anyio.to_thread

from ..errors import BudgetSpent, SetupError
from ..evaluate import Shown, entries_of, shown
from ..harden import RECORD_CHARS
from ..llm import ModelClient, ModelReply, ModelRequest
from ..records.conversation import Conversation
from ..records.hardening import Hardening
from ..records.run import Cluster
from ..simulate import Meter
from .archive import Archive
from .pauses import paused


class PacedWriter:
    """A writer's model within the budget of its hardening; if it cannot be asked, the hardening pauses."""

    def __init__(self, model: ModelClient, meter: Meter, hardening: Hardening) -> None:
        self._model = model
        self._meter = meter
        self._hardening = hardening

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The model's reply. Raises Paused."""
        spent = self._meter.spent()
        if spent:
            raise paused(self._hardening, BudgetSpent(f"{spent.capitalize()}."))
        try:
            reply = await self._model.complete(request)
        except SetupError as error:
            raise paused(self._hardening, error) from error
        if reply.used is not None:
            self._meter.used(reply.used)
        return reply


class TrainRecords:
    """Failure records for a writer, from train conversations only."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def of(self, cluster: Cluster) -> Shown | None:
        """The conversation that the cluster points to; None if it does not exist, or is not in train."""
        return await anyio.to_thread.run_sync(self._read, cluster.see.partition("@")[0])

    def _read(self, place: str) -> Shown | None:
        run, _, id = place.partition("/")
        record = self._archive.trials(run).find(id) if id else None
        if record is None or record.split != "train":
            return None
        talk = Conversation.model_validate(self._archive.store.segments.read(str(record.pointer["at"])))
        return shown(entries_of(talk.log), RECORD_CHARS)

"""Naming: the phase of a run in which a writer model is asked once what to call its failure clusters.

It comes last and decides nothing. If the writer fails, or the budget is spent, the clusters stay as code found them,
with a warning.
"""

from __future__ import annotations

import anyio.to_thread

from ..errors import CasehardenError
from ..evaluate import MOST_NAMED, name_clusters
from ..llm import RELAY, trial_of
from ..records.conversation import ModelUse, TokenUsage
from ..records.environment import short_name
from ..records.run import RunRecord
from ..simulate import Meter
from .archive import Archive, utc_now
from .judging import added
from .kept_calls import CLUSTERS
from .role_models import RoleModels


class Naming:
    """Names the failure clusters of runs."""

    def __init__(self, archive: Archive, models: RoleModels) -> None:
        self._archive = archive
        self._models = models

    async def name(self, id: str, meter: Meter) -> None:
        """Ask the run's writer, if it is to be asked and something has no name."""
        run = self._archive.runs.get(id)
        unnamed = [cluster for cluster in run.clusters[:MOST_NAMED] if not cluster.name]
        if not unnamed or not _asks(run):
            return
        names, used, warning = await self._said(run, meter)
        writer = short_name(run.models["writer"])

        def change(stored: RunRecord) -> RunRecord:
            clusters = [
                one.model_copy(update={"name": names.get(one.key, one.name)}) for one in stored.clusters
            ]
            update: dict[str, object] = {"clusters": clusters, "updated_at": utc_now()}
            update["warnings"] = [*stored.warnings, *([warning] if warning else [])]
            if used is not None:
                use = added(stored.naming, ModelUse(name=writer, calls=1, **used.model_dump()))
                update |= {"naming": use, "models_used": {**stored.models_used, "writer": use}}
            return stored.model_copy(update=update)

        await anyio.to_thread.run_sync(self._archive.runs.change, id, change)

    async def _said(self, run: RunRecord, meter: Meter) -> tuple[dict[str, str], TokenUsage | None, str]:
        """Names by key, the usage, and warnings."""
        spent = meter.spent()
        if spent:
            return {}, None, f"The failures are not named by the writer: {spent}."
        belongs = trial_of(run.id, CLUSTERS, run.environment, held_out=False, instructions="")
        try:
            writer = self._models.open(run.models["writer"], "models.writer", run.options.get("cassette"))
            with belongs:
                names, used = await name_clusters(writer, run.clusters, run.seed)
        except CasehardenError as error:
            return {}, None, f"The writer could not name the failures: {error.what}"
        if used is not None:
            meter.used(used)
        return names, used, ""


def lends_writer(run: RunRecord) -> bool:
    """Whether a client is asked for the names."""
    return _asks(run) and short_name(run.models["writer"]) == RELAY


def _asks(run: RunRecord) -> bool:
    """Whether a run's writer is asked: never offline; as the call says, else unless the client plays it."""
    asked = run.options.get("name_clusters")
    writer = short_name(run.models.get("writer") or "offline")
    if writer.startswith("offline"):
        return False
    return writer != RELAY if asked is None else bool(asked)

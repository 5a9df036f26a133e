"""Jobs in which the writer model writes records: asked once, kept with the job, stored, the same on every retry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import anyio.to_thread

from ..errors import InvalidArgument
from ..generate.generated import Generated, check_request
from ..generate.personas import MULTILINGUAL
from ..generate.scenarios import SEALED
from ..records.job import Job
from ..records.persona import Persona
from ..records.scenario import Scenario
from ..store import Store
from .jobs import Jobs, check_wait
from .plain import check_plain
from .results import Creation

T = TypeVar("T", Persona, Scenario)
Write = Callable[[Mapping[str, Any]], Awaitable[Generated[T]]]
"""Asks the writer, given the job's spec."""
Keep = Callable[[str, list[dict[str, Any]], Sequence[str]], Awaitable[Creation]]
"""Stores the records of an environment, requested with these kinds; identical ones are unchanged."""

CheckWriter = Callable[[str], Awaitable[None]]
"""Raises what this process lacks to ask the writer of an environment."""

OFFLINE = "Written by offline: from templates and world data, less varied than by a language model."
BRIEF_READ = (
    "The offline writer does not read the brief: it only puts first what shares a word with it, names and "
    "descriptions of tools for scenarios"
)
ENGLISH = (
    "The offline user writes English whatever its language is: run these with a language model as the user."
)
SEALED_TOLD = "Nobody reads them before a hardening that they confirm has its outcome."
DRAFTS = "drafts"
"""The job table that holds what the writer wrote."""
_BRIEF = 4000
_REFUSED = 20
_TAGS = 12


class Generating(Generic[T]):
    """The jobs for one kind of record: `personas` or `scenarios`."""

    def __init__(
        self,
        noun: str,
        kinds: Sequence[str],
        store: Store,
        jobs: Jobs,
        write: Write[T],
        keep: Keep,
        check_writer: CheckWriter,
    ) -> None:
        """`kinds`: those that can be requested."""
        self._kinds = kinds
        self._noun = noun
        self._kind = f"{noun}s"
        self._store = store
        self._jobs = jobs
        self._write = write
        self._keep = keep
        self._check_writer = check_writer
        jobs.handle(self._kind, self._perform, means=self._check_means)

    async def start(
        self, environment: str, brief: str, count: int, kinds: Sequence[str], wait_s: float, key: str
    ) -> Creation:
        """The finished creation, or the state after `wait_s` seconds with its job."""
        check_wait(wait_s)
        if len(brief) > _BRIEF:
            raise InvalidArgument(
                f"`brief` has {len(brief):,} characters.", where="brief", allowed=f"up to {_BRIEF:,}"
            )
        check_plain([brief, *kinds], "kinds")
        check_request(count, kinds, self._kinds)
        spec = {"environment": environment, "brief": brief, "count": count, "kinds": list(kinds)}
        job, new = self._jobs.create(self._kind, spec, key, total=count, environment=environment)
        if new:
            self._jobs.launch(job)
        else:
            await self._jobs.adopt(job)
        return self.report(await self._jobs.settled(job.id, wait_s))

    def report(self, job: Job) -> Creation:
        """What the job made; its error if it failed."""
        self._jobs.raise_failure(job)
        return Creation(environment=job.spec["environment"], kind=self._noun, job=job, **(job.result or {}))

    async def _check_means(self, job: Job) -> None:
        kept = self._store.job_table(job.id, DRAFTS)
        if kept.find("result") is None and kept.find("drafts") is None:
            await self._check_writer(job.spec["environment"])

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """Drafts stay in a table of the job until they are stored; after that only the outcome does."""
        kept = self._store.job_table(job.id, DRAFTS)
        result = kept.find("result")
        if result is None:
            drafts = kept.find("drafts")
            if drafts is None:
                drafts = _drafts(await self._write(job.spec))
                await anyio.to_thread.run_sync(kept.put, "drafts", drafts)
            result = await self._stored(job, drafts)
            kept.put("result", result)
        await anyio.to_thread.run_sync(kept.delete, ["drafts"])
        return result

    async def _stored(self, job: Job, drafts: Mapping[str, Any]) -> dict[str, Any]:
        items, kinds = cast("list[dict[str, Any]]", drafts["items"]), job.spec["kinds"]
        creation = await self._keep(job.spec["environment"], items, kinds)
        made = [*creation.unchanged, *creation.made]
        count = job.spec["count"]
        self._store.jobs.progress(job.id, completed=len(made), failed=count - len(made), total=count)
        offline = str(drafts["by"]).startswith("offline")
        warnings = [OFFLINE] if offline else []
        if offline and MULTILINGUAL in kinds:
            warnings.append(ENGLISH)
        if offline and job.spec["brief"] and items:
            warnings.append(BRIEF_READ + ("." if SEALED in kinds else _about(items)))
        if len(made) < count:
            told = drafts["checked"].get("near_duplicates_refused", 0)
            warnings.append(
                f"Only {len(made)} of {count} distinct {self._kind} could be written ({told} near-duplicates refused)."
            )
        refused = [*drafts["refused"], *creation.refused]
        if SEALED in kinds:
            warnings.append(f"{SEALED_TOLD} {len(refused)} that were wrong are not told either.")
            refused.clear()
        return {
            "made": made,
            "refused": refused[:_REFUSED],
            "checked": {**creation.checked, **drafts["checked"]},
            "counts": creation.counts,
            "warnings": warnings + creation.warnings,
            "by": drafts["by"],
        }


def _about(items: Sequence[Mapping[str, Any]]) -> str:
    """What the written records are about, by their tags: for a scenario its kind and tools."""
    tags = dict.fromkeys(tag for item in items for tag in item.get("tags", ()))
    return f"; it wrote about: {', '.join(list(tags)[:_TAGS])}." if tags else "."


def _drafts(made: Generated[Any]) -> dict[str, Any]:
    return {
        "items": [item.model_dump(mode="json", by_alias=True, exclude_unset=True) for item in made.items],
        "by": made.model,
        "refused": made.refused,
        "checked": {
            "near_duplicates_refused": made.near_duplicates_refused,
            "highest_overlap": round(made.highest_overlap, 2),
            "records_exist": made.records_exist,
        },
    }

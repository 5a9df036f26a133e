"""Model calls for clients: a batch to answer, the answers, and what comes next."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

import anyio.to_thread

from ..errors import Conflict, InvalidArgument, NextCall
from ..llm.host_answers import read_answer
from ..plural import plural
from ..records.environment import AgentSpec, played_by
from ..records.job import Job
from ..records.model_call import ModelCall
from .archive import Archive
from .discretion import taken
from .jobs import Jobs, check_wait
from .mailbox import Mailbox
from .model_call_views import Batch
from .naming import lends_writer
from .plain import check_plain, check_range
from .results import JobReport, ModelCallBatch
from .role_models import ROLES, lent_roles
from .sight import refuse_sealed, spend

MOST: Final = 64
"""Most calls in one batch."""
MOST_ANSWERS: Final = 200
PATIENCE: Final = 3
"""Refusals of one call after which a warning says how to end it."""
MOST_READ: Final = 1_000_000
"""Characters of an unreadable answer in which ids of calls are looked for."""
_NAMED: Final = re.compile(r"m-\d{1,12}-[0-9a-f]{12}")
Report = Callable[[Job], JobReport]


class ModelCalls:
    """Hands out the calls waiting in the mailbox and takes their answers. `report`: a job with its result."""

    def __init__(self, archive: Archive, mailbox: Mailbox, jobs: Jobs, report: Report) -> None:
        self._archive = archive
        self._mailbox = mailbox
        self._jobs = jobs
        self._report = report
        self._refusals: Counter[str] = Counter()

    async def take(
        self,
        job: str = "",
        *,
        roles: Sequence[str] = (),
        limit: int = 16,
        history: str = "full",
        wait_s: float = 20,
    ) -> ModelCallBatch:
        """The next calls, leased to the caller.

        Waits, up to the given seconds, until all calls are there that will come before something is answered: trials
        answered together are handed out together. Conflict if nothing asks a client.
        """
        check_wait(wait_s)
        check_range(limit, "limit", 1, MOST)
        _check_roles(roles)
        full = _is_full(history)
        asked = self._jobs.get(job) if job else None
        if asked is None or asked.active:
            self._somebody_asks(asked)
        found = ModelCallBatch()
        await self._ready([job] if job else self._mailbox.jobs(), roles, limit, wait_s)
        await self._hand_out(found, job, roles, limit, full)
        return self._with_job(found, job)

    async def answer(
        self, answers: Sequence[Any], *, limit: int = 16, history: str = "full", wait_s: float = 20
    ) -> ModelCallBatch:
        """Take answers, each accepted or refused on its own. Then the next calls, as they were taken before."""
        try:
            full = _checked(answers, limit, history, wait_s)
        except InvalidArgument as error:
            error.next = tuple(await self.hand_again(answers)) or error.next
            raise
        found = ModelCallBatch()
        given, found.warnings = taken({"answers": list(answers)}, self._archive.redactor)
        calls = await anyio.to_thread.run_sync(self._kept, given["answers"], found)
        touched = list(dict.fromkeys(call.job for call in calls))
        for job in touched:
            self._mailbox.wake(job)
        if not calls:
            found.left = await self._give_back(given["answers"])
            return found
        same_job = {call.of_job or ("" if len(touched) > 1 else touched[0]) for call in calls}
        job = same_job.pop() if len(same_job) == 1 else ""
        anyone = any(not call.of_roles for call in calls)
        roles = [] if anyone else sorted({role for call in calls for role in call.of_roles})
        if limit:
            await self._ready([job] if job else touched, roles, limit, wait_s)
            await self._hand_out(found, job, roles, limit, full)
        return self._with_job(found, job or touched[-1])

    async def hand_again(self, given: Any) -> list[NextCall]:
        """After answers that could not be read: the call that hands out again what their client holds.

        [] if nothing is out. Of a call that two clients then hold the first answer counts.
        """
        ended = await self._give_back(given)
        why = f"hands out again the {plural(ended, 'call')} that you hold"
        return [NextCall("take_model_calls", {}, why)] if ended else []

    async def _give_back(self, given: Any) -> int:
        """End the leases of the calls that are named in it, or of all handed out here; how many."""
        text = json.dumps(given, ensure_ascii=False, default=str)[:MOST_READ]
        named = set(_NAMED.findall(text))

        def end() -> int:
            held = self._mailbox.handed_out()
            ended = [call for call in held if call.id in named] or held
            for call in ended:
                self._mailbox.give_back(call)
            return len(ended)

        return await anyio.to_thread.run_sync(end)

    async def _ready(self, jobs: Sequence[str], roles: Collection[str], limit: int, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while not self._is_ready(jobs, roles, limit):
            left = until - time.monotonic()
            if left <= 0:
                return
            await self._mailbox.stirred(left)

    def _is_ready(self, jobs: Sequence[str], roles: Collection[str], limit: int) -> bool:
        """Whether `limit` calls, or all that will come, are there; also true if no job is running any more."""
        going = self._going(jobs)
        asking = [job for job in going if self._mailbox.waits(job)]
        if not asking and not any(going):
            return True
        if sum(map(self._mailbox.waits, asking)) >= limit or all(map(self._mailbox.settled, asking)):
            free = sum(self._mailbox.count_free(job, roles) for job in asking)
            return free >= limit or (free > 0 and all(map(self._mailbox.settled, asking)))
        return False

    def _going(self, jobs: Sequence[str]) -> list[str]:
        """The running jobs, and the place of calls outside of jobs."""
        return [job for job in jobs if not job or self._jobs.get(job).active]

    async def _hand_out(
        self, found: ModelCallBatch, job: str, roles: Sequence[str], limit: int, full: bool
    ) -> None:
        jobs = self._going([job] if job else self._mailbox.jobs())
        await anyio.to_thread.run_sync(self._leased, found, jobs, job, roles, limit, full)

    def _leased(
        self,
        found: ModelCallBatch,
        jobs: Sequence[str],
        of_job: str,
        roles: Sequence[str],
        limit: int,
        full: bool,
    ) -> None:
        """Put calls into the report, leased; held-out scenarios shown in them are spent."""
        back = {str(refused["id"]) for refused in found.refused}
        batch = Batch(full=full, known={id for id in back if not full or self._refusals[id] == 1})
        chosen: list[ModelCall] = []
        there = 0
        for job in jobs:
            free = self._mailbox.free(job, roles) if self._mailbox.waits(job) else []
            there += len(free)
            for call in free:
                asks = self._mailbox.asks(call)
                if asks is None:
                    continue  # just answered
                if len(chosen) == limit or not batch.add(call, asks):
                    break
                chosen.append(call)
        shown = [call.scenario for call in chosen if call.held_out and not self._proof(call.job)]
        refuse_sealed(self._archive, shown)
        mine: set[str] = set()
        for job in dict.fromkeys(call.job for call in chosen):
            ids = [call.id for call in chosen if call.job == job]
            mine |= self._mailbox.lease(job, ids, of_job, roles)
        batch.keep(mine)
        found.shared, found.calls = batch.shared, batch.calls
        found.left = there - len(mine)
        found.out = sum(map(self._mailbox.waits, jobs)) - there
        found.warnings += self._spent(call for call in chosen if call.id in mine)

    def _spent(self, calls: Any) -> list[str]:
        """Note the held-out scenarios shown; a proof that asks about its own loses nothing by it."""
        spent = {call.scenario: call.job for call in calls if call.held_out}
        for scenario, job in sorted(spent.items()):
            spend(self._archive, scenario, proof=self._proof(job))
        if not spent:
            return []
        names = sorted(spent)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return [
            f"Held out: {', '.join(names[:3])}{more}. Having seen these calls you have looked into them: they count "
            "as train for any text that you submit from now on."
        ]

    def _proof(self, job: str) -> str:
        """The job if it belongs to a hardening, which may ask about what is held out; else ""."""
        return job if job and self._jobs.get(job).kind == "hardening" else ""

    def _kept(self, answers: Sequence[Any], found: ModelCallBatch) -> list[ModelCall]:
        """Store valid answers; the calls that answers were for, accepted or refused."""
        touched: list[ModelCall] = []
        for k, given in enumerate(answers):
            answer: Mapping[str, Any] = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
            call = self._mailbox.find(str(answer.get("id", "")))
            if call is None:
                found.refused.append(_unknown(answer, k))
                continue
            touched.append(call)
            problem = self._taken(call, answer)
            if problem is None:
                found.accepted += 1
                self._refusals.pop(call.id, None)
            else:
                found.refused.append({"id": call.id, **problem})
                self._refusals[call.id] += 1
        often = [call.id for call in touched if self._refusals[call.id] >= PATIENCE]
        if often:
            found.warnings.append(
                f"Refused {PATIENCE} times or more: {', '.join(often[:3])}. cancel_job ends the job."
            )
        taken = sum(call.state == "waiting" for call in touched)
        if taken:
            self._archive.store.audit("answer", "model_call", touched[-1].job or "-", calls=taken)
        return touched

    def _taken(self, call: ModelCall, answer: Mapping[str, Any]) -> dict[str, str] | None:
        """None, or why the answer is refused; the call is then handed out again."""
        asks = self._mailbox.asks(call)
        if asks is not None:
            tools = [tool["function"]["name"] for tool in asks["tools"]]
            try:
                reply = read_answer(answer, call.role, tools, asks["schema"])
            except InvalidArgument as error:
                self._mailbox.give_back(call)
                return {"what": error.what, "at": error.where, "allowed": error.allowed}
            if self._mailbox.keep(call, reply):
                return None
        stands = self._mailbox.find(call.id) or call
        if _same(stands, answer):
            return None
        return {"what": f"{call.id} was answered before with other words: the first answer is kept."}

    def _with_job(self, found: ModelCallBatch, job: str) -> ModelCallBatch:
        if job:
            found.job = self._jobs.get(job)
            found.result = self._report(found.job) if not found.job.active else None
        return found

    def _somebody_asks(self, job: Job | None) -> None:
        """Conflict if no client will ever be asked."""
        if job is None:
            if any(map(self._mailbox.waits, self._mailbox.jobs())) or len(self._mailbox.jobs()) > 1:
                return
            calls = [NextCall("list_items", {"kind": "job"})]
            raise Conflict("No job waits for model calls: none is at work.", where="job", next=calls)
        runs = self._archive.runs.where(job=job.id)
        if self._mailbox.known(job.id) or not runs:
            return
        run = runs[-1]
        if lends_writer(run) or lent_roles(run.models, AgentSpec.model_validate(run.agent)):
            return
        names = sorted(set(played_by(run.models, run.agent).values()))
        calls = [NextCall("wait_job", {"job": job.id})]
        raise Conflict(
            f"No job waits for model calls: models of {job.id} are {', '.join(names)}.",
            where="job",
            next=calls,
        )


def _checked(answers: Sequence[Any], limit: int, history: str, wait_s: float) -> bool:
    """Whether whole histories are asked for; InvalidArgument if the arguments of an answer are not valid."""
    check_wait(wait_s)
    check_range(limit, "limit", 0, MOST)
    if not answers:
        raise InvalidArgument(
            "There is no answer in `answers`.",
            where="answers",
            allowed="an answer for each call that take_model_calls gave",
            next=[NextCall("take_model_calls", {})],
        )
    check_range(len(answers), "answers", 1, MOST_ANSWERS)
    check_plain(list(answers), "answers", 4_000_000)
    return _is_full(history)


def _unknown(answer: Mapping[str, Any], place: int) -> dict[str, str]:
    id = str(answer.get("id", ""))[:80]
    what = f"No model call `{id}`." if id else "An answer names its call."
    return {
        "id": id,
        "what": what,
        "at": f"answers[{place}].id",
        "allowed": "ids as take_model_calls gave them",
    }


def _same(call: ModelCall, answer: Mapping[str, Any]) -> bool:
    """Whether a repeated answer equals the stored one."""
    data = answer.get("data")
    text = json.dumps(data, ensure_ascii=False) if data is not None else answer.get("text", "")
    calls: Any = answer.get("tool_calls") or []
    if not isinstance(calls, list):
        return False
    names = [
        cast("dict[str, Any]", one).get("name") for one in cast("list[Any]", calls) if isinstance(one, dict)
    ]
    return text == call.text and names == [one["name"] for one in call.tool_calls]


def _is_full(history: str) -> bool:
    if history not in ("full", "new"):
        raise InvalidArgument(f"`{history[:40]}` is no history.", where="history", allowed="full, new")
    return history == "full"


def _check_roles(roles: Sequence[str]) -> None:
    wrong = next((role for role in roles if role not in ROLES), None)
    if wrong is not None:
        raise InvalidArgument(f"`roles` has `{str(wrong)[:40]}`.", where="roles", allowed=ROLES)

"""The mailbox: model calls that wait, durably, until a client has answered them in place of the model.

The id of a call is the hash of who asks what: a trial begun again after a crash finds its earlier answers.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

import anyio

from ..canonical import digest
from ..errors import CasehardenError
from ..llm import ModelReply, ModelRequest, Origin, RequestKeys, ToolCall
from ..llm.chat_format import messages_of, tools_of
from ..llm.origin import Work
from ..records.job import JobState
from ..records.model_call import ModelCall
from ..store import Clock, Store, Table
from .kept_calls import calls_of, conversation_of, requests_of

LEASE_S: Final = 300.0
"""How long a handed-out call stays leased to one client, in seconds."""
LOOK_EVERY_S: Final = 0.1
"""How often to check whether clients of other processes have answered."""
SETTLE_S: Final = 0.01
"""Grace period for trials answered together to ask again, before all of them are reported as waiting."""
WAITS_FOR: Final = "take_model_calls"
_log = logging.getLogger("caseharden.relay")
_SETTLED: Final = "settled"
_ID: Final = re.compile(r"m-(\d{1,12})-[0-9a-f]{12}")
_TALKING: Final = ("agent", "user")
"""Roles whose calls in a trial form one conversation."""


class Mailbox:
    """Implements the seam to whoever answers. Reading and leasing may run in worker threads."""

    def __init__(self, store: Store, lease_s: float = LEASE_S) -> None:
        self._store = store
        self._lease_s = lease_s
        self._clock = Clock()
        self._keys = RequestKeys()
        self._waiting: dict[str, set[_Waiter]] = {}
        """By job, those in this process that wait for an answer, several of them perhaps for the same."""
        self._works: dict[str, Work] = {}
        self._marks: dict[str, object] = {}
        self._handed: set[str] = set()
        """Calls handed out here and not answered, as far as this process knows."""
        self._stir = anyio.Event()

    async def asked(self, request: ModelRequest, by: Origin) -> ModelReply:
        """Store the call, unless it already is, and wait for its answer."""
        key = self._keys.of(request)
        who = [by.run, by.part] if by.job or by.run else [secrets.token_hex(8)]
        number = by.count(f"{request.role}/{key}")
        id = f"m-{by.job.rpartition('-')[2] or 0}-{digest([*who, request.role, key, number])[:12]}"
        call = self._calls(by.job).find(id)
        seen = by.remember(request.role, len(request.messages) + 1) if request.role in _TALKING else 0
        if call is None:
            self._put(id, request, by, seen)
        elif call["state"] == "answered":
            return _reply(ModelCall.model_validate(call))
        return _reply(await self._answered(id, by))

    async def watch(self) -> None:
        """Watch for answers taken by other processes, and record whether jobs are only waiting. Until cancelled."""
        while True:
            idle = not self._waiting and not self._works
            with anyio.move_on_after(None if idle else LOOK_EVERY_S):
                await self._stir.wait()
            await anyio.sleep(SETTLE_S)
            try:
                for job in list(self._waiting):
                    self._hear(job)
                for job in list(self._works):
                    self._tell_state(job)
            except Exception:
                _log.exception("the model calls that wait could not be looked through")

    async def stirred(self, within_s: float) -> None:
        """Wait until something changes here; at most `within_s` or LOOK_EVERY_S seconds, as others may have written."""
        with anyio.move_on_after(min(within_s, LOOK_EVERY_S)):
            await self._stir.wait()

    # for clients

    def jobs(self) -> list[str]:
        """Where calls may wait: the active jobs, oldest first, and "" for calls outside of jobs."""
        return ["", *(job.id for job in self._store.jobs.active())]

    def waits(self, job: str) -> int:
        """How many calls of a job are unanswered. O(1)."""
        return self._calls(job).tally({"state": "waiting"})

    def known(self, job: str) -> bool:
        """Whether a job has asked the host anything."""
        return self._calls(job).tally() > 0

    def settled(self, job: str) -> bool:
        """Whether nothing more will be asked until something is answered."""
        calls = self._calls(job)
        if not job:
            return True
        row, told = self._store.jobs.table.journal.current(job), calls.find(_SETTLED)
        waits = row is not None and row["state"] == "waiting" and told is not None
        return waits and told is not None and told["answered"] == calls.tally({"state": "answered"})

    def free(self, job: str, roles: Collection[str] = ()) -> list[ModelCall]:
        """The calls that may be handed out, oldest first, only of these roles (empty: all)."""
        now = self._clock.wall()
        calls = map(ModelCall.model_validate, self._calls(job).walk({"state": "waiting"}, oldest_first=True))
        return [call for call in calls if call.free(now) and (not roles or call.role in roles)]

    def count_free(self, job: str, roles: Collection[str] = ()) -> int:
        """How many calls `free` would list."""
        now = self._clock.wall()
        free: Callable[[Any, str], bool] = lambda row, _: (  # noqa: E731
            not row["leased_at"] <= now < row["leased_until"] and (not roles or row["role"] in roles)
        )
        return sum(self._calls(job).walk({"state": "waiting"}, show=free))

    def find(self, id: str) -> ModelCall | None:
        """A call by its id."""
        found = _ID.fullmatch(id)
        job = _job(found[1]) if found else ""
        if found is None or (job and self._store.jobs.table.journal.current(job) is None):
            return None
        row = self._calls(job).find(id)
        return ModelCall.model_validate(row) if row else None

    def asks(self, call: ModelCall) -> dict[str, Any] | None:
        """The request of a call: messages and tools as in chat completions, schema. None: it was answered."""
        return self._requests(call.job).find(call.id)

    def lease(self, job: str, ids: Collection[str], of_job: str, of_roles: Collection[str]) -> set[str]:
        """Hand out calls; return those that were still free."""
        now = self._clock.wall()
        mine: set[str] = set()
        with self._calls(job).transaction() as change:
            for id in ids:
                row = change.get(id)
                if row is not None and (call := ModelCall.model_validate(row)).free(now):
                    call.leased_at, call.leased_until = now, now + self._lease_s
                    call.of_job, call.of_roles = of_job, list(of_roles)
                    change.put(id, call.model_dump())
                    mine.add(id)
        self._handed |= mine
        return mine

    def give_back(self, call: ModelCall) -> None:
        """End the lease of a call, unless it was answered in the meantime."""
        self._handed.discard(call.id)
        self._change(call, lambda now: now.model_copy(update={"leased_until": 0.0}))

    def handed_out(self) -> list[ModelCall]:
        """The calls that this process handed out and that still wait for their answers."""
        found = [self.find(id) for id in sorted(self._handed)]
        left = [call for call in found if call is not None and call.state == "waiting"]
        self._handed = {call.id for call in left}
        return left

    def keep(self, call: ModelCall, reply: ModelReply) -> bool:
        """Store an answer; False if another was stored before."""
        calls = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in reply.tool_calls]
        answer = {
            "state": "answered",
            "answered_at": self._clock.stamp(),
            "text": reply.text,
            "tool_calls": calls,
        }
        self._handed.discard(call.id)
        kept = self._change(call, lambda now: now.model_copy(update=answer))
        self._requests(call.job).remove(doc_ids=[call.id])
        return kept

    def wake(self, job: str) -> None:
        """Wake those whose calls were answered; on the event loop."""
        self._hear(job, whatever=True)
        if job in self._works:
            self._mark(job, "running")
        self._stirring()

    # inside

    def _calls(self, job: str) -> Table:
        return calls_of(self._store, job)

    def _requests(self, job: str) -> Table:
        return requests_of(self._store, job)

    def _put(self, id: str, request: ModelRequest, by: Origin, seen: int) -> None:
        asks = {
            "messages": messages_of(request.messages),
            "tools": tools_of(request.tools),
            "schema": request.schema,
        }
        call = ModelCall(
            id=id,
            job=by.job,
            role=request.role,
            run=by.run,
            conversation=conversation_of(by.job, by.run, by.part, request.role) if by.part else "",
            scenario=by.scenario,
            held_out=by.held_out,
            instructions=by.instructions,
            seen=seen,
            asked_at=self._clock.stamp(),
        )
        self._requests(by.job).put(id, asks)
        self._calls(by.job).add(id, call.model_dump())

    async def _answered(self, id: str, by: Origin) -> ModelCall:
        waiters, mine = self._waiting.setdefault(by.job, set()), _Waiter(id)
        waiters.add(mine)
        by.work.waiting += 1
        if by.job:
            self._works[by.job] = by.work
        self._stirring()
        try:
            await mine.answered.wait()
        finally:
            by.work.waiting -= 1
            waiters.remove(mine)
            if not waiters:
                del self._waiting[by.job]
                self._marks.pop(by.job, None)
            self._stirring()
        return ModelCall.model_validate(self._calls(by.job).fetch(id, "model call"))

    def _hear(self, job: str, *, whatever: bool = False) -> None:
        """Wake those whose calls have an answer; checked only if the table was written since."""
        calls = self._calls(job)
        mark = calls.journal.mark()
        if mark == self._marks.get(job) and not whatever:
            return
        self._marks[job] = mark
        for waiter in self._waiting.get(job, ()):
            row = calls.journal.current(waiter.id)
            if row is None or row["state"] == "answered":
                waiter.answered.set()

    def _tell_state(self, job: str) -> None:
        """Record whether a job is only waiting; a job ended in the meantime is left alone."""
        work = self._works[job]
        if not work.waiting:
            del self._works[job]
        if work.blocked:
            self._settle(job)
        self._mark(job, "waiting" if work.blocked else "running")

    def _mark(self, job: str, state: JobState) -> None:
        """Set the state of a running job; one that has ended, or now belongs to another process, is left alone."""
        row = self._store.jobs.table.journal.current(job)
        if row is None or row["state"] not in ("running", "waiting") or row["state"] == state:
            return
        with suppress(CasehardenError):
            self._store.jobs.mark(job, state, waiting_for=WAITS_FOR if state == "waiting" else "")
            self._stirring()

    def _settle(self, job: str) -> None:
        calls = self._calls(job)
        answered = calls.tally({"state": "answered"})
        told = calls.find(_SETTLED)
        if told is None or told["answered"] != answered:
            calls.put(_SETTLED, {"state": _SETTLED, "answered": answered})
            self._stirring()

    def _stirring(self) -> None:
        self._stir.set()
        self._stir = anyio.Event()

    def _change(self, call: ModelCall, how: Callable[[ModelCall], ModelCall]) -> bool:
        """Change a waiting call; False for an answered one, which stays as it is."""
        with self._calls(call.job).transaction() as change:
            row = change.get(call.id)
            if row is None or row["state"] != "waiting":
                return False
            change.put(call.id, how(ModelCall.model_validate(row)).model_dump())
        return True


class _Waiter:
    """Someone who waits for the answer to a call."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.answered = anyio.Event()


def _job(number: str) -> str:
    return "" if number == "0" else f"job-{number}"


def _reply(call: ModelCall) -> ModelReply:
    calls = tuple(ToolCall(c["id"], c["name"], c["arguments"]) for c in call.tool_calls)
    return ModelReply(call.text, calls, cost_usd=None)

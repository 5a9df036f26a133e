"""Where a model call comes from: the job and the trial that wait for it.

A model that answers at once does not need this. One that waits for the host stores its calls under it, so that a trial
restarted after a crash finds its earlier answers.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Work:
    """The activity of a job in this process: trials, and calls that wait for the host."""

    trials: int = 0
    waiting: int = 0

    @property
    def blocked(self) -> bool:
        """Whether nothing but waiting is going on."""
        return 0 < self.waiting >= self.trials


@dataclass(slots=True)
class Origin:
    """Who asks. Empty if unknown: a call outside of jobs, or of a job without trials.

    `part`: distinguishes the trial from all others of the job; stable when it is restarted after a crash, different
    when it is rerun because it ended in error. `scenario`: `support/refund`. `instructions`: the version or candidate
    under test, `support@2`, if whoever answers may know it: a judge of its own text may not.
    """

    job: str = ""
    work: Work = field(default_factory=Work)
    run: str = ""
    part: str = ""
    scenario: str = ""
    held_out: bool = False
    instructions: str = ""
    _asked: dict[str, int] = field(default_factory=dict[str, int])
    _heard: dict[str, int] = field(default_factory=dict[str, int])

    def count(self, key: str) -> int:
        """How often the same was asked before in this trial; counts this time too."""
        number = self._asked.get(key, 0)
        self._asked[key] = number + 1
        return number

    def remember(self, role: str, messages: int) -> int:
        """Note how many messages a role will have seen once it has answered; return how many it had seen before."""
        before = self._heard.get(role, 0)
        self._heard[role] = messages
        return before


_ORIGIN: ContextVar[Origin | None] = ContextVar("caseharden_origin", default=None)


def origin() -> Origin:
    """Who asks here."""
    return _ORIGIN.get() or Origin()


@contextmanager
def asking_for(job: str) -> Generator[None]:
    """Attribute what is asked inside to this job; inherited by tasks and threads started inside."""
    before = _ORIGIN.set(Origin(job))
    try:
        yield
    finally:
        _ORIGIN.reset(before)


@contextmanager
def trial_of(run: str, part: str, scenario: str, *, held_out: bool, instructions: str) -> Generator[None]:
    """Attribute what is asked inside to one trial of the job."""
    above = origin()
    above.work.trials += 1
    mine = Origin(above.job, above.work, run, part, scenario, held_out, instructions)
    before = _ORIGIN.set(mine)
    try:
        yield
    finally:
        _ORIGIN.reset(before)
        above.work.trials -= 1


@contextmanager
def preparing() -> Generator[None]:
    """Inside, what may lead to a call is made ready, outside of a trial: the job does not only wait."""
    work = origin().work
    work.trials += 1
    try:
        yield
    finally:
        work.trials -= 1


@contextmanager
def queued() -> Generator[None]:
    """Inside, a trial waits for its turn behind other trials and does not count as active."""
    here = origin()
    counted = 1 if here.part else 0
    here.work.trials -= counted
    try:
        yield
    finally:
        here.work.trials += counted

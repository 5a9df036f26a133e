"""The seam to simulation: what a hardening asks to run, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..evaluate.rates import COUNTED
from ..records.run import TrialRecord
from ..records.scenario import Split
from ..records.verdict import CheckVerdict, TrialVerdict

Purpose = Literal["base", "screen", "train", "proof", "left_out", "again", "confirm"]


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation that a hardening may run. `spent`: a client has read this held-out scenario.

    `left_out`: a train simulation that was not chosen; nothing is learned from it, but nothing may break in it.
    """

    simulation: str
    scenario: str
    split: Split
    spent: bool = False
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """One graded trial. `checks` holds the counted checks only, by id; it may be empty for error and invalid.

    `deterministic`: repeating this trial with the same seed gives the same result (no model that varies), so that one
    trial is as good as many. `judged` names the checks that a judge decided. `acted`: whether the agent changed
    anything in the world; None: unknown. `not_understood`: in how many turns the offline user did not understand it.
    """

    simulation: str
    scenario: str
    trial: int
    verdict: TrialVerdict
    checks: Mapping[str, CheckVerdict] = field(default_factory=dict[str, CheckVerdict])
    conversation: str = ""
    deterministic: bool = False
    judged: frozenset[str] = frozenset()
    acted: bool | None = None
    not_understood: int = 0

    @classmethod
    def of(cls, record: TrialRecord, run: str, *, deterministic: bool = False) -> TrialOutcome:
        """The outcome of a stored trial of that run."""
        counted = [check for check in record.graded.checks if check.counts and record.verdict in COUNTED]
        checks: dict[str, CheckVerdict] = {check.id: check.verdict for check in counted}
        place = f"{run}/{record.simulation}/{record.trial}"
        return cls(
            record.simulation,
            record.scenario,
            record.trial,
            record.verdict,
            checks,
            place,
            deterministic,
            frozenset(check.id for check in counted if check.judged),
            None if record.writes is None else record.writes > 0,
            len(record.not_understood),
        )

    @property
    def counted(self) -> bool:
        return self.verdict in COUNTED

    @property
    def key(self) -> tuple[str, int]:
        return self.simulation, self.trial


class Trials(Protocol):
    """Runs trials and grades them.

    - Trial k of a simulation has the same seeds whatever the instructions and the purpose are.
    - One outcome for each requested (simulation, trial), in any order; a fault in a trial is its verdict,
      never an exception. Exceptions are for what stops the whole hardening (storage, budget,
      cancellation).
    - Requesting the same (instructions, simulation, trial) again gives the stored outcome, so that a
      restarted hardening takes the same path. Purpose `again` is the one exception: it runs a stored
      error or invalid trial once more, and its own outcome is stored in the same way.
    - `simulations` and the returned outcomes must not be changed by either side. Not called concurrently.
    """

    async def run(
        self, instructions: str, simulations: Sequence[str], trials: range, purpose: Purpose
    ) -> Sequence[TrialOutcome]: ...

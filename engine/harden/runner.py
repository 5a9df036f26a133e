"""How the loop obtains trials: each requested once, missing ones once more, and both arms side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records.hardening import CheckRegression
from ..records.scenario import Split
from .proof import CONFIRM_TRIALS, FURTHER_TRIALS, Arms, Key, confirm_regressions, find_regressions
from .trials import Case, Purpose, TrialOutcome, Trials


class Runner:
    """Remembers the outcomes of one hardening by text.

    `asked` counts the trials requested, whether stored or run.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self._known: dict[tuple[str, str, int], TrialOutcome] = {}
        self._again: set[tuple[str, str, int]] = set()
        self.asked = 0

    async def outcomes(
        self, text: str, cases: Sequence[Case], trials: range, purpose: Purpose
    ) -> dict[Key, TrialOutcome]:
        """The outcomes of these trials under the text."""
        new = [c.simulation for c in cases if any((text, c.simulation, k) not in self._known for k in trials)]
        if new and len(trials):
            for outcome in await self._trials.run(text, new, trials, purpose):
                self._known.setdefault((text, *outcome.key), outcome)
            self.asked += len(new) * len(trials)
        keys = [(case.simulation, k) for case in cases for k in trials]
        return {key: self._known[(text, *key)] for key in keys if (text, *key) in self._known}

    async def arms(
        self, base: str, text: str, cases: Sequence[Case], trials: range, purpose: Purpose
    ) -> Arms:
        """Both arms over the trials; error or invalid ones are run once more in their arm."""
        sides: list[dict[Key, TrialOutcome]] = []
        for side in (base, text):
            await self.outcomes(side, cases, trials, purpose)
            await self._retry(side, cases, trials)
            sides.append(await self.outcomes(side, cases, trials, purpose))
        return Arms(cases, trials, *sides)

    async def regressions(self, base: str, text: str, arms: Arms, split: Split) -> list[CheckRegression]:
        """Flag checks, each confirmed or not by more trials in both arms: three, and six if these are not clear."""
        flags = find_regressions(arms, split)
        open_flags = [flag for flag in flags if not flag.confirmed]
        decided = {(flag.simulation, flag.check): flag for flag in flags}
        old: Mapping[Key, TrialOutcome] = {}
        new: Mapping[Key, TrialOutcome] = {}
        first = stop = arms.trials.stop
        for count in (CONFIRM_TRIALS, FURTHER_TRIALS):
            fresh, stop = range(stop, stop + count), stop + count
            members = {flag.simulation for flag in open_flags}
            cases = [case for case in arms.cases if case.simulation in members]
            more = await self.arms(base, text, cases, fresh, "confirm")
            old, new = {**old, **more.base}, {**new, **more.candidate}
            found, open_flags = confirm_regressions(open_flags, old, new, range(first, stop))
            decided |= {(flag.simulation, flag.check): flag for flag in found}
        return list(decided.values())

    def not_understood(self) -> list[TrialOutcome]:
        """The failed trials in which the offline user did not understand a question."""
        return [one for one in self._known.values() if one.verdict == "fail" and one.not_understood]

    async def _retry(self, text: str, cases: Iterable[Case], trials: range) -> None:
        for k in trials:
            missing = [
                case.simulation
                for case in cases
                if (key := (text, case.simulation, k)) not in self._again
                and not ((known := self._known.get(key)) and known.counted)
            ]
            if not missing:
                continue
            self._again.update((text, simulation, k) for simulation in missing)
            for outcome in await self._trials.run(text, missing, range(k, k + 1), "again"):
                self._known[(text, *outcome.key)] = outcome
            self.asked += len(missing)

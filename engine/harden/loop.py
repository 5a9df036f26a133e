"""The loop: base round, the search for one better text, and one proof at the end of all edits kept.

A deterministic function of its inputs: started again with the same record it asks for the same trials, which come from
the store, and proposes what it proposed before. So resuming is calling `run` again. It knows nothing about how trials
are run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import anyio.to_thread

from ..errors import Conflict, InvalidArgument
from ..records.hardening import (
    Candidate,
    CheckRegression,
    Comparison,
    Edit,
    Evidence,
    Hardening,
    Mark,
    Round,
)
from .edits import apply_edits, check_text, placed, text_key
from .looks_told import NO_HELD_OUT, preflight, renewed
from .pool import Standing
from .proof import (
    CONFIRMATION_MISSING,
    LEFT_OUT_MISSING,
    compare_arms,
    decide_outcome,
    proof_trials,
    weigh,
    weigh_left_out,
)
from .rounds import close_round, count_trials, scenarios_of, standing_candidate
from .search import Search
from .split import held_out_set
from .stage import Stage, new_round, spent_of

AUTO_TRIALS = 3
CLIENT = "client"
_LOST = {"attrition", "inconclusive", CONFIRMATION_MISSING, LEFT_OUT_MISSING, NO_HELD_OUT}
"""Caps of an outcome that another try may avoid."""
PLACEHOLDERS = ("...", "\u2026")


@dataclass(slots=True)
class Hardener(Stage):
    """Drives one hardening."""

    _judged: bool = field(init=False, repr=False, default=False)
    """Whether a judge decided anything in the last proof."""

    async def run(self, hardening: Hardening) -> Hardening:
        """Run the base round and, with a writer's strategy, search and prove; with submit, leave a brief and stay open.

        Returns the record, which is also what `save` got last. A decided hardening is returned as it is.
        """
        done = hardening.outcome is not None or hardening.state in ("promoted", "rejected")
        if done or (hardening.strategy == "submit" and hardening.brief is not None):
            return hardening
        h = await self._begin(hardening)
        standing = await self._base_round(h)
        if h.outcome is not None:
            return await self.saved(h, "decided")
        h.brief = self.brief(h, standing)
        if h.strategy == "submit":
            return await self.saved(h, "open")
        best = await Search(self, h, standing).run()
        if h.state == "cancelled":
            return await self.saved(h, "cancelled")
        if best is None:
            h.outcome = "no_change"
            return await self.saved(h, "decided")
        return await self._prove(h, best)

    def submit(
        self,
        hardening: Hardening,
        *,
        instructions: str = "",
        edits: Sequence[Edit] = (),
        why: str = "",
        cluster: str = "",
        by: str = CLIENT,
    ) -> Candidate:
        """Add a client's text to the record as a candidate; guards run at once, against the base.

        Edits apply to the text that the brief shows: that of `standing_candidate`, or the base.

        The candidate's state is `refused` if a guard failed, else `proposed`: then `prove` continues. Raises
        InvalidArgument for an invalid text, Conflict if the hardening is running or over.
        """
        if hardening.state not in ("open", "decided"):
            raise Conflict(
                f"{hardening.id} is {hardening.state}.", where="hardening", allowed="an open hardening"
            )
        if bool(instructions.strip()) == bool(edits):
            raise InvalidArgument("Give instructions or edits, one of them.", where="submit_candidate")
        if any(one.strip() in PLACEHOLDERS for one in (instructions, *(e.text for e in edits))):
            raise InvalidArgument(
                "`...` stands for a text of yours.", where="submit_candidate", allowed="a rule"
            )
        parent, before = _edited(hardening, edits)
        edits, text = _submitted(hardening, before, instructions, edits)
        if text in (before, hardening.base_text):
            same = "base text" if text == hardening.base_text else f"text of {parent}"
            raise InvalidArgument(
                f"The text is the {same} unchanged.", where="instructions" if instructions else "edits"
            )
        _not_again(hardening, text)
        candidate = self.candidate(hardening, parent, text, edits, by, client=True)
        candidate.why, candidate.cluster = why, cluster
        hardening.candidates.append(candidate)
        if candidate.state == "refused":
            failed = next(g for g in candidate.guards if g.result == "fail")
            close_round(hardening, new_round(hardening, candidate), "refused", f"guard_{failed.guard}")
        return candidate

    async def prove(self, hardening: Hardening, candidate: str) -> Hardening:
        """Run a submitted candidate on train and, unless that counts against it, on held-out; decide.

        A refusal on train costs no look: the hardening stays open, and the candidate says why. For a client's
        candidate, spent scenarios count as train.
        """
        found = hardening.find(candidate)
        if found is None or found.state not in ("proposed", "kept"):
            raise Conflict(
                f"`{candidate}` cannot be proven.",
                where="candidate",
                allowed="a candidate that passed its guards",
            )
        if not hardening.trials:
            raise Conflict(f"{hardening.id} has no base round yet.", where="hardening")
        hardening.rounds = [r for r in hardening.rounds if r.candidate != found.id]
        before, hardening.spent = hardening.spent, spent_of(self.cases)
        if hardening.spent != before:
            hardening.warnings = renewed(hardening, self.held_out(hardening, found.client))
        await self.saved(hardening, "running")
        cases = self.train(hardening, found.client)
        number = new_round(hardening, found)
        kept, compared, regressions = await self.filter(hardening, number, found, hardening.base_text, cases)
        if not kept:
            broken = sum(r.confirmed for r in regressions)
            found.evidence = Evidence(train=compared, regressed_checks=broken, regressions=regressions)
            found.outcome = "regressed" if broken else "no_change"
            return await self.saved(hardening, "decided" if hardening.outcome else "open")
        return await self._prove(hardening, found, compared, regressions)

    async def _begin(self, hardening: Hardening) -> Hardening:
        h = hardening.model_copy(deep=True)
        if h.strategy != "submit":
            h.candidates, h.rejected, h.pruned, h.candidate = [], [], [], ""
        h.rounds, h.stop_reason = [], ""
        h.train = scenarios_of(self.train(h, client=False))
        h.held_out = scenarios_of(c for c in self.cases if c.split == "held_out")
        h.spent = spent_of(self.cases)
        h.held_out_set = held_out_set(h.held_out)
        return await self.saved(h, "running")

    async def _base_round(self, h: Hardening) -> Standing:
        wanted = h.limits.trials or 1
        cases = self.for_base(h)
        first = await self.runner.outcomes(h.base_text, cases, range(1, wanted + 1), "base")
        h.deterministic = all(o.deterministic for o in first.values() if o.counted)
        h.trials = h.limits.trials or (1 if h.deterministic else AUTO_TRIALS)
        base = await self.runner.outcomes(h.base_text, cases, range(1, h.trials + 1), "base")
        train = {case.simulation for case in self.train(h, client=self.client_writes(h))}
        outcomes = [o for o in base.values() if o.simulation in train]
        first_round = Round(number=0, decision="base", reason="base", completed=True, chars=len(h.base_text))
        count_trials(first_round, outcomes)
        first_round.trials_run = self.runner.asked
        h.rounds.append(first_round)
        if not any(o.counted for o in base.values()):
            h.outcome, h.stop_reason = "not_evaluated", "no trial could be counted"
        elif all(o.verdict == "pass" for o in base.values()):
            h.outcome, h.stop_reason = "nothing_to_fix", "all pass"
        else:
            held_out = self.held_out(h, client=self.client_writes(h))
            parts = [*self.told, *preflight(h, held_out, base.values())]
            h.warnings += [one for one in parts if one not in h.warnings]
        await self.saved(h, "running")
        return Standing(h.base, h.base_text, outcomes)

    async def _prove(
        self,
        h: Hardening,
        candidate: Candidate,
        train: Comparison | None = None,
        regressions: Sequence[CheckRegression] | None = None,
    ) -> Hardening:
        """Look once at held-out; `train` and `regressions` belong to the base, and are run if not given."""
        if train is None or regressions is None:
            cases = self.train(h, candidate.client)
            arms = await self.runner.arms(h.base_text, candidate.text, cases, range(1, h.trials + 1), "train")
            train = compare_arms(arms, h.seed)
            regressions = await self.runner.regressions(h.base_text, candidate.text, arms, "train")
        before = any(c.evidence and c.evidence.held_out for c in h.candidates if c.id != candidate.id)
        evidence = await self._evidence(h, candidate, train, regressions)
        if decide_outcome(evidence) == "improved":
            evidence = await self._beside(h, candidate, evidence)
        candidate.evidence, candidate.outcome = evidence, decide_outcome(evidence)
        candidate.state, h.proving = "evaluated", False
        h.evidence, h.outcome, h.candidate = evidence, candidate.outcome, candidate.id
        h.marks = list(dict.fromkeys([*h.marks, *self._marks(h, candidate)]))
        if NO_HELD_OUT in evidence.caps:
            h.stop_reason = "no held-out scenario"
        elif h.stop_reason in ("", "proven once", "no held-out scenario"):
            h.stop_reason = "proven" if before else "proven once"
        if candidate.client and standing_candidate(h) is candidate:
            cases = self.train(h, client=True)
            h.brief = self.brief(h, await self.standing(h, candidate, cases))
        return await self.saved(h, "decided")

    def _marks(self, h: Hardening, candidate: Candidate) -> Iterator[Mark]:
        """Marks of a proof: what its writer could see, and whether it judged itself."""
        if candidate.client and (h.spent or "user" in self.lent):
            yield "exposed"
        own = self.judges_itself or (candidate.client and "judge" in self.lent)
        if own and self._judged:
            yield "self-judged"

    async def _evidence(
        self, h: Hardening, candidate: Candidate, train: Comparison, regressions: Sequence[CheckRegression]
    ) -> Evidence:
        """The evidence of a look at held-out; if no held-out scenario is usable there is no look, and that is noted."""
        cases = self.held_out(h, candidate.client)
        if not cases:
            return Evidence(train=train, regressions=list(regressions), caps=[NO_HELD_OUT])
        h.proving = True
        await self.saved(h, "running")
        h.looks = await self.look(h, candidate, scenarios_of(cases))
        lucky = not h.deterministic or h.models.get("judge", "offline") != "offline"
        trials = proof_trials(h.trials, h.looks, deterministic=not lucky)
        arms = await self.runner.arms(h.base_text, candidate.text, cases, trials, "proof")
        self._judged = any(one.judged for arm in (arms.base, arms.candidate) for one in arm.values())
        flagged = await self.runner.regressions(h.base_text, candidate.text, arms, "held_out")
        found = [*regressions, *flagged]
        return await anyio.to_thread.run_sync(lambda: weigh(arms, train, found, h.looks, seed=h.seed))

    async def _beside(self, h: Hardening, candidate: Candidate, evidence: Evidence) -> Evidence:
        """The evidence with the train cases left out: run only here, if all else says improved."""
        cases = [case for case in self.cases if case.left_out]
        if not cases:
            return evidence
        arms = await self.runner.arms(h.base_text, candidate.text, cases, range(1, h.trials + 1), "left_out")
        flagged = await self.runner.regressions(h.base_text, candidate.text, arms, "train")
        return weigh_left_out(evidence, arms, flagged)


def submitted_text(hardening: Hardening, instructions: str, edits: Sequence[Edit]) -> str:
    """The text that a client's submission makes; InvalidArgument if an edit does not fit."""
    return _submitted(hardening, _edited(hardening, edits)[1], instructions, edits)[1]


def proven_before(hardening: Hardening, text: str) -> Candidate | None:
    """The candidate with the same text, ignoring blanks, whose outcome stands; None if it may be tried.

    One that got no outcome because of too many errors may be tried again.
    """
    key = text_key(text)
    same = [c for c in hardening.candidates if c.state == "evaluated" and text_key(c.text) == key]
    return next((c for c in reversed(same) if c.evidence and not _LOST & set(c.evidence.caps)), None)


def _edited(h: Hardening, edits: Sequence[Edit]) -> tuple[str, str]:
    """(name, text) of what a client's edits apply to."""
    standing = standing_candidate(h) if edits else None
    return (standing.id, standing.text) if standing else (h.base, h.base_text)


def _submitted(h: Hardening, before: str, instructions: str, edits: Sequence[Edit]) -> tuple[list[Edit], str]:
    """The edits with their places, and the text."""
    where = placed(edits, before, h.limits.target)
    return where, apply_edits(before, where) if where else check_text(instructions, "instructions")


def _not_again(h: Hardening, text: str) -> None:
    """InvalidArgument for a text already rejected; one lost to infrastructure errors may be resubmitted."""
    key = text_key(text)
    lost = [c for c in h.candidates if c.state in ("refused", "rejected") and text_key(c.text) == key]
    before = lost[0] if lost else None
    reasons = [r.reason for r in h.rounds if before is not None and r.candidate == before.id]
    if before is not None and "attrition" not in reasons:
        words = f" ({reasons[-1]})" if reasons else ""
        raise InvalidArgument(
            f"{before.id} is the same text and was {before.state}{words}.",
            where="submit_candidate",
            allowed="another text",
        )

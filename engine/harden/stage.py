"""The stage of a hardening: what its search and its proof share, both inputs and steps."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ..evaluate import not_understood_warning, without_not_understood
from ..records.hardening import (
    Brief,
    Candidate,
    CheckRegression,
    Comparison,
    Edit,
    Hardening,
    HardeningState,
    Round,
)
from ..records.run import Cluster
from .brief import write_brief
from .edits import unified_diff
from .guards import Hidden, Known, check_guards
from .over_refusal import only_refuses
from .pool import Standing
from .proof import Arms, changed_checks, compare_arms
from .rounds import close_round, count_trials, describe_fixed, filter_reason, scenarios_of
from .runner import Runner
from .trials import Case, TrialOutcome, Trials
from .writers import InstructionWriter


async def _forget(hardening: Hardening) -> None:
    """Save nothing: for callers that keep the record themselves."""


async def _next_look(hardening: Hardening, candidate: Candidate, scenarios: Sequence[str]) -> int:
    """The look after those in the record: for a hardening that has its scenarios to itself."""
    return hardening.looks + 1


@dataclass(slots=True)
class Stage:
    """The inputs of a hardening.

    `clusters` gives the failure clusters of train outcomes, the worst first. `save` gets the record after every step;
    it must not change it. `stop` returns "" to continue, or why to stop before the next round (`cancelled`, `budget`).
    `writer` is needed for every strategy but submit. `look` is called right before a candidate's first trial on these
    held-out scenarios and returns the number of that look, from 1; called again for the same candidate it returns the
    same number. `lent`: roles that the client plays itself, seeing what they are shown; with `writer` among them its
    text is the client's. `judges_itself`: the judge is the agent's own model or client. `told`: faults found in the
    cases.
    """

    trials: Trials
    cases: Sequence[Case]
    clusters: Callable[[Sequence[TrialOutcome]], Sequence[Cluster]]
    known: Known = field(default_factory=Known)
    hidden: Sequence[Hidden] = ()
    writer: InstructionWriter | None = None
    save: Callable[[Hardening], Awaitable[None]] = _forget
    stop: Callable[[], str] = lambda: ""
    look: Callable[[Hardening, Candidate, Sequence[str]], Awaitable[int]] = _next_look
    lent: Collection[str] = ()
    judges_itself: bool = False
    told: Sequence[str] = ()
    runner: Runner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.runner = Runner(self.trials)

    def client_writes(self, h: Hardening) -> bool:
        """Whether the text comes from a client, for which scenarios that it has read count as train."""
        return h.strategy == "submit" or "writer" in self.lent

    def train(self, h: Hardening, client: bool) -> list[Case]:
        """The cases a writer may learn from."""
        known = (c for c in self.cases if not c.left_out)
        return [c for c in known if c.split == "train" or (client and c.scenario in h.spent)]

    def held_out(self, h: Hardening, client: bool) -> list[Case]:
        """The cases that can prove a text."""
        return [c for c in self.cases if c.split == "held_out" and not (client and c.scenario in h.spent)]

    def for_base(self, h: Hardening) -> list[Case]:
        """All chosen cases; a client that plays in them and will write the text must not see held-out ones first."""
        plays = any(role != "writer" for role in self.lent)
        if plays and self.client_writes(h):
            return self.train(h, client=True)
        return [c for c in self.cases if not c.left_out]

    def candidate(
        self, h: Hardening, parent: str, text: str, edits: Sequence[Edit], by: str, *, client: bool = False
    ) -> Candidate:
        """The next candidate, checked by the guards; not yet in the record."""
        limits = h.limits
        guards = check_guards(h.base_text, text, self.hidden, self.known, limits.locked, limits.target)
        identifier = f"{h.id}/c{len(h.candidates) + 1}"
        return Candidate(
            id=identifier,
            base=h.base,
            parent=parent,
            round=h.round + 1,
            text=text,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            edits=list(edits),
            diff=unified_diff(h.base_text, text, h.base, identifier),
            chars=(len(h.base_text), len(text)),
            by=by,
            client=client,
            guards=guards,
            state="refused" if any(g.result == "fail" for g in guards) else "proposed",
        )

    def brief(self, h: Hardening, standing: Standing) -> Brief:
        """What a writer is given to fix that text."""
        return write_brief(
            h.id,
            h.base,
            h.base_text,
            standing.text,
            self.clusters(standing.outcomes),
            rejected=h.rejected,
            known=self.known,
            locked=h.limits.locked,
            target=h.limits.target,
            looks=h.looks if h.strategy == "submit" else None,
        )

    async def standing(self, h: Hardening, candidate: Candidate, cases: Sequence[Case]) -> Standing:
        """A candidate's text with its trials on these cases."""
        known = await self.runner.outcomes(candidate.text, cases, range(1, h.trials + 1), "train")
        return Standing(candidate.id, candidate.text, list(known.values()))

    async def screen(self, h: Hardening, number: Round, before: Iterable[TrialOutcome], text: str) -> bool:
        """Whether one trial of the cluster's simulations fixes any check.

        Without a cluster nothing is screened.
        """
        members = set(number.cluster.members) if number.cluster else set[str]()
        cases = [case for case in self.train(h, self.client_writes(h)) if case.simulation in members]
        if not cases:
            return True
        new = await self.runner.outcomes(text, cases, range(1, 2), "screen")
        old = {o.key: o for o in before}
        return compare_arms(Arms(cases, range(1, 2), old, new), h.seed).fixed > 0

    async def filter(
        self, h: Hardening, number: Round, candidate: Candidate, against: str, cases: Sequence[Case]
    ) -> tuple[bool, Comparison, list[CheckRegression]]:
        """Compare with the text `against` on train: a filter, not a claim.

        Closes the round; returns (kept, comparison, flagged checks).
        """
        before = self.runner.asked
        arms = await self.runner.arms(against, candidate.text, cases, range(1, h.trials + 1), "train")
        compared = compare_arms(arms, h.seed)
        regressions = await self.runner.regressions(against, candidate.text, arms, "train")
        count_trials(number, arms.candidate.values())
        number.train, number.regressions = compared, regressions
        number.trials_run = self.runner.asked - before
        reason = filter_reason(compared, regressions)
        if reason == "check_regressed" and only_refuses(arms, regressions):
            reason = "over_refusal"
        kept = reason == "kept"
        candidate.state = "kept" if kept else "rejected"
        if kept:
            h.candidate = candidate.id
        close_round(h, number, "kept" if kept else "rejected", reason)
        if kept:
            number.told = describe_fixed(changed_checks(arms)[0])
        return kept, compared, regressions

    async def saved(self, h: Hardening, state: HardeningState) -> Hardening:
        """The record, saved in that state."""
        h.state = state
        self._doubt(h)
        await self.save(h)
        return h

    def _doubt(self, h: Hardening) -> None:
        """Warn of failures that may be the offline user's, in place of an earlier such warning."""
        hidden = {case.simulation for case in self.cases if case.split == "held_out"}
        hit = self.runner.not_understood()
        told = not_understood_warning(
            ("" if one.simulation in hidden else one.conversation, one.not_understood) for one in hit
        )
        if told and told[0] not in h.warnings:
            h.warnings = [*without_not_understood(h.warnings), *told]


def new_round(h: Hardening, candidate: Candidate) -> Round:
    """A new, open round for a candidate."""
    return Round(
        number=h.round + 1,
        candidate=candidate.id,
        parent=candidate.parent,
        chars=len(candidate.text),
        why=candidate.why,
    )


def spent_of(cases: Iterable[Case]) -> list[str]:
    """The held-out scenarios that a client has read."""
    return scenarios_of(c for c in cases if c.split == "held_out" and c.spent)

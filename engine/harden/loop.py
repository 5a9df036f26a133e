"""The loop: base round, rounds of one small edit each, one proof at the end for all edits that were kept.

A deterministic function of its inputs: begun again with the same record it asks for the same trials, which
come from the store, and proposes what it proposed before. So a resume is a new call of `run`. It knows
nothing of how trials are run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import Conflict, InvalidArgument
from ..records.hardening import (
    Brief,
    Candidate,
    CheckRegression,
    Comparison,
    Edit,
    Evidence,
    Hardening,
    HardeningState,
    Mark,
    RejectedEdit,
    Round,
)
from ..records.run import Cluster
from .brief import write_brief
from .edits import apply_edits, check_text, unified_diff
from .guards import Hidden, Known, check_guards
from .looks_told import NO_HELD_OUT, preflight
from .proof import Arms, compare_arms, decide_outcome, weigh
from .rounds import close_round, count_trials, filter_reason, scenarios_of, standing_candidate
from .runner import Runner
from .split import held_out_set
from .trials import Case, TrialOutcome, Trials
from .writers import InstructionWriter, Proposal

AUTO_TRIALS = 3


@dataclass(frozen=True, slots=True)
class _Standing:
    """The text that the next edit applies to, and its trials on train."""

    id: str
    text: str
    outcomes: Sequence[TrialOutcome]


async def _forget(hardening: Hardening) -> None:
    """Save nothing: for callers that keep the record themselves."""


async def _next_look(hardening: Hardening, candidate: Candidate, scenarios: Sequence[str]) -> int:
    """The look behind those that the record knows of: for a hardening that is alone with its scenarios."""
    return hardening.looks + 1


@dataclass(slots=True)
class Hardener:
    """Drives one hardening.

    `clusters` gives the failure clusters of train outcomes, the worst first. `save` gets the record after every
    step; it must not change it. `stop` gives "" to go on, or why to stop before the next round (`cancelled`,
    `budget`). `writer` is needed for every strategy but submit. `look` is asked right before a candidate's first
    trial on these held-out scenarios and gives the number of that look, from 1; asked again for the same candidate
    it gives the same number. `lent`: roles that the client plays itself, and what they are shown it sees.
    `judges_itself`: the judge is the agent's own model or client.
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
    _runner: Runner = field(init=False, repr=False)
    _judged: bool = field(init=False, repr=False, default=False)
    """Whether a judge decided anything in the last proof."""

    def __post_init__(self) -> None:
        self._runner = Runner(self.trials)

    async def run(self, hardening: Hardening) -> Hardening:
        """Run the base round and, with a writer's strategy, search and prove; with submit, leave a brief
        and stay open.

        Gives back the record, which is also what `save` got last. A decided hardening is given back as it is.
        """
        done = hardening.outcome is not None or hardening.state in ("promoted", "rejected")
        if done or (hardening.strategy == "submit" and hardening.brief is not None):
            return hardening
        recorded = _recorded(hardening)
        h = await self._begin(hardening)
        standing = await self._base_round(h)
        if h.outcome is not None:
            return await self._saved(h, "decided")
        h.brief = self._brief(h, standing)
        if h.strategy == "submit":
            return await self._saved(h, "open")
        best = await self._search(h, standing, recorded)
        if h.state == "cancelled":
            return await self._saved(h, "cancelled")
        if best is None:
            h.outcome = "no_change"
            return await self._saved(h, "decided")
        return await self._prove(h, best)

    def submit(
        self,
        hardening: Hardening,
        *,
        instructions: str = "",
        edits: Sequence[Edit] = (),
        why: str = "",
        cluster: str = "",
        by: str = "client",
    ) -> Candidate:
        """Put a client's text into the record as a candidate; guards are run at once, against the base.

        Edits are of the text that the brief shows: that of `standing_candidate`, or the base.

        The candidate's state is `refused` where a guard failed, else `proposed`: then `prove` goes on. Raises
        InvalidArgument for a text that is none, Conflict where the hardening is running or over.
        """
        if hardening.state not in ("open", "decided"):
            raise Conflict(
                f"{hardening.id} is {hardening.state}.", where="hardening", allowed="an open hardening"
            )
        if bool(instructions.strip()) == bool(edits):
            raise InvalidArgument("Give instructions or edits, one of them.", where="submit_candidate")
        standing = standing_candidate(hardening) if edits else None
        parent, before = (standing.id, standing.text) if standing else (hardening.base, hardening.base_text)
        text = apply_edits(before, edits) if edits else check_text(instructions, "instructions")
        if text in (before, hardening.base_text):
            same = "base text" if text == hardening.base_text else f"text of {parent}"
            raise InvalidArgument(
                f"The text is the {same} unchanged.", where="instructions" if instructions else "edits"
            )
        candidate = self._candidate(hardening, parent, text, edits, by, client=True)
        candidate.why, candidate.cluster = why, cluster
        hardening.candidates.append(candidate)
        if candidate.state == "refused":
            failed = next(g for g in candidate.guards if g.result == "fail")
            close_round(hardening, self._round(hardening, candidate), "refused", f"guard_{failed.guard}")
        return candidate

    async def prove(self, hardening: Hardening, candidate: str) -> Hardening:
        """Run a submitted candidate on train and, unless that speaks against it, on held-out; decide.

        What train refuses keeps its look: the hardening stays open, the candidate says why. For a client's
        candidate spent scenarios count as train.
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
        hardening.spent = _spent(self.cases)
        await self._saved(hardening, "running")
        cases = self._train(hardening, found.client)
        number = self._round(hardening, found)
        kept, compared, regressions = await self._filter(hardening, number, found, hardening.base_text, cases)
        if not kept:
            broken = sum(r.confirmed for r in regressions)
            found.evidence = Evidence(train=compared, regressed_checks=broken, regressions=regressions)
            found.outcome = "regressed" if broken else "no_change"
            return await self._saved(hardening, "decided" if hardening.outcome else "open")
        return await self._prove(hardening, found, compared, regressions)

    async def _begin(self, hardening: Hardening) -> Hardening:
        h = hardening.model_copy(deep=True)
        if h.strategy != "submit":
            h.candidates, h.rejected, h.candidate = [], [], ""
        h.rounds, h.stop_reason = [], ""
        h.train = scenarios_of(c for c in self.cases if c.split == "train")
        h.held_out = scenarios_of(c for c in self.cases if c.split == "held_out")
        h.spent = _spent(self.cases)
        h.held_out_set = held_out_set(h.held_out)
        return await self._saved(h, "running")

    async def _base_round(self, h: Hardening) -> _Standing:
        wanted = h.limits.trials or 1
        cases = self._for_base(h)
        first = await self._runner.outcomes(h.base_text, cases, range(1, wanted + 1), "base")
        h.deterministic = all(o.deterministic for o in first.values() if o.counted)
        h.trials = h.limits.trials or (1 if h.deterministic else AUTO_TRIALS)
        base = await self._runner.outcomes(h.base_text, cases, range(1, h.trials + 1), "base")
        train = {case.simulation for case in self._train(h, client=h.strategy == "submit")}
        outcomes = [o for o in base.values() if o.simulation in train]
        first_round = Round(number=0, decision="base", reason="base", completed=True, chars=len(h.base_text))
        count_trials(first_round, outcomes)
        first_round.trials_run = self._runner.asked
        h.rounds.append(first_round)
        if not any(o.counted for o in base.values()):
            h.outcome, h.stop_reason = "not_evaluated", "no trial could be counted"
        elif all(o.verdict == "pass" for o in base.values()):
            h.outcome, h.stop_reason = "nothing_to_fix", "all pass"
        else:
            held_out = self._held_out(h, client=h.strategy == "submit")
            h.warnings += [told for told in preflight(h, held_out, base.values()) if told not in h.warnings]
        await self._saved(h, "running")
        return _Standing(h.base, h.base_text, outcomes)

    async def _search(
        self, h: Hardening, standing: _Standing, recorded: Mapping[int, Proposal]
    ) -> Candidate | None:
        best: Candidate | None = None
        misses = 0
        while not (reason := self._why_stop(h, standing, misses)):
            number = h.rounds[-1].number + 1
            proposal = await self._proposal(h, standing, recorded.get(number))
            if not proposal.edits:
                close_round(
                    h, Round(number=number, not_proposed=dict(proposal.passed_over)), "none", "no_proposal"
                )
                reason = "no proposal"
                break
            candidate = await self._try(h, standing, proposal)
            await self._saved(h, "running")
            misses = 0 if candidate.state == "kept" else misses + 1
            if candidate.state == "kept":
                best = candidate
                cases = self._train(h, client=False)
                known = await self._runner.outcomes(candidate.text, cases, range(1, h.trials + 1), "train")
                standing = _Standing(candidate.id, candidate.text, list(known.values()))
        h.stop_reason = reason
        return best

    def _why_stop(self, h: Hardening, standing: _Standing, misses: int) -> str:
        asked = self.stop()
        if asked:
            h.state = "cancelled"
            return asked
        verdicts = {o.verdict for o in standing.outcomes if o.counted}
        if verdicts <= {"pass"}:
            return "train all pass"
        if "fail" not in verdicts:
            return "only inconclusive left"
        if misses >= h.limits.patience:
            return f"{misses} rounds without a better text"
        return "rounds used up" if h.rounds[-1].number >= h.limits.rounds else ""

    async def _proposal(self, h: Hardening, standing: _Standing, recorded: Proposal | None) -> Proposal:
        h.brief = self._brief(h, standing)
        if recorded is not None:
            return recorded
        if self.writer is None:
            raise InvalidArgument(f"Strategy {h.strategy} needs a writer.", where="strategy")
        return await self.writer.propose(h.brief)

    async def _try(self, h: Hardening, standing: _Standing, proposal: Proposal) -> Candidate:
        """One round.

        Edit, guards, screen on the cluster, filter on train; the record says what came of it.
        """
        by = self.writer.name if self.writer else h.strategy
        text = apply_edits(standing.text, proposal.edits)
        candidate = self._candidate(h, standing.id, text, proposal.edits, by)
        candidate.why, candidate.cluster = proposal.why, proposal.cluster
        h.candidates.append(candidate)
        number = self._round(h, candidate)
        number.not_proposed = dict(proposal.passed_over)
        number.cluster = (
            next((c for c in h.brief.clusters if c.id == proposal.cluster), None) if h.brief else None
        )
        failed = next((g for g in candidate.guards if g.result == "fail"), None)
        if failed:
            close_round(h, number, "refused", f"guard_{failed.guard}")
        elif not await self._screen(h, number, standing, text):
            close_round(h, number, "rejected", "screen_no_gain")
        else:
            await self._filter(h, number, candidate, standing.text, self._train(h, client=False))
        if number.decision != "kept":
            candidate.state = "refused" if failed else "rejected"
            h.rejected.append(
                RejectedEdit(candidate=candidate.id, edits=list(proposal.edits), reason=number.reason)
            )
        return candidate

    async def _screen(self, h: Hardening, number: Round, standing: _Standing, text: str) -> bool:
        """Whether one trial of the cluster's simulations mends any check.

        Without a cluster nothing is screened.
        """
        members = set(number.cluster.members) if number.cluster else set[str]()
        cases = [case for case in self._train(h, client=False) if case.simulation in members]
        if not cases:
            return True
        new = await self._runner.outcomes(text, cases, range(1, 2), "screen")
        old = {o.key: o for o in standing.outcomes}
        return compare_arms(Arms(cases, 1, old, new), h.seed).fixed > 0

    async def _filter(
        self, h: Hardening, number: Round, candidate: Candidate, parent: str, cases: Sequence[Case]
    ) -> tuple[bool, Comparison, list[CheckRegression]]:
        """Compare with the parent on train.

        A filter, not a claim. Closes the round; (kept, comparison, flagged checks).
        """
        before = self._runner.asked
        arms = await self._runner.arms(parent, candidate.text, cases, h.trials, "train")
        compared = compare_arms(arms, h.seed)
        regressions = await self._runner.regressions(parent, candidate.text, arms, "train")
        count_trials(number, arms.candidate.values())
        number.train, number.regressions = compared, regressions
        number.trials_run = self._runner.asked - before
        reason = filter_reason(compared, regressions)
        kept = reason == "kept"
        candidate.state = "kept" if kept else "rejected"
        if kept:
            h.candidate = candidate.id
        close_round(h, number, "kept" if kept else "rejected", reason)
        return kept, compared, regressions

    async def _prove(
        self,
        h: Hardening,
        candidate: Candidate,
        train: Comparison | None = None,
        regressions: Sequence[CheckRegression] | None = None,
    ) -> Hardening:
        """Look once at held-out; `train` and `regressions` are of the base, run where they are not given."""
        if train is None or regressions is None:
            cases = self._train(h, candidate.client)
            arms = await self._runner.arms(h.base_text, candidate.text, cases, h.trials, "train")
            train = compare_arms(arms, h.seed)
            regressions = await self._runner.regressions(h.base_text, candidate.text, arms, "train")
        before = any(c.evidence and c.evidence.held_out for c in h.candidates if c.id != candidate.id)
        evidence = await self._evidence(h, candidate, train, regressions)
        candidate.evidence, candidate.outcome = evidence, decide_outcome(evidence)
        candidate.state, h.proving = "evaluated", False
        h.evidence, h.outcome, h.candidate = evidence, candidate.outcome, candidate.id
        h.marks = list(dict.fromkeys([*h.marks, *self._marks(h, candidate)]))
        if NO_HELD_OUT in evidence.caps:
            h.stop_reason = "no held-out scenario"
        elif h.stop_reason in ("", "proven once", "no held-out scenario"):
            h.stop_reason = "proven" if before else "proven once"
        if candidate.client and standing_candidate(h) is candidate:
            cases = self._train(h, client=True)
            known = await self._runner.outcomes(candidate.text, cases, range(1, h.trials + 1), "train")
            h.brief = self._brief(h, _Standing(candidate.id, candidate.text, list(known.values())))
        return await self._saved(h, "decided")

    def _marks(self, h: Hardening, candidate: Candidate) -> Iterator[Mark]:
        """What is to be said of a proof: what its writer could see, and whether it judged itself."""
        if candidate.client and (h.spent or "user" in self.lent):
            yield "exposed"
        own = self.judges_itself or (candidate.client and "judge" in self.lent)
        if own and self._judged:
            yield "self-judged"

    async def _evidence(
        self, h: Hardening, candidate: Candidate, train: Comparison, regressions: Sequence[CheckRegression]
    ) -> Evidence:
        """The evidence of a look at held-out; where none of it can be used there is no look, and that is said."""
        cases = self._held_out(h, candidate.client)
        if not cases:
            return Evidence(train=train, regressions=list(regressions), caps=[NO_HELD_OUT])
        h.proving = True
        await self._saved(h, "running")
        h.looks = await self.look(h, candidate, scenarios_of(cases))
        arms = await self._runner.arms(h.base_text, candidate.text, cases, h.trials, "proof")
        self._judged = any(one.judged for arm in (arms.base, arms.candidate) for one in arm.values())
        flagged = await self._runner.regressions(h.base_text, candidate.text, arms, "held_out")
        return weigh(arms, train, [*regressions, *flagged], h.looks, seed=h.seed)

    def _candidate(
        self, h: Hardening, parent: str, text: str, edits: Sequence[Edit], by: str, *, client: bool = False
    ) -> Candidate:
        guards = check_guards(h.base_text, text, self.hidden, self.known, h.limits.locked)
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

    def _round(self, h: Hardening, candidate: Candidate) -> Round:
        return Round(
            number=h.round + 1,
            candidate=candidate.id,
            parent=candidate.parent,
            chars=len(candidate.text),
            why=candidate.why,
        )

    def _brief(self, h: Hardening, standing: _Standing) -> Brief:
        return write_brief(
            h.id,
            h.base,
            h.base_text,
            standing.text,
            self.clusters(standing.outcomes),
            rejected=h.rejected,
            tools=self.known.tools,
            locked=h.limits.locked,
            looks=h.looks if h.strategy == "submit" else None,
        )

    def _train(self, h: Hardening, client: bool) -> list[Case]:
        return [c for c in self.cases if c.split == "train" or (client and c.scenario in h.spent)]

    def _for_base(self, h: Hardening) -> list[Case]:
        """All cases; a client that plays in them and is to write the text does not get to see held-out ones before."""
        return self._train(h, client=True) if self.lent and h.strategy == "submit" else list(self.cases)

    def _held_out(self, h: Hardening, client: bool) -> list[Case]:
        return [c for c in self.cases if c.split == "held_out" and not (client and c.scenario in h.spent)]

    async def _saved(self, h: Hardening, state: HardeningState) -> Hardening:
        h.state = state
        await self.save(h)
        return h


def _recorded(hardening: Hardening) -> dict[int, Proposal]:
    """What a writer proposed before the loop was interrupted, by round: it is not asked again."""
    found = {r.number: hardening.find(r.candidate) for r in hardening.rounds}
    return {
        r.number: Proposal(tuple(candidate.edits), candidate.cluster, candidate.why, r.not_proposed)
        for r in hardening.rounds
        if (candidate := found[r.number]) and not candidate.client
    }


def _spent(cases: Iterable[Case]) -> list[str]:
    return scenarios_of(c for c in cases if c.split == "held_out" and c.spent)

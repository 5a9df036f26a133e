"""The search: rounds of one small edit each on train, until nothing is left to fix or there is a reason to stop.

Every round has the same steps: a proposal for one cluster, guards, a screen on that cluster, a filter on train against
the best text so far. A text that the filter keeps becomes the best; one that it does not keep may still be a parent
(`pool`). At the end every added line that nothing on train needs is removed.
"""

from __future__ import annotations

from ..errors import InvalidArgument
from ..records.hardening import Candidate, Hardening, Pruning, RejectedEdit, Round, Written
from .edits import Hunk, added_hunks, apply_edits, parts_of
from .pool import Pool, Standing
from .proof import Arms, changed_checks, compare_arms
from .rounds import close_round, count_trials
from .stage import Stage, new_round
from .writers import NotRepaired, Proposal

PRUNED_LINES = 12
"""Most added lines that are tested by removal."""
PRUNED_ON = 8
"""Simulations on which removing a line is tried first; most lines prove necessary there."""
PRUNING = "pruning"
_PROPOSED = ("cluster", "why", "passed_over", "failure", "use")


class Search:
    """One search; see the module. Proposals already in the record are not requested again."""

    def __init__(self, stage: Stage, h: Hardening, base: Standing) -> None:
        self._stage = stage
        self._h = h
        self._pool = Pool(base)
        self._client = stage.client_writes(h)
        self._kept: list[Candidate] = []
        self._misses = 0

    async def run(self) -> Candidate | None:
        """The best candidate, None if none was kept; the record says why it stopped."""
        h = self._h
        while not (reason := self._why_stop()):
            if not await self._round():
                reason = "no proposal"
                break
        h.stop_reason = reason
        if h.state != "cancelled" and self._kept:
            await self._prune(self._kept[-1])
        return self._kept[-1] if self._kept else None

    def _why_stop(self) -> str:
        h, standing = self._h, self._pool.best
        asked = self._stage.stop()
        if asked:
            h.state = "cancelled"
            return asked
        verdicts = [o.verdict for o in standing.outcomes if o.counted]
        uncounted = len(standing.outcomes) - len(verdicts)
        if set(verdicts) <= {"pass"}:
            return f"train all pass but {uncounted} that ended in error" if uncounted else "train all pass"
        if "fail" not in verdicts:
            return "only inconclusive left"
        if self._misses >= h.limits.patience:
            return f"{self._misses} rounds without a better text"
        tried = sum(r.number > 0 and r.decision != "refused" for r in h.rounds)
        return "rounds used up" if tried >= h.limits.rounds else ""

    async def _round(self) -> bool:
        """One round; False if no writer has anything left to propose."""
        h = self._h
        found = await self._proposal()
        if found is None:
            return False
        parent, proposal = found
        if not proposal.edits:
            number = Round(number=h.round + 1, not_proposed=dict(proposal.passed_over), why=proposal.failure)
            close_round(h, number, "none", "unusable_proposal")
            self._misses += 1
            await self._stage.saved(h, "running")
            return True
        candidate = await self._try(parent, proposal)
        await self._stage.saved(h, "running")
        if candidate.state == "kept":
            self._kept.append(candidate)
        self._misses = 0 if candidate.state == "kept" else self._misses + 1
        return True

    async def _proposal(self) -> tuple[Standing, Proposal] | None:
        """A proposal and the text that it is for: the best, or after a miss another one in the pool.

        Rules are deterministic, so another text is tried only if they have nothing left for the best.
        """
        h, pool = self._h, self._pool
        other = pool.alternative() if self._misses and h.strategy == "reflect" else None
        first = other or pool.best
        proposal = await self._asked(first)
        if proposal.edits or proposal.failure:
            return first, proposal
        second = pool.best if other else pool.alternative()
        again = await self._asked(second) if second else Proposal()
        if second and (again.edits or again.failure):
            return second, again
        number = Round(number=h.round + 1, not_proposed={**again.passed_over, **proposal.passed_over})
        close_round(h, number, "none", "no_proposal")
        return None

    async def _asked(self, parent: Standing) -> Proposal:
        """What the writer proposes for a text; saved before anything else is done with it."""
        h, stage = self._h, self._stage
        h.brief = stage.brief(h, parent)
        at = (h.round + 1, parent.id)
        known = next((w for w in h.written if (w.round, w.parent) == at), None)
        if known is not None:
            parts = {name: getattr(known, name) for name in _PROPOSED}
            return Proposal(tuple(known.edits), **parts)
        if stage.writer is None:
            raise InvalidArgument(f"Strategy {h.strategy} needs a writer.", where="strategy")
        try:
            proposal = await stage.writer.propose(h.brief)
        except NotRepaired as stop:
            h.written.append(Written(round=at[0], parent=at[1], failure=stop.failure, use=stop.use))
            await stage.saved(h, "running")
            raise stop.why from stop
        parts = {name: getattr(proposal, name) for name in _PROPOSED}
        h.written.append(Written(round=at[0], parent=at[1], edits=list(proposal.edits), **parts))
        await stage.saved(h, "running")
        return proposal

    async def _try(self, parent: Standing, proposal: Proposal) -> Candidate:
        """Edit, guards, screen on the cluster, filter on train; the result goes into the record."""
        h, stage = self._h, self._stage
        by = stage.writer.name if stage.writer else h.strategy
        text = apply_edits(parent.text, proposal.edits)
        candidate = stage.candidate(h, parent.id, text, proposal.edits, by, client=self._client)
        candidate.why, candidate.cluster = proposal.why, proposal.cluster
        h.candidates.append(candidate)
        number = new_round(h, candidate)
        number.not_proposed = dict(proposal.passed_over)
        number.cluster = (
            next((c for c in h.brief.clusters if c.id == proposal.cluster), None) if h.brief else None
        )
        failed = next((g for g in candidate.guards if g.result == "fail"), None)
        if failed:
            close_round(h, number, "refused", f"guard_{failed.guard}")
        elif not await stage.screen(h, number, parent.outcomes, text):
            close_round(h, number, "rejected", "screen_no_gain")
        else:
            await self._filter(number, candidate)
        if number.decision != "kept":
            candidate.state = "refused" if failed else "rejected"
            edits = list(proposal.edits)
            h.rejected.append(RejectedEdit(candidate=candidate.id, edits=edits, reason=number.reason))
        return candidate

    async def _filter(self, number: Round, candidate: Candidate) -> None:
        h, stage = self._h, self._stage
        cases = stage.train(h, self._client)
        kept, compared, _ = await stage.filter(h, number, candidate, self._pool.best.text, cases)
        standing = await stage.standing(h, candidate, cases)
        if kept:
            self._pool.keep(standing)
        elif compared.fixed and number.reason != "attrition":
            self._pool.put_aside(standing)

    async def _prune(self, best: Candidate) -> None:
        """Try the best text without each added line, and with the lines it replaced; only if it has several.

        Lines that replace others are tried together and, if needed, each alone.
        """
        h = self._h
        if h.limits.target == "examples":
            return
        added = added_hunks(h.base_text, best.text)
        parts = [parts_of(hunk) for hunk in added]
        if not 2 <= sum(map(len, parts)) <= PRUNED_LINES:
            return
        gone = 0
        for hunk, own in zip(added, parts, strict=True):
            less = await self._put_back(hunk, gone)
            gone += less or 0
            for part in own if less is None and len(own) > 1 else ():
                gone += await self._put_back(part, gone) or 0

    async def _put_back(self, hunk: Hunk, gone: int) -> int | None:
        """How many lines shorter the best text is without a hunk, None if it is needed; `gone`: so far, before it."""
        lines, at = self._pool.best.text.split("\n"), hunk.at - gone
        text = "\n".join([*lines[:at], *hunk.before, *lines[at + len(hunk.lines) :]])
        if text != self._h.base_text:
            await self._without("\n".join(hunk.lines), text)
        return len(hunk.lines) - len(hunk.before) if self._pool.best.text == text else None

    async def _without(self, line: str, text: str) -> None:
        """Remove one line, if nothing on train gets worse."""
        h, stage = self._h, self._stage
        best = self._pool.best
        needed = await self._needed_by(line, text)
        if needed:
            h.pruned.append(Pruning(line=line, removed=False, needed_by=needed))
            return
        candidate = stage.candidate(h, best.id, text, (), PRUNING, client=self._client)
        candidate.why = "Without a line that nothing on train needs."
        if candidate.state == "refused":
            return
        cases = stage.train(h, self._client)
        arms = await stage.runner.arms(best.text, text, cases, range(1, h.trials + 1), "train")
        broken = changed_checks(arms)[1]
        if broken:
            h.pruned.append(Pruning(line=line, removed=False, needed_by=broken[0][0]))
            return
        number = new_round(h, candidate)
        h.candidates.append(candidate)
        candidate.state, h.candidate = "kept", candidate.id
        h.pruned.append(Pruning(line=line, removed=True))
        self._close_pruned(number, arms)
        self._pool.keep(await stage.standing(h, candidate, cases))
        self._kept.append(candidate)
        await stage.saved(h, "running")

    def _close_pruned(self, number: Round, arms: Arms) -> None:
        count_trials(number, arms.candidate.values())
        number.train = compare_arms(arms, self._h.seed)
        close_round(self._h, number, "kept", "pruned")

    async def _needed_by(self, line: str, text: str) -> str:
        """A simulation of the line's own cluster that breaks without the line; "" if none does."""
        h, stage = self._h, self._stage
        wrote = next((c for c in self._kept if any(_shares(line, e.text) for e in c.edits)), None)
        number = next((r for r in h.rounds if wrote and r.candidate == wrote.id), None)
        members = set(number.cluster.members[:PRUNED_ON]) if number and number.cluster else set[str]()
        cases = [case for case in stage.train(h, self._client) if case.simulation in members]
        if not cases:
            return ""
        new = await stage.runner.outcomes(text, cases, range(1, 2), "screen")
        old = {o.key: o for o in self._pool.best.outcomes}
        broken = changed_checks(Arms(cases, range(1, 2), old, new))[1]
        return broken[0][0] if broken else ""


def _shares(lines: str, text: str) -> bool:
    """Whether a text contains one of these lines."""
    return any(line.strip() and line in text.split("\n") for line in lines.split("\n"))

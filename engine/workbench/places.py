"""Places: a stored conversation at one of its turns, restored so that it can continue from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import Conflict, InvalidArgument, NextCall
from ..ids import Place, parse_place
from ..records.conversation import Conversation, Speaker
from ..records.run import RunRecord, TrialRecord
from ..records.session import BranchPoint
from ..simulate import Tape, TapedAgent, TapedUser, answered_turns, difference, stand_trial, taped
from .archive import Archive
from .trials import TrialRunner


@dataclass(frozen=True, slots=True)
class Restored:
    """A place that exists: its run, its trial and the point to continue from."""

    place: Place
    run: RunRecord
    trial: TrialRecord
    point: BranchPoint


class Places:
    """Finds places and checks that they can be restored: everything up to there must go as it went."""

    def __init__(self, archive: Archive, trials: TrialRunner) -> None:
        self._archive = archive
        self._trials = trials

    def find(self, text: str, environment: str, where: str, role: Speaker = "agent") -> Restored:
        """The place. `role`: whose turn it then is, the agent's in that turn or the user's.

        Raises InvalidArgument for a turn that the conversation does not have. Run in a worker thread.
        """
        place = parse_place(text, where)
        run = self._archive.runs.get(place.run, where)
        if run.environment != environment:
            what = f"{place.run} is of {run.environment}."
            raise InvalidArgument(what, where=where, allowed=f"a conversation of {environment}")
        trial, conversation = self._archive.conversation(place, where)
        turns = _turns(conversation, role)
        if place.turn not in turns:
            raise _no_turn(place, turns, where)
        point = BranchPoint(
            place=str(place),
            seed=conversation.seed,
            drawn=conversation.branch.trial if conversation.branch else conversation.trial,
            tape=taped(conversation, place.turn, answered=role == "agent"),
        )
        return Restored(place, run, trial, point)

    async def check(self, found: Restored, where: str, role: Speaker = "agent") -> None:
        """Conflict if the world no longer goes the way it went up to that place."""
        case = self._trials.cases(found.run).case(found.place.simulation)
        _, stored = self._archive.conversation(found.place, where)
        tape = Tape(found.point.tape)
        standing = await stand_trial(
            case,
            TapedAgent(tape, None),
            TapedUser(tape, None),
            seed=found.point.seed,
            trial=found.point.drawn,
            instructions=found.run.instructions_text,
        )
        other = difference(stored, standing.tried.conversation, found.place.turn, role)
        if standing.waits is None or standing.waits.side != role:
            end = standing.tried.conversation.end
            other = other or f"it does not wait for the {role}: {end.reason} {end.detail}".strip()
        if other:
            raise Conflict(
                f"{found.place} cannot be restored: {other[:300]}.",
                where=where,
                allowed="a conversation of this version's engine",
                next=[
                    NextCall("get_item", {"kind": "conversation", "id": str(found.place), "view": "turns"})
                ],
            )

    def one_run(self, texts: Sequence[str], environment: str, where: str = "select") -> list[Restored]:
        """Places that can continue in one run: from one run, each simulation once. Run in a worker thread."""
        found = [self.find(text, environment, f"{where}[{k}]") for k, text in enumerate(texts)]
        for k, one in enumerate(found):
            same = [other.place for other in found[:k] if other.place.simulation == one.place.simulation]
            if one.run.id != found[0].run.id:
                what = f"{one.place} is of another run than {found[0].place}."
                raise InvalidArgument(what, where=f"{where}[{k}]", allowed="places of one run a call")
            if same:
                what = f"{one.place} and {same[0]} are of one simulation."
                raise InvalidArgument(
                    what, where=f"{where}[{k}]", allowed="one place of each simulation a call"
                )
        return found

    def lay_out(self, run: RunRecord, found: Sequence[Restored]) -> None:
        """Copy what the places are made of into a run that continues from them. Run in a worker thread."""
        cases = self._trials.cases(run)
        cases.copy_from(found[0].run, [one.place.simulation for one in found])
        for one in found:
            cases.put_point(one.place.simulation, one.point)


def _turns(conversation: Conversation, role: Speaker) -> list[int]:
    """The turns in which the side did, or could have done, something of its own."""
    if role == "agent":
        return answered_turns(conversation)
    return list(range(1, conversation.end.turn + 1))


def _no_turn(place: Place, turns: Sequence[int], where: str) -> InvalidArgument:
    if not turns:
        return InvalidArgument(
            f"In {place.conversation} the agent never answered.", where=where, allowed="another conversation"
        )
    what = f"{place.conversation} has no turn {place.turn} to go on from."
    if not place.turn:
        what = f"Which turn of {place.conversation}?"
    shown = f"@{turns[0]} to @{turns[-1]}" if len(turns) > 1 else f"@{turns[0]}"
    near = min(turns, key=lambda turn: abs(turn - place.turn))
    call = NextCall(
        "get_item", {"kind": "conversation", "id": f"{place.conversation}@{near}", "view": "turns"}
    )
    return InvalidArgument(what, where=where, allowed=f"{place.conversation} with {shown}", next=[call])

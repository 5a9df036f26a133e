"""How a step changes the tape of a session: pure functions of what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import Conflict, InvalidArgument, NextCall
from ..records.conversation import Speaker
from ..records.session import Given, GivenCall, Rejected, SessionRecord


def other(side: Speaker) -> Speaker:
    """The other side."""
    return "user" if side == "agent" else "agent"


def said(record: SessionRecord, turn: int, text: str, stop: bool) -> Given:
    """The caller's words."""
    return Given(by=record.role, turn=turn, text=text, stop=stop, source="caller", think_s=0.0)


def called(record: SessionRecord, turn: int, tool: str, arguments: Mapping[str, Any]) -> Given:
    """A call of the caller's."""
    written = json.dumps(dict(arguments), ensure_ascii=False)
    call = GivenCall(id=f"s{len(record.tape) + 1}", name=tool, arguments=written)
    return Given(by=record.role, turn=turn, calls=[call], source="caller", think_s=0.0)


def undone(record: SessionRecord, turn: int, now: int) -> None:
    """Go back to where the caller is to continue in that turn (0: its last). `now`: the present turn."""
    if not turn:
        turn = _last_done(record, now)
    if not 1 <= turn <= now:
        first = [NextCall("step_session", {"session": record.id, "action": "undo", "turn": 1})]
        raise InvalidArgument(
            f"{record.id} has no turn {turn}." if turn else f"In {record.id} nothing has been done yet.",
            where="turn",
            allowed=f"1 to {now}" if now > 1 else "1",
            next=first if turn else [NextCall("step_session", {"session": record.id, "action": "look"})],
        )
    record.tape = [one for one in record.tape if _stays(one, record.role, turn)]
    record.again = []


def regenerated(record: SessionRecord, now: int, feedback: str) -> list[str]:
    """Take back the other side's last turn, to be given anew; returns notes on what else was removed."""
    side = other(record.role)
    turn = now if side == "user" else max((one.turn for one in record.tape if one.by == side), default=0)
    taken = [one for one in record.tape if one.by == side and one.turn == turn]
    words = [one for one in taken if one.text and one.source in ("model", "recorded")]
    if not words:
        why = "the script or an event gave them" if turn else "it has said nothing yet"
        raise Conflict(
            f"The {side}'s last words cannot be had anew: {why}.",
            where="action",
            allowed="reply, call, undo, look, end",
            next=[NextCall("step_session", {"session": record.id, "action": "look"})],
        )
    calls = [call for one in taken for call in one.calls]
    text = "\n".join(one.text or "" for one in words)
    rejected = Rejected(turn=turn, by=side, text=text, calls=calls, feedback=feedback)
    own = sum(len(one.calls) for one in record.tape if one.by == record.role and one.turn >= turn)
    kept = [one for one in record.tape if _before(one, side, turn)]
    record.again = [*(before for one in taken for before in one.instead_of), rejected]
    record.rejected.append(rejected)
    record.tape = kept
    return [f"{own} of your calls in turn {turn} went with it."] if own and side == "user" else []


def broken_off(record: SessionRecord, turn: int) -> None:
    """Remove what the agent did in an unfinished turn: it cannot continue in the middle."""
    record.tape = [one for one in record.tape if not (one.by == "agent" and one.turn == turn)]


def _last_done(record: SessionRecord, now: int) -> int:
    """The last turn in which the caller has done something."""
    return max((one.turn for one in record.tape if one.by == record.role), default=0)


def _stays(one: Given, role: Speaker, turn: int) -> bool:
    return one.turn < turn or (one.turn == turn and role == "agent" and one.by == "user")


def _before(one: Given, side: Speaker, turn: int) -> bool:
    """Whether it came before that side's part of that turn."""
    return one.turn < turn or (one.turn == turn and side == "agent" and one.by == "user")

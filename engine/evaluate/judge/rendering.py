"""The record as shown to a judge: entries as data, cut to a budget with a map of what was left out.

The block is enclosed by two lines with a mark that is the hash of the block itself: no text in it can contain its own
hash, so nothing said in a conversation can end the block, and the same record gives the same request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...records.conversation import LogEntry, NotifyEntry, SayEntry, ToolEntry

JUDGE_CHARS: Final = 60_000
"""Characters of the record that a judge is shown at once; about 15,000 tokens."""
LOOK_UP_CHARS: Final = 20_000
_TEXT_CHARS: Final = (4_000, 1_500, 600)
"""The lengths to which texts are cut, in turn, before whole turns are left out."""
_KEPT_FIRST: Final = 2
"""Turns at the beginning that are always shown."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """The block as it is in a request. `turns`: all of the record; `cut`: whether anything is missing in it."""

    text: str
    turns: frozenset[int]
    cut: bool = False

    @property
    def mark(self) -> str:
        return hashlib.blake2b(self.text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def entries_of(log: Sequence[LogEntry]) -> list[Entry]:
    """Everything said, called and notified, in order.

    `{"turn", "by", "say"}`, `{"turn", "by", "tool", "args", "ok", "result"}` or `{"turn", "to", "notice"}`.
    """
    found: list[Entry] = []
    for entry in log:
        if isinstance(entry, SayEntry) and not entry.rejected:
            found.append({"turn": entry.turn, "by": entry.by, "say": entry.say})
        elif isinstance(entry, ToolEntry):
            found.append(_call(entry))
        elif isinstance(entry, NotifyEntry):
            found.append({"turn": entry.turn, "to": entry.to, "notice": entry.notify})
    return found


def shown(entries: Sequence[Entry], chars: int | None = JUDGE_CHARS) -> Shown:
    """The block of a record, limited to roughly that many characters (None: whole)."""
    turns = frozenset(int(entry["turn"]) for entry in entries)
    whole = _block(entries)
    if chars is None or len(whole) <= chars:
        return Shown(whole, turns)
    for most in _TEXT_CHARS:
        entries = [_shortened(entry, most) for entry in entries]
        text = _block(entries)
        if len(text) <= chars:
            return Shown(text, turns, cut=True)
    return Shown(_without_middle(entries, chars), turns, cut=True)


def looked_up(entries: Sequence[Entry], turns: Iterable[int]) -> Shown:
    """Some turns in full, as far as they fit; the rest of them is cut again."""
    wanted = set(turns)
    return shown([entry for entry in entries if entry["turn"] in wanted], LOOK_UP_CHARS)


def _call(entry: ToolEntry) -> Entry:
    args: Any = entry.raw if entry.raw is not None else entry.args
    called: Entry = {"turn": entry.turn, "by": entry.by, "tool": entry.tool, "args": args, "ok": entry.ok}
    return {**called, "result": entry.result}


def _block(entries: Sequence[Entry], left_out: Entry | None = None) -> str:
    """One JSON object, one entry per line; nothing in it can be taken for a tag."""
    lines = ",\n".join(_line(entry) for entry in entries)
    tail = f',\n"left_out": {_line(left_out)}' if left_out else ""
    return f'{{"conversation": [\n{lines}\n]{tail}}}'


def _line(entry: Entry) -> str:
    return json.dumps(entry, ensure_ascii=False, default=str).replace("<", "\\u003c").replace(">", "\\u003e")


def _shortened(entry: Entry, most: int) -> Entry:
    """The entry with long texts cut in the middle; other values are cut as JSON."""
    cut: Entry = {}
    for key, value in entry.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        long = key in ("say", "args", "result", "notice") and len(text) > most
        cut[key] = _middle_cut(text, most) if long else value
    return cut


def _middle_cut(text: str, most: int) -> str:
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]} [... {len(text) - head - tail} characters left out ...] {text[-tail:]}"


def _without_middle(entries: Sequence[Entry], chars: int) -> str:
    """The first turns and as many of the last as fit, with a map of those between."""
    turns = sorted({entry["turn"] for entry in entries})
    kept = set(turns[:_KEPT_FIRST])
    sizes = {turn: sum(len(_line(e)) + 2 for e in entries if e["turn"] == turn) for turn in turns}
    room = chars - sum(sizes[turn] for turn in kept) - 1_000
    for turn in reversed(turns[_KEPT_FIRST:]):
        room -= sizes[turn]
        if room < 0:
            break
        kept.add(turn)
    missing = [turn for turn in turns if turn not in kept]
    return _block([entry for entry in entries if entry["turn"] in kept], _map_of(entries, missing))


def _map_of(entries: Sequence[Entry], missing: Sequence[int]) -> Entry:
    """A map of what was left out: which turns, how much, which tools were called in them."""
    gone = [entry for entry in entries if entry["turn"] in set(missing)]
    tools: dict[str, list[int]] = {}
    for entry in gone:
        if "tool" in entry:
            tools.setdefault(str(entry["tool"])[:80], []).append(entry["turn"])
    calls = {name: sorted(set(at))[:20] for name, at in sorted(tools.items())[:40]}
    span = [missing[0], missing[-1]] if missing else []
    return {"turns": span, "entries": len(gone), "calls_in_turns": calls}

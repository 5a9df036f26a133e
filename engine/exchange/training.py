"""Conversations as data for trainers: JSONL whose columns have one type in all rows, with OpenAI-style messages.

Arguments of calls and `tools` are JSON texts. As objects their keys would differ from row to row, and a loader that
makes one table of them fills each with the keys of all others. Anything no model was shown is in no prompt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..canonical import digest
from ..errors import InvalidArgument, NextCall
from ..records.conversation import Conversation, SayEntry, ToolEntry
from ..records.run import RunRecord, TrialRecord
from ..simulate import Case
from .chats import Chat, ChatMessage, Unfit, agent_chat, clean, user_chat
from .exporter import EVERYTHING, NOTHING, Material, Omissions, RunParts, Written

REWARDED: Final = 1.0
"""The reward required for ground truth."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """A trial whose conversation can be expressed as messages."""

    run: RunRecord
    trial: TrialRecord
    talk: Conversation
    case: Case
    chat: Chat

    @property
    def id(self) -> str:
        return f"{self.run.id}/{self.trial.id}"

    @property
    def rewarded(self) -> bool:
        return self.trial.graded.reward == REWARDED

    @property
    def about(self) -> Row:
        """What the trial belongs to."""
        return {
            "environment": self.run.environment,
            "instructions": self.run.instructions,
            "scenario": self.trial.scenario,
            "persona": self.trial.persona,
            "split": self.trial.split,
        }


class Sft:
    """Conversations to imitate: those with reward 1, or those with the requested verdict."""

    name = "sft"
    suffix = ".jsonl"
    says = "one conversation a line, to be imitated"
    record = "conversation"
    sources = EVERYTHING
    chooses = True
    trains = True
    writes_cases = NOTHING

    def write(self, material: Material) -> Written:
        left = Omissions()
        rows: list[Row] = []
        seen: set[str] = set()
        for parts, trial in material.each():
            if "verdict" not in material.where and trial.graded.reward != REWARDED:
                left.add("conversation", _unrewarded(trial))
                continue
            told = _with_conversation(parts, trial, left)
            if told is None:
                continue
            messages = told.chat.trained()
            if not any(message["role"] == "assistant" for message in messages):
                left.add("conversation", "the agent said nothing")
            elif _new(digest(messages), seen, left, "conversation"):
                rows.append(_sft_row(told, messages))
        if not rows:
            raise _nothing(self.name, material, "conversations with reward 1", "json, csv, dpo")
        return Written(_lines(rows, material), len(rows), left.lines)


class Dpo:
    """Pairs of a better and a worse turn after the same messages.

    A regenerated turn is worse than the one that replaced it. Of two trials of a simulation that went the same way up
    to a turn of the agent, the turn of the one that passed is better than that of the one that failed.
    """

    name = "dpo"
    suffix = ".jsonl"
    says = "one pair of a chosen and a rejected turn a line"
    record = "pair"
    sources = EVERYTHING
    chooses = True
    trains = True
    writes_cases = NOTHING

    def write(self, material: Material) -> Written:
        left = Omissions()
        rows: list[Row] = []
        seen: set[str] = set()
        for group in _by_simulation(material, left):
            found = [row for told in group for row in _regenerated(told)]
            for row in (*found, *_against(group, left)):
                key = digest([row[name] for name in ("prompt", "chosen", "rejected")])
                if _new(key, seen, left, "pair"):
                    rows.append(row)
        if not rows:
            what = "two trials of a simulation that part at a turn of the agent's, or regenerated turns"
            raise _nothing(self.name, material, what, "json, csv, sft")
        users = sum(row["side"] == "user" for row in rows)
        warnings = (
            [f"{users:,} of {len(rows):,} pairs are of the user's side: column `side`."] if users else []
        )
        return Written(_lines(rows, material), len(rows), left.lines, warnings)


class Grpo:
    """Groups of answers to one prompt with their rewards.

    A group's ground truth is what a trial with reward 1 wrote into the world; without such a trial it is empty.
    """

    name = "grpo"
    suffix = ".jsonl"
    says = "one prompt with its completions and their rewards a line"
    record = "group"
    sources = EVERYTHING
    chooses = True
    trains = True
    writes_cases = NOTHING

    def write(self, material: Material) -> Written:
        left = Omissions()
        rows: list[Row] = []
        for group in _by_simulation(material, left):
            for same in _by_prompt(group, left):
                rows.append(_grpo_row(same))
        if not any(row["ground_truth"] for row in rows):
            raise _nothing(self.name, material, "conversations with reward 1", "json, csv, dpo")
        return Written(_lines(rows, material), len(rows), left.lines)


def _with_conversation(parts: RunParts, trial: TrialRecord, left: Omissions) -> Told | None:
    """The trial with its conversation; None, noted, if that cannot be expressed as messages."""
    try:
        case, talk = parts.case(trial.simulation), parts.talk(trial)
        return Told(parts.run, trial, talk, case, agent_chat(parts.run, case, talk))
    except InvalidArgument:
        left.add("conversation", "the scenario does not fit its world")
    except Unfit as error:
        left.add("conversation", str(error))
    return None


def _by_simulation(material: Material, left: Omissions) -> Iterator[list[Told]]:
    """The trials of each simulation of each run that have a reward."""
    for parts in material.runs:
        groups: dict[str, list[TrialRecord]] = {}
        for trial in parts.trials:
            if trial.graded.reward is None:
                left.add("conversation", _unrewarded(trial))
            else:
                groups.setdefault(trial.simulation, []).append(trial)
        for trials in groups.values():
            yield [told for trial in trials if (told := _with_conversation(parts, trial, left)) is not None]


def _sft_row(told: Told, messages: list[ChatMessage]) -> Row:
    graded = told.trial.graded
    return {
        "messages": messages,
        "tools": _tools(told.chat),
        "id": told.id,
        **told.about,
        "verdict": graded.verdict,
        "reward": None if graded.reward is None else float(graded.reward),
    }


def _regenerated(told: Told) -> Iterator[Row]:
    """A pair for each regenerated turn, of both sides."""
    chats = [("agent", told.chat)]
    said = (entry for entry in told.talk.log if isinstance(entry, SayEntry))
    if any(entry.rejected and entry.by == "user" for entry in said):
        chats.append(("user", user_chat(told.case, told.talk)))
    for side, chat in chats:
        for unwanted in chat.unwanted:
            after = chat.messages[unwanted.place : unwanted.place + 1]
            if after and after[0]["role"] == "assistant":
                rejected = {"role": "assistant", "content": unwanted.text}
                row = _pair(told, chat, unwanted.place, after[0], rejected)
                yield {**row, "side": side, "from": "regenerated", "feedback": unwanted.feedback}


def _against(group: Sequence[Told], left: Omissions) -> Iterator[Row]:
    """A pair for each failed trial, with a passed one that went the same way the longest.

    No passed trial took the rejected turn after the same messages: pairs never contradict each other.
    """
    passed = [told for told in group if told.trial.verdict == "pass"]
    for worse in (told for told in group if told.trial.verdict == "fail"):
        ways = [
            (*_parting(told.chat, worse.chat), told) for told in passed if told.chat.tools == worse.chat.tools
        ]
        place = max((way[0] for way in ways), default=0)
        better = next((told for at, own, told in ways if at == place and own), None)
        if better is None:
            if passed:
                left.add(
                    "failed conversation",
                    "it parts from the passed one nearest to it at a turn that is not the agent's",
                )
            continue
        chosen, rejected = better.chat.messages[place], worse.chat.messages[place]
        row = _pair(better, better.chat, place, chosen, rejected)
        yield {**row, "rejected_id": worse.id, "side": "agent", "from": "trials", "feedback": ""}


def _parting(one: Chat, other: Chat) -> tuple[int, bool]:
    """How many messages two conversations share, and whether both go on with a turn of this side."""
    pairs = enumerate(zip(one.messages, other.messages, strict=False))
    ends = min(len(one.messages), len(other.messages))
    place = next((place for place, (this, that) in pairs if this != that), ends)
    after = [chat.messages[place]["role"] for chat in (one, other) if place < len(chat.messages)]
    return place, after == ["assistant", "assistant"]


def _pair(told: Told, chat: Chat, place: int, chosen: ChatMessage, rejected: ChatMessage) -> Row:
    return {
        "prompt": chat.messages[:place],
        "chosen": [chosen],
        "rejected": [rejected],
        "tools": _tools(chat),
        "id": told.id,
        "rejected_id": told.id,
        **told.about,
    }


def _by_prompt(group: Iterable[Told], left: Omissions) -> Iterator[list[Told]]:
    """The conversations grouped by prompt."""
    same: dict[str, list[Told]] = {}
    for told in group:
        begins = told.chat.begins
        if begins == len(told.chat.messages):
            left.add("conversation", "the agent said nothing")
            continue
        same.setdefault(digest([told.chat.messages[:begins], told.chat.tools]), []).append(told)
    yield from same.values()


def _grpo_row(same: Sequence[Told]) -> Row:
    first = same[0]
    begins = first.chat.begins
    best = next((told for told in same if told.rewarded), None)
    return {
        "prompt": first.chat.messages[:begins],
        "tools": _tools(first.chat),
        "completions": [told.chat.trained()[begins:] for told in same],
        "rewards": [float(told.trial.graded.reward or 0.0) for told in same],
        "ids": [told.id for told in same],
        **first.about,
        "ground_truth": _json(_written(best)) if best is not None else "",
        "ground_truth_id": best.id if best is not None else "",
    }


def _written(told: Told) -> list[dict[str, Any]]:
    """The agent's calls that changed the world or ended the conversation, with the world's own names."""
    return [
        {"name": entry.tool, "arguments": entry.args}
        for entry in told.talk.log
        if isinstance(entry, ToolEntry)
        and entry.by == "agent"
        and entry.turn > 0
        and entry.cause is None
        and entry.ok
        and entry.injected is None
        and entry.kind in ("write", "terminal")
    ]


def _unrewarded(trial: TrialRecord) -> str:
    reward = trial.graded.reward
    return f"their verdict is {trial.verdict}" if reward is None else "their reward is below 1"


def _new(key: str, seen: set[str], left: Omissions, what: str) -> bool:
    if key in seen:
        left.add(what, "equal to one that is there")
        return False
    seen.add(key)
    return True


def _tools(chat: Chat) -> str:
    return _json(chat.tools)


def _json(value: Any) -> str:
    return clean(json.dumps(value, ensure_ascii=False))


def _lines(rows: Iterable[Row], material: Material) -> str:
    return "".join(_json(material.hide(row)) + "\n" for row in rows)


def _nothing(format: str, material: Material, needs: str, others: str) -> InvalidArgument:
    runs = [parts.run.id for parts in material.runs][:1]
    calls = [NextCall("list_items", {"kind": "conversation", "where": {"run": run}}) for run in runs]
    return InvalidArgument(
        f"{format} needs {needs}: {material.source} has none.", where="format", allowed=others, next=calls
    )

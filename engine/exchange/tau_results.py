"""Result files of tau-bench: `[{task_id, trial, reward, info, traj}, …]` as past runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..records.checked_json import checked_json
from ..records.conversation import EndReason
from .files import Roots
from .foreign_files import ForeignFiles
from .importer import Imported, Losses, PastEntry, PastRun, PastTalk, as_object, as_reward, as_rows
from .tau_tasks import ENDING, task_slug

STOP: Final = "###STOP###"
_KNOWN: Final = ("task_id", "trial", "reward", "info", "traj")


def read_results(path: Path, roots: Roots, split: str = "test") -> Imported:
    """The conversations of a file; they belong to the environment its tasks came from."""
    losses = Losses()
    files = ForeignFiles(path.parent, roots, losses)
    rows = files.json(path, "results", must=True)
    if not isinstance(rows, list):
        why = losses.rows[0]["why"] if losses.rows else "it is no list"
        raise InvalidArgument(
            f"`{path.name}` holds no results: {why}", where="path", allowed="a JSON list of rows"
        )
    talks: list[PastTalk] = []
    seen: dict[str, int] = {}
    for k, row in enumerate(cast("list[Any]", rows)):
        talk = _talk(as_object(row) or {}, split, seen, losses, f"{path.name}, row {k}")
        if talk is not None:
            talks.append(talk)
    run = PastRun(path.name, talks)
    fields = {"conversations": len(talks), "profile": "tau1"}
    return Imported("tau-bench", path.stem.lower()[:64], runs=(run,), taken=fields, lost=losses.rows)


def _talk(row: dict[str, Any], split: str, seen: dict[str, int], losses: Losses, at: str) -> PastTalk | None:
    index, traj = row.get("task_id"), row.get("traj")
    if type(index) is not int or index < 0:
        losses.add("conversation", "its task_id is no index of a task", at)
        return None
    scenario = task_slug(split, index)
    trial = seen[scenario] = seen.get(scenario, 0) + 1
    messages = as_rows(traj)
    entries = read_messages(messages, losses, at)
    end, detail = _end(row, messages)
    return PastTalk(
        scenario=scenario,
        trial=trial,
        entries=entries,
        end=end,
        detail=detail,
        reward=as_reward(row.get("reward"), losses, at),
        x_source={
            "trial": row.get("trial"),
            "info": row.get("info"),
            **{k: v for k, v in row.items() if k not in _KNOWN},
        },
    )


def read_messages(messages: Sequence[dict[str, Any]], losses: Losses, at: str) -> list[PastEntry]:
    """OpenAI chat messages as entries; each of several calls in one message becomes an entry, with its result."""
    entries: list[PastEntry] = []
    waiting: dict[str, PastEntry] = {}
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "user" and isinstance(content, str):
            entries.append(PastEntry("user", say=content))
        elif role == "assistant":
            calls = as_rows(message.get("tool_calls"))
            if isinstance(content, str) and content:
                entries.append(PastEntry("agent", say=content))
            for k, call in enumerate(calls):
                made = as_object(call.get("function")) or {}
                entry = PastEntry(
                    "agent", tool=str(made.get("name")), args=_arguments(made.get("arguments"), losses, at)
                )
                entry.first_of_reply = k == 0
                waiting[str(call.get("id"))] = entry
                entries.append(entry)
        elif role == "tool":
            entry = waiting.pop(str(message.get("tool_call_id")), None)
            if entry is not None:
                entry.result = content
                entry.ok = not (isinstance(content, str) and content.startswith("Error"))
    return entries


def _arguments(given: Any, losses: Losses, at: str) -> dict[str, Any]:
    if isinstance(given, str):
        try:
            given = checked_json(json.loads(given))
        except (ValueError, RecursionError):
            given = None
    made = as_object(given)
    if made is None:
        losses.add("arguments of a call", "they are no JSON object", at)
    return made or {}


def _end(row: dict[str, Any], messages: Sequence[dict[str, Any]]) -> tuple[EndReason, str]:
    info = as_object(row.get("info")) or {}
    if info.get("error"):
        return "agent_error", str(info["error"])[:500]
    last = messages[-1] if messages else {}
    if last.get("role") == "user" and STOP in str(last.get("content")):
        return "user_stop", ""
    if last.get("role") == "tool" and last.get("name") == ENDING:
        return "terminal", ENDING
    return "max_turns", "the recording stops here"

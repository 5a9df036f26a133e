"""Result files of tau2-bench: `{timestamp, info, tasks, simulations}` as past runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..records.conversation import EndReason
from .files import Roots
from .foreign_files import ForeignFiles, plain_name
from .importer import Imported, Losses, PastEntry, PastRun, PastTalk, as_object, as_reward, as_rows
from .tau2_scenarios import task_slug

_HEAD: Final = re.compile(r'\s*\{\s*"(?:timestamp|info|tasks|simulations|format_version)"\s*:')
ENDS: Final[dict[str, EndReason]] = {
    "user_stop": "user_stop",
    "agent_stop": "user_stop",
    "max_steps": "max_turns",
    "timeout": "timeout",
    "too_many_errors": "max_tool_calls",
    "agent_error": "agent_error",
    "user_error": "model_error",
    "infrastructure_error": "model_error",
    "context_window_exceeded": "agent_error",
    "unexpected_error": "model_error",
}
TOKENS: Final = ("###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###")


def looks_like_results(head: str) -> bool:
    """Whether a file that begins like this may hold results."""
    return bool(_HEAD.match(head)) and '"info"' in head


def read_results(path: Path, roots: Roots) -> Imported:
    """The conversations of a file; they belong to the environment its tasks came from."""
    losses = Losses()
    files = ForeignFiles(path.parent, roots, losses)
    whole = as_object(files.json(path, "results", must=True)) or {}
    rows = whole.get("simulations")
    if not isinstance(rows, list):
        why = losses.rows[0]["why"] if losses.rows else "no list of simulations is in it"
        raise InvalidArgument(
            f"`{path.name}` holds no results: {why}", where="path", allowed="a tau2-bench result file"
        )
    talks: list[PastTalk] = []
    seen: dict[str, int] = {}
    for k, row in enumerate(cast("list[Any]", rows)):
        talk = _talk(as_object(row) or {}, seen, losses, f"{path.name}, simulation {k}")
        if talk is not None:
            talks.append(talk)
    info = as_object(whole.get("info")) or {}
    told_of = {role: (as_object(info.get(f"{role}_info")) or {}).get("llm") for role in ("agent", "user")}
    models = {role: str(llm) for role, llm in told_of.items() if llm}
    run = PastRun(
        path.name, talks, models=models, x_source={"info": info, "timestamp": whole.get("timestamp")}
    )
    fields = {"conversations": len(talks), "profile": "tau2"}
    slug = plain_name(path.stem)
    return Imported("tau2-bench", slug, runs=(run,), taken=fields, lost=losses.rows)


def _talk(row: dict[str, Any], seen: dict[str, int], losses: Losses, at: str) -> PastTalk | None:
    if "task_id" not in row:
        losses.add("conversation", "it does not say its task_id", at)
        return None
    if not isinstance(row.get("messages"), list) and isinstance(row.get("ticks"), list):
        losses.add("conversation", "spoken conversations (ticks) are not in this version", at)
        return None
    scenario = task_slug(row["task_id"])
    trial = seen[scenario] = seen.get(scenario, 0) + 1
    reason = str(row.get("termination_reason"))
    end = ENDS.get(reason, "model_error")
    reward = (as_object(row.get("reward_info")) or {}).get("reward")
    kept = {key: value for key, value in row.items() if key not in ("messages", "task_id", "ticks")}
    return PastTalk(
        scenario=scenario,
        trial=trial,
        entries=read_messages(as_rows(row.get("messages")), stops=end == "user_stop"),
        end=end,
        detail=reason,
        reward=as_reward(reward, losses, at),
        x_source=kept,
    )


def read_messages(messages: Sequence[dict[str, Any]], *, stops: bool) -> list[PastEntry]:
    """Messages of both sides as entries; the agent's greeting before the user's first words is left out.

    `stops`: the user's tokens that end a conversation count as a stop; otherwise they are removed.
    """
    entries: list[PastEntry] = []
    waiting: dict[str, PastEntry] = {}
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            entry = waiting.pop(str(message.get("id")), None)
            if entry is not None:
                entry.result, entry.ok = content, not message.get("error")
            continue
        if role not in ("user", "assistant"):
            continue
        by = "user" if role == "user" else "agent"
        calls = as_rows(message.get("tool_calls"))
        words = content if isinstance(content, str) else ""
        words = _words(words, stops) if by == "user" else words
        if words.strip() and (entries or by == "user"):
            entries.append(PastEntry(by, say=words))
        for k, call in enumerate(calls):
            entry = PastEntry(by, tool=str(call.get("name")), args=as_object(call.get("arguments")) or {})
            entry.first_of_reply = k == 0
            waiting[str(call.get("id"))] = entry
            entries.append(entry)
    return entries


def _words(text: str, stops: bool) -> str:
    """The words of a user, with our stop word in place of any token that ends the conversation."""
    for token in TOKENS:
        text = text.replace(token, TOKENS[0] if stops else "")
    return text

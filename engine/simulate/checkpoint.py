"""Checkpoints: what a judge says at a `judge` step of the script, about the conversation up to there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..canonical import digest
from ..evaluate import Judge, ScriptCheck, ask, entries_of, judge_chars
from ..llm import ModelClient
from ..records.conversation import LogEntry, TokenUsage
from ..records.opinion import Opinion


async def judged_here(
    check: ScriptCheck,
    log: Sequence[LogEntry],
    model: ModelClient,
    used: Callable[[TokenUsage], None],
    seed: int,
) -> list[Opinion]:
    """The judge's opinions on a checkpoint; SetupError where it cannot be asked. `used`: told of each call."""
    entries = entries_of(log)
    judge = Judge(model, used, judge_chars(model))
    return await ask(judge, check.questions, entries, digest(entries), seed)

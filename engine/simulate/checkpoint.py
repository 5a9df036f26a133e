"""Checks of the script during a trial: decided by code, or by a judge on the conversation so far."""

from __future__ import annotations

from collections.abc import Callable

from ..canonical import digest
from ..errors import SetupError, error_class
from ..evaluate import Judge, ScriptCheck, ask, entries_of, judge_chars
from ..llm import ModelClient
from ..records.conversation import TokenUsage
from ..records.opinion import Opinion
from .transcript import Transcript

Used = Callable[[str, str, TokenUsage | None], None]
"""Called for each call: role, model, tokens."""


async def decide(
    check: ScriptCheck, script: Transcript, judge: ModelClient | None, used: Used, seed: int
) -> None:
    """Decide a check, ending the trial if it does not hold; a judge who does not know ends nothing."""
    if script.trace is None:
        return
    judged = check.predicate.judged
    said = await _said(check, script, judge, used, seed) if judged and judge is not None else []
    if script.end is not None:
        return
    answer = check.answer(script.trace, said)
    goes_on = answer.value is True or (judged and answer.value is None)
    script.decided(check.id, goes_on, said)
    if not goes_on:
        script.finish("script_fail", f"{check.id}: {answer.why}")


async def _said(
    check: ScriptCheck, script: Transcript, judge: ModelClient, used: Used, seed: int
) -> list[Opinion]:
    """The judge's opinions; a judge that cannot be asked ends the trial."""
    entries = entries_of(script.log)
    asked = Judge(judge, lambda usage: used("judge", judge.name, usage), judge_chars(judge))
    try:
        return await ask(asked, check.questions, entries, digest(entries), seed)
    except Exception as error:
        text = str(error) if isinstance(error, SetupError) else f"{type(error).__name__}: {error}"
        script.finish("model_error", f"judge: {text}", error_class(error))
        return []

"""Playing a script: whose turn it is, step by step, until its end or the trial's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..evaluate import ScriptCheck
from ..plural import plural
from ..records.conversation import EndReason, Speaker
from ..records.happenings import ScriptStep


class Stage(Protocol):
    """The trial as a script drives it. If words is None, the side's own player supplies them."""

    @property
    def over(self) -> bool: ...

    async def user_speaks(self, words: str | None = None) -> None: ...

    async def agent_answers(self, words: str | None = None) -> None: ...

    def remark(self, by: Speaker, words: str) -> None: ...

    async def decide(self, check: ScriptCheck) -> None: ...

    def end(self, reason: EndReason, detail: str) -> None: ...


async def play_script(steps: Sequence[ScriptStep], checks: Sequence[ScriptCheck], stage: Stage) -> None:
    """Play the steps in order; after the last one the trial ends by `script_end`."""
    by_step = {check.step: check for check in checks}
    asked = False
    """Whether the user has spoken and the agent has not answered."""
    for i, step in enumerate(steps):
        if step.word == "user":
            await stage.user_speaks(step.user)
            asked = True
        elif step.word == "agent":
            await stage.agent_answers(step.agent)
            asked = False
        elif step.word == "proceed":
            await _proceed(step.proceed, stage, asked)
            asked = False
        elif step.message is not None:
            stage.remark(step.message.by, step.message.say)
        elif step.word in ("check", "judge"):
            await stage.decide(by_step[i])
        else:
            _end(step, stage)
        if stage.over:
            return
    stage.end("script_end", plural(len(steps), "step"))


def given_answers(steps: Sequence[ScriptStep]) -> frozenset[int]:
    """The turns in which the script supplies the agent's words, so that the agent is not asked."""
    turn, given = 0, set[int]()
    asked = False
    for step in steps:
        if step.word == "user":
            turn, asked = turn + 1, True
        elif step.word == "agent":
            given.update([turn] if step.agent is not None else [])
            asked = False
        elif step.word == "proceed":
            turn, asked = turn + (step.proceed or 0) - asked, False
    return frozenset(given)


async def _proceed(replies: int | None, stage: Stage, asked: bool) -> None:
    """Exactly that many replies of the agent; if the user has spoken already, the first one answers that."""
    made = 0
    while not stage.over and (replies is None or made < replies):
        if not asked:
            await stage.user_speaks()
        asked = False
        if not stage.over:
            await stage.agent_answers()
        made += 1


def _end(step: ScriptStep, stage: Stage) -> None:
    if step.succeed is not None:
        stage.end("script_succeed", step.succeed)
    else:
        stage.end("script_fail", step.fail or "")

"""What writes candidates: one method from a brief to a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..records.conversation import ModelUse
from ..records.hardening import Brief, Edit


@dataclass(frozen=True, slots=True)
class Proposal:
    """Edits aimed at one cluster of the brief; without edits nothing is proposed.

    `why` is one sentence for people; `passed_over` says for each cluster id that came first why nothing was proposed
    for it. `failure`: why a writer model's answer could not be used; the next round asks again. `use`: the model's
    usage; None if none was asked.
    """

    edits: tuple[Edit, ...] = ()
    cluster: str = ""
    why: str = ""
    passed_over: Mapping[str, str] = field(default_factory=dict[str, str])
    failure: str = ""
    use: ModelUse | None = None


class NotRepaired(Exception):
    """A writer model's answer could not be used, and it cannot be asked again now.

    `failure` and `use`: of the answer, as in a proposal; `why`: what stops the hardening.
    """

    def __init__(self, failure: str, use: ModelUse, why: Exception) -> None:
        super().__init__(failure)
        self.failure = failure
        self.use = use
        self.why = why


class InstructionWriter(Protocol):
    """Proposes the next edit of `brief.text`.

    `name` is how reports call it (`offline writer (rules)`). It never gets anything from held-out scenarios, must not
    repeat anything in `brief.rejected`, and must not change the brief. An invalid answer of a writer model is an empty
    proposal with a reason; exceptions are for what stops the hardening.
    """

    @property
    def name(self) -> str: ...

    async def propose(self, brief: Brief) -> Proposal: ...

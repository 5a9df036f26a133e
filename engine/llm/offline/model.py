"""The offline model as a `ModelClient`: one pure function per role."""

from __future__ import annotations

from ..client import ModelReply, ModelRequest
from .agent import answer
from .judge import judge
from .user import act
from .writer import write


class OfflineModel:
    """Answers at once, without network, always the same for the same request.

    `slip`: the probability that the agent misses a rule for a whole conversation, drawn from (request seed, the rule's
    sentence): requests of one conversation must carry one seed. Tokens count as 0, the price is 0 dollars.
    """

    __slots__ = ("_slip",)

    def __init__(self, slip: float = 0.0) -> None:
        self._slip = slip

    @property
    def name(self) -> str:
        return f"offline (rule-based, slip {self._slip:g})" if self._slip else "offline (rule-based)"

    async def complete(self, request: ModelRequest) -> ModelReply:
        """The reply; Unavailable if the writer is given an unknown task."""
        if request.role == "agent":
            return answer(request, self._slip)
        if request.role == "user":
            text, call = act(request)
            return ModelReply(text=text, tool_calls=(call,) if call else (), cost_usd=0.0)
        return ModelReply(text=judge(request) if request.role == "judge" else write(request), cost_usd=0.0)

"""How a hardening pauses: why, and the call that resumes it."""

from __future__ import annotations

from typing import Any

from ..errors import BudgetSpent, CasehardenError, NextCall
from ..records.hardening import Hardening
from .budget import twice
from .jobs import Paused


def paused(hardening: Hardening, why: CasehardenError) -> Paused:
    """What to raise when it pauses; if a budget is spent, the resuming call has twice as much."""
    args: dict[str, Any] = {"environment": hardening.environment, "hardening": hardening.id}
    text = "once it is fixed"
    if isinstance(why, BudgetSpent):
        args["options"], text = {"budget": twice(hardening.limits.budget)}, "with more"
    why.next = (NextCall("harden_agent", args, text),)
    return Paused(why)

"""Estimates how many model calls a run will take and what they will cost, as far as that is known in advance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import NeedsConfirm, NextCall
from ..records.environment import AgentSpec, ModelAt, short_name
from ..records.run import RunRecord
from .archive import Archive
from .budget import Spent
from .role_models import is_free

CONFIRM_CALLS = 2_000
"""Model calls of unknown price above which a run must be confirmed."""
CONFIRM_USD = 5.0
"""Dollars above which a run must be confirmed."""
TURNS = 6
"""Turns of a trial if no earlier run shows how many."""
_LOOKED_AT = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """Approximate number of calls to paid models; `usd` None: unknown price."""

    calls: int
    usd: float | None


class Estimates:
    """Estimates from earlier runs."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def of(self, run: RunRecord, trials: int) -> Estimate:
        """What this many trials of a run would take. Run in a worker thread."""
        roles = paid_roles(run)
        cassette: Mapping[str, Any] = run.options.get("cassette") or {}
        if not roles or cassette.get("mode") == "strict":
            return Estimate(0, 0.0)
        alike = self._alike(run)
        if alike is None:
            return Estimate(TURNS * len(roles) * trials, None)
        uses = [use for role, use in alike.models_used.items() if role in roles]
        spent = Spent.of(uses)
        share = trials / alike.totals.trials
        usd = None if spent.unpriced else spent.usd * share
        return Estimate(round(spent.calls * share), usd)

    def _alike(self, run: RunRecord) -> RunRecord | None:
        """The newest run of the environment with the same agent and models that has called any."""
        page = self._archive.runs.page(
            {"environment": run.environment}, _LOOKED_AT, "", None, "", RunRecord.model_validate
        )
        found = iter(page.items)
        same = (r for r in found if (r.models, r.agent) == (run.models, run.agent))
        return next(
            (r for r in same if r.totals.trials and any(u.calls for u in r.models_used.values())), None
        )


def paid_roles(run: RunRecord) -> list[str]:
    """The roles that speak in a run's trials and call a model that is not free."""
    spec = AgentSpec.model_validate(run.agent)
    roles: list[str] = []
    free = spec.kind == "prompt" and is_free(spec.model or run.models["agent"])
    if spec.kind != "recorded" and not free:
        roles.append("agent")
    if not is_free(run.models["user"]):
        roles.append("user")
    return roles


def unpriced(run: RunRecord) -> list[str]:
    """The models of a run whose price is known in advance to be unknown."""
    spec = AgentSpec.model_validate(run.agent)
    roles = paid_roles(run)
    named = {"agent": spec.model or run.models["agent"], "user": run.models["user"]}
    models = [named[role] for role in roles if role != "agent" or spec.kind == "prompt"]
    found = {short_name(m) for m in models if isinstance(m, ModelAt) and m.base_url and m.prices is None}
    return sorted(found) + ["the agent"] * ("agent" in roles and spec.kind != "prompt")


def confirm(run: RunRecord, estimate: Estimate) -> None:
    """Refuse an expensive run until it is confirmed, or has a budget."""
    if estimate.usd is not None:
        told, limit, over = (
            f" and {estimate.usd:,.2f} USD",
            f"{CONFIRM_USD:g} USD",
            estimate.usd > CONFIRM_USD,
        )
    else:
        told, limit, over = " of unknown price", f"{CONFIRM_CALLS:,} calls", estimate.calls > CONFIRM_CALLS
    if not over:
        return
    fewer = {"environment": run.environment, "trials": 1}
    again = {"environment": run.environment, "options": {"confirm": True}}
    budget = {"environment": run.environment, "options": {"budget": {"calls": estimate.calls}}}
    calls = [NextCall("run_simulations", fewer)] if run.trials > 1 else []
    calls += [NextCall("run_simulations", again), NextCall("run_simulations", budget, "pauses there")]
    raise NeedsConfirm(
        f"About {estimate.calls:,} model calls{told}, above the limit of {limit} without confirmation.",
        where="trials",
        allowed="options.confirm, options.budget, or fewer simulations or trials",
        next=calls,
    )

"""The overview: what is stored, how it went, what is running, which models play, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plural import plural
from .archive import Archive
from .role_models import RoleModels
from .rows import Row, hardening_row, job_row, run_row
from .worlds import Worlds

RECENT = 5
ACTIVE = ("queued", "running", "waiting", "paused")
OTHERS = 10
"""How many environments with models of their own, and active jobs of a state, are listed."""
_ALWAYS = ("totals", "recent_runs", "active_jobs", "models")
"""Fields shown even if empty."""


class Overview:
    """One row about everything, or about one environment. Run in a worker thread."""

    def __init__(self, archive: Archive, worlds: Worlds, models: RoleModels) -> None:
        self._archive = archive
        self._worlds = worlds
        self._models = models

    def row(self, environment: str = "") -> Row:
        """Totals, pass rates, recent runs and hardenings, active jobs, models and why they were chosen, problems."""
        mine = {"environment": environment} if environment else {}
        owner = self._archive.environments.find(environment) if environment else None
        row: Row = {
            "totals": self._totals(mine),
            **self._rates(mine),
            "recent_runs": self._recent(mine),
            "active_jobs": self._active(mine),
            "models": self._models.chosen(owner),
        }
        if not environment:
            row["models_of_environments"] = self._own_models()
        row["hardenings"] = self._archive.hardenings.page(mine, 3, "", None, "", hardening_row).items
        row["problems"] = self._problems(row["models"])
        row["worlds"] = self._worlds.names()
        return {name: value for name, value in row.items() if value not in ([], {}) or name in _ALWAYS}

    def _totals(self, mine: Mapping[str, str]) -> dict[str, int]:
        archive = self._archive
        totals = {} if mine else {"environments": archive.environments.count()}
        return {
            **totals,
            "personas": archive.personas.count(**mine),
            "scenarios": archive.scenarios.count(**mine),
            "simulations": archive.simulations.count(**mine),
            "runs": archive.runs.count(**mine, purpose="run"),
            "hardenings": archive.hardenings.count(**mine),
        }

    def _rates(self, mine: Mapping[str, str]) -> Row:
        """The mean of the runs' rates, and the counts behind it; runs without countable trials are excluded."""
        rates: list[float] = []
        passed = counted = 0
        for row in self._archive.runs.table.walk({**mine, "purpose": "run"}):
            totals = row["totals"]
            if totals["rate"] is not None:
                rates.append(totals["rate"])
                passed += totals["passed"]
                counted += totals["passed"] + totals["failed"] + totals["inconclusive"]
        mean = sum(rates) / len(rates) if rates else None
        return {"average_pass_rate": mean, "rated_runs": len(rates), "passed": passed, "counted": counted}

    def _recent(self, mine: Mapping[str, str]) -> list[Row]:
        def shown(row: Mapping[str, Any]) -> Row:
            return {**run_row(row), **self._of_call(row)}

        return self._archive.runs.page({**mine, "purpose": "run"}, RECENT, "", None, "", shown).items

    def _of_call(self, run: Mapping[str, Any]) -> Row:
        """Models of a run that neither its environment nor the server would choose now: the call named them."""
        environment = self._archive.environments.find(run["environment"])
        if environment is None:
            return {}
        chosen = self._models.named(environment)
        named = {role: name for role, name in run["models"].items() if name != chosen.get(role)}
        return {"models_of_call": named} if named else {}

    def _active(self, mine: Mapping[str, str]) -> list[Row]:
        jobs = self._archive.store.jobs
        pages = [jobs.table.page({"state": state, **mine}, OTHERS) for state in ACTIVE]
        rows = [row for page in pages for row in page.items]
        return [{**job_row(jobs.get(str(row.doc_id))), **_about(row)} for row in rows]

    def _own_models(self) -> dict[str, Any]:
        """Environments that choose their own models."""
        found: dict[str, Any] = {}
        for row in self._archive.environments.table.walk():
            own = {role: name for role, name in row["models"].items() if name}
            if own and len(found) < OTHERS:
                found[row["id"]] = own
        return found

    def _problems(self, models: Mapping[str, Mapping[str, str]]) -> list[str]:
        """What does not work, in words."""
        parts = [f"{role}: {m['not_reachable']}" for role, m in models.items() if "not_reachable" in m]
        for damage in self._archive.store.damage():
            lines = plural(damage.lines, "damaged line")
            parts.append(
                f"{lines} of {damage.table} put aside in damaged/{damage.file.name}; all else is whole"
            )
        return parts


def _about(row: Mapping[str, Any]) -> Row:
    """What a job is about."""
    return {name: row[name] for name in ("environment", "run", "hardening") if row.get(name)}

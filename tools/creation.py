"""The reply that creating and generating share: what was stored, what was refused, what was checked."""

from __future__ import annotations

from ..engine.workbench.results import Creation
from .replies import Created, NextCall, counts, goes_on, then
from .wording import listed, plural

STARTER = {
    "persona": "generate_personas",
    "scenario": "generate_scenarios",
    "simulation": "create_simulations",
}


def created(creation: Creation) -> Created:
    """The reply of a creation, finished or still going on."""
    return Created(
        summary=_summary(creation),
        next=_next(creation),
        warnings=_warnings(creation),
        environment=creation.environment,
        made=creation.made,
        unchanged=creation.unchanged,
        refused=creation.refused,
        checked=creation.checked,
        counts=creation.counts,
        job=counts(creation.job),
    )


def unfinished(creation: Creation) -> bool:
    """Whether its job still goes on."""
    return creation.job is not None and not creation.job.ended


def _summary(creation: Creation) -> str:
    noun = _noun(creation)
    job = creation.job
    if job is not None and unfinished(creation):
        return f"{job.id} makes {noun}s for {creation.environment}: {job.units.finished} of {job.units.total} so far."
    if job is not None and job.state != "done" and not creation.made:
        return f"{job.id} is {job.state}: no {noun} was made."
    made = _made_count(creation)
    if creation.by:
        parts = [f"{plural(made, noun)} written by {creation.by}"]
    else:
        verb = "made" if noun == "simulation" else "stored"
        parts = [f"{plural(made, noun)} {verb} in {creation.environment}"]
    parts += _more(creation)
    return ", ".join(parts) + "."


def _more(creation: Creation) -> list[str]:
    parts: list[str] = []
    checked = creation.checked
    if "proven" in checked:
        parts.append(f"{checked['proven']} proven solvable")
    if checked.get("unproven"):
        parts.append(f"{len(checked['unproven'])} unproven")
    if checked.get("near_duplicates_refused"):
        parts.append(plural(checked["near_duplicates_refused"], "near-duplicate") + " left out")
    if creation.unchanged:
        parts.append(f"{len(creation.unchanged):,} unchanged")
    if creation.refused:
        parts.append(f"{len(creation.refused):,} refused")
    return parts


def _warnings(creation: Creation) -> list[str]:
    warnings = list(creation.warnings)
    if creation.by.startswith("offline") and not any("offline" in one for one in warnings):
        warnings.append(
            f"Written by {creation.by}: from templates and world data, less varied than by a language model."
        )
    passing: list[str] = creation.checked.get("do_nothing_passes") or []
    if passing and not any("does nothing" in one for one in warnings):
        verb = "passes" if len(passing) == 1 else "pass"
        warnings.append(
            f"{listed(passing)} {verb} when the agent does nothing: add a check for what it must say."
        )
    return warnings


def _next(creation: Creation) -> list[NextCall]:
    name = creation.environment
    if creation.job is not None and unfinished(creation):
        return [goes_on(creation.job)]
    if creation.kind == "simulation":
        return [then("run_simulations", environment=name)]
    calls: list[NextCall] = []
    if creation.refused:
        calls.append(_again(creation))
    unproven: list[str] = creation.checked.get("unproven") or []
    if unproven:
        first = str(unproven[0])
        full = first if "/" in first else f"{name}/{first}"
        calls.append(then("get_item", "why it is unproven", kind="scenario", id=full, view="solution"))
    if creation.made or creation.unchanged:
        why = "new ones are in no simulation yet"
        calls.append(then("create_simulations", why if creation.made else "", environment=name))
    return calls[:3]


def _again(creation: Creation) -> NextCall:
    name = creation.environment
    if creation.by:
        return then(STARTER[creation.kind], "with another `brief`", environment=name)
    noun = f"{creation.kind}s"
    return then(f"create_{noun}", f"with `{noun}`: only the corrected ones", environment=name)


def _noun(creation: Creation) -> str:
    return creation.kind.removesuffix("s")


def _made_count(creation: Creation) -> int:
    of = creation.checked.get("of")
    return of if isinstance(of, int) else len(creation.made)

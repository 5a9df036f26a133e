"""Access to held-out scenarios: hidden while a proof runs, spent once a client has read one."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import HeldOut, NextCall
from ..plural import plural
from .archive import Archive
from .looks import LookLedger


def proving(archive: Archive, environment: str) -> str:
    """The hardening whose proof is running in an environment, or ""."""
    running = archive.hardenings.where(environment=environment, state="running")
    return next((h.id for h in running if h.proving), "")


def refuse_while_proving(archive: Archive, environment: str, where: str = "id") -> None:
    """HeldOut while a proof runs; `where`: the argument that named a held-out one."""
    hardening = proving(archive, environment)
    if not hardening:
        return
    pages = [
        archive.store.jobs.page({"kind": "hardening", "environment": environment, "state": state}, 1)
        for state in ("running", "waiting")
    ]
    raise HeldOut(
        f"While {hardening} is proven, held-out conversations are hidden.",
        where=where,
        allowed="train conversations",
        next=[NextCall("wait_job", {"job": job.id}) for page in pages for job in page.items],
    )


def shown_by_file(count: int) -> str:
    """The warning of an import whose file shows held-out scenarios."""
    text = plural(
        count, "scenario is held out: the file shows it", "scenarios are held out: the file shows them"
    )
    return f"{text}; what it shows counts as train for any text that you submit."


def refuse_sealed(archive: Archive, scenarios: Iterable[str]) -> None:
    """HeldOut if one of them (`support/x`) is sealed: nobody reads it before it has served a proof."""
    for id in scenarios:
        if is_sealed(archive, id):
            raise HeldOut(
                f"{id} is sealed until a hardening that it confirms has its outcome.",
                where="id",
                allowed="scenarios that are not sealed, and its verdicts",
                next=[NextCall("harden_agent", {"environment": id.partition("/")[0]})],
            )


def is_sealed(archive: Archive, scenario: str) -> bool:
    """Whether a scenario (`support/x`) is sealed and has not served a proof yet."""
    record = archive.scenarios.find(scenario)
    if record is None or not record.sealed:
        return False
    known = archive.hardenings.where(environment=record.environment)
    return not any(h.outcome and record.scenario.id in h.held_out for h in known)


def spend(archive: Archive, scenario: str, proof: str = "") -> list[str]:
    """Note that a client has read a held-out scenario; the warning that says so.

    `proof`: the job of a proof that itself asked the client; it goes on as if nobody had looked. HeldOut for a sealed
    one, unless its job has shown it.
    """
    if not proof:
        refuse_sealed(archive, [scenario])
    LookLedger(archive).spend(scenario, proof)
    record = archive.scenarios.find(scenario)
    if record is not None and not record.spent:
        archive.scenarios.change(scenario, lambda r: r.model_copy(update={"spent": True}))
        archive.scenarios.audit("spend", scenario)
    return [f"{scenario} is held out: having read it, it counts as train for any text that you submit."]

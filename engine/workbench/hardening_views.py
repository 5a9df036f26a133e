"""Views of hardenings and their candidates: rounds, diff, evidence."""

from __future__ import annotations

from ..errors import NextCall, NotFound, nearest
from ..records.hardening import Candidate, Hardening
from .archive import Archive
from .parts import Body, paged
from .results import Item


class HardeningViews:
    """Reads one of them. Views and limits are checked by the caller."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def hardening(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.hardenings.get(id)
        summary = hardening_summary(record)
        if view == "rounds":
            rows = [
                r.model_dump(mode="json", exclude_defaults=True)
                | {
                    name: getattr(r, name)
                    for name in ("number", "total", "passed", "failed", "rate", "completed")
                }
                for r in record.rounds
            ]
            return paged(
                Item("hardening", id, view, {"state": record.state}, summary=summary),
                "rounds",
                rows,
                limit,
                skip,
            )
        best = record.find(record.candidate)
        if view == "diff":
            return Item(
                "hardening",
                id,
                view,
                {"candidate": best.id if best else "", "diff": best.diff if best else ""},
                ["item.diff"],
                summary=summary,
            )
        if view == "checks":
            evidence = record.evidence.model_dump(mode="json") if record.evidence else {}
            return Item(
                "hardening",
                id,
                view,
                {
                    "evidence": evidence,
                    "guards": [g.model_dump(mode="json") for g in best.guards] if best else [],
                },
                summary=summary,
            )
        exclude = (
            {"base_text", "candidates", "rounds", "brief", "simulations", "train", "held_out", "format"}
            if view == "summary"
            else {"format"}
        )
        body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude=exclude).items()
            if v not in ("", None, [], {}, False)
        }
        body["candidates"] = (
            [c.id for c in record.candidates] if view == "summary" else body.get("candidates", [])
        )
        return Item(
            "hardening",
            id,
            view,
            body,
            ["item.base_text", "item.candidates[].text"],
            summary=summary,
            warnings=record.warnings,
        )

    async def candidate(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.hardenings.get(id.partition("/")[0])
        found = record.find(id)
        if found is None:
            known = [c.id for c in record.candidates]
            near = nearest(id, known)
            hint = f"; nearest `{near}`" if near else ""
            raise NotFound(
                f"No candidate `{id[:80]}`{hint}.",
                where="id",
                allowed=known,
                next=[NextCall("get_item", {"kind": "hardening", "id": record.id})],
            )
        body = _candidate_body(found, view)
        evidence = f", outcome {found.outcome}" if found.outcome else ""
        return Item(
            "candidate",
            id,
            view,
            body,
            ["item.text", "item.diff"],
            summary=f"{id}: {found.state}{evidence}, by {found.by}.",
        )


def hardening_summary(record: Hardening) -> str:
    """One sentence on how a hardening stands."""
    outcome = f", outcome {record.outcome}" if record.outcome else ""
    marks = f" ({', '.join(record.marks)})" if record.marks else ""
    told = f"{record.id} on {record.base}: {record.state}{outcome}{marks}"
    return f"{told}, {record.round} rounds, {len(record.candidates)} candidates."


def _candidate_body(found: Candidate, view: str) -> Body:
    if view == "text":
        return {"id": found.id, "text": found.text}
    if view == "diff":
        return {"id": found.id, "base": found.base, "diff": found.diff}
    if view == "checks":
        evidence = found.evidence.model_dump(mode="json") if found.evidence else {}
        return {
            "id": found.id,
            "guards": [g.model_dump(mode="json") for g in found.guards],
            "evidence": evidence,
        }
    exclude = {"text", "evidence", "diff"} if view == "summary" else set[str]()
    return {
        k: v for k, v in found.model_dump(mode="json", exclude=exclude).items() if v not in ("", None, [], {})
    }

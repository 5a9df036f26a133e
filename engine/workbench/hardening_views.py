"""Views of hardenings and their candidates: rounds, diff, evidence."""

from __future__ import annotations

from ..errors import NextCall, NotFound, nearest
from ..plural import plural
from ..records.environment import played_by
from ..records.hardening import Candidate, Evidence, Hardening, Round
from ..records.run import Cluster
from .archive import Archive
from .parts import Body, filled, paged
from .results import Item
from .rows import evidence_row

_FIGURES = ("number", "total", "passed", "failed", "rate", "completed")
"""Fields of a round that its row shows even if they are 0."""
_LONG = ("written", "pruned")
_CASES = ("simulations", "left_out", "train", "held_out")
_ROUNDS = (
    "item.rounds[].cluster.cause",
    "item.rounds[].cluster.rule",
    "item.rounds[].why",
    "item.rounds[].not_proposed",
)
_CLUSTERS = ("item.clusters[].name", "item.clusters[].cause", "item.clusters[].rule", "item.clusters[].fix")
_WHOLE = (
    "item.base_text",
    "item.candidates[].text",
    "item.candidates[].diff",
    "item.candidates[].why",
    "item.candidates[].edits[].text",
    "item.candidates[].guards[].text",
    "item.rejected[].edits[].text",
    "item.written[].edits[].text",
    "item.written[].why",
    "item.written[].passed_over",
    "item.written[].failure",
    "item.pruned[].line",
    "item.brief.text",
    "item.brief.clusters[].cause",
    "item.brief.clusters[].rule",
    *_ROUNDS,
)


class HardeningViews:
    """Shows one of them. Callers check views and limits."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def hardening(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.hardenings.get(id)
        summary = hardening_summary(record)
        if view == "rounds":
            counted = (
                "trials_run: those asked for to compare on train, without screens, pruning and the proof."
            )
            summary = f"{summary} {counted}"
            item = Item("hardening", id, view, {"state": record.state}, list(_ROUNDS), summary=summary)
            return paged(item, "rounds", [_round_row(r, record.base) for r in record.rounds], limit, skip)
        if view == "clusters":
            rows = [_cluster_row(cluster) for cluster in record.brief.clusters] if record.brief else []
            return paged(
                Item("hardening", id, view, {}, list(_CLUSTERS), summary=summary),
                "clusters",
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
            evidence = _evidence(record.evidence)
            return Item(
                "hardening",
                id,
                view,
                {
                    "evidence": evidence,
                    "guards": [g.model_dump(mode="json") for g in best.guards] if best else [],
                },
                ["item.guards[].text"],
                summary=summary,
            )
        exclude = (
            {"base_text", "candidates", "rounds", "brief", "snapshot", "format", *_LONG, *_CASES}
            if view == "summary"
            else {"format"}
        )
        body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude=exclude).items()
            if v not in ("", None, [], {}, False)
        }
        if record.evidence is not None:
            body["evidence"] = _evidence(record.evidence)
        base = self._archive.runs.find(record.base_run)
        if view == "summary" and base is not None:
            body["models"] = played_by(record.models, base.agent)
        body["candidates"] = [
            c.id if view == "summary" else filled({**_plain(c), "evidence": _evidence(c.evidence)})
            for c in record.candidates
        ]
        return Item(
            "hardening",
            id,
            view,
            body,
            list(_WHOLE) if view == "full" else [],
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
        became = next((one for one in reversed(record.rounds) if one.candidate == id), None)
        if became is not None:
            row = {"round": became.number, "decision": became.decision, "told": became.told}
            body |= filled({**row, "runs": _runs(became)})
        evidence = f", outcome {found.outcome}" if found.outcome else ""
        said = f" {became.told}" if became is not None and became.told else ""
        return Item(
            "candidate",
            id,
            view,
            body,
            ["item.text", "item.diff", "item.why", "item.edits[].text", "item.guards[].text"],
            summary=f"{id}: {found.state}{evidence}, by {found.by}.{said}",
        )


def _round_row(round: Round, base: str) -> Body:
    """A round without the names of its trials, which view full has."""
    row = round.model_dump(mode="json", exclude_defaults=True, exclude={"conversations"})
    if "cluster" in row:
        row["cluster"].pop("members", None)
    figures = {name: getattr(round, name) for name in _FIGURES}
    return {**figures, "version": round.candidate or base, **row, **filled({"runs": _runs(round)})}


def _runs(round: Round) -> list[str]:
    """The runs that its conversations are in: list_items and get_item read them."""
    return list(dict.fromkeys(place.partition("/")[0] for place in round.conversations))


def _cluster_row(cluster: Cluster) -> Body:
    """A cluster of the brief without the names of its simulations, which view full has."""
    row = cluster.model_dump(mode="json", exclude_defaults=True, exclude={"members"})
    return {**row, "severity": cluster.severity}


def _evidence(evidence: Evidence | None) -> Body:
    return evidence_row(evidence.model_dump(mode="json")) if evidence else {}


def hardening_summary(record: Hardening) -> str:
    """One sentence on the state of a hardening."""
    outcome = f", outcome {record.outcome}" if record.outcome else ""
    marks = f" ({', '.join(record.marks)})" if record.marks else ""
    text = f"{record.id} on {record.base}: {record.state}{outcome}{marks}"
    return f"{text}, {plural(record.round, 'round')}, {plural(len(record.candidates), 'candidate')}."


def _candidate_body(found: Candidate, view: str) -> Body:
    if view == "text":
        return {"id": found.id, "text": found.text}
    if view == "diff":
        return {"id": found.id, "base": found.base, "diff": found.diff}
    if view == "checks":
        evidence = _evidence(found.evidence)
        return {
            "id": found.id,
            "guards": [g.model_dump(mode="json") for g in found.guards],
            "evidence": evidence,
        }
    body = _plain(found)
    if view == "summary":
        broken = _evidence(found.evidence).get("regressions", [])
        shown = {k: v for k, v in body.items() if k not in ("text", "diff")}
        return {**shown, "evidence": {"regressions": broken}} if broken else shown
    return filled({**body, "evidence": _evidence(found.evidence)})


def _plain(candidate: Candidate) -> Body:
    """A candidate without its evidence."""
    return filled(candidate.model_dump(mode="json", exclude={"evidence"}))

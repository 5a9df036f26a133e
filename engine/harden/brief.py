"""The brief: what a writer is given, or a client that writes itself. Nothing in it comes from held-out scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..records.hardening import Brief, RejectedEdit, Target
from ..records.run import Cluster
from .guards import GUARDS, Known, max_added
from .looks_told import look_terms

GRAMMAR_HINT = (
    "Small general rules, one a line, in plain words that any model follows: 'Before calling T, call S.' "
    "'Before calling T, ask the user to confirm.' 'Before calling T, ask the user for the W.' 'Never call T.' "
    "'Never call T if FIELD exceeds V.' 'After calling T, call S.' 'Call T at most once.' "
    "Name tools as they are; no ids, names, dates or amounts of single cases."
)
HINTS: Final[Mapping[Target, str]] = {
    "instructions": GRAMMAR_HINT,
    "tool_descriptions": (
        "Only lines under `## Tool descriptions` may change, one a tool: `- TOOL: what it does, when it may be called, "
        "what must be called before`. A line there takes the place of the tool's own description; no ids, names, "
        "dates or amounts of single cases."
    ),
    "examples": (
        "Only lines under `## Examples` may change: short dialogues of your own making that show in general what is "
        "right, `User: ...` and `Agent: ...`, calls of tools in words; no ids, names, dates or phrases of test cases."
    ),
}
ONE_TEXT = (
    "Put a rule for every cluster into ONE text: each proof is a look at the held-out scenarios, and a later look "
    "needs more"
)


def write_brief(
    hardening: str,
    base: str,
    base_text: str,
    text: str,
    clusters: Sequence[Cluster],
    *,
    rejected: Sequence[RejectedEdit] = (),
    known: Known | None = None,
    locked: Sequence[str] = (),
    target: Target = "instructions",
    looks: int | None = None,
) -> Brief:
    """Assemble the brief for the next candidate.

    `base` is an instructions version (`support@1`) and `base_text` its text; `text` is what edits apply to: the base,
    or the best candidate so far. `clusters` must come from train trials only; their counts of held-out trials are
    removed. With `looks`, how often held-out was looked at, the hint says what a proof costs: for a client, whose every
    text is proven at once.
    """
    known = known or Known()
    costs = f"{ONE_TEXT}: {look_terms(looks)}. " if looks is not None else ""
    room = max_added(base_text) - (len(text) - len(base_text))
    return Brief(
        hardening=hardening,
        base=base,
        text=text,
        clusters=[cluster.model_copy(update={"held_out": 0}) for cluster in clusters],
        rejected=list(rejected),
        tools=sorted(known.tools),
        guards=list(GUARDS),
        max_added=max(0, room),
        locked=list(locked),
        target=target,
        descriptions=dict(known.descriptions) if target == "tool_descriptions" else {},
        hint=costs + HINTS[target],
    )

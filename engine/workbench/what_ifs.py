"""What-ifs: a stored conversation continued a few times from a turn, and its new endings beside the original one.

They concern that one beginning only. If the instructions differ, it came from another text: they explain, but prove
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluate.statistics import wilson
from ..records.run import TrialRecord, WhatIf
from .places import Restored


def what_ifs(places: Sequence[Restored]) -> list[WhatIf]:
    """The places that a run continues from; for a held-out one only how it ended."""
    return [
        WhatIf(
            place=str(one.place),
            instructions=one.run.instructions,
            was=one.trial.verdict,
            failed=one.trial.failed_checks if one.trial.split == "train" else [],
        )
        for one in places
    ]


def counted(what_if: WhatIf, trials: Sequence[TrialRecord]) -> WhatIf:
    """What became of its continuations, each a trial. `trials`: of the whole run.

    The interval is Wilson's over the continuations: about this beginning, not about the scenario. There is none if all
    of them went the same way word for word, for then they count as one.
    """
    simulation = what_if.place.split("/")[1]
    ended = [trial for trial in trials if trial.simulation == simulation]
    counts = {"passed": 0, "again": 0, "otherwise": 0, "undecided": 0}
    for trial in ended:
        counts[_ended(what_if, trial)] += 1
    decided = len(ended) - counts["undecided"]
    ways = len({trial.transcript_hash for trial in ended})
    interval = wilson(counts["passed"], decided) if decided and ways > 1 else None
    return what_if.model_copy(update={**counts, "trials": len(ended), "ways": ways, "interval": interval})


def what_if_warnings(ifs: Sequence[WhatIf]) -> list[str]:
    """Warnings if several continuations showed no more than one."""
    same = [one for one in ifs if one.trials > 1 and one.ways == 1]
    if not same:
        return []
    return [
        f"All {same[0].trials} continuations of {same[0].place} went the same way word for word: more say no more."
    ]


def _ended(what_if: WhatIf, trial: TrialRecord) -> str:
    if trial.verdict == "pass":
        return "passed"
    if trial.verdict != "fail":
        return "undecided"
    return "again" if set(trial.failed_checks) & set(what_if.failed) else "otherwise"

"""Agreement of a judge with people: Cohen's kappa, confusion, and every disagreement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..records.opinion import Agreement, CheckAgreement, HumanLabel
from ..records.verdict import Verdict
from .statistics import kappa, weighted_kappa

Said = str | float
Pair = tuple[Said, Said]
"""The person's answer and the judge's."""


def agreement(
    labels: Sequence[HumanLabel], verdicts: Mapping[str, Verdict], judge: str, run: str
) -> Agreement:
    """How a run's verdicts agree with labels. `verdicts` by `simulation/trial`; `run` is named in disagreements."""
    pairs: dict[str, list[Pair]] = {}
    of_checks: list[Pair] = []
    found = Agreement(judge=judge, labels=len(labels))
    for label in labels:
        said, why, is_check = _said(verdicts.get(label.conversation), label)
        row: dict[str, Any] = {"conversation": f"{run}/{label.conversation}", "check": label.check}
        if said is None:
            found.without.append({**row, "label": label.label, "why": why})
            continue
        pair = (label.label, said)
        pairs.setdefault(label.check, []).append(pair)
        of_checks += [pair] if is_check else []
        found.compared += 1
        found.agree += pair[0] == pair[1]
        if pair[0] != pair[1]:
            found.disagree.append({**row, "label": pair[0], "judge": pair[1], "why": why})
    found.verdicts = len(of_checks)
    found.kappa = _kappa(of_checks)
    found.by_check = {check: _of_check(rows) for check, rows in sorted(pairs.items())}
    return found


def describe_agreement(found: Agreement) -> str:
    """`agrees with 7 of 8 labels, kappa 0.71`; if metrics are labelled too, also over how many verdicts kappa is."""
    text = f"agrees with {found.agree} of {found.compared} label{'' if found.compared == 1 else 's'}"
    kappa = "undefined" if found.kappa is None else f"{found.kappa:.2f}"
    over = f" over {found.verdicts} of them, the verdicts" if found.verdicts < found.compared else ""
    return f"{text}, kappa {kappa}{over}" if found.verdicts or not found.compared else text


def _said(verdict: Verdict | None, label: HumanLabel) -> tuple[Said | None, str, bool]:
    """The judge's or the check's answer to what was labelled; why; whether it is a check."""
    if verdict is None:
        return None, "the conversation is not in the run", False
    check = next((one for one in verdict.checks if one.id == label.check), None)
    if check is not None:
        return check.verdict, check.why, True
    value = next((one for one in verdict.metrics if one.metric == label.check), None)
    if value is None:
        return None, "it is no check and no metric of this scoring", False
    if isinstance(label.label, str):
        return value.label or None, value.why or value.unscored, False
    return value.value, value.why or value.unscored, False


def _of_check(pairs: Sequence[Pair]) -> CheckAgreement:
    confusion: dict[str, dict[str, int]] = {}
    for person, judge in pairs:
        row = confusion.setdefault(_name(person), {})
        row[_name(judge)] = row.get(_name(judge), 0) + 1
    numeric = all(not isinstance(one, str) for pair in pairs for one in pair)
    return CheckAgreement(
        labels=len(pairs),
        agree=sum(person == judge for person, judge in pairs),
        kappa=_kappa(pairs, weighted=numeric),
        confusion=confusion,
    )


def _kappa(pairs: Sequence[Pair], *, weighted: bool = False) -> float | None:
    values = _distinct(one for pair in pairs for one in pair)
    at = {value: i for i, value in enumerate(values)}
    table = [[0.0] * len(values) for _ in values]
    for person, judge in pairs:
        table[at[person]][at[judge]] += 1
    if weighted:
        return weighted_kappa(table, [float(value) for value in values])
    return kappa(table)


def _distinct(values: Iterable[Said]) -> list[Said]:
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


def _name(value: Said) -> str:
    return value if isinstance(value, str) else f"{value:g}"

"""How a hardening is shown on a terminal, in lines: its base, each candidate, the proof, the outcome.

The demo and `caseharden harden` print the same text. Rows come from the server, which may omit values of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.evaluate.statistics import shown_p
from ..engine.plural import plural
from .terminal import clean, cut, interval, percent


def heading(word: str, told: str, seconds: float | None = None) -> str:
    """`Base           version 1 ...` and, right-aligned, how long it took."""
    line = f"{word:<14} {told}"
    return line if seconds is None else f"{line:<92}{seconds:>6.1f} s"


def cause_lines(clusters: Sequence[Mapping[str, Any]], counted: str = "simulations") -> list[str]:
    """The three worst causes of failures on train; `counted`: the field that says in how many simulations."""
    heads = ["Causes on train", "", ""]
    lines: list[str] = []
    for head, cluster in zip(heads, clusters, strict=False):
        text = f"{cluster[counted]:>3} x {cut(clean(str(cluster['cause'])), 58)}"
        lines.append(f"  {head:<15} {text:<64} {cluster['severity']}")
    return lines


def aim(round: Mapping[str, Any]) -> str:
    """The heading of a candidate: the cause that it addresses, if it names one."""
    cluster: Mapping[str, Any] = round.get("cluster") or {}
    cause = cut(clean(str(cluster.get("cause", ""))), 70)
    return heading(f"Candidate {round['number']}", f"aimed at: {cause}" if cause else "at no one cause")


def tried(round: Mapping[str, Any]) -> str:
    """How a candidate did on the train simulations, and what became of it."""
    ran = _moved(round["train"]) if round.get("train") else "not run"
    return f"  Train        {ran}    {round['decision']}"


def added(diff: str) -> list[str]:
    """The lines that a diff adds."""
    return [
        line[1:].strip() for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")
    ]


def proof_lines(held: Mapping[str, Any], guards: Sequence[Mapping[str, Any]]) -> list[str]:
    """The evidence of held-out scenarios, and the guards that the text passed."""
    moved = f"{held['better']} better, {held['worse']} worse, {held['unchanged']} unchanged"
    p, alpha = shown_p(held["p"], held["alpha"])
    needs = f"sign-flip p {p} (needs at most {alpha})"
    passed = [one["guard"] for one in guards if one["result"] == "pass"]
    return [
        f"  Held-out     {_change(held)}",
        f"  Scenarios    {moved}; {needs}",
        f"  Guards       passed: {', '.join(passed)}",
    ]


def proof_heading(held: Mapping[str, Any], seconds: float | None = None) -> str:
    return heading("Proof", f"on {plural(held['n'], 'held-out scenario')} that the writer never saw", seconds)


def _change(held: Mapping[str, Any]) -> str:
    base, candidate = held["base"], held["candidate"]
    before, after = held["base_trials"], held["candidate_trials"]
    rates = [
        f"{percent(passed / of)} {interval(held.get(bounds))}" if of else "-"
        for passed, of, bounds in ((base, before, "base_interval"), (candidate, after, "candidate_interval"))
    ]
    return f"{base} -> {candidate} of {after} {_unit(held)}, {rates[0]} -> {rates[1]}"


def _moved(train: Mapping[str, Any]) -> str:
    """A comparison on train; the server omits values of 0."""
    base, candidate, of, better, worse = [
        int(train.get(name, 0)) for name in ("base", "candidate", "candidate_trials", "better", "worse")
    ]
    moved = f"{plural(better, 'scenario')} better, {worse} worse"
    return f"{base} -> {candidate} of {of} {_unit(train)}    {moved}"


def _unit(compared: Mapping[str, Any]) -> str:
    """What the figures count: simulations, or their trials if there are several of each."""
    trials = compared.get("candidate_trials", 0)
    return "trials" if trials > compared.get("simulations", trials) else "simulations"

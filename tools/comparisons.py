"""Comparing runs: what got better or worse, how sure that is, and where one conversation went another way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from ..engine.evaluate.comparison import GroupChange, RunComparison
from ..engine.evaluate.statistics import RateInterval
from ..engine.records.environment import played_by
from ..engine.workbench.comparing import SIDES, ComparisonReport
from .arguments import Limit
from .replies import Comparison, Link, NextCall, then
from .spec import Call, tool
from .wording import offline_roles, plural, rounded, with_offline

NO_PROOF = "Not a proof for promotion: submit_candidate proves."
SAID = ("user", "agent", "calls", "changes", "checks[].why")


@tool("Compare two runs", toolset="read", read_only=True, idempotent=True)
async def compare_runs(
    call: Call,
    base: Annotated[str, Field(description="Run before")],
    run: Annotated[str, Field(description="Run after")],
    simulation: Annotated[
        str, Field(description="Show this one (or RUN/SIM/TRIAL) side by side from the first different turn")
    ] = "",
    limit: Limit = 20,
) -> Comparison:
    """Returns fixed, broken, flaky and unchanged simulations, paired by seed, with exact p over scenarios
    and what more evidence would need. Use to explain a change. It promotes nothing: submit_candidate
    proves.
    """
    report = await call.bench.comparisons.compare(base, run, simulation=simulation, limit=limit)
    return side_by_side_reply(report) if simulation else comparison_reply(report, limit)


def comparison_reply(report: ComparisonReport, limit: int) -> Comparison:
    """All that changed, at most `limit` names of each sort."""
    found = report.found
    return Comparison(
        summary=f"{_summary(report)} {NO_PROOF}",
        next=_next(report),
        warnings=_warnings(report, limit),
        base=report.base.run,
        run=report.run.run,
        evidence=_evidence(found),
        differs=report.differs,
        fixed=found.fixed[:limit],
        broken=found.broken[:limit],
        flaky=found.flaky[:limit],
        unchanged=len(found.unchanged),
        by=_by(report, limit),
        left_out=_left_out(report),
        instructions_diff=report.diff,
        untrusted=["instructions_diff"] if report.diff else [],
    )


def side_by_side_reply(report: ComparisonReport) -> Comparison:
    """Only what there is to be seen of one simulation."""
    return Comparison(
        summary=_one(report),
        next=_next_of_one(report),
        warnings=with_offline(report.warnings, *_players(report)),
        base=report.base.run,
        run=report.run.run,
        differs=report.differs,
        first_difference=report.side_by_side,
        links=_links(report),
        untrusted=[
            *(f"first_difference.turns[].{side}.{name}" for side in SIDES for name in SAID),
            *(["first_difference.state"] if "state" in report.side_by_side else []),
        ],
    )


def finding(found: RunComparison) -> str:
    """What the evidence allows to say, in one sentence."""
    low, high = (f"{100 * bound:+.0f}" for bound in found.interval)
    if found.finding == "no_difference":
        return f"No difference was found (interval {low} to {high} points)."
    if found.finding in ("better", "worse"):
        return f"It looks {found.finding}."
    more = found.more_scenarios
    simulations = f" ({plural(found.more_simulations or 0, 'simulation')})"
    would_do = f": about {plural(more, 'more scenario')}{simulations} would do" if more else ""
    if not found.better and not found.worse:
        few = f"{plural(found.scenarios, 'scenario')} cannot rule a difference of 5 points out"
        return f"Nothing changed; {few}{would_do}."
    return f"Not enough evidence{would_do}."


def format_p(p: float) -> str:
    """Three digits, `< 0.001` below."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def change(found: RunComparison) -> str:
    """`0 of 8 -> 8 of 8 pass (+100 points, interval +54 to +100)`."""
    old, new = found.base, found.run
    low, high = (f"{100 * bound:+.0f}" for bound in found.interval)
    points = f"{100 * found.difference:+.0f} points, interval {low} to {high}"
    return f"{old.passed:,} of {old.trials:,} -> {new.passed:,} of {new.trials:,} pass ({points})"


def _summary(report: ComparisonReport) -> str:
    found = report.found
    offline = offline_roles(*_players(report))
    counts = (
        f"{len(found.better):,} of {plural(found.scenarios, 'scenario')} better, {len(found.worse):,} worse, "
        f"{found.unchanged_scenarios:,} unchanged, {format_p(found.p)}"
    )
    return f"{report.run.run} against {report.base.run}{offline}: {counts}; {change(found)}. {finding(found)}"


def _one(report: ComparisonReport) -> str:
    side = report.side_by_side
    verdicts = f"{side['base']['verdict']} in {report.base.run}, {side['run']['verdict']} in {report.run.run}"
    where = f"{side['simulation']}, trial {side['trial']}"
    if not side["turn"]:
        return f"{where}: {verdicts}; both went the same way."
    return f"{where}: {verdicts}; turn {side['turn']} is the first that differs."


def _evidence(found: RunComparison) -> dict[str, Any]:
    more = {"more_scenarios": found.more_scenarios, "more_simulations": found.more_simulations}
    return {
        "n": found.scenarios,
        "better": len(found.better),
        "worse": len(found.worse),
        "unchanged": found.unchanged_scenarios,
        "p": _digits(found.p),
        "p_better": _digits(found.p_better),
        "p_worse": _digits(found.p_worse),
        "sign_test_p": _digits(found.sign_p),
        "e_value": _digits(found.e_value),
        "pairs": found.pairs,
        "base": _rate(found.base),
        "run": _rate(found.run),
        "difference": rounded(found.difference, 3),
        "interval": rounded(list(found.interval), 3),
        "finding": found.finding,
        **{name: number for name, number in more.items() if number},
    }


def _by(report: ComparisonReport, limit: int) -> dict[str, list[dict[str, Any]]]:
    """What changed by persona, tag and scenario, the most first; nothing where there is one group only."""
    row: dict[str, list[dict[str, Any]]] = {}
    for name, groups in report.groups.items():
        changed = _changed(groups)
        if changed:
            row[name] = [_group(one) for one in changed[:limit]]
    return row


def _changed(groups: Sequence[GroupChange]) -> list[GroupChange]:
    return [one for one in groups if one.better or one.worse] if len(groups) > 1 else []


def _group(one: GroupChange) -> dict[str, Any]:
    row = {"name": one.name, "base": one.base, "run": one.run, "of": one.pairs}
    return {**row, "better": one.better, "worse": one.worse, "p": _digits(one.p)}


def _rate(rate: RateInterval) -> dict[str, Any]:
    return {
        "passed": rate.passed,
        "trials": rate.trials,
        "rate": rounded(rate.rate, 3),
        "interval": rounded(list(rate.interval or ()), 3),
    }


def _digits(p: float) -> float:
    return float(f"{p:.3g}")


def _left_out(report: ComparisonReport) -> dict[str, int]:
    pairing = report.pairing
    counts = {
        "other_seed": pairing.other_seed,
        "base_error_or_invalid": pairing.base_uncounted,
        "run_error_or_invalid": pairing.run_uncounted,
        "only_in_base": pairing.only_base,
        "only_in_run": pairing.only_run,
    }
    return {name: count for name, count in counts.items() if count}


def _warnings(report: ComparisonReport, limit: int) -> list[str]:
    found, warnings = report.found, list(report.warnings)
    lists: dict[str, Sequence[object]] = {"fixed": found.fixed, "broken": found.broken, "flaky": found.flaky}
    lists |= {f"by {name}": _changed(groups) for name, groups in report.groups.items()}
    for name, rows in lists.items():
        if len(rows) > limit:
            warnings.append(f"{name} shows {limit} of {len(rows):,}: raise limit.")
    if found.flaky:
        warnings.append(
            f"{plural(len(found.flaky), 'simulation')} {'disagrees' if len(found.flaky) == 1 else 'disagree'} "
            "with themselves over their trials: only the scenarios' means say anything of them."
        )
    return with_offline(warnings, *_players(report))


def _players(report: ComparisonReport) -> list[dict[str, str]]:
    """Who plays each role in each run."""
    return [played_by(side.models, side.agent) for side in (report.base, report.run)]


def _links(report: ComparisonReport) -> list[Link]:
    """Both conversations whole."""
    sides = {side: str(report.side_by_side[side]["conversation"]).partition("@")[0] for side in SIDES}
    return [
        Link(uri=f"caseharden://conversation/{id}", what=f"the conversation of the {side}")
        for side, id in sides.items()
    ]


def _next(report: ComparisonReport) -> list[NextCall]:
    """The first changed simulation, a broken one before a fixed one, of train before held-out ones."""
    found = report.found
    changed = [*found.broken, *found.fixed, *found.flaky]
    seen = [slug for slug in changed if slug not in report.held_out]
    arms = {"base": report.base.run, "run": report.run.run}
    calls = [then("compare_runs", "first turn that differs", **arms, simulation=slug) for slug in seen[:1]]
    if found.run.passed < found.run.trials:
        calls.append(then("get_item", "why it fails now", kind="run", id=report.run.run, view="clusters"))
    if found.more_scenarios:
        environment = report.run.environment
        count = min(50, found.more_scenarios)
        calls.append(then("generate_scenarios", "more evidence", environment=environment, count=count))
    return calls


def _next_of_one(report: ComparisonReport) -> list[NextCall]:
    side = report.side_by_side
    places = {name: str(side[name]["conversation"]) for name in SIDES}
    rest = [
        then("get_item", f"the {name}'s conversation from there", kind="conversation", id=place, view="turns")
        for name, place in reversed(places.items())
    ]
    return [
        *rest,
        then("compare_runs", "all of them", base=report.base.run, run=report.run.run),
    ]

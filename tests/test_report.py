"""The report of a run and of a hardening: the engine's figures, an inert file, nothing held out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import Conflict
from caseharden.engine.workbench import Workbench
from caseharden.resources.library import report_page
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, desk, tickets

pytestmark = pytest.mark.anyio
TOOLS = ("look_up_ticket", "close_ticket")


def opened(home: Path) -> Workbench:
    return Workbench(home, worlds=WORLDS, report=report_page)


def data_of(html: str) -> dict[str, Any]:
    """The report inside a page."""
    found = re.search(r'<script type="([^"]+)" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    raw = gzip.decompress(base64.b64decode(found[2])) if "gzip" in found[1] else found[2].encode()
    return json.loads(raw)


def closes(n: int) -> dict[str, Any]:
    """A recorded agent that knows one conversation: ticket n is looked up and closed."""
    calls = [{"by": "agent", "tool": tool, "args": {"ticket_id": f"T{n}"}} for tool in TOOLS]
    log = [{"by": "user", "say": f"Close T{n}."}, *calls, {"by": "agent", "say": "Closed."}]
    return {"kind": "recorded", "conversations": [{"scenario": f"close-{n}", "trial": 1, "log": log}]}


async def exported(bench: Workbench, source: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    made = await bench.exports.export(source, "html", **arguments)
    html = made.path.read_text(encoding="utf-8")
    return html, data_of(html)


@pytest.mark.requirement("CH-12")
async def test_the_report_of_a_run_shows_the_figures_of_the_run(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench)
        run = (await bench.runs.start("desk", wait_s=45, options={"thresholds": {"pass_rate": 0.9}})).run
        html, report = await exported(bench, run.id)
        totals = run.totals
        assert report["head"]["word"] == f"{totals.passed} of {totals.trials} pass"
        assert report["head"]["tone"] == "f" and "Threshold missed" in report["head"]["lede"]
        rate = report["arms"][0]["rate"]
        assert (rate["rate"], [rate["low"], rate["high"]]) == (totals.rate, list(totals.interval or ()))
        letters = "".join(report["results"][run.id].values())
        assert (letters.count("p"), letters.count("f")) == (totals.passed, totals.failed)
        assert [c["check"] for c in report["clusters"]] == [c.check for c in run.clusters]
        assert report["offline"] and "offline (rule-based)" in dict(report["models"])["agent"]
        cluster = report["clusters"][0]
        talk = next(c for c in report["conversations"] if c["id"] == cluster["quote"]["conversation"])
        assert talk["verdict"] == "f"
        assert "close_ticket" in cluster["quote"]["calls"]
        assert {case["split"] for case in report["scenarios"]} == {"train", "held_out"}
        numbers = [int(c["id"].rpartition("-")[2]) for c in report["scenarios"] if c["split"] == "train"]
        assert numbers == sorted(numbers)
        assert "caseharden" in html


@pytest.mark.requirement("CH-12")
async def test_the_report_of_a_hardening_shows_outcome_proof_and_what_changed(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk", wait_s=45)).run
        found = await bench.hardenings.harden("desk", run=run.id, wait_s=45)
        record = found.hardening
        assert record.outcome == "improved" and record.evidence and record.evidence.held_out
        held_out = record.evidence.held_out
        _, report = await exported(bench, record.id)
        assert report["head"]["word"] == "Improved"
        assert report["head"]["decision"] == "The candidate is neither promoted nor rejected yet."
        assert "Trials shown" in [name for name, *_ in report["facts"]]
        assert [r["label"] for r in report["rounds"]] == ["Base", "Round 1", "Confirmation"]
        proof = report["proof"]
        assert (proof["better"], proof["worse"], proof["p"]) == (held_out.better, held_out.worse, held_out.p)
        assert proof["low"] <= proof["difference"] <= proof["high"]
        old, new = (arm["rate"] for arm in report["arms"])
        assert (old["passed"], new["passed"]) == (held_out.base, held_out.candidate)
        assert {flip["kind"] for flip in report["flips"]} <= {"fixed", "unchanged"}
        assert any(part[0] == "+" and "look_up_ticket" in part[1] for part in report["diffs"][0]["parts"])
        assert report["clusters"][0]["newest"] == 0
        twins = [c for c in report["conversations"] if c["differs_at"]]
        assert twins and {c["version"] for c in twins} >= {"version 1", "candidate 1"}
        assert all(guard["result"] == "pass" for guard in report["guards"])


async def test_a_report_says_that_the_run_with_the_base_was_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk", wait_s=45)).run
        record = (await bench.hardenings.harden("desk", run=run.id, wait_s=45)).hardening
        (said,) = (await bench.items.delete("run", [run.id])).warnings
        assert said.startswith("hard-1 began with run-1: its outcome and proof stay"), said
        await bench.items.delete("run", [run.id], confirm=True)
        _, report = await exported(bench, record.id)
    assert record.outcome == "improved" and report["head"]["word"] == "Improved"
    assert report["warnings"][0][1].startswith("run-1, with which this hardening began, was deleted")


async def test_the_report_of_an_agent_with_luck_shows_the_trials_of_the_proof_in_both_arms(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench, 24)
        models, options = {"agent": "offline:slip=0.05"}, {"trials": 2}
        found = await bench.hardenings.harden("desk", models=models, options=options, wait_s=45)
        assert found.hardening.evidence and (held_out := found.hardening.evidence.held_out)
        _, report = await exported(bench, found.hardening.id)
        told = {arm["label"]: arm["rate"] for arm in report["arms"]}
        assert [rate["passed"] for rate in told.values()] == [held_out.base, held_out.candidate]
        sides = {case["id"]: case["split"] for case in report["scenarios"]}
        shown = {
            (talk["version"], int(talk["id"].rsplit("/", 1)[1]))
            for talk in report["conversations"]
            if sides[report["simulations"][talk["simulation"]][0]] == "held_out"
        }
        assert {version for version, _ in shown} == {"version 1", "candidate 1"}
        assert {number for _, number in shown} == {101, 102}


@pytest.mark.requirement("CH-12")
async def test_the_report_counts_a_scenario_that_was_read_where_the_proof_counts_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk", wait_s=45)).run
        record = (await bench.hardenings.harden("desk", strategy="submit", run=run.id, wait_s=45)).hardening
        read = record.held_out[0]
        trial = next(
            t for t in (await bench.items.page("conversation", where={"run": run.id, "scenario": read})).items
        )
        await bench.items.get("conversation", trial["id"], view="turns")
        edits = [{"op": "add", "anchor": "end", "text": "Before calling close_ticket, call look_up_ticket."}]
        record = (await bench.hardenings.submit(record.id, edits=edits, wait_s=45)).hardening
        assert (
            record.spent == [read] and record.evidence and record.evidence.held_out and record.evidence.train
        )
        held_out, train = record.evidence.held_out, record.evidence.train
        _, report = await exported(bench, record.id)
        old, new = (arm["rate"] for arm in report["arms"])
        assert (old["trials"], new["trials"]) == (held_out.base_trials, held_out.candidate_trials)
        assert [old["low"], old["high"]] == pytest.approx(held_out.base_interval)
        rounds = {one["label"]: one for one in report["rounds"]}
        assert rounds["Base"]["train"]["trials"] == train.base_trials
        assert rounds["Round 1"]["train"]["trials"] == train.candidate_trials
        assert {case["id"]: case["split"] for case in report["scenarios"]}[read] == "train"
        assert "1 held out, but read before" in dict(report["manifest"])["split"]


async def test_before_the_outcome_nothing_held_out_is_in_the_file_and_nothing_is_spent(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench, 24)
        record = (await bench.hardenings.harden("desk", strategy="submit", wait_s=45)).hardening
        assert record.outcome is None
        html, report = await exported(bench, record.id)
        assert "before the outcome" in report["hidden"]
        assert {case["split"] for case in report["scenarios"]} == {"train"}
        assert all(f'"{scenario}"' not in html for scenario in record.held_out)
        rows = (await bench.items.page("scenario", limit=100)).items
        assert not any(row.get("spent") for row in rows)
        assert report["head"]["word"] == "No outcome yet"


async def test_a_report_is_the_same_file_again_and_never_replaces_another_unseen(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench)
        run = (await bench.runs.start("desk", wait_s=45)).run
        first = await bench.exports.export(run.id, "html")
        assert not first.unchanged and first.warnings
        assert (await bench.exports.export(run.id, "html")).unchanged
        first.path.write_text("other", encoding="utf-8")
        with pytest.raises(Conflict):
            await bench.exports.export(run.id, "html")


async def test_the_page_allows_its_own_style_and_script_by_hash_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench)
        run = (await bench.runs.start("desk", wait_s=45)).run
        html, _ = await exported(bench, run.id)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ") and "unsafe" not in policy[1]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert style is not None and len(script) == 1
    for text in (style[1], script[0]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy[1]
    assert not re.search(r"\b(src|href)=\"?https?:", html) and "localStorage" not in html
    assert "innerHTML" not in html and "Date.now" not in html and "Math.random" not in html


async def test_hostile_words_cannot_leave_the_data_they_stand_in(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)><!--<script>{{script}} {{policy}} \u2028 javascript:alert(1)"
    async with opened(tmp_path) as bench:
        await desk(bench, 3)
        await bench.items.update("scenario", "desk/close-1", {"goal": evil})
        run = (await bench.runs.start("desk", wait_s=45)).run
        html, report = await exported(bench, run.id)
    assert html.count("<script") == 2 and html.count("</script>") == 2 and "<img" not in html
    assert any("{{script}}" in case["goal"] for case in report["scenarios"])


async def test_runs_without_a_countable_trial_or_without_failures_say_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as bench:
        await desk(bench, 3)
        text = f"{INSTRUCTIONS} Before calling close_ticket, call look_up_ticket."
        await bench.items.update("environment", "desk", {"instructions": text})
        run = (await bench.runs.start("desk", wait_s=45)).run
        _, report = await exported(bench, run.id)
        assert (report["head"]["word"], report["head"]["tone"]) == ("Nothing to fix", "p")
        assert "could look the same" in report["head"]["lede"] and not report["clusters"]
        await bench.items.update("environment", "desk", {"agent": closes(1)})
        partly = (await bench.runs.start("desk", wait_s=45)).run
        assert (partly.totals.passed, partly.totals.error) == (1, 2)
        _, report = await exported(bench, partly.id)
        assert (report["head"]["word"], report["head"]["tone"]) == ("1 of 1 pass", "m")
        assert "of 3 trials 2 ended in an error" in report["head"]["lede"]
        agent: dict[str, Any] = {"kind": "recorded", "conversations": [{"scenario": "other", "log": []}]}
        await bench.items.update("environment", "desk", {"agent": agent})
        broken = (await bench.runs.start("desk", wait_s=45)).run
        _, report = await exported(bench, broken.id)
        assert report["head"]["word"] == "Not evaluated" and not report["arms"]
        assert "ended in an error" in report["head"]["lede"]


async def test_a_whole_number_that_a_page_would_round_keeps_its_digits(tmp_path: Path) -> None:
    world = tickets(1)
    world["db"]["tickets"]["T1"]["account"] = 9_007_199_254_740_993
    world["tools"][0]["steps"][-1] = {"return": "{'account': t.account, 'all': [t.account, 7]}"}
    async with opened(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=world, agent=closes(1))
        await bench.scenarios.create("desk", [closing(1)])
        await bench.runs.start("desk", wait_s=45)
        _, report = await exported(bench, "run-1")
    calls = [call for part in report["conversations"][0]["parts"] for call in part["calls"]]
    assert calls[0]["result"] == {"account": "9007199254740993", "all": ["9007199254740993", 7]}


@pytest.mark.parametrize("scheme", [0, 1])
def test_every_text_colour_of_the_page_has_the_contrast_that_is_asked_for(scheme: int) -> None:
    style = report_page().style
    blocks = [style.split("\n:root {")[1], style.split(":root[data-theme=dark] {")[1]]
    tokens = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", blocks[scheme].split("}")[0]))
    pairs = [(name, "bg") for name in ("ink", "soft", "pass", "fail", "inc", "err", "inv", "mix")]
    pairs += [(name, f"{name}-t") for name in ("pass", "fail", "inc", "err", "inv", "mix")]
    pairs += [("soft", "sunk"), ("soft", "raised")]
    assert style.count(f"--bg: {tokens['bg']};") == 1
    for text, ground in pairs:
        assert contrast(tokens[text], tokens[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2: of two colours, 1 to 21."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

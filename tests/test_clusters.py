"""Failure clusters through the workbench: what they show, what a writer may call them, and their cases run again."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import NotFound
from caseharden.engine.records.run import RunRecord
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.tests.fake_endpoint import FakeEndpoint, chat
from caseharden.tests.server_desk import MODES, Mode, closing as closing_one, desk as server_desk, tiny
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, desk, tickets

pytestmark = pytest.mark.anyio
CURED = f"{INSTRUCTIONS}\nBefore calling close_ticket, call look_up_ticket."


async def failing(bench: Workbench, count: int = 4, **fields: Any) -> RunRecord:
    """A run in which the agent closes each ticket without looking it up; all scenarios are of train."""
    await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(count))
    cases = [{**closing(n), "split": "train", **fields} for n in range(1, count + 1)]
    await bench.scenarios.create("desk", cases)
    return (await bench.runs.start("desk", wait_s=45)).run


@pytest.mark.requirement("AK-10")
async def test_a_cluster_shows_its_evidence_and_the_smallest_case_that_shows_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await failing(bench)
        (found,) = run.clusters
        assert (found.check, found.key, found.severity) == (
            "rule.looked-up",
            "rule.looked-up",
            "critical",
        )
        assert (found.simulations, found.trials, found.name) == (4, 4, "")
        assert len(found.evidence) == 4
        shown = [(await bench.items.get("conversation", place)).item for place in found.evidence]
        assert {one["verdict"] for one in shown} == {"fail"}
        assert found.smallest in found.members
        assert found.smallest == found.evidence[0].split("/")[1]
        whole = (await bench.items.get("run", run.id, view="clusters")).item["clusters"]
        short = (await bench.items.get("run", run.id)).item["clusters"]
        assert whole[0]["members"] == found.members and "members" not in short[0]
        assert short[0] == {
            "id": "k1",
            "check": found.check,
            "severity": "critical",
            "train": 4,
            "cause": found.cause,
            "see": found.see,
        }


@pytest.mark.requirement("AK-10")
async def test_a_cluster_is_run_again_in_one_call_and_told_whether_it_is_there_again(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await failing(bench)
        again = (await bench.runs.start("desk", select=[f"cluster:{run.id}/k1"], wait_s=45)).run
        (rerun,) = again.reruns
        assert (rerun.cluster, rerun.check) == ("run-1/k1", "rule.looked-up")
        assert (rerun.again, rerun.otherwise, rerun.passed, rerun.changed, rerun.gone) == (4, 0, 0, 0, 0)
        await bench.items.update("environment", "desk", {"instructions": CURED})
        mended = (await bench.runs.start("desk", select=["cluster:run-1/rule.looked-up"], wait_s=45)).run
        assert (mended.reruns[0].again, mended.reruns[0].passed) == (0, 4)


async def test_a_rerun_tells_cases_that_were_changed_or_are_gone(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await failing(bench)
        first, last = run.clusters[0].members[0], run.clusters[0].members[-1]
        await bench.items.update(
            "scenario", f"desk/{first.partition('-with')[0][:7]}", {"goal": "Close it now."}
        )
        await bench.items.delete("simulation", [f"desk/{last}"], confirm=True)
        again = (await bench.runs.start("desk", select=["cluster:run-1/k1"], wait_s=45)).run
        (rerun,) = again.reruns
        assert (rerun.changed, rerun.gone) == (1, 1)
        told = " ".join(again.warnings)
        assert "1 of 4 simulations of run-1/k1 is not there any more." in told
        assert "1 of 4 simulations of run-1/k1 is made of something else" in told


async def test_an_unknown_cluster_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await failing(bench)
        with pytest.raises(NotFound) as refused:
            await bench.runs.start("desk", select=["cluster:run-1/k7"])
        assert refused.value.allowed == "k1 (rule.looked-up)"
        assert refused.value.next[0].args == {"kind": "run", "id": "run-1", "view": "clusters"}


async def test_unnamed_checks_of_one_id_are_told_apart_by_their_wording(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=CURED, world_data=tickets(2))
        said = [[{"said": "never said", "by": "agent"}], [{"said": "nor this", "by": "agent"}]]
        cases = [{**closing(n), "split": "train", "success": said[n - 1]} for n in (1, 2)]
        await bench.scenarios.create("desk", cases, check=False)
        run = (await bench.runs.start("desk", wait_s=45)).run
        assert [one.check for one in run.clusters] == ["c1", "c1"]
        assert len({one.key for one in run.clusters}) == 2
        for one in run.clusters:
            page = await bench.items.page("conversation", where={"run": run.id, "cluster": one.id})
            assert [row["id"] for row in page.items] == [f"{run.id}/{one.members[0]}/1"]
            assert page.total == 1
            assert page.items[0]["cluster"] == one.id
        again = (await bench.runs.start("desk", select=["cluster:run-1/k2"], wait_s=45)).run
        assert again.simulations == run.clusters[1].members
        assert again.reruns[0].again == 1


@asynccontextmanager
async def writer_says(home: Path, names: Any) -> AsyncGenerator[tuple[Workbench, FakeEndpoint]]:
    """A workbench, and a writer on the loopback that answers everything so."""
    with FakeEndpoint(chat(names if isinstance(names, str) else json.dumps(names))) as endpoint:
        async with bench_at(home) as bench:
            yield bench, endpoint


def by(endpoint: FakeEndpoint) -> dict[str, Any]:
    return {"writer": {"model": "writer-1", "base_url": endpoint.base_url}}


@pytest.mark.requirement("AK-10")
async def test_the_writer_only_names_the_clusters_and_the_names_stay(tmp_path: Path) -> None:
    names = {"k1": "Closes\n tickets unseen\u202e"}
    async with writer_says(tmp_path, names) as (bench, endpoint):
        await desk(bench, 3)
        plain = (await bench.runs.start("desk", wait_s=45)).run
        report = await bench.runs.start("desk", models=by(endpoint), wait_s=45)
        (found,) = report.run.clusters
        assert found.name == "Closes tickets unseen"
        assert found.model_copy(update={"name": "", "see": "", "evidence": []}) == plain.clusters[
            0
        ].model_copy(update={"see": "", "evidence": []})
        assert len(endpoint.requests) == 1
        assert report.run.models_used["writer"].calls == 1
        assert report.model_calls == sum(use.calls for use in report.run.models_used.values())
        await bench.scores.score(report.run.id, thresholds={"pass_rate": 0.5})
        stored = (await bench.items.get("run", report.run.id, view="clusters")).item
        assert stored["clusters"][0]["name"] == "Closes tickets unseen"


async def test_the_writer_is_shown_no_word_of_held_out_scenarios(tmp_path: Path) -> None:
    async with writer_says(tmp_path, {"k1": "Closes unseen"}) as (bench, endpoint):
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(4))
        hidden = {"id": "secret-plover", "said": "plover", "by": "agent"}
        cases = [{**closing(1), "split": "train"}, {**closing(2), "split": "held_out", "success": [hidden]}]
        await bench.scenarios.create("desk", cases, check=False)
        run = (await bench.runs.start("desk", models=by(endpoint), wait_s=45)).run
        assert run.clusters[0].name == "Closes unseen"
        assert "plover" not in json.dumps([seen.json for seen in endpoint.requests])
        assert "close-2" not in json.dumps([seen.json for seen in endpoint.requests])


async def test_a_client_that_lends_the_writer_is_shown_train_alone_and_spends_nothing(tmp_path: Path) -> None:
    words = {1: "heron", 2: "plover", 3: "curlew"}
    cases = [
        {
            **closing(
                n, split="train" if n == 1 else "held_out", goal=f"Get ticket T{n} closed, says the {word}."
            ),
            "success": [{"id": "told", "said": word}, {"id": f"only-{word}", "said": word}],
        }
        for n, word in words.items()
    ]
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(6))
        await bench.scenarios.create("desk", cases, check=False)
        made = await bench.scenarios.generate("desk", count=2, kinds=["must_succeed", "sealed"], wait_s=45)
        options = {"name_clusters": True}
        begun = await bench.runs.start("desk", models={"writer": "relay"}, options=options, wait_s=0)
        assert begun.job is not None
        [call] = (await bench.model_calls.take(begun.job.id, wait_s=40)).calls
        told = json.dumps(call)
        assert call["role"] == "writer" and "heron" in told
        found = (await bench.runs.start("desk", select=["scenario:close-1"], wait_s=45)).run.clusters
        names = {one.id: "Says nothing of birds" for one in found}
        await bench.model_calls.answer([{"id": call["id"], "data": names}], wait_s=0)
        with anyio.fail_after(60):
            while not (await bench.jobs.wait(begun.job.id, wait_s=20)).job.ended:
                pass
        run = (await bench.items.get("run", begun.run.id, view="clusters")).item
        rows = (await bench.items.page("scenario", environment="desk", limit=100)).items
    assert {one["name"] for one in run["clusters"]} == {"Says nothing of birds"}
    assert len(run["clusters"]) == len(found) == len(names)
    assert not any(row.get("spent") for row in rows)
    with Store(tmp_path) as store:
        archive = Archive(store)
        hidden = [
            archive.scenarios.get(id).scenario.goal for id in (*made.made, "desk/close-2", "desk/close-3")
        ]
    canaries = [*hidden, *made.made, "plover", "curlew", "close-2", "close-3", "sealed", "held"]
    assert [word for word in canaries if word in told] == []


@pytest.mark.parametrize("answer", ["no JSON at all", {"k1": 3}, {"k9": "another"}])
async def test_a_writer_that_gives_no_names_changes_nothing_but_a_warning(
    tmp_path: Path, answer: Any
) -> None:
    async with writer_says(tmp_path, answer) as (bench, endpoint):
        await desk(bench, 2)
        run = (await bench.runs.start("desk", models=by(endpoint), wait_s=45)).run
        assert run.state == "done"
        assert [one.name for one in run.clusters] == [""]
        assert any("could not name the failures" in warning for warning in run.warnings)


async def test_nobody_is_asked_for_names_where_nothing_failed_or_the_call_says_no(tmp_path: Path) -> None:
    async with writer_says(tmp_path, {"k1": "x"}) as (bench, endpoint):
        await desk(bench, 2)
        options = {"name_clusters": False}
        run = (await bench.runs.start("desk", models=by(endpoint), options=options, wait_s=45)).run
        assert run.clusters[0].name == ""
        await bench.items.update("environment", "desk", {"instructions": CURED})
        assert not (await bench.runs.start("desk", models=by(endpoint), wait_s=45)).run.clusters
        assert not endpoint.requests


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_triages_a_run_by_the_prompt_and_runs_a_cluster_again(
    tmp_path: Path, mode: Mode
) -> None:
    async with server_desk(tmp_path / "data", mode) as at:
        await tiny(at)
        case = closing_one("say-it", "T1") | {
            "success": [{"id": "polite", "said": "you are welcome", "by": "agent"}]
        }
        made = {**case, "split": "train"}
        await at.ok("create_scenarios", environment="support", scenarios=[made], check=False)
        run = await at.ok("run_simulations", environment="support", wait_s=45)
        told = str((await at.client.get_prompt("triage_failures", {"run": run["run"]})).messages[0].content)
        assert "No earlier run of its series" in told
        found = await at.ok("get_item", kind="run", id=run["run"], view="clusters")
        assert "1 failure cluster" in found["summary"]
        call = next(one for one in found["next"] if one["tool"] == "run_simulations")
        again = await at.ok(call["tool"], **call["args"], wait_s=45)
        assert again["reruns"][0]["cluster"] == f"{run['run']}/k1"
        assert "1 of 1 simulation fail it again" in again["summary"]
        second = await at.ok("run_simulations", environment="support", continue_run=run["run"], wait_s=45)
        newest = str((await at.client.get_prompt("triage_failures", {})).messages[0].content)
        assert f'"base": "{run["run"]}", "run": "{second["run"]}"' in newest.replace('\\"', '"')

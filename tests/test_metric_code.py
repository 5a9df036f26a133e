"""Metrics that are Python: below allowed folders only, read strictly, kept under the hash of their file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.code import MetricCode
from caseharden.engine.code.imports import hash_of
from caseharden.engine.code.metric_code import MOST_HANGS
from caseharden.engine.errors import InvalidArgument, NotAllowed, NotFound
from caseharden.engine.evaluate import Question
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.records.conversation import Conversation
from caseharden.engine.records.opinion import MetricValue
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint, fault
from caseharden.tests.judge_desk import judged_by, marked, played, says, score
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("AK-17")]
TALK = [
    {"by": "user", "say": "Close T1."},
    {"by": "agent", "tool": "close_ticket", "args": {"ticket_id": "T1"}},
    {"by": "agent", "say": "Done, ticket T1 is closed."},
    {"by": "user", "say": "Thanks."},
    {"by": "agent", "say": "Bye."},
]
METRICS = '''
import os, sys, time
from pathlib import Path

ANSWERS = {
    "text": "fine",
    "nothing": None,
    "no_why": {"value": 1},
    "no_value": {"why": "x"},
    "strange": {"value": 1, "why": "x", "score": 2},
    "high": {"value": 1.5, "why": "x"},
    "huge": {"value": 10**400, "why": "x"},
    "nan": {"value": float("nan"), "why": "x"},
    "infinite": {"value": float("inf"), "why": "x"},
    "bool": {"value": True, "why": "x"},
    "word": {"value": "1", "why": "x"},
    "list_why": {"value": 1, "why": ["x"]},
    "far_turn": {"value": 1, "why": "x", "turns": [99]},
    "no_turns": {"value": 1, "why": "x", "turns": "1"},
    "set": {"value": {1}, "why": "x"},
    "keys": {("a", "b"): 1},
}

def brevity(conversation):
    """1 where the agent says at most five words at a time."""
    print("noise on standard output")
    long = [e["turn"] for e in conversation["transcript"]
            if e.get("by") == "agent" and len(e.get("say", "").split()) > 5]
    return {"value": 0.25 if long else 1, "why": f"{len(long)} long answers", "turns": long}

def seen(conversation):
    return {"value": 1, "why": repr(sorted(conversation)) + repr(conversation["calls"]) + repr(conversation["goal"])
            + repr(conversation["end"]) + repr(conversation["policy"])}

def tone(conversation):
    return {"value": "curt", "why": "Bye."}

def does_not_apply(conversation):
    return {"value": None, "why": "no refund was asked for"}

def odd_text(conversation):
    return {"value": 1, "why": "a\\ud800b" + "x" * 5000}

def counted(conversation):
    count = Path(__file__).with_name("count.txt")
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    return {"value": 1, "why": "counted"}

def raises(conversation):
    raise ValueError("no more paper")

def exits(conversation):
    os._exit(3)

def floods(conversation):
    return {"value": 1, "why": "x" * 9_000_000}

def hangs(conversation):
    time.sleep(600)

def __getattr__(name):
    if name in ANSWERS:
        return lambda conversation: ANSWERS[name]
    raise AttributeError(name)
'''


@asynccontextmanager
async def coded_bench(home: Path, allow: bool = True) -> AsyncGenerator[Workbench]:
    code = home / "code"
    code.mkdir(exist_ok=True)
    if not (code / "metrics.py").exists():
        (code / "metrics.py").write_text(METRICS, encoding="utf-8")
    allowed = AllowedCode([code] if allow else [])
    async with Workbench(home / "data", worlds=WORLDS, roots=[home], code=allowed) as bench:
        yield bench


def coded(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name.replace("_", "-"), "code": f"metrics.py:{name}", "scale": [0, 1], **more}


async def values(bench: Workbench, run: str = "run-1") -> dict[str, MetricValue]:
    [trial] = await marked(bench, run)
    return {value.metric: value for value in trial.graded.metrics}


async def test_a_function_of_a_file_scores_the_stored_conversation_beside_judged_metrics(
    tmp_path: Path,
) -> None:
    tone = coded("tone", scale=["fine", "curt"])
    wanted = [
        coded("brevity"),
        tone,
        coded("seen"),
        coded("does_not_apply"),
        coded("odd_text"),
        "helpfulness",
    ]
    with FakeEndpoint(says({"helpfulness": score(4)})) as endpoint:
        async with coded_bench(tmp_path) as bench:
            await played(bench, TALK, {"said": "closed"})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=wanted)
            found = await values(bench)
    brevity = found["brevity"]
    assert (brevity.value, brevity.why, brevity.turns) == (1, "0 long answers", [])
    assert (found["tone"].label, found["tone"].value) == ("curt", None)
    assert found["helpfulness"].value == 4 and len(endpoint.requests) == 1
    told = found["seen"].why
    assert "['calls', 'end', 'goal', 'policy', 'transcript']" in told
    assert "'tool': 'close_ticket', 'args': {'ticket_id': 'T1'}, 'ok': True" in told
    assert "Get ticket T1 closed." in told and "Look a ticket up" in told
    absent = found["does-not-apply"]
    assert (absent.measured, absent.unscored, absent.why) == (False, "", "no refund was asked for")
    assert found["odd-text"].why.startswith("a?bxxx") and len(found["odd-text"].why) == 1000
    summary = report.run.metrics
    assert (summary["brevity"].mean, summary["brevity"].judged, summary["brevity"].direction) == (
        1,
        False,
        "higher",
    )
    assert summary["tone"].labels == {"curt": 1} and summary["does-not-apply"].does_not_apply == 1


async def test_what_is_no_answer_leaves_the_metric_unscored_with_the_reason_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    told = {
        "text": "its code gave 'fine', not an object with value and why",
        "nothing": "its code gave None, not an object with value and why",
        "no_why": "its code answered wrongly: why missing",
        "no_value": "its code answered wrongly: value missing",
        "strange": "its code answered wrongly: 'score' is none of value, why, turns",
        "high": "its code answered wrongly: value is 1.5, outside 0 to 1",
        "huge": "outside 0 to 1",
        "nan": "its code answered wrongly: value is nan, no number",
        "infinite": "its code answered wrongly: value is inf, outside 0 to 1",
        "bool": "its code answered wrongly: value is True, no number",
        "word": "its code answered wrongly: value is '1', no number",
        "list_why": "its code answered wrongly: why is ['x'], not a text",
        "far_turn": "its code answered wrongly: there is no turn 99",
        "no_turns": "its code answered wrongly: turns is '1', not a list",
        "set": "its code raised TypeError: Object of type set is not JSON serializable",
        "keys": "its code raised TypeError: keys must be str",
        "raises": "its code raised ValueError: no more paper",
        "exits": "the process of its code ended with status 3",
        "floods": "the process of its code wrote a line longer than",
        "missing": "its code raised AttributeError: ",
    }
    with FakeEndpoint(fault()) as endpoint:
        async with coded_bench(tmp_path) as bench:
            await played(bench, TALK, {"said": "closed"})
            report = await bench.runs.start(
                "desk", models=judged_by(endpoint), metrics=[*map(coded, told), coded("brevity")]
            )
            found = await values(bench)
        assert endpoint.requests == []
    for name, why in told.items():
        value = found[name.replace("_", "-")]
        assert why in value.unscored and not value.measured, value
    assert found["brevity"].value == 1
    assert (report.run.totals.passed, report.run.totals.error) == (1, 0)
    assert all(report.run.metrics[name.replace("_", "-")].unscored == 1 for name in told)


async def test_code_that_hangs_is_ended_then_not_asked_again_and_other_code_answers(tmp_path: Path) -> None:
    (tmp_path / "metrics.py").write_text(METRICS, encoding="utf-8")
    talk = Conversation.model_validate(
        {
            "scenario": "close-1",
            "simulation": "s",
            "trial": 1,
            "seed": 1,
            "log": [],
            "end": {"turn": 0, "by": "user", "reason": "user_stop"},
        }
    )
    with anyio.fail_after(60):
        async with Processes() as processes:
            code = MetricCode(AllowedCode([tmp_path]), processes, answer_s=2)
            pins = code.pinned([coded("hangs"), coded("brevity")], "metrics")
            questions = [
                Question("", "score", pin["name"], code=pin["code"], code_hash=pin["sha256"]) for pin in pins
            ]
            hung, answered = await code.answers(questions, talk)
            again = [(await code.answers(questions[:1], talk))[0] for _ in range(MOST_HANGS)]
            code.pinned([coded("hangs")], "metrics")
            [anew] = await code.answers(questions[:1], talk)
    asked = (hung, *again[:-1], anew)
    assert all(said.unscored.startswith("its code gave no answer within 2 s") for said in asked)
    assert again[-1].unscored.startswith("its code gave no answer 3 times in a row")
    assert answered.score == 1 and not answered.unscored


async def test_nothing_is_asked_twice_of_the_same_file_and_anew_of_a_changed_one(tmp_path: Path) -> None:
    file, count = tmp_path / "code" / "metrics.py", tmp_path / "code" / "count.txt"
    with FakeEndpoint(says({"helpfulness": score(4)})) as endpoint:
        async with coded_bench(tmp_path) as bench:
            await played(bench, TALK, {"said": "closed"})
            await bench.runs.start("desk", metrics=[coded("counted"), coded("raises")])
            await bench.scores.score("run-1", metrics=[coded("counted")])
            await bench.scores.score("run-1", judge=judged_by(endpoint)["judge"])
            assert count.read_text() == "1"
            file.write_text(METRICS.replace('"why": "counted"', '"why": "counted anew"'), encoding="utf-8")
            kept = (await values(bench))["counted"]
            await bench.scores.score("run-1", metrics=[coded("counted"), coded("raises")])
            anew = await values(bench)
            assert count.read_text() == "2"
            file.write_text(METRICS.replace("no more paper", "no ink"), encoding="utf-8")
            await bench.scores.score("run-1", judge="offline")
            stale = await values(bench)
    assert (kept.why, anew["counted"].why) == ("counted", "counted anew")
    assert stale["counted"].why == "counted anew"
    assert (
        stale["raises"].unscored
        == "metrics.py, or what it imports, has changed since it was named: name the metric again in score_run"
    )


async def test_a_file_outside_allow_code_is_refused_and_the_flag_is_named(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("def f(c): pass", encoding="utf-8")
    outside = {"name": "mine", "code": str(tmp_path / "outside.py") + ":f"}
    async with coded_bench(tmp_path) as bench:
        await played(bench, TALK, {"said": "closed"})
        await bench.runs.start("desk", metrics=["none"])
        with pytest.raises(NotAllowed, match="--allow-code") as refused:
            await bench.runs.start("desk", metrics=[outside])
        assert refused.value.where == "metrics[0].code"
        with pytest.raises(NotAllowed, match="--allow-code"):
            await bench.scores.score("run-1", metrics=[outside])
        with pytest.raises(NotFound, match=r"metric\.py"):
            await bench.runs.start("desk", metrics=[{"name": "mine", "code": "metric.py:f"}])
        with pytest.raises(NotAllowed, match="--allow-code"):
            await bench.environments.create(
                "two", instructions=INSTRUCTIONS, world_data=tickets(1), settings={"metrics": [outside]}
            )
    async with coded_bench(tmp_path, allow=False) as bench:
        with pytest.raises(NotAllowed) as refused:
            await bench.runs.start("desk", metrics=[coded("brevity")])
        assert "a folder that the operator names with --allow-code DIR" in str(refused.value.allowed)
        [trial] = await marked(bench)
        assert trial.verdict == "pass"


@pytest.mark.parametrize(
    ("metric", "where"),
    [
        ({"name": "m"}, "metrics[0].rubric"),
        ({"name": "m", "code": "m.py:f", "rubric": "5: good"}, "metrics[0].code"),
        ({"name": "m", "code": "m.py"}, "metrics[0].code"),
        ({"name": "m", "code": "m.py:f()"}, "metrics[0].code"),
        ({"name": "m", "code": "m.sh:f"}, "metrics[0].code"),
    ],
)
async def test_a_metric_that_is_neither_rubric_nor_function_is_refused(
    tmp_path: Path, metric: Mapping[str, Any], where: str
) -> None:
    async with coded_bench(tmp_path) as bench:
        with pytest.raises(InvalidArgument) as refused:
            await bench.runs.start("desk", metrics=[metric])
    assert refused.value.where == where


async def test_settings_and_thresholds_and_checks_take_a_metric_of_code(tmp_path: Path) -> None:
    check = {"id": "brief", "metric": "brevity", "min": 0.5}
    settings = {"metrics": [coded("brevity"), coded("raises")], "thresholds": {"brevity": 0.9, "raises": 0.1}}
    async with coded_bench(tmp_path) as bench:
        long = [*TALK[:-1], {"by": "agent", "say": "It was a pleasure to be of help to you today."}]
        await played(bench, long, check, **settings)
        run = (await bench.runs.start("desk")).run
        [trial] = await marked(bench)
    assert trial.verdict == "fail" and trial.failed_checks == ["brief"]
    told = {result.threshold: (result.result, result.why) for result in run.thresholds}
    assert told["brevity >= 0.9"][0] == "fail" and "0.250" in told["brevity >= 0.9"][1]
    assert told["raises >= 0.1"] == ("fail", "1 of 1 are unscored")


async def test_a_folder_of_cases_names_a_metric_of_code(tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    folder.mkdir()
    environment = {"id": "cases", "settings": {"metrics": [coded("brevity")], "thresholds": {"brevity": 0.5}}}
    parts = {"environment": environment, "world": "world.json", "scenarios": "scenarios.json"}
    for name, value in (
        ("caseharden.yaml", {**parts, "instructions": "instructions.md"}),
        ("world.json", tickets(1)),
        ("scenarios.json", [closing(1, split="train")]),
    ):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    (folder / "instructions.md").write_text(INSTRUCTIONS, encoding="utf-8")
    async with coded_bench(tmp_path) as bench:
        await bench.environments.import_folder(str(folder))
        run = (await bench.runs.start("cases")).run
    assert run.metrics["brevity"].scored == 1
    assert [found.threshold for found in run.thresholds] == ["max_errors <= 0", "brevity >= 0.5"]
    async with coded_bench(tmp_path, allow=False) as bench:
        with pytest.raises(NotAllowed, match="not run here") as refused:
            await bench.environments.import_folder(str(folder), "again")
    assert "--allow-code DIR" in str(refused.value.allowed)


async def test_a_changed_module_that_the_file_imports_is_another_metric_and_is_loaded_anew(
    tmp_path: Path,
) -> None:
    code = tmp_path / "code"
    (code / "kit").mkdir(parents=True)
    (code / "metrics.py").write_text(
        "import outside_kit\nfrom kit import words\n\ndef counted(conversation):\n"
        "    return {'value': 1, 'why': words.WHY}\n",
        encoding="utf-8",
    )
    (code / "kit" / "__init__.py").write_text("", encoding="utf-8")
    (code / "kit" / "words.py").write_text("from .deep import WHY\n", encoding="utf-8")
    deep, other = code / "kit" / "deep.py", code / "other.py"
    deep.write_text("WHY = 'first'\n", encoding="utf-8")
    async with coded_bench(tmp_path) as bench:
        await played(bench, TALK, {"said": "closed"})
        await bench.runs.start("desk", metrics=[coded("counted")])
        assert (await values(bench))["counted"].why == "first"
        other.write_text("nobody = 'imports this'\n", encoding="utf-8")
        await bench.scores.score("run-1", metrics=[coded("counted")])
        deep.write_text("WHY = 'second'\n", encoding="utf-8")
        stale = (await bench.runs.start("desk", continue_run="run-1", metrics=[coded("counted")])).run
        assert (await values(bench, stale.id))["counted"].why == "second"
        await bench.scores.score("run-1", metrics=[coded("counted")])
        assert (await values(bench))["counted"].why == "second"


def test_the_hash_is_that_of_the_file_alone_where_it_imports_nothing_from_beside_it(tmp_path: Path) -> None:
    inside, file = tmp_path / "in", tmp_path / "in" / "m.py"
    inside.mkdir()
    (tmp_path / "far.py").write_text("x = 1\n", encoding="utf-8")
    (inside / "link.py").symlink_to(tmp_path / "far.py")
    file.write_text("import json, far, link\nfrom . import nothing\nfrom .. import far\n", encoding="utf-8")
    alone = hashlib.sha256(file.read_bytes()).hexdigest()
    assert hash_of(file, inside) == alone
    (inside / "ring.py").write_text("import m, ring\n", encoding="utf-8")
    file.write_text("def f():\n    import ring\n", encoding="utf-8")
    first = hash_of(file, inside)
    assert first != hashlib.sha256(file.read_bytes()).hexdigest()
    (inside / "ring.py").write_text("import m, ring  # else\n", encoding="utf-8")
    assert hash_of(file, inside) != first
    file.write_text("def broken(:", encoding="utf-8")
    assert hash_of(file, inside) == hashlib.sha256(file.read_bytes()).hexdigest()


async def test_metrics_of_one_conversation_are_answered_at_the_same_time(tmp_path: Path) -> None:
    """Each waits until the other has begun: one after the other would never end."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "metrics.py").write_text(
        "import time\nfrom pathlib import Path\n\n"
        "def meet(own, other):\n"
        "    here = Path(__file__).parent\n"
        "    (here / own).touch()\n"
        "    while not (here / other).exists():\n"
        "        time.sleep(0.01)\n"
        "    return {'value': 1, 'why': 'met'}\n\n"
        "def left(conversation):\n    return meet('l', 'r')\n\n"
        "def right(conversation):\n    return meet('r', 'l')\n",
        encoding="utf-8",
    )
    async with coded_bench(tmp_path) as bench:
        await played(bench, TALK, {"said": "closed"})
        await bench.runs.start("desk", metrics=[coded("left"), coded("right")], wait_s=45)
        found = await values(bench)
    assert [found[name].why for name in ("left", "right")] == ["met", "met"]

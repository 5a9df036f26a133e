"""Labels by people: from files, from a sitting in the terminal, of a played session; blind to what the judge said."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument, NotAllowed
from caseharden.engine.workbench import Workbench
from caseharden.tests.commanded import commanded
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.judge_desk import Asked, judged_by, judged_desk, judging, score, verdict
from caseharden.tests.workbench_cases import bench_at

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-18")]
POLITE = {"id": "polite", "judge": "The agent is polite."}
WHY = "Spoken like a plover."


def strict(asked: Asked) -> Mapping[str, Any]:
    """Fails everything for a reason of its own, and gives a two."""
    return {"c1": verdict("fail", why=WHY), "helpfulness": score(2)}


@asynccontextmanager
async def judged(home: Path) -> AsyncGenerator[Workbench]:
    """run-1 of three conversations whose agent was found impolite."""
    with FakeEndpoint(judging(strict)) as endpoint:
        async with bench_at(home, [home]) as bench:
            await judged_desk(bench, 3, POLITE)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["helpfulness"])
            yield bench


LABELS: list[dict[str, Any]] = [
    {"conversation": "run-1/close-1/1", "check": "polite", "label": "fail"},
    {"conversation": "close-2/1", "check": "polite", "label": "pass", "by": "dana"},
    {"conversation": "close-1/1", "check": "helpfulness", "label": 3},
]
FILES = {
    "labels.json": json.dumps({"labels": LABELS}),
    "list.json": json.dumps(LABELS),
    "labels.jsonl": "\n".join(json.dumps(row) for row in LABELS),
    "labels.csv": "\ufeffconversation,check,label,by,note\r\n"
    'run-1/close-1/1,polite,fail,,\r\nclose-2/1,polite,pass,dana,"kind, I think"\r\nclose-1/1,helpfulness,3,,\r\n',
}


@pytest.mark.parametrize("name", FILES)
async def test_labels_are_read_from_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name].encode())
    async with judged(tmp_path) as bench:
        report = await bench.scores.score("run-1", labels=[{"file": str(tmp_path / name)}])
        found = report.run.agreement
        assert found is not None
        assert (found.labels, found.compared, found.agree) == (3, 3, 1)
        assert found.by_check["polite"].confusion == {"fail": {"fail": 1}, "pass": {"fail": 1}}
        assert found.disagree[0] == {
            "conversation": "run-1/close-1/1",
            "check": "helpfulness",
            "label": 3,
            "judge": 2,
            "why": "It is so.",
        }


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "conversation,check\nclose-1/1,polite\n", "no column `label`"),
        ("b.json", '{"labels": 3}', "holds no list of labels"),
        ("c.csv", 'conversation,check,label\nclose-1/1,polite,"open\n', "no CSV"),
        ("d.json", '[{"conversation": "close-9/1", "check": "polite", "label": "pass"}]', "no conversation"),
        (
            "e.json",
            '[{"conversation": "close-1/1", "check": "kind", "label": "pass"}]',
            "no check and no metric",
        ),
        ("f.json", '[{"conversation": "close-1/1", "check": "polite", "label": "maybe"}]', "is no verdict"),
        ("g.json", '[{"conversation": "close-1/1", "check": "polite", "lable": "pass"}]', "lable"),
        ("h.json", "[3]", "labels[1].file, row 1"),
    ],
)
async def test_a_file_with_a_mistake_is_refused_whole_with_its_place(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)
    async with judged(tmp_path) as bench:
        with pytest.raises(InvalidArgument) as refused:
            await bench.scores.score("run-1", labels=[LABELS[0], {"file": str(tmp_path / name)}])
        assert told in str(refused.value) or told in refused.value.where
        assert "labels[" in refused.value.where
        assert (await bench.items.get("run", "run-1", view="agreement")).item == {"labels": 0}


async def test_a_file_outside_the_allowed_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    async with judged(tmp_path / "in") as bench:
        with pytest.raises(NotAllowed, match="outside"):
            await bench.scores.score("run-1", labels=[{"file": str(tmp_path / "labels.json")}])


async def test_a_label_of_another_run_is_refused_and_a_number_may_stand_in_a_text(tmp_path: Path) -> None:
    row = {"conversation": "run-7/close-1/1", "check": "helpfulness", "label": "3"}
    async with judged(tmp_path) as bench:
        with pytest.raises(InvalidArgument, match="is of run-7, and run-1 is labelled"):
            await bench.scores.score("run-1", labels=[row])
        report = await bench.scores.score("run-1", labels=[{**row, "conversation": "run-1/close-1/1"}])
    assert report.run.agreement is not None
    assert report.run.agreement.by_check["helpfulness"].confusion == {"3": {"2": 1}}


async def test_what_is_to_be_labelled_is_shown_without_a_word_of_the_judge(tmp_path: Path) -> None:
    async with judged(tmp_path) as bench:
        tasks = await bench.scores.to_label("run-1")
        assert len(tasks) == 3
        assert [ask.check for ask in tasks[0].asks] == ["polite", "helpfulness"]
        assert "The agent is polite." in tasks[0].asks[0].asks
        assert WHY not in str(tasks) and "verdict" not in str(tasks)
        await bench.scores.score("run-1", labels=LABELS)
        left = {
            task.conversation: [ask.check for ask in task.asks]
            for task in await bench.scores.to_label("run-1")
        }
        assert left == {"run-1/close-2/1": ["helpfulness"], "run-1/close-3/1": ["polite", "helpfulness"]}


def labelling(home: Path, *words: str, typed: str = "") -> CompletedProcess[str]:
    return commanded("label", *words, typed=typed, CASEHARDEN_HOME=str(home))


def test_a_person_labels_in_the_terminal_and_sees_how_the_judge_agrees(tmp_path: Path) -> None:
    async def prepare() -> None:
        async with judged(tmp_path):
            pass

    anyio.run(prepare)
    done = labelling(tmp_path, "--by", "dana", typed="f\n3\nmaybe\n9\n\n/quit\n")
    assert (done.returncode, done.stderr) == (0, "")
    before, _, after = done.stdout.partition("run-1: the judge")
    assert "1 of 3  run-1/close-" in before and "The agent is polite." in before
    assert WHY not in before, "blind until all is said"
    assert "`maybe` is no verdict." in before and "is not on the scale" in before
    assert "agrees with 1 of 2 labels, kappa undefined over 1 of them, the verdicts" in after
    assert "you fail, judge fail: 1" in after
    assert "helpfulness: you 3, judge 2: It is so." in after
    again = labelling(tmp_path, "run-1", typed="/quit\n")
    assert "1 of 2  " in again.stdout
    (tmp_path / "labels.csv").write_text(FILES["labels.csv"])
    file = labelling(tmp_path, "run-1", "--file", str(tmp_path / "labels.csv"))
    assert file.returncode == 0, file.stderr
    assert "you pass, judge fail: 1" in file.stdout


async def test_the_ends_of_a_played_session_are_labelled_too(tmp_path: Path) -> None:
    with FakeEndpoint(judging(strict)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, POLITE)
            opened = await bench.sessions.start("desk", start="close-1", models=judged_by(endpoint))
            await bench.sessions.step(opened.session.id, action="reply", text="What a lovely day.")
            ended = await bench.sessions.step(opened.session.id, action="look")
            row = {"conversation": ended.conversation, "check": "polite", "label": "pass"}
            report = await bench.scores.score(ended.session.id, labels=[row])
    assert report.run.agreement is not None
    assert (report.run.agreement.labels, report.run.agreement.without) == (1, [])

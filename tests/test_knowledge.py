"""Claims against a knowledge base: passages found without a model, support, contradiction and invention told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument, NotAllowed
from caseharden.engine.evaluate import KnowledgeBase, passages_of
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.judge_desk import Asked, judged_by, judging, marked, played, says
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
FACTS = """# Refunds
A refund takes five working days. Refunds go to the card that was charged.

# Opening hours
The desk is open from nine to five.

# Warranty
A kettle has a warranty of two years.
"""
SAID = "Your refund takes two days, and the desk is open from nine to five. We also repair bicycles."
TALK = [{"by": "user", "say": "when?"}, {"by": "agent", "say": SAID}]


def claim(label: str, passage: str = "", turn: int = 1) -> dict[str, Any]:
    return {"claim": f"It is {label}.", "turn": turn, "label": label, "passage": passage}


def claims(*found: Mapping[str, Any]) -> dict[str, Any]:
    return {"ground_truth": {"why": "", "claims": list(found), "fix": "Look it up."}}


@pytest.mark.requirement("AS-10")
async def test_support_contradiction_and_invention_are_told_apart_with_the_passage(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Mapping[str, Any]:
        about = asked.questions["about"]
        named = {text.partition("\n")[0]: name for name, text in about.items()}
        assert {"Refunds", "Opening hours"} <= set(named)
        return claims(
            claim("contradicted", named["Refunds"]),
            claim("supported", named["Opening hours"]),
            claim("invented"),
            claim("not_checkable"),
        )

    with FakeEndpoint(judging(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, {"said": "refund"}, knowledge_base=FACTS)
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["ground_truth"])
            again = await bench.scores.score("run-1", metrics=["ground_truth"])
            [trial] = await marked(bench)
        assert len(endpoint.requests) == 1
    [found] = trial.graded.metrics
    assert found.value == pytest.approx(1 / 3)
    assert [one.label for one in found.findings] == ["contradicted", "supported", "invented", "not_checkable"]
    assert found.findings[0].passage in ("p1", "p2") and found.turns == [1]
    assert [one.quote.partition("\n")[0] for one in found.findings] == ["Refunds", "Opening hours", "", ""]
    assert again.run.metrics == report.run.metrics


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (claims(claim("contradicted", "p9")), "`p9` is no passage"),
        (claims(claim("supported")), "no passage shows it"),
        (claims(claim("wrong")), "label is none of"),
        (claims(claim("invented", turn=7)), "no turn 7"),
        ({"ground_truth": {"why": "", "claims": "none", "fix": ""}}, "claims is no list"),
    ],
)
async def test_claims_that_cite_what_is_not_there_are_unscored(
    tmp_path: Path, reply: Mapping[str, Any], why: str
) -> None:
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, {"said": "refund"}, knowledge_base=FACTS)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["ground_truth"])
            [trial] = await marked(bench)
    [found] = trial.graded.metrics
    assert found.value is None and why in found.unscored


async def test_a_conversation_that_no_passage_deals_with_needs_no_judge(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, {"said": "refund"}, knowledge_base="Whales are mammals.")
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["ground_truth"])
        assert endpoint.requests == []
    assert report.run.metrics["ground_truth"].does_not_apply == 1


async def test_without_a_knowledge_base_the_metric_is_refused(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await played(bench, TALK, {"said": "refund"})
        with pytest.raises(InvalidArgument, match="there is none"):
            await bench.runs.start("desk", metrics=["ground_truth"])


async def test_a_knowledge_base_may_be_a_file_below_a_root_and_goes_with_the_environment(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "kb.json").write_text(json.dumps({"refunds": {"days": 5}, "hours": ["nine", "five"]}))
    async with bench_at(tmp_path / "home", [root]) as bench:
        await played(bench, TALK, {"said": "refund"}, knowledge_base={"file": str(root / "kb.json")})
        [kept] = (tmp_path / "home" / "knowledge").glob("*.json")
        assert json.loads(kept.read_text()) == ["refunds.days: 5\nhours[0]: nine\nhours[1]: five"]
        item = await bench.items.get("environment", "desk", view="full")
        assert item.item["settings"]["knowledge_base"] == f"sha256:{kept.stem}"
        wrongs: tuple[Any, ...] = ({"file": "../../etc/passwd"}, {"file": 3}, "", [])
        for wrong in wrongs:
            with pytest.raises((InvalidArgument, NotAllowed)):
                await bench.items.update("environment", "desk", {"settings": {"knowledge_base": wrong}})
        await bench.items.delete("environment", ["desk"], confirm=True)
        assert not kept.exists()


def test_passages_are_short_keep_their_heading_and_are_found_by_their_words() -> None:
    long = "# Terms\n" + " ".join(f"word{n}" for n in range(600)) + "\n\nThe last clause is about zebras."
    found = passages_of([FACTS, long, FACTS])
    assert all(len(passage) <= 800 for passage in found) and len(set(found)) == len(found)
    assert sum(passage.startswith("Terms\n") for passage in found) >= 4
    base = KnowledgeBase(found)
    assert "zebras" in base.about(["Tell me of zebras."])["p1"]
    assert base.about(["kettle warranty"])["p1"].startswith("Warranty\n")
    assert base.about(["quantum"]) == {}
    assert base.about(["refund days"]) == base.about(["refund days"])


async def test_one_of_fifty_megabytes_is_refused_with_the_limit_and_nothing_is_half_made(
    tmp_path: Path,
) -> None:
    file = tmp_path / "large.md"
    file.write_text("# Refunds\nA refund takes five working days.\n\n" * 1_100_000)
    small = tmp_path / "small.md"
    small.write_text(FACTS)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        for large in ({"file": str(file)}, file.read_text()):
            with pytest.raises(InvalidArgument, match="too large") as refused:
                await bench.environments.create(
                    "desk", instructions="Help.", settings={"knowledge_base": large}
                )
            assert refused.value.where.startswith("settings") and "at most" in refused.value.allowed
        assert (await bench.items.page("environment")).total == 0
        settings = {"knowledge_base": {"file": str(small)}}
        made = await bench.environments.create("desk", instructions="Help.", settings=settings)
        assert made.created

"""Lists and views of everything that is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from caseharden.engine.errors import InvalidArgument, NotFound
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.listing import WHERE
from caseharden.engine.workbench.rows import evidence_row
from caseharden.engine.workbench.views import VIEWS
from caseharden.tests.workbench_cases import WORLDS, bench_at, desk

pytestmark = pytest.mark.anyio

RULE: list[dict[str, Any]] = [
    {"op": "add", "anchor": "end", "text": "Before calling close_ticket, call look_up_ticket."}
]


async def busy(bench: Workbench) -> dict[str, str]:
    """A desk on which everything has happened once; an id of each kind."""
    await desk(bench, 12)
    run = (await bench.runs.start("desk", wait_s=45)).run
    hardening = await bench.hardenings.harden("desk", strategy="submit", run=run.id, wait_s=45)
    await bench.hardenings.submit(hardening.hardening.id, edits=RULE, wait_s=45)
    return {
        "environment": "desk",
        "instructions": "desk@1",
        "persona": "desk/dana",
        "scenario": "desk/close-1",
        "simulation": "desk/close-1-dana",
        "run": run.id,
        "conversation": f"{run.id}/close-1-dana/1",
        "hardening": "hard-1",
        "candidate": "hard-1/c1",
        "job": "job-1",
        "session": (await bench.sessions.start("desk", start="close-1")).session.id,
        "world": "shop",
        "guide": "verdicts",
    }


async def test_every_kind_is_listed_and_shown_in_each_of_its_views(tmp_path: Path) -> None:
    guides = {"verdicts": "Pass, fail, inconclusive."}
    async with Workbench(tmp_path, worlds=WORLDS, guides=guides.get, guide_names=list(guides)) as bench:
        ids = await busy(bench)
        for kind, views in VIEWS.items():
            where = {"run": ids["run"]} if kind == "conversation" else {}
            page = await bench.items.page(kind, where=where, limit=100)
            assert ids[kind] in [row["id"] for row in page.items], kind
            assert page.total == len(page.items)
            for view in views:
                item = await bench.items.get(kind, ids[kind], view=view)
                assert item.item and item.summary, (kind, view)
                for path in item.untrusted:
                    assert path.startswith("item.")
            with pytest.raises(NotFound):
                await bench.items.get(kind, "desk/nothing" if "/" in ids[kind] else "nothing") if (
                    kind != "conversation"
                ) else await bench.items.get(kind, "run-9/close-1/1")
            with pytest.raises(InvalidArgument, match="view"):
                await bench.items.get(kind, ids[kind], view="sideways")
        overview = (await bench.items.page("overview")).items[0]
        assert overview["totals"]["runs"] == 1
        assert overview["average_pass_rate"] == 0.0
        assert overview["models"]["agent"]["model"].startswith("offline")


async def test_pages_walk_everything_once_and_cursors_belong_to_their_query(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        run = ids["run"]
        for kind, where in (
            ("scenario", {}),
            ("scenario", {"text": "close"}),
            ("scenario", {"split": "train"}),
            ("conversation", {"run": run}),
            ("conversation", {"run": run, "verdict": "fail"}),
            ("conversation", {"run": run, "text": "looked-up"}),
            ("job", {}),
            ("candidate", {}),
            ("candidate", {"hardening": ids["hardening"]}),
        ):
            seen: list[str] = []
            cursor = ""
            while True:
                page = await bench.items.page(kind, where=where, limit=3, cursor=cursor)
                seen += [row["id"] for row in page.items]
                cursor = page.next_cursor
                if not cursor:
                    break
            assert len(seen) == len(set(seen)) == page.total > 0, (kind, where)
        first = await bench.items.page("scenario", limit=3)
        with pytest.raises(NotFound, match="hard-9"):
            await bench.items.page("candidate", where={"hardening": "hard-9"})
        for kind, where in (("scenario", {"split": "train"}), ("persona", {}), ("candidate", {})):
            with pytest.raises(InvalidArgument, match="another query"):
                await bench.items.page(kind, where=where, limit=3, cursor=first.next_cursor)
        with pytest.raises(InvalidArgument, match="cursor"):
            await bench.items.page("scenario", cursor="nonsense")


async def test_filters_are_those_of_the_kind(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        for kind, allowed in WHERE.items():
            with pytest.raises(InvalidArgument) as wrong:
                await bench.items.page(kind, where={"verdit": "fail"})
            assert wrong.value.where == "where"
            assert all(name in wrong.value.allowed for name in allowed)
        fail = {"run": ids["run"], "verdict": "fail"}
        by = {
            "check": "rule.looked-up",
            "cluster": "k1",
            "scenario": "close-1",
            "persona": "dana",
            "simulation": "desk/close-1-dana",
        }
        for name, value in by.items():
            page = await bench.items.page("conversation", where={**fail, name: value}, limit=100)
            assert page.total == len(page.items) > 0, name
        with pytest.raises(InvalidArgument, match="no cluster"):
            await bench.items.page("conversation", where={**fail, "cluster": "k9"})
        with pytest.raises(InvalidArgument, match="by run"):
            await bench.items.page("conversation")
        with pytest.raises(InvalidArgument, match="no text"):
            await bench.items.page("scenario", where={"tag": 3})
        with pytest.raises(NotFound, match="nearest `desk`"):
            await bench.items.page("scenario", environment="dekk")
        for limit in (0, -1, 101, 10**9):
            with pytest.raises(InvalidArgument, match="limit"):
                await bench.items.page("scenario", limit=limit)
            with pytest.raises(InvalidArgument, match="limit"):
                await bench.items.get("run", ids["run"], view="clusters", limit=limit)


async def test_what_is_held_out_stands_in_no_list_in_full(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        scenarios = (await bench.items.page("scenario", limit=100, detail="full")).items
        hidden = [row for row in scenarios if row.get("split") == "held_out"]
        assert hidden and not any("scenario" in row for row in hidden)
        assert all("scenario" in row for row in scenarios if row not in hidden)
        conversations = (
            await bench.items.page("conversation", where={"run": ids["run"]}, limit=100, detail="full")
        ).items
        held_out = [row for row in conversations if row["split"] == "held_out"]
        told = {"id", "verdict", "end", "split"}
        assert held_out and all(set(row) == told for row in held_out)
        assert not any("goal" in row for row in hidden)
        for where in ({"check": "rule.looked-up"}, {"cluster": "k1"}, {"text": "look_up_ticket"}):
            found = await bench.items.page("conversation", where={"run": ids["run"], **where}, limit=100)
            assert found.total and all(row["split"] == "train" for row in found.items), where
        assert (
            await bench.items.page("scenario", where={"text": "Get ticket"}, limit=100)
        ).total == 12 - len(hidden)
        shown = await bench.items.get("scenario", str(hidden[0]["id"]))
        assert set(shown.item) <= {
            "id",
            "number",
            "split",
            "spent",
            "version",
            "solution",
            "simulations",
            "tags",
        }
        assert shown.summary == f"{hidden[0]['id']} (held_out, proven)." and not shown.warnings
        read = await bench.items.get("scenario", str(hidden[0]["id"]), view="full")
        assert read.item["expected"] and "counts as train" in read.warnings[0]
        assert (await bench.items.get("scenario", str(hidden[0]["id"]))).item["spent"] is True


async def test_parts_of_a_view_are_paged(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        turns: list[int] = []
        cursor = ""
        while True:
            item = await bench.items.get(
                "conversation", ids["conversation"], view="turns", limit=1, cursor=cursor
            )
            turns += [turn["turn"] for turn in item.item["turns"]]
            cursor = item.next_cursor
            if not cursor:
                break
        assert turns == list(range(1, len(turns) + 1)) and len(turns) > 1
        later = await bench.items.get("conversation", f"{ids['conversation']}@2", view="turns")
        assert [turn["turn"] for turn in later.item["turns"]] == turns[1:]
        with pytest.raises(InvalidArgument, match="cursor"):
            await bench.items.get("conversation", ids["conversation"], view="turns", cursor="-1")


async def test_a_held_out_summary_says_how_it_ended_and_not_why(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        rows = (await bench.items.page("conversation", where={"run": ids["run"]}, limit=100)).items
        hidden = next(row for row in rows if row["split"] == "held_out" and row["verdict"] == "fail")
        place = str(hidden["id"])
        scenario = f"desk/{place.split('/')[1].removesuffix('-dana').removesuffix('-omar')}"
        item = await bench.items.get("conversation", place)
        assert item.item == {
            "environment": "desk",
            "instructions": "desk@1",
            "verdict": "fail",
            "end": {"reason": hidden["end"]},
            "split": "held_out",
        }
        assert "looked-up" not in item.summary and not item.warnings
        assert (await bench.items.get("scenario", scenario)).item["spent"] is False
        read = await bench.items.get("conversation", place, view="checks")
        assert "counts as train" in read.warnings[0]
        assert (await bench.items.get("scenario", scenario)).item["spent"] is True


QUOTING = ("why", "cause", "changes", "calls", "user", "agent", "setup", "log", "delta")
"""Fields that may quote what was said or done."""


def quoting(value: Any, path: str) -> list[str]:
    """Paths of the fields below `value` that may quote."""
    if isinstance(value, list):
        return [found for one in cast("list[Any]", value) for found in quoting(one, f"{path}[]")]
    if not isinstance(value, dict):
        return []
    paths: list[str] = []
    fields = cast("dict[str, Any]", value)
    for name, one in fields.items():
        here = f"{path}.{name}"
        quotes = name in QUOTING and path != "item.models" and isinstance(one, str | list) and one != ""
        paths += [here] if quotes else quoting(one, here)
    return paths


async def test_what_quotes_a_talk_is_named_as_untrusted_and_stands_in_no_summary(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        seen: set[str] = set()
        for kind in ("conversation", "run", "hardening"):
            for view in VIEWS[kind]:
                item = await bench.items.get(kind, ids[kind], view=view)
                for path in quoting(item.item, "item"):
                    seen.add(f"{kind} {path}")
                    assert any(path.startswith(one) for one in item.untrusted), (kind, view, path)
                assert "was not called" not in item.summary
                assert ".." not in item.summary
        assert {
            "conversation item.turns[].checks[].why",
            "conversation item.turns[].changes",
            "conversation item.failed_checks[].why",
            "run item.clusters[].cause",
        } <= seen
        summary = (await bench.items.get("conversation", ids["conversation"])).summary
        assert "check rule.looked-up failed in turn" in summary


async def test_rounds_have_their_columns_and_name_no_trials(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        ids = await busy(bench)
        columns = {"number", "version", "total", "passed", "failed", "rate", "completed"}
        series = (await bench.items.get("run", ids["run"], view="rounds")).item["rounds"]
        assert columns <= set(series[0]) and (series[0]["number"], series[0]["version"]) == (1, "desk@1")
        rounds = (await bench.items.get("hardening", "hard-1", view="rounds")).item["rounds"]
        assert [row["number"] for row in rounds] == [0, 1]
        assert [row["version"] for row in rounds] == ["desk@1", "hard-1/c1"]
        for row in rounds:
            assert columns <= set(row) and "conversations" not in row
            assert "members" not in row.get("cluster", {})
        whole = (await bench.items.get("hardening", "hard-1", view="full")).item
        assert any(row["conversations"] for row in whole["rounds"])
        (row,) = (await bench.items.page("hardening", detail="full")).items
        assert [c["id"] for c in row["candidates"]] == [c["id"] for c in whole["candidates"]] == ["hard-1/c1"]


def test_evidence_names_no_check_of_a_held_out_scenario() -> None:
    regressions = [{"check": "a", "split": "train"}, {"check": "b", "split": "held_out"}]
    shown = evidence_row({"regressed_checks": 2, "regressions": regressions})
    assert shown == {"regressed_checks": 2, "regressions": regressions[:1]}

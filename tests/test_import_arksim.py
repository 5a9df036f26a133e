"""Files of ArkSim: scenarios in all its forms, configs, recorded results; and the way back, equal."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import MissingKey
from caseharden.engine.exchange.importer import as_object
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import EnvironmentReport
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
SCENARIOS: dict[str, Any] = {
    "schema_version": "v1",
    "scenarios": [
        {
            "scenario_id": "Refund Late",
            "user_id": "user_ann",
            "goal": "Get the order refunded.",
            "agent_context": "A shop's desk.",
            "user_profile": "You are Ann, a nurse.",
            "knowledge": [{"content": "The order is W1."}, {"content": "It came late."}],
            "origin": {"seed": 3},
            "assertions": [
                {
                    "type": "tool_calls",
                    "match_mode": "strict",
                    "expected": [
                        {"name": "get_order", "arguments": {"id": "W1"}, "arg_match_mode": "partial"},
                        {"name": "refund", "arguments": {"id": "W1"}, "arg_match_mode": "exact"},
                    ],
                },
                {
                    "type": "tool_calls",
                    "match_mode": "within",
                    "expected": [{"name": "get_order"}, {"name": "refund"}],
                },
            ],
        },
        {
            "scenario_id": "ask",
            "user_id": "user_ann",
            "goal": "Ask for the opening hours.",
            "agent_context": "",
            "user_profile": "You are Ann, a nurse.",
            "knowledge": [],
            "difficulty": "easy",
        },
    ],
}
MANUAL: dict[str, Any] = {
    "version": 2,
    "scenarios": [
        {
            "scenario_id": "return-item-001",
            "name": "Return",
            "description": "A damaged item",
            "category": "After Sales",
            "user_profile": {"name": "John Smith", "age": 35, "communication_style": "polite and direct"},
            "goal": {
                "primary": "Get a refund.",
                "secondary": ["Learn how long it takes."],
                "constraints": ["Only willing to wait 14 days"],
                "success_criteria": "Refund issued or replacement offered",
            },
            "knowledge": ["Order ORD-9", {"content": "It was scratched.", "source": "mail"}],
            "expected_behavior": {
                "should_mention_order_number": True,
                "should_request_photo": False,
                "tone": "calm",
            },
            "metrics": ["politeness"],
        },
        {
            "id": "scenario-001",
            "name": "Inquiry",
            "category": "support",
            "user_attributes": {"name": "Alice", "account_type": "premium"},
            "knowledge": ["A premium account"],
            "conversation": [
                {"turn": 1, "user": "What is this charge?", "goal": "Understand the charge"},
                {
                    "turn": 2,
                    "user": "Then take it off.",
                    "goal": "Dispute it",
                    "expected_behavior": "It asks for the date",
                },
            ],
        },
        {"scenario_id": "no-goal", "user_profile": {"name": "x"}},
        "no object",
    ],
}


def written(folder: Path, **files: Any) -> Path:
    """A folder of ArkSim with these files; a text stands as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        stem, _, suffix = name.rpartition("_")
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")
    return folder


async def taken(bench: Workbench, path: Path | str, id: str = "", **more: Any) -> EnvironmentReport:
    report = (await bench.imports.start(str(path), id, wait_s=45, **more)).report
    assert report is not None
    return report


async def scenario(bench: Workbench, id: str) -> dict[str, Any]:
    return (await bench.items.get("scenario", id, view="full")).item


def why(report: EnvironmentReport) -> dict[str, str]:
    return {row["what"]: row["why"] for row in report.lost}


@pytest.mark.requirement("AK-1")
async def test_scenarios_load_unchanged_with_all_assertions_and_unknown_fields_told(tmp_path: Path) -> None:
    folder = written(tmp_path / "shop", scenarios_json=SCENARIOS)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, folder)
        assert report.created and report.environment.id == "shop" and report.counts["simulations"] == 2
        assert report.counts["personas"] == 1, "two scenarios of one user"
        assert why(report) == {"field `difficulty`": "ArkSim has no such field"}
        one = await scenario(bench, "shop/refund-late")
    assert one["goal"] == "Get the order refunded." and one["agent_context"] == "A shop's desk."
    assert one["knowledge"] == ["The order is W1.", "It came late."] and one["persona"] == "user_ann"
    assert one["profile"] == "arksim"
    first, second, goal = one["success"]
    assert (first["match"], second["match"], goal["counts"]) == ("strict", "within", False)
    assert first["tool_calls"][1] == {
        "tool": "refund",
        "args": {"id": "W1"},
        "args_match": "exact",
        "own": True,
    }


CALLS: list[tuple[str, list[tuple[str, dict[str, Any]]], list[str]]] = [
    ("pass", [("get_order", {"id": "W1", "full": True}), ("refund", {"id": "W1"})], []),
    ("fail", [("refund", {"id": "W1"}), ("get_order", {"id": "W1"})], ["assertion-1"]),
    ("fail", [("get_order", {"id": "W1"}), ("refund", {"id": "W1", "why": "late"})], ["assertion-1"]),
    (
        "fail",
        [("get_order", {"id": "W1"}), ("refund", {"id": "W1"}), ("close_account", {})],
        ["assertion-1", "assertion-2"],
    ),
    ("fail", [], ["assertion-1"]),
]


@pytest.mark.requirement("AK-1")
@pytest.mark.parametrize(("verdict", "calls", "failed"), CALLS)
async def test_every_assertion_counts_for_the_agents_own_calls(
    tmp_path: Path, verdict: str, calls: list[tuple[str, dict[str, Any]]], failed: list[str]
) -> None:
    folder = written(tmp_path / "shop", scenarios_json=SCENARIOS)
    made = [
        {"by": "agent", "tool": name, "args": args, "kind": "own", "result": "ok"} for name, args in calls
    ]
    log = [{"by": "user", "say": "Hello"}, *made, {"by": "agent", "say": "Done."}]
    agent = {"kind": "recorded", "conversations": [{"scenario": "refund-late", "log": log}]}
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await taken(bench, folder)
        await bench.items.update("environment", "shop", {"agent": agent})
        await bench.runs.start("shop", select=["scenario:refund-late"], wait_s=45)
        (row,) = (await bench.items.page("conversation", where={"run": "run-1"})).items
        checks = (await bench.items.get("conversation", str(row["id"]), view="full")).item["verdict"]
    assert checks["verdict"] == verdict
    assert [check["id"] for check in checks["checks"] if check["verdict"] == "fail"] == failed


@pytest.mark.requirement("AK-1")
async def test_the_forms_of_the_manual_load_too(tmp_path: Path) -> None:
    folder = written(tmp_path / "shop", scenarios_json=MANUAL)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, folder, format="arksim")
        assert {(row["what"], row["why"]) for row in report.lost} == {
            ("knowledge", "only `content` is told to the user"),
            ("metric of a scenario", "no metric here has this name"),
            ("scenario", "it has no goal"),
            ("scenario", "it is no object"),
        }
        one = await scenario(bench, "shop/return-item-001")
        other = await scenario(bench, "shop/scenario-001")
        john = (await bench.items.get("persona", "shop/john-smith", view="full")).item
    assert one["goal"] == "Get a refund. Then: Learn how long it takes." and one["tags"] == ["after-sales"]
    assert "Only willing to wait 14 days" in one["guidelines"]
    assert [check.get("judge") for check in one["success"]][:4] == [
        "Refund issued or replacement offered",
        "The agent should mention order number",
        "The agent should not request photo",
        "Expected of the agent: tone: calm",
    ]
    assert other["persona"] == "alice"
    assert john["style"] == "polite and direct" and john["profile"].startswith("name: John Smith; age: 35")
    assert other["goal"] == "Understand the charge Then: Dispute it"
    assert [step for step in other["script"] if "user" in step] == [
        {"user": "What is this charge?"},
        {"user": "Then take it off."},
    ]
    assert other["success"][0] == {"id": "turn-2", "judge": "It asks for the date"}


@pytest.mark.requirement("AK-1")
@pytest.mark.parametrize("value", [SCENARIOS, MANUAL, MANUAL["scenarios"][:2]])
async def test_what_was_imported_is_exported_equal_and_a_change_only_where_it_was_made(
    tmp_path: Path, value: Any
) -> None:
    file: dict[str, Any] = copy.deepcopy({"scenarios": value} if isinstance(value, list) else value)
    listed: list[Any] = file.pop("scenarios")
    rows = [row for row in map(as_object, listed) if row and row.get("scenario_id") != "no-goal"]
    good: Any = rows if isinstance(value, list) else {**file, "scenarios": rows}
    folder = written(tmp_path / "shop", scenarios_json=good)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await taken(bench, folder)
        report = await bench.exports.export("shop", "arksim")
        back = json.loads(report.path.read_text(encoding="utf-8"))
        assert back == {"schema_version": "v1", **file, "scenarios": rows}
        names = [str(row["id"]) for row in (await bench.items.page("scenario")).items]
        await bench.items.update("scenario", sorted(names)[0], {"goal": "Something new."})
        report = await bench.exports.export("shop", "arksim", overwrite=True)
        changed = json.loads(report.path.read_text(encoding="utf-8"))["scenarios"]
    differing = [k for k, row in enumerate(changed) if row != rows[k]]
    assert len(differing) == 1 and changed[differing[0]]["goal"] == "Something new."


CONFIG = """
agent_config:
  agent_type: chat_completions
  agent_name: My Desk
  colour: red
  api_config:
    endpoint: http://127.0.0.1:9/v1/chat/completions
    headers: {Content-Type: application/json, Authorization: "Bearer ${ARK_DESK_KEY}"}
    body:
      model: m
      messages: [{role: system, content: You sell lamps.}]
scenario_file_path: ./cases/scenarios.json
num_conversations_per_scenario: 3
max_turns: 7
num_workers: auto
metrics_to_run: [goal_completion]
numeric_thresholds: {overall_score: 0.8}
speed: high
"""


@pytest.mark.requirement("AK-2")
async def test_a_config_becomes_agent_instructions_and_settings_and_every_other_key_is_told(
    tmp_path: Path,
) -> None:
    folder = written(tmp_path / "shop", config_yaml=CONFIG)
    written(folder / "cases", scenarios_json=SCENARIOS)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, folder)
        told = report.environment
        assert told.id == "my-desk" and told.agent.kind == "chat_completions"
        assert told.agent.headers == {"Authorization": "Bearer env:ARK_DESK_KEY"}
        assert told.agent.body == {"model": "m", "messages": "{{messages}}"} and told.agent.tools == "none"
        assert (told.settings.trials, told.settings.limits) == (3, {"max_turns": 7})
        text = (await bench.items.get("instructions", "my-desk@1", view="text")).item["text"]
        assert text == "You sell lamps."
        lost = why(report)
        assert told.settings.metrics == ["goal_completion", "arksim_score"]
        assert told.settings.thresholds == {"arksim_score": 0.8}
        for key in ("agent_config.colour", "speed"):
            assert f"key `{key}`" in lost
        with pytest.raises(MissingKey, match="ARK_DESK_KEY"):
            await bench.runs.start("my-desk", wait_s=45)
        assert (await bench.items.page("run")).total == 0, "nothing was begun"


@pytest.mark.requirement("AK-2")
@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (
            {"agent_type": "a2a", "agent_name": "d", "api_config": {"endpoint": "http://127.0.0.1:9/card"}},
            "a2a",
        ),
        (
            {"agent_type": "custom", "agent_name": "d", "custom_config": {"module_path": "./my_agent.py"}},
            "python",
        ),
        ({"agent_type": "smoke", "agent_name": "d"}, "smoke"),
        (None, ""),
    ],
)
async def test_an_agent_that_cannot_be_had_here_is_lost_and_the_cases_are_not(
    tmp_path: Path, agent: Any, kind: str
) -> None:
    config = {"scenario_file_path": "scenarios.json", **({"agent_config": agent} if agent else {})}
    folder = written(tmp_path / "shop", scenarios_json=SCENARIOS, config_json=config)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, folder)
        assert report.counts["scenarios"] == 2
        had = report.environment.agent.kind == kind
        assert had or any(row["what"] == "agent" and row.get("use") for row in report.lost), report.lost


async def test_a_secret_in_a_header_is_not_stored(tmp_path: Path) -> None:
    key = "sk-" + "a1B2" * 10
    folder = written(tmp_path / "shop", config_yaml=CONFIG.replace("${ARK_DESK_KEY}", key))
    written(folder / "cases", scenarios_json=SCENARIOS)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, folder)
        assert any("What looks like a secret" in warning for warning in report.warnings)
        assert any(row["what"] == "agent" for row in report.lost)
    stored = [file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert not any(key.encode() in data for data in stored)


MEASURED = """\
agent_config: {agent_type: chat_completions, api_config: {endpoint: http://127.0.0.1:9/v1}}
metrics_to_run: [helpfulness, tool_call_behavior_failure, my_metric, {name: warmth, rubric: "5: warm. 1: cold."},
  {name: odd, rubric: x, scale: [3, 3]}]
custom_metrics_file_paths: [./metrics.py]
numeric_thresholds: {helpfulness: 4, verbosity: 4, goal_completion: 7, my_metric: 1}
score_threshold: 0.6
qualitative_failure_labels: {agent_behavior_failure: [false information, disobey user request, rude], my_label: [x]}
"""


@pytest.mark.requirement("AK-2", "AK-17")
async def test_metrics_thresholds_and_labels_are_taken_over_and_what_is_python_is_told(
    tmp_path: Path,
) -> None:
    rows = [
        "coherence",
        "The agent is warm",
        {"name": "calm", "description": "The agent stays calm."},
        "my_metric",
    ]
    cases = {"scenarios": [{**SCENARIOS["scenarios"][0], "metrics": rows}]}
    folder = written(tmp_path / "shop", config_yaml=MEASURED, scenarios_json=cases)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, folder)
        settings = report.environment.settings
        page = await bench.items.page("scenario", environment=report.environment.id, detail="full")
        success = page.items[0]["scenario"]["success"]
    warmth = {"name": "warmth", "rubric": "5: warm. 1: cold.", "scale": [1, 5]}
    assert settings.metrics == ["helpfulness", warmth, "arksim_score", "verbosity", "agent_behavior_failure"]
    assert settings.thresholds == {
        "arksim_score": 0.6,
        "helpfulness": 4,
        "verbosity": 2,
        "agent_behavior_failure": ["false_information", "disobeyed_user"],
    }
    assert [one for one in success if one["id"].startswith("metric-")] == [
        {"id": "metric-1", "metric": "coherence", "counts": False},
        {"id": "metric-2", "judge": "The agent is warm", "counts": False},
        {"id": "metric-3", "judge": "The agent stays calm.", "counts": False},
    ]
    lost = [(row["what"], str(row.get("at"))) for row in report.lost]
    for what, where in (
        ("metric", "my_metric"),
        ("metric", "odd"),
        ("threshold", "goal_completion: 7"),
        ("threshold", "my_metric"),
        ("label", "rude"),
        ("labels of a metric", "my_label"),
        ("metric of a scenario", "my_metric"),
        ("key `custom_metrics_file_paths`", ""),
    ):
        assert any(one == what and where in at for one, at in lost), (what, where)

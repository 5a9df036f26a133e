"""ArkSim's results: past runs with the recorded scores, what is wrong in them, and a client that compares."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import CasehardenError, NotFound
from caseharden.tests.server_desk import desk as server
from caseharden.tests.test_import_arksim import SCENARIOS, taken, written
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio


def message(role: str, turn: int, text: str, calls: Any = None) -> dict[str, Any]:
    return {"turn_id": turn, "message_id": f"m{turn}", "role": role, "content": text, "tool_calls": calls}


def tool_call(name: str, error: str | None = None, **arguments: Any) -> dict[str, Any]:
    return {"id": "t", "name": name, "arguments": arguments, "result": "ok", "error": error, "source": None}


def talk(id: str, scenario_id: str, *messages: dict[str, Any]) -> dict[str, Any]:
    prompt: dict[str, Any] = {"simulated_user_prompt_template": "t", "variables": {}}
    return {
        "conversation_id": id,
        "scenario_id": scenario_id,
        "conversation_history": list(messages),
        "simulated_user_prompt": prompt,
    }


SIMULATION: dict[str, Any] = {
    "schema_version": "v1.1",
    "simulator_version": "v1",
    "simulation_id": "sim",
    "generated_at": "2026-01-01T00:00:00Z",
    "conversations": [
        talk(
            "a",
            "Refund Late",
            message("simulated_user", 0, "Refund W1."),
            message(
                "assistant", 0, "Refunded.", [tool_call("get_order", id="W1"), tool_call("refund", id="W1")]
            ),
            message("simulated_user", 1, "Thanks ###STOP###"),
        ),
        talk(
            "b",
            "Refund Late",
            message("simulated_user", 0, "Refund W1."),
            message("assistant", 0, "No.", [tool_call("close_account", "denied")]),
        ),
        talk("c", "unknown", message("simulated_user", 0, "Hi"), message("assistant", 0, "Hi")),
    ],
}


def scored(id: str, overall: float, goal: float, *labels: str) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [
        {
            "turn_id": k,
            "scores": [],
            "turn_score": 4.0,
            "turn_behavior_failure": label,
            "turn_behavior_failure_reason": "",
        }
        for k, label in enumerate(labels)
    ]
    return {
        "conversation_id": id,
        "goal_completion_score": goal,
        "goal_completion_reason": "",
        "turn_success_ratio": sum(label == "no failure" for label in labels) / len(labels),
        "overall_agent_score": overall,
        "evaluation_status": "Done",
        "turn_scores": turns,
    }


EVALUATION: dict[str, Any] = {
    "schema_version": "v1.1",
    "generated_at": "2026-01-01T00:00:00Z",
    "evaluator_version": "v1",
    "evaluation_id": "e",
    "simulation_id": "sim",
    "conversations": [
        scored("a", 0.625, 1.0, "no failure", "false information"),
        scored("b", 0.75, 0.0, "no failure"),
        scored("c", 1.0, 1.0, "no failure"),
    ],
    "unique_errors": [],
}


@pytest.mark.requirement("AK-9")
@pytest.mark.requirement("AK-14")
@pytest.mark.parametrize("named", ["simulation", "evaluation"])
async def test_results_are_past_runs_with_the_recorded_score_and_the_same_from_its_parts(
    tmp_path: Path, named: str
) -> None:
    folder = written(tmp_path / "shop", scenarios_json=SCENARIOS)
    written(folder / "results" / "simulation", simulation_json=SIMULATION)
    written(folder / "results" / "evaluation", evaluation_json=EVALUATION)
    file = folder / "results" / named / f"{named}.json"
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await taken(bench, folder)
        with pytest.raises(NotFound, match="Results belong to an environment"):
            await taken(bench, file)
        report = await taken(bench, file, "shop")
        assert report.taken["conversations"] == 2 and report.taken["scored"] == 3
        assert [row["what"] for row in report.lost] == ["conversation"], "of a scenario that is not there"
        compared = report.taken["compared"]
        assert compared["original_reward"]["as_recorded"] == 2 and compared["original_reward"]["other"] == []
        item = (await bench.items.get("conversation", "run-1/refund-late/1", view="full")).item
        verdict, conversation = item["verdict"], item["conversation"]
        assert verdict["verdict"] == "pass" and verdict["original_reward"] == pytest.approx(0.625)
        assert verdict["original_parts"] == {"turn_success": 0.5, "goal_completion": 1.0}
        assert conversation["end"]["reason"] == "user_stop"
        assert [entry["result"] for entry in conversation["log"] if "tool" in entry] == ["ok", "ok"]
        assert conversation["origin"]["x_source"]["evaluation"]["evaluation_status"] == "Done"
        other = (await bench.items.get("conversation", "run-1/refund-late/2", view="full")).item
        assert other["verdict"]["verdict"] == "fail" and other["verdict"]["original_reward"] == 0.75
        again = await taken(bench, file, "shop")
        assert again.taken["unchanged"] is True and (await bench.items.page("run")).total == 1
        report = await bench.exports.export("run-1", "csv")
        assert report.records == 2


FAULTS: dict[str, tuple[Callable[[Any, Any], None], str]] = {
    "a score above 1": (
        lambda s, e: e["conversations"][0].update(overall_agent_score=1.25, goal_completion_score=5),
        "1.25 is not within 0 and 1",
    ),
    "a score that its parts do not give": (
        lambda s, e: e["conversations"][0].update(overall_agent_score=0.9),
        "it is 0.9, and its parts give 0.625",
    ),
    "scores of another simulation": (
        lambda s, e: e.update(simulation_id="other"),
        "evaluation.json is of another simulation",
    ),
    "a call without a name": (
        lambda s, e: s["conversations"][1]["conversation_history"][1]["tool_calls"][0].update(name=None),
        "it has no name or arguments, or is not the agent's",
    ),
    "a conversation without messages": (
        lambda s, e: s["conversations"][1].update(conversation_history=[]),
        "it has no scenario, or no messages",
    ),
}


@pytest.mark.requirement("AK-14")
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_wrong_in_results_is_told_and_never_averaged(tmp_path: Path, fault: str) -> None:
    simulation, evaluation = copy.deepcopy(SIMULATION), copy.deepcopy(EVALUATION)
    spoil, told = FAULTS[fault]
    spoil(simulation, evaluation)
    folder = written(
        tmp_path / "shop", scenarios_json=SCENARIOS, simulation_json=simulation, evaluation_json=evaluation
    )
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await taken(bench, folder)
        report = await taken(bench, folder / "simulation.json", "shop")
        assert told in [row["why"] for row in report.lost]


@pytest.mark.parametrize(
    "text",
    [
        '{"scenarios": [], "scenario_id": 1}',
        '[{"scenario_id": "a"}]',
        '{"user_profile": 3}',
        '{"scenario_id": NaN}',
        '[{"user_profile": ' + "[" * 200 + "]" * 200 + "}]",
        '{"simulator_version": "1", "conversations": 7}',
        '{"evaluator_version": "1"}',
        '{"agent_config": 3}',
        '{"agent_config": {}, "scenario_file_path": "../../../etc/passwd"}',
    ],
)
async def test_files_from_which_nothing_can_be_taken_are_refused_and_nothing_is_stored(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "in" / "x.json"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    async with bench_at(tmp_path / "home", [tmp_path / "in"]) as bench:
        with pytest.raises(CasehardenError):
            await taken(bench, file)
        assert (await bench.items.page("environment")).total == 0


@pytest.mark.requirement("AK-14")
async def test_a_client_imports_a_project_and_its_results_and_compares(tmp_path: Path) -> None:
    folder = written(tmp_path / "shop", scenarios_json=SCENARIOS, simulation_json=SIMULATION)
    async with server(tmp_path / "home", roots=(tmp_path,)) as at:
        reply = await at.ok("import_environment", path=str(folder), format="arksim")
        assert reply["taken"]["scenarios"] == 2 and reply["lost"][0]["what"] == "field `difficulty`"
        reply = await at.ok("import_environment", path=str(folder / "simulation.json"), id="shop")
        assert reply["taken"]["conversations"] == 2
        back = await at.ok("export_run", source="shop", format="arksim", inline=True)
        assert json.loads(back["text"]) == SCENARIOS


async def test_results_go_to_the_scenario_of_their_own_id_whatever_its_slug(tmp_path: Path) -> None:
    ids = ("Late refund", "late-refund", "\u9000\u6b3e")
    scenarios = [
        {"scenario_id": id, "user_id": "u", "goal": f"Goal {k}.", "user_profile": "A nurse."}
        for k, id in enumerate(ids)
    ]
    talks = [
        talk(f"c{k}", id, message("simulated_user", 0, f"I am {k}."), message("assistant", 0, "Hi"))
        for k, id in enumerate(reversed(ids))
    ]
    folder = written(tmp_path / "shop", scenarios_json={"schema_version": "v1", "scenarios": scenarios})
    written(folder, simulation_json={**SIMULATION, "conversations": talks})
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await taken(bench, folder)
        report = await taken(bench, folder / "simulation.json", "shop")
        assert report.taken["conversations"] == 3 and not [
            r for r in report.lost if r["what"] == "conversation"
        ]
        rows = (await bench.items.page("conversation", where={"run": "run-1"}, limit=10)).items
        said: dict[str, str] = {}
        for row in rows:
            talked = (await bench.items.get("conversation", row["id"], view="full")).item["conversation"]
            scenario = (await bench.items.get("scenario", f"shop/{talked['scenario']}", view="full")).item
            said[scenario["goal"]] = talked["log"][0]["say"]
        assert said == {"Goal 0.": "I am 2.", "Goal 1.": "I am 1.", "Goal 2.": "I am 0."}

"""Files of other systems with wrong kinds of values in every place: a report or an error of ours, never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from caseharden.engine.errors import CasehardenError
from caseharden.engine.exchange.are import Are
from caseharden.engine.exchange.are_events import AreEvent
from caseharden.engine.exchange.arksim import ArkSim
from caseharden.engine.exchange.files import Roots
from caseharden.engine.exchange.importer import Imported, Importer, Losses
from caseharden.engine.exchange.sigma import Sigma
from caseharden.engine.exchange.signatures import tool_of
from caseharden.engine.exchange.tau2_bench import Tau2Bench
from caseharden.engine.exchange.tau_bench import TauBench
from caseharden.tests import made_up_tau, made_up_tau2
from caseharden.tests.test_import_are import TRACE, action, event, placed
from caseharden.tests.test_import_arksim import MANUAL, SCENARIOS
from caseharden.tests.test_import_arksim_results import EVALUATION, SIMULATION
from caseharden.tests.test_import_tau2_bench import results as tau2_results

HUGE: Final = 10**400
KINDS: Final[tuple[Any, ...]] = (None, True, -1, HUGE, "x", [], {}, [["a"]])
EVENTS: Final = 2000
CONFIG: Final[dict[str, Any]] = {
    "agent_config": {
        "agent_type": "chat_completions",
        "agent_name": "Desk",
        "api_config": {
            "endpoint": "http://127.0.0.1:9/v1",
            "headers": {"Authorization": "Bearer ${KEY}"},
            "body": {"messages": [{"role": "system", "content": "You sell lamps."}]},
        },
    },
    "scenario_file_path": "scenarios.json",
    "max_turns": 7,
    "num_workers": 2,
    "metrics_to_run": ["helpfulness", {"name": "kind", "rubric": "It is kind.", "scale": [1, 5]}],
    "numeric_thresholds": {"overall_score": 0.8},
    "qualitative_failure_labels": {"agent_behavior_failure": ["repetition"]},
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of every value inside a JSON value."""
    inside = cast("dict[str, Any]", value).items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inside = enumerate(cast("list[Any]", value))
    for key, one in inside:
        yield value, key
        yield from places(one)


def wrong(sample: Any) -> Iterator[Any]:
    """The sample with each of its values in turn replaced by each kind; the object is the same every time."""
    value = copy.deepcopy(sample)
    for holder, key in list(places(value)):
        right = holder[key]
        for kind in KINDS:
            holder[key] = copy.deepcopy(kind)
            yield value
        holder[key] = right


def read_all(importer: Importer, named: Path, file: Path, sample: Any) -> list[tuple[Any, ...]]:
    """The losses of every import that was no refusal; any other exception fails the test."""
    roots, told = Roots([named if named.is_dir() else named.parent]), list[tuple[Any, ...]]()
    for value in wrong(sample):
        file.write_text(json.dumps(value), encoding="utf-8")
        try:
            told.append(importer.read(named, roots).lost)
        except CasehardenError as error:
            assert error.what
    return told


def simulation_beside(place: Path) -> Path:
    """An evaluation's file beside its simulation."""
    (place / "simulation.json").write_text(json.dumps(SIMULATION), encoding="utf-8")
    return place / "evaluation.json"


@pytest.mark.parametrize(
    ("importer", "sample"),
    [
        pytest.param(Are(), {**TRACE, "events": TRACE["events"][:7:2] + TRACE["events"][1:4:2]}, id="are"),
        pytest.param(TauBench(), made_up_tau.results()[:1], id="tau-results"),
        pytest.param(
            Tau2Bench(),
            {**tau2_results(), "simulations": tau2_results()["simulations"][5:6]},
            id="tau2-results",
        ),
        pytest.param(ArkSim(), SCENARIOS, id="arksim"),
        pytest.param(ArkSim(), MANUAL, id="arksim-manual"),
        pytest.param(ArkSim(), SIMULATION, id="arksim-simulation"),
    ],
)
def test_a_wrong_kind_in_any_place_of_a_file_is_told_and_crashes_nothing(
    tmp_path: Path, importer: Importer, sample: Any
) -> None:
    assert any(read_all(importer, tmp_path / "one.json", tmp_path / "one.json", sample))


def test_a_wrong_kind_in_any_place_of_an_evaluation_crashes_nothing(tmp_path: Path) -> None:
    file = simulation_beside(tmp_path)
    assert any(read_all(ArkSim(), file, file, EVALUATION))


def test_a_wrong_kind_in_any_place_of_a_config_crashes_nothing(tmp_path: Path) -> None:
    placed(tmp_path, SCENARIOS, "scenarios.json")
    file = tmp_path / "config.json"
    assert any(read_all(ArkSim(), file, file, CONFIG))


def test_a_wrong_kind_in_any_place_of_a_state_crashes_nothing(tmp_path: Path) -> None:
    folder = made_up_tau2.domain(tmp_path / "tau2")
    assert any(read_all(Tau2Bench(), folder, folder / "db.json", {"tickets": {"t1": {"status": "open"}}}))
    world = made_up_tau2.world_folder(tmp_path / "sigma")
    assert any(read_all(Sigma(), world, world / "db.json", {"orders": {"#W1": {"total": 1}}}))


def test_a_wrong_kind_in_any_place_of_a_task_crashes_nothing(tmp_path: Path) -> None:
    sigma = made_up_tau2.world_folder(tmp_path / "sigma")
    tasks = json.loads((sigma / "tasks.json").read_text(encoding="utf-8"))
    assert any(read_all(Sigma(), sigma, sigma / "tasks.json", tasks[:2]))
    made_up_tau2.domain(tmp_path / "tau2")
    file = tmp_path / "tau2/data/tau2/domains/desk/tasks.json"
    (tmp_path / "tau2/src/tau2/domains/desk/data_model.py").unlink()
    task = made_up_tau2.tasks()[2]
    task["evaluation_criteria"] |= {"actions": [made_up_tau2.LOOK], "communicate_info": ["12"]}
    assert any(read_all(Tau2Bench(), tmp_path / "tau2", file, [task]))


def test_a_wrong_kind_in_any_place_of_a_signature_crashes_nothing() -> None:
    kind: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"a": kind, "b": {"items": {}}},
        "required": ["a"],
    }
    losses = Losses()
    for value in wrong({"function": {"name": "go", "description": "d", "parameters": schema}}):
        tool_of(value, losses, "tools")
    assert losses.rows


@pytest.mark.parametrize(
    ("text", "db"),
    [
        ("d = 2020-01-02\nt = 10:00:00", {"d": "2020-01-02", "t": "10:00:00"}),
        ("x = nan", {}),
        (f"x = {'9' * 5000}", {}),
        (f"x = {'9' * 400}", {}),
    ],
)
def test_toml_becomes_json_values_or_a_loss(tmp_path: Path, text: str, db: dict[str, Any]) -> None:
    folder = made_up_tau2.domain(tmp_path)
    (folder / "db.json").unlink()
    (folder / "db.toml").write_text(text, encoding="utf-8")
    made = Tau2Bench().read(tmp_path, Roots([tmp_path]))
    assert made.cases is not None and (made.cases.world_data or {})["db"] == db
    assert bool(db) != any(row["what"] == "data of db" and row["at"] for row in made.lost)


@pytest.mark.parametrize("reward", [-7, True, HUGE, "1", [1]], ids=["-7", "true", "huge", "text", "list"])
def test_a_reward_out_of_range_is_lost_and_told_in_every_format(tmp_path: Path, reward: Any) -> None:
    tau = [{**made_up_tau.results()[0], "reward": reward}]
    tau2 = tau2_results()
    for row in tau2["simulations"]:
        row["reward_info"] = {"reward": reward}
    evaluation = copy.deepcopy(EVALUATION)
    for row in evaluation["conversations"]:
        row["overall_agent_score"] = reward
    simulation_beside(tmp_path)
    for importer, value in ((TauBench(), tau), (Tau2Bench(), tau2), (ArkSim(), evaluation)):
        made = importer.read(placed(tmp_path, value, "evaluation.json"), Roots([tmp_path]))
        (run,) = made.runs
        assert run.talks and all(talk.reward is None for talk in run.talks)
        assert any(row["why"].endswith("is not within 0 and 1") for row in made.lost)


def are(folder: Path, *events: dict[str, Any]) -> Imported:
    message = action("AgentUserInterface", "send_message_to_agent", content="Go.")
    value = {**TRACE, "completed_events": [], "events": [event("U", "USER", action=message), *events]}
    return Are().read(placed(folder, value), Roots([folder]))


@pytest.mark.parametrize("text", ["nan", "inf", "9" * 400], ids=["not a number", "infinite", "of 400 digits"])
@pytest.mark.parametrize("kind", ["float", "list", "int"])
def test_an_argument_that_no_file_can_hold_is_lost_alone(tmp_path: Path, text: str, kind: str) -> None:
    told = text if kind != "list" else f"[{text.replace('nan', 'NaN').replace('inf', 'Infinity')}]"
    args = [
        {"name": "n", "value": told, "value_type": kind},
        {"name": "m", "value": "1", "value_type": "int"},
    ]
    made = are(tmp_path, event("A", "AGENT", action={**action("App", "go"), "args": args}))
    assert made.cases is not None
    (step,) = made.cases.scenarios[0].value["expected"]
    assert step["args"] == {"m": 1}
    assert any(row["what"] == "argument" and row["at"] == ["trace.json, events[1], n"] for row in made.lost)


def test_an_order_that_is_lost_is_told(tmp_path: Path) -> None:
    go = action("App", "go")
    made = are(
        tmp_path,
        event("C", "CONDITION"),
        event("E", "ENV", "C", action=go),
        event("A", "AGENT", "C", "E", action=go),
    )
    told = {row["what"]: row for row in made.lost}
    assert told["dependency"]["count"] == 2 and told["dependency"]["at"][0] == "trace.json, events, a"
    assert told["event"]["count"] == 1


def test_two_thousand_events_after_as_many_messages_are_read_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(k: int) -> dict[str, Any]:
        return event(
            f"u{k}", "USER", action=action("AgentUserInterface", "send_message_to_agent", content=f"{k}")
        )

    def happen(k: int) -> dict[str, Any]:
        return event(f"e{k}", "ENV", f"u{k}", action=action("App", "go", n=k))

    lines = [made(k) for made in (say, happen) for k in range(EVENTS)]
    waiting = [event(f"w{k}", "ENV", f"w{k + 1}", action=action("App", "go")) for k in range(EVENTS)]
    compared = [0]
    equal = AreEvent.__eq__

    def counted(self: AreEvent, other: object) -> bool:
        compared[0] += 1
        return equal(self, other)

    monkeypatch.setattr(AreEvent, "__eq__", counted)
    made = are(tmp_path, *lines, *waiting, event(f"w{EVENTS}", "CONDITION"))
    assert made.cases is not None
    rows = made.cases.scenarios[0].value["events"]
    assert [row.get("at_turn") for row in rows] == [k + 2 for k in range(EVENTS)]
    assert next(row["count"] for row in made.lost if row["what"] == "event") == EVENTS
    assert compared[0] < 10 * EVENTS

"""The example that replays recorded conversations: on a small benchmark of our own, through a real server."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.world import CallOutcome, Scene, compile_world

EXAMPLE = Path(__file__).parents[1] / "examples" / "recorded_benchmark"
STOP = "###STOP###"


def test_every_verdict_equals_the_recorded_reward(tmp_path: Path) -> None:
    done = replay(benchmark(tmp_path, rows()))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "environment airline: 2 flights, 2 reservations, 1 users, 14 tools"
    assert [line for line in lines if "expected solution" in line] == [
        f"task {number}: expected solution of {calls} calls is proven"
        for number, calls in ((0, 1), (1, 2), (2, 1))
    ]
    assert [line for line in lines if " trial " in line] == [
        "task 0 trial 1: pass, end user_stop; recorded reward 1: equal",
        "task 0 trial 2: fail (world), end user_stop; recorded reward 0: equal",
        "task 0 trial 3: fail (end.max_tool_calls), end max_tool_calls; recorded reward 0: equal",
        "task 1 trial 1: pass, end user_stop; recorded reward 1: equal",
        "task 1 trial 2: fail (world), end terminal; recorded reward 0: equal",
        "task 2 trial 1: pass, end user_stop; recorded reward 1: equal",
        "task 2 trial 2: fail (told-1), end user_stop; recorded reward 0: equal",
    ]
    assert lines[-1] == "7 of 7 verdicts equal the recorded rewards"


def test_a_reward_that_does_not_fit_is_shown_and_ends_in_1(tmp_path: Path) -> None:
    recorded = rows()
    recorded[-1]["expected"]["reward"] = 1.0
    done = replay(benchmark(tmp_path, recorded))
    assert done.returncode == 1, done.stderr
    assert "task 2 trial 2: fail (told-1), end user_stop; recorded reward 1: DIFFERENT" in done.stdout
    assert done.stdout.splitlines()[-1] == "6 of 7 verdicts equal the recorded rewards"


def test_a_task_that_is_not_there_ends_in_2(tmp_path: Path) -> None:
    done = replay(benchmark(tmp_path, rows()), tasks="0,9")
    assert done.returncode == 2
    assert done.stderr == "error: There is no task 9; airline/tasks.json holds 0 to 2.\n"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2 + 3 * 4", 14),
        ("(1859 - 140) * 2 + (1679 - 101)", 5016),
        ("8 / 4 / 2 - 1.5", -0.5),
        ("-(2 - 5) * 2", 6),
        ("1 / (2 - 2)", "1 / (2 - 2) divides by zero"),
        ("(1 + 2", "(1 + 2 is not complete"),
        ("1 + 2)", "a parenthesis of 1 + 2) has no partner"),
        ("2 3", "2 3 is not complete"),
        ("", " is not complete"),
        ("__import__('os')", "cannot read __import__ in __import__('os')"),
    ],
)
def test_the_calculator_written_in_steps_works_it_out_or_says_why_not(expression: str, result: Any) -> None:
    assert call("calculate", expression=expression).result == result


def test_a_booking_charges_each_payment_and_a_wrong_sum_changes_nothing() -> None:
    booking: dict[str, Any] = {
        "user_id": "ada_byron_1",
        "origin": "AAA",
        "destination": "BBB",
        "flight_type": "one_way",
        "cabin": "economy",
        "flights": [{"flight_number": "F1", "date": "2024-05-20"}],
        "passengers": [{"first_name": "Ada", "last_name": "Byron", "dob": "1990-01-01"}],
        "total_baggages": 0,
        "nonfree_baggages": 0,
        "insurance": "yes",
        "payment_methods": [{"payment_id": "gift_card_1", "amount": 130}],
    }
    made = call("book_reservation", **booking)
    assert made.ok
    assert made.result["flights"][0]["price"] == 100
    assert {patch.record()["path"] for patch in made.patches} == {
        "db.users.ada_byron_1.payment_methods.gift_card_1.amount",
        "db.reservations.HATHAT",
        "db.users.ada_byron_1.reservations[2]",
    }
    refused = call("book_reservation", **{**booking, "insurance": "no"})
    assert (refused.result, refused.patches) == ("the total price is 100, but 130 was paid", ())


def call(tool: str, **arguments: Any) -> CallOutcome:
    """One call in a fresh world."""
    document = {**json.loads((EXAMPLE / "world.json").read_text(encoding="utf-8")), "db": state()}
    scene = Scene(compile_world(load(World, document, "world")), (0, "s", 1))
    return scene.call(tool, arguments, "agent")


def replay(folder: Path, tasks: str = "all") -> subprocess.CompletedProcess[str]:
    """The script as a person runs it, with a data folder of its own."""
    script = str(EXAMPLE / "replay_recorded.py")
    command = [sys.executable, script, str(folder), "--tasks", tasks, "--home", str(folder.parent / "home")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def benchmark(folder: Path, recorded: list[dict[str, Any]]) -> Path:
    """A data folder in the shapes that the script reads."""
    data = folder / "data"
    for name in ("airline", "tau"):
        (data / name).mkdir(parents=True)
    (data / "airline" / "state.json").write_text(json.dumps(state()), encoding="utf-8")
    (data / "airline" / "policy.md").write_text("# Policy\nBe kind.\n", encoding="utf-8")
    (data / "airline" / "tasks.json").write_text(json.dumps(tasks()), encoding="utf-8")
    packed = gzip.compress(json.dumps(recorded).encode())
    (data / "tau" / "tau1_airline_trajectories.json.gz").write_bytes(packed)
    return data


def state() -> dict[str, Any]:
    def flight(number: str, origin: str, destination: str, price: int) -> dict[str, Any]:
        day = {
            "status": "available",
            "available_seats": {"basic_economy": 1, "economy": 4, "business": 4},
            "prices": {"basic_economy": price // 2, "economy": price, "business": 3 * price},
        }
        return {
            "flight_number": number,
            "origin": origin,
            "destination": destination,
            "scheduled_departure_time_est": "08:00:00",
            "scheduled_arrival_time_est": "10:00:00",
            "dates": {"2024-05-20": day, "2024-05-01": {"status": "landed"}},
        }

    def reservation(id: str, number: str, price: int) -> dict[str, Any]:
        leg = {"origin": "AAA", "destination": "BBB", "flight_number": number, "date": "2024-05-20"}
        return {
            "reservation_id": id,
            "user_id": "ada_byron_1",
            "origin": "AAA",
            "destination": "BBB",
            "flight_type": "one_way",
            "cabin": "business",
            "flights": [{**leg, "price": price}],
            "passengers": [{"first_name": "Ada", "last_name": "Byron", "dob": "1990-01-01"}],
            "payment_history": [{"payment_id": "gift_card_1", "amount": price}],
            "created_at": "2024-05-02T03:10:19",
            "total_baggages": 0,
            "nonfree_baggages": 0,
            "insurance": "no",
        }

    return {
        "flights": {"F1": flight("F1", "AAA", "BBB", 100), "F2": flight("F2", "BBB", "CCC", 80)},
        "reservations": {"R1": reservation("R1", "F1", 300), "R2": reservation("R2", "F1", 290)},
        "users": {
            "ada_byron_1": {
                "name": {"first_name": "Ada", "last_name": "Byron"},
                "payment_methods": {
                    "gift_card_1": {"source": "gift_card", "amount": 150, "id": "gift_card_1"}
                },
                "reservations": ["R1", "R2"],
            }
        },
    }


DOWNGRADE: dict[str, Any] = {
    "reservation_id": "R1",
    "cabin": "economy",
    "flights": [{"flight_number": "F1", "date": "2024-05-20"}],
    "payment_id": "gift_card_1",
}
LOOK = {"user_id": "ada_byron_1"}
CANCEL = {"reservation_id": "R2"}


def tasks() -> list[dict[str, Any]]:
    def task(id: int, instruction: str, actions: list[tuple[str, Any]], *outputs: str) -> dict[str, Any]:
        return {
            "task_id": id,
            "user_id": "ada_byron_1",
            "instruction": instruction,
            "actions": [{"name": name, "kwargs": arguments} for name, arguments in actions],
            "outputs": list(outputs),
        }

    return [
        task(0, "Put R1 into economy and ask what comes back.", [("update_reservation_flights", DOWNGRADE)]),
        task(1, "Cancel R2.", [("get_user_details", LOOK), ("cancel_reservation", CANCEL)]),
        task(2, "Ask what both bookings cost together.", [("get_user_details", LOOK)], "590"),
    ]


def rows() -> list[dict[str, Any]]:
    """Of each task one that passed and one that failed, and one that was cut off behind the right change."""
    downgrade, cancel = done("update_reservation_flights", DOWNGRADE), done("cancel_reservation", CANCEL)
    wrong = done("update_reservation_flights", {**DOWNGRADE, "flights": [], "payment_id": "card_9"})
    transfer = done("transfer_to_human_agents", {"summary": "wants to cancel"})
    price = done("calculate", {"expression": "300 + 290"})
    thanks = f"Thank you. {STOP}"
    return [
        row(0, 0, 1.0, said("Shall I?", "Yes, please."), downgrade, said("Done: 200 dollars.", thanks)),
        row(0, 1, 0.0, wrong, said("That does not work.", STOP)),
        row(0, 2, 0.0, downgrade, terminated=False),
        row(1, 0, 1.0, done("get_user_details", LOOK), cancel, said("It is cancelled.", thanks)),
        row(1, 1, 0.0, transfer),
        row(2, 0, 1.0, price, said("Together $590.00.", thanks)),
        row(2, 1, 0.0, price, said("You will find it in R590.", thanks)),
    ]


def row(
    task: int, trial: int, reward: float, *steps: dict[str, Any], terminated: bool = True
) -> dict[str, Any]:
    return {
        "task_id": task,
        "trial": trial,
        "first_user_message": "Hello, I am ada_byron_1.",
        "steps": list(steps),
        "expected": {"terminated": terminated, "reward": reward},
    }


def done(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "observation": ""}


def said(text: str, answer: str) -> dict[str, Any]:
    return {"say": text, "user": answer}

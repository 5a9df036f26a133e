"""Runs over a model endpoint on the loopback: an environment whose user and agent are played by it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat

TURNS = 3
SAID = "It is on its way."


def talk() -> Answer:
    """What both sides say when nothing is wrong."""
    return chat(SAID)


def every(nth: int, answer: Answer, model: str = "") -> Callable[[Seen], Answer]:
    """The answer to every nth new request to a model ("": to any); talk to all others, and when it is asked again."""
    known: set[bytes] = set()
    lock = threading.Lock()

    def answering(seen: Seen) -> Answer:
        if model and seen.json["model"] != model:
            return talk()
        with lock:
            new = seen.body not in known
            known.add(seen.body)
            return answer if new and len(known) % nth == 0 else talk()

    return answering


def of_order(number: int, answer: Answer) -> Callable[[Seen], Answer]:
    """The answer to the user's model in the conversations about one order, and talk to all others."""
    return lambda seen: answer if order_of(seen) == number else talk()


def order_of(seen: Seen) -> int:
    """The order that a request to the user's model is about; 0: it is to the agent's."""
    sheet = str(seen.json["messages"][0]["content"])
    _, found, rest = sheet.partition("refund for order ")
    return int(rest.partition(".")[0]) if found else 0


def begun(endpoint: FakeEndpoint) -> list[int]:
    """The orders of the conversations that were begun, one for each time."""
    first = [seen for seen in endpoint.requests if len(seen.json["messages"]) == 2]
    return sorted(order for seen in first if (order := order_of(seen)))


def models_at(endpoint: FakeEndpoint, **more: Any) -> dict[str, Any]:
    """The models of both roles, with settings of theirs."""
    return {role: {"model": f"{role}-1", "base_url": endpoint.base_url, **more} for role in ("agent", "user")}


def scenarios(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"order-{n}",
            "goal": f"Get a refund for order {n}.",
            "limits": {"max_turns": TURNS},
            "success": [{"id": "answered", "said": "on its way"}],
        }
        for n in range(1, count + 1)
    ]


async def shop(
    bench: Workbench,
    endpoint: FakeEndpoint,
    count: int = 10,
    *,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """The environment `shop` with so many scenarios; `more` is for its models."""
    models = models_at(endpoint, **more)
    await bench.environments.create("shop", instructions="You help.", models=models, settings=settings)
    await bench.scenarios.create("shop", scenarios(count), check=False)


def write_folder(folder: Path, endpoint: FakeEndpoint, count: int, settings: Mapping[str, Any]) -> None:
    """The same as a folder for the command line."""
    folder.mkdir(parents=True)
    environment = {"id": "shop", "models": models_at(endpoint), "settings": dict(settings)}
    parts = {"environment": environment, "instructions": "instructions.md", "scenarios": "scenarios.json"}
    (folder / "caseharden.yaml").write_text(json.dumps(parts))
    (folder / "instructions.md").write_text("You help.\n")
    (folder / "scenarios.json").write_text(json.dumps(scenarios(count)))

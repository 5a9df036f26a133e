"""What the worker of metrics runs: a function of others on a conversation of ours.

Standard library only, and its neighbour by path; see `engine/processes/worker.py`. A question and its answer:

    {"python": "FILE.py:name", "conversation": {...}} -> {"said": whatever the function gives}

What the code raises, also when it is loaded, is told as an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Service:
    def __init__(self, load: Any) -> None:
        beside = str(Path(__file__).with_name("loading.py"))
        self.loader = load(beside, "caseharden_loading").Loader()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        return {"said": self.loader.find(question["python"])(question["conversation"])}


def open_service(settings: dict[str, Any], load: Any) -> Service:
    return Service(load)

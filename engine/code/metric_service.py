"""What the worker of metrics runs: a user's function on one of our conversations.

Standard library only, and its neighbour by path; see `engine/processes/worker.py`. A question and its answer:

    {"python": "FILE.py:name", "conversation": {...}} -> {"said": whatever the function returns}

Exceptions of the code, also while it is loaded, are sent as errors.
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

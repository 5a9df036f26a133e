"""What the worker runs: users' tools on our state, one call at a time.

Standard library only, and its neighbours by path; see `engine/processes/worker.py`. Questions:

    {"do": "base", "key": K, "root": {"db": ..., "user_db": ...}}     -> {"ok": true}
    {"do": "call", "key": K, "python": "FILE.py:Name", "style": S, "user": "", "side": "db", "args": {...},
     "keep": "kit_state", "writes": [[op, path, value], ...]}
        -> {"need": "base"}, or {"result": ..., "failed": "" | kind, "writes": [...]}

A base is kept for the calls that follow. An exception of the code is a result, and so is a failure to load it.
"""

from __future__ import annotations

import inspect
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

BASES = 3
"""Bases that are kept."""


class Service:
    def __init__(self, load: Any) -> None:
        here = Path(__file__).parent
        self.tracked = load(str(here / "tracked.py"), "caseharden_tracked")
        self.loader = load(str(here / "loading.py"), "caseharden_loading").Loader()
        self.toolkits = load(str(here / "toolkits.py"), "caseharden_toolkits")
        self.bases: OrderedDict[str, Any] = OrderedDict()
        self.lock = threading.Lock()

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            if question["do"] == "base":
                self.bases[question["key"]] = Base(question["root"], self.tracked, self.toolkits)
                while len(self.bases) > BASES:
                    self.bases.popitem(last=False)
                return {"ok": True}
            base = self.bases.get(question["key"])
            if base is None:
                return {"need": "base"}
            self.bases.move_to_end(question["key"])
            try:
                found = self.loader.find(question["python"])
            except Exception as error:
                return failed(f"its code does not load: {type(error).__name__}: {error}", "runtime")
            if question["style"] == "tau2":
                return base.toolkit(self.loader).call(found, question)
            return base.plain_call(found, question)


class Base:
    """The state at the start of every trial, and how tools see it."""

    def __init__(self, root: dict[str, Any], tracked: Any, toolkits: Any) -> None:
        self.root, self.tracked, self.toolkits = root, tracked, toolkits
        self.states: dict[str, Any] = {}
        self.kit: Any = None

    def toolkit(self, loader: Any) -> Any:
        if self.kit is None:
            self.kit = self.toolkits.Toolkits(self.root, loader, self.tracked)
        return self.kit

    def plain_call(self, found: Any, question: dict[str, Any]) -> dict[str, Any]:
        """Call a tool that gets its side of the state as plain objects and changes it in place."""
        side, style, args = question["side"], question["style"], question["args"]
        state = self.states.get(side)
        if state is None:
            state = self.states[side] = self.tracked.State(self.root[side])
        call = found.invoke if style == "tau1" else found
        try:
            state.prepare(
                [[op, path[1:], value] for op, path, value in question["writes"] if path[0] == side]
            )
            made = run(lambda: call(state.live, **args), call, args, style)
            made["writes"] = [[op, [side, *path], value] for op, path, value in state.writes()]
            return checked(self.tracked.plain(made))
        finally:
            state.put_back()


def run(make: Any, call: Any, args: dict[str, Any], style: str) -> dict[str, Any]:
    """The outcome of a call: in the tau styles `Error: ...` is a refusal, whether raised or returned."""
    try:
        result = make()
    except Exception as error:
        text = f"{error}" if style == "function" else f"Error: {error}"
        if isinstance(error, TypeError) and not fits(call, args, style):
            return failed(text, "arguments")
        return failed(
            text, "runtime" if style == "function" and not isinstance(error, ValueError) else "refused"
        )
    if style == "tau1" and isinstance(result, str) and result.startswith("Error"):
        return failed(result, "refused")
    return {"result": result, "failed": ""}


def fits(call: Any, args: dict[str, Any], style: str) -> bool:
    """Whether the function accepts these arguments."""
    try:
        inspect.signature(call).bind(*(() if style == "tau2" else (None,)), **args)
    except (TypeError, ValueError):
        return False
    return True


def failed(text: str, kind: str) -> dict[str, Any]:
    return {"result": text, "failed": kind, "writes": []}


def checked(made: dict[str, Any]) -> dict[str, Any]:
    """Return the answer if all of it is JSON, else a failure."""
    try:
        json.dumps(made, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return failed(f"it gave or wrote what is no JSON: {error}", "runtime")
    return made


def open_service(settings: dict[str, Any], load: Any) -> Service:
    return Service(load)

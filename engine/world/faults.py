"""Faults of tools: which of the agent's calls are hit, decided by call number or by draws, and what happens to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import did_you_mean
from ..records.happenings import Fault
from ..seeds import draw
from .compiled import CompiledWorld
from .mistakes import Mistakes
from .scene import CallOutcome, Scene

FAILED: Final = "{tool} failed: internal error. Try again later."
TIMED_OUT: Final = "{tool} timed out after {seconds:g} s."


def check_faults(world: CompiledWorld, faults: Sequence[Fault], where: str) -> None:
    """Raise InvalidArgument for every fault that hits no tool; `think` tools are never hit."""
    mistakes = Mistakes()
    names = [name for name, tool in world.tools.items() if tool.kind != "think"]
    for i, fault in enumerate(faults):
        if not any(fnmatchcase(name, fault.tool) for name in names):
            what = f"No tool matches `{fault.tool[:64]}`.{did_you_mean(fault.tool, names)}"
            mistakes.add(what, f"{where}[{i}].tool", sorted(names))
    mistakes.refuse()


class FaultPlan:
    """The faults of one trial. Whether a call is hit depends on its number among those of its tool, and on the key."""

    def __init__(self, faults: Sequence[Fault], key: tuple[int, str, int]) -> None:
        """`key` is (seed, simulation, trial)."""
        self._faults = faults
        self._key = key
        self._calls: Counter[str] = Counter()
        self._hits: Counter[int] = Counter()

    def call(self, scene: Scene, tool: str, args: Any, *, shown_name: bool) -> CallOutcome:
        """Make a call of the agent as usual, unless a fault hits it; the outcome says which."""
        name = (scene.own_name(tool) if shown_name else tool) or ""
        fault = self._due(scene, name)
        if fault is None:
            return scene.call(tool, args, "agent", shown_name=shown_name)
        if fault.mode in ("malformed", "empty"):
            outcome = scene.call(tool, args, "agent", shown_name=shown_name)
            return replace(outcome, result=_spoilt(outcome.text, fault.mode), injected=fault.mode)
        seconds = fault.delay_s if fault.mode == "timeout" else 0.0
        standard = TIMED_OUT if fault.mode == "timeout" else FAILED
        shown = tool if shown_name else scene.shown_name(name, "agent")
        text = fault.error or standard.format(tool=shown, seconds=seconds)
        return scene.call_lost(name, args, text, seconds, fault.mode)

    def _due(self, scene: Scene, name: str) -> Fault | None:
        """The first fault that hits this call, which is counted; None if none does."""
        tool = scene.world.tools.get(name)
        if tool is None or tool.kind == "think" or not scene.may_call(name, "agent"):
            return None
        self._calls[name] += 1
        number = self._calls[name]
        for i, fault in enumerate(self._faults):
            if fnmatchcase(name, fault.tool) and self._hit(i, fault, name, number):
                self._hits[i] += 1
                return fault
        return None

    def _hit(self, i: int, fault: Fault, name: str, number: int) -> bool:
        if fault.max is not None and self._hits[i] >= fault.max:
            return False
        if fault.p is None:
            return number in fault.on_calls
        return draw(*self._key, f"fault:{i}:{name}", number) < fault.p


def _spoilt(text: str, mode: str) -> str:
    """The reply cut in the middle, or emptied."""
    return "" if mode == "empty" else text[: (len(text) + 1) // 2]

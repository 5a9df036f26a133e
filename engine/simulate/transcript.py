"""What is written down while a trial goes on, and the record made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ..evaluate import Trace
from ..llm import ToolCall
from ..records.conversation import (
    Conversation,
    EmitEntry,
    End,
    EndReason,
    LogEntry,
    ModelUse,
    NotifyEntry,
    Patch,
    SayEntry,
    Speaker,
    StopEntry,
    TokenUsage,
    ToolEntry,
)
from ..world import CallOutcome, Patch as WorldPatch, Scene, Signal, delta
from .case import Case

_OF_THE_WALL = ("wall_s", "usage")


class Transcript:
    """The log of one trial, kept in step with its trace."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.log: list[LogEntry] = []
        self.trace: Trace | None = None
        """None until the initial state stands; what was logged before is the history."""
        self.turn = 0
        self.end: End | None = None
        self.uses: dict[str, ModelUse] = {}
        self.runtime_errors = 0
        self._calls = 0

    def begin(self, now: str) -> Trace:
        """The state is the initial one: from here on the trace follows."""
        self.trace = Trace(self._scene.state, now=now)
        for entry in self.log:
            self.trace.add(entry)
        return self.trace

    def say(self, by: Speaker, text: str, source: str, usage: TokenUsage | None = None) -> None:
        fields: dict[str, Any] = {"by": by, "say": text, "source": source}
        if usage is not None:
            fields["usage"] = usage
        self._add(SayEntry(**self._mark(), **fields))

    def call(self, outcome: CallOutcome, written: str, message: int, wall_s: float) -> None:
        """A call, and the signals and notices that it sent. `written`: the arguments as the model wrote them."""
        self._calls += 1
        readable = isinstance(outcome.args, dict)
        fields: dict[str, Any] = {
            "id": f"k{self._calls}",
            "by": outcome.by,
            "tool": outcome.tool,
            "args": outcome.args if readable else {},
            "kind": outcome.kind or "unknown",
            "ok": outcome.ok,
            "result": outcome.result,
            "wall_s": round(wall_s, 6),
        }
        if not readable:
            fields["raw"] = written
        if outcome.error is not None:
            fields["error"] = outcome.error
            self.runtime_errors += outcome.error == "runtime"
        if outcome.patches:
            fields["patches"] = patch_records(outcome.patches)
        if message:
            fields["message"] = message
        self._add(ToolEntry(**self._mark(), **fields))
        for signal in outcome.signals:
            self._signal(signal)

    def call_as_message(self, outcome: CallOutcome) -> ToolCall:
        """The call as a model would have made it."""
        return ToolCall(f"h{self._calls}", outcome.tool, json.dumps(outcome.args, ensure_ascii=False))

    def stopped(self) -> None:
        self._add(StopEntry(**self._mark(), stop="user is done", by="user"))

    def finish(self, reason: EndReason, detail: str = "") -> None:
        """The first end is the end."""
        if self.end is None:
            self.end = End(reason=reason, detail=detail[:2000], turn=self.turn, t=self._scene.t)

    def used(self, role: str, name: str, usage: TokenUsage | None) -> None:
        """Count a model call; None: no model was called."""
        if usage is None:
            return
        use = self.uses.get(role)
        if use is None:
            use = self.uses[role] = ModelUse(name=name, cost_usd=0.0)
        use.calls += 1
        use.input_tokens += usage.input_tokens
        use.output_tokens += usage.output_tokens
        unknown = use.cost_usd is None or usage.cost_usd is None
        use.cost_usd = None if unknown else (use.cost_usd or 0.0) + (usage.cost_usd or 0.0)

    def conversation(
        self,
        case: Case,
        seed: int,
        trial: int,
        setup: list[Patch],
        began: str,
        wall_s: float,
        agent_wall_s: float,
    ) -> Conversation:
        """The record of the trial, which has ended."""
        end = self.end or End(reason="cancelled", turn=self.turn, t=self._scene.t)
        change = patch_records(delta(case.world.base, self._scene.state.root))
        record = Conversation(
            format="conversation/1",
            simulation=case.simulation,
            scenario=case.scenario.id,
            persona=case.persona.id if case.persona else "",
            seed=seed,
            trial=trial,
            hashes=case.hashes,
            setup=setup,
            end=end,
            log=self.log,
            delta=change,
            models=self.uses,
            runtime_errors=self.runtime_errors,
            wall_s=round(wall_s, 6),
            agent_wall_s=round(agent_wall_s, 6),
            started_at=began,
        )
        record.transcript_hash = transcript_hash(record)
        return record

    def _signal(self, signal: Signal) -> None:
        if signal.sort == "emit":
            data = {} if signal.data is None else {"data": signal.data}
            self._add(EmitEntry(**self._mark(), by=signal.by, emit=signal.text, **data))
        elif signal.sort == "notify":
            self._add(
                NotifyEntry.model_validate(
                    {**self._mark(), "by": signal.by, "notify": signal.text, "to": signal.to}
                )
            )

    def _mark(self) -> dict[str, Any]:
        return {"n": len(self.log) + 1, "turn": self.turn, "t": self._scene.t}

    def _add(self, entry: LogEntry) -> None:
        self.log.append(entry)
        if self.trace is not None:
            self.trace.add(entry)


def patch_records(written: Sequence[WorldPatch]) -> list[Patch]:
    """The world's patches as records."""
    return [Patch(**patch.record()) for patch in written]


def transcript_hash(conversation: Conversation) -> str:
    """SHA-256 of log, end and delta, without wall times and tokens."""
    content = conversation.model_dump(
        mode="json", exclude_unset=True, include={"log": True, "end": True, "delta": True, "setup": True}
    )
    for entry in content["log"]:
        for name in _OF_THE_WALL:
            entry.pop(name, None)
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

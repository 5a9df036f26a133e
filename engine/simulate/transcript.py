"""What is logged during a trial, and the record made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from ..canonical import digest
from ..evaluate import Trace
from ..llm import ToolCall
from ..records.checked_json import kept_json
from ..records.conversation import (
    AgentVerdict,
    CheckEntry,
    Conversation,
    EmitEntry,
    End,
    EndReason,
    EventEntry,
    EventStatus,
    Hashes,
    LogEntry,
    ModelUse,
    NotifyEntry,
    Patch,
    SayEntry,
    SaySource,
    Speaker,
    StopEntry,
    TokenUsage,
    ToolEntry,
)
from ..records.opinion import Opinion
from ..world import CallFailed, CallOutcome, Effects, Patch as WorldPatch, Scene, Signal, delta
from ..world.parameters import parse_arguments
from .case import Case

MAX_NAME: Final = 200
"""Characters kept of a tool name given by a model."""
MAX_RAW: Final = 300_000
"""Characters kept of arguments that are not a JSON object; the world reads no more than 256,000."""
MAX_OWN_RESULT: Final = 100_000
"""Characters of JSON kept of a result that an agent reports for its own call."""
_MARK: Final = 60
"""Room for the note about the characters left out."""
_NOT_HOW_IT_WENT: Final = frozenset({"wall_s", "usage", "source", "held_back", "opinions"})
_sorted_json: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


class Transcript:
    """The log of one trial, kept in step with its trace."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.log: list[LogEntry] = []
        self.trace: Trace | None = None
        """None until the initial state is complete; anything logged before that is history."""
        self.turn = 0
        self.setup: list[Patch] = []
        """What persona, init, history and sync wrote."""
        self.end: End | None = None
        self._uses: dict[tuple[str, str], list[TokenUsage]] = {}
        self._runtime_errors = 0
        self.agent_verdict: AgentVerdict | None = None
        self._calls = 0

    def begin(self, now: str) -> Trace:
        """Start the trace: the state is now the initial one."""
        self.trace = Trace(self._scene.state, now=now)
        for entry in self.log:
            self.trace.add(entry)
        return self.trace

    def say(
        self,
        by: Speaker,
        text: str,
        source: SaySource,
        usage: TokenUsage | None = None,
        *,
        held_back: bool = False,
    ) -> None:
        """Log words of one side. `held_back`: it wanted to stop with them."""
        fields: dict[str, Any] = {"by": by, "say": text, "source": source}
        if usage is not None:
            fields["usage"] = usage
        if held_back:
            fields["held_back"] = True
        self._add(SayEntry(**self._mark(), **fields))

    def rejected(self, by: Speaker, text: str, feedback: str) -> None:
        """Log words of one side that were rejected."""
        self._add(SayEntry(**self._mark(), by=by, say=text, source="model", rejected=True, feedback=feedback))

    def call(
        self, outcome: CallOutcome, written: str, message: int, wall_s: float, kind: str = "unknown"
    ) -> None:
        """Log a call, and the signals and notices it sent.

        `written`: the arguments as the model wrote them; `kind`: used if the tool is not one of the world's.
        """
        self._calls += 1
        readable = isinstance(outcome.args, dict)
        fields: dict[str, Any] = {
            "id": f"k{self._calls}",
            "by": outcome.by,
            "tool": outcome.tool[:MAX_NAME],
            "args": outcome.args if readable else {},
            "kind": outcome.kind or kind,
            "ok": outcome.ok,
            "result": outcome.result,
            "wall_s": round(wall_s, 6),
        }
        if not readable:
            fields["raw"] = written[:MAX_RAW]
        if outcome.error is not None:
            fields["error"] = outcome.error
            self._runtime_errors += outcome.error == "runtime"
        if outcome.injected is not None:
            fields["injected"] = outcome.injected
        if outcome.patches:
            fields["patches"] = patch_records(outcome.patches)
        if message:
            fields["message"] = message
        self._add(ToolEntry(**self._mark(), **fields))
        self.signals(outcome.signals)

    def own_call(self, call: ToolCall, result: Any, message: int, wall_s: float = 0.0) -> None:
        """Log a call the agent made on its own, outside the world, and the result it reported."""
        kept = own_result(result)
        args = object_of(call.arguments)
        outcome = CallOutcome(call.name, "agent", args, True, None, kept, None, (), (), self._scene.t)
        self.call(outcome, call.arguments, message, wall_s, kind="own")

    def event(self, name: str, by: str, status: EventStatus, effects: Effects) -> None:
        """Log an event or noise, with all its writes, the calls it made and the signals it sent.

        `by`: the author of its writes and signals, `event:<id>` or `noise`.
        """
        fields: dict[str, Any] = {"event": name, "status": status}
        if effects.patches:
            fields["patches"] = patch_records(effects.patches)
        self._add(EventEntry(**self._mark(), **fields))
        for made in effects.calls:
            self._calls += 1
            self._add(
                ToolEntry(
                    **self._mark(),
                    id=f"k{self._calls}",
                    by=made.by,
                    tool=made.tool,
                    args=made.args,
                    kind=made.kind or "unknown",
                    result=made.result,
                    cause=by,
                )
            )
        self.signals(effects.signals)

    def past_call(self, outcome: CallOutcome) -> ToolCall:
        """Log a call of the history; return it as a model would have made it."""
        self.setup += patch_records(outcome.patches)
        self.call(outcome, "", 0, 0.0)
        return ToolCall(f"h{self._calls}", outcome.tool, json.dumps(outcome.args, ensure_ascii=False))

    def signals(self, sent: Sequence[Signal]) -> None:
        """Log what steps emitted and told the sides."""
        for signal in sent:
            if signal.sort == "emit":
                data = {} if signal.data is None else {"data": signal.data}
                self._add(EmitEntry(**self._mark(), by=signal.by, emit=signal.text, **data))
            elif signal.sort == "notify":
                row = {**self._mark(), "by": signal.by, "notify": signal.text, "to": signal.to}
                self._add(NotifyEntry.model_validate(row))

    def stopped(self, by: str = "user", stop: str = "user is done") -> None:
        """Log that the user, or an event, has ended the conversation."""
        self._add(StopEntry(**self._mark(), stop=stop, by=by))

    def decided(self, check: str, ok: bool, opinions: Sequence[Opinion] = ()) -> None:
        """Log that a check of the script was decided here, possibly by a judge."""
        said: dict[str, Any] = {"opinions": list(opinions)} if opinions else {}
        self._add(CheckEntry(**self._mark(), check=check, ok=ok, **said))

    def finish(self, reason: EndReason, detail: str = "", error: str = "") -> None:
        """End the trial; the first end wins. `error`: what broke."""
        if self.end is None:
            broke = {"error": error} if error else {}
            self.end = End(reason=reason, detail=detail[:2000], turn=self.turn, t=self._scene.t, **broke)

    def used(self, role: str, name: str, usage: TokenUsage | None) -> None:
        """Count a model call; None: no model was called."""
        if usage is not None:
            self._uses.setdefault((role, name), []).append(usage)

    def conversation(
        self, case: Case, seed: int, trial: int, text: str, /, **more: Any
    ) -> tuple[Conversation, dict[str, Any]]:
        """The record of the trial, which has ended, and the same as JSON.

        `text`: the instructions under test; `more`: further fields of the record.
        """
        record = Conversation(
            format="conversation/1",
            simulation=case.simulation,
            scenario=case.scenario.id,
            persona=case.persona.id if case.persona else "",
            seed=seed,
            trial=trial,
            hashes=_hashes(case, text),
            setup=self.setup,
            end=self.end or End(reason="cancelled", turn=self.turn, t=self._scene.t),
            log=self.log,
            delta=patch_records(delta(case.world.base, self._scene.state.root)),
            models={role: _summed(name, uses) for (role, name), uses in self._uses.items()},
            runtime_errors=self._runtime_errors,
            **({"agent_verdict": self.agent_verdict} if self.agent_verdict else {}),
            **more,
        )
        document = record.dumped()
        record.transcript_hash = document["transcript_hash"] = transcript_hash(document)
        return record, document

    def _mark(self) -> dict[str, Any]:
        return {"n": len(self.log) + 1, "turn": self.turn, "t": self._scene.t}

    def _add(self, entry: LogEntry) -> None:
        self.log.append(entry)
        if self.trace is not None:
            self.trace.add(entry)


def object_of(arguments: str) -> dict[str, Any] | None:
    """Arguments as a model wrote them; None if they are not a JSON object."""
    try:
        return parse_arguments(arguments)
    except CallFailed:
        return None


def own_result(told: Any) -> Any:
    """The result an agent reported for its own call, in storable form; idempotent."""
    try:
        kept = kept_json(told)
    except (ValueError, RecursionError) as error:
        return f"(a result that cannot be kept: {error})"
    text = kept if isinstance(kept, str) else json.dumps(kept, ensure_ascii=False)
    if len(text) <= MAX_OWN_RESULT + _MARK:
        return kept
    return f"{text[:MAX_OWN_RESULT]} … ({len(text) - MAX_OWN_RESULT:,} characters left out)"


def patch_records(written: Sequence[WorldPatch]) -> list[Patch]:
    """The world's patches as records."""
    return [Patch(**patch.record()) for patch in written]


def transcript_hash(document: Mapping[str, Any]) -> str:
    """SHA-256 of setup, log, end and delta of a conversation as JSON, without wall times, tokens and sources."""
    log = [{k: v for k, v in entry.items() if k not in _NOT_HOW_IT_WENT} for entry in document["log"]]
    text = _sorted_json([document["setup"], log, document["end"], document["delta"]])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _summed(name: str, uses: Sequence[TokenUsage]) -> ModelUse:
    prices = [use.cost_usd for use in uses if use.cost_usd is not None]
    return ModelUse(
        name=name,
        calls=len(uses),
        input_tokens=sum(use.input_tokens for use in uses),
        output_tokens=sum(use.output_tokens for use in uses),
        cost_usd=sum(prices) if len(prices) == len(uses) else None,
    )


def _hashes(case: Case, text: str) -> Hashes:
    return case.hashes.model_copy(update={"instructions": _text_hash(text)})


@lru_cache(maxsize=64)
def _text_hash(text: str) -> str:
    return digest(text)

"""What a scenario makes happen in a trial: events on the virtual clock, faults of tools, noise, the script."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from .authored import Authored, Sourced
from .world import Json

OnTimeout = Literal["fail", "skip", "fire"]
FaultMode = Literal["error", "timeout", "malformed", "empty"]
SCRIPT_STEPS = ("user", "agent", "message", "proceed", "check", "judge", "succeed", "fail")
"""The words of a script; a step has exactly one."""
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"


class Event(Authored):
    """Something that happens once: when all of `after` have fired, its delays are over and its condition holds."""

    id: str = Field(pattern=NAME)
    after: list[str] = Field(default_factory=lambda: ["start"], min_length=1, max_length=100)
    """Events that must have fired; `start` always has."""
    delay_s: float = Field(default=0, ge=0, le=1e9)
    """Virtual seconds after the last of them."""
    delay_turns: int = Field(default=0, ge=0, le=1000)
    at_turn: int | None = Field(default=None, ge=1, le=1000)
    """Not before this turn."""
    when: dict[str, Any] | None = None
    """Predicate: it fires at the first evaluation point at which this holds."""
    timeout_s: float | None = Field(default=None, ge=0, le=1e9)
    """Virtual seconds for `when` to come true, counted from when all other conditions are met."""
    timeout_turns: int | None = Field(default=None, ge=0, le=1000)
    on_timeout: OnTimeout = "fail"
    """fail: the check `event.<id>` fails. skip: it never fires. fire: it fires anyway."""
    do: dict[str, Any] | list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    x_source: Any = None

    @property
    def steps(self) -> list[dict[str, Any]]:
        """`do` as a list."""
        return [self.do] if isinstance(self.do, dict) else self.do

    @model_validator(mode="after")
    def _timeouts_wait_for_something(self) -> Event:
        timed = self.timeout_s is not None or self.timeout_turns is not None
        if timed and self.when is None:
            raise ValueError("a timeout is for a condition: without `when` the event fires as soon as it may")
        if "on_timeout" in self.model_fields_set and not timed:
            raise ValueError("`on_timeout` needs `timeout_s` or `timeout_turns`")
        return self


class Fault(Sourced):
    """A fault of tools, injected into calls of the agent."""

    tool: str = Field(min_length=1, max_length=200)
    """Glob of original names."""
    on_calls: list[int] = Field(default_factory=list[int], max_length=1000)
    """Numbers of the agent's calls of a tool, from 1."""
    p: float | None = Field(default=None, gt=0, le=1)
    """Or the probability of each call."""
    max: int | None = Field(default=None, ge=1, le=10_000)
    """The most calls it hits in a trial."""
    mode: FaultMode = "error"
    """error, timeout: the tool is not run. malformed, empty: it is run, and its reply cut or emptied."""
    error: str = Field(default="", max_length=2000)
    """What the agent is told in mode error or timeout."""
    delay_s: float = Field(default=30, ge=0, le=1e9)
    """Virtual seconds that a timeout takes."""

    @model_validator(mode="after")
    def _one_way_to_hit(self) -> Fault:
        if bool(self.on_calls) == (self.p is not None):
            raise ValueError("a fault has either `on_calls` or `p`")
        if any(number < 1 for number in self.on_calls):
            raise ValueError("`on_calls` counts from 1")
        if self.error and self.mode not in ("error", "timeout"):
            raise ValueError("`error` is for the modes error and timeout")
        if "delay_s" in self.model_fields_set and self.mode != "timeout":
            raise ValueError("`delay_s` is for the mode timeout")
        return self


class NoiseItem(Sourced):
    """One thing that noise may do."""

    do: dict[str, Any] | list[dict[str, Any]]
    weight: float = Field(default=1, gt=0, le=1e6)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """`do` as a list."""
        return [self.do] if isinstance(self.do, dict) else self.do


class Noise(Sourced):
    """Things that happen at random and have nothing to do with the goal."""

    per_minute: float | None = Field(default=None, gt=0, le=60)
    """Mean number in a virtual minute."""
    per_turn: float | None = Field(default=None, gt=0, le=20)
    """Or in a turn."""
    pool: list[NoiseItem] = Field(default_factory=list[NoiseItem], max_length=1000)

    @model_validator(mode="after")
    def _something_may_happen(self) -> Noise:
        if not self.pool:
            raise ValueError("the pool of the noise is empty, so nothing would ever happen")
        if any(not item.steps for item in self.pool):
            raise ValueError("an item of the pool does nothing")
        if (self.per_minute is None) == (self.per_turn is None):
            raise ValueError("noise has either `per_minute` or `per_turn`")
        return self


class Message(Sourced):
    """Words of one side that are in the conversation without a turn of their own."""

    by: Literal["user", "agent"]
    say: str = Field(min_length=1, max_length=20_000)


class ScriptStep(Sourced):
    """One step of a script: exactly one word. `user` and `agent` null: generated; a text: said verbatim."""

    user: str | None = Field(default=None, max_length=20_000)
    agent: str | None = Field(default=None, max_length=20_000)
    message: Message | None = None
    proceed: int | None = Field(default=None, ge=1, le=1000)
    """This many replies of the agent, with the user's turns between; null: until something ends the trial."""
    check: dict[str, Any] | None = None
    """Predicate: if it does not hold here, the trial ends and fails."""
    judge: Json = None
    succeed: str | None = None
    fail: str | None = None

    @property
    def word(self) -> str:
        """Which of the eight it is."""
        return next(name for name in SCRIPT_STEPS if name in self.model_fields_set)

    @model_serializer(mode="wrap")
    def _as_written(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep only the one word, since null is a valid value of it."""
        kept = {"x_source": self.x_source} if self.x_source is not None else {}
        return {self.word: dumped(self).get(self.word), **kept}

    @model_validator(mode="after")
    def _one_word(self) -> ScriptStep:
        given = [name for name in SCRIPT_STEPS if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(
                f"a step of a script has exactly one of {', '.join(SCRIPT_STEPS)}; found {', '.join(given) or 'none'}"
            )
        return self._with_something_to_do(given[0])

    def _with_something_to_do(self, word: str) -> ScriptStep:
        value = getattr(self, word)
        if value is None and word not in ("user", "agent", "proceed"):
            raise ValueError(f"`{word}` needs a value")
        if word in ("user", "agent") and value is not None and not value.strip():
            raise ValueError(f"`{word}` is a text that is not empty, or null to have it generated")
        return self

"""A world as people write it: state, tools, rules and the clock, all of it data.

These records hold what was written and refuse what cannot be read: unknown fields, wrong types, values that are not
JSON. Checks that need the whole world at once (names, places, steps, expressions) happen when the world is compiled,
in `engine.world`.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from .authored import Authored, Sourced
from .checked_json import Json, JsonObject
from .impl import Impl, ToolServer

MAX_POLICY_CHARS: Final = 200_000
MAX_DESCRIPTION_CHARS: Final = 20_000

Side = Literal["agent", "user"]
ToolKind = Literal["read", "write", "terminal", "think"]
JsonType = Literal["string", "integer", "number", "boolean", "array", "object", "null"]

NOW: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:([T ])(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
"""The spellings of a moment: a date, optionally with minutes, seconds, a fraction and an offset."""


class Clock(Sourced):
    """The virtual clock. It advances only by these seconds, by faults and by the wait tool; never by wall time."""

    now: str = "2026-01-01T09:00:00"
    """The moment at t = 0, ISO 8601; `now()` keeps its spelling."""
    turn_s: float = Field(default=30, ge=0, le=1e9)
    """Seconds before each user turn except the first."""
    call_s: float = Field(default=1, ge=0, le=1e9)
    """Seconds a tool call takes."""
    think_s: float = Field(default=0, ge=0, le=1e9)
    """Seconds of each model reply of the agent, if `think` is `fixed`."""
    think: Literal["fixed", "measured"] = "fixed"
    """`measured`: the wall seconds of the reply instead of `think_s`; such trials are not repeatable."""
    wait_tool: bool = False
    """Whether the agent is offered `wait(seconds)`."""

    @field_validator("now")
    @classmethod
    def _a_moment(cls, text: str) -> str:
        return check_moment(text)


class FieldSchema(Authored):
    """What one field of a record may hold; an absent field breaks only `required`."""

    type: JsonType | list[JsonType] | None = None
    """A JSON type, or several; 5.0 is an integer, true is not a number."""
    enum: list[Json] | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    """RE2; a match anywhere is enough."""
    ref: str | None = None
    """The value, or each element of a list, must be a key of this collection of the same side (`users`)."""
    x_source: Json = None


class CollectionSchema(Authored):
    """What each record of one collection must look like."""

    required: list[str] = Field(default_factory=list[str])
    """Keys that every record has."""
    fields: dict[str, FieldSchema] = Field(default_factory=dict[str, FieldSchema])
    """By key, or by path inside the record such as `items[*].sku`."""
    x_source: Json = None


class Tool(Authored):
    """One tool: its signature as a model sees it, and the steps that a call executes."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")
    for_: Side = Field(default="agent", alias="for")
    """The side it belongs to. An agent's tool sees only `db`, a user's only `user_db`."""
    kind: ToolKind | None = None
    """None: derived from the steps, `write` if one writes, else `read`. `terminal`: success ends the trial."""
    description: str = Field(default="", max_length=MAX_DESCRIPTION_CHARS)
    parameters: JsonObject = Field(default_factory=dict[str, Any])
    """JSON Schema object."""
    strict: bool = True
    """Arguments are checked before the steps run; nothing is coerced."""
    atomic: bool = True
    """A call that fails leaves nothing behind."""
    hidden: bool = False
    """Not offered and not callable until a step unlocks it."""
    steps: list[JsonObject] = Field(default_factory=list[dict[str, Any]])
    impl: Impl | None = None
    """Instead of steps: code, a server's tool or endpoint, or canned answers."""
    x_source: Json = None

    @model_validator(mode="after")
    def _steps_or_impl(self) -> Tool:
        if self.impl is not None and self.steps:
            raise ValueError("a tool has `steps` or `impl`, not both")
        return self


class Rule(Authored):
    """A rule over the agent's successful calls; a check `rule.<id>` in every scenario of the world."""

    id: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    before: str | None = None
    """Glob of tools: at each such call, `need` must hold on the record up to it."""
    after: str | None = None
    """Glob of tools: `need` must hold on the record after each such call."""
    never: str | None = None
    """Glob of tools that must not be called."""
    at_most_once: str | None = None
    """Glob of tools that may be called once, or once for each combination of the arguments named in `per`."""
    confirm: str | None = None
    """Glob of tools before which the agent must have asked a question and the user's last text said yes."""
    need: JsonObject | None = None
    """The predicate for `before` and `after`."""
    per: list[str] = Field(default_factory=list[str])
    """Arguments that distinguish the cases of `at_most_once`."""
    words: list[str] = Field(default_factory=list[str])
    """What counts as yes for `confirm`; empty: an English list."""
    severity: Literal["minor", "major", "critical"] = "major"
    counts: bool = True
    x_source: Json = None

    @property
    def sort(self) -> Literal["before", "after", "never", "at_most_once", "confirm"]:
        """Which of the five sorts it is."""
        for word in RULE_SORTS:
            if getattr(self, word) is not None:
                return word
        raise AssertionError("a rule has exactly one sort")

    @property
    def glob(self) -> str:
        """The glob of the tools it applies to."""
        return str(getattr(self, self.sort))

    @model_validator(mode="after")
    def _one_sort(self) -> Rule:
        given = [word for word in RULE_SORTS if getattr(self, word) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a rule has exactly one of {', '.join(RULE_SORTS)}; found {', '.join(given) or 'none'}"
            )
        sort = given[0]
        if (sort in ("before", "after")) != (self.need is not None):
            raise ValueError("`need` belongs to `before` and `after`, and they cannot do without")
        if self.per and sort != "at_most_once":
            raise ValueError("`per` belongs to `at_most_once`")
        if self.words and sort != "confirm":
            raise ValueError("`words` belongs to `confirm`")
        return self


RULE_SORTS: Final = ("before", "after", "never", "at_most_once", "confirm")


class World(Authored):
    """State, the tools that read and change it, and a policy text."""

    format: Literal["world/1"]
    name: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    policy: str = Field(default="", max_length=MAX_POLICY_CHARS)
    """Markdown; the agent may read it."""
    db: JsonObject = Field(default_factory=dict[str, Any])
    """The agent's side: collections by name, records by key, any JSON below."""
    user_db: JsonObject = Field(default_factory=dict[str, Any])
    """The user's side: a phone, a calendar. `db` and `user_db` together are the state."""
    schema_: dict[str, CollectionSchema] = Field(default_factory=dict[str, CollectionSchema], alias="schema")
    """By path of a collection, such as `db.orders`."""
    tools: list[Tool] = Field(default_factory=list[Tool])
    servers: dict[str, ToolServer] = Field(
        default_factory=dict[str, ToolServer], exclude_if=lambda servers: not servers
    )
    """MCP servers by name, whose tools `impl.mcp` uses."""
    sync: list[JsonObject] = Field(default_factory=list[dict[str, Any]])
    """Steps that keep both sides consistent, run after every call, init or event that wrote."""
    rules: list[Rule] = Field(default_factory=list[Rule])
    clock: Clock = Clock()
    x_source: Json = None


def check_moment(text: str) -> str:
    """Return the text if it spells a moment that exists; ValueError otherwise."""
    found = NOW.fullmatch(text)
    if not found:
        raise ValueError("not a moment: write 2026-01-01T09:00:00")
    year, month, day, _, hour, minute, second, *_ = found.groups()
    parts = (year, month, day, hour, minute, second)
    if not _exists(*(int(part or 0) for part in parts)):
        raise ValueError(f"there is no such moment as {text}")
    return text


def _exists(year: int, month: int, day: int, hour: int, minute: int, second: int) -> bool:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    in_year = year >= 1 and 1 <= month <= 12 and 1 <= day <= days[month - 1]
    return in_year and hour < 24 and minute < 60 and second < 60

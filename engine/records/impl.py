"""What implements a tool instead of steps: code, a server's tool or endpoint, or canned answers."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from .authored import Sourced
from .checked_json import Json, JsonObject

ImplStyle = Literal["tau1", "tau2", "function"]
MAX_CANNED: Final = 10_000
KIT_STATE: Final = "kit_state"
"""The collection of `db` in which tau2's tool kits keep state beside their database."""
_TARGET: Final = re.compile(r"[^\0:\\]{1,2000}\.py:[A-Za-z_]\w{0,99}(\.[A-Za-z_]\w{0,99})?")


class CannedAnswer(Sourced):
    """One canned answer: for calls whose arguments have these values, whatever others they have."""

    args: JsonObject = Field(default_factory=dict[str, Any])
    return_: Json = Field(default=None, alias="return")


class ToolServer(Sourced):
    """An MCP server whose tools are tools of a world: a `url`, or a `command` that each trial starts for itself."""

    url: str | None = Field(default=None, max_length=2048)
    command: list[str] = Field(default_factory=list[str])
    """`["python", "FILE.py"]`: a file below a folder that the operator allows; no shell is involved."""
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Sent with every request; secrets as `env:NAME` or `file:PATH`."""
    reset: str | None = Field(default=None, min_length=1, max_length=200)
    """The server's tool that resets it. Called before each trial; trials then run one at a time."""
    timeout_s: float = Field(default=20, gt=0, le=300)
    """Wall seconds of one call."""

    @model_validator(mode="after")
    def _one_way(self) -> ToolServer:
        if (self.url is None) == (not self.command):
            raise ValueError("a server has `url` or `command`, exactly one of them")
        if self.command and self.headers:
            raise ValueError("`headers` belong to `url`")
        return self


class HttpTool(Sourced):
    """A tool behind a URL: the arguments are its JSON body, or the query if `method` has none."""

    url: str = Field(max_length=2048)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Sent with every request, including `snapshot` and `reset`; secrets as `env:NAME` or `file:PATH`."""
    snapshot: str | None = Field(default=None, max_length=2048)
    """A URL that returns (GET) the tool's side of the state as an object, after each call that may write."""
    reset: str | None = Field(default=None, max_length=2048)
    """A URL that resets the service (POST). Called before each trial; trials then run one at a time."""
    timeout_s: float = Field(default=20, gt=0, le=300)
    """Wall seconds of one request."""


class Impl(Sourced):
    """Exactly one of `python`, `canned`, `mcp` and `http`."""

    python: str | None = None
    """`tools.py:Cancel`: a file below a folder that the operator allows, and a name in it; tau2: `Class.method`."""
    style: ImplStyle | None = None
    """How it is called, `function` by default: `function(db, **args)`; `tau1`: a class with `invoke(data, **args)`;
    `tau2`: a method of a tool kit over a pydantic database."""
    user: str | None = None
    """tau2: `file.py:Class` of the user's tool kit, if the domain has one."""
    canned: list[CannedAnswer] | None = Field(default=None, max_length=MAX_CANNED)
    """The first whose arguments fit answers; if none does: error `arguments`."""
    mcp: str | None = None
    """The name of one of the world's `servers`."""
    tool: str | None = Field(default=None, min_length=1, max_length=200, exclude_if=lambda name: name is None)
    """mcp: the tool's name there; None: its name here."""
    snapshot: str | None = Field(
        default=None, min_length=1, max_length=200, exclude_if=lambda name: name is None
    )
    """mcp: the server's tool that returns this tool's side of the state as an object, after calls that may write."""
    http: HttpTool | None = None

    @field_validator("python", "user")
    @classmethod
    def _a_target(cls, target: str | None) -> str | None:
        if target is not None and not _TARGET.fullmatch(target):
            raise ValueError("not code: write a file and a name in it, such as tools.py:Cancel")
        return target

    @model_validator(mode="after")
    def _one_of_them(self) -> Impl:
        if sum(one is not None for one in (self.python, self.canned, self.mcp, self.http)) != 1:
            raise ValueError("`impl` is exactly one of python, canned, mcp and http")
        if self.python is None and (self.style or self.user):
            raise ValueError("`style` and `user` belong to python")
        if self.mcp is None and (self.tool or self.snapshot):
            raise ValueError("`tool` and `snapshot` belong to mcp; that of http stands in `http`")
        return self

"""What stands in a tool instead of steps: code that runs elsewhere, or answers that are given."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from .authored import Sourced
from .checked_json import Json, JsonObject

ImplStyle = Literal["tau1", "tau2", "function"]
MAX_CANNED: Final = 10_000
_TARGET: Final = re.compile(r"[^\0:\\]{1,2000}\.py:[A-Za-z_]\w{0,99}(\.[A-Za-z_]\w{0,99})?")


class CannedAnswer(Sourced):
    """One given answer: for calls whose arguments have these values, whatever else they have."""

    args: JsonObject = Field(default_factory=dict[str, Any])
    return_: Json = Field(default=None, alias="return")


class Impl(Sourced):
    """Exactly one of `python` and `canned`."""

    python: str | None = None
    """`tools.py:Cancel`: a file below a folder that the operator allows, and a name in it; tau2: `Class.method`."""
    style: ImplStyle | None = None
    """How it is called, `function` where nothing is said: `function(db, **args)`; `tau1`: a class with
    `invoke(data, **args)`; `tau2`: a method of a tool kit over a pydantic database."""
    user: str | None = None
    """tau2: `file.py:Class` of the user's tool kit, where the domain has one."""
    canned: list[CannedAnswer] | None = Field(default=None, max_length=MAX_CANNED)
    """The first whose arguments fit answers; none: error `arguments`."""
    mcp: Json = None
    http: Json = None

    @field_validator("python", "user")
    @classmethod
    def _a_target(cls, target: str | None) -> str | None:
        if target is not None and not _TARGET.fullmatch(target):
            raise ValueError("not code: write a file and a name in it, such as tools.py:Cancel")
        return target

    @model_validator(mode="after")
    def _one_of_them(self) -> Impl:
        if self.mcp is not None or self.http is not None:
            raise ValueError("`mcp` and `http` are not in this version: python, canned, or steps")
        if (self.python is None) == (self.canned is None):
            raise ValueError("`impl` is exactly one of python and canned")
        if self.canned is not None and (self.style or self.user):
            raise ValueError("`style` and `user` belong to python")
        return self

"""From the name of a model to its client."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidArgument, Unavailable, did_you_mean
from .client import ModelClient
from .offline import OfflineModel

ALLOWED: Final = "offline, or offline:slip=0.2 (each rule is missed with that probability)"
_OFFLINE: Final = re.compile(r"offline(?::slip=(?P<slip>\d*\.?\d+))?")
_LITELLM: Final = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.:/@-]+")
_KNOWN: Final = ("offline", "relay", "replay")


def open_model(name: str | Mapping[str, Any], *, where: str = "models") -> ModelClient:
    """The client of a model: `offline` or `offline:slip=P` with P in 0..1.

    Raises Unavailable for kinds of models that this version does not have (`relay`, `replay:FILE`, ids such as
    `openai/gpt-4o`, objects with a `base_url`), InvalidArgument for anything else. `where` is told in the error.
    """
    if isinstance(name, Mapping):
        if "base_url" in name:
            raise Unavailable("Models at a base_url are not in this version.", where=where, allowed=ALLOWED)
        inner: Any = name.get("model")
        if set(name) != {"model"} or not isinstance(inner, str):
            raise InvalidArgument("A model is a name.", where=where, allowed=ALLOWED)
        name = inner
    found = _OFFLINE.fullmatch(name)
    if found:
        return _offline(found["slip"], where)
    shown = name[:80]
    if name == "relay" or name.startswith("replay:") or _LITELLM.fullmatch(name):
        raise Unavailable(f"Model `{shown}` is not in this version.", where=where, allowed=ALLOWED)
    raise InvalidArgument(
        f"`{shown}` names no model.{did_you_mean(name, _KNOWN)}", where=where, allowed=ALLOWED
    )


def _offline(slip: str | None, where: str) -> ModelClient:
    rate = float(slip) if slip else 0.0
    if rate > 1:
        raise InvalidArgument(f"slip is {slip}, but a probability is 0..1.", where=where, allowed=ALLOWED)
    return OfflineModel(rate)

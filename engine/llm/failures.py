"""Failures at a model's endpoint, reported to the one who can fix them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MissingKey, RateLimited, SetupError, Unavailable
from ..net import BadStatus, NetError, Secrets, Unreachable

OTHERS = "another model, relay, or offline"


@dataclass(frozen=True, slots=True)
class Called:
    """The model that was called: its name, where it is reached, where its key comes from, its place in `models`."""

    model: str
    place: str
    key: str = ""
    where: str = ""


def setup_error(error: NetError, called: Called, secrets: Secrets) -> SetupError:
    """The error that stops a call; the endpoint's message is quoted, without secrets."""
    if isinstance(error, BadStatus):
        return _of_status(error, called, secrets.hide(error.body))
    what = f"The model at {called.place}: {error}." if called.place else f"{called.model}: {error}."
    if isinstance(error, Unreachable) and called.place:
        what = f"The model at {called.place} {_verb(str(error))}."
    return Unavailable(secrets.hide(what), where=called.where, allowed=f"start it, or {OTHERS}")


def _of_status(error: BadStatus, called: Called, said: str) -> SetupError:
    status = error.status
    place = f" at {called.place}" if called.place else ""
    model = f"Model {called.model}{place}"
    if status in (401, 403):
        key = f"{called.key} is set" if called.key else "no key is given"
        return MissingKey(
            f"{model} refused the key ({status}); {key}.",
            where=called.where,
            allowed=f"a key that it takes, as {called.key or 'env:NAME'}, or {OTHERS}",
            quoted=said,
        )
    if status == 429:
        after = "" if error.retry_after_s is None else f", try again after {error.retry_after_s:.0f} s"
        return RateLimited(
            f"{model} gets too many requests, or the account is used up (429{after}).",
            where=called.where,
            allowed=f"options.concurrency lower, later, or {OTHERS}",
            quoted=said,
        )
    if status == 404:
        return Unavailable(
            f"{model} is not there (404).",
            where=called.where,
            allowed="a model and a base_url (up to /v1) that the endpoint knows",
            quoted=said,
        )
    if status < 400:
        return Unavailable(f"{model} {error}.", where=called.where, allowed="the URL that it redirects to")
    if status < 500:
        return Unavailable(
            f"{model} did not take the request ({status}).",
            where=called.where,
            allowed="a model that takes tools and schemas; `extra` lays fields over the request, null takes one out",
            quoted=said,
        )
    return Unavailable(
        f"{model} has a fault of its own ({status}), several times.",
        where=called.where,
        allowed=f"later, or {OTHERS}",
        quoted=said,
    )


def _verb(text: str) -> str:
    return text if text.startswith(("refused", "cannot")) else f"cannot be used: {text}"

"""The body that an HTTP agent is sent: JSON in which placeholders stand for what is said.

`{{messages}}`, `{{last}}` (the user's last words), `{{instructions}}`, `{{conversation}}` (an opaque key),
`{{tools}}`, `{{tools_url}}` and `{{tools_token}}` (where tools are served), `{{traceparent}}`, `{{spans_url}}` and
`{{spans_token}}` (if spans are watched). A text that is a single placeholder becomes its value; inside a longer text
it becomes words. Inserted values are never scanned for placeholders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from ..errors import InvalidArgument, did_you_mean
from ..net import looks_secret

PLACEHOLDERS: Final = (
    "messages",
    "last",
    "instructions",
    "conversation",
    "tools",
    "tools_url",
    "tools_token",
    "traceparent",
    "spans_url",
    "spans_token",
)
MOST_CHARS: Final = 100_000
_PLACE: Final = re.compile(r"\{\{([a-z_]{1,40})\}\}")


class Template:
    """A checked body. InvalidArgument names what is wrong with it, at `where`."""

    def __init__(self, body: Mapping[str, Any], where: str) -> None:
        self._body = body
        self.used = frozenset(_checked(body, where))
        if not self.used & {"messages", "last"}:
            raise InvalidArgument(
                "The body carries nothing of what the user says.",
                where=where,
                allowed='a placeholder such as {"messages": "{{messages}}"} or {"message": "{{last}}"}',
            )

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The body with values inserted; a field that is only a placeholder for an empty list is left out."""
        return cast("dict[str, Any]", _filled(self._body, values))


def filled_text(text: str, values: Mapping[str, Any]) -> str:
    """A text with values inserted, as words."""
    return _PLACE.sub(lambda found: _words(values.get(found[1], found[0])), text)


def _checked(body: Mapping[str, Any], where: str) -> Iterator[str]:
    """Check a body, a JSON object of reasonable size, and return its placeholders."""
    if len(json.dumps(body)) > MOST_CHARS:
        raise InvalidArgument(
            "The body is too long.", where=where, allowed=f"at most {MOST_CHARS:,} characters"
        )
    for text, at in _texts(body, where):
        if looks_secret(text):
            raise InvalidArgument(
                f"{at} holds a literal secret.",
                where=at,
                allowed="a header with a reference, env:NAME or file:PATH",
            )
        for name in _PLACE.findall(text):
            if name not in PLACEHOLDERS:
                what = f"There is no placeholder `{{{{{name}}}}}`.{did_you_mean(name, PLACEHOLDERS)}"
                raise InvalidArgument(what, where=at, allowed=[f"{{{{{p}}}}}" for p in PLACEHOLDERS])
            yield name


def _texts(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield value, at
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            yield from _texts(inner, f"{at}.{key}")
    elif isinstance(value, list):
        for k, inner in enumerate(cast("list[Any]", value)):
            yield from _texts(inner, f"{at}[{k}]")


def _filled(part: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(part, str):
        whole = _PLACE.fullmatch(part)
        return values.get(whole[1], part) if whole else filled_text(part, values)
    if isinstance(part, Mapping):
        made = {
            key: (inner, _filled(inner, values)) for key, inner in cast("Mapping[str, Any]", part).items()
        }
        return {key: new for key, (old, new) in made.items() if new != [] or old == []}
    if isinstance(part, list):
        return [_filled(inner, values) for inner in cast("list[Any]", part)]
    return part


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

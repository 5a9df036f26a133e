"""Reading what people wrote as predicates: the right keys, the right types, or an error that teaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, cast

from ..errors import InvalidArgument, did_you_mean
from ..records.authored import path
from ..world.paths import Path, parse_path, parse_pattern
from ..world.patterns import BadPattern, Pattern, compile_pattern
from ..world.values import is_number, shown


class Written:
    """A JSON object at its place; each method returns a value, or refuses it and says what is allowed."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, Mapping):
            raise InvalidArgument(
                f"An object is needed here, not {shown(data)}.", where=where, allowed="an object"
            )
        self.data = cast("Mapping[str, Any]", data)
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def at(self, *keys: str | int) -> str:
        """The path of a value below this object."""
        return path(self.where, keys)

    def only(self, allowed: Iterable[str], what: str) -> None:
        """Refuse a key that is not among the allowed ones."""
        known = list(allowed)
        for key in self.data:
            if key not in known:
                hint = did_you_mean(str(key), known)
                raise InvalidArgument(
                    f"Unknown {what} `{key}`.{hint}", where=self.at(str(key)), allowed=known
                )

    def wrong(self, key: str, what: str, allowed: str | Sequence[str]) -> NoReturn:
        """Refuse the value of a key."""
        raise InvalidArgument(what, where=self.at(key), allowed=allowed)

    def text(self, key: str, default: str = "") -> str:
        """Read a non-empty string."""
        value = self.data.get(key, default)
        if not isinstance(value, str) or (key in self.data and not value.strip()):
            self.wrong(key, f"`{key}` is a text that is not empty, not {shown(value)}.", "a text")
        return value

    def one_of(self, key: str, allowed: Sequence[str], default: str) -> str:
        """Read one of the allowed words."""
        value = self.data.get(key, default)
        if value not in allowed:
            hint = did_you_mean(str(value), allowed)
            self.wrong(key, f"{shown(value)} is no {key}.{hint}", allowed)
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        """Read true or false."""
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"`{key}` is true or false, not {shown(value)}.", "true, false")
        return value

    def number(self, key: str, default: float, least: float | None = 0) -> float:
        """Read a number, by default not below 0."""
        value = self.data.get(key, default)
        if not is_number(value) or (least is not None and value < least):
            allowed = "a number" if least is None else f"a number of at least {least:g}"
            self.wrong(key, f"`{key}` is {allowed}, not {shown(value)}.", allowed)
        return value

    def whole(self, key: str, default: int, least: int = 0) -> int:
        """Read a whole number of at least `least`."""
        value = self.data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            allowed = f"a whole number of at least {least}"
            self.wrong(key, f"`{key}` is {allowed}, not {shown(value)}.", allowed)
        return value

    def items(self, key: str, *, empty: bool = False) -> list[Any]:
        """Read a list, by default non-empty: what is named must be able to decide something."""
        value = self.data.get(key, [])
        if not isinstance(value, list):
            self.wrong(key, f"`{key}` is a list, not {shown(value)}.", "a list")
        found = cast("list[Any]", value)
        if not found and key in self.data and not empty:
            self.wrong(
                key, f"`{key}` is named but empty, so it would always pass.", "a list with something in it"
            )
        return found

    def texts(self, key: str, *, empty: bool = False) -> list[str]:
        """Read a list of strings."""
        found = self.items(key, empty=empty)
        if not all(isinstance(item, str) for item in found):
            self.wrong(key, f"`{key}` is a list of texts, not {shown(found)}.", "a list of texts")
        return found

    def object(self, key: str) -> Written:
        """Read an object; empty if absent."""
        return Written(self.data.get(key, {}), self.at(key))

    def pattern(self, key: str, *, ignore_case: bool = False) -> Pattern:
        """Read a regular expression in RE2 syntax, at most 500 characters."""
        try:
            return compile_pattern(self.text(key), ignore_case)
        except BadPattern as error:
            self.wrong(
                key, f"{str(error)[:1].upper()}{str(error)[1:]}.", "RE2 syntax, at most 500 characters"
            )

    def place(self, key: str) -> Path:
        """Read a path in the state."""
        return parse_path(self.text(key), self.at(key))

    def patterns(self, key: str) -> tuple[Path, ...]:
        """Read a list of path patterns."""
        return tuple(parse_pattern(text, self.at(key, i)) for i, text in enumerate(self.texts(key)))

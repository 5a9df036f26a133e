"""Our entry in a client's settings file: find, add or remove it, changing nothing else in the file.

JSON is rewritten with its existing indent. TOML and YAML are changed line by line, so that comments stay; in every
language the result is read again and must be the old content plus our entry, or nothing is written.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..engine.errors import InvalidArgument, NotAllowed, StorageError
from ..engine.exchange import Roots, decode, parse_json, parse_yaml
from .clients import NAME, Client, toml_table, yaml_block

KEPT: Final = ".before-caseharden"
"""The suffix of the backup copy's name."""
_JOINED: Final = ("env", "envs")
"""Tables of an entry in which values added by others stay."""


def read_file(path: Path) -> str:
    """The text of a client's file, "" if it does not exist."""
    real = path.resolve()
    if not real.exists():
        return ""
    return decode(Roots([real.parent]).read_bytes(real, str(path)), str(path))


def write_file(path: Path, text: str) -> Path | None:
    """Write the file atomically, following links, and keep a backup; return the backup's path."""
    real = path.resolve()
    kept = real.with_name(real.name + KEPT) if real.exists() else None
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        if kept:
            shutil.copy2(real, kept)
            if b"\r\n" in real.read_bytes():
                text = text.replace("\n", "\r\n")
    except OSError as error:
        raise StorageError(f"`{path}` cannot be written: {error.strerror}.", where=str(path)) from None
    Roots([real.parent]).write_text(real, text, str(path), overwrite=True)
    return kept


def find_entry(client: Client, text: str, where: str) -> dict[str, Any] | None:
    """Our entry in the text of a client's file. Raises InvalidArgument if it cannot be read."""
    table = _table(client, _parsed(client, text, where), where)
    found = table.get(NAME)
    return dict(found) if isinstance(found, Mapping) else None  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def put_entry(client: Client, text: str, entry: Mapping[str, Any], where: str) -> str:
    """The text with our entry; other values in an existing entry, such as variables, stay in it."""
    before = _parsed(client, text, where)
    table = _table(client, before, where)
    old = find_entry(client, text, where)
    merged = _merged(old or {}, entry)
    if old == merged:
        return text
    after = {**before, client.table: {**table, NAME: merged}}
    return _checked(client, _WRITERS[client.format](client, text, before, merged), after, where)


def drop_entry(client: Client, text: str, where: str) -> str:
    """The text without our entry."""
    before = _parsed(client, text, where)
    table = _table(client, before, where)
    if NAME not in table:
        return text
    after = {**before, client.table: {name: value for name, value in table.items() if name != NAME}}
    return _checked(client, _WRITERS[client.format](client, text, before, None), after, where)


def _parsed(client: Client, text: str, where: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    if client.format == "toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidArgument(f"This is not TOML: {error}.", where=where, allowed="TOML") from None
    value = parse_json(text, where) if client.format == "json" else parse_yaml(text, where)
    if value is not None and not isinstance(value, dict):
        raise InvalidArgument(
            "This is not an object.", where=where, allowed=f"an object with `{client.table}`"
        )
    return value or {}  # pyright: ignore[reportUnknownVariableType]


def _table(client: Client, content: Mapping[str, Any], where: str) -> dict[str, Any]:
    found = content.get(client.table)
    if found is not None and not isinstance(found, dict):
        raise InvalidArgument("This is not an object.", where=f"{where}, {client.table}", allowed="an object")
    return found or {}  # pyright: ignore[reportUnknownVariableType]


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    joined = {key: {**old[key], **new.get(key, {})} for key in _JOINED if isinstance(old.get(key), Mapping)}
    return {**old, **new, **joined}


def _checked(client: Client, text: str, wanted: Mapping[str, Any], where: str) -> str:
    """The text, if it says what it should; an empty table of servers is ignored in the comparison."""
    try:
        found = _parsed(client, text, where)
    except InvalidArgument:
        found = None
    if found is None or _filled(client, found) != _filled(client, wanted):
        raise NotAllowed(
            "This file is written in a way that cannot be changed safely.",
            where=where,
            allowed="the entry above, put in by hand",
        )
    return text


def _filled(client: Client, content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value or key != client.table}


def _json(client: Client, text: str, before: Mapping[str, Any], entry: Mapping[str, Any] | None) -> str:
    servers: dict[str, Any] = before.get(client.table) or {}
    table = {name: value for name, value in servers.items() if entry or name != NAME}
    if entry:
        table[NAME] = entry
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    indent = found[1] if found else 2
    return json.dumps({**before, client.table: table}, indent=indent, ensure_ascii=False) + "\n"


def _toml(client: Client, text: str, before: Mapping[str, Any], entry: Mapping[str, Any] | None) -> str:
    head = rf"[ \t]*\[[ \t]*{client.table}[ \t]*\.[ \t]*(?:\"{NAME}\"|{NAME})[ \t]*"
    lines = text.splitlines(keepends=True)
    start = next((n for n, line in enumerate(lines) if re.match(rf"{head}[.\]]", line)), len(lines))
    end = start
    while end < len(lines) and (
        not lines[end].lstrip().startswith("[") or re.match(rf"{head}[.\]]", lines[end])
    ):
        end += 1
    return _spliced(lines, start, end, toml_table(client.table, entry) if entry else "")


def _yaml(client: Client, text: str, before: Mapping[str, Any], entry: Mapping[str, Any] | None) -> str:
    lines = text.splitlines(keepends=True)
    head = rf"{client.table}:[ \t]*(?:\{{[ \t]*\}}|null|~)?[ \t]*(?:#.*)?$"
    top = next((n for n, line in enumerate(lines) if re.match(head, line)), len(lines))
    if top == len(lines):
        return _spliced(lines, top, top, f"{client.table}:\n{yaml_block(entry)}" if entry else "")
    if not re.match(rf"{client.table}:[ \t]*(?:#.*)?$", lines[top]):
        lines[top] = f"{client.table}:\n"
    inner = next((m[1] for line in lines[top + 1 :] if (m := re.match(r"([ ]+)[^\s#]", line))), "  ")
    ours = rf"{inner}(?:\"{NAME}\"|{NAME}):"
    start = next((n for n, line in enumerate(lines) if n > top and re.match(ours, line)), top + 1)
    end = start
    if start < len(lines) and re.match(ours, lines[start]):
        end += 1
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(inner + " ")):
            end += 1
    block = yaml_block(entry, inner) if entry else ""
    if not block and before.get(client.table, {}).keys() == {NAME}:
        lines[top] = f"{client.table}: {{}}\n"
    return _spliced(lines, start, end, block)


def _spliced(lines: list[str], start: int, end: int, block: str) -> str:
    """The lines with `block` in place of `start` to `end`; blank lines and comments before `end` belong to what
    follows.
    """
    while end > start and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    before = "".join(lines[:start])
    if before and not before.endswith("\n"):
        before += "\n"
    if block and start == len(lines) and before.strip() and not before.endswith("\n\n"):
        before += "\n"
    return before + block + "".join(lines[end:])


_WRITERS: Final = {"json": _json, "toml": _toml, "yaml": _yaml}

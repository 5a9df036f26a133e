"""Shared by the scripts that write shipped worlds: stable randomness, fictional people, the output file.

All randomness comes from `draws`, a stable hash, never from Python's generator: a script gives the same bytes on every
machine. Every person is made up.
"""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Row = dict[str, Any]
T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent


def draws(seed: int, *purpose: object) -> Iterator[float]:
    """Endless stable numbers in [0, 1) that depend only on the seed and the purpose."""
    number = 0
    while True:
        key = json.dumps([seed, *map(str, purpose), number]).encode()
        yield int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        number += 1


def pick(items: Sequence[T], chance: Iterator[float]) -> T:
    """One of the items; uses one draw."""
    return items[int(next(chance) * len(items))]


def new_name(groups: Sequence[Row], taken: set[str], chance: Iterator[float]) -> tuple[str, str]:
    """(first, last) name, both of one group, not taken before; it is then marked as taken."""
    while True:
        group = pick(groups, chance)
        first, last = pick(group["first"], chance), pick(group["last"], chance)
        if f"{first} {last}" not in taken:
            taken.add(f"{first} {last}")
            return first, last


def address(first: str, last: str, domains: Sequence[str], chance: Iterator[float]) -> str:
    """An e-mail address of that name at one of the domains; uses two draws."""
    plain = [_ascii(part).lower().replace(" ", "") for part in (first, last)]
    forms: list[Callable[[str, str], str]] = [
        lambda a, b: f"{a}.{b}",
        lambda a, b: f"{a[0]}.{b}",
        lambda a, b: f"{a}_{b}",
        lambda a, b: f"{b}.{a}",
    ]
    return pick(forms, chance)(*plain) + "@" + pick(domains, chance)


def new_people(
    names: Mapping[str, Any], count: int, chance: Iterator[float]
) -> Iterator[tuple[int, str, str]]:
    """(number from 0, name, e-mail address) of this many people, no name and no address twice.

    A caller may draw in between: each person is drawn when requested.
    """
    taken: set[str] = set()
    mails: set[str] = set()
    while len(mails) < count:
        first, last = new_name(names["people"], taken, chance)
        mail = address(first, last, names["domains"], chance)
        if mail not in mails:
            mails.add(mail)
            yield len(mails) - 1, f"{first} {last}", mail


def world_document(name: str, frame: Mapping[str, Any], data: Row) -> Row:
    """The whole world: its frame (all but the data), the policy next to its file, and the data."""
    policy = (target_of(name).parent / "policy.md").read_text(encoding="utf-8")
    head = {"format": "world/1", "name": name, "clock": frame["clock"], "policy": policy, "db": data}
    return head | {key: value for key, value in frame.items() if key not in head}


def read_source(name: str, file: str) -> Row:
    """A hand-written JSON source file of the world."""
    return json.loads((ROOT / "scripts" / name / file).read_text(encoding="utf-8"))


def target_of(name: str) -> Path:
    """The file that is shipped."""
    return ROOT / "resources" / "worlds" / name / "world.json"


def write_world(world: Row) -> int:
    """Write the file, or with --check on the command line compare it; the exit code."""
    target, text = target_of(world["name"]), _render(world)
    if "--check" in sys.argv[1:]:
        same = target.exists() and target.read_text(encoding="utf-8") == text
        print(f"{target.relative_to(ROOT)}: {'up to date' if same else 'would change'}")
        return 0 if same else 1
    target.write_text(text, encoding="utf-8")
    print(f"{target.relative_to(ROOT)}: {len(text.encode()):,} bytes")
    return 0


def _render(world: Mapping[str, Any]) -> str:
    """JSON text with one record, tool or rule per line, so that a change reads well in a diff."""
    head = [
        f"{_json(key)}: {_json(value)}" for key, value in world.items() if key not in ("db", "tools", "rules")
    ]
    collections = [f"{_json(name)}: {{\n{_lines(rows)}\n}}" for name, rows in world["db"].items()]
    head.append(f'"db": {{\n{_joined(collections)}\n}}')
    head += [f"{_json(key)}: [\n{_joined(map(_json, world[key]))}\n]" for key in ("tools", "rules")]
    return "{\n" + _joined(head) + "\n}\n"


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(rows: Mapping[str, Any]) -> str:
    return _joined(f"{_json(key)}: {_json(row)}" for key, row in rows.items())


def _joined(parts: Iterable[str]) -> str:
    return ",\n".join(parts)

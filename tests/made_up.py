"""A world of made-up words, drawn anew for each seed: what is true in it is true of no particular world."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MadeUpWorld:
    """`world` as written, and the `rules` that an agent must obey in it."""

    world: dict[str, Any]
    rules: str


def words(rng: random.Random, count: int) -> list[str]:
    """Different words of consonants and vowels that mean nothing."""
    found: list[str] = []
    while len(found) < count:
        word = "".join(rng.choice("bdfgklmnprtvz") + rng.choice("aou") for _ in range(3)) + rng.choice("kmnt")
        if word not in found:
            found.append(word)
    return found


def made_up_world(seed: int) -> MadeUpWorld:
    """Things that belong to people: one tool to see a thing, two that change it, one that admits its owner."""
    rng = random.Random(seed)
    thing, owner, state, size, proof, verb, other, ready, done, asleep, mark, low, high = words(rng, 13)
    things, owners, key, secret = f"{thing}s", f"{owner}s", f"{thing}_id", f"{proof}_code"
    prefix, letter = "".join(rng.sample("BDFGKLM", 2)), rng.choice("PQRST")
    people = {
        f"{letter}{100 + n}": {
            "name": f"{rng.choice(['Ada', 'Bo', 'Cleo', 'Dov'])} {n}",
            "city": low,
            "email": f"u{n}@x.org",
            secret: f"{proof[0].upper()}X{700 + n}",
        }
        for n in range(20)
    }
    records: dict[str, dict[str, Any]] = {
        f"{prefix}-{1000 + n}": {
            f"{owner}_id": f"{letter}{100 + n % 20}",
            state: rng.choice([ready, asleep]),
            size: 10 + n,
            mark: None,
            "log": [],
        }
        for n in range(60)
    }
    by_key = {"type": "string", "description": f"such as {prefix}-1001"}
    find = [
        {"let": {"x": f"db.{things}.get({key})"}},
        {"require": "x", "error": f"there is no {thing} {{{key}}}"},
    ]

    def tool(name: str, about: str, steps: list[Any], *needed: str, **more: Any) -> dict[str, Any]:
        schema = {"type": "object", "properties": {key: by_key, **more}, "required": [key, *needed]}
        return {"name": name, "description": about, "parameters": schema, "steps": [*find, *steps]}

    see = [{"return": f"merge({{'{key}': {key}}}, x)"}]
    change = [
        {
            "require": f"x.{state} == '{ready}'",
            "error": f"{thing} {{{key}}} is {{x.{state}}}, it has to wake up beforehand",
        },
        {"set": {f"x.{state}": f"'{done}'"}},
        {"append": "x.log", "value": "{'at': now(), 'why': note}"},
        {"return": f"{{'{key}': {key}, '{state}': x.{state}}}"},
    ]
    label = [{"set": {f"x.{mark}": mark}}, {"return": f"{{'{key}': {key}, '{mark}': x.{mark}}}"}]
    admit = [
        {"require": f"db.{owners}[x.{owner}_id]['{secret}'] == {secret}", "error": "that code is wrong"},
        {"return": "{'admitted': true}"},
    ]
    text = {"type": "string"}
    tools = [
        tool(f"get_{thing}", f"Read a {thing}.", see),
        tool(f"{verb}_{thing}", f"{verb} a {thing} for good.", change, note={**text, "default": ""}),
        tool(f"{other}_{thing}", f"{other} a {thing}.", label, mark, **{mark: {**text, "enum": [low, high]}}),
        tool(f"admit_{proof}", "Admit the caller.", admit, secret, **{secret: text}),
    ]
    rng.shuffle(tools)
    rules = [
        {"id": "admitted", "before": f"{verb}_{thing}", "need": {"tool": f"admit_{proof}"}},
        {"id": "asked", "confirm": f"{other}_{thing}"},
    ]
    fields = {state: {"enum": [ready, asleep, done]}, f"{owner}_id": {"ref": owners}}
    world: dict[str, Any] = {
        "format": "world/1", "name": thing, "policy": "", "db": {things: records, owners: people},
        "schema": {f"db.{things}": {"required": [state], "fields": fields}}, "tools": tools, "rules": rules,
    }  # fmt: skip
    return MadeUpWorld(
        world,
        f"You serve callers.\nBefore calling {verb}_{thing}, call admit_{proof}.\n"
        f"Before calling {other}_{thing}, ask the user to confirm.",
    )

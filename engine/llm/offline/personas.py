"""The offline writer's personas: combined from lists, tied to records that look like people, the same for a seed.

Only manners that the offline user acts on are written. They are templates: varied, not imagined. Kinds on request add
something to a manner: a method, a language that the offline user does not write, or records of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...seeds import choose, draw, shuffled
from ...shapes import as_list, as_object
from .words import token_set


@dataclass(frozen=True, slots=True)
class Manner:
    """How one kind of user feels and writes. `name` begins the id."""

    names: tuple[str, ...]
    moods: tuple[str, ...]
    styles: tuple[str, ...]
    guidelines: tuple[str, ...]


MANNERS: Final[Mapping[str, Manner]] = {
    "angry": Manner(
        ("angry", "fuming", "fed-up"),
        (
            "Has called twice already this week and got nowhere.",
            "Was promised an answer days ago and feels taken for a fool.",
            "Lost an afternoon over this and says so in every line.",
            "Paid in full and sees no reason to beg for what is due.",
        ),
        (
            "angry: blunt sentences, exclamation marks",
            "annoyed: sarcastic remarks, capitals now and then",
            "irritated: complains first, comes to the point afterwards",
        ),
        ("Grumble, but stay on the subject. Threaten nobody.", "Complain once, then answer what is asked."),
    ),
    "forgetful": Manner(
        ("forgetful", "scattered", "dreamy"),
        (
            "Keeps notes on slips of paper and finds the wrong one first.",
            "Juggles three things at once and loses the thread.",
            "Remembers faces and songs, never numbers.",
            "Wrote everything down, on the calendar that hangs in the other room.",
        ),
        (
            "forgetful: leaves out numbers at first",
            "absent-minded: starts in the middle of the story",
            "distracted: half-finished thoughts, corrections",
        ),
        ("Look things up only when asked for them, then give them correctly.",),
    ),
    "terse": Manner(
        ("terse", "laconic", "brisk"),
        (
            "Thinks that every message over one line is a waste.",
            "Writes the way other people send telegrams.",
            "Types with one thumb between two tasks.",
            "Likes machines because they do not ask how one is.",
        ),
        (
            "terse: a few words, lower case",
            "laconic: fragments, no greeting",
            "curt: single clauses, nothing but facts",
        ),
        ("Answer exactly what is asked, in as few words as possible.",),
    ),
    "polite": Manner(
        ("polite", "gracious", "gentle"),
        (
            "Does not want to be a burden to anybody.",
            "Was taught that a request without thanks is an order.",
            "Believes that the person at the other end has had a long day too.",
            "Writes to a help desk as if to a neighbour.",
        ),
        (
            "polite: please and thank you, whole sentences",
            "courteous: careful wording, never a complaint",
            "formal: proper greeting, proper farewell",
        ),
        ("Thank the agent for every step. Give what is asked for.",),
    ),
    "talkative": Manner(
        ("talkative", "chatty", "storytelling"),
        (
            "Tells how things came about, beginning with last Sunday.",
            "Lives alone during the week and enjoys any conversation.",
            "Knows the names of all the couriers in the street.",
            "Cannot mention a thing without mentioning where it was bought.",
        ),
        (
            "talkative: long messages with asides",
            "chatty: anecdotes, questions back",
            "rambling: one thought leads to the next",
        ),
        ("Tell a little of the day around the request, but never a wrong fact.",),
    ),
    "impatient": Manner(
        ("impatient", "rushed", "hasty"),
        (
            "Has a train to catch in ten minutes.",
            "Counts the seconds until somebody answers.",
            "Wants it settled before the next meeting begins.",
            "Holds the phone in one hand and the car keys in the other.",
        ),
        (
            "impatient: presses for speed",
            "hurried: dropped words, no greeting",
            "rushed: asks how long it takes",
        ),
        ("Push for a quick answer. Give facts without being asked twice.",),
    ),
    "upfront": Manner(
        ("upfront", "well-prepared", "methodical"),
        (
            "Puts every fact on the table at once, so that nobody has to ask twice.",
            "Has the papers sorted in a folder with coloured tabs.",
            "Prepared the message in an editor before sending it.",
            "Keeps a list of every call with date and hour.",
        ),
        (
            "upfront: complete and in order, businesslike",
            "organised: numbers first, wishes afterwards",
            "thorough: every detail, neatly listed",
        ),
        ("Give all facts that belong to the matter in the first message.",),
    ),
}
"""By kind."""

_Job = tuple[str, str, int, int]
_JOBS: Final[tuple[_Job, ...]] = (
    ("nurse", "a night-shift nurse who sleeps through office hours", 23, 65),
    ("baker", "a baker, up since three and covered in flour", 23, 65),
    ("welder", "a welder at the harbour with a loud radio", 23, 65),
    ("student", "a student of law in a shared flat", 18, 29),
    ("beekeeper", "a beekeeper who sells honey on Saturdays", 30, 82),
    ("violinist", "a violinist between two rehearsals", 21, 70),
    ("gardener", "a gardener for the city's parks", 19, 64),
    ("teacher", "a primary school teacher with thirty essays to mark", 23, 65),
    ("bus-driver", "a bus driver on the early line", 23, 65),
    ("retiree", "a retired engineer who repairs clocks", 66, 88),
    ("pharmacist", "a pharmacist in a village where everybody knows everybody", 23, 65),
    ("translator", "a translator of manuals, mostly for pumps", 23, 65),
    ("carpenter", "a carpenter building stairs in old houses", 23, 65),
    ("programmer", "a programmer who works from a kitchen table", 23, 65),
    ("midwife", "a midwife on call this weekend", 23, 65),
    ("farmer", "a dairy farmer with two hundred cows", 26, 74),
    ("cook", "a cook in a hospital canteen", 23, 65),
    ("librarian", "a librarian who runs the children's corner", 23, 65),
    ("pilot", "a cargo pilot, home every other week", 23, 65),
    ("tailor", "a tailor with a small shop under the railway", 23, 65),
    ("accountant", "an accountant in the last week of the quarter", 23, 65),
    ("coach", "a swimming coach for teenagers", 23, 65),
    ("potter", "a potter whose kiln broke down", 24, 79),
    ("electrician", "an electrician who answers from ladders", 23, 65),
    ("judge", "a judge at a small court, exact by habit", 41, 66),
    ("florist", "a florist before a wedding weekend", 23, 65),
    ("geologist", "a geologist, back from a month in the field", 23, 65),
    ("cleaner", "a cleaner with three offices before dawn", 23, 65),
    ("beginner", "new to doing such things alone after forty years of marriage", 66, 86),
    ("new-parent", "the parent of newborn twins, short of sleep", 22, 44),
    ("taxi-driver", "a taxi driver writing at red lights", 23, 65),
    ("fisher", "a fisher who is on land only at high tide", 20, 72),
    ("vet", "a vet for horses with muddy boots", 23, 65),
    ("actor", "an actor in a touring theatre", 22, 71),
    ("plumber", "a plumber with a van full of copper", 23, 65),
    ("dentist", "a dentist between two patients", 23, 65),
    ("painter", "a painter of signs and shop fronts", 23, 65),
    ("soldier", "a soldier on leave until Monday", 19, 48),
    ("au-pair", "an au pair in the first month abroad", 18, 26),
    ("grandparent", "a grandparent who looks after five children on Fridays", 58, 84),
)
"""(end of the id, description of the work, least and greatest age)"""
_NAME_LIST: Final = (
    "Aiyana Ama Anneke Arjun Asel Bilal Bogdan Callum Chidi Dilnoza Eilidh Emre Farah Fionn Giulia Hana Hinemoa Ines "
    "Ivo Jorge Kaito Katarzyna Kofi Lakshmi Leilani Luca Mairead Malik Mateo Mei Mihai Nadia Noor Oksana Olamide Pablo "
    "Pia Quentin Rania Rasmus Sione Soraya Tadeusz Tomoko Tuan Ulrike Wanjiru Xiomara Yaw Yusuf Zeynep Zofia"
)
_NAMES: Final = _NAME_LIST.split()
WITH_METHOD: Final = ("crescendo", "injecting", "impersonating", "extracting", "off_policy")
"""Kinds whose users pursue something by a method; what it is the scenario says."""
_LANGUAGES: Final = (
    "Spanish",
    "French",
    "German",
    "Portuguese",
    "Turkish",
    "Polish",
    "Hindi",
    "Arabic",
    "Japanese",
)
_ON_REQUEST: Final = (*WITH_METHOD, "multilingual", "with_data")
_PEOPLE_WORDS: Final = (
    "email mail phone zip postcode city address street birth birthday born gender age mobile"
)
_OF_PEOPLE: Final = frozenset(_PEOPLE_WORDS.split())
_OF_PEOPLE_ALONE: Final = frozenset({"email", "mail", "birth", "birthday", "born", "gender", "age", "mobile"})
"""Without address fields, since places have addresses too."""
_NUMBER: Final = re.compile(r"[A-Z]{1,4}-?\d{3,}")
"""A number unique to a person."""
_PLACES: Final = ("city", "town", "village", "home_town", "place", "location")
_TOLD: Final = ("name", "email", "phone", "zip", "city")
"""Fields of its record that a person knows by heart."""
_YOUNG: Final = re.compile(r"\b(?:young|younger|teen\w*|students?)\b", re.IGNORECASE)
_OLD: Final = re.compile(r"\b(?:old|older|elderly|senior\w*|retired|pensioners?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Person:
    path: str
    name: str
    place: str
    record: Mapping[str, Any]
    refers: frozenset[str] = frozenset()
    """Fields that hold keys of other records."""


def write_personas(data: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """`{"personas": [...]}` for `{"count", "kinds", "brief", "existing", "world": {"collections"}}`."""
    brief = str(data.get("brief") or "")
    known = (*MANNERS, *_ON_REQUEST)
    kinds = [kind for kind in map(str, as_list(data.get("kinds"))) if kind in known] or list(MANNERS)
    taken = " ".join(str(as_object(item).get("id")) for item in as_list(data.get("existing")))
    wanted = token_set(brief)
    jobs = shuffled(_JOBS, seed, "jobs")
    least, most = _ages(brief)
    jobs = [job for job in jobs if job[2] <= most and job[3] >= least]
    jobs.sort(key=lambda job: (-len(wanted & token_set(f"{job[0]} {job[1]}")), job[0] in taken))
    people = shuffled(_people(as_object(data.get("world"))), seed, "people")
    names = shuffled(_NAMES, seed, "names")
    count: Any = data.get("count")
    written: list[dict[str, Any]] = []
    for n in range(count if isinstance(count, int) else 1):
        person = people[n] if n < len(people) else _Person("", names[n % len(names)], "", {})
        kind = kinds[n % len(kinds)]
        job = jobs[n % len(jobs)]
        youngest, oldest = max(least, job[2]), min(most, job[3])
        age = youngest + int(draw(seed, n, "age") * (oldest - youngest + 1))
        if kind == "with_data" and person.path:
            written.append(_newcomer(kind, job, person, names[n % len(names)], age, seed, n))
        else:
            written.append(_persona(kind, job, person, age, seed, n))
    return {"personas": written}


def _persona(kind: str, job: _Job, person: _Person, age: int, seed: int, n: int) -> dict[str, Any]:
    manner = MANNERS.get(kind) or MANNERS[choose(list(MANNERS), seed, n, "manner")]
    begins = choose(manner.names, seed, n, "name") if kind in MANNERS else kind.replace("_", "-")
    place = f" from {person.place}" if person.place else ""
    made: dict[str, Any] = {
        "id": f"{begins}-{job[0]}",
        "kind": kind,
        "profile": f"{person.name}{place}, {age}, {job[1]}. {choose(manner.moods, seed, n, 'mood')}",
        "style": choose(manner.styles, seed, n, "style"),
        "traits": [kind],
        "guidelines": choose(manner.guidelines, seed, n, "guidelines"),
    }
    if kind == "multilingual":
        language = choose(_LANGUAGES, seed, n, "language")
        made |= {
            "language": language,
            "style": f"{made['style']}; writes {language} with English words in between",
        }
    return {**made, "record": person.path} if person.path else made


def _newcomer(
    kind: str, job: _Job, person: _Person, name: str, age: int, seed: int, n: int
) -> dict[str, Any]:
    """A person with a record of its own, modelled on another one."""
    key, record = _own_record(person, name, seed, n)
    home = _path_parts(person.path)[0]
    made = _persona(kind, job, _Person("", name, _place(record), {}), age, seed, n)
    row = {"fact": f"{_singular(home)} id", "value": key}
    facts = [
        row,
        *({"fact": field, "value": record[field]} for field in _TOLD if isinstance(record.get(field), str)),
    ]
    return {**made, "knowledge": facts, "data": {"db": {home: {key: record}}}}


def _own_record(person: _Person, name: str, seed: int, n: int) -> tuple[str, dict[str, Any]]:
    """(key, record): another name, address and number; lists, which belong to somebody, are empty."""
    key = _other_digits(_path_parts(person.path)[1], name, seed, n)
    whole = re.split(r"\s+", str(person.record.get("name") or ""))
    last = whole[-1] if len(whole) > 1 else choose(_NAMES, seed, n, "last")
    fresh: dict[str, Any] = {
        "name": f"{name} {last}" if len(whole) > 1 else name,
        "full_name": f"{name} {last}",
        "first_name": name,
        "given_name": name,
        "email": f"{name}.{last}{int(draw(seed, n, 'email') * 900) + 100}@example.com".lower(),
    }

    def other(field: str, value: Any) -> Any:
        if value == _path_parts(person.path)[1]:
            return key
        if isinstance(value, str) and field not in person.refers and _NUMBER.fullmatch(value):
            return _other_digits(value, name, seed, n)
        return fresh.get(field, value) if isinstance(value, str) else value

    def renewed(record: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for field, value in record.items():
            if isinstance(value, list):
                made[field] = []
            elif isinstance(value, Mapping):
                made[field] = renewed(as_object(value))
            else:
                made[field] = other(field, value)
        return made

    return key, renewed(person.record)


def _other_digits(key: str, name: str, seed: int, n: int) -> str:
    """A key of the same form: other digits, or the name with digits."""
    if not any(c.isdigit() for c in key):
        return f"{name.lower()}_{int(draw(seed, n, 'key') * 9000) + 1000}"
    digits = (str(int(draw(seed, n, "digit", at) * 9) + 1) if c.isdigit() else c for at, c in enumerate(key))
    return "".join(digits)


def _ages(brief: str) -> tuple[int, int]:
    """The age range that a brief mentions."""
    return (18, 29) if _YOUNG.search(brief) else (66, 88) if _OLD.search(brief) else (18, 88)


def _people(world: Mapping[str, Any]) -> list[_Person]:
    """The sample records of the collection whose fields look most like those of people."""
    best: list[_Person] = []
    most = 0
    for name, raw in as_object(world.get("collections")).items():
        sample, told = as_object(as_object(raw).get("sample")), as_object(as_object(raw).get("fields"))
        refers = frozenset(field for field, kind in told.items() if str(kind).startswith("key of "))
        found = [
            _Person(_path(name, key), called, _place(as_object(record)), as_object(record), refers)
            for key, record in sample.items()
            if (called := _name(as_object(record)))
        ]
        fields: set[str] = set()
        for record in sample.values():
            fields |= {word for field in _flat(as_object(record)) for word in field.lower().split("_")}
        score = len(fields & _OF_PEOPLE) + len(fields & _OF_PEOPLE_ALONE)
        if found and score > most:
            best, most = found, score
    return best


def _name(record: Mapping[str, Any]) -> str:
    flat = _flat(record)
    for field in ("first_name", "given_name", "name", "full_name"):
        value = flat.get(field)
        if isinstance(value, str) and re.fullmatch(r"[^\W\d_][\w'\u2019. -]{0,60}", value):
            return value.split()[0]
    return ""


def _place(record: Mapping[str, Any]) -> str:
    flat = _flat(record)
    return next((value for field in _PLACES if isinstance(value := flat.get(field), str)), "")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record and of the objects in it."""
    inner = {k: v for value in record.values() for k, v in as_object(value).items()}
    return {**inner, **record}


def _path(collection: str, key: str) -> str:
    return "db" + "".join(f".{name}" if name.isidentifier() else f"[{name!r}]" for name in (collection, key))


def _path_parts(path: str) -> tuple[str, str]:
    """(collection, key) of a path written by `_path`."""
    found = [a or b for a, b in re.findall(r"\.(\w+)|\['([^']*)'\]", path)]
    return found[0], found[1]


def _singular(collection: str) -> str:
    return collection.removesuffix("s").replace("_", " ")

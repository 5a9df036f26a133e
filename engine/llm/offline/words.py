"""Words: stems, labels and the small closed lists of English that every role shares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_STOP_WORDS: Final = """
a about all also am an and any are as ask at be been but by can cannot could did do does done for from get give go
got had has have he hello help her here hey hi him his how i if in into is it its just kindly know last let like me
more my need new no not now of off on one or our out over please really she should so some sorry still such tell
than thank thanks that the their them then there these they this those to too try up us very want was we well were
what when where which who why will with would yes you your anything everything nothing something
"""
STOP: Final = frozenset(_STOP_WORDS.split())
"""Words without a subject. `new` and `last` are kept by `label_tokens`, where they distinguish fields."""

MAX_TEXT: Final = 20_000
"""Characters of one text that are read."""
_SHORT: Final = 1000
_BLANKS: Final = re.compile(r"\s{2,}")
_SAME: Final = {
    "number": "id",
    "no": "id",
    "code": "id",
    "reference": "id",
    "ref": "id",
    "identifier": "id",
    "mail": "email",
    "e-mail": "email",
}
_LABEL_STOP: Final = (STOP | {"provide"}) - {"new", "last", "one", "more", "off", "from", "to", "out"}
_SUFFIXES: Final = (
    "ications", "ication", "ations", "ation", "ments", "ment", "ances", "ance", "ities", "ity",
    "ings", "ing", "ions", "ion", "ied", "ies", "ed", "es", "al", "s", "e", "y",
)  # fmt: skip
_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][a-z]+)?")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_YES: Final = re.compile(
    r"^\W*(?:yes|yeah|yep|yup|sure|correct|right|confirm(?:ed)?|i (?:do )?confirm|i agree|agreed|please do|do it|"
    r"go ahead|of course|absolutely|certainly|ok(?:ay)?|fine|that is (?:right|correct|fine))\b",
    re.IGNORECASE,
)
_NO: Final = re.compile(
    r"^\W*(?:no|nope|nah|never|stop|wait|don'?t|do not|please (?:don'?t|do not)|i (?:do not|don'?t) "
    r"(?:confirm|agree|want)|rather not|not now)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=32768)
def stem(word: str) -> str:
    """The stem of a lower-case word: the longest known ending removed, at least three letters left."""
    if word.isdigit():
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not (suffix == "s" and word[-2] == "s"):
            cut = word[: -len(suffix)]
            doubled = len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "aeiouslz"
            lled = len(cut) > 5 and cut.endswith("ll") and suffix in ("ed", "ing", "ation", "er")
            return cut[:-1] if doubled or lled else cut
    return word


@lru_cache(maxsize=8192)
def tokens(text: str) -> tuple[str, ...]:
    """Stems of the words that carry a subject, in order; snake_case and camelCase names are split."""
    return tuple(stem(word) for word in _words(text) if word not in STOP)


@lru_cache(maxsize=8192)
def token_set(text: str) -> frozenset[str]:
    return frozenset(tokens(text))


@lru_cache(maxsize=8192)
def label_tokens(text: str) -> frozenset[str]:
    """Stems of a field's label, treating number, code, reference and id as the same word."""
    return frozenset(_SAME.get(word, stem(word)) for word in _words(text) if word not in _LABEL_STOP)


@lru_cache(maxsize=4096)
def label(name: str) -> str:
    """A field's or tool's name as people say it: `order_id` is `order id`."""
    return " ".join(_CAMEL.sub(" ", name).replace("_", " ").replace("-", " ").lower().split())


def clipped(text: str) -> str:
    """The first 20,000 characters, with runs of whitespace collapsed: keeps patterns fast and caches small."""
    if len(text) <= _SHORT:
        return text
    return _BLANKS.sub(lambda run: "\n" if "\n" in run[0] else " ", text[:MAX_TEXT])


def listing(words: str) -> frozenset[str]:
    """A closed list of words, written with blanks between them."""
    return frozenset(words.split())


def says_yes(text: str) -> bool:
    return _YES.match(text) is not None and _NO.match(text) is None


def says_no(text: str) -> bool:
    return _NO.match(text) is not None


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text).replace("_", " "))]

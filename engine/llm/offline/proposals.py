"""What an agent's text asks of the user: leave to act, agreement, a choice, a fact, or whether there is more.

Told by the structure of a sentence: a modal verb before `I`, an offer (`would you like me to`), a question of
agreement, a tag (`, ok?`), a short question without a subject (`Close it?`), a request to confirm. Then the verb
decides: `May I close it?` wants a yes, `May I have your email?` a fact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .asking_words import (
    ADVERBS,
    AGREEING,
    ALONE,
    ALTERNATIVE,
    ASKING,
    CLOSING,
    CONFIRM,
    FINE,
    FITS,
    GETTING,
    GOES_ON,
    HELPED,
    HELPING,
    LEADS,
    LEAVE,
    LIKING,
    LOOKING,
    MARKUP,
    MODALS,
    MORE,
    MOST,
    MOST_WORDS,
    NO_VERB,
    OBJECTS,
    ONCE,
    PARTICIPLES,
    REQUEST,
    SAY_YES,
    SENTENCES,
    STOPS,
    TAG,
    TELLING,
    THERE,
    THINGS,
    WH,
    WILL,
    WISH,
    WORD,
    YES_NO,
    YES_NO_VERBS,
)
from .proposals_abroad import language_of

Sort = Literal["act", "offer", "check", "fact", "wish", "more", "helped", "there"]
"""act: may it do this; offer: does the user want this; check: is this so; fact: it asks for something; wish: what the
user wants; more: whether there is anything else; helped: whether that was of use; there: whether the user is there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One sentence that waits for an answer.

    `action`: the words of what is to be done, or of what is asked. `before`: what was said before it. `sure`: whether
    it is certainly of its sort, so that a fact of the sheet would be no answer.
    """

    sort: Sort
    action: str
    before: str
    sure: bool = True
    language: str = ""
    """Another language than English in which it asks."""


@lru_cache(maxsize=4096)
def asked_in(text: str) -> tuple[Asked, ...]:
    """What a text asks, in order; empty if it waits for nothing."""
    found: list[Asked] = []
    said: list[str] = []
    for sentence in SENTENCES.split(MARKUP.sub("", text))[-MOST:]:
        one = _asked(sentence.strip(), " ".join(said)) if sentence.strip() else None
        if one is not None:
            found.append(one)
        said.append(sentence)
    return tuple(found)


def proposes(text: str) -> bool:
    """Whether a text asks the user to agree to something."""
    return any(one.sort in ("act", "offer") for one in asked_in(text))


def _asked(sentence: str, before: str) -> Asked | None:
    if "?" not in sentence and not YES_NO.search(sentence):
        return _requested(sentence, before)
    if CLOSING.search(sentence) and "?" in sentence:
        first = ALTERNATIVE.split(sentence)[0]
        other = _asked(f"{first}?", before) if first != sentence and not CLOSING.search(first) else None
        return other or Asked("more", sentence, before)
    if HELPED.search(sentence):
        return Asked("helped", sentence, before)
    if THERE.search(sentence):
        return Asked("there", sentence, before)
    if WISH.search(sentence):
        return Asked("wish", sentence, before)
    tagged = _tagged(sentence, before)
    if tagged is not None:
        return tagged
    plain = WORD.findall(sentence)[:MOST_WORDS]
    words = tuple(word.lower().replace("\u2019", "'") for word in plain)
    sort, at, sure = _sort_of(words) if words else ("check", 0, False)
    if not sure and (language := language_of(sentence)):
        return Asked("act", sentence, before, language=language)
    action = " ".join(plain[at:]).replace(" ,", ",") if sort in ("act", "offer") else ""
    return Asked(sort, action or sentence, before, sure)


def _requested(sentence: str, before: str) -> Asked | None:
    """A request without a question mark: to say yes, to confirm, or to tell something."""
    if SAY_YES.search(sentence):
        return Asked("act", sentence, before)
    if CONFIRM.search(sentence):
        return Asked("act", sentence, before, sure=False)
    if WISH.search(sentence):
        return Asked("wish", sentence, before)
    if REQUEST.search(sentence):
        return Asked("fact", sentence, before)
    return Asked("act", sentence, before, sure=False) if ONCE.search(sentence) else None


def _tagged(sentence: str, before: str) -> Asked | None:
    """`I will close it, ok?`, `Is that correct?`, `OK?`, `... (yes/no)`: the statement is what is asked."""
    rest = YES_NO.sub(" ", sentence).strip(" ?!.:;,-")
    if rest != sentence.strip(" ?!.:;,-"):
        if not rest:
            return Asked("act", before, "")
        return Asked("act", rest, before, sure=CONFIRM.search(rest) is None)
    found = TAG.search(sentence)
    if found is None:
        return None
    stated = sentence[: found.start()].strip()
    sort: Sort = "act" if not stated or WILL.search(stated) else "check"
    return Asked(sort, stated or before, before if stated else "")


def _sort_of(words: Sequence[str]) -> tuple[Sort, int, bool]:
    """(the sort of a question, where what is asked begins in its words, whether that is sure)."""
    start = _start(words)
    for at in range(start, len(words) - 1):
        found = _addressed(words, at, start)
        if found is not None:
            return found
    if any(word in WH for word in words[start:]):
        return "fact", start, True
    if any(word in LEAVE for word in words[start:]) and "your" in words:
        return "act", start, True
    if _is_fine(words, start):
        return "act", start, True
    return ("act", start, False) if _is_bare(words[start:]) else _plainly(words, start)


def _addressed(words: Sequence[str], at: int, start: int) -> tuple[Sort, int, bool] | None:
    """What is asked where a verb and its subject, I or you, stand at a place; None if they do not."""
    first, second = words[at], words[at + 1]
    wondering = any(word in WH for word in _clause(words, at))
    mine = second in ("i", "we")
    if wondering:
        return ("act", at + 2, True) if mine and first in ("about", "if", "don't") else None
    if mine and first == "if":
        return "act", at + 2, True
    if mine and first in MODALS | {"am", "are"}:
        return _of_agent(words, at + 2)
    if second == "you" and first in MODALS | {"are", "have", "don't", "wouldn't"}:
        return _of_user(words, at + 2)
    if first == "you" and second in LIKING and at <= start + 1:
        return _liking(words, at + 2)
    if first in ("want", "need") and second in ("me", "us") and at == start:
        return _liking(words, at + 1)
    return None


def _start(words: Sequence[str]) -> int:
    at = 0
    while at < len(words) - 1 and (words[at] in LEADS or words[at] in STOPS):
        at += 1
    return at


def _clause(words: Sequence[str], at: int) -> Sequence[str]:
    """The words of the clause before a place."""
    start = next((k + 1 for k in range(at - 1, -1, -1) if words[k] in STOPS), 0)
    return words[start : at + 1]


def _of_agent(words: Sequence[str], at: int) -> tuple[Sort, int, bool]:
    """`may I …`: an act, unless its verb asks for something."""
    begin, at = at, _past(words, at)
    if words[at : at + 1] == ("to",):
        at += 1
    head, rest = (words[at] if at < len(words) else ""), words[at + 1 :]
    if head == "go" and rest[:2] == ("ahead", "and"):
        return _of_agent(words, at + 3)
    if head in LOOKING and any(word in WH for word in rest):
        return "fact", at, True
    if head in ASKING:
        if "you" in rest[:1] and "to" in rest[1:2] and not set(rest[2:3]) & TELLING:
            return "act", at + 3, False
        return "fact", at, True
    if head in GETTING and _wants_thing(head, rest):
        return "fact", at, True
    if head in GETTING:
        return "act", begin, bool(rest) and rest[0] in THINGS
    if head in HELPING and (len(rest) < 3 or set(rest) & MORE):
        return "more", at, True
    if head == "do" and rest[:1] and rest[0] in MORE:
        return "more", at, True
    return "act", begin, head not in LOOKING


def _wants_thing(head: str, rest: Sequence[str]) -> bool:
    """`have your email`, not `have it closed`, `get you a refund`, `take a look`."""
    if not rest or rest[0] in THINGS or set(rest) & LEAVE:
        return False
    if head in ("take", "note", "write"):
        return rest[0] in ("your", "down")
    return not any(word in PARTICIPLES or re.fullmatch(r"\w{2,}ed", word) for word in rest)


def _of_user(words: Sequence[str], at: int) -> tuple[Sort, int, bool]:
    """`would you like …`, `do you confirm …`, `could you tell me …`."""
    at = _past(words, at)
    head = words[at] if at < len(words) else ""
    if head in LIKING:
        return _liking(words, at + 1)
    if head in TELLING or (head in ("have", "know", "remember") and words[at + 1 : at + 2] != ("to",)):
        return "fact", at, True
    if head == "mind":
        giving = words[at + 1 : at + 2]
        asked = (
            bool(giving)
            and giving[0].endswith("ing")
            and giving[0][:-3] in TELLING | {"provid", "shar", "giv"}
        )
        return ("fact" if asked else "act"), at + 1, True
    if head in AGREEING:
        return "act", at + 1, head not in LOOKING
    if head in FINE | {"agreeing"}:
        return "act", at + 1, True
    return "check", at, False


def _liking(words: Sequence[str], at: int) -> tuple[Sort, int, bool]:
    """What follows `would you like`."""
    at = _past(words, at)
    rest = words[at:]
    if rest[:1] == ("for",):
        rest = rest[1:]
    if rest[:1] in (("me",), ("us",), ("that",)) or rest[:2] in (("if", "i"), ("if", "we")):
        begin = next((k + 1 for k, word in enumerate(rest[:4]) if word in ("to", "i", "we")), 0)
        helps = begin < len(rest) and rest[begin] in HELPING and bool(set(rest[begin:]) & MORE)
        return ("more" if helps else "act"), len(words) - len(rest) + begin, True
    if rest[:1] == ("to",):
        verb = rest[_past(rest, 1) : _past(rest, 1) + 1]
        if verb and verb[0] in TELLING:
            return "fact", at + 1, True
        return ("more" if set(rest) & MORE else "offer"), at + 1, True
    helps = bool(set(rest) & (MORE | {"help", "assistance"})) and len(rest) < 6
    return ("more" if helps else "offer"), at, True


def _is_fine(words: Sequence[str], start: int) -> bool:
    """`is it ok if …`, `does that work for you`, `good to go`: a word of agreement as the predicate of a question."""
    if words[start] not in YES_NO_VERBS:
        led = [(word, *words[at + 1 : at + 2]) for at, word in enumerate(words[: start + 1])]
        return any(
            pair[0] in FINE | FITS and (len(pair) == 1 or pair[1] in FINE | {"to", "if", "for", "with"})
            for pair in led
        ) or ("objection" in words[start + 1 :][:1] or "objections" in words[start + 1 :][:1])
    subject = words[start + 1 : start + 2]
    for at in range(start + 1, min(len(words), start + 9)):
        after = words[at + 1] if at + 1 < len(words) else ""
        if words[at] in FINE and (not after or after in GOES_ON):
            return True
        if (
            words[at] in FITS
            and subject
            and subject[0] in THINGS | {"either", "any", "one"}
            and (not after or after in GOES_ON | FINE)
        ):
            return True
    return False


def _is_bare(words: Sequence[str]) -> bool:
    """`Close it?`, `Cancel order W1 now?`, `Proceed?`: a verb and its object, without a subject."""
    while words and words[0] in ADVERBS:
        words = words[1:]
    if not words or words[0] in NO_VERB or not words[0].isalpha():
        return False
    rest = [word for word in words[1:5] if word not in ADVERBS]
    if not rest:
        return words[0] in ALONE or len(words) > 1
    if "of" in rest[:1]:
        return False
    return rest[0] in OBJECTS or any(map(str.isdigit, "".join(rest[:2]))) or words[:2] == ("go", "on")


def _plainly(words: Sequence[str], start: int) -> tuple[Sort, int, bool]:
    """A question about what is so, if it has a verb or states a value; else it names a fact: `Order number?`."""
    stated = any(char.isdigit() or char == "@" for char in "".join(words))
    return ("check" if words[start] in YES_NO_VERBS or stated or len(words) > 6 else "fact"), start, False


def _past(words: Sequence[str], at: int) -> int:
    """The place after adverbs."""
    while at < len(words) and words[at] in ADVERBS:
        at += 1
    return at

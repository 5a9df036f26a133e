"""Whether a user's yes was certainly given to a question about something else than a call.

Only what cannot be read otherwise counts: a question for a fact, or for what else the user wants, that speaks of no
action; and a question that names another record for the very action of the call. In doubt the yes is to the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ..llm.offline.proposals import Asked, asked_in
from ..llm.offline.words import stem, token_set
from ..records.conversation import SayEntry, ToolEntry
from ..shapes import as_list, as_object
from .consent import says_yes
from .texts import has_words

_MOST_READ: Final = 20_000
"""Characters of one text; a longer one is never certain."""
_MAYBE: Final = re.compile(
    r"\b(?:if|whether|or|should|shall|want|wish|like|prefer|rather|about|not|don't|we|let's|confirm\w*|yes|ok|okay|"
    r"agree\w*|permission|consent|approv\w*|go-ahead|authori\w*|proceed|continue|ahead|decision|choice|decide|say|"
    r"sound|sounds|think|look|feel|opinion|plan|work|suit|happy|ready|good|fine|that|this|it|so|once|before|"
    r"i'll|i will|i'd|i would|going to|about to)\b",
    re.IGNORECASE,
)
"""Words with which a question may be about what the agent is going to do."""
_GO: Final = re.compile(
    r"\b(?:go ahead|go for it|proceed|do it|do that|please do|confirm\w*)\b", re.IGNORECASE
)
_RECORD: Final = re.compile(
    r"(?P<verb>[a-z]+) (?:(?!(?:and|for|to|with|or|by|from|on|not|than) )[a-z]+ ){0,3}(?P<id>#?[\w-]{1,60})"
    r"(?: (?:for you|now|please|then|today|as well|too|also|instead))*[ ?.!]*",
    re.IGNORECASE,
)


def answers_another(
    says: Sequence[SayEntry], call: ToolEntry, root: Mapping[str, Any], words: Sequence[str]
) -> bool:
    """Whether the last yes was to another question, and no yes before it can have been about the call.

    `root`: the state, `{"db": …}`, whose collections tell records of one kind; `words`: the rule's own words for yes.
    """
    talk = list(_exchanges(says))
    if not talk or not _is_other(*talk[-1], call, root):
        return False
    return all(
        _is_other(asked, answer, call, root)
        for asked, answer in talk[:-1]
        if asked and says_yes(answer, words)
    )


def _exchanges(says: Sequence[SayEntry]) -> Iterator[tuple[str, str]]:
    """(what the agent said, what the user answered), turn by turn."""
    asked: list[str] = []
    answer: list[str] = []
    for say in says:
        if say.by == "agent" and answer:
            yield "\n".join(asked), "\n".join(answer)
            asked, answer = [], []
        (asked if say.by == "agent" else answer).append(say.say)
    if answer:
        yield "\n".join(asked), "\n".join(answer)


def _is_other(asked: str, answer: str, call: ToolEntry, root: Mapping[str, Any]) -> bool:
    acts = token_set(call.tool) - token_set(" ".join(call.args))
    found = asked_in(asked) if max(len(asked), len(answer)) <= _MOST_READ else ()
    if not acts or not found or acts & token_set(answer) or _GO.search(answer):
        return False
    if all(one.sort in ("fact", "more", "wish") and one.sure for one in found):
        return not (_MAYBE.search(asked.replace("\u2019", "'")) or acts & token_set(asked))
    own, kinds = _records(call, root)
    if any(has_words(f"{asked} {answer}", id.lstrip("#")) for id in own):
        return False
    return bool(own) and all(_names_one_of(kinds, acts, one) for one in found)


def _records(call: ToolEntry, root: Mapping[str, Any]) -> tuple[set[str], Sequence[Mapping[str, Any]]]:
    """(the arguments that are keys of records, the collections that have these)."""
    values = {v for arg in call.args.values() for v in (arg, *as_list(arg)) if isinstance(v, str)}
    boxes = [as_object(box) for side in root.values() for box in as_object(side).values()]
    kinds = [box for box in boxes if any(value in box for value in values)]
    return {value for value in values if any(value in box for box in kinds)}, kinds


def _names_one_of(kinds: Sequence[Mapping[str, Any]], acts: frozenset[str], one: Asked) -> bool:
    """Whether a question is whether to do the call's action with one record of these collections: `cancel B3`."""
    found = _RECORD.fullmatch(one.action) if one.sort == "act" and one.sure else None
    if found is None or stem(found["verb"].lower()) not in acts:
        return False
    bare = found["id"].lstrip("#")
    return any(id in box for id in (bare, f"#{bare}") for box in kinds)

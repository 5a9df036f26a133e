"""Consent: whether a user's text says yes, and to which question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..llm.offline.proposals import proposes
from ..records.conversation import SayEntry
from .texts import MOST_READ, folded, has_words

YES: Final = (
    *(
        "yes",
        "yeah",
        "yep",
        "yup",
        "sure",
        "ok",
        "okay",
        "confirm",
        "confirmed",
        "correct",
        "agreed",
        "proceed",
    ),
    *(
        "absolutely",
        "definitely",
        "certainly",
        "fine",
        "perfect",
        "go ahead",
        "please do",
        "do it",
        "of course",
    ),
    *(
        "go for it",
        "that's right",
        "that is right",
        "sounds good",
        "that works",
        "works for me",
        "by all means",
    ),
)
"""English words of agreement."""
_NO: Final = (
    "no",
    "nope",
    "nah",
    "not",
    "don't",
    "dont",
    "wait",
    "hold on",
    "cannot",
    "rather not",
    "but first",
)
_WHOLE: Final = re.compile(
    r"[\W_]*(?:(?:y|please|i (?:really )?do(?: please)?)[\W_]*|\U0001f44d[\W_]*)", re.IGNORECASE
)
"""A whole answer that agrees, whatever its words mean elsewhere."""
_ABROAD: Final = re.compile(
    r"\W*(?:ja|oui|sí|sì|si|sim)(?=\W*$|\W*[,.!]|\W+(?:bitte|gerne?|graag|merci|s'il|por favor|per favore|please|"
    r"claro|obrigad[oa]|gracias|grazie)(?!\w))"
)
_NO_ABROAD: Final = re.compile(
    r"(?<!\w)(?:nein|nicht|kein\w*|aber|warte\w*|moment|non|pas|mais|attend\w*|pero|espera|espere|não|nao|mas|ma|"
    r"aspett[ai]|però|nee|niet|geen|maar|wacht)(?!\w)"
)
_HARMLESS: Final = re.compile(
    r"(?<!\w)(?:no (?:problem|worries|rush|hurry|questions|objections?|longer|need to ask)|"
    r"not (?:a problem|at all|urgent)|"
    r"why not|don't mind|do not mind|(?:don't|do not) (?:need|use|want) (?:it|this|that|them) any ?(?:more|longer)|"
    r"no,? (?:(?:please )?(?:go (?:right )?ahead|proceed)|please do(?= so| it|[.!,]|$)))(?!\w)"
)
"""Phrases with a "no" that refuse nothing."""
_NEGATION: Final = re.compile(r"\b(?:no|not|don't)\b")


def says_yes(text: str, words: Sequence[str] = ()) -> bool:
    """Whether a text agrees: it contains a word of the list (English, or `words`) and none that says no."""
    text = text[:MOST_READ]
    plain = _HARMLESS.sub(_kept, folded(text))
    agreeing = tuple(words) or YES
    agrees = any(has_words(text if words else plain, word) for word in agreeing)
    if not agrees and (words or not _agrees_shortly(plain)):
        return False
    given = {folded(word) for word in words}
    return not any(has_words(plain, word) for word in _NO if word not in given)


def _agrees_shortly(plain: str) -> bool:
    """Whether a text without a word of the list agrees: `y`, `Please.`, a thumbs-up, or a foreign yes at its start."""
    if _WHOLE.fullmatch(plain):
        return True
    return _ABROAD.match(plain) is not None and not _NO_ABROAD.search(plain)


def _kept(found: re.Match[str]) -> str:
    """A harmless phrase without its "no"."""
    return _NEGATION.sub(",", found[0])


def question_answered(says: Sequence[SayEntry]) -> tuple[SayEntry | None, SayEntry | None]:
    """(the agent's question, the user's last text); the question is in what the agent said just before.

    A request to agree needs no question mark: `Please confirm: close ticket T2.`
    """
    answer = next((i for i in range(len(says) - 1, -1, -1) if says[i].by == "user"), None)
    if answer is None:
        return None, None
    before = list(says[:answer])
    while before and before[-1].by == "user":
        before.pop()
    while before and before[-1].by == "agent":
        say = before.pop()
        if "?" in say.say or proposes(say.say):
            return say, says[answer]
    return None, says[answer]

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
from typing import Final, Literal

from .proposals_abroad import language_of
from .words import listing

Sort = Literal["act", "offer", "check", "fact", "wish", "more", "helped"]
"""act: may it do this; offer: does the user want this; check: is this so; fact: it asks for something; wish: what the
user wants; more: whether there is anything else; helped: whether that was of use."""


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
    for sentence in _SENTENCES.split(_MARKUP.sub("", text))[-_MOST:]:
        one = _asked(sentence.strip(), " ".join(said)) if sentence.strip() else None
        if one is not None:
            found.append(one)
        said.append(sentence)
    return tuple(found)


def proposes(text: str) -> bool:
    """Whether a text asks the user to agree to something."""
    return any(one.sort in ("act", "offer") for one in asked_in(text))


_MOST: Final = 60
"""Sentences of a text that are read, the last ones."""
_MOST_WORDS: Final = 80
_MARKUP: Final = re.compile(
    r"(?<!\w)[*_`]{1,3}(?=\w)|(?<=[\w.,;:!?)])[*_`]{1,3}(?!\w)|^[ \t]*(?:[-+>#\u2022]+|\d{1,2}[.)])[ \t]+",
    re.MULTILINE,
)
_SENTENCES: Final = re.compile(r"(?<=[.!?])[\"'\u201d)\]]*\s+(?![(\[](?:yes|y)\b)|\n+", re.IGNORECASE)
_WORD: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|#?\w+(?:[-/'\u2019.:]\w+)*|[,;:\u2013\u2014]")
_YES_NO: Final = re.compile(r"[(\[]?\s*\b(?:yes ?/ ?no|yes or no|y/n)\b\s*[)\]]?", re.IGNORECASE)


_STOPS: Final = listing(", ; : \u2013 \u2014")
_WH: Final = listing("what which who whose whom where when how why what's who's how's when's where's")
_MODALS: Final = listing("shall should may can could might must will would do did need")
_LIKING: Final = listing("like want wish prefer rather need care")
_TELLING: Final = listing(
    "tell give provide share send specify state name describe explain spell repeat enter elaborate clarify let supply "
    "remind list show"
)
_AGREEING: Final = listing(
    "confirm agree accept approve consent authorize authorise allow permit mind acknowledge"
)
_ASKING: Final = listing("ask know hear learn inquire enquire request trouble bother borrow see")
_GETTING: Final = listing("have get obtain collect take note write")
_LOOKING: Final = listing("verify check confirm validate clarify double-check")
_HELPING: Final = listing("help assist support")
_LEAVE: Final = listing(
    "permission consent approval go-ahead confirmation authorization authorisation agreement okay ok"
)
_FINE: Final = listing(
    "ok okay fine alright right correct good acceptable agreeable sure certain happy comfortable ready agreed "
    "convenient accurate true possible great"
)
_FITS: Final = listing("work works suit suits sound sounds look looks make makes")
_GOES_ON: Final = listing("if that for with to so now by about then and or , yet enough i")
_ADVERBS: Final = listing(
    "please now just also then quickly first perhaps maybe still really therefore kindly briefly safely only not "
    "already again instead actually simply possibly immediately directly"
)
_MORE: Final = listing("anything something else more further other everything")
_THINGS: Final = listing("it this that them these those you everything things him her all both")
_OBJECTS: Final = _THINGS | listing(
    "the your my a an all both now anyway then instead off up ahead on down out for to"
)
_NO_VERB: Final = (
    _MODALS
    | _WH
    | listing(
        "is are was were am be does has have had i you he she it we they there here in on at of for from with by as "
        "if not and or but the a an my your his her its our their this that these those any some no all anything "
        "something name email number address phone sorry pardon really hello hi"
    )
)
_ALONE: Final = listing(
    "proceed continue confirm confirmed agreed ready ok okay right correct yes deal alright fine good"
)
_PARTICIPLES: Final = listing(
    "sent done put made paid shipped sold cut set left undone withdrawn taken given written"
)
_LEADS: Final = listing(
    "ok okay great sure thanks sorry and so but then now first well alright perfect good right yes please also next "
    "finally alternatively otherwise hi hello oh hmm no understood certainly"
)
_SAY_YES: Final = re.compile(
    r"\b(?:reply|respond|answer|say|type|write|enter|text|send)(?: with| me| back)?[ :]*[\"'\u201c(]*(?:a )?"
    r"(?:yes|y|ok|okay|confirm|go|proceed|the word)\b|"
    r"\blet me know (?:if|whether|that|when|once) (?:i (?:should|may|can|shall)|"
    r"you(?:'d| would)? (?:like|want|prefer)(?: me| us)? to|you (?:agree|confirm|are ready)|"
    r"(?:that|this|it)(?:'s| is| works| sounds| looks)\b)|"
    r"\b(?:need|await|awaiting|wait for|waiting for|require|once i have|want)\s+(?:\w+ )?your (?:\w+ )?(?:"
    + "|".join(sorted(_LEAVE - {"ok", "okay"}))
    + r")\b",
    re.IGNORECASE,
)
_CONFIRM: Final = re.compile(
    r"(?:^\W*(?:\w+,\s)?|\b(?:please|kindly|and|must|you to) )confirm\b", re.IGNORECASE
)
_REQUEST: Final = re.compile(
    r"\b(?:please|could you|can you|kindly)\b[^.?!]{0,200}?\b"
    r"(?:provide|give|tell|share|send|specify|name|state|enter)\b|"
    r"\blet me know (?:your|the|which|what|who|when|where|why)\b|"
    r"\bi(?:'ll| will| would|'d)? (?:just |also |still |only )?need (?:to know )?(?:your|the)\b",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"\b(?:any|some)thing (?:else|more|further)\b|\bwhat else\b|\b(?:any (?:other|more|further)|further|other|any) "
    r"(?:\w+ )?(?:questions?|requests?|things?|concerns?|issues?|help|assistance)\b",
    re.IGNORECASE,
)
_ALTERNATIVE: Final = re.compile(
    r",?\s(?:or|and|but)\s+(?:is|do|did|can|are|may|would|have)\b", re.IGNORECASE
)
_HELPED: Final = re.compile(
    r"\b(?:does|did|has|do) (?:that|this|it|i) (?:fully |all |already )?(?:help|answer|solve|resolve|clarif|settle)|"
    r"\b(?:is|was|are|were) (?:\w+ ){1,4}(?:satisfied|helpful|resolved|solved|answered|happy with)\b|"
    r"\b(?:rate|feedback|survey)\b",
    re.IGNORECASE,
)
_WISH: Final = re.compile(
    r"\bwhat (?:(?:would|do|did) you (?:like|want|need|wish)|can i (?:do|help)|should i do|is (?:it|this) (?:about|"
    r"regarding)|is (?:the|your) (?:issue|problem|request|concern|question|reason for (?:contact|call)\w*)|"
    r"seems to be the|brings you)|\bhow (?:can|may|could|should) i (?:help|assist|be of)|"
    r"\b(?:tell me|describe|explain) (?:more |a bit more |a little more )?(?:about )?(?:your|the|what) "
    r"(?:issue|problem|request|concern|you (?:need|want|would like))",
    re.IGNORECASE,
)


def _asked(sentence: str, before: str) -> Asked | None:
    if "?" not in sentence and not _YES_NO.search(sentence):
        return _requested(sentence, before)
    if _CLOSING.search(sentence) and "?" in sentence:
        first = _ALTERNATIVE.split(sentence)[0]
        other = _asked(f"{first}?", before) if first != sentence and not _CLOSING.search(first) else None
        return other or Asked("more", sentence, before)
    if _HELPED.search(sentence):
        return Asked("helped", sentence, before)
    if _WISH.search(sentence):
        return Asked("wish", sentence, before)
    tagged = _tagged(sentence, before)
    if tagged is not None:
        return tagged
    plain = _WORD.findall(sentence)[:_MOST_WORDS]
    words = tuple(word.lower().replace("\u2019", "'") for word in plain)
    sort, at, sure = _sort_of(words) if words else ("check", 0, False)
    if not sure and (language := language_of(sentence)):
        return Asked("act", sentence, before, language=language)
    action = " ".join(plain[at:]).replace(" ,", ",") if sort in ("act", "offer") else ""
    return Asked(sort, action or sentence, before, sure)


def _requested(sentence: str, before: str) -> Asked | None:
    """A request without a question mark: to say yes, to confirm, or to tell something."""
    if _SAY_YES.search(sentence):
        return Asked("act", sentence, before)
    if _CONFIRM.search(sentence):
        return Asked("act", sentence, before, sure=False)
    if _WISH.search(sentence):
        return Asked("wish", sentence, before)
    if _REQUEST.search(sentence):
        return Asked("fact", sentence, before)
    return None


def _tagged(sentence: str, before: str) -> Asked | None:
    """`I will close it, ok?`, `Is that correct?`, `OK?`, `... (yes/no)`: the statement is what is asked."""
    rest = _YES_NO.sub(" ", sentence).strip(" ?!.:;,-")
    if rest != sentence.strip(" ?!.:;,-"):
        if not rest:
            return Asked("act", before, "")
        return Asked("act", rest, before, sure=_CONFIRM.search(rest) is None)
    found = _TAG.search(sentence)
    if found is None:
        return None
    stated = sentence[: found.start()].strip()
    sort: Sort = "act" if not stated or _WILL.search(stated) else "check"
    return Asked(sort, stated or before, before if stated else "")


_TAG: Final = re.compile(
    r"(?:^\W*(?:(?:and|so|all|is|are|was|does|did|that|this|it|everything|i|we|get|sound|look|you) ){0,4}|"
    r"[,;:.!\u2013\u2014-]\s*(?:(?:is|does|sound|shall|all|are|that|this|it|ok|will|would) ){0,3})"
    r"(?:ok(?:ay)?|right|correct|yes|no|alright|agreed|deal|fine|good|true|sure|ready|confirmed|proceed|"
    r"continue|go ahead|we|isn't it|aren't you|don't you|didn't you|won't you|work|that)"
    r"(?: with you| for you| by you| to you| so far| then| now| please)*\s*\?+\W*$",
    re.IGNORECASE,
)
_WILL: Final = re.compile(
    r"\b(?:i|we)(?:'ll|'m| will| am| are| would|'d| shall| can| could| have to| need to| want to| should| plan)\b",
    re.I,
)


def _sort_of(words: Sequence[str]) -> tuple[Sort, int, bool]:
    """(the sort of a question, where what is asked begins in its words, whether that is sure)."""
    start = _start(words)
    for at in range(start, len(words) - 1):
        first, second = words[at], words[at + 1]
        wondering = any(word in _WH for word in _clause(words, at))
        if second in ("i", "we") and first in ("about", "if", "don't") and wondering:
            return "act", at + 2, True
        if wondering:
            continue
        if second in ("i", "we") and first in _MODALS | {"am", "are", "if"}:
            return _of_agent(words, at + 2) if first != "if" else ("act", at + 2, True)
        if second == "you" and first in _MODALS | {"are", "have", "don't", "wouldn't"}:
            return _of_user(words, at + 2)
        if first == "you" and second in _LIKING and at <= start + 1:
            return _liking(words, at + 2)
    if any(word in _WH for word in words[start:]):
        return "fact", start, True
    if any(word in _LEAVE for word in words[start:]) and "your" in words:
        return "act", start, True
    if _is_fine(words, start):
        return "act", start, True
    return ("act", start, False) if _is_bare(words[start:]) else _plainly(words, start)


def _start(words: Sequence[str]) -> int:
    at = 0
    while at < len(words) - 1 and (words[at] in _LEADS or words[at] in _STOPS):
        at += 1
    return at


def _clause(words: Sequence[str], at: int) -> Sequence[str]:
    """The words of the clause before a place."""
    start = next((k + 1 for k in range(at - 1, -1, -1) if words[k] in _STOPS), 0)
    return words[start : at + 1]


def _of_agent(words: Sequence[str], at: int) -> tuple[Sort, int, bool]:
    """`may I …`: an act, unless its verb asks for something."""
    begin, at = at, _past(words, at)
    if words[at : at + 1] == ("to",):
        at += 1
    head, rest = (words[at] if at < len(words) else ""), words[at + 1 :]
    if head == "go" and rest[:2] == ("ahead", "and"):
        return _of_agent(words, at + 3)
    if head in _LOOKING and any(word in _WH for word in rest):
        return "fact", at, True
    if head in _ASKING:
        if "you" in rest[:1] and "to" in rest[1:2] and not set(rest[2:3]) & _TELLING:
            return "act", at + 3, False
        return "fact", at, True
    if head in _GETTING and _wants_thing(head, rest):
        return "fact", at, True
    if head in _GETTING:
        return "act", begin, bool(rest) and rest[0] in _THINGS
    if head in _HELPING and (len(rest) < 3 or set(rest) & _MORE):
        return "more", at, True
    if head == "do" and rest[:1] and rest[0] in _MORE:
        return "more", at, True
    return "act", begin, head not in _LOOKING


def _wants_thing(head: str, rest: Sequence[str]) -> bool:
    """`have your email`, not `have it closed`, `get you a refund`, `take a look`."""
    if not rest or rest[0] in _THINGS or set(rest) & _LEAVE:
        return False
    if head in ("take", "note", "write"):
        return rest[0] in ("your", "down")
    return not any(word in _PARTICIPLES or re.fullmatch(r"\w{2,}ed", word) for word in rest)


def _of_user(words: Sequence[str], at: int) -> tuple[Sort, int, bool]:
    """`would you like …`, `do you confirm …`, `could you tell me …`."""
    at = _past(words, at)
    head = words[at] if at < len(words) else ""
    if head in _LIKING:
        return _liking(words, at + 1)
    if head in _TELLING or (head in ("have", "know", "remember") and words[at + 1 : at + 2] != ("to",)):
        return "fact", at, True
    if head == "mind":
        giving = words[at + 1 : at + 2]
        asked = (
            bool(giving)
            and giving[0].endswith("ing")
            and giving[0][:-3] in _TELLING | {"provid", "shar", "giv"}
        )
        return ("fact" if asked else "act"), at + 1, True
    if head in _AGREEING:
        return "act", at + 1, head not in _LOOKING
    if head in _FINE | {"agreeing"}:
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
        helps = begin < len(rest) and rest[begin] in _HELPING and bool(set(rest[begin:]) & _MORE)
        return ("more" if helps else "act"), len(words) - len(rest) + begin, True
    if rest[:1] == ("to",):
        verb = rest[_past(rest, 1) : _past(rest, 1) + 1]
        if verb and verb[0] in _TELLING:
            return "fact", at + 1, True
        return ("more" if set(rest) & _MORE else "offer"), at + 1, True
    helps = bool(set(rest) & (_MORE | {"help", "assistance"})) and len(rest) < 6
    return ("more" if helps else "offer"), at, True


def _is_fine(words: Sequence[str], start: int) -> bool:
    """`is it ok if …`, `does that work for you`, `good to go`: a word of agreement as the predicate of a question."""
    if words[start] not in _YES_NO_VERBS:
        led = [(word, *words[at + 1 : at + 2]) for at, word in enumerate(words[: start + 1])]
        return any(
            pair[0] in _FINE | _FITS and (len(pair) == 1 or pair[1] in _FINE | {"to", "if", "for", "with"})
            for pair in led
        ) or ("objection" in words[start + 1 :][:1] or "objections" in words[start + 1 :][:1])
    subject = words[start + 1 : start + 2]
    for at in range(start + 1, min(len(words), start + 9)):
        after = words[at + 1] if at + 1 < len(words) else ""
        if words[at] in _FINE and (not after or after in _GOES_ON):
            return True
        if (
            words[at] in _FITS
            and subject
            and subject[0] in _THINGS
            and (not after or after in _GOES_ON | _FINE)
        ):
            return True
    return False


_YES_NO_VERBS: Final = _MODALS | listing("is are was were does am has have isn't aren't")


def _is_bare(words: Sequence[str]) -> bool:
    """`Close it?`, `Cancel order W1 now?`, `Proceed?`: a verb and its object, without a subject."""
    while words and words[0] in _ADVERBS:
        words = words[1:]
    if not words or words[0] in _NO_VERB or not words[0].isalpha():
        return False
    rest = [word for word in words[1:5] if word not in _ADVERBS]
    if not rest:
        return words[0] in _ALONE or len(words) > 1
    if "of" in rest[:1]:
        return False
    return rest[0] in _OBJECTS or any(map(str.isdigit, "".join(rest[:2]))) or words[:2] == ("go", "on")


def _plainly(words: Sequence[str], start: int) -> tuple[Sort, int, bool]:
    """A question about what is so, if it has a verb or states a value; else it names a fact: `Order number?`."""
    stated = any(char.isdigit() or char == "@" for char in "".join(words))
    return ("check" if words[start] in _YES_NO_VERBS or stated or len(words) > 6 else "fact"), start, False


def _past(words: Sequence[str], at: int) -> int:
    """The place after adverbs."""
    while at < len(words) and words[at] in _ADVERBS:
        at += 1
    return at

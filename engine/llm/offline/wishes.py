"""Whether what an agent wants to do is what the user wants: compared with its goals and with what it knows.

Something is unwanted if it names another record, date, number or kind of action than the goal does. What cannot be
compared is wanted: the user asked for help, and an agent may have to do more than the goal says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from .sheet import Fact, Sheet, first_person
from .values import COUNTS, dates_in
from .words import listing, stem, token_set

_MOST: Final = 4000
_WORD: Final = re.compile(r"(?<![\w.@/-])#?\w[\w/-]*(?!@)")
_DIGIT: Final = re.compile(r"\d")
_LETTER: Final = re.compile(r"[a-z]")
_NO_ID: Final = re.compile(r"\d+(?:st|nd|rd|th|am|pm|h|d|x|kg|g|km|min|s)|\d{4}-\d\d-\d\d\w*", re.IGNORECASE)
_CLAUSES: Final = re.compile(
    r"(?<=[.!?])\s+|,?\s+(?:and\s+)?then\s+|;\s*|,?\s+and\s+(?=[a-z]+\s)", re.IGNORECASE
)
_STATEMENTS: Final = re.compile(r"(?<=[.!?])\s+")
_REASON: Final = re.compile(
    r"\b(?:because|since|due to|although|even though|after)\b.*", re.IGNORECASE | re.DOTALL
)
_NEGATED: Final = re.compile(
    r"\b(?:not|never|without|instead of|rather than|no)\s+((?:[\w'#-]+\s*){1,4})", re.IGNORECASE
)
_INSTEAD: Final = re.compile(
    r"\b(?:instead|alternatively|rather than that|as an alternative)\b", re.IGNORECASE
)
_RATHER: Final = re.compile(r"\b(?:rather than|instead of|than)\b(.*)", re.IGNORECASE | re.DOTALL)
_ALSO: Final = re.compile(r"\b(?:also|too|as well|in addition|additionally)\b", re.IGNORECASE)
_STEPS: Final = token_set(
    "look check search verify find try transfer colleague human agent specialist supervisor escalate pass connect "
    "forward"
)
"""What an agent does on the way, or when it hands over; nobody has to want it."""
_REFUSES: Final = re.compile(
    r"\b(?:cannot|can't|unable|not (?:able|allowed|possible)|won't|isn't possible)\b", re.IGNORECASE
)
_EMPTY: Final = token_set("proceed continue confirm ahead that instead")
"""Words that say nothing of what is to be done."""
_CARRIED_OUT: Final = token_set("processed completed issued submitted applied finished")
_WEEKDAY: Final = re.compile(r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b", re.IGNORECASE)
_CLOCK: Final = re.compile(r"(?<![\d:])\d{1,2}:\d\d(?![\d:])")
_THAT: Final = re.compile(r"\b(?:it|that|this|one|either|those|these)\b", re.IGNORECASE)
_DONE: Final = re.compile(
    r"\b(?:(?:is|are) now|(?:has|have|'ve)(?: now| just| already| successfully)*(?: been)?) (?:\w+ly )?(\w+ed)\b",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[a-z]+(?:-[a-z]+)?")
_COUNTED: Final = re.compile(
    rf"\b(?P<n>\d{{1,3}}|{'|'.join(COUNTS)})\s+(?P<of>[a-z]{{3,}})\b|"
    r"\b(?P<to>[a-z]{4,})\s+(?:to |of |is |: ?)?(?P<m>\d{1,3})\b(?![.:,]?\d|[/-])",
    re.IGNORECASE,
)
_NO_COUNT: Final = listing(
    "days hours minutes weeks years euro euros dollars percent until about only from with"
)
_LEARNS: Final = re.compile(r"\W*(?:ask|find|check|know|learn|look|track|search|see|hear)\b", re.IGNORECASE)
_MONEY_BACK: Final = re.compile(r"\b(?:the |your )?money back\b")
_KEEPING: Final = re.compile(
    r"\b(?:keep|keeping|retain)(?= (?:it|this|that|them|these|those|both|the|your|my|\w+ #?[a-z]*\d|#?[a-z]+\d))|"
    r"\bleave\b(?=.{1,60}\b(?:as (?:it is|they are|is)|unchanged|untouched|in place|alone)\b)"
)
_KEPT: Final = re.compile(
    r"\b(?:it|this|that|them|these|those|both)(?: instead| then| after all| open| for now|"
    r" as (?:it |they )?(?:is|are))?\W*$",
    re.IGNORECASE,
)
_RECORD_BACK: Final = re.compile(
    r"\b(?:refund|return|reimburse)(?:ing)? (?:(?:the|your|my|this) )?(?!(?:for|of|on|to|in) )(?:[a-z]+ )?#?[a-z]+-?\d|"
    r"\d[a-z]* (?:be )?(?:refunded|returned|reimbursed)\b",
    re.IGNORECASE,
)
"""A record itself is refunded: `refund booking B2`, not `process the refund for B2`."""
_TOGETHER: Final = re.compile(
    r"(?:\b([a-z]+) )?(?<![\w-])(#?[\w-]{2,40})(?:,? and |, ?| ?& ?|,? as well as )"
    r"(?=(?:([a-z]+) )?(#?[\w-]{2,40}))"
)
_SEVERAL: Final = re.compile(
    r"\b(?:both|all|each|every|any|(?:my|the|your|these|those) [a-z]*[a-rt-z]s)\b", re.I
)
_DETERMINERS: Final = listing("the a an my your this that of our any another each old new")
_KINDS: Final = {
    "cancel": "cancel cancels cancelled canceled cancelling canceling cancellation annul void revoke terminate",
    "delete": "delete deleted deleting deletion remove removed removing erase erased",
    "close": "close closed closing closure resolve resolved resolving shut",
    "reopen": "reopen reopened reopening re-open",
    "refund": "refund refunded refunding return returned returning reimburse reimbursed reimbursement",
    "exchange": "exchange exchanged exchanging swap swapped replace replaced replacing replacement",
    "change": "change changed changing modify modified reschedule rescheduled rescheduling rebook rebooked postpone "
    "postponed move moved moving upgrade upgraded downgrade",
    "book": "book booked reserve reserved schedule scheduled buy bought purchase purchased",
    "renew": "renew renewed renewing renewal extend extended extending extension prolong",
    "block": "block blocked blocking lock locked freeze frozen suspend suspended",
    "unblock": "unblock unblocked unlock unlocked unfreeze reactivate reactivated",
}
"""Kinds of action that exclude each other, by their verbs."""
_KIND_OF: Final = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_WITH: Final = {
    "exchange": frozenset({"refund", "change"}),
    "cancel": frozenset({"refund"}),
    "change": frozenset({"exchange"}),
}
"""What else may be part of an action of a kind."""
_ACCOUNTS: Final = listing("account subscription membership contract plan")
_ENDING: Final = frozenset({"cancel", "delete", "close"})
_TALKS: Final = listing("chat conversation session call")


@lru_cache(maxsize=4096)
def unwanted(sheet: Sheet, action: str, before: str, *, offered: bool = False) -> bool:
    """Whether the user must say no to an action. `before`: what was said before it; `offered`: `would you like …`."""
    action, before = action[:_MOST], before[-_MOST:]
    if not token_set(action) - _EMPTY:
        *earlier, action = _STATEMENTS.split(before.rstrip()) or [""]
        before = " ".join(earlier)
    wants = _wants(sheet)
    if not wants.goal:
        return False
    done = completes(sheet, before)
    return (
        _names_other(wants, action, before)
        or _names_more(wants, action)
        or _counts_other(wants.goal, action)
        or _other_kind(wants, action, before, done)
        or _ruled_out(wants, action)
        or bool(sheet.rejects & token_set(action))
        or _not_asked_for(wants, action, before, offered, done)
    )


def completes(sheet: Sheet, text: str) -> bool:
    """Whether a text says that something that the user wants has been done."""
    goal = token_set(" ".join(sheet.goals))
    for said in _STATEMENTS.split(text[-_MOST:]):
        done = {stem(found[1].lower()) for found in _DONE.finditer(said)}
        if done & goal or (done & _CARRIED_OUT and token_set(said) & goal):
            return True
    return False


def opposed(sheet: Sheet, choice: str) -> bool:
    """Whether a choice is of another kind of action than what the user wants: `keep it` where it wants to cancel."""
    wants = _wants(sheet)
    return bool(wants.goal) and _other_kind(wants, choice[:_MOST], "", done=False)


def wanted(sheet: Sheet, action: str) -> str:
    """The goal that the action is nearest to, in the user's words, with the value that names it."""
    goals = sheet.goals or ("get some help",)
    words = token_set(action[:_MOST])
    ids = set(_ids(action))
    goal = max(goals, key=lambda text: (len(ids & set(_ids(text))), len(words & token_set(text))))
    forms = {_form(id) for id in _ids(action)}
    sentence = ""
    for fact in sheet.facts:
        own = set(_ids(fact.value))
        if (
            fact.label
            and fact.reveal != "never"
            and {_form(id) for id in own} & forms
            and not own & set(_ids(goal))
        ):
            sentence += f" My {fact.label} is {fact.value}."
    text = first_person(_REASON.sub("", goal).rstrip(" .,"))
    return f"{text}.{sentence}"


class _Wants:
    """What a sheet says of its user's wishes. `clauses`: the goals, one action each, without their reasons."""

    __slots__ = ("clauses", "facts", "goal", "ids", "told")

    def __init__(self, goals: Sequence[str], facts: Sequence[Fact]) -> None:
        self.goal = " ".join(goals)
        self.facts = facts
        plain = [_REASON.sub("", part) for goal in goals for part in _CLAUSES.split(goal) if part.strip()]
        self.clauses = [part for part in plain if part.strip()]
        self.told = " ".join([self.goal, *(fact.value for fact in facts)])
        self.ids = frozenset(_ids(self.told))


@lru_cache(maxsize=512)
def _wants(sheet: Sheet) -> _Wants:
    return _Wants(sheet.goals, sheet.facts)


def _ids(text: str) -> Iterable[str]:
    """The ids in a text: words of letters and digits."""
    words = [word.lstrip("#").casefold().rstrip("-/") for word in _WORD.findall(text) if _DIGIT.search(word)]
    return [word for word in words if _LETTER.search(word) and not _NO_ID.fullmatch(word)]


def _form(id: str) -> str:
    """`w10432` as `a9`, `fs442s` as `aa9a`: what ids of one kind have in common."""
    return re.sub(r"\d+", "9", re.sub(r"[a-z]", "a", id))


def _names_other(wants: _Wants, action: str, before: str) -> bool:
    """Whether it names a record, a date or a time of the kind that the user names, and none that it does."""
    for form in {_form(id) for id in wants.ids}:
        named = _alike(action, form) or _alike(before, form)
        if named and not wants.ids & named:
            return True
    pairs = [(set(dates_in(wants.goal)), set(dates_in(action)))]
    said = f"{_STATEMENTS.split(before.rstrip())[-1]} {action}" if _THAT.search(action) else action
    pairs += [(_found(kind, wants.told), _found(kind, said)) for kind in (_WEEKDAY, _CLOCK)]
    return any(known and named and not known & named for known, named in pairs)


def _names_more(wants: _Wants, action: str) -> bool:
    """Whether it names a record beside the user's own, `B2 and B3`, where the user wants one."""
    goal = " ".join(wants.clauses)
    if _SEVERAL.search(goal) or set(_WORDS.findall(goal.lower())) & set(COUNTS):
        return False
    for noun, first, other, second in _TOGETHER.findall(action.casefold()):
        pair = {first.lstrip("#"), second.lstrip("#")}
        alike = len({_form(id) for id in pair}) == 1 and len(pair & set(_ids(action))) == 2
        if alike and len(pair & wants.ids) == 1 and other in ("", noun):
            return True
    return False


def _found(kind: re.Pattern[str], text: str) -> set[str]:
    return {word.lower().lstrip("0") for word in kind.findall(text)}


def _alike(text: str, form: str) -> set[str]:
    return {id for id in _ids(text) if _form(id) == form}


def _counts_other(goal: str, action: str) -> bool:
    """`three bags` where the goal says two; `priority 3` where it says 1."""
    wanted, named = _counted(goal), _counted(action)
    return any(thing in named and not named[thing] & numbers for thing, numbers in wanted.items())


def _counted(text: str) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for one in _COUNTED.finditer(text):
        number, thing = (one["n"], one["of"]) if one["n"] else (one["m"], one["to"])
        if thing.lower() not in _NO_COUNT and thing.lower() not in COUNTS:
            value = int(number) if number.isdigit() else COUNTS[number.lower()]
            found.setdefault(next(iter(token_set(thing)), thing.lower()), set()).add(value)
    return found


def _kinds(text: str) -> frozenset[str]:
    """The kinds of action that a text names, or `keep` if all shall stay as it is; `the book` is a thing."""
    plain = _MONEY_BACK.sub("refund", text.lower())
    words = _WORDS.findall(plain)
    keeps = frozenset({"keep"} if _KEEPING.search(plain) else ())
    return keeps | frozenset(
        kind
        for at, word in enumerate(words)
        if (kind := _KIND_OF.get(word)) and not (kind == "book" and at and words[at - 1] in _DETERMINERS)
    )


def _meant(clauses: Iterable[str]) -> frozenset[str]:
    return frozenset(kind for clause in clauses for kind in _kinds(_NEGATED.sub(" ", clause)))


def _other_kind(wants: _Wants, action: str, before: str, done: bool) -> bool:
    """Whether it is of one kind, and what the user wants with this record is of another."""
    rather = _RATHER.search(action)
    kinds = _kinds(_RATHER.sub(" ", action))
    if len(kinds) > 1:
        kinds -= {"keep"}
    words = set(_WORDS.findall(action.lower()))
    if len(kinds) != 1 or words & _TALKS:
        return False
    named = set(_ids(action))
    own = [clause for clause in wants.clauses if named & set(_ids(clause))]
    others = [clause for clause in wants.clauses if set(_ids(clause)) - named] if own else []
    meant = _meant(own or wants.clauses)
    if not meant and (kinds & _meant(others) or all(map(_LEARNS.match, own or wants.clauses))):
        return True
    if kinds == frozenset({"keep"}):
        return bool(meant - {"book", "keep"}) and "keep" not in meant and _keeps_it(wants, action)
    if rather and _kinds(rather[1]) & meant:
        return not kinds & meant
    meant -= {"keep"}
    whole = {"cancel"} if _RECORD_BACK.search(action) else frozenset[str]()
    meant |= frozenset(also for kind in meant - whole for also in _WITH.get(kind, ()))
    if words & _ACCOUNTS and meant & _ENDING:
        meant |= _ENDING
    if not meant or kinds & meant:
        return False
    agreed = " ".join(fact.value for fact in wants.facts if not fact.label)
    kept = not (_REFUSES.search(before) or done or _INSTEAD.search(action))
    return not ((kept and _kinds(before) & meant) or kinds & _kinds(agreed))


def _keeps_it(wants: _Wants, action: str) -> bool:
    """Whether what is to be kept is what the user speaks of: `it`, `the booking`, not `the same seat`."""
    return _KEPT.search(action) is not None or bool(token_set(action) & token_set(wants.told))


def _ruled_out(wants: _Wants, action: str) -> bool:
    """Whether it is what the goal says it must not be: `not as a voucher`."""
    goal = " ".join(wants.clauses)
    without = " ".join(found[1] for found in _NEGATED.finditer(goal))
    kept = token_set(_NEGATED.sub(" ", goal))
    return bool((token_set(without) - kept) & token_set(_NEGATED.sub(" ", action)))


def _not_asked_for(wants: _Wants, action: str, before: str, offered: bool, done: bool) -> bool:
    """Whether it is an alternative, or an offer, with nothing of what the user wants in it."""
    words = token_set(_INSTEAD.sub(" ", _RATHER.sub(" ", action))) - _EMPTY
    known = token_set(wants.told)
    if not words or words & _STEPS:
        return False
    if _ALSO.search(action):
        return not words <= known
    if words & known:
        return False
    rather = _RATHER.search(action)
    otherwise = (
        done
        or (rather and token_set(rather[1]) & known)
        or _INSTEAD.search(action)
        or _REFUSES.search(before)
    )
    return bool(otherwise or (offered and not words & token_set(before)))

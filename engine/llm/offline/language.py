"""The controlled English that agents obey: sentences to rules, and rules back to sentences.

Anything that is not a rule is a fact: knowledge given when a question's words overlap with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, Literal

Kind = Literal[
    "call_before", "ask_before", "confirm_before", "never", "never_if", "once", "call_after",
    "if_say", "if_call", "always_say", "hide", "fail_say", "fail_retry",
]  # fmt: skip
Comparison = Literal["is", "is not", "exceeds", "is below"]

MAX_SENTENCE: Final = 1000
"""Characters; anything longer is a fact, never a rule."""
_CACHED_TEXT: Final = 200_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `tool` is what it applies to; the other fields as `kind` needs them, else "".

    `other`: the tool to call. `what`: what to ask for, or the field to hide. `field`, `comparison`, `value`: the
    condition. `topic`: the user's words that trigger it. `say`: the words to say.
    """

    kind: Kind
    tool: str = ""
    other: str = ""
    what: str = ""
    field: str = ""
    comparison: Comparison = "is"
    value: str = ""
    topic: str = ""
    say: str = ""


@dataclass(frozen=True, slots=True)
class Instructions:
    """A system text as the offline agent understands it."""

    rules: tuple[Rule, ...]
    facts: tuple[str, ...]


def understand(text: str) -> Instructions:
    """The rules and facts of a text, in order, each rule once."""
    return _understand_cached(text) if len(text) <= _CACHED_TEXT else _understand(text)


def read_rule(sentence: str) -> Rule | None:
    """The rule that a sentence states, or None if it is outside the language."""
    plain = _LEAD.sub("", sentence.strip()).rstrip(".;! ")
    if not plain or len(plain) > MAX_SENTENCE:
        return None
    for kind, pattern in _grammar():
        found = pattern.fullmatch(plain)
        if found:
            return _built(kind, {k: v.strip() for k, v in found.groupdict().items() if v})
    return None


def write_rule(rule: Rule) -> str:
    """The rule as a sentence; `read_rule` reads it back."""
    if rule.kind == "fail_say" and not rule.say:
        return "When a call fails, say so."
    return _TEMPLATES[rule.kind].format(
        tool=rule.tool,
        other=rule.other,
        what=rule.what,
        field=rule.field,
        comparison=rule.comparison,
        value=f'"{rule.value}"' if re.search(r"[.;!?]\s", rule.value) else rule.value,
        topic=rule.topic,
        say=rule.say,
    )


def sentences(text: str) -> list[str]:
    """The sentences of a text; text in double quotes is never cut."""
    return [
        part for raw in _SENTENCE.findall(_BULLET.sub("", text)) if (part := raw.strip().strip("*").strip())
    ]


_NAME = r"[`'\"]?{}[`'\"]?(?:\(\))?"
_TOOL = r"(?:calling|using|running|call|use|run)\s+(?:the\s+)?" + _NAME.format(
    r"(?P<tool>[A-Za-z_][\w-]{0,63})"
)
_OTHER = r"(?:call|use|run)\s+(?:the\s+)?" + _NAME.format(r"(?P<other>[A-Za-z_][\w-]{0,63})")
_BEFORE = r"before\s+(?:you\s+)?" + _TOOL
_NEVER = r"(?:never|do\s+not|don't|you\s+must\s+not|must\s+not)\s+"
_USER = r"(?:the\s+)?(?:user|customer|caller|client|guest|patient|person)"
_THEIR = r"(?:" + _USER + r"(?:'s|s')?\s+|their\s+|his\s+or\s+her\s+|the\s+|an?\s+)?"
_ASK_WHAT = r"(?:ask|get)\s+(?:" + _USER + r"\s+)?for\s+" + _THEIR + r"(?P<what>\S.*)"
_CONFIRM = (
    r"(?:ask\s+(?:" + _USER + r"\s+)?(?:to\s+(?:explicitly\s+)?confirm(?:\s+\S.*)?|"
    r"for\s+(?:an?\s+|their\s+|explicit\s+)*confirmation)|"
    r"(?:get|obtain|wait\s+for)\s+(?:" + _USER + r"'s\s+|an?\s+|their\s+|explicit\s+)*confirmation)"
)
_WHETHER = (
    r"(?P<field>[\w][\w -]*?)\s+(?P<comparison>is\s+not|isn't|is\s+(?:over|above|more\s+than|greater\s+than|after)|"
    r"exceeds|is\s+(?:below|under|less\s+than|before)|is|equals)\s+(?P<value>\S.*)"
)
_IF = r"(?:if|when|whenever|unless)\s+"
_TOPIC = (
    r"(?:if|when|whenever)\s+"
    + _USER
    + r"\s+(?:asks\s+(?:about|for|to)|mentions|wants(?:\s+to)?)\s+(?P<topic>\S.*?),\s*"
)
_QUOTED = r"[\"“](?P<say>[^\"”]+)[\"”]"
_SAYING = r"(?:say|reply|answer|tell\s+" + _USER + r")\s*:?\s*(?:that\s+)?"
_FAILS = r"(?:if|when|whenever)\s+(?:a|any|the|an)?\s*(?:tool\s+)?call\s+fails,\s*"


def _sentence(*parts: str) -> str:
    return r"(?:" + "".join(parts) + r")"


_GRAMMAR: Final[tuple[tuple[Kind, str], ...]] = (
    ("confirm_before", _sentence(_BEFORE, r",?\s+(?:always\s+)?", _CONFIRM)),
    ("confirm_before", _sentence(r"(?:always\s+)?", _CONFIRM, r"\s+", _BEFORE)),
    ("ask_before", _sentence(_BEFORE, r",?\s+(?:always\s+)?", _ASK_WHAT)),
    ("ask_before", _sentence(r"(?:always\s+)?", _ASK_WHAT, r"\s+", _BEFORE)),
    ("call_before", _sentence(_BEFORE, r",?\s+(?:always\s+)?(?:first\s+)?", _OTHER, r"(?:\s+first)?")),
    ("call_before", _sentence(r"(?:always\s+)?", _OTHER, r"\s+before\s+(?:you\s+)?", _TOOL)),
    ("call_after", _sentence(r"after\s+(?:you\s+)?", _TOOL, r",?\s+(?:always\s+)?", _OTHER)),
    ("once", _sentence(r"(?:only\s+)?", _TOOL, r"\s+(?:at\s+most|only)\s+once")),
    ("once", _sentence(_NEVER, _TOOL, r"\s+(?:more\s+than\s+once|twice)")),
    ("never_if", _sentence(_NEVER, _TOOL, r"\s+", _IF.replace("|unless", ""), r"(?:the\s+)?", _WHETHER)),
    ("never_if", _sentence(_NEVER, _TOOL, r"\s+(?P<unless>unless)\s+(?:the\s+)?", _WHETHER)),
    ("never_if", _sentence(r"(?P<unless>only)\s+", _TOOL, r"\s+if\s+(?:the\s+)?", _WHETHER)),
    ("never", _sentence(_NEVER, _TOOL)),
    ("hide", _sentence(_NEVER, r"(?:reveal|mention|share|disclose|tell)\s+", _THEIR, r"(?P<what>\w[\w -]*)")),
    ("always_say", _sentence(r"always\s+", _SAYING, _QUOTED)),
    ("fail_say", _sentence(_FAILS, r"(?:say\s+so|tell\s+", _USER, r"(?:\s+so)?)")),
    ("fail_say", _sentence(_FAILS, _SAYING, _QUOTED)),
    (
        "fail_retry",
        _sentence(_FAILS, r"(?:try\s+(?:it\s+)?(?:again|once\s+more)|call\s+it\s+again)(?:\s+once)?"),
    ),
    (
        "if_call",
        _sentence(_TOPIC, r"(?:call|use|run)\s+(?:the\s+)?", _NAME.format(r"(?P<tool>[A-Za-z_][\w-]{0,63})")),
    ),
    ("if_say", _sentence(_TOPIC, _SAYING, _QUOTED)),
)


@cache
def _grammar() -> tuple[tuple[Kind, re.Pattern[str]], ...]:
    """Built when the first sentence is read: it takes longer than everything else in this module."""
    return tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _GRAMMAR)


_TEMPLATES: Final[dict[Kind, str]] = {
    "call_before": "Before calling {tool}, call {other}.",
    "ask_before": "Before calling {tool}, ask the user for the {what}.",
    "confirm_before": "Before calling {tool}, ask the user to confirm.",
    "never": "Never call {tool}.",
    "never_if": "Never call {tool} if {field} {comparison} {value}.",
    "once": "Call {tool} at most once.",
    "call_after": "After calling {tool}, call {other}.",
    "if_say": 'If the user asks about {topic}, say "{say}".',
    "if_call": "If the user asks about {topic}, call {tool}.",
    "always_say": 'Always say "{say}".',
    "hide": "Never reveal the {what}.",
    "fail_say": 'When a call fails, say "{say}".',
    "fail_retry": "When a call fails, try again.",
}

_SENTENCE: Final = re.compile(r'(?:"[^"\n]*"|“[^”\n]*”|[^\n.;!?"“]|["“]|[.;!?](?!\s|$|"))+', re.MULTILINE)
_BULLET: Final = re.compile(r"^[ \t\-*+#>•]+(?=\S)(?:\d{1,3}[.)][ \t]+)?|^\d{1,3}[.)][ \t]+", re.MULTILINE)
_LEAD: Final = re.compile(
    r"^(?:(?:please|you|the agent|agents|we)\s+)?(?:(?:must|should|have to)\s+(?=always|never|call|ask|before))?",
    re.IGNORECASE,
)
_EXCEEDS: Final = ("exceeds", "is over", "is above", "is more than", "is greater than", "is after")
_OPPOSITE: Final[dict[Comparison, Comparison]] = {"is": "is not", "is not": "is"}


@lru_cache(maxsize=256)
def _understand_cached(text: str) -> Instructions:
    return _understand(text)


def _understand(text: str) -> Instructions:
    rules: dict[Rule, None] = {}
    facts: list[str] = []
    for sentence in sentences(text):
        rule = read_rule(sentence)
        if rule is not None:
            rules[rule] = None
        elif len(sentence) <= MAX_SENTENCE:
            facts.append(sentence)
    return Instructions(tuple(rules), tuple(facts))


def _built(kind: Kind, parts: dict[str, str]) -> Rule | None:
    unless = parts.pop("unless", "")
    if kind == "never_if":
        comparison = _comparison(parts.pop("comparison"))
        if unless and comparison not in _OPPOSITE:
            return None
        kept = _OPPOSITE[comparison] if unless else comparison
        value = parts["value"].strip("\"'“”`")
        return Rule(kind, parts["tool"], field=parts["field"], comparison=kept, value=value)
    return Rule(
        kind,
        parts.get("tool", ""),
        parts.get("other", ""),
        parts.get("what", ""),
        topic=parts.get("topic", ""),
        say=parts.get("say", ""),
    )


def _comparison(words: str) -> Comparison:
    words = " ".join(words.lower().split())
    if words in ("is not", "isn't"):
        return "is not"
    if words in ("is", "equals"):
        return "is"
    return "exceeds" if words in _EXCEEDS else "is below"

"""Guards: cheap refusals of a candidate, before any simulation is spent.

leak: added lines hold none of a scenario's own data. length: not much longer than the base. tool_names: no unknown
tool, and those of the base survive. placeholders: `{x}` survives. locked: locked passages survive unchanged. injection:
no commands of a transcript, marks, addresses or secrets. over_refusal: nothing is forbidden outright that the solution
of a train scenario needs.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..agents import HEADINGS, Part, is_description, part_lines
from ..errors import did_you_mean
from ..records.hardening import GuardResult, Target
from .edits import line_changes
from .injection import injection_guard
from .over_refusal import over_refusal_guard

GUARDS = ("leak", "length", "tool_names", "placeholders", "locked", "injection", "over_refusal")
PHRASE_WORDS = 6
LEAST_RUN = 5
"""Characters from which a literal is also searched for when written apart."""
LEAST_ADDED = 600
MOST_GROWTH = 0.5


@dataclass(frozen=True, slots=True)
class Hidden:
    """Text that only the tests know (goal, knowledge, expected calls, persona).

    `where` says whose it is, for the refusal.
    """

    text: str
    where: str = "a scenario"


@dataclass(frozen=True, slots=True)
class Known:
    """What a candidate may mention.

    Tool names, other names (parameters, fields), and open texts (policy, schemas). `needed`: the tools that solutions
    of train scenarios call, each with one of those scenarios. `descriptions`: of tools, by name.
    """

    tools: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    texts: tuple[str, ...] = field(default=())
    needed: Mapping[str, str] = field(default_factory=dict[str, str])
    descriptions: Mapping[str, str] = field(default_factory=dict[str, str])


def check_guards(
    base: str,
    text: str,
    hidden: Iterable[Hidden],
    known: Known,
    locked: Sequence[str] = (),
    target: Target = "instructions",
) -> list[GuardResult]:
    """Run every guard, in the order of GUARDS, on `text` against the text the hardening started from.

    If the target is only a part of the text, the guard `target` runs last.
    """
    added = line_changes(base, text)[0]
    guards: dict[str, Callable[[], GuardResult]] = {
        "leak": lambda: leak_guard(base, added, hidden, known),
        "length": lambda: length_guard(base, text),
        "tool_names": lambda: tool_names_guard(base, text, added, known),
        "placeholders": lambda: placeholders_guard(base, text),
        "locked": lambda: locked_guard(base, text, locked),
        "injection": lambda: injection_guard(base, added, known.texts),
        "over_refusal": lambda: over_refusal_guard(added, base, known.needed),
    }
    aim = [] if target == "instructions" else [target_guard(base, text, added, known.tools, target)]
    return [*(guards[name]() for name in GUARDS), *aim]


def target_guard(
    base: str, text: str, added: Sequence[tuple[int, str]], tools: Collection[str], target: Part
) -> GuardResult:
    """Refuse changes outside the part being hardened, and lines among descriptions that describe no tool."""
    heading = HEADINGS[target]
    inside = part_lines(text, target)
    rule = f"only what stands under `{heading}` may change"
    for number, line in added:
        if line.strip() and number - 1 not in inside:
            return GuardResult(guard="target", result="fail", line=number, text=line[:120], rule=rule)
        entry = line.strip() and line.strip() != heading
        if target == "tool_descriptions" and entry and not is_description(line, tools):
            words = "a line is `- TOOL: what it does`, of a tool that is there"
            return GuardResult(guard="target", result="fail", line=number, text=line[:120], rule=words)
    lost = next((line for line in _outside(base, target) if line not in _outside(text, target)), "")
    if lost:
        return GuardResult(guard="target", result="fail", text=lost[:120], rule=rule)
    return GuardResult(guard="target", result="pass")


def _outside(text: str, part: Part) -> list[str]:
    inside = part_lines(text, part)
    return [line for n, line in enumerate(text.split("\n")) if n not in inside and line.strip()]


def max_added(base: str) -> int:
    """How many characters longer than the base a candidate may be: 600, or half the base if that is more."""
    return max(LEAST_ADDED, int(len(base) * MOST_GROWTH))


def leak_guard(
    base: str, added: Sequence[tuple[int, str]], hidden: Iterable[Hidden], known: Known
) -> GuardResult:
    """Refuse added lines (number, text) that hold a literal or a 6-word phrase of hidden data.

    Literals are e-mail addresses, dates, amounts, numbers of three digits or more, and words with digits in them
    (`W42`, `cust_900`), also when written apart (`W 10-240`). Anything in the base or an open text is free.
    """
    rule = f"no identifiers, dates, amounts or {PHRASE_WORDS}-word phrases of scenarios"
    free = "\n".join([base, *known.texts, *known.tools, *known.names])
    allowed = set(_literals(free))
    open_phrases = set(_phrases(free))
    literals: dict[str, str] = {}
    phrases: dict[tuple[str, ...], str] = {}
    for item in hidden:
        literals.update((found, item.where) for found in _literals(item.text) if found not in allowed)
        phrases.update((found, item.where) for found in _phrases(item.text) if found not in open_phrases)
    open_run = _squeezed(free)
    runs = {_squeezed(literal): where for literal, where in literals.items()}
    squeezed = {run: where for run, where in runs.items() if len(run) >= LEAST_RUN and run not in open_run}
    for number, line in added:
        told = _leak_in(line, literals, squeezed, phrases)
        if told:
            text, where = told
            return GuardResult(
                guard="leak", result="fail", line=number, text=text, rule=f"{rule}; it stands in {where}"
            )
    return GuardResult(guard="leak", result="pass")


def length_guard(base: str, text: str) -> GuardResult:
    """Refuse a text that is more than `max_added` characters longer than the base."""
    most = max_added(base)
    grown = len(text) - len(base)
    if grown <= most:
        return GuardResult(guard="length", result="pass")
    return GuardResult(
        guard="length",
        result="fail",
        text=f"+{grown} characters",
        rule=f"at most {most} characters more than the base",
    )


def tool_names_guard(base: str, text: str, added: Sequence[tuple[int, str]], known: Known) -> GuardResult:
    """Refuse added lines that name an unknown tool, and a text that lost a tool name of the base."""
    free = known.names | frozenset(_NAME.findall("\n".join([base, *known.texts])))
    for number, line in added:
        for name, is_call in _tool_like(line):
            if name not in known.tools and (is_call or name not in free):
                rule = f"only tools that exist.{did_you_mean(name, known.tools)}"
                return GuardResult(guard="tool_names", result="fail", line=number, text=name, rule=rule)
    for tool in sorted(known.tools):
        whole = re.compile(rf"(?<![\w-]){re.escape(tool)}(?![\w-])")
        if whole.search(base) and not whole.search(text):
            rule = "tool names of the base must survive"
            return GuardResult(guard="tool_names", result="fail", text=tool, rule=rule)
    return GuardResult(guard="tool_names", result="pass")


def placeholders_guard(base: str, text: str) -> GuardResult:
    """Refuse a text with fewer occurrences of a placeholder `{x}` than the base."""
    lost = Counter(_PLACEHOLDER.findall(base)) - Counter(_PLACEHOLDER.findall(text))
    for name in lost:
        return GuardResult(
            guard="placeholders", result="fail", text=name, rule="placeholders of the base must survive"
        )
    return GuardResult(guard="placeholders", result="pass")


def locked_guard(base: str, text: str, locked: Sequence[str]) -> GuardResult:
    """Refuse a text in which a locked passage of the base is not preserved word for word."""
    for passage in locked:
        if passage and passage in base and passage not in text:
            return GuardResult(
                guard="locked",
                result="fail",
                text=passage[:120],
                rule="locked passages must stay as they are",
            )
    return GuardResult(guard="locked", result="pass")


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER = re.compile(r"\{\{?\s*[A-Za-z_][\w.]*\s*\}?\}")
_CALLED = re.compile(
    r"\b(?:call|calls|calling|use|using|run|running)\s+(?:the\s+)?[`'\"]?([A-Za-z_][\w-]*)", re.I
)
_TOKEN = re.compile(r"[\w@./+,-]+")
_UNSPACED = re.compile(
    r"(?<=[a-z0-9])(?=[\u3040-\u30ff\u3400-\u9fff])|(?<=[\u3040-\u30ff\u3400-\u9fff])(?=[a-z0-9])"
)
"""Where an id touches a word in a script without spaces."""
_DECIMAL = re.compile(r"\d+\.\d+")
_IDENTIFIER = re.compile(r"[A-Za-z]\w*")
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['\u2019_-][^\W_]+)*")


def _tool_like(line: str) -> list[tuple[str, bool]]:
    called = {name for name in _CALLED.findall(line) if "_" in name or re.search(r"[a-z][A-Z]", name)}
    tokens = [token.strip(".,+-") for token in _TOKEN.findall(line)]
    snakes = [token for token in tokens if "_" in token and _IDENTIFIER.fullmatch(token)]
    return [(name, True) for name in sorted(called)] + [
        (name, False) for name in snakes if name not in called
    ]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _literals(text: str) -> list[str]:
    found: list[str] = []
    for token in _TOKEN.findall(_UNSPACED.sub(" ", _folded(text))):
        token = token.strip(".,+-/")
        plain = token.replace(",", "")
        if "@" in token[1:-1]:
            found.append(token)
        elif _DECIMAL.fullmatch(plain):
            found.append(plain.rstrip("0").rstrip("."))
        elif plain.isdecimal():
            found += [plain] if len(plain) >= 3 else []
        else:
            found += [part for part in re.split(r"[.,+@/]", token) if _tells(part)]
    return found


def _tells(part: str) -> bool:
    digits = sum(c.isdigit() for c in part)
    return digits > 0 and (digits >= 3 or any(c.isalpha() for c in part))


def _phrases(text: str) -> list[tuple[str, ...]]:
    words = _WORD.findall(_folded(text))
    return [tuple(words[i : i + PHRASE_WORDS]) for i in range(len(words) - PHRASE_WORDS + 1)]


def _leak_in(
    line: str,
    literals: Mapping[str, str],
    squeezed: Mapping[str, str],
    phrases: Mapping[tuple[str, ...], str],
) -> tuple[str, str] | None:
    for found in _literals(line):
        if found in literals:
            return _as_written(line, found), literals[found]
    run = _squeezed(line)
    for letters, where in squeezed.items():
        if letters in run:
            return letters, where
    for phrase in _phrases(line):
        if phrase in phrases:
            return " ".join(phrase), phrases[phrase]
    return None


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", "", _folded(text))


def _as_written(line: str, literal: str) -> str:
    at = line.casefold().find(literal)
    return line[at : at + len(literal)] if at >= 0 else literal

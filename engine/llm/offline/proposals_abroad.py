"""Questions that want a yes, in other languages than English: the same structures, one expression for each.

`asks` is what agrees or lets the agent act; a sentence with a word of `open` asks for a fact, or whether there is more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final


@dataclass(frozen=True, slots=True)
class _Language:
    asks: str
    open: str
    yes: str
    no: str


LANGUAGES: Final = {
    "de": _Language(
        r"(?:soll|sollen|darf|dürfen|kann|können|könnte|muss) (?:ich|wir)\b|(?:möchten|wollen|wünschen) sie\b|"
        r"(?:möchtest|willst) du\b|(?:sind|bist|wären) (?:sie|du) (?:sicher|einverstanden|bereit)|"
        r"(?:bestätigen|bestätigst) (?:sie|du)\b|ist (?:das|es|dies) (?:so |für sie |für dich )?"
        r"(?:ok|okay|in ordnung|recht|richtig|korrekt)|"
        r"(?:^|[,.!] ?)(?:ok|okay|einverstanden|in ordnung|richtig|stimmt das|ja)\s*\?",
        r"wer|was|welche\w*|wie|wann|wo|warum|wozu|wissen|fragen|erfahren|haben|bekommen|helfen|behilflich|nennen|"
        r"sonst|noch etwas|weitere\w*|mitteilen|sagen",
        "Ja, bitte.",
        "Nein.",
    ),
    "fr": _Language(
        r"(?:dois|puis|peux)-je\b|(?:devons|pouvons)-nous\b|est-ce que (?:je (?:peux|dois|puisse)|nous)|"
        r"(?:voulez|souhaitez|désirez)-vous\b|(?:veux|souhaites)-tu\b|êtes-vous (?:sûre?|d['\u2019]accord|prête?)|"
        r"confirmez-vous\b|est-ce (?:bien )?(?:correct|exact|bon)|(?:cela|ça) vous (?:convient|va)|"
        r"(?:^|[,.!] ?)(?:d['\u2019]accord|ok|oui|c['\u2019]est (?:bon|bien ça|correct|d['\u2019]accord))\s*\?",
        r"qu(?:i|el|elle|els|elles|oi)|comment|quand|où|pourquoi|combien|avoir|connaître|savoir|demander|aider|autre|"
        r"me (?:donner|dire|fournir|communiquer|indiquer)",
        "Oui, s'il vous plaît.",
        "Non.",
    ),
    "es": _Language(
        r"(?:puedo|debo|podemos|debemos|podría|procedo|procedemos)\b|(?:quiere|quieres|desea|deseas|le gustaría|"
        r"te gustaría)\b|(?:está|estás) (?:segur[oa]|de acuerdo|list[oa])|(?:confirma|confirmas)\b|"
        r"(?:es|está) (?:correcto|bien)|le parece bien|te parece bien|"
        r"(?:^|[,.!¿] ?)(?:de acuerdo|vale|correcto|verdad|sí|ok)\s*\?",
        r"qué|cuál\w*|cómo|cuándo|dónde|quién|por qué|saber|preguntar\w*|tener|pedir\w*|ayudar\w*|conocer|algo más|"
        r"otra cosa|(?:dar|decir|indicar|facilitar|proporcionar)me",
        "Sí, por favor.",
        "No.",
    ),
    "pt": _Language(
        r"(?:posso|devo|podemos|devemos|poderia|prossigo)\b|(?:quer|deseja|queres|gostaria)\b|"
        r"(?:tem certeza|está de acordo|está pront[oa]|concorda)|confirma\b|(?:está|é) (?:bem|bom|correto|certo|isso)|"
        r"(?:^|[,.!] ?)(?:de acordo|certo|correto|ok|tudo bem|sim|pode ser)\s*\?",
        r"o que|qual|quais|como|quando|onde|quem|por que|saber|perguntar|ter|pedir|ajud\w+|conhecer|mais alguma|"
        r"algo mais|me (?:dar|dizer|informar|fornecer)",
        "Sim, por favor.",
        "Não.",
    ),
    "it": _Language(
        r"(?:posso|devo|possiamo|dobbiamo|procedo|procediamo)\b|(?:vuole|vuoi|desidera|desideri|vorrebbe)\b|"
        r"(?:è|sei) (?:sicur[oa]|d['\u2019]accordo|pront[oa])|(?:conferma|confermi)\b|"
        r"(?:va|è) (?:bene|corretto|giusto)|"
        r"(?:^|[,.!] ?)(?:d['\u2019]accordo|va bene|giusto|corretto|ok|sì)\s*\?",
        r"che cosa|cosa|quale|quali|come|quando|dove|chi|perché|sapere|chiedere|avere|aiutar\w*|conoscere|altro|"
        r"(?:dir|dar|fornir|indicar)mi",
        "Sì, per favore.",
        "No.",
    ),
    "nl": _Language(
        r"(?:zal|mag|kan|moet|zullen|mogen|kunnen|moeten) (?:ik|we|wij)\b|(?:wilt|wil) (?:u|je)\b|"
        r"(?:bent|ben) (?:u|je) (?:zeker|akkoord|klaar)|bevestigt u\b|"
        r"is (?:dat|het|dit) (?:goed|akkoord|in orde|juist)|"
        r"(?:^|[,.!] ?)(?:akkoord|goed|ok|oké|juist|ja|klopt dat)\s*\?",
        r"wie|wat|welke?|hoe|wanneer|waar|waarom|waarmee|weten|vragen|hebben|krijgen|helpen|van dienst|nog iets|"
        r"vertellen|geven|zeggen",
        "Ja, graag.",
        "Nee.",
    ),
}
"""`yes` and `no` stand beside the English answer, for an agent that reads its own language only."""


def language_of(sentence: str) -> str:
    """The language in which a sentence asks for leave or agreement; "" if it does not, or is in English."""
    text = sentence.lower()
    return next(
        (name for name, (asks, opens) in _compiled().items() if asks.search(text) and not opens.search(text)),
        "",
    )


@cache
def _compiled() -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    """Compiled when a question is not understood as English for the first time."""
    return {
        name: (re.compile(rf"(?<!\w)(?:{of.asks})"), re.compile(rf"(?<!\w)(?:{of.open})(?!\w)"))
        for name, of in LANGUAGES.items()
    }

"""What only an agent says, and what only a model says that reveals what it is, in the languages of simulated users.

Each is a regular expression of `re`, matched without regard to case; if a language's word for the agent's "your" also
means his or hers (`su`, `suo`, `seu`), the phrase is left out rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

Phrases = Mapping[str, Sequence[str]]
"""Expressions by language."""

TAGS: Final = (
    *("agent", "assistant", "support agent", "customer (?:service|support)", "representative"),
    *("kundenservice", "kundendienst", "kundenbetreuer(?:in)?", "service client", "conseill(?:er|ère)"),
    *("asistente", "servicio al cliente", "atención al cliente", "agente", "assistente", "atendente"),
    *("atendimento(?: ao cliente)?", "servizio clienti", "operatore", "klantenservice", "medewerker"),
)
"""The speaker, before a colon."""

OF_AGENTS: Final[Phrases] = {
    "en": (
        r"\bhow (?:can|may) i (?:help|assist) you(?: today)?\s*[?.!]",
        r"\banything else i can (?:help|assist)(?: you)?(?: with)?(?: today)?\s*\?",
        r"\bthank(?:s| you) for (?:contacting|calling|reaching out to|choosing) (?:us|our)\b",
        r"\b(?:i have|i've|i will|i'll|let me|i can) (?:now |just |successfully |go ahead and )*"
        r"(?:look(?:ed)? up|process(?:ed)?|cancel(?:l?ed)?|refund(?:ed)?|issued?|updated?|check(?:ed)?|closed?|"
        r"verif(?:y|ied)|(?:re)?book(?:ed)?) your "
        r"(?:order|account|booking|reservation|refund|ticket|appointment|flight)\b",
        r"\b(?:could|can|would) you (?:please )?(?:provide|give|share|confirm)(?: me)?(?: with)? your "
        r"(?:order|booking|reservation|customer|zip|date of birth)\b",
        r"\bplease provide your (?:order|booking|reservation|customer|account|e-?mail|zip|date of birth)\b",
    ),
    "de": (
        r"\bwie kann ich (?:ihnen|dir)(?: heute)? (?:weiter)?helfen\s*[?.!]",
        r"\bwie kann ich (?:ihnen|dir)(?: heute)? behilflich sein\s*[?.!]",
        r"\bkann ich (?:ihnen|dir) (?:sonst )?noch (?:mit etwas |bei etwas |irgendwie )?(?:anderem )?"
        r"(?:weiter)?helfen\s*\?",
        r"\bdanke?,? dass sie (?:uns|sich an uns) (?:kontaktier|gewandt|gewendet|angerufen)",
        r"\bich habe (?-i:Ihre|Ihren|Ihr) (?:bestellung|buchung|reservierung|konto|erstattung|termin|flug) "
        r"(?:jetzt |nun |soeben |erfolgreich )*(?:storniert|erstattet|bearbeitet|aktualisiert|geprüft|umgebucht|"
        r"veranlasst|gefunden|geändert)\b",
        r"\b(?:könnten|können|würden) (?-i:Sie) (?:mir )?(?:bitte )?(?-i:Ihre|Ihren|Ihr) "
        r"(?:bestell|buchungs|kunden|reservierungs)nummer\b",
        r"\bbitte (?:nennen|geben|teilen) (?-i:Sie) (?:mir |uns )?(?:bitte )?(?-i:Ihre|Ihren|Ihr) "
        r"(?:bestellnummer|buchungsnummer|kundennummer|reservierungsnummer|postleitzahl|geburtsdatum)\b",
    ),
    "fr": (
        r"\b(?:comment|en quoi) puis-je vous (?:aider|être utile)(?: aujourd['\u2019]hui)?\s*[?.!]",
        r"\bpuis-je vous aider (?:avec|pour|en) (?:quelque chose d['\u2019]autre|autre chose)\s*\?",
        r"\bautre chose (?:que je puisse faire pour vous|pour laquelle je (?:peux|puisse) vous aider)",
        r"\bmerci (?:de nous avoir (?:contacté|appelé|choisi)|d['\u2019]avoir contacté notre)",
        r"\bj['\u2019]ai (?:bien )?(?:annulé|remboursé|traité|mis à jour|vérifié|modifié) votre "
        r"(?:commande|réservation|compte|remboursement|billet|vol|rendez-vous)\b",
        r"\bje vais (?:maintenant )?(?:annuler|rembourser|traiter|mettre à jour|vérifier|modifier) votre "
        r"(?:commande|réservation|compte|remboursement|billet|vol|rendez-vous)\b",
        r"\b(?:pouvez|pourriez)-vous (?:s['\u2019]il vous plaît )?(?:me )?"
        r"(?:fournir|donner|communiquer|indiquer|confirmer)"
        r" votre (?:numéro de (?:commande|réservation|client)|code postal|date de naissance)\b",
        r"\bveuillez (?:me )?(?:fournir|donner|communiquer|indiquer|confirmer) votre "
        r"(?:numéro de (?:commande|réservation|client)|code postal|date de naissance)\b",
    ),
    "es": (
        r"\b(?:cómo|en qué) (?:(?:le|te) puedo ayudar|puedo ayudar(?:le|te|lo|la))(?: hoy)?\s*[?.!]",
        r"\balgo más en (?:lo )?que (?:(?:le|te) pueda ayudar|pueda ayudar(?:le|te|lo|la))(?: hoy)?\s*\?",
        r"\bgracias por (?:contactarnos|llamarnos|elegirnos|(?:comunicarse|ponerse en contacto) con nosotros)\b",
        r"\bhe (?:procesado|tramitado|reembolsado) su (?:pedido|reserva|reembolso|solicitud|devolución)\b",
    ),
    "pt": (
        r"\b(?:como|em que) (?:posso ajud(?:ar|á-l[oa]|á-los|ar você)|(?:lhe|te) posso ajudar)(?: hoje)?\s*[?.!]",
        r"\b(?:algo|alguma coisa) mais em que (?:eu )?(?:posso|possa) (?:ajud(?:ar|á-l[oa])|lhe ajudar|te ajudar)",
        r"\bobrigad[oa] por (?:entrar em contato conosco|nos contactar|contactar-nos|nos ligar|nos escolher)\b",
        r"\b(?:processei|reembolsei) (?:o seu|a sua|seu|sua) (?:pedido|reserva|reembolso|solicitação|devolução)\b",
    ),
    "it": (
        r"\b(?:come|in cosa) posso (?:aiutar(?:la|ti|vi)|esser(?:le|ti) utile)(?: oggi)?\s*[?.!]",
        r"\bposso aiutar(?:la|ti|vi) (?:con|in) (?:qualcos['\u2019]altro|altro)\s*\?",
        r"\bgrazie per (?:averci (?:contattat[oi]|chiamat[oi]|scelt[oi])|aver contattato il nostro)\b",
        r"\bho (?:elaborato|rimborsato) (?:il suo|la sua) (?:ordine|prenotazione|rimborso|richiesta)\b",
    ),
    "nl": (
        r"\b(?:hoe|waarmee) kan ik (?:u|je)(?: vandaag)? (?:verder )?(?:helpen|van dienst zijn)\s*[?.!]",
        r"\bkan ik (?:u|je) (?:nog )?(?:ergens anders mee|met iets anders) helpen\s*\?",
        r"\b(?:bedankt|dank u) (?:dat u contact met ons|voor het contact opnemen met ons|voor uw telefoontje)\b",
        r"\bik heb uw (?:bestelling|boeking|reservering|account|terugbetaling|afspraak|vlucht) "
        r"(?:nu |zojuist |succesvol )*"
        r"(?:geannuleerd|terugbetaald|verwerkt|bijgewerkt|gecontroleerd|omgeboekt|gewijzigd)",
        r"\b(?:kunt|kan|zou) u (?:mij )?(?:alstublieft )?uw (?:bestel|boekings|klant|reserverings)nummer\b",
    ),
}
"""Said by agents, and by no real user."""

TELLS: Final[Phrases] = {
    "en": (
        r"</?sheet>",
        r"\"(?:goal|knowledge|reveal|guidelines|confirms|opening|unknown|gives_up_after)\"\s*:",
        r"\b(?:not on|according to) my (?:user )?sheet\b",
        r"\bmy (?:user )?sheet (?:says|tells|does not)\b",
        r"\bas (?:an ai,? i\b|a (?:large )?language model\b|(?:a|the) simulated user\b)",
        r"\bi(?:'m| am) (?:an ai(?=\s*(?:[.,;!?]|$)| (?:model|assistant|language|system))|"
        r"a (?:large )?language model\b|(?:a|the) simulated user\b)",
        r"\bmy system prompt\b",
        r"\bmy role as (?:the|a) user\b",
    ),
    "de": (
        r"\bals (?:eine )?ki,? (?:kann|habe|bin|darf|werde) ich\b",
        r"\bals (?:großes )?sprachmodell\b",
        r"\bich bin (?:nur |ja )?(?:eine ki\b(?!-)|ein (?:großes )?sprachmodell\b)",
        r"\bich bin (?:nur )?(?:der|ein) simulierter? (?:be)?nutzer\b",
        r"\bmein(?:em|en)? system-?prompt\b",
        r"\bmeine[rn]? rolle als (?:be)?nutzer\b",
    ),
    "fr": (
        r"\ben tant qu['\u2019](?:ia|intelligence artificielle),? je\b",
        r"\ben tant que (?:grand )?modèle de langage\b",
        r"\bje (?:ne )?suis (?:qu['\u2019])?une (?:ia|intelligence artificielle)\b(?!-)",
        r"\bje (?:ne )?suis (?:qu['\u2019])?un (?:grand )?modèle de langage\b",
        r"\bje suis l['\u2019]utilisateur simulé\b",
        r"\bmon (?:prompt|invite) système\b",
        r"\bmon rôle d['\u2019]utilisateur\b",
    ),
    "es": (
        r"\bcomo (?:una )?(?:ia|inteligencia artificial),? (?:yo |no )*(?:puedo|tengo|debo|soy)\b",
        r"\bcomo (?:un )?(?:gran )?modelo de lenguaje\b",
        r"(?<!no )\bsoy (?:solo |sólo )?una (?:ia|inteligencia artificial)\b(?!-)",
        r"(?<!no )\bsoy (?:solo |sólo )?un (?:gran )?modelo de lenguaje\b",
        r"\bsoy (?:el|un) usuario simulado\b",
        r"\bmi (?:prompt|mensaje) (?:de|del) sistema\b",
        r"\bmi (?:papel|rol) (?:de|como) usuario\b",
    ),
    "pt": (
        r"\bcomo (?:uma )?(?:ia|inteligência artificial),? (?:eu |não )*(?:posso|tenho|devo|sou)\b",
        r"\bcomo (?:um )?(?:grande )?modelo de linguagem\b",
        r"(?<!não )\bsou (?:apenas |só )?uma (?:ia|inteligência artificial)\b(?!-)",
        r"(?<!não )\bsou (?:apenas |só )?um (?:grande )?modelo de linguagem\b",
        r"\bsou (?:o|um) (?:usuário|utilizador) simulado\b",
        r"\bmeu (?:prompt|comando) (?:de|do) sistema\b",
        r"\bmeu papel (?:de|como) (?:usuário|utilizador)\b",
    ),
    "it": (
        r"\bcome (?:una? )?(?:ia|intelligenza artificiale),? (?:io |non )*(?:posso|ho|devo|sono)\b",
        r"\bcome (?:un )?(?:grande )?modello linguistico\b",
        r"(?<!non )\bsono (?:solo )?un['\u2019](?:ia|intelligenza artificiale)\b(?!-)",
        r"(?<!non )\bsono (?:solo )?un (?:grande )?modello linguistico\b",
        r"\bsono l['\u2019]utente simulato\b",
        r"\b(?:il )?mio prompt di sistema\b",
        r"\bmio ruolo (?:di|come) utente\b",
    ),
    "nl": (
        r"\bals (?:een )?ai,? (?:kan|heb|ben|mag|zal) ik\b",
        r"\bals (?:groot )?taalmodel\b",
        r"\bik ben (?:maar |slechts )?een (?:ai\b(?!-)(?=\s*(?:[.,;!?]|$|en\b))|(?:groot )?taalmodel\b)",
        r"\bik ben (?:de|een) gesimuleerde gebruiker\b",
        r"\bmijn systeemprompt\b",
        r"\bmijn rol als gebruiker\b",
    ),
}
"""Said by a model that reveals its sheet, its rules or what it is; not by a person, who may deny it or ask."""


@cache
def of_agents() -> re.Pattern[str]:
    """One expression for what agents say; compiled when a user first speaks, for that takes 6 ms."""
    return _either(OF_AGENTS)


@cache
def reveals() -> re.Pattern[str]:
    """One expression for what reveals a simulated user."""
    return _either(TELLS)


def _either(phrases: Phrases) -> re.Pattern[str]:
    return re.compile("|".join(one for of in phrases.values() for one in of), re.IGNORECASE)

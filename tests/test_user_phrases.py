"""Faults of a simulated user in other languages than English, and what its users say that is none."""

from __future__ import annotations

import pytest

from caseharden.engine.simulate.user_faults import user_fault
from caseharden.engine.simulate.user_phrases import OF_AGENTS, TELLS

SAID_AS_AGENT = {
    "de": (
        "Guten Tag! Wie kann ich Ihnen heute helfen?",
        "Kann ich Ihnen sonst noch mit etwas anderem helfen?",
        "Vielen Dank, dass Sie sich an uns gewandt haben.",
        "Ich habe Ihre Bestellung jetzt storniert.",
        "Könnten Sie mir bitte Ihre Bestellnummer nennen?",
        "Kundenservice: Einen Moment, bitte.",
    ),
    "fr": (
        "Bonjour, comment puis-je vous aider ?",
        "Y a-t-il autre chose que je puisse faire pour vous ?",
        "Merci de nous avoir contactés.",
        "J\u2019ai bien annulé votre commande.",
        "Pourriez-vous me donner votre numéro de commande ?",
        "Veuillez indiquer votre code postal.",
    ),
    "es": (
        "Hola, ¿en qué puedo ayudarle hoy?",
        "¿Hay algo más en lo que le pueda ayudar?",
        "Gracias por comunicarse con nosotros.",
        "He tramitado su devolución.",
        "Atención al cliente: un momento.",
    ),
    "pt": (
        "Olá! Como posso ajudá-lo hoje?",
        "Há algo mais em que eu possa ajudar?",
        "Obrigada por entrar em contato conosco.",
        "Processei o seu reembolso.",
    ),
    "it": (
        "Buongiorno, come posso aiutarla?",
        "Posso aiutarla con qualcos'altro?",
        "Grazie per averci contattato.",
        "Ho rimborsato il suo ordine.",
    ),
    "nl": (
        "Goedemiddag, waarmee kan ik u helpen?",
        "Kan ik u nog ergens anders mee helpen?",
        "Bedankt dat u contact met ons opneemt.",
        "Ik heb uw bestelling zojuist geannuleerd.",
        "Kunt u mij uw bestelnummer geven?",
    ),
}
TOLD = {
    "de": (
        "Als KI kann ich das nicht.",
        "Ich bin nur ein Sprachmodell.",
        "Das steht in meinem Systemprompt.",
    ),
    "fr": ("En tant qu'IA, je ne peux pas.", "Je ne suis qu'une IA.", "C'est dans mon prompt système."),
    "es": ("Como IA no puedo hacerlo.", "Soy un modelo de lenguaje.", "En mi papel de usuario diría que sí."),
    "pt": ("Como uma IA, não posso.", "Sou apenas um modelo de linguagem.", "Sou o usuário simulado."),
    "it": ("Come IA non posso.", "Sono un modello linguistico.", "Sono l'utente simulato."),
    "nl": ("Als AI kan ik dat niet.", "Ik ben slechts een taalmodel.", "Dat staat in mijn systeemprompt."),
}
OF_USERS = {
    "de": (
        "Wie kann ich Ihnen helfen, das Paket zu finden? Ich habe die Nummer.",
        "Meine Mutter ist krank, und ich habe ihre Bestellung storniert.",
        "Können Sie mir ihre Bestellnummer sagen? Ich meine die meiner Tochter.",
        "Sind Sie eine KI? Ich bin keine KI, ich bin ein Kunde.",
        "Ich arbeite als KI-Entwicklerin, und ich bin eine KI-Forscherin.",
        "Vielen Dank, dass Sie sich kümmern. Ich habe meine Bestellung selbst storniert.",
        "Der Agent: so nannte ihn Ihr Kollege.",
    ),
    "fr": (
        "Comment puis-je vous aider à le retrouver ? J'ai le numéro.",
        "Je ne suis pas une IA, et vous ?",
        "J'ai vérifié ma commande, elle n'est pas là.",
        "Merci de m'avoir rappelé.",
        "Pourriez-vous me donner mon numéro de commande ?",
    ),
    "es": (
        "Mi madre está enferma: he cancelado su pedido, y quiero su reembolso.",
        "¿Podría darme su número de pedido? Es de mi hija.",
        "No soy una IA, soy una persona. ¿Es usted una IA?",
        "Gracias por llamarme. ¿En qué puedo confiar?",
        "¿Cómo puedo ayudarle a encontrarlo? Tengo el código.",
    ),
    "pt": (
        "Não sou uma IA, sou cliente.",
        "Cancelei o seu pedido, o da minha mãe, e agora quero outro.",
        "Como posso ajudar a encontrar o pacote?",
        "Obrigada por me ligar.",
    ),
    "it": (
        "Non sono un'IA, sono un cliente.",
        "Ho annullato il suo ordine, quello di mia madre.",
        "Come posso aiutarla a trovare il pacco? Ho il numero.",
        "Grazie per avermi chiamato.",
    ),
    "nl": (
        "Ik ben geen AI, ik ben een klant.",
        "Ik ben een AI-onderzoeker, en als AI-onderzoeker bestel ik veel.",
        "Hoe kan ik u helpen het pakket te vinden? Ik heb het nummer.",
        "Ik heb mijn bestelling zelf geannuleerd.",
    ),
}
LANGUAGES = tuple(SAID_AS_AGENT)


def test_every_language_has_both_tables() -> None:
    assert ("en", *LANGUAGES) == tuple(OF_AGENTS) == tuple(TELLS)


@pytest.mark.parametrize("text", [text for of in SAID_AS_AGENT.values() for text in of])
def test_a_user_that_speaks_as_the_agent_is_found_in_its_language(text: str) -> None:
    fault = user_fault(text, "Hello.", "")
    assert fault is not None and fault.sort == "role_flip"
    assert user_fault(text, "Hello.", "", plays=True) is None


@pytest.mark.parametrize("text", [text for of in TOLD.values() for text in of])
def test_a_user_that_tells_what_it_is_is_found_in_its_language(text: str) -> None:
    fault = user_fault(text, "Hello.", "", plays=True)
    assert fault is not None and fault.sort == "leak"


@pytest.mark.parametrize("text", [text for of in OF_USERS.values() for text in of])
def test_what_a_user_says_in_its_language_is_no_fault(text: str) -> None:
    assert user_fault(text, "Hello.", "") is None

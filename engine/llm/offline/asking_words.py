"""The closed lists of words, and the expressions, by which an agent's questions are told apart."""

from __future__ import annotations

import re
from typing import Final

from .words import listing

MOST: Final = 60
"""Sentences of a text that are read, the last ones."""
MOST_WORDS: Final = 80
MARKUP: Final = re.compile(
    r"(?<!\w)[*_`]{1,3}(?=\w)|(?<=[\w.,;:!?)])[*_`]{1,3}(?!\w)|^[ \t]*(?:[-+>#\u2022]+|\d{1,2}[.)])[ \t]+",
    re.MULTILINE,
)
SENTENCES: Final = re.compile(r"(?<=[.!?])[\"'\u201d)\]]*\s+(?![(\[](?:yes|y)\b)|\n+", re.IGNORECASE)
WORD: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|#?\w+(?:[-/'\u2019.:]\w+)*|[,;:\u2013\u2014]")
YES_NO: Final = re.compile(r"[(\[]?\s*\b(?:yes ?/ ?no|yes or no|y/n)\b\s*[)\]]?", re.IGNORECASE)

STOPS: Final = listing(", ; : \u2013 \u2014")
WH: Final = listing("what which who whose whom where when how why what's who's how's when's where's")
MODALS: Final = listing("shall should may can could might must will would do did need")
LIKING: Final = listing("like want wish prefer rather need care")
TELLING: Final = listing(
    "tell give provide share send specify state name describe explain spell repeat enter elaborate clarify let supply "
    "remind list show"
)
AGREEING: Final = listing(
    "confirm agree accept approve consent authorize authorise allow permit mind acknowledge"
)
ASKING: Final = listing("ask know hear learn inquire enquire request trouble bother borrow see")
GETTING: Final = listing("have get obtain collect take note write")
LOOKING: Final = listing("verify check confirm validate clarify double-check")
HELPING: Final = listing("help assist support")
LEAVE: Final = listing(
    "permission consent approval go-ahead confirmation authorization authorisation agreement okay ok"
)
FINE: Final = listing(
    "ok okay fine alright right correct good acceptable agreeable sure certain happy comfortable ready agreed "
    "convenient accurate true possible great"
)
FITS: Final = listing("work works suit suits sound sounds look looks make makes")
GOES_ON: Final = listing("if that for with to so now by about then and or , yet enough i")
ADVERBS: Final = listing(
    "please now just also then quickly first perhaps maybe still really therefore kindly briefly safely only not "
    "already again instead actually simply possibly immediately directly"
)
MORE: Final = listing("anything something else more further other everything")
THINGS: Final = listing("it this that them these those you everything things him her all both")
OBJECTS: Final = THINGS | listing(
    "the your my a an all both now anyway then instead off up ahead on down out for to"
)
NO_VERB: Final = (
    MODALS
    | WH
    | listing(
        "is are was were am be does has have had i you he she it we they there here in on at of for from with by as "
        "if not and or but the a an my your his her its our their this that these those any some no all anything "
        "something name email number address phone sorry pardon really hello hi"
    )
)
ALONE: Final = listing(
    "proceed continue confirm confirmed agreed ready ok okay right correct yes deal alright fine good"
)
PARTICIPLES: Final = listing(
    "sent done put made paid shipped sold cut set left undone withdrawn taken given written"
)
LEADS: Final = listing(
    "ok okay great sure thanks sorry and so but then now first well alright perfect good right yes please also next "
    "finally alternatively otherwise hi hello oh hmm no understood certainly"
)
SAY_YES: Final = re.compile(
    r"\b(?:reply|respond|answer|say|type|write|enter|text|send)(?: with| me| back)?[ :]*[\"'\u201c(]*(?:a )?"
    r"(?:yes|y|ok|okay|confirm|go|proceed|the word)\b|"
    r"\blet me know (?:if|whether|that|when|once) (?:i (?:should|may|can|shall)|"
    r"you(?:'d| would)? (?:like|want|prefer)(?: me| us)? to|you (?:agree|confirm|are ready)|"
    r"(?:that|this|it)(?:'s| is| works| sounds| looks)\b)|"
    r"\b(?:need|await|awaiting|wait for|waiting for|require|once i have|want)\s+(?:\w+ )?your (?:\w+ )?(?:"
    + "|".join(sorted(LEAVE - {"ok", "okay"}))
    + r"|ok(?:ay)?(?=[.!,]|$| (?:to|for|before|first|on|that)\b))\b",
    re.IGNORECASE,
)
ONCE: Final = re.compile(
    r"\b(?:once|when|as soon as|if) you(?:'re| are|'ve| have)? (?:confirm|agree|approve|happy|ok|okay|ready)\w*\b|"
    r"\bwhen(?:ever)? you(?:'re| are)(?: ready)?[.! ]*$|"
    r"\blet me know,? and (?:i|we)(?:['\u2019]ll| will| can| could)\b|"
    r"\bif you(?:'d| would) (?:like|prefer|want)\b[^.?!]{0,60}, (?:i|we)(?: can|'ll| will| could|'d)\b",
    re.IGNORECASE,
)
CONFIRM: Final = re.compile(
    r"(?:^\W*(?:\w+,\s)?|\b(?:please|kindly|and|must|you to) )confirm\b", re.IGNORECASE
)
REQUEST: Final = re.compile(
    r"\b(?:please|could you|can you|kindly)\b[^.?!]{0,200}?\b"
    r"(?:provide|give|tell|share|send|specify|name|state|enter)\b|"
    r"\blet me know (?:your|the|which|what|who|when|where|why)\b|"
    r"\bi(?:'ll| will| would|'d)? (?:just |also |still |only )?need (?:to know )?(?:your|the)\b",
    re.IGNORECASE,
)
CLOSING: Final = re.compile(
    r"\b(?:any|some)thing (?:else|more|further)\b|\bwhat else\b|\b(?:any (?:other|more|further)|further|other|any) "
    r"(?:\w+ )?(?:questions?|requests?|things?|concerns?|issues?|help|assistance)\b",
    re.IGNORECASE,
)
ALTERNATIVE: Final = re.compile(r",?\s(?:or|and|but)\s+(?:is|do|did|can|are|may|would|have)\b", re.IGNORECASE)
THERE: Final = re.compile(
    r"^\W*(?:hello|hi|hey)\W*\?|\bare you (?:still )?(?:there|with me|here)\b|\bcan you hear me\b",
    re.IGNORECASE,
)
HELPED: Final = re.compile(
    r"\b(?:is|was|will) that (?:be )?(?:all|everything)\b|\bthat(?:'s| is) (?:all|everything)\b|"
    r"\b(?:does|did|has|do) (?:that|this|it|i) (?:fully |all |already )?(?:help|answer|solve|resolve|clarif|settle)|"
    r"\b(?:is|was|are|were) (?:\w+ ){1,4}(?:satisfied|helpful|resolved|solved|answered|happy with)\b|"
    r"\brate (?:this|our|your|the (?:chat|service|conversation|experience))\b|\b(?:feedback|survey)\b",
    re.IGNORECASE,
)
WISH: Final = re.compile(
    r"\bwhat (?:(?:would|do|did) you (?:like|want|need|wish)|can i (?:do|help)|should i do|is (?:it|this) (?:about|"
    r"regarding)|is (?:the|your) (?:issue|problem|request|concern|question|reason for (?:contact|call)\w*)|"
    r"seems to be the|brings you)|\bhow (?:can|may|could|should) i (?:help|assist|be of)|"
    r"\b(?:tell me|describe|explain) (?:more |a bit more |a little more )?(?:about )?(?:your|the|what) "
    r"(?:issue|problem|request|concern|you (?:need|want|would like))",
    re.IGNORECASE,
)
TAG: Final = re.compile(
    r"(?:^\W*(?:(?:and|so|all|is|are|was|does|did|that|this|it|everything|i|we|get|sound|look|you) ){0,4}|"
    r"[,;:.!\u2013\u2014-]\s*(?:(?:is|does|sound|shall|all|are|that|this|it|ok|will|would) ){0,3})"
    r"(?:ok(?:ay)?|right|correct|yes|no|alright|agreed?|deal|cool|fine|good|true|sure|ready|confirmed|proceed|"
    r"continue|go ahead|we|isn't it|aren't you|don't you|didn't you|won't you|work|that)"
    r"(?: with you| for you| by you| to you| so far| then| now| please)*\s*\?+\W*$",
    re.IGNORECASE,
)
WILL: Final = re.compile(
    r"\b(?:i|we)(?:'ll|'m| will| am| are| would|'d| shall| can| could| have to| need to| want to| should| plan)\b",
    re.I,
)
YES_NO_VERBS: Final = MODALS | listing("is are was were does am has have isn't aren't")

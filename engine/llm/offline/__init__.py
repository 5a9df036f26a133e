"""The offline model: deterministic, rule-based, no network, four roles; it knows no environment.

Everything it does comes from the request: the system text's controlled English, the tools' signatures, the messages.
It tests wiring, worlds, checks and the proof; it says nothing about how a language model would behave.
"""

from __future__ import annotations

from .model import OfflineModel

__all__ = ["OfflineModel"]

"""Hashes of cases: whether a simulation means the same case in two runs."""

from __future__ import annotations

from dataclasses import replace

from ..canonical import digest
from .run_cases import CaseParts


def case_hash(parts: CaseParts) -> str:
    """SHA-256 of what a case is made of; when and how often it was stored does not matter."""
    scenario = parts.scenario.model_dump(mode="json", by_alias=True, exclude_unset=True)
    persona = parts.persona.model_dump(mode="json", by_alias=True) if parts.persona else None
    said = [parts.row.user_input, parts.row.expected_output, parts.row.ground_truth]
    return digest([scenario, persona, said, parts.split])


def case_digest(parts: CaseParts) -> str:
    """SHA-256 of what both sides meet in a case; its split is not part of that."""
    return case_hash(replace(parts, split=""))

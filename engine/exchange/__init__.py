"""Files in and out: allowed roots, JSON and YAML read safely, a folder of cases.

Worlds and results of other systems come later through the same door.
"""

from __future__ import annotations

from .documents import parse, parse_json, parse_jsonl, parse_yaml
from .files import Roots, decode
from .folder import CaseFolder, Sourced, read_folder, write_instructions

__all__ = [
    "CaseFolder",
    "Roots",
    "Sourced",
    "decode",
    "parse",
    "parse_json",
    "parse_jsonl",
    "parse_yaml",
    "read_folder",
    "write_instructions",
]

"""Files in and out: allowed roots, JSON and YAML read safely, a folder of cases, a run as one file or a table.

Worlds and results of other systems come later through the same door.
"""

from __future__ import annotations

from .documents import parse, parse_json, parse_jsonl, parse_yaml
from .files import Roots, decode
from .folder import CONFIG_NAMES, CaseFolder, Sourced, is_case_folder, read_folder, write_instructions

__all__ = [
    "CONFIG_NAMES",
    "CaseFolder",
    "Roots",
    "Sourced",
    "decode",
    "is_case_folder",
    "parse",
    "parse_json",
    "parse_jsonl",
    "parse_yaml",
    "read_folder",
    "write_instructions",
]

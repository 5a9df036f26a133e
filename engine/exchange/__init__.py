"""Files in and out: allowed roots, JSON and YAML read safely, a folder of cases, a run as one file or a table.

Files of other systems are imported the same way as our own: one `Importer` per layout, all of them in `formats`.
"""

from __future__ import annotations

from .documents import parse, parse_json, parse_jsonl, parse_yaml
from .files import Roots, decode
from .folder import (
    CONFIG_NAMES,
    CaseFolder,
    Sourced,
    Version,
    is_case_folder,
    read_folder,
    write_instructions,
)
from .formats import IMPORTERS
from .importer import Imported, Importer, Losses, PastEntry, PastRun, PastTalk, find_importer
from .own_files import imported_folder

__all__ = [
    "CONFIG_NAMES",
    "IMPORTERS",
    "CaseFolder",
    "Imported",
    "Importer",
    "Losses",
    "PastEntry",
    "PastRun",
    "PastTalk",
    "Roots",
    "Sourced",
    "Version",
    "decode",
    "find_importer",
    "imported_folder",
    "is_case_folder",
    "parse",
    "parse_json",
    "parse_jsonl",
    "parse_yaml",
    "read_folder",
    "write_instructions",
]

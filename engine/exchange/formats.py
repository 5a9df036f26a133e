"""Every format that can be imported, by name, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .are import Are
from .arksim import ArkSim
from .importer import Importer
from .own_files import OwnFiles
from .sigma import Sigma
from .tau2_bench import Tau2Bench
from .tau_bench import TauBench

_ALL: Final[Sequence[Importer]] = (OwnFiles(), TauBench(), Tau2Bench(), Sigma(), Are(), ArkSim())
IMPORTERS: Final[Mapping[str, Importer]] = {importer.name: importer for importer in _ALL}

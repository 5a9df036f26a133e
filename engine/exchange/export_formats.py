"""Every format that can be exported, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .arksim_cases import ArkSimCases
from .exporter import Exporter, by_name
from .run_json import RunJson
from .run_markdown import Markdown
from .run_tables import Csv, Junit
from .tau2_tasks import Tau2Tasks
from .training import Dpo, Grpo, Sft

EXPORTERS: Final[Mapping[str, Exporter]] = by_name(
    (RunJson(), Csv(), Junit(), Markdown(), Sft(), Dpo(), Grpo(), ArkSimCases(), Tau2Tasks())
)

"""Test an AI agent with simulated users in a world that keeps state; prove its instructions better.

    from caseharden import Workbench

    async with Workbench("data") as bench:
        await bench.environments.create("shop", world="shop", instructions="Be helpful.")
        report = await bench.runs.start("shop")

The names below are the public face; they are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.errors import CasehardenError, SetupError, UserError
    from .engine.processes import AllowedCode
    from .resources.workbench import Workbench

__version__ = "0.1.0"

__all__ = ["AllowedCode", "CasehardenError", "SetupError", "UserError", "Workbench", "__version__"]

_HOMES = {
    "AllowedCode": ".engine.processes",
    "CasehardenError": ".engine.errors",
    "SetupError": ".engine.errors",
    "UserError": ".engine.errors",
    "Workbench": ".resources.workbench",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `caseharden` has no attribute `{name}`")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__

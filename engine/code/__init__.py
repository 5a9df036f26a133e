"""Tools of worlds that are no steps: Python in a warm process, below the folders that the operator allows; servers."""

from __future__ import annotations

from .python_tools import PythonTools
from .server_tools import ServerTools

__all__ = ["PythonTools", "ServerTools"]

"""Tools without steps, and coded metrics: Python in a warm process, below allowed folders; servers."""

from __future__ import annotations

from .metric_code import MetricCode
from .python_tools import PythonTools
from .server_tools import ServerTools, processes_of

__all__ = ["MetricCode", "PythonTools", "ServerTools", "processes_of"]

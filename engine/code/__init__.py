"""Tools of worlds that are Python: run below the folders that the operator allows, in a warm process of their own."""

from __future__ import annotations

from .python_tools import PythonTools

__all__ = ["PythonTools"]

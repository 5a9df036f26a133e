"""The network as the engine may use it: what may be reached, and how."""

from __future__ import annotations

from .network import Network

__all__ = ["Network"]

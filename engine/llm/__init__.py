"""Language models behind one seam: `open_model` turns a model's name into a `ModelClient`."""

from __future__ import annotations

from .client import (
    Message,
    ModelClient,
    ModelReply,
    ModelRequest,
    Probed,
    Role,
    ToolCall,
    ToolSignature,
    Usage,
)
from .open import Connections, open_model

__all__ = [
    "Connections",
    "Message",
    "ModelClient",
    "ModelReply",
    "ModelRequest",
    "Probed",
    "Role",
    "ToolCall",
    "ToolSignature",
    "Usage",
    "open_model",
]

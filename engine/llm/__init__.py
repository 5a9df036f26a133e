"""Language models behind one seam: `open_model` turns a model's name into a `ModelClient`."""

from __future__ import annotations

from .client import (
    Message,
    ModelClient,
    ModelReply,
    ModelRequest,
    Role,
    ToolCall,
    ToolSignature,
    Usage,
)
from .open import open_model

__all__ = [
    "Message",
    "ModelClient",
    "ModelReply",
    "ModelRequest",
    "Role",
    "ToolCall",
    "ToolSignature",
    "Usage",
    "open_model",
]

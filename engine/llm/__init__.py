"""Language models behind one interface: `open_model` turns a model's name into a `ModelClient`."""

from __future__ import annotations

from .cassette import Cassette, Cassettes
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
from .open import Connections, open_cassette, open_model
from .origin import Origin, asking_for, origin, trial_of
from .patience import Patience, patient
from .relay import RELAY, Host, RelayModel
from .replay import REPLAY, Mode, RecordedModel, ReplayModel
from .request_key import RequestKeys

__all__ = [
    "RELAY",
    "REPLAY",
    "Cassette",
    "Cassettes",
    "Connections",
    "Host",
    "Message",
    "Mode",
    "ModelClient",
    "ModelReply",
    "ModelRequest",
    "Origin",
    "Patience",
    "Probed",
    "RecordedModel",
    "RelayModel",
    "ReplayModel",
    "RequestKeys",
    "Role",
    "ToolCall",
    "ToolSignature",
    "Usage",
    "asking_for",
    "open_cassette",
    "open_model",
    "origin",
    "patient",
    "trial_of",
]

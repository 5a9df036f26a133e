"""Agents under test: the interface, and its adapters."""

from .adapter import (
    AgentAdapter,
    AgentError,
    AgentInput,
    AgentReply,
    Closing,
    OwnVerdict,
    Standstill,
    Unwanted,
    closing,
)
from .caller import CallerAgents
from .chat_completions import ChatAgent
from .json_rpc import Peer, RpcError, StdioPeer
from .kinds import OUTSIDE, open_outside, probe
from .mcp_peer import PEER_FAILURES, McpServer, let_go, sent_headers, texts_of
from .outside import Outside, Reach
from .parts import HEADINGS, Part, described, is_description, part_lines
from .prompt import PromptAgent
from .recorded import (
    NoRecording,
    NotRecorded,
    PlayedAgent,
    PlayedTurn,
    RecordedAgent,
    Recording,
    played_turns,
)
from .served_tools import Door, Doors, NotCalled, Served
from .spans import NoSpans, SpanBatch, read_export
from .watched import Watched

__all__ = [
    "HEADINGS",
    "OUTSIDE",
    "PEER_FAILURES",
    "AgentAdapter",
    "AgentError",
    "AgentInput",
    "AgentReply",
    "CallerAgents",
    "ChatAgent",
    "Closing",
    "Door",
    "Doors",
    "McpServer",
    "NoRecording",
    "NoSpans",
    "NotCalled",
    "NotRecorded",
    "Outside",
    "OwnVerdict",
    "Part",
    "Peer",
    "PlayedAgent",
    "PlayedTurn",
    "PromptAgent",
    "Reach",
    "RecordedAgent",
    "Recording",
    "RpcError",
    "Served",
    "SpanBatch",
    "Standstill",
    "StdioPeer",
    "Unwanted",
    "Watched",
    "closing",
    "described",
    "is_description",
    "let_go",
    "open_outside",
    "part_lines",
    "played_turns",
    "probe",
    "read_export",
    "sent_headers",
    "texts_of",
]

"""What can be done: one module a noun, one thin function a tool.

A tool checks nothing that the engine checks: it calls one service and renders what came back. The parts of
the protocol stand in `mcp_server`.
"""

from . import (
    comparisons,
    environments,
    exports,
    hardenings,
    items,
    jobs,
    model_calls,
    personas,
    runs,
    scenarios,
    scores,
    sessions,
    simulations,
)
from .spec import CATALOG, TOOLSETS, Call, Toolset, ToolSpec

__all__ = [
    "CATALOG",
    "ORDER",
    "TOOLSETS",
    "Call",
    "ToolSpec",
    "Toolset",
    "comparisons",
    "environments",
    "exports",
    "hardenings",
    "items",
    "jobs",
    "model_calls",
    "personas",
    "runs",
    "scenarios",
    "scores",
    "sessions",
    "simulations",
]

ORDER = (
    "create_environment",
    "import_environment",
    "create_personas",
    "generate_personas",
    "create_scenarios",
    "generate_scenarios",
    "create_simulations",
    "list_items",
    "get_item",
    "update_item",
    "delete_items",
    "run_simulations",
    "score_run",
    "compare_runs",
    "wait_job",
    "cancel_job",
    "harden_agent",
    "submit_candidate",
    "decide_candidate",
    "take_model_calls",
    "answer_model_calls",
    "start_session",
    "step_session",
    "export_run",
)
"""The order of the tool list: the order of the work."""

"""ArkSim's config.yaml as an agent, settings and models of ours; every key without a place here is reported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..shapes import as_list
from .arksim_metrics import measured
from .importer import Losses, as_object

MOST_TRIALS: Final = 50
TURNS: Final = 5
"""ArkSim's own default for turns and for conversations per scenario."""
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PARTS: Final = ("simulation", "simulator", "evaluation", "evaluator")
"""Sections in the manual's form; their keys are those that the released form has at the top."""
_ALIASES: Final = {"scenarios_file": "scenario_file_path", "scenario_file": "scenario_file_path"}
_NO_USE: Final = {
    "output_file_path": "where results are written: export_run",
    "output_dir": "where results are written: export_run",
    "generate_html_report": "export_run writes html",
    "simulation_file_path": "import that file with the id of this environment",
    "custom_metrics_file_paths": "ArkSim's classes are not run; metrics are FILE.py:function or a rubric",
    "simulated_user_prompt_template": "settings.user_guidelines says how users behave",
    "agent_config_file_path": "update_item with its content as agent",
    "timeout": "limits.timeout_s",
    "timeouts": "limits.timeout_s, and timeout_s of the agent",
}
"""Known keys without a place here, and what to use instead."""


@dataclass(slots=True)
class ArkSimConfig:
    """The contents of a config, as plain values."""

    agent: dict[str, Any] = field(default_factory=dict[str, Any])
    instructions: str = ""
    """The system message of the agent's body: the text that can be hardened."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    models: dict[str, Any] = field(default_factory=dict[str, Any])
    scenarios: str = ""
    """Path of the scenarios, relative to the config's folder; "" if none."""


def config_of(source: Mapping[str, Any], folder: Path, losses: Losses, at: str) -> ArkSimConfig:
    """Translate a config; omitted keys have ArkSim's own defaults."""
    keys = _flat(source)
    made = ArkSimConfig()
    _agent(as_object(keys.pop("agent_config", None)), folder, made, losses, at)
    scenarios = keys.pop("scenario_file_path", "")
    made.scenarios = scenarios if isinstance(scenarios, str) else ""
    turns = _whole(keys.pop("max_turns", TURNS), "max_turns", 1, 1000, losses, at)
    trials = _whole(keys.pop("num_conversations_per_scenario", TURNS), "trials", 1, MOST_TRIALS, losses, at)
    made.settings |= {"limits": {"max_turns": turns}, "trials": trials}
    workers = keys.pop("num_workers", None)
    if isinstance(workers, int):
        made.settings["concurrency"] = _whole(workers, "num_workers", 1, 1000, losses, at)
    _models(keys, made)
    measured(keys, made.settings, losses, at)
    receiver = as_object(keys.pop("trace_receiver", None)) or {}
    if receiver.get("enabled"):
        use = "calls in the replies of a chat_completions agent are recorded"
        losses.add("trace_receiver", "it is set up for a run, not for an environment", at, use)
    for name in sorted(keys):
        use = _NO_USE.get(name, "")
        why = "it has no place here" if use else "ArkSim has no such key"
        losses.add(f"key `{name[:60]}`", why, at, use)
    return made


def _flat(source: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the file and of its sections; those at the top take precedence."""
    found: dict[str, Any] = {}
    for part in _PARTS:
        found |= as_object(source.get(part)) or {}
    found |= {
        name: value for name, value in source.items() if not (name in _PARTS and isinstance(value, dict))
    }
    return {_ALIASES.get(name, name): value for name, value in found.items()}


def _agent(told: dict[str, Any] | None, folder: Path, made: ArkSimConfig, losses: Losses, at: str) -> None:
    if told is None:
        losses.add("agent", "the config names none", at, "update_item sets one")
        return
    kind, name = told.get("agent_type"), told.get("agent_name")
    if isinstance(name, str) and name:
        made.settings["name"] = name[:200]
    api, custom = as_object(told.get("api_config")) or {}, as_object(told.get("custom_config")) or {}
    for key in sorted(set(told) - {"agent_type", "agent_name", "api_config", "custom_config"}):
        losses.add(f"key `agent_config.{key[:60]}`", "ArkSim has no such key", at)
    if kind == "chat_completions":
        made.agent = _over_http(api, made, losses, at)
    elif kind == "a2a":
        made.agent = {"kind": "a2a", "card_url": _url(api, losses, at), "headers": _headers(api, losses, at)}
    elif kind == "custom":
        made.agent = _python(custom, folder)
    else:
        losses.add("agent", f"agent_type is {str(kind)[:60]}", at, "chat_completions, a2a or custom")


def _over_http(api: dict[str, Any], made: ArkSimConfig, losses: Losses, at: str) -> dict[str, Any]:
    """An agent behind a URL. Its system messages become the instructions, which are put back into each request."""
    body = dict(as_object(api.get("body")) or {})
    messages = [as_object(m) or {} for m in as_list(body.get("messages"))]
    system = [m.get("content") for m in messages if m.get("role") == "system"]
    made.instructions = "\n\n".join(text for text in system if isinstance(text, str))
    for _ in [m for m in messages if m.get("role") != "system"]:
        losses.add("message of the agent's body", "only system messages stand before a conversation", at)
    if api.get("azure_config"):
        losses.add("azure_config", "tokens of Azure are not fetched", at, "a header with env:NAME")
    return {
        "kind": "chat_completions",
        "url": _url(api, losses, at),
        "headers": _headers(api, losses, at),
        "body": {**body, "messages": "{{messages}}"},
        "tools": "none",
        "timeout_s": 120.0,
    }


def _python(custom: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = custom.get("module_path")
    file = str(folder / path) if isinstance(path, str) and path.endswith(".py") else str(path or "")
    made = {"kind": "python", "file": file}
    name = custom.get("class_name")
    return {**made, "object": name} if isinstance(name, str) and name else made


def _url(api: dict[str, Any], losses: Losses, at: str) -> str:
    url = api.get("endpoint")
    text = url if isinstance(url, str) else ""
    if _VARIABLE.search(text):
        why = "a URL holds no reference to a variable"
        losses.add("endpoint", why, at, "update_item with the whole URL as agent.url")
    return text


def _headers(api: dict[str, Any], losses: Losses, at: str) -> dict[str, str]:
    """Headers with `${NAME}` as the reference `env:NAME`, which is resolved before anything is sent."""
    made: dict[str, str] = {}
    for name, value in (as_object(api.get("headers")) or {}).items():
        text = str(value)
        variables = _VARIABLE.findall(text)
        if name.lower() == "content-type":
            continue
        if len(variables) > 1 or any(not _NAME.match(one) for one in variables):
            losses.add(f"header {name[:60]}", "a header holds one reference, env:NAME", at)
            continue
        made[name] = _VARIABLE.sub(lambda found: f"env:{found[1]}", text)
    return made


def _models(keys: dict[str, Any], made: ArkSimConfig) -> None:
    """The model of user and judge, if the config names it."""
    model, provider = keys.pop("model", None), keys.pop("provider", None)
    if isinstance(model, str) and model:
        name = f"{provider or 'openai'}/{model}" if "/" not in model else model
        made.models = {"user": name, "judge": name}


def _whole(value: Any, name: str, low: int, high: int, losses: Losses, at: str) -> int:
    """A whole number within bounds."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else low
    kept = min(max(number, low), high)
    if kept != value:
        losses.add(name, f"it is {str(value)[:40]}, and was set to {kept}", at)
    return kept

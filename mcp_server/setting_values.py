"""The settings: names, types, and checks of values beyond their type."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from ..engine.errors import InvalidArgument, NotAllowed, Unavailable
from ..engine.exchange import parse_json
from ..engine.llm import Connections, open_model
from ..engine.net import HttpClient, Network, Secrets, check_lent
from ..engine.records.authored import Authored, load
from ..engine.records.environment import DEFAULT_CONCURRENCY, MOST_CONCURRENCY, ModelAt

FILE: Final = "settings.toml"
PREFIX: Final = "CASEHARDEN_"
ROLES: Final = ("agent", "user", "judge", "writer")
DEFAULT: Final = "default"
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Values(Authored):
    """The settings as the file gives them. Relative paths in the file start at the data folder."""

    roots: list[str] = Field(default_factory=list[str])
    """Folders below which callers may name files."""
    model_agent: str | dict[str, Any] = ""
    """A model's name or its table, such as {model, base_url, key}; "": offline."""
    model_user: str | dict[str, Any] = ""
    model_judge: str | dict[str, Any] = ""
    model_writer: str | dict[str, Any] = ""
    allow_loopback: bool | None = None
    """Whether agents and models on this machine may be reached; unset: yes, except by clients over HTTP."""
    allow_net: list[str] = Field(default_factory=list[str])
    """Private networks that may be reached, in CIDR form."""
    allow_env: list[str] | None = None
    """The only variables that callers may reference; unset: over HTTP none, else all that are keys."""
    allow_code: list[str] = Field(default_factory=list[str])
    """Folders below which agents and tools may be run as code."""
    code_env: list[str] = Field(default_factory=list[str])
    """Variables passed to such code besides PATH and the language."""
    code_python: str = ""
    """The interpreter for such code in Python; "": ours."""
    proxy: str = ""
    ca_file: str = ""
    """PEM file of the authorities to trust instead of the system's."""
    env_file: str = ""
    """File of NAME=value lines to read keys from."""
    retention_days: float = Field(default=0, ge=0, le=36_500)
    """Runs, hardenings and jobs that ended longer ago are deleted; 0: never."""
    concurrency: int = Field(default=DEFAULT_CONCURRENCY, ge=1, le=MOST_CONCURRENCY)
    """Trials at the same time if neither call nor environment says."""
    log_level: Level = "WARNING"
    """Level of the log on standard error."""


NAMES: Final = tuple(Values.model_fields)
_SPELLED: Final = {"roots": "--root"}
"""Flags not spelled like their setting: they can be repeated, with one value each."""
LISTS: Final = {
    "roots": os.pathsep,
    "allow_net": ",",
    "allow_env": ",",
    "allow_code": os.pathsep,
    "code_env": ",",
}


def flag(name: str) -> str:
    """`--model-user`"""
    return _SPELLED.get(name, f"--{name.replace('_', '-')}")


def variable(name: str) -> str:
    """`CASEHARDEN_MODEL_USER`"""
    return PREFIX + name.upper()


def from_text(name: str, told: Any) -> Any:
    """The value of a setting in a flag or a variable: lists split, true and false, objects as JSON."""
    if LISTS.get(name) == "," and told:
        parts = [
            part.strip() for one in ([told] if isinstance(told, str) else told) for part in one.split(",")
        ]
        return [part for part in parts if part]
    if not isinstance(told, str):
        return told
    if name in LISTS:
        return [part.strip() for part in told.split(LISTS[name]) if part.strip()]
    if name == "log_level":
        return told.upper()
    if name == "retention_days":
        return float(told) if re.fullmatch(r"\d+(\.\d+)?", told) else told
    if name == "concurrency":
        return int(told) if re.fullmatch(r"\d{1,9}", told) else told
    if name == "allow_loopback":
        return {"true": True, "1": True, "false": False, "0": False}.get(told.lower(), told)
    if name.startswith("model_") and told.startswith("{"):
        return parse_json(told, name)
    return told


def checked(name: str, told: Any, start: Path) -> Any:
    """The validated value of a setting; relative paths start at the folder `start`. Raises InvalidArgument."""
    value = getattr(load(Values, {name: told}, ""), name)
    return _CHECKS[name](start, value) if name in _CHECKS else value


def _folders(start: Path, told: list[str]) -> list[str]:
    found = [(start / Path(one).expanduser()).resolve() for one in told]
    missing = next((folder for folder in found if not folder.is_dir()), None)
    if missing:
        raise InvalidArgument(f"`{missing}` is not a folder.", allowed="a folder that is there")
    return [str(folder) for folder in found]


def _file(start: Path, told: str) -> str:
    found = start / Path(told).expanduser()
    if told and not found.is_file():
        raise InvalidArgument(f"`{found}` is not a file.", allowed="a file that is there")
    return str(found) if told else ""


def _networks(start: Path, told: list[str]) -> list[str]:
    _usable(Network(private=tuple(told)))
    return told


def _variables(start: Path, told: list[str] | None) -> list[str] | None:
    return None if told is None else [check_lent(name) for name in told]


def _code_variables(start: Path, told: list[str]) -> list[str]:
    return [check_lent(name) for name in told]


def _program(start: Path, told: str) -> str:
    """An interpreter: a path, or a name looked up as a shell would."""
    if not told:
        return ""
    found = shutil.which(told if os.sep not in told else str(start / Path(told).expanduser()))
    if found is None:
        raise InvalidArgument(f"`{told[:200]}` is no program.", allowed="a Python interpreter")
    return os.path.abspath(found)


def _proxy(start: Path, told: str) -> str:
    _usable(Network(proxy=told))
    return told


def _usable(network: Network) -> None:
    try:
        HttpClient(network)
    except InvalidArgument as error:
        raise InvalidArgument(error.what, allowed=error.allowed) from None


def _model(name: str) -> Callable[[Path, Any], Any]:
    """A check that refuses an invalid model name, or a key that is not a reference; it does not call the model."""

    def check(start: Path, told: str | dict[str, Any]) -> str | dict[str, Any]:
        model = told if isinstance(told, str) else load(ModelAt, told, name)
        with suppress(Unavailable, NotAllowed):
            open_model(model, Connections(HttpClient(Network()), Secrets(_no_file)), where=name)
        return told

    return check


def _no_file(path: str, where: str) -> str:
    return ""


_CHECKS: Final[dict[str, Callable[[Path, Any], Any]]] = {
    "roots": _folders,
    **{f"model_{role}": _model(f"model_{role}") for role in ROLES},
    "allow_net": _networks,
    "allow_env": _variables,
    "allow_code": _folders,
    "code_env": _code_variables,
    "code_python": _program,
    "proxy": _proxy,
    "ca_file": _file,
    "env_file": _file,
}
"""Checks of settings beyond their type, returning the final value; relative paths start at the given folder."""

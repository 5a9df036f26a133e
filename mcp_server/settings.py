"""Settings: the one place where flags, variables and the file `settings.toml` of the data folder are combined.

A setting has one name in three forms: the flag `--model-user`, the variable `CASEHARDEN_MODEL_USER`, the key
`model_user`. The first one that is set wins, and its source is recorded.
"""

from __future__ import annotations

import argparse
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..engine.depth import VARIABLE as DEPTH
from ..engine.errors import InvalidArgument, UserError, did_you_mean
from ..engine.exchange import Roots, decode
from ..engine.net import Lending, Network, names_a_key
from ..engine.processes import AllowedCode
from ..engine.records.authored import load
from ..engine.records.environment import ModelChoice
from ..engine.shapes import is_list
from ..engine.store import own_process
from ..resources.home import default_home
from ..resources.workbench import Workbench
from .called import called
from .env_file import EnvFile, find_env_file
from .setting_values import (
    DEFAULT,
    FILE,
    LISTS,
    NAMES,
    PREFIX,
    ROLES,
    Values,
    checked,
    flag,
    from_text,
    variable,
)
from .world_tools import world_tools


class WrongSetting(InvalidArgument):
    """An invalid setting; `where` is its flag, its variable, or the file and the line."""


_FLAGS: Final[dict[str, tuple[str, str]]] = {
    "home": ("DIR", f"data folder; default {PREFIX}HOME"),
    "roots": ("DIR", "a folder whose files callers may name; repeatable"),
    **{f"model_{role}": ("MODEL", f"plays the {role}; default offline") for role in ROLES},
    "proxy": ("URL", "HTTP proxy that all requests go through"),
    "ca_file": ("PEM", "certificate authorities to trust instead of the system's"),
    "allow_net": ("CIDR", "a private network that may be reached; repeatable"),
    "allow_env": (
        "NAME,NAME",
        "the only variables that callers may name; default: over HTTP none, otherwise those named like keys",
    ),
    "allow_code": ("DIR", "a folder whose files may run as agents and tools; repeatable; default: none"),
    "code_env": ("NAME,NAME", "variables passed on to such code; default: only PATH and the language"),
    "code_python": ("PROGRAM", "the Python interpreter for such code; default: the one that runs this"),
    "env_file": ("FILE", "a file of NAME=value lines to read keys from"),
    "retention_days": ("DAYS", "delete runs, hardenings and jobs that ended longer ago; default never"),
    "concurrency": (
        "N",
        "trials at the same time, 1 to 1,000, unless an environment says otherwise; default 32",
    ),
    "log_level": ("LEVEL", "DEBUG, INFO, WARNING or ERROR; on standard error"),
}
"""Setting: its placeholder in the help, and its purpose."""
_GROUPS: Final = {
    "models": tuple(f"model_{role}" for role in ROLES),
    "code": ("allow_code", "code_env", "code_python"),
    "network": ("proxy", "ca_file", "allow_net", "allow_env"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings. `sources` gives the source of each name: a flag, a variable, the file or `default`."""

    home: Path
    values: Values
    sources: Mapping[str, str]

    @property
    def file(self) -> Path:
        """The file in the data folder, which need not exist."""
        return self.home / FILE

    @property
    def roots(self) -> list[Path]:
        return [Path(root) for root in self.values.roots]

    @property
    def models(self) -> ModelChoice:
        return load(ModelChoice, {role: getattr(self.values, f"model_{role}") for role in ROLES}, "")

    @property
    def flagged_models(self) -> dict[str, Any]:
        """The models given by flags, by role: they override those of a folder of cases."""
        row = {role: f"model_{role}" for role in ROLES}
        return {
            role: getattr(self.values, name) for role, name in row.items() if self.sources[name] == flag(name)
        }

    def network(self, *, http: bool = False) -> Network:
        """What may be reached; `http`: on behalf of clients that come over HTTP."""
        v = self.values
        loopback = not http if v.allow_loopback is None else v.allow_loopback
        return Network(loopback=loopback, private=tuple(v.allow_net), proxy=v.proxy, ca_file=v.ca_file)

    def lending(self, *, http: bool = False, own: Sequence[str] = ()) -> Lending:
        """Which secrets callers may name; `http`: clients that come over HTTP. `own`: references of the server."""
        told = self.values.allow_env
        named = () if told is None and http else told
        return Lending(None if named is None else tuple(named), keys_folder=not http, own=tuple(own))

    def code(self) -> AllowedCode:
        """Which third-party code may run."""
        v = self.values
        return AllowedCode(v.allow_code, v.code_env, v.code_python)

    def lend_keys(self, folders: Sequence[Path] = ()) -> EnvFile | None:
        """Give this process the keys of the file that is set, else of the first `.env` in these folders."""
        found = find_env_file(self.values.env_file, folders)
        if found:
            found.lend()
        return found

    def workbench(
        self,
        actor: str,
        *,
        roots: Sequence[Path] = (),
        http: bool = False,
        resume: bool = True,
        own: Sequence[str] = (),
    ) -> Workbench:
        """The workbench of these settings; `roots` are added to those that are set, `actor` is for the audit.

        `own`: references of the server itself, which callers may not name.
        """
        own_process()
        return Workbench(
            self.home,
            roots=[*roots, *self.roots],
            models=self.models,
            network=self.network(http=http),
            lending=self.lending(http=http, own=own),
            code=self.code(),
            doors=world_tools,
            resume=resume,
            actor=actor,
            retention_days=self.values.retention_days,
            concurrency=self.values.concurrency,
        )


def add_flags(parser: argparse.ArgumentParser, *names: str) -> None:
    """Give a command the flags of these settings; `models`, `network` and `code` each stand for several."""
    wanted = [one for name in names for one in _GROUPS.get(name, (name,))]
    in_file = f", or in {FILE} in the data folder" if wanted != ["home"] else ""
    text = f"can also be set by variables, such as {variable(wanted[-1])}{in_file}"
    group = parser.add_argument_group("settings", text)
    for one in wanted:
        word, text = _FLAGS[one]
        action = "append" if one in LISTS else "store"
        group.add_argument(flag(one), dest=one, action=action, default=None, metavar=word, help=text)


def given_words(args: argparse.Namespace) -> list[str]:
    """The settings that a command was given as flags, as words: a command to be typed next needs them, too."""
    words: list[str] = []
    for name in (one for one in _FLAGS if one != "proxy"):  # its URL may hold a password, and this is printed
        told: object = getattr(args, name, None)
        for value in told if is_list(told) else [told] * (told not in (None, "")):
            words += [flag(name), str(value)]
    return words


def read_settings(
    args: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    mistakes: list[WrongSetting] | None = None,
) -> Settings:
    """The settings of a command called with `args`.

    Raises WrongSetting, which names flag, variable or line. Given `mistakes`, adds them there instead, ignoring the
    invalid settings.
    """
    environ = os.environ if environ is None else environ
    text: str = getattr(args, "home", None) or ""
    home = Path(text).expanduser() if text else default_home()
    sources = {
        "home": flag("home") if text else variable("home") if environ.get(variable("home")) else DEFAULT
    }
    reading = _Reading(home, mistakes)
    found: dict[str, Any] = {}
    for given in (_Flags(args), _Variables(environ), _File(home / FILE)):
        for name, value in reading.all(given).items():
            if name not in found:
                found[name] = value
                sources[name] = given.source(name)
    return Settings(home, load(Values, found, ""), {name: DEFAULT for name in NAMES} | sources)


class _Reading:
    """Checks what a source sets, one setting at a time, so that every mistake is reported with its place."""

    def __init__(self, home: Path, mistakes: list[WrongSetting] | None) -> None:
        self._home = home
        self._mistakes = mistakes

    def all(self, given: _Flags | _Variables | _File) -> dict[str, Any]:
        try:
            told = given.read()
        except UserError as error:
            self._refuse(WrongSetting(error.what, where=error.where, allowed=error.allowed))
            return {}
        found: dict[str, Any] = {}
        for name, value in told.items():
            try:
                found[name] = self._checked(given, name, value)
            except WrongSetting as error:
                self._refuse(error)
        return found

    def _checked(self, given: _Flags | _Variables | _File, name: str, value: Any) -> Any:
        start = self._home if isinstance(given, _File) else Path.cwd()
        try:
            told = value if isinstance(given, _File) else from_text(name, value)
            return checked(name, told, start)
        except InvalidArgument as error:
            rest = error.where.removeprefix(name)
            what, allowed = error.what, error.allowed
            if name not in NAMES and names_a_key(name.upper()):
                what = f"`{name}` looks like a key, and keys are no settings."
                allowed = (
                    f'the variable {name.upper()}, a file named by env_file, or key = "env:{name.upper()}"'
                )
            raise WrongSetting(what, where=given.place(name) + rest, allowed=allowed) from None

    def _refuse(self, error: WrongSetting) -> None:
        if self._mistakes is None:
            raise error
        self._mistakes.append(error)


class _Flags:
    """The settings of the command line."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    def read(self) -> dict[str, Any]:
        row = {name: getattr(self._args, name, None) for name in NAMES}
        return {name: value for name, value in row.items() if value}

    def place(self, name: str) -> str:
        return flag(name)

    source = place


class _Variables:
    """The settings in the process's variables; an empty one counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self) -> dict[str, Any]:
        row = {name: self._environ.get(variable(name), "") for name in NAMES}
        return {name: value for name, value in row.items() if value}

    def place(self, name: str) -> str:
        return variable(name)

    source = place


class _File:
    """The settings of the file in the data folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        if not os.path.exists(self._path):
            return {}
        text = self._text()
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            what, _, place = str(error).partition(" (at ")
            line = f", {place.rstrip(')')}" if place else ""
            raise InvalidArgument(
                f"This is not TOML: {what[:1].lower()}{what[1:]}.",
                where=f"{self._path}{line}",
                allowed='lines such as model_user = "offline"',
            ) from None

    def place(self, name: str) -> str:
        found = re.search(rf"^[ \t]*\[?[ \t]*{re.escape(name)}\b", self._text(), re.MULTILINE)
        line = f", line {self._text().count(chr(10), 0, found.start()) + 1}" if found else ""
        return f"{self._path}{line}, {name}"

    def source(self, name: str) -> str:
        return FILE

    def _text(self) -> str:
        roots = Roots([self._path.resolve().parent])
        return decode(roots.read_bytes(self._path.resolve(), str(self._path)), str(self._path))


def fixing(error: Exception, command: str) -> str:
    """What to type after a command's error: its help, or the doctor if a file or a variable is wrong."""
    wrong = isinstance(error, WrongSetting) and not error.where.startswith("--")
    return called("doctor") if wrong else called(command, "--help")


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours but are unknown, each with the likely intended one."""
    known = [variable(name) for name in ("home", *NAMES)]
    return [
        f"`{name}` is no setting.{did_you_mean(name, known)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in (*known, DEPTH)
    ]

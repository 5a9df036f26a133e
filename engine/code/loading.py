"""Finding classes and functions in users' files, running as little of their packages as possible.

Standard library only: it runs in the worker. The packages around a file are made empty: their `__init__.py`, which may
pull in things unrelated to the tools, is not run. A library that is not installed is replaced by a stand-in that can
be imported, and raises an error with its name when called.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

SILENT = ("loguru",)
"""Libraries that only log: calls to them do nothing."""


class StandIn:
    """Stands in for anything imported from a library that is not installed."""

    _name: str
    _silent: bool

    def __init__(self, name: str, silent: bool) -> None:
        self.__dict__.update(_name=name, _silent=silent)

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self._name}.{name}", self._silent)

    def __call__(self, *args: Any, **words: Any) -> Any:
        if self._silent:
            return self
        raise ImportError(f"{self._name} is not installed for this interpreter")


class _StandInModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}", self.__name__.partition(".")[0] in SILENT)


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder: it finds what no other did, except modules of the package being loaded."""

    def __init__(self, own: set[str]) -> None:
        self.own = own
        self.used: set[str] = set()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        top = fullname.partition(".")[0]
        if top in self.own or top in sys.stdlib_module_names:
            return None
        self.used.add(top)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> types.ModuleType:
        module = _StandInModule(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        return None


class Loader:
    """Loads files, each once."""

    def __init__(self) -> None:
        self.stand_ins = _StandIns(set())
        sys.meta_path.append(self.stand_ins)

    def find(self, target: str) -> Any:
        """What `FILE.py:Name` or `FILE.py:Class.method` names; (class, method name) for the latter."""
        file, _, name = target.rpartition(":")
        module = self.module(Path(file))
        first, _, method = name.partition(".")
        found = getattr(module, first, None)
        if found is None or (method and not hasattr(found, method)):
            raise AttributeError(f"there is no {name} in {Path(file).name}")
        return (found, method) if method else found

    def module(self, file: Path) -> types.ModuleType:
        """The module of a file, under the name that its package gives it."""
        packages = [folder for folder in file.parents if (folder / "__init__.py").is_file()]
        chain: list[Path] = []
        for folder in file.parents:
            if folder not in packages:
                break
            chain.insert(0, folder)
        if not chain:
            return self._alone(file)
        self.stand_ins.own.add(chain[0].name)
        name = ""
        for folder in chain:
            name = f"{name}.{folder.name}".lstrip(".")
            if name not in sys.modules:
                self._bare(name, folder)
        return importlib.import_module(f"{name}.{file.stem}")

    def _alone(self, file: Path) -> types.ModuleType:
        name = f"tools_of_{abs(hash(str(file.parent)))}_{file.stem}"
        if name in sys.modules:
            return sys.modules[name]
        if str(file.parent) not in sys.path:
            sys.path.insert(0, str(file.parent))
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    @staticmethod
    def _bare(name: str, folder: Path) -> None:
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module

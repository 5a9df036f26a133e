"""A whole run, or a whole environment, as a file that can be imported again."""

from __future__ import annotations

from collections.abc import Sequence

from ..plural import plural
from .environment_file import write_environment_file
from .exporter import Material, SourceKind, Written, one_of
from .run_file import LOCAL_AGENT, write_run_file


class RunJson:
    """A run or an environment in one file.

    A run with its cases, world, instructions, trials and conversations; an environment with its cases, world and all
    its instructions.
    """

    name = "json"
    suffix = ".json"
    says = "all of it in one file, which import_environment takes in again"
    record = "trial"
    sources: Sequence[SourceKind] = ("run", "session", "environment")
    chooses = False
    trains = False
    writes_cases: Sequence[SourceKind] = ("environment",)

    def write(self, material: Material) -> Written:
        if material.kind == "environment":
            return _environment(material)
        parts = one_of(material)
        left = sorted(name for name in LOCAL_AGENT if name in parts.run.agent)
        lines = [f"agent.{name}: it stands outside of the run" for name in left]
        return Written(write_run_file(parts.whole()), len(parts.trials), lines)


def _environment(material: Material) -> Written:
    whole, left = material.environment()
    parts = list(left)
    runs = len(material.runs)
    if runs:
        parts.append(f"{plural(runs, 'run')}: each is exported by its own id")
    return Written(write_environment_file(whole), len(whole.scenarios), parts, record="scenario")

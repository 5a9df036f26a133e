"""A whole run as a file that can be imported again."""

from __future__ import annotations

from .exporter import ONE_RUN, Material, Written, one_of
from .run_file import LOCAL_AGENT, write_run_file


class RunJson:
    """The run with its cases, world, instructions, trials and conversations."""

    name = "json"
    suffix = ".json"
    says = "the whole run in one file, which import_environment takes in again"
    record = "trial"
    sources = ONE_RUN
    chooses = False
    reads_cases = False

    def write(self, material: Material) -> Written:
        parts = one_of(material)
        left = sorted(name for name in LOCAL_AGENT if name in parts.run.agent)
        told = [f"agent.{name}: it stands outside of the run" for name in left]
        return Written(write_run_file(parts.whole()), len(parts.trials), told)

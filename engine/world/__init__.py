"""Live worlds: state, tools written as steps, expressions, schema, sync, a virtual clock, one journal.

`compile_world(record)` checks a whole world and returns a `CompiledWorld`, shared by all its scenes. A `Scene` is one
live world: `prepare` (persona data, init), `call` (every tool call, whoever makes it), `run_steps` (events), `offered`
(tools of a side), the clock, `checkpoint` and `restore`. `State` is its copy-on-write content with the journal of
`Patch`es; `diff`, `delta` and `matching` compare; `parse_path`, `parse_pattern` and `show_path` are the one path
syntax; `compile_expression` and `evaluate` serve checks, `compile_pattern` users' regular expressions. A `FaultPlan`
intercepts the agent's calls if a scenario has faults; a `NoiseSchedule` says when noise happens. `CodeTools` and
`RemoteTools`, passed in, run the tools that are code and reach those of servers.
"""

from __future__ import annotations

from .code import CodeAnswer, CodeBase, CodeCall, CodeTools
from .compiled import CompiledTool, CompiledWorld, Signature, Steps, compile_world
from .diff import Difference, delta, diff, matching
from .expressions import Expression, compile_expression, evaluate
from .faults import FaultPlan, check_faults
from .moments import moment_after
from .noise import CompiledNoise, NoiseSchedule, compile_noise
from .paths import WILD, Path, covered, covers, parse_path, parse_pattern, show_path
from .patterns import BadPattern, Pattern, compile_pattern
from .remote import RemoteTools, RemoteTrial
from .scene import CallOutcome, Checkpoint, Effects, Scene, WorldFault
from .scene_options import SceneOptions
from .state import Patch, State
from .steps import Signal
from .values import MISSING, CallFailed, ErrorKind, Missing, as_text

__all__ = [
    "MISSING",
    "WILD",
    "BadPattern",
    "CallFailed",
    "CallOutcome",
    "Checkpoint",
    "CodeAnswer",
    "CodeBase",
    "CodeCall",
    "CodeTools",
    "CompiledNoise",
    "CompiledTool",
    "CompiledWorld",
    "Difference",
    "Effects",
    "ErrorKind",
    "Expression",
    "FaultPlan",
    "Missing",
    "NoiseSchedule",
    "Patch",
    "Path",
    "Pattern",
    "RemoteTools",
    "RemoteTrial",
    "Scene",
    "SceneOptions",
    "Signal",
    "Signature",
    "State",
    "Steps",
    "WorldFault",
    "as_text",
    "check_faults",
    "compile_expression",
    "compile_noise",
    "compile_pattern",
    "compile_world",
    "covered",
    "covers",
    "delta",
    "diff",
    "evaluate",
    "matching",
    "moment_after",
    "parse_path",
    "parse_pattern",
    "show_path",
]

"""The agent of a folder of cases as the doctor looks at it: how it is reached, and what is sent to it."""

from __future__ import annotations

from pathlib import Path

from ..engine.errors import CasehardenError, InvalidArgument, NotFound
from ..engine.exchange import CONFIG_NAMES, CaseFolder, Roots, read_folder
from ..engine.records.authored import load
from ..engine.records.environment import AgentSpec, ModelChoice
from ..engine.workbench.trials import check_agent
from .findings import Finding


def read_cases(told: str) -> CaseFolder:
    """The folder of cases, named by itself or by its file. Raises UserError with file and path of a mistake."""
    path = Path(told).expanduser()
    if path.is_file() and path.name not in CONFIG_NAMES:
        what = f"`{path.name}` is not the file of a folder of cases."
        raise InvalidArgument(what, where="--agent", allowed=CONFIG_NAMES)
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        raise NotFound(
            f"`{path}` does not exist.", where="--agent", allowed=f"a folder with {CONFIG_NAMES[0]}"
        )
    return read_folder(folder.resolve(), Roots([folder]), "--agent")


def models_of(cases: CaseFolder) -> ModelChoice:
    """The models that the folder names."""
    return load(ModelChoice, cases.models, f"{cases.config}, environment.models")


def tried_agent(cases: CaseFolder) -> Finding:
    """How the agent is reached."""
    spec = load(AgentSpec, cases.agent, f"{cases.config}, environment.agent")
    try:
        check_agent(spec, f"{cases.config}, environment.agent.kind")
    except CasehardenError as error:
        return Finding(
            "fail", "agent", f"{cases.id}: {error.what}", cases.config, f"allowed: {error.allowed}"
        )
    if spec.kind == "recorded":
        told = f"recorded: {spec.file or spec.run or 'its conversations'} played back, nothing is sent"
    else:
        length = f"{len(cases.instructions):,} characters of instructions"
        told = f"{spec.kind}: {length}, the messages and the world's tools go to the model in the role agent"
    return Finding("ok", "agent", told, cases.config)

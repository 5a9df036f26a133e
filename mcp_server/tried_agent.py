"""The doctor's check of the agent of a folder of cases: how it is reached, and what is sent to it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

import anyio

from ..engine.agents import (
    OUTSIDE,
    AgentError,
    AgentInput,
    ChatAgent,
    Outside,
    closing,
    open_outside,
)
from ..engine.errors import CasehardenError, InvalidArgument, NotFound
from ..engine.exchange import CONFIG_NAMES, CaseFolder, Roots, read_folder
from ..engine.llm import Message
from ..engine.records.authored import load
from ..engine.records.environment import AgentSpec, ModelChoice, agent_name
from ..engine.workbench.trials import check_agent
from .findings import Finding
from .settings import Settings
from .terminal import clean, cut

PATIENCE_S: Final = 30


def read_cases(told: str) -> CaseFolder:
    """The folder of cases, given by itself or by its file. Raises UserError with file and path of a mistake."""
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


async def tried_agent(settings: Settings, cases: CaseFolder, *, calls: bool) -> list[Finding]:
    """How the agent is reached; for an outside one what is sent and, if `calls`, how it answered a greeting."""
    place = f"{cases.config}, environment.agent"
    spec = load(AgentSpec, cases.agent, place)
    found: list[Finding] = []
    if spec.kind == "caller":
        return [Finding("ok", "agent", "caller: a client of the server answers", cases.config)]
    try:
        async with settings.workbench("doctor", roots=[cases.path]).reach() as reach:
            check_agent(spec, place, reach)
            if spec.kind not in OUTSIDE:
                return [Finding("ok", "agent", _describe(spec, cases), cases.config)]
            agent = open_outside(spec, reach, place)
            if isinstance(agent, ChatAgent):
                found.append(Finding("ok", "agent is sent", _sent(spec, agent, cases), cases.config))
            text = await _asked(agent, cases.instructions, calls)
    except AgentError as error:
        return [
            *found,
            Finding("fail", "agent", str(error), cases.config, "check that it can read what is sent"),
        ]
    except CasehardenError as error:
        return [*found, Finding("fail", "agent", error.what.rstrip("."), cases.config, error.allowed)]
    except TimeoutError:
        text = f"{agent_name(spec.model_dump())}: no answer within {PATIENCE_S} s"
        return [*found, Finding("fail", "agent", text, cases.config, "check that it can be reached")]
    return [*found, Finding("ok", "agent", text, cases.config)]


def _describe(spec: AgentSpec, cases: CaseFolder) -> str:
    if spec.kind == "recorded":
        return f"recorded: {spec.file or spec.run or 'its conversations'} played back, nothing is sent"
    length = f"{len(cases.instructions):,} characters of instructions"
    return f"{spec.kind}: {length}, the messages and the world's tools go to the model in the role agent"


async def _asked(agent: Outside, instructions: str, calls: bool) -> str:
    with anyio.fail_after(PATIENCE_S):
        await agent.probe()
        if not calls:
            return f"{agent.name} is there, not called"
        began = time.perf_counter()
        talking = agent.conversation()
        async with closing(talking):
            reply = await talking.reply(_greeting(instructions))
    said = f'"{cut(clean(reply.text or ""), 60)}"' if reply.text else f"{len(reply.calls)} tool calls"
    return f"{agent.name} answered in {time.perf_counter() - began:.1f} s: {said}"


def _greeting(instructions: str) -> AgentInput:
    return AgentInput("doctor", instructions, [Message("user", "Hello.")], new=1, tools=(), seed=0)


def _sent(spec: AgentSpec, agent: ChatAgent, cases: CaseFolder) -> str:
    """What a turn looks like when sent; secrets stay references."""
    body = json.dumps(agent.request(_greeting(cases.instructions)), ensure_ascii=False)
    headers = "".join(f", {name}: {value}" for name, value in spec.headers.items())
    return f"POST {spec.url}{headers}  {cut(clean(body), 400)}"

"""A Python agent: a function or a class in a file, in warm workers under the operator's interpreter."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import anyio

from ..errors import InvalidArgument, Unavailable
from ..llm import ToolCall
from ..processes import ProcessError, python_worker
from ..records.environment import AgentSpec, agent_name
from .adapter import AgentError, AgentInput, AgentReply
from .answers import read_answer, written
from .outside import Reach, check_has_its_own_model, turn_row
from .workers import Worker, Workers

SERVICE: Final = Path(__file__).with_name("python_service.py")
END_S: Final = 2.0
"""Seconds for a worker to let go of a conversation before it counts as stuck."""


class PythonAgents:
    """The agent of a file. Its workers serve all trials of a run; each trial has its own run of the file."""

    def __init__(self, spec: AgentSpec, reach: Reach, where: str = "agent") -> None:
        check_has_its_own_model(spec, where)
        if spec.object and not re.fullmatch(r"[A-Za-z_]\w{0,99}", spec.object):
            raise InvalidArgument(
                f"{spec.object[:80]!r} is no name.", where=f"{where}.object", allowed="a function or a class"
            )
        if not spec.file:
            raise InvalidArgument(
                "A python agent needs its file.",
                where=f"{where}.file",
                allowed="FILE.py below --allow-code DIR",
            )
        file = reach.code.file(spec.file, f"{where}.file")
        self.spec, self.reach, self._where = spec, reach, where
        self.name = agent_name(spec.model_dump())
        self.shown = f"the agent, {self.name},"
        command = python_worker(reach.code, SERVICE, {"object": spec.object}, file)
        self.workers = Workers(reach.processes, command)

    async def probe(self) -> None:
        """Run the file once; Unavailable says what it raised."""
        worker: Worker | None = None
        done = False
        try:
            worker = await self.workers.take()
            await worker.talk.ask({"do": "check"}, self.spec.timeout_s)
            done = True
        except ProcessError as error:
            what = self.reach.connections.secrets.hide(f"The agent, {self.name}, {error.whole}.")
            raise Unavailable(what, where=f"{self._where}.file", allowed="correct the file") from error
        finally:
            if worker is not None:
                with anyio.CancelScope(shield=True):
                    await self.workers.give_back(worker, retire=not done)

    def conversation(self) -> PythonAgent:
        return PythonAgent(self)


class PythonAgent:
    """The agent in one trial. While its code waits for a tool of the world, the trial makes the call."""

    def __init__(self, agents: PythonAgents) -> None:
        self._agents = agents
        self._key = uuid4().hex
        self._worker: Worker | None = None
        self._asked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self._agents.name

    async def reply(self, turn: AgentInput) -> AgentReply:
        agents = self._agents
        row = turn_row(turn, agents.spec)
        question: dict[str, Any] = {"do": "turn", "key": self._key, "turn": row}
        if self._asked:
            results = {m.tool_call_id: m.content for m in turn.messages[-turn.new :] if m.role == "tool"}
            question = {"do": "results", "key": self._key, "results": results, "messages": row["messages"]}
        try:
            if self._worker is None:
                self._worker = await agents.workers.take()
            answer = await self._worker.talk.ask(question, agents.spec.timeout_s)
        except ProcessError as error:
            raise AgentError(
                agents.reach.connections.secrets.hide(f"{agents.shown} {error.whole}")
            ) from error
        asked: list[dict[str, Any]] = answer.get("asked") or []
        self._asked = tuple(call["id"] for call in asked)
        if asked:
            calls = tuple(ToolCall(c["id"], c["name"], written(c["arguments"])) for c in asked)
            return AgentReply("", calls)
        return read_answer(answer, agents.shown, agents.reach.connections.secrets)

    async def aclose(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        stuck = True
        with suppress(ProcessError):
            stuck = (await worker.talk.ask({"do": "end", "key": self._key}, END_S)).get("stuck", True)
        await self._agents.workers.give_back(worker, retire=bool(stuck))

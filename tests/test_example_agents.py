"""Examples of agents: each framework that EXAMPLES_PYTHON has is run over an endpoint that plays its model."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.agents import Reach, open_outside
from caseharden.engine.processes import AllowedCode
from caseharden.engine.records.environment import AgentSpec
from caseharden.tests.agents_told import RESULT, conversing, reaching
from caseharden.tests.conftest import CHECKOUT
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat, of_json

pytestmark = pytest.mark.anyio
FOLDER = CHECKOUT / "examples" / "agents"
PYTHON = os.environ.get("EXAMPLES_PYTHON", sys.executable)
RUN = [
    "autogen_agent.py",
    "crewai_agent.py",
    "langchain_agent.py",
    "langgraph_agent.py",
    "llama_index_agent.py",
    "openai_agents_agent.py",
    "pydantic_ai_agent.py",
    "smolagents_agent.py",
]


@cache
def missing(file: str) -> str:
    """What the interpreter lacks of what an example imports, or ""."""
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    names = [n.module for n in tree.body if isinstance(n, ast.ImportFrom) and n.module]
    code = "\n".join(f"import {name}" for name in names)
    return subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False).stderr[-200:]


def a_model(seen: Seen) -> Answer:
    """A model that looks the order up, says what it was told, and answers anything else with a count."""
    body = seen.json
    last, text = body["messages"][-1], str(body["messages"][-1]["content"])
    ends = any(tool["function"]["name"] == "final_answer" for tool in body["tools"])
    if last["role"] == "tool" or RESULT in text:
        return chat(None, [("final_answer", {"answer": RESULT})]) if ends else chat(RESULT)
    return chat(None, [("get_order", {"id": "W42"})])


@pytest.mark.parametrize("file", RUN)
@pytest.mark.requirement("AK-20")
async def test_an_agent_of_a_framework_calls_the_world_and_answers(file: str, tmp_path: Path) -> None:
    if lacks := missing(file):
        pytest.skip(f"the interpreter lacks what it takes: {lacks.splitlines()[-1]}")
    names = ["OPENAI_BASE_URL", "OPENAI_API_KEY", "MODEL"]
    with FakeEndpoint(a_model) as endpoint, anyio.fail_after(240):
        told = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": "none", "MODEL": "gpt-4o"}
        async with reaching(tmp_path) as found:
            code = AllowedCode([FOLDER], names, PYTHON, {**os.environ, **told})
            agent = open_outside(
                AgentSpec(kind="python", file=file, timeout_s=120),
                Reach(found.connections, code, found.processes),
            )
            for _ in range(2):
                async with conversing(agent) as talk:
                    assert RESULT in await talk.say("Where is order W42?")
                    assert RESULT in await talk.say("And once more?")
                calls = [call.name for message in talk.messages for call in message.tool_calls]
                assert calls and set(calls) == {"get_order"}


@pytest.mark.parametrize(
    ("file", "answer", "sent"),
    [
        ("dify.json", {"answer": "It is open.", "conversation_id": "x"}, ["query", "inputs", "user"]),
        ("rasa.json", [{"recipient_id": "x", "text": "It is open."}], ["sender", "message"]),
    ],
)
@pytest.mark.requirement("AK-20")
async def test_a_service_is_reached_by_its_own_shapes(
    file: str, answer: Any, sent: list[str], tmp_path: Path
) -> None:
    spec = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    with FakeEndpoint(of_json(answer)) as endpoint:
        spec.update(url=endpoint.url, headers={})
        loaded = AgentSpec.model_validate(spec)
        async with reaching(tmp_path) as reach, conversing(open_outside(loaded, reach)) as talk:
            assert await talk.say("Where is order W42?") == "It is open."
        body = endpoint.requests[0].json
    assert set(sent) <= set(body)
    assert "Where is order W42?" in json.dumps(body)


@pytest.mark.requirement("AK-20")
def test_every_example_is_whole_and_told_of_in_the_readme() -> None:
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = [file for file in FOLDER.iterdir() if file.suffix in (".py", ".json")]
    assert len(files) == 11 and [file.name for file in files if f"`{file.name}`" not in told] == []
    for file in files:
        if file.suffix == ".py":
            names = {getattr(node, "name", "") for node in ast.parse(file.read_text(encoding="utf-8")).body}
            assert names & {"agent", "Agent"}
        else:
            AgentSpec.model_validate(json.loads(file.read_text(encoding="utf-8")))

"""The demo, the README and the examples do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import caseharden
from caseharden.engine.evaluate.statistics import look_alpha, scenarios_needed
from caseharden.engine.llm.client import Message, ModelRequest, Role, ToolCall, ToolSignature
from caseharden.engine.llm.offline import OfflineModel
from caseharden.tests.commanded import commanded
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat

pytestmark = pytest.mark.anyio
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def demos() -> list[str]:
    """What the demo prints, twice."""
    command = [sys.executable, "-m", "caseharden", "demo"]
    done = [
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=120) for _ in range(2)
    ]
    assert [(d.returncode, d.stderr) for d in done] == [(0, "")] * 2, done[0].stdout
    return [d.stdout for d in done]


@pytest.fixture
def place(tmp_path: Path, checkout: Path) -> Path:
    """A folder that looks like the checkout to the commands of its documents."""
    for name in (".venv", "examples", "scripts"):
        (tmp_path / name).symlink_to(checkout / name)
    return tmp_path


@pytest.mark.requirement("CH-1")
def test_demo_shows_failure_rule_proof_and_pass(demos: list[str]) -> None:
    lines = demos[0].splitlines()
    assert len(lines) <= 46
    assert all(len(line) <= 100 and line.isascii() and line == line.rstrip() for line in lines)
    text = demos[0]
    order = [
        "Environment",
        "FAIL",
        "Causes on train",
        "Candidate 1",
        "Proof",
        "IMPROVED, offline",
        "Next round",
        "Used",
    ]
    places = [text.find(word) for word in order]
    assert -1 not in places and places == sorted(places)
    passed, of = re.findall(r"(\d+) of (\d+) pass", text)[-1]
    assert passed == of


@pytest.mark.requirement("CH-1")
def test_demo_is_the_same_when_it_runs_again(demos: list[str]) -> None:
    timeless = [re.sub(r" +\d+\.\d s", " s", text) for text in demos]
    assert timeless[0] == timeless[1]


def test_output_in_the_readme_is_the_demos(demos: list[str], checkout: Path) -> None:
    readme = checkout / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split("<!-- demo -->\n")
    shown, after = rest.split("<!-- /demo -->")
    if os.environ.get("UPDATE_SNAPSHOTS"):
        shown = f"```text\n{demos[0]}```\n"
        readme.write_text(f"{before}<!-- demo -->\n{shown}<!-- /demo -->{after}", encoding="utf-8")
    assert masked(shown) == masked(f"```text\n{demos[0]}```\n")


@pytest.mark.parametrize("document", ["README.md", "examples/shop-desk/README.md"])
def test_commands_of_the_documents_work(place: Path, checkout: Path, document: str) -> None:
    blocks = FENCE.findall((checkout / document).read_text(encoding="utf-8"))
    commands = [line for kind, body in blocks if kind == "sh" for line in body.splitlines() if line.strip()]
    assert commands
    for command in commands:
        program, *words = shlex.split(command)
        assert program == ".venv/bin/caseharden" and os.access(place / program, os.X_OK)
        done = commanded(*words, cwd=place, CASEHARDEN_HOME=str(place / "home"))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_scripts_and_links_of_the_readme_exist(checkout: Path) -> None:
    text = (checkout / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    headings = {f"#{name.lower().replace(' ', '-')}" for name in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    named = [*links, *re.findall(r"\bscripts/\w+", text)]
    assert [name for name in named if name not in headings and not (checkout / name).exists()] == []


def test_client_configuration_in_the_readme_is_what_the_command_prints(place: Path, checkout: Path) -> None:
    text = (checkout / "README.md").read_text(encoding="utf-8")
    shown = [json.loads(body) for kind, body in FENCE.findall(text) if kind == "json"]
    command = [str(place / ".venv" / "bin" / "caseharden"), "install", "--client", "cursor", "--print"]
    printed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    printed["mcpServers"]["caseharden"]["command"] = "/path/to/caseharden/.venv/bin/caseharden"
    assert shown == [printed]


@pytest.mark.requirement("AS-15")
def test_python_of_the_readme_runs_as_it_stands(tmp_path: Path, checkout: Path) -> None:
    blocks = FENCE.findall((checkout / "README.md").read_text(encoding="utf-8"))
    (body,) = [body for kind, body in blocks if kind == "python"]
    script = tmp_path / "example.py"
    script.write_text(body, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 0 <= float(done.stdout) <= 1


def test_numbers_of_scenarios_in_the_readme_are_those_of_the_proof(checkout: Path) -> None:
    text = " ".join((checkout / "README.md").read_text(encoding="utf-8").split())
    first, second, third = (scenarios_needed(look_alpha(look)) for look in (1, 2, 3))
    assert f"at least {first} held-out scenarios at the first look" in text
    assert f"{second} at the second, {third} at the third" in text


@pytest.mark.requirement("AS-15")
async def test_public_face_offers_the_services(tmp_path: Path) -> None:
    assert sorted(set(dir(caseharden))) == sorted(caseharden.__all__)
    for name in caseharden.__all__:
        assert getattr(caseharden, name) is not None
    async with caseharden.Workbench(tmp_path) as bench:
        for service in ("environments", "personas", "scenarios", "simulations", "runs", "jobs", "hardenings"):
            assert hasattr(bench, service)
    with pytest.raises(AttributeError):
        _ = caseharden.Workbenches


def masked(text: str) -> str:
    """The form of the output: figures, bars and the blanks that they move are alike."""
    text = re.sub(r"\[[#-]+\]", "[bar]", text)
    text = re.sub(r"\S*/caseharden", "caseharden", text)
    text = re.sub(r"\d[\d,.]*", "0", text)
    return re.sub(r" +", " ", text)


def test_demo_with_a_model_of_an_endpoint_asks_first_and_plays_each_scenario_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_KEY", "a-key-for-the-demo-0001")
    with FakeEndpoint(offline_behind) as endpoint:
        words = ["--model", "fake-1", "--base-url", endpoint.base_url, "--key", "env:DEMO_KEY"]
        asked = commanded("demo", *words, cwd=tmp_path)
        assert asked.returncode == 2
        assert "calls of fake-1 were not confirmed" in asked.stderr
        assert "--confirm" in asked.stderr.splitlines()[-1]
        before = len(endpoint.requests)
        played = commanded("demo", *words, "--confirm", cwd=tmp_path)
        requests = endpoint.requests[before:]
    assert (played.returncode, played.stderr) == (0, ""), played.stdout
    assert "on a shipped world, with fake-1" in played.stdout
    assert "fake-1 at 127.0.0.1" in played.stdout and "rule-based" not in played.stdout
    assert "unknown cost" in played.stdout
    assert "IMPROVED, confirmed on held-out scenarios" in played.stdout
    assert {seen.json["model"] for seen in requests} == {"fake-1"}
    assert {seen.headers["authorization"] for seen in requests} == {"Bearer a-key-for-the-demo-0001"}
    told = int(re.findall(r"about ([\d,]+) calls", played.stdout)[0].replace(",", ""))
    assert told / 3 < len(requests) < told * 1.5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--base-url", "http://127.0.0.1:9/v1"], "--base-url: --base-url without --model."),
        (["--model", "offlin"], "--model: `offlin` names no model."),
        (["--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--key", "sk-1"], "--key: "),
        (["--model", "m", "--base-url", "ftp://127.0.0.1"], "--base-url: "),
    ],
)
def test_demo_refuses_what_names_no_model(tmp_path: Path, words: list[str], told: str) -> None:
    refused = commanded("demo", *words, cwd=tmp_path)
    assert refused.returncode == 2
    assert f"error: {told}" in refused.stderr


def offline_behind(seen: Seen) -> Answer:
    """What the offline model says to a request that came over the wire; who it plays is seen by what it is given."""
    body = seen.json
    system = str(body["messages"][0]["content"])
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    role: Role = "writer" if schema else "user" if system.startswith("You are the user in") else "agent"
    request = ModelRequest(
        role,
        [as_message(message) for message in body["messages"]],
        [
            ToolSignature(t["function"]["name"], t["function"]["description"], t["function"]["parameters"])
            for t in body.get("tools", ())
        ],
        schema=schema,
        seed=body.get("seed", 0),
    )
    reply = anyio.run(OfflineModel().complete, request)
    text = re.sub(r'"id": "[\w-]+"', lambda found: found[0].lower(), reply.text) if schema else reply.text
    return chat(text, [(call.name, call.arguments) for call in reply.tool_calls])


def as_message(message: dict[str, Any]) -> Message:
    calls = [ToolCall(c["id"], **c["function"]) for c in message.get("tool_calls", ())]
    return Message(
        message["role"], message["content"] or "", tuple(calls), str(message.get("tool_call_id", ""))
    )

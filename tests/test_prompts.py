"""The prompts that are shown are those that are sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument, Unavailable
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.prompts import Prompt
from caseharden.mcp_server.cli import main
from caseharden.tests.fake_endpoint import FakeEndpoint, chat
from caseharden.tests.workbench_cases import bench_at, closing, desk

pytestmark = pytest.mark.anyio


async def judged(bench: Workbench, **more: Any) -> None:
    await desk(bench, 2, settings={"user_guidelines": "Be brief.", "metrics": ["helpfulness"]}, **more)
    polite = {"id": "polite", "judge": "The agent is polite."}
    case = closing(1, id="a-judged", persona="dana", split="train", agent_context="Web chat.")
    await bench.scenarios.create("desk", [{**case, "success": [*case["success"], polite]}], check=False)


async def shown(bench: Workbench, role: str, **more: Any) -> Prompt:
    [found] = await bench.prompts.of("desk", [role], "a-judged", **more)
    return found


@pytest.mark.requirement("AK-18")
@pytest.mark.parametrize("role", ["agent", "user", "judge"])
async def test_what_is_shown_is_what_an_endpoint_gets(tmp_path: Path, role: str) -> None:
    with FakeEndpoint(chat("###STOP###")) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged(bench)
            before = await shown(bench, role)
            assert (await bench.items.page("run")).total == 0 and endpoint.requests == []
            models = {role: {"model": "m", "base_url": endpoint.base_url}}
            await bench.runs.start("desk", select=["scenario:a-judged"], models=models, wait_s=45)
        sent = endpoint.requests[0].json
    assert before.messages == [{"role": m["role"], "content": m["content"]} for m in sent["messages"]]
    assert [t["name"] for t in before.tools] == [t["function"]["name"] for t in sent.get("tools", [])]
    wanted = sent.get("response_format", {}).get("json_schema", {}).get("schema")
    assert (before.schema is None) == (wanted is None)


@pytest.mark.requirement("AK-18")
@pytest.mark.parametrize("noun", ["persona", "scenario"])
async def test_the_writers_prompts_are_those_of_generation(tmp_path: Path, noun: str) -> None:
    with FakeEndpoint(chat("{}")) as endpoint:
        async with bench_at(tmp_path) as bench:
            models = {"writer": {"model": "m", "base_url": endpoint.base_url}}
            await judged(bench)
            found = await bench.prompts.of("desk", ["writer"])
            await bench.items.update("environment", "desk", {"models": models})
            service = bench.personas if noun == "persona" else bench.scenarios
            with pytest.raises(Unavailable, match="no JSON that fits"):
                await service.generate("desk", count=3, wait_s=45)
        sent = endpoint.requests[0].json
    one = next(prompt for prompt in found if prompt.what == f"three {noun}s")
    assert one.messages == sent["messages"] and one.schema is not None


async def test_a_held_out_case_and_an_unknown_role_are_refused(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await judged(bench)
        await bench.scenarios.create("desk", [closing(2, id="hidden", split="held_out")])
        with pytest.raises(InvalidArgument, match="no scenario `hidden` on train"):
            await bench.prompts.of("desk", ["user"], "hidden")
        with pytest.raises(InvalidArgument, match="no role `jury`"):
            await bench.prompts.of("desk", ["jury"])


def test_the_command_prints_the_prompts_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ("--home", str(tmp_path / "home"))
    assert main(["prompts", "user", *home]) == 2
    assert "There is no environment yet" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "mine")]) == 0
    capsys.readouterr()
    assert main(["prompts", "--environment", str(tmp_path / "mine"), *home]) == 0
    said = capsys.readouterr().out
    assert all(f"=== {role}: " in said for role in ("agent", "user", "judge", "writer"))
    assert main(["init", str(tmp_path / "code"), "--agent-type", "python"]) == 0
    capsys.readouterr()
    assert main(["prompts", "--environment", str(tmp_path / "code"), *home]) == 2
    assert f"--allow-code {tmp_path / 'code'}" in capsys.readouterr().err.splitlines()[-1]
    assert main(["prompts", "judge", "--json", *home]) == 0
    [judge] = json.loads(capsys.readouterr().out)
    assert judge["role"] == "judge" and judge["messages"][0]["content"].startswith("You are a judge.")


@pytest.mark.requirement("CH-2")
async def test_a_lent_writer_and_a_shown_prompt_tell_nothing_that_is_held_out(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        await bench.items.update("environment", "desk", {"models": {"writer": "relay"}})
        cases = [closing(2, id="a", goal="Seen."), closing(3, id="b", goal="Hidden.")]
        split = [{**case, "split": split} for case, split in zip(cases, ("train", "held_out"), strict=True)]
        await bench.scenarios.create("desk", split, check=False)
        made = await bench.scenarios.generate("desk", count=2, wait_s=1)
        assert made.job is not None
        batch = await bench.model_calls.take(made.job.id, wait_s=10)
        shown = json.dumps([prompt.messages for prompt in await bench.prompts.of("desk", ["writer"])])
    for told in (f"{batch.calls} {batch.shared}", shown):
        assert "Seen." in told and "Hidden." not in told

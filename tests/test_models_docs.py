"""What docs/models.md tells people to write is taken as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from caseharden.engine.llm import Cassette
from caseharden.engine.net import Secrets
from caseharden.engine.records.authored import load
from caseharden.engine.records.environment import ModelAt, ModelChoice
from caseharden.engine.workbench.run_drafts import run_options

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS: list[Any] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]


def test_the_models_of_the_page_are_taken() -> None:
    choice = load(ModelChoice, BLOCKS[0]["models"], "models")
    assert choice.judge == "relay" and isinstance(choice.user, ModelAt)
    whole = [json.loads(found) for found in re.findall(r"`(\{\"model\": .*?\})`", PAGE)]
    assert len(whole) >= 5
    assert [load(ModelAt, one, "model").model for one in whole]


def test_the_options_and_the_line_of_the_page_are_taken(tmp_path: Path) -> None:
    used = run_options(BLOCKS[1]["options"]).cassette
    assert used is not None and (used.file, used.mode) == ("calls.jsonl", "replay")
    file = tmp_path / used.file
    file.write_text(json.dumps({**BLOCKS[2], "key": "5b1f" * 16}) + "\n", encoding="utf-8")
    tape = Cassette(file, used.file, Secrets(lambda path, where: ""), "file")
    tape.read()
    found = tape.find("5b1f" * 16)
    assert tape.damaged == [] and found is not None and found.text == "Where is my order W42?"

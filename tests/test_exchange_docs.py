"""The pages on exports and the examples of exchange say what the program does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.exchange.export_formats import EXPORTERS
from caseharden.tests.test_export_cases import cases, value_of
from caseharden.tests.test_export_training import check_messages, check_table, good, hasty, ran, rows_of
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")


def sample(heading: str) -> dict[str, Any]:
    """The JSON under a heading of the page."""
    found = re.search(rf"(?ms)^#+ {heading}\n.*?^```json\n(.*?)^```", PAGE)
    assert found is not None, heading
    return json.loads(found[1])


async def test_the_samples_of_training_data_have_the_columns_and_types_of_real_rows(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [("close-1", good(1)), ("close-1", hasty(1))], trials=2)
        for format in ("sft", "dpo", "grpo"):
            rows = rows_of(await bench.exports.export(run, format, file=format))
            assert list(rows[0]) == list(sample(format))
            check_table([*rows, sample(format)])
        scope: dict[str, Any] = {}
        exec(re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)[0], scope)
        (row,) = rows_of(await bench.exports.export(run, "sft", file="again"))
        loaded = {**row, "messages": [{"tool_calls": None, "name": None, **m} for m in row["messages"]]}
        messages, tools = scope["for_template"](loaded)
        assert messages[2]["tool_calls"][0]["function"]["arguments"] == {"ticket_id": "T1"}
        assert all(value is not None for message in messages for value in message.values())
        assert tools == json.loads(row["tools"])
        check_messages(row["messages"], row["tools"])


async def test_the_samples_of_cases_have_the_fields_of_real_ones(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await cases(bench)
        scenario = value_of(await bench.exports.export("desk", "arksim", file="a"))["scenarios"][0]
        task = value_of(await bench.exports.export("desk", "tau2", file="t"))[0]
    assert list(scenario) == list(sample("arksim")) and list(task) == list(sample("tau2"))
    for name in ("user_scenario", "evaluation_criteria"):
        assert list(task[name]) == list(sample("tau2")[name])


async def test_the_sample_of_an_environment_is_imported_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "desk.json"
    file.write_text(json.dumps(sample("json")), encoding="utf-8")
    async with bench_at(tmp_path / "home", roots=[tmp_path]) as bench:
        taken = (await bench.imports.start(str(file), wait_s=45)).report
        assert taken is not None and (taken.lost, taken.counts["simulations"]) == ([], 1)
        again = value_of(await bench.exports.export("desk"))
    assert [name for name in again if name != "knowledge"] == list(sample("json"))


def test_the_page_names_every_format() -> None:
    assert all(f"`{name}`" in PAGE for name in EXPORTERS)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "export_training_data",
            ["sft: 9 records", "16 conversations: held out", "dpo needs two trials", "grpo: 16 records"],
        ),
        (
            "import_arksim",
            ["2 scenarios, agent chat_completions", "1 pass our checks", "equal to the original"],
        ),
    ],
)
def test_the_examples_run_as_they_stand(tmp_path: Path, script: str, told: list[str]) -> None:
    file = ROOT / "examples" / script / f"{script}.py"
    command = [sys.executable, str(file), "--home", str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [words for words in told if words not in done.stdout] == []

"""What the tape of a session keeps of what an agent tells: bounded, without secrets, and playable again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.net import HIDDEN
from caseharden.engine.processes import AllowedCode
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.tests.workbench_cases import WORLDS, desk

pytestmark = pytest.mark.anyio
KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"
AGENT = f"""
import json, sys

deep = 1
for _ in range(300):
    deep = [deep]
told = {{
    "key": {{"ö": "{KEY}", "note": "Bearer {KEY}"}},
    "long": "x" * 400_000,
    "lone": "a\\ud800b",
    "deep": deep,
    "big": 2**70,
}}
for line in sys.stdin:
    turn = json.loads(line)
    own = [{{"name": name, "arguments": {{"of": name}}, "result": value}} for name, value in told.items()]
    print(json.dumps({{"id": turn["id"], "text": f"Turn {{turn['number']}}.", "own_calls": own}}), flush=True)
"""


def tape(home: Path) -> list[dict[str, Any]]:
    """The stored replies of the only session."""
    with Store(home) as store:
        (row,) = store.table("sessions").walk()
        return list(row["tape"])


async def test_results_of_an_agents_own_calls_are_kept_like_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT, encoding="utf-8")
    home, agent = tmp_path / "home", {"kind": "command", "argv": ["python", "agent.py"]}
    async with Workbench(home, worlds=WORLDS, code=AllowedCode([tmp_path])) as bench:
        await desk(bench, 1, agent=agent)
        session = (await bench.sessions.start("desk", role="user", start="#1")).session.id
        for text in ("One.", f"My key is {KEY}."):
            last = await bench.sessions.step(session, text=text)
        assert last.messages[-1]["text"] == "Turn 2."
        await bench.sessions.step(session, action="undo", turn=2)
        done = await bench.sessions.step(session, text="Two.")
        assert done.messages[-1]["text"] == "Turn 2."
        end = await bench.sessions.step(session, action="end")
        assert end.session.state == "ended"
    kept = tape(home)
    (first,) = [reply["own_results"] for reply in kept if reply["by"] == "agent" and reply["turn"] == 1]
    assert first["c1"] == {"ö": HIDDEN, "note": HIDDEN}
    assert len(first["c2"]) < 100_100 and first["c2"].endswith("characters left out)")
    assert first["c3"] == "a?b"
    assert "nested deeper than 100 levels" in first["c4"] and "beyond 2^63" in first["c5"]
    assert KEY not in json.dumps(kept, ensure_ascii=False)
    assert KEY not in "".join(file.read_text() for file in home.rglob("*.jsonl"))

"""How large the report of many simulations is, and how soon it is ready in a browser; prints JSON.

python benchmarks/report.py [--simulations 2000]

Each simulation has 12 turns with a call. `write_s` is the time to make the file. If Chromium is on this machine,
`ready_s` is the time from the beginning of the navigation until everything is drawn, the best of five.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.report import page as page_of
from caseharden.resources.library import report_page
from caseharden.tests.browser import CHROMIUM, page
from caseharden.tests.test_report_page import made_up

TIMES = 5
DRAWN = """new Promise((done) => {
  const look = () => document.querySelector("#rows .row") ? done(performance.now()) : requestAnimationFrame(look);
  look();
})"""
"""Milliseconds from the beginning of the navigation to the first row of conversations, which is drawn last."""


async def measured(simulations: int) -> dict[str, Any]:
    report = made_up(simulations)
    began = time.perf_counter()
    text = page_of(report, report_page())
    found: dict[str, Any] = {
        "benchmark": "report",
        "simulations": simulations,
        "write_s": round(time.perf_counter() - began, 3),
        "bytes": len(text.encode()),
    }
    if CHROMIUM:
        with tempfile.TemporaryDirectory() as folder:
            found["ready_s"] = await ready(Path(folder), text)
    return found


async def ready(folder: Path, text: str) -> float:
    """Seconds until the page has drawn itself, the best of several."""
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    async with page(folder) as browser:
        took: list[float] = []
        for _ in range(TIMES):
            await browser.open(file)
            took.append(float(await browser.run(DRAWN)))
    return round(min(took) / 1000, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description="size and readiness of the report")
    parser.add_argument("--simulations", type=int, default=2000, help="default 2,000")
    print(json.dumps(anyio.run(measured, parser.parse_args().simulations)))


if __name__ == "__main__":
    main()

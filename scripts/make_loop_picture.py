"""Draw docs/loop.svg, the picture in the README, from a real run of the loop on the shipped shop, offline.

Every figure in it comes from that run; the same checkout draws the same picture. With `--check` it writes nothing and
exits with 1 if the picture would change.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

import anyio

from caseharden.resources.workbench import Workbench

PICTURE: Final = Path(__file__).resolve().parent.parent / "docs" / "loop.svg"
HEAD: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 210" width="880" height="210" role="img" \
aria-labelledby="t d" font-family="Inter, system-ui, sans-serif" font-size="15">
  <title id="t">The loop</title>
  <desc id="d">{desc}</desc>
  <style>
    .box {{ fill: none; stroke: #7f868d; stroke-width: 1.5 }}
    .way {{ fill: none; stroke: #7f868d; stroke-width: 1.5 }}
    .tip {{ fill: #7f868d }}
    text {{ fill: #5f6a73; text-anchor: middle }}
    .key {{ fill: #0d7fa3; font-weight: 600 }}
    .note {{ font-size: 12px }}
    @media (prefers-color-scheme: dark) {{ text {{ fill: #a9b3bb }} .key {{ fill: #6cc5e2 }} }}
  </style>
"""
BOXES: Final = ((10, 110), (150, 100), (280, 80), (390, 90), (510, 110), (650, 90), (770, 100))
"""Left edge and width of each."""
TOP: Final = 30
HIGH: Final = 50
LINE: Final = 17
Step = tuple[Sequence[str], Sequence[str]]
"""The text of a box, and the figures below it."""


async def figures() -> list[Step]:
    """The steps of the loop with the results of a run."""
    with tempfile.TemporaryDirectory() as home:
        async with Workbench(Path(home)) as bench:
            await bench.environments.create("shop", world="shop")
            counts = (await bench.items.page("scenario", environment="shop", limit=1)).total
            people = (await bench.items.page("persona", environment="shop", limit=1)).total
            run = (await bench.runs.start("shop", wait_s=45)).run
            report = await bench.hardenings.harden("shop", run=run.id, wait_s=45)
            hardening = report.hardening
            await bench.hardenings.decide(hardening.candidate, "promote")
            after = (await bench.runs.start("shop", continue_run=run.id, wait_s=45)).run
    evidence = hardening.evidence
    assert evidence is not None and evidence.held_out is not None and hardening.outcome == "improved", (
        "the loop on the shop must end so"
    )
    proof = evidence.held_out
    added = hardening.find(hardening.candidate)
    assert added is not None
    rules = len({*added.text.splitlines()} - {*hardening.base_text.splitlines()})
    passed, now = run.totals, after.totals
    return [
        (("personas x", "scenarios"), (f"{people} x {counts}",)),
        (("simulate",), (f"{passed.simulations} simulations",)),
        (("score",), (f"{passed.passed} of {passed.trials} pass",)),
        (("causes",), (f"{len(run.clusters)} on train",)),
        (("candidate",), (f"{rules} rule{'' if rules == 1 else 's'} added",)),
        (
            ("proof",),
            (
                f"{proof.better} of {proof.n} held-out",
                f"better, {proof.worse} worse",
                f"p {proof.p:.3f}",
            ),
        ),
        (("promote",), (f"version 2: {now.passed}", f"of {now.trials} pass")),
    ]


def drawn(steps: Sequence[Step]) -> str:
    """The picture as SVG."""
    told = "; ".join(f"{' '.join(box)}: {' '.join(notes)}" for box, notes in steps)
    desc = escape(
        f"A real run of the loop on the shipped shop, offline. {told}. The next round simulates again."
    )
    return "".join([HEAD.format(desc=desc), *_shapes(), *_texts(steps), "</svg>\n"])


def _shapes() -> Iterator[str]:
    yield '  <g class="box">\n'
    for x, wide in BOXES:
        yield f'    <rect x="{x}" y="{TOP}" width="{wide}" height="{HIGH}" rx="6"/>\n'
    middle = TOP + HIGH // 2
    ways = "".join(f"M{x + wide} {middle}h23" for x, wide in BOXES[:-1])
    tips = "".join(f"M{x} {middle}l-8-4v8z" for x, _ in BOXES[1:])
    last, second = (x + wide // 2 for x, wide in (BOXES[-1], BOXES[1]))
    yield "  </g>\n"
    yield f'  <path class="way" d="{ways}M{last} 125v55H{second}V112"/>\n'
    yield f'  <path class="tip" d="{tips}M{second} 105l-4 8h8z"/>\n'


def _texts(steps: Sequence[Step]) -> Iterator[str]:
    for (x, wide), (box, notes) in zip(BOXES, steps, strict=True):
        at, key = x + wide // 2, ' class="key"' if box == ("proof",) else ""
        first = TOP + HIGH // 2 + 5 - (len(box) - 1) * 9
        for n, line in enumerate(box):
            yield f'  <text x="{at}" y="{first + 18 * n}"{key}>{escape(line)}</text>\n'
        for n, line in enumerate(notes):
            yield f'  <text x="{at}" y="{TOP + HIGH + 17 + LINE * n}" class="note">{escape(line)}</text>\n'
    yield '  <text x="510" y="198" class="note">next round</text>\n'
    yield '  <text x="80" y="198" class="note">the shop, offline</text>\n'


def main() -> int:
    picture = drawn(anyio.run(figures))
    if sys.argv[1:] == ["--check"]:
        return int(PICTURE.read_text(encoding="utf-8") != picture)
    PICTURE.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

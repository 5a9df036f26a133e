"""What scoring a conversation takes in model calls and tokens, beside one call per metric and turn; prints JSON.

python benchmarks/judging.py [--metrics 9]

The conversations are those of the shipped shop, played offline. Each is judged as the product judges: all metrics in
one call. For comparison, the same is counted for one call per metric and turn, each with the same words, its one
question, and the record up to its turn. Tokens are characters / 4 of what is sent; the judge here answers nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.evaluate import METRICS, Judge, Question, ask, entries_of
from caseharden.engine.evaluate.judge.asking import opening
from caseharden.engine.evaluate.judge.rendering import shown
from caseharden.engine.llm import Message, ModelReply, ModelRequest
from caseharden.engine.records.conversation import Conversation
from caseharden.resources.workbench import Workbench


@dataclass
class Silent:
    """A judge that counts what it is sent, and leaves every question out."""

    name: str = "silent"
    calls: int = 0
    chars: int = 0

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.calls += 1
        self.chars += size(request.messages)
        return ModelReply("{}")


def size(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)


async def conversations(home: Path) -> list[Conversation]:
    """The conversations of a run of the shop."""
    async with Workbench(home) as bench:
        await bench.environments.create("shop", world="shop")
        run = (await bench.runs.start("shop", wait_s=45)).run
        page = await bench.items.page("conversation", where={"run": run.id}, limit=100)
        whole = [await bench.items.get("conversation", row["id"], view="full") for row in page.items]
        return [Conversation.model_validate(one.item["conversation"]) for one in whole]


def each(questions: Sequence[Question], conversation: Conversation) -> tuple[int, int]:
    """Calls and characters with one call per metric and turn."""
    entries = entries_of(conversation.log)
    turns = sorted({entry["turn"] for entry in entries})
    chars = 0
    for turn in turns:
        record = shown([entry for entry in entries if entry["turn"] <= turn])
        chars += sum(size(opening({question.metric: question}, record)) for question in questions)
    return len(turns) * len(questions), chars


async def measured(metrics: int) -> dict[str, Any]:
    judged = [metric for metric in METRICS.values() if metric.judged and not metric.about][:metrics]
    questions = [metric.question({}) for metric in judged]
    with tempfile.TemporaryDirectory() as home:
        talks = await conversations(Path(home))
    silent, calls, chars, turns = Silent(), 0, 0, 0
    for talk in talks:
        entries = entries_of(talk.log)
        await ask(Judge(silent, lambda usage: None, None), questions, entries, talk.transcript_hash, 0)
        more, sent = each(questions, talk)
        calls, chars, turns = calls + more, chars + sent, turns + len({entry["turn"] for entry in entries})
    count = len(talks)
    return {
        "benchmark": "judging",
        "conversations": count,
        "turns": round(turns / count, 2),
        "metrics": len(questions),
        "calls": silent.calls / count,
        "tokens": round(silent.chars / 4 / count),
        "calls_each": round(calls / count, 1),
        "tokens_each": round(chars / 4 / count),
        "tokens_ratio": round(chars / silent.chars, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="calls and tokens of a scored conversation")
    parser.add_argument("--metrics", type=int, default=9, help="how many judged metrics; default 9")
    print(json.dumps(anyio.run(measured, parser.parse_args().metrics)))


if __name__ == "__main__":
    main()

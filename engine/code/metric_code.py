"""Metrics in Python: a function below the folders that the operator allows, asked about one conversation.

Its answer is an opinion like a judge's, under the hash of its file and of the modules below the same allowed folder
that it imports: read strictly, stored, and not requested again while they stay the same. Any failure in it leaves the
metric unscored and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import anyio

from ..errors import CasehardenError, InvalidArgument, NotFound
from ..evaluate import Question, entries_of, read_code_answer, unscored_by_code
from ..processes import AllowedCode, Answered, ProcessError, Processes, TimedOut
from ..records.conversation import Conversation, ToolEntry
from ..records.opinion import Opinion
from .imports import MOST_FILES, Sources, TooManyFiles, hash_of, package_root
from .rooms import Room, Rooms

SERVICE: Final = Path(__file__).with_name("metric_service.py")
ANSWER_S: Final = 20.0
"""Wall seconds for one answer."""
AT_ONCE: Final = 4
"""Processes for the files of one folder: the number of questions answered at the same time."""
MOST_HANGS: Final = 3
"""How often in a row a function may fail to answer before it is not asked again until the metric is named anew."""


class MetricCode:
    """Asks the code of metrics. Use it within the context of its `processes`."""

    def __init__(self, allowed: AllowedCode, processes: Processes, answer_s: float = ANSWER_S) -> None:
        self._allowed = allowed
        self._processes = processes
        self._answer_s = answer_s
        self._rooms: dict[Path, Rooms] = {}
        self._sources = Sources(allowed.folder)
        self._hung: dict[str, int] = {}
        """By the code a metric names: how often in a row it gave no answer."""

    def pinned(self, metrics: Sequence[Any], where: str) -> list[Any]:
        """The metrics as they are stored: coded ones with the hash of their files as they are now.

        Reads files. NotAllowed, which names the flag, for a file that may not be run here; NotFound for one that does
        not exist, InvalidArgument for one that imports too many others.
        """
        found: list[Any] = []
        for i, one in enumerate(metrics):
            said: Mapping[str, Any] = cast("Mapping[str, Any]", one) if isinstance(one, Mapping) else {}
            if not said.get("code"):
                found.append(one)
                continue
            self._hung.pop(str(said["code"]), None)
            at = f"{where}[{i}].code"
            file = self._allowed.file(str(said["code"]).rpartition(":")[0], at)
            try:
                found.append({**said, "sha256": hash_of(file, self._allowed.folder(file))})
            except TooManyFiles as error:
                raise InvalidArgument(
                    f"`{file.name}` cannot be told apart from a later one: {error}.",
                    where=at,
                    allowed=f"a file that imports at most {MOST_FILES:,} from there",
                ) from None
            except OSError as error:
                what = f"`{file.name}` cannot be read: {error.strerror}."
                raise NotFound(what, where=at, allowed="a file that we may read") from None
        return found

    async def answers(self, questions: Sequence[Question], conversation: Conversation) -> list[Opinion]:
        """The code's answers to its questions about a conversation; several are asked at the same time."""
        record = conversation.transcript_hash
        entries = entries_of(conversation.log)
        turns = frozenset(int(entry["turn"]) for entry in entries)
        found: dict[int, Opinion] = {}

        async def one(at: int, question: Question) -> None:
            row = {**dict(question.about), **_metric_input(conversation, entries)}
            try:
                said = await self._said(question, row)
            except _Unsaid as error:
                found[at] = unscored_by_code(question, str(error), record)
            else:
                found[at] = read_code_answer(question, said, turns, record)

        async with anyio.create_task_group() as tasks:
            for at, question in enumerate(questions):
                tasks.start_soon(one, at, question)
        return [found[at] for at in range(len(questions))]

    async def _said(self, question: Question, told: Mapping[str, Any]) -> Any:
        path, _, name = question.code.rpartition(":")
        try:
            file = self._allowed.file(path, "code")
            seen = await self._sources.now(file)
        except (CasehardenError, OSError) as error:
            raise _Unsaid(f"its code is not run: {error}") from None
        if seen.capped:
            raise _Unsaid(f"its code is not run: {TooManyFiles()}")
        if seen.hash != question.code_hash:
            what = f"{file.name}, or what it imports, has changed since it was named"
            raise _Unsaid(f"{what}: name the metric again in score_run")
        top = package_root(file)
        rooms = self._rooms.get(top)
        if rooms is None:
            rooms = self._rooms[top] = Rooms(
                lambda: Room(self._processes, self._allowed, SERVICE, file), AT_ONCE
            )
        asked = {"python": f"{file}:{name}", "conversation": told}
        try:
            async with rooms.one() as room:
                self._refuse_hung(question.code)
                answer = await room.ask(asked, file, self._answer_s, seen.hash)
        except TimedOut as error:
            self._hung[question.code] = self._hung.get(question.code, 0) + 1
            raise _Unsaid(f"its code {error}") from None
        except Answered as error:
            raise _Unsaid(f"its code {error}") from None
        except (ProcessError, OSError) as error:
            raise _Unsaid(f"the process of its code {error}") from None
        self._hung.pop(question.code, None)
        return answer.get("said")

    def _refuse_hung(self, code: str) -> None:
        if self._hung.get(code, 0) >= MOST_HANGS:
            raise _Unsaid(
                f"its code gave no answer {MOST_HANGS} times in a row: name the metric again in score_run"
            )


class _Unsaid(Exception):
    """There is no answer; the text says why."""


def _metric_input(conversation: Conversation, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a function gets of the record, in the format of the judge's block."""
    agent = [e for e in conversation.log if isinstance(e, ToolEntry) and e.by == "agent" and e.cause is None]
    return {"transcript": list(entries), "calls": entries_of(agent), "end": conversation.end.reason}

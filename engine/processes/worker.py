"""The worker: a program that offers one service over lines of JSON on its standard streams.

    python -I worker.py SERVICE SETTINGS

SERVICE is a Python file with `open_service(settings, load)`. It returns an object whose `answer(question)` takes and
returns a JSON object, or is a coroutine function that does; what it raises is sent as an error. SETTINGS is a JSON
object; its `file` is the user's file that the service is about, and `load(file, name)` runs a file as a module.
Questions carry an `id` and are answered in any order: coroutines side by side on one loop, the others in threads.

Standard output is ours alone: what the user's code prints goes to standard error. Only the standard library is
imported, since the interpreter may have none of our packages installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

THREADS = 64
LONGEST_ERROR = 2000


def load(file: str, name: str) -> ModuleType:
    """Run a file now as a module of this name, and return it."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def raised_at(error: BaseException, folder: str) -> str:
    """`FILE:LINE` of the last step of an error in the user's own files, relative to their folder; "" if it has none."""
    if isinstance(error, SyntaxError) and error.filename:
        steps = [(error.filename, error.lineno)]
    else:
        steps = [(step.filename, step.lineno) for step in traceback.extract_tb(error.__traceback__)]
    top = os.path.join(folder, "")
    own = [(file, line) for file, line in steps if file.startswith(top) and "site-packages" not in file]
    return f"{os.path.relpath(own[-1][0], folder)}:{own[-1][1]}" if own else ""


class Worker:
    def __init__(self, service: Any, output: int, file: str) -> None:
        self.service, self.output, self.file = service, output, file
        self.lock = threading.Lock()
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answer until there are no more questions."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        reader = asyncio.StreamReader(limit=1 << 30)
        questions = os.fdopen(os.dup(0), "rb", 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), questions)
        while line := await reader.readline():
            task = loop.create_task(self.answer(json.loads(line)))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def answer(self, question: dict[str, Any]) -> None:
        id = question.pop("id")
        try:
            if inspect.iscoroutinefunction(self.service.answer):
                answer = await self.service.answer(question)
            else:
                answer = await asyncio.to_thread(self.service.answer, question)
            line = json.dumps({**answer, "id": id}, separators=(",", ":"))
        except BaseException as error:
            row = {"kind": type(error).__name__, "text": str(error)[:LONGEST_ERROR]}
            row["at"] = raised_at(error, os.path.dirname(self.file))
            line = json.dumps({"error": row, "id": id})
        self.write(line.encode() + b"\n")

    def write(self, data: bytes) -> None:
        with self.lock:
            while data:
                data = data[os.write(self.output, data) :]


def main(service: str, settings: str) -> None:
    output = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    told = json.loads(settings)
    sys.path.insert(0, os.path.dirname(told["file"]))
    opened = load(service, "caseharden_service").open_service(told, load)
    asyncio.run(Worker(opened, output, told["file"]).serve())
    # Threads of the loaded code may still be running; nobody waits for them.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

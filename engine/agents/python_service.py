"""The service a Python agent runs in: a worker's (`engine/processes/worker.py`), under the operator's interpreter.

The file is run anew for every conversation, so that nothing in it survives one; what it imports is loaded once. Its
object is a function or a class: a class is instantiated once per conversation, and its `reply` (or it itself) is
called. Either is given a `Turn` and returns the agent's words, or `{"text", "calls", "own_calls", "usage",
"verdict"}`.

Questions: `{"do": "check"}`, `{"do": "turn", "key", "turn"}`, `{"do": "results", "key", "results", "messages"}`,
`{"do": "end", "key"}`. The answer to a turn is what the agent returned, or `{"asked": [calls]}` while it waits for
results of world tools.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, Optional

NAMES = ("agent", "Agent", "reply")
"""The names tried if no object is named."""
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}


class Over(BaseException):
    """The conversation is over while the agent waits for a tool."""


class Turn:
    """An agent's input: all that it may know about the conversation.

    `text`: the user's last words. `messages`: the whole conversation in OpenAI's format, without the instructions; the
    last `new` of them came since the agent's last reply. `instructions`: the text under test. `tools`: the world's
    tools in OpenAI's format. `number`: of the user's text, from 1. `conversation`: an opaque key. `seed`: for a model.
    `tools_url`, `tools_token`: where the world's tools are served by MCP, if they are. `traceparent`, `spans_url`,
    `spans_token`: the turn's trace, and where to export its spans, if these are watched.
    """

    conversation: str
    instructions: str
    messages: list[dict[str, Any]]
    new: int
    tools: list[dict[str, Any]]
    number: int
    text: str
    seed: int
    tools_url: str = ""
    tools_token: str = ""
    traceparent: str = ""
    spans_url: str = ""
    spans_token: str = ""

    def __init__(
        self, told: Mapping[str, Any], ask: Callable[[str, dict[str, Any]], Any], coroutines: bool
    ) -> None:
        for name, value in told.items():
            setattr(self, name, value)
        self._ask = ask
        self._coroutines = coroutines

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Call a tool of the world: its result as a model would see it, a text. To be awaited if a loop is running."""
        found = self._ask(name, arguments)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return found.result()
        return asyncio.wrap_future(found)

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """The world's tools as functions with names, types and docstrings, as agent frameworks expect them.

        Coroutine functions if the agent is one, else plain ones.
        """
        return [function_of(tool["function"], self.call, self._coroutines) for tool in self.tools]


def function_of(tool: Mapping[str, Any], call: Callable[..., Any], coroutine: bool) -> Callable[..., Any]:
    """A tool as a function that frameworks can introspect."""
    schema: dict[str, Any] = tool.get("parameters") or {}
    properties: dict[str, Any] = schema.get("properties") or {}
    needed: Sequence[str] = schema.get("required") or ()
    params = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if name in needed else None,
            annotation=annotation_of(properties[name], name in needed),
        )
        for name in sorted(properties, key=lambda name: name not in needed)
    ]
    signature = inspect.Signature(params, return_annotation=str)

    def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        given = signature.bind(*args, **kwargs).arguments
        return {k: v for k, v in given.items() if v is not None or k in needed}

    async def later(*args: Any, **kwargs: Any) -> str:
        return await call(tool["name"], **arguments_of(args, kwargs))

    def now(*args: Any, **kwargs: Any) -> str:
        return call(tool["name"], **arguments_of(args, kwargs))

    made: Any = later if coroutine else now
    made.__name__ = made.__qualname__ = tool["name"]
    made.__signature__ = signature
    made.__annotations__ = {p.name: p.annotation for p in params} | {"return": str}
    lines = [f"    {n}: {properties[n].get('description') or n}" for n in (p.name for p in params)]
    told = tool.get("description") or tool["name"]
    made.__doc__ = "\n".join([told, *(["", "Args:", *lines] if lines else [])])
    return made


def annotation_of(schema: Mapping[str, Any], needed: bool) -> Any:
    if schema.get("enum"):
        found: Any = Literal[tuple(schema["enum"])]
    else:
        kind = schema.get("type")
        found = TYPES.get(kind, Any) if isinstance(kind, str) else Any
    if found is list:
        found = list[annotation_of(schema.get("items") or {}, True)]
    return found if needed else Optional[found]  # noqa: UP045 # it may be no class


class Talking:
    """One conversation: the agent created for it, and what it is doing."""

    def __init__(self, module: ModuleType, name: str) -> None:
        self.module, self.name = module, name
        found = found_in(module, name)
        made = found() if inspect.isclass(found) else found
        function: Any = getattr(made, "reply", made)
        self.function: Callable[[Turn], Any] = function
        self.coroutine = inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(
            getattr(self.function, "__call__", None)  # noqa: B004 # of an instance
        )
        self.loop = asyncio.get_running_loop()
        self.asked: list[tuple[str, dict[str, Any], concurrent.futures.Future[str]]] = []
        self.waiting: dict[str, concurrent.futures.Future[str]] = {}
        self.news = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None
        self.turn: Turn | None = None
        self.calls = 0
        self.in_thread = False
        self.over = False

    def begin(self, told: dict[str, Any]) -> None:
        self.turn = Turn(told, self.ask, self.coroutine)
        self.task = self.loop.create_task(self.replied(self.turn))

    async def replied(self, turn: Turn) -> dict[str, Any]:
        if self.coroutine:
            said = await self.function(turn)
        else:
            said = await asyncio.to_thread(self.in_a_thread, turn)
            said = await said if inspect.isawaitable(said) else said
        if isinstance(said, str):
            return {"text": said}
        if isinstance(said, Mapping):
            return dict(said)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        if said is None:
            name = getattr(self.function, "__qualname__", self.name) or "the agent"
            raise TypeError(
                f'{name} returned None: it must return a text ("" to be silent), or a dict with text or calls'
            )
        raise TypeError(f"a reply is a text or a dict with text or calls, not {type(said).__name__}")

    def in_a_thread(self, turn: Turn) -> Any:
        self.in_thread = True
        try:
            return self.function(turn)
        finally:
            self.in_thread = False

    def ask(self, name: str, arguments: dict[str, Any]) -> concurrent.futures.Future[str]:
        """Ask for a call; called from any thread."""
        found: concurrent.futures.Future[str] = concurrent.futures.Future()
        self.loop.call_soon_threadsafe(self.noted, name, arguments, found)
        return found

    def noted(self, name: str, arguments: dict[str, Any], found: concurrent.futures.Future[str]) -> None:
        if self.over:
            found.set_exception(Over())
            return
        self.asked.append((name, arguments, found))
        self.news.set()

    async def outcome(self) -> dict[str, Any]:
        """What the agent returned, or the calls it asks of the world first."""
        assert self.task is not None
        if not self.news.is_set():
            news = self.loop.create_task(self.news.wait())
            await asyncio.wait({self.task, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        if self.task.done():
            return self.task.result()
        self.news.clear()
        asked, self.asked = self.asked, []
        calls: list[dict[str, Any]] = []
        for name, arguments, found in asked:
            self.calls += 1
            self.waiting[f"p{self.calls}"] = found
            calls.append({"id": f"p{self.calls}", "name": name, "arguments": arguments})
        return {"asked": calls}

    def results(self, results: Mapping[str, str], messages: list[dict[str, Any]]) -> None:
        if self.turn is not None:
            self.turn.messages = messages
        for id, text in results.items():
            found = self.waiting.pop(id, None)
            if found is not None and not found.done():
                found.set_result(text)

    def end(self) -> bool:
        """Abandon the conversation; return whether a thread that nothing can stop is still running in it."""
        self.over = True
        left = [*self.waiting.values(), *(found for _, _, found in self.asked)]
        for found in left:
            if not found.done():
                found.set_exception(Over())
        if self.task is not None and not self.task.done():
            self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self.task.cancel()
        sys.modules.pop(self.module.__name__, None)
        return self.in_thread and not left


class Service:
    def __init__(self, file: str, name: str, load: Callable[[str, str], ModuleType]) -> None:
        self.file, self.name, self.load = file, name, load
        self.talking: dict[str, Talking] = {}
        self.made = 0
        self.lock = threading.Lock()

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        do, key = question["do"], question.get("key", "")
        if do == "check":
            (await self.new()).end()
            return {}
        if do == "end":
            found = self.talking.pop(key, None)
            return {"stuck": found is not None and found.end()}
        if do == "results":
            found = self.talking[key]
            found.results(question["results"], question["messages"])
            return await found.outcome()
        if key not in self.talking:
            self.talking[key] = await self.new()
        self.talking[key].begin(question["turn"])
        return await self.talking[key].outcome()

    async def new(self) -> Talking:
        return Talking(await asyncio.to_thread(self.run), self.name)

    def run(self) -> ModuleType:
        with self.lock:
            self.made += 1
            return self.load(self.file, f"caseharden_agent_{self.made}")


def found_in(module: ModuleType, name: str) -> Any:
    """The agent in a module: the object with this name, or one of the usual names."""
    names = [name] if name else NAMES
    for one in names:
        found = getattr(module, one, None)
        if callable(found):
            return found
    own = [
        n
        for n, v in vars(module).items()
        if getattr(v, "__module__", None) == module.__name__ and callable(v)
    ]
    there = ", ".join(own) or "nothing that can be called"
    raise LookupError(f"there is no {' or '.join(names)} in {module.__file__}; it has {there}")


def open_service(settings: Mapping[str, Any], load: Callable[[str, str], ModuleType]) -> Service:
    return Service(settings["file"], settings["object"], load)

"""What makes a function a tool: its title, its four annotations, and what it is handed with its arguments.

A tool is an async function: first the `Call`, then the parameters that a client sees, annotated with their
description and bounds; the docstring is the description, word for word; the return annotation is the reply.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar, get_args

from ..engine.records.job import Job
from ..engine.workbench import Workbench
from .replies import Reply

P = ParamSpec("P")
R = TypeVar("R", bound=Reply)
Progress = Callable[[Job], Awaitable[None]]
Toolset = Literal["read", "run", "author", "all"]
TOOLSETS: tuple[Toolset, ...] = get_args(Toolset)
"""What a client may do, each with what stands before it: look; simulate and submit texts; write the tests; delete,
and decide which text is used."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool works with: the services, and where to tell how far a job is."""

    bench: Workbench
    on_progress: Progress


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as it is registered.

    `toolset`: the smallest one that it is in. `open_world`: a model or an agent outside may be called.
    """

    name: str
    title: str
    description: str
    function: Callable[..., Awaitable[Reply]]
    reply: type[Reply]
    toolset: Toolset
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool

    def parameters(self) -> list[inspect.Parameter]:
        """What a client may send, in order, with evaluated annotations."""
        signature = inspect.signature(self.function, eval_str=True)
        return list(signature.parameters.values())[1:]


CATALOG: dict[str, ToolSpec] = {}
"""Every tool of this version by name; filled where the functions stand."""


def tool(
    title: str,
    *,
    toolset: Toolset = "all",
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    open_world: bool = False,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Enter the function into the catalog. All four annotations are published on every tool.

    What only reads is in every toolset; what states none is only in `all`.
    """

    def enter(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        signature = inspect.signature(function, eval_str=True)
        spec = ToolSpec(
            name=function.__name__,
            title=title,
            description=" ".join((function.__doc__ or "").split()),
            function=_untyped(function),
            reply=signature.return_annotation,
            toolset="read" if read_only else toolset,
            read_only=read_only,
            destructive=destructive,
            idempotent=idempotent,
            open_world=open_world,
        )
        CATALOG[spec.name] = spec
        return function

    return enter


def _untyped(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Reply]]:
    return function

"""Items: list, get, update and delete things of every kind."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from ..engine.workbench.results import Changes, Item as ItemResult, Page as PageResult
from .arguments import NOT_GIVEN, Cursor, EnvironmentId, Limit, View, given
from .replies import Changed, Item, NextCall, Page, then
from .sight import item_links, item_next, page_next
from .spec import Call, tool
from .wording import percent, plural

ROOM = 20_000
"""Characters that a page may take; a longer one is asked for again with a smaller limit, so that no row is
lost.
"""
SAID: Mapping[str, Sequence[str]] = {
    "persona": ("profile", "style"),
    "scenario": ("goal",),
    "simulation": ("user_input",),
}
"""Fields of a row that users, agents, tools or files wrote."""
WHOLE: Mapping[str, Sequence[str]] = {
    "persona": ("persona",),
    "scenario": ("scenario",),
    "simulation": ("expected_output", "ground_truth"),
    "instructions": ("text",),
    "run": ("instructions_text", "clusters[].cause", "clusters[].rule"),
    "conversation": ("graded.why", "graded.checks[].why"),
    "hardening": ("base_text", "rounds", "candidates", "rejected", "brief"),
    "session": ("tape", "again", "rejected"),
}
"""And those that only whole rows have."""

Kind = Literal[
    "environment",
    "instructions",
    "persona",
    "scenario",
    "simulation",
    "run",
    "conversation",
    "hardening",
    "candidate",
    "job",
    "session",
    "world",
    "guide",
]
AnyKind = Literal["overview", Kind]
Answer = TypeVar("Answer", PageResult, ItemResult)


@tool("List items", read_only=True, idempotent=True)
async def list_items(
    call: Call,
    kind: AnyKind = "overview",
    environment: EnvironmentId = "",
    where: Annotated[
        Mapping[str, Any],
        Field(
            description="run, persona, scenario, simulation, verdict, check, cluster, tag, state, series, text"
        ),
    ] = NOT_GIVEN,
    limit: Limit = 20,
    cursor: Annotated[str, Field(description="next_cursor of the last page")] = "",
    detail: Literal["concise", "full"] = "concise",
) -> Page:
    """Returns one page of rows of a kind, newest first, each with the id that get_item takes; overview:
    totals, pass rate, active work, models. Use to find things; for one thing use get_item.
    """

    async def ask(size: int) -> PageResult:
        return await call.bench.items.page(
            kind, environment=environment, where=given(where), limit=size, cursor=cursor, detail=detail
        )

    page, shown = await _fitting(ask, limit)
    full = detail == "full"
    query = {"kind": kind, "environment": environment, "where": dict(where), "detail": detail}
    return Page(
        summary=_page_summary(page, environment),
        next=page_next(
            page, {key: value for key, value in query.items() if value not in ("", {}, "concise")}
        ),
        warnings=_cut_warning(shown, limit),
        kind=kind,
        items=page.items,
        total=page.total,
        next_cursor=page.next_cursor,
        untrusted=[
            f"items[].{path}" for path in (*SAID.get(kind, ()), *(WHOLE.get(kind, ()) if full else ()))
        ],
    )


@tool("Get one item", read_only=True, idempotent=True)
async def get_item(
    call: Call,
    kind: Kind,
    id: Annotated[
        str,
        Field(
            description="As listed: run-7, support/dana, support@2, RUN/SIM/TRIAL, or with @5 to start at turn 5"
        ),
    ],
    view: Annotated[View, Field(description="Which part")] = "summary",
    limit: Limit = 20,
    cursor: Cursor = "",
) -> Item:
    """Returns one thing. Views: conversation turns, state, checks; run clusters, rounds, agreement;
    instructions or candidate text, diff; environment text (policy); scenario or environment solution.
    Start with summary: it names what to look at next.
    """

    async def ask(size: int) -> ItemResult:
        return await call.bench.items.get(kind, id, view=view, limit=size, cursor=cursor)

    found, shown = await _fitting(ask, limit)
    return Item(
        summary=found.summary or f"{found.kind} {found.id}, view {found.view}.",
        next=item_next(found, limit=shown),
        warnings=[*found.warnings, *_cut_warning(shown, limit)],
        links=item_links(found),
        kind=found.kind,
        id=found.id,
        view=found.view,
        item=found.item,
        untrusted=[path if path.startswith("item") else f"item.{path}" for path in found.untrusted],
        next_cursor=found.next_cursor,
    )


@tool("Update an item", toolset="author", destructive=True, idempotent=True)
async def update_item(
    call: Call,
    kind: Literal["environment", "persona", "scenario", "simulation", "run", "hardening"],
    id: str,
    changes: Annotated[Mapping[str, Any], Field(description="JSON merge patch: null removes a key")],
    version: Annotated[int, Field(ge=0, description="Refuse if it changed since this version")] = 0,
) -> Changed:
    """Returns what changed and the new version; runs made before keep the old one. Changed instructions
    become a new, unproven version: to prove a text first use submit_candidate.
    """
    done = await call.bench.items.update(kind, id, dict(changes), version=version)
    return _changed(done, _updated(done), _after_update(done))


@tool("Delete items", destructive=True, idempotent=True)
async def delete_items(
    call: Call,
    kind: Literal[
        "environment", "persona", "scenario", "simulation", "run", "conversation", "hardening", "session"
    ],
    ids: Sequence[str],
    confirm: Annotated[bool, Field(description="false: only say what would go")] = False,
) -> Changed:
    """Returns what goes with the items (counts by kind); deletes only with confirm=true. For a running job
    use cancel_job.
    """
    done = await call.bench.items.delete(kind, list(ids), confirm=confirm)
    calls: list[NextCall] = []
    if not done.done:
        calls = [then("delete_items", "cannot be undone", kind=kind, ids=list(ids), confirm=True)]
        if kind == "run" and done.ids:
            calls.append(then("export_run", "keep a copy first", source=done.ids[0], format="json"))
    return _changed(done, _deleted(done), calls)


async def _fitting(ask: Callable[[int], Awaitable[Answer]], limit: int) -> tuple[Answer, int]:
    """The answer with as many parts as fit into one reply, and how many were asked for."""
    answer = await ask(limit)
    while limit > 1 and _size(answer) > ROOM:
        limit = max(1, limit // 2)
        answer = await ask(limit)
    return answer, limit


def _size(answer: PageResult | ItemResult) -> int:
    held = answer.items if isinstance(answer, PageResult) else answer.item
    return len(json.dumps(held, ensure_ascii=False, default=str))


def _cut_warning(shown: int, limit: int) -> list[str]:
    if shown == limit:
        return []
    return [
        f"limit {limit} would be too long for one reply: at most {shown} at a time; go on with next_cursor."
    ]


def _page_summary(page: PageResult, environment: str) -> str:
    of = f" in {environment}" if environment else ""
    if page.kind == "overview":
        return _overview(page.items[0] if page.items else {})
    left = f"; {len(page.items):,} shown" if len(page.items) < page.total else ""
    least = "At least " if page.at_least else ""
    return f"{least}{plural(page.total, page.kind)}{of}{left}."


def _overview(overview: Mapping[str, Any]) -> str:
    totals: Mapping[str, int] = overview.get("totals", {})
    held = [plural(count, kind.removesuffix("s")) for kind, count in totals.items() if count]
    text = f"{', '.join(held)}." if held else "Nothing is stored yet."
    rate, jobs = overview.get("average_pass_rate"), overview.get("active_jobs", [])
    if rate is not None:
        runs = plural(overview["rated_runs"], "run")
        passed = f"{overview['passed']:,} of {overview['counted']:,} trials"
        text += f" {passed} pass; the mean of {runs} is {percent(rate)}."
    text += f" {plural(len(jobs), 'job')} going on." if jobs else ""
    problems = overview.get("problems", [])
    return text + (f" {plural(len(problems), 'problem')}." if problems else "")


def _changed(done: Changes, summary: str, calls: list[NextCall]) -> Changed:
    return Changed(
        summary=summary,
        next=calls,
        warnings=done.warnings,
        kind=done.kind,
        ids=done.ids,
        version=done.version or None,
        changed=done.changed,
        goes_with=done.goes_with,
        done=done.done,
    )


def _updated(done: Changes) -> str:
    name = ", ".join(done.ids)
    if not done.changed:
        return f"{name} is as it was: nothing changed."
    if done.kind == "environment" and set(done.changed) == {"instructions"}:
        return f"{name} now has instructions version {done.version} (unproven). Runs made before keep what they had."
    return f"{name} is now at version {done.version}: changed {', '.join(done.changed)}."


def _after_update(done: Changes) -> list[NextCall]:
    name = done.ids[0] if done.ids else ""
    if done.kind == "environment":
        return [
            then("run_simulations", environment=name),
            then("list_items", "versions of its instructions", kind="instructions", environment=name),
        ]
    if done.kind in ("run", "hardening"):
        return [then("get_item", kind=done.kind, id=name)]
    owner = name.partition("/")[0]
    return [then("get_item", kind=done.kind, id=name), then("run_simulations", environment=owner)]


def _deleted(done: Changes) -> str:
    what = f"{done.kind} {', '.join(done.ids[:5])}" + (
        f" and {len(done.ids) - 5} more" if len(done.ids) > 5 else ""
    )
    also = ", ".join(plural(count, kind) for kind, count in done.goes_with.items() if count)
    if done.done:
        return f"Deleted {what}{f' and with it {also}' if also else ''}."
    return f"Nothing deleted yet. Deleting {what} also deletes {also or 'nothing else'}."

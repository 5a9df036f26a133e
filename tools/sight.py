"""Where to look next from a list or a single thing: calls and links that fit what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.shapes import is_list, is_object
from ..engine.workbench.results import Item, Page
from .replies import Link, NextCall, then

SINGLE = ("overview",)
_MAKES = {
    "persona": "generate_personas",
    "scenario": "generate_scenarios",
    "simulation": "create_simulations",
    "hardening": "harden_agent",
    "candidate": "harden_agent",
    "session": "start_session",
}
"""Tools that make the first of a kind in an environment; a run makes what is not here."""


def page_next(page: Page, query: dict[str, Any]) -> list[NextCall]:
    """The first row, and the next page."""
    calls: list[NextCall] = []
    if page.kind in SINGLE:
        return _overview_next(page, str(query.get("environment", "")))
    if page.items:
        calls += _first_row(page)
    if page.next_cursor:
        calls.append(then("list_items", "next page", **query, cursor=page.next_cursor))
    return calls if page.items else _when_empty(page.kind, query)


def item_next(item: Item, *, limit: int) -> list[NextCall]:
    """What one looks at after this thing in this view."""
    calls = [*_by_kind(item)]
    if item.next_cursor:
        more = {"kind": item.kind, "id": item.id, "view": item.view, "cursor": item.next_cursor}
        calls.insert(0, then("get_item", "goes on", **more, **({} if limit == 20 else {"limit": limit})))
    return calls[:3]


def item_links(item: Item) -> list[Link]:
    """The resource that holds the whole of it."""
    base = item.id.partition("@")[0]
    uri = {
        "environment": f"caseharden://environment/{item.id}",
        "run": f"caseharden://run/{item.id}",
        "conversation": f"caseharden://conversation/{base}",
        "hardening": f"caseharden://hardening/{item.id}",
    }.get(item.kind)
    if uri is None or item.view == "full":
        return []
    return [Link(uri=uri, what=f"whole {item.kind}")]


def _first_row(page: Page) -> list[NextCall]:
    """The first row worth opening: never of a held-out scenario, for conversations one that failed."""
    shown = [row for row in page.items if row.get("split") != "held_out" and row.get("id")]
    row = next((one for one in shown if one.get("see")), shown[0] if shown else None)
    if row is None:
        return []
    if page.kind == "conversation":
        return [then("get_item", kind="conversation", id=str(row.get("see") or row["id"]), view="turns")]
    return [then("get_item", kind=page.kind, id=str(row["id"]))]


def _when_empty(kind: str, query: dict[str, Any]) -> list[NextCall]:
    """What makes the first of a kind; where something was chosen by `where`, before that all of them."""
    environment = str(query.get("environment", ""))
    where: dict[str, Any] = query.get("where") or {}
    calls: list[NextCall] = []
    if kind == "conversation":
        return [then("get_item", "why it has none of these", kind="run", id=str(where["run"]))]
    if where:
        calls.append(then("list_items", "all of them", **{k: v for k, v in query.items() if k != "where"}))
    if kind == "environment":
        return [*calls, then("list_items", "what create_environment can begin with", kind="world")]
    if not environment:
        return [*calls, then("list_items", kind="environment")]
    maker = _MAKES.get(kind, "run_simulations")
    return [*calls, then(maker, "makes the first", environment=environment)]


def _overview_next(page: Page, environment: str) -> list[NextCall]:
    overview = page.items[0] if page.items else {}
    calls = [then("wait_job", job=str(job["id"])) for job in overview.get("active_jobs", [])[:1]]
    totals = overview.get("totals", {})
    if "environments" not in totals:
        return [
            *calls,
            then("list_items", kind="run", environment=environment),
            then("get_item", kind="environment", id=environment),
        ]
    if not totals["environments"]:
        world = next(iter(overview.get("worlds", [])), "")
        return [
            *calls,
            then(
                "create_environment",
                "start here",
                id=world or "support",
                **({"world": world} if world else {}),
            ),
        ]
    return [*calls, then("list_items", kind="environment"), then("list_items", kind="run")]


def _by_kind(item: Item) -> list[NextCall]:
    maker = _MAKERS.get(item.kind)
    return maker(item) if maker else []


def _environment(item: Item) -> list[NextCall]:
    calls = [then("run_simulations", environment=item.id)]
    if item.view != "text":
        calls.append(then("get_item", "its policy", kind="environment", id=item.id, view="text"))
    return [*calls, then("list_items", kind="scenario", environment=item.id)]


def _nested(item: Item) -> list[NextCall]:
    owner, _, _ = item.id.partition("/")
    calls = [then("run_simulations", "run it", environment=owner, select=[_selector(item)])]
    if item.kind == "scenario" and item.item.get("simulations") == 0:
        slug = item.id.partition("/")[2]
        calls = [then("create_simulations", "it has none to run", environment=owner, scenarios=[slug])]
    if item.kind == "scenario" and item.view != "solution":
        calls.append(then("get_item", "its solution", kind="scenario", id=item.id, view="solution"))
    return calls


def _selector(item: Item) -> str:
    slug = item.id.partition("/")[2] or item.id
    return slug if item.kind == "simulation" else f"{item.kind}:{slug}"


def _run(item: Item) -> list[NextCall]:
    calls: list[NextCall] = []
    environment = item.item.get("environment")
    see = _first_place(item.item.get("clusters"))
    if see:
        calls.append(then("get_item", "see one failure", kind="conversation", id=see, view="turns"))
    if see and environment and item.view == "clusters":
        args: dict[str, Any] = {"environment": environment, "select": [f"cluster:{item.id}/k1"]}
        calls.append(then("run_simulations", "run the cases of its first cluster again", **args))
    if environment and not item.item.get("hardening"):
        calls.append(_harden(item, item.id, item.item.get("options", {})))
    calls.append(then("list_items", kind="conversation", where={"run": item.id}))
    return calls


def _first_place(clusters: Any) -> str:
    rows = clusters if is_list(clusters) else []
    return next((str(row["see"]) for row in rows if is_object(row) and row.get("see")), "")


def _conversation(item: Item) -> list[NextCall]:
    whole, _, turn = item.id.partition("@")
    calls: list[NextCall] = []
    if item.view != "turns":
        place = item.item.get("see") or item.id
        calls.append(then("get_item", kind="conversation", id=str(place), view="turns"))
    if item.view != "state":
        calls.append(then("get_item", "what it changed", kind="conversation", id=whole, view="state"))
    if item.view != "checks" and not turn:
        calls.append(
            then("get_item", "every check with its reason", kind="conversation", id=whole, view="checks")
        )
    if item.item.get("verdict") == "fail" and not item.item.get("hardening"):
        calls.insert(1, _harden(item, whole.partition("/")[0], item.item))
        if turn:
            why = "what if: goes on from there under the present text"
            environment = str(item.item["environment"])
            again: dict[str, Any] = {"environment": environment, "select": [item.id], "trials": 3}
            calls.append(then("run_simulations", why, **again))
    return calls


def _harden(item: Item, run: str, options: Mapping[str, Any]) -> NextCall:
    """Harden what failed there; a run of a candidate is no base, and one of a part names the whole that it was of.

    `options`: of the run, with `part_of` where it is one of a part, "" where its whole is not known.
    """
    environment = item.item["environment"]
    run = str(options.get("part_of", run))
    if "/" in str(item.item.get("instructions", "")) or not run:
        return then("harden_agent", environment=environment)
    return then("harden_agent", environment=environment, run=run)


def _hardening(item: Item) -> list[NextCall]:
    candidate = item.item.get("candidate")
    if isinstance(candidate, str) and candidate and item.item.get("outcome") == "improved":
        return [then("decide_candidate", candidate=candidate, decision="promote")]
    if item.view != "rounds":
        return [then("get_item", kind="hardening", id=item.id, view="rounds")]
    return []


def _candidate(item: Item) -> list[NextCall]:
    view = "diff" if item.view != "diff" else "text"
    return [then("get_item", kind="candidate", id=item.id, view=view)]


def _instructions(item: Item) -> list[NextCall]:
    environment = item.id.partition("@")[0]
    calls = [then("run_simulations", environment=environment)]
    if item.view == "summary":
        calls.insert(0, then("get_item", kind="instructions", id=item.id, view="text"))
    return calls


def _job(item: Item) -> list[NextCall]:
    return [then("wait_job", job=item.id)]


def _session(item: Item) -> list[NextCall]:
    calls = [then("step_session", session=item.id, action="look")]
    if item.view != "text":
        calls.append(then("get_item", "instructions and policy", kind="session", id=item.id, view="text"))
    for end in reversed(item.item.get("ends", [])):
        calls.append(then("get_item", "its last end", kind="conversation", id=end, view="turns"))
        break
    return calls


def _world(item: Item) -> list[NextCall]:
    return [then("create_environment", id=item.id, world=item.id)]


_MAKERS = {
    "environment": _environment,
    "persona": _nested,
    "scenario": _nested,
    "simulation": _nested,
    "run": _run,
    "conversation": _conversation,
    "hardening": _hardening,
    "candidate": _candidate,
    "instructions": _instructions,
    "job": _job,
    "session": _session,
    "world": _world,
}

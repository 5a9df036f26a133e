"""Environments: make one, or bring one in from files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ..engine.workbench.results import EnvironmentReport, ImportReport
from .arguments import NOT_GIVEN, WaitS, given
from .replies import EnvironmentMade, Link, NextCall, counts, goes_on, then
from .spec import Call, tool
from .wording import listed, plural, with_offline


@tool("Create an environment", toolset="author", idempotent=True, open_world=True)
async def create_environment(
    call: Call,
    id: Annotated[str, Field(description="Slug a-z0-9_- up to 64")],
    instructions: Annotated[str, Field(description="The text to harden; version 1")] = "",
    world: Annotated[
        str,
        Field(description="Shipped world (shop, airline, clinic) or a world file under an allowed root"),
    ] = "",
    world_data: Annotated[
        Mapping[str, Any],
        Field(
            description="Inline world/1 (db, user_db, tools, policy, ...), laid over world. Guide: world-format"
        ),
    ] = NOT_GIVEN,
    agent: Annotated[
        Mapping[str, Any],
        Field(
            description="{kind: prompt (default), chat_completions, a2a, mcp, python, command, caller; ...}. "
            "Guide: agent-kinds"
        ),
    ] = NOT_GIVEN,
    models: Annotated[
        Mapping[str, Any],
        Field(
            description="agent, user, judge, writer -> offline (default), relay, replay:FILE, litellm id or "
            "{model, base_url, key}"
        ),
    ] = NOT_GIVEN,
    settings: Annotated[
        Mapping[str, Any],
        Field(
            description="knowledge_base, user_guidelines, metrics, thresholds, trials, limits, locked. "
            "Guide: environment"
        ),
    ] = NOT_GIVEN,
) -> EnvironmentMade:
    """Returns the new environment: agent probed, world checked, cases that came with a shipped world
    counted. Start here. For files of tau-bench, Sigma, ArkSim or ARE use import_environment; to change
    one, update_item.
    """
    report = await call.bench.environments.create(
        id,
        instructions=instructions,
        world=world,
        world_data=given(world_data),
        agent=given(agent),
        models=given(models),
        settings=given(settings),
    )
    return _made(report, _ready(report))


@tool("Import an environment", toolset="author", idempotent=True)
async def import_environment(
    call: Call,
    path: Annotated[str, Field(description="Folder or file under an allowed root")],
    id: Annotated[str, Field(description="New environment, or an existing one that receives past runs")] = "",
    format: Literal["auto", "tau-bench", "tau2-bench", "sigma", "arksim", "are", "caseharden"] = "auto",
    dry_run: Annotated[bool, Field(description="Report only")] = False,
    wait_s: WaitS = 20,
) -> EnvironmentMade:
    """Returns what was taken from another system's files (worlds, tasks, scenarios, recorded runs) and what
    was lost. Use for existing cases or results. Runs no foreign code unless the operator allowed it.
    From fields: create_environment.
    """
    report = await call.bench.imports.start(
        path, id, format=format, dry_run=dry_run, wait_s=wait_s, on_progress=call.on_progress
    )
    return imported(report)


def imported(found: ImportReport) -> EnvironmentMade:
    """The reply of an import, finished or still going on."""
    job = found.job
    whole = then("import_environment", "to take it", path=job.spec["path"], id=found.environment)
    if found.report is not None:
        if "run" in found.report.taken:
            return _with_run(found.report, whole)
        made = _made(found.report, _imported(found.report))
        return made if found.report.stored else made.model_copy(update={"next": [whole]})
    if job.ended:
        summary = f"{job.id} is {job.state}: the import of {found.environment} may be incomplete."
        calls = [whole]
    else:
        summary = f"{job.id} imports {found.environment} ({job.state}): what can be checked is checked again."
        calls = [goes_on(job)]
    return EnvironmentMade(
        summary=summary,
        next=calls,
        environment=found.environment,
        instructions_version=0,
        created=False,
        job=counts(job),
    )


def _with_run(report: EnvironmentReport, whole: NextCall) -> EnvironmentMade:
    """The reply of an import that brought a past run."""
    run, name, taken = report.taken["run"], report.environment.id, report.taken
    talks = plural(taken["conversations"], "conversation")
    if taken["unchanged"]:
        summary = f"{run} of {name} is what the file holds: nothing changed."
    elif not report.stored:
        summary = f"Nothing stored yet: would import {taken['from']} with {talks} into {name}."
    else:
        new = "new environment" if report.created else "environment"
        summary = f"Imported {taken['from']} as {run} of {new} {name}: {talks}, {taken['passed']:,} pass."
    made = _made(report, summary)
    calls = [
        then("get_item", kind="run", id=run),
        then("list_items", "to compare it with", kind="run", environment=name),
    ]
    return made.model_copy(update={"next": calls if report.stored or taken["unchanged"] else [whole]})


def _made(report: EnvironmentReport, summary: str) -> EnvironmentMade:
    environment = report.environment
    links = [
        Link(uri=f"caseharden://environment/{environment.id}/policy", what="policy"),
    ]
    return EnvironmentMade(
        summary=summary,
        next=_next(report),
        warnings=with_offline(report.warnings, report.models),
        links=links if report.world.get("policy_chars") and report.stored else [],
        environment=environment.id,
        instructions_version=environment.instructions_version,
        created=report.created,
        agent=report.agent,
        world=report.world,
        counts=report.counts,
        models=report.models,
        taken=report.taken,
        lost=report.lost,
    )


def _ready(report: EnvironmentReport) -> str:
    environment = report.environment
    state = "is ready" if report.created else "was there already with the same content"
    if report.agent.get("probed", "ok") != "ok":
        state = (
            "is made, but its agent was not reached"
            if report.created
            else f"{state}; its agent was not reached"
        )
    kind = environment.agent.kind
    world = f"{kind} agent on the {report.world.get('name') or 'given'} world"
    return f"Environment {environment.id} {state}: {world}, {_cases(report)}."


def _imported(report: EnvironmentReport) -> str:
    name = report.taken.get("format") or "the folder"
    verb = "Imported" if report.stored else "Nothing stored yet: would import"
    lost = f" {plural(len(report.lost), 'thing')} could not be taken." if report.lost else ""
    return f"{verb} {name} as environment {report.environment.id}: {_cases(report)}.{lost}"


def _cases(report: EnvironmentReport) -> str:
    scenarios = report.counts.get("scenarios", 0)
    parts = [plural(scenarios, "scenario"), plural(report.counts.get("personas", 0), "persona")]
    if scenarios:
        all_of = "all " if report.proven == scenarios else ""
        parts.append(f"{all_of}{report.proven:,} proven solvable")
    return listed(parts, len(parts))


def _next(report: EnvironmentReport) -> list[NextCall]:
    name = report.environment.id
    if not report.instructions_chars:
        text = then(
            "update_item",
            "with `changes` {instructions: your text}: the agent has none yet",
            kind="environment",
            id=name,
        )
        return [text]
    if not report.counts.get("scenarios"):
        return [
            then("generate_scenarios", "from the world's tools and records", environment=name, count=5),
            then("create_scenarios", "with `scenarios` that you write", environment=name),
            then("get_item", kind="guide", id="scenario-format"),
        ]
    return [
        then("run_simulations", "pairs simulations by itself", environment=name),
        then("list_items", kind="scenario", environment=name),
    ]

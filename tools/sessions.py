"""Sessions: the client plays the agent, or the user, itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from ..engine.llm import ToolSignature
from ..engine.records.environment import played_by
from ..engine.workbench.results import SessionReport
from .arguments import NOT_GIVEN, EnvironmentId, Models, given
from .replies import Link, NextCall, SessionReply, then
from .spec import Call, tool
from .wording import plural, with_offline


@tool("Start a session", toolset="run", open_world=True)
async def start_session(
    call: Call,
    environment: EnvironmentId,
    role: Annotated[Literal["agent", "user"], Field(description="Whom you play")] = "agent",
    start: Annotated[
        str,
        Field(
            description="Simulation, scenario, #3 (third scenario), random, blank (no user: try tools) or "
            "RUN/SIM/TRIAL@TURN"
        ),
    ] = "random",
    instructions: Annotated[str, Field(description="Version or candidate id; default current")] = "",
    models: Models = NOT_GIVEN,
    seed: int = 0,
) -> SessionReply:
    """Returns a live conversation: policy, tools and first message. Use to play one case by hand, to try a
    world's tools, or to feel a failure. For many cases: run_simulations.
    """
    report = await call.bench.sessions.start(
        environment, role=role, start=start, instructions=instructions, models=given(models), seed=seed
    )
    return session_reply(report)


@tool("Step a session", toolset="run", open_world=True)
async def step_session(
    call: Call,
    session: Annotated[str, Field(description="Session id")],
    action: Annotated[
        Literal["reply", "call", "undo", "regenerate", "look", "end"],
        Field(description="regenerate: other side's turn again, text = feedback"),
    ] = "reply",
    text: str = "",
    tool: Annotated[str, Field(description="For call")] = "",
    arguments: Mapping[str, Any] = NOT_GIVEN,
    turn: Annotated[int, Field(ge=0, description="undo: back to this turn")] = 0,
) -> SessionReply:
    """Returns what happened: the other side's message, tool result, state changes; after end the reward,
    explained. undo restores transcript, world and user alike.
    """
    report = await call.bench.sessions.step(
        session, action=action, text=text, tool=tool, arguments=given(arguments), turn=turn
    )
    return session_reply(report)


def session_reply(report: SessionReport) -> SessionReply:
    """The reply of a step, or of a start."""
    record = report.session
    untrusted = [name for name in ("messages", "result", "changes") if getattr(report, name)]
    return SessionReply(
        summary=_summary(report),
        next=_next(report),
        warnings=_warnings(report),
        links=_links(report),
        session=record.id,
        role=record.role,
        turn=report.turn,
        messages=report.messages,
        tools=[{"name": one.name, "args": _arguments(one)} for one in report.tools] if report.news else [],
        result=report.result,
        changes=report.changes,
        done=report.done or None,
        reward=report.reward,
        untrusted=[*untrusted, "reward.components[].why"] if report.reward else untrusted,
    )


def _summary(report: SessionReport) -> str:
    record = report.session
    if report.done:
        return _ended(report)
    if report.action == "start":
        return f"{record.id}: {_part(report)}"
    head = f"{record.id}, turn {report.turn}"
    if report.waits:
        return f"{head}: it is not your turn yet."
    if report.action == "call":
        ok = report.result.get("ok", True)
        return f"{head}: {report.result.get('tool', 'the call')} {'gave a result' if ok else 'failed'}."
    done = {"undo": "back here", "regenerate": "said anew", "look": "as it stands"}.get(report.action, "")
    text = plural(len(report.messages), "message") if report.action == "reply" else done
    return f"{head}: {text}."


def _part(report: SessionReport) -> str:
    record = report.session
    if record.scenario == "blank" and not record.place:
        return "a blank session, with no user. Call tools; undo takes them back."
    where = f"in {record.scenario}" + (f", from {record.place}" if record.place else "")
    if record.role == "agent":
        return f"you are the agent {where}. Read the policy, answer the user; end to get the reward."
    return (
        f"you are the user {where}. Keep to your sheet; end, or ###STOP### in your text, when you are done."
    )


def _ended(report: SessionReport) -> str:
    """`Ended. Reward 0: verified-first failed.`"""
    reward = report.reward
    value, verdict = reward.get("value"), reward.get("verdict")
    parts = cast("Sequence[Mapping[str, Any]]", reward.get("components", ()))
    failed = [str(one["check"]) for one in parts if one["verdict"] == "fail" and one.get("counts", True)]
    open_ = [
        str(one["check"]) for one in parts if one["verdict"] == "inconclusive" and one.get("counts", True)
    ]
    why = (
        f"{', '.join(failed)} failed" if failed else f"{', '.join(open_)} cannot be decided" if open_ else ""
    )
    if not why:
        why = "every check passed" if verdict == "pass" else f"verdict {verdict}"
    text = "No reward" if value is None else f"Reward {value:g}"
    return f"Ended ({report.end}). {text}: {why}. Kept as {report.conversation}."


def _arguments(signature: ToolSignature) -> str:
    """`email, zip, note?`: what is optional with a question mark."""
    needed = cast("Sequence[str]", signature.parameters.get("required", ()))
    names = cast("Mapping[str, Any]", signature.parameters.get("properties", {}))
    return ", ".join(name if name in needed else f"{name}?" for name in names)


def _warnings(report: SessionReport) -> list[str]:
    if report.action != "start":
        return [*report.warnings]
    other = "agent" if report.session.role == "user" else "user"
    played = played_by(report.run.models, report.run.agent)
    return with_offline(report.warnings, {other: played.get(other, "")})


def _links(report: SessionReport) -> list[Link]:
    record = report.session
    if report.done:
        return [Link(uri=f"caseharden://conversation/{report.conversation}", what="whole conversation")]
    if report.action != "start" or record.role == "user":
        return []
    return [Link(uri=f"caseharden://environment/{record.environment}/policy", what="policy")]


def _next(report: SessionReport) -> list[NextCall]:
    id = report.session.id
    if report.done:
        turn = _turn_to_try_again(report)
        return [
            then("step_session", f"try again from turn {turn}", session=id, action="undo", turn=turn),
            then("get_item", "turn by turn", kind="conversation", id=report.conversation, view="turns"),
            then("export_run", "a file of it", source=id, format="json"),
        ]
    if report.waits:
        again = then("step_session", "waits again", session=id, action="look")
        return [then("take_model_calls", "it waits for an answer"), again] if report.lent else [again]
    calls: list[NextCall] = []
    if report.session.scenario != "blank":
        calls.append(then("step_session", "with `text`: what you say", session=id, action="reply"))
    if report.tools and report.session.role == "agent":
        calls.append(_a_call(id, report.tools[min(1, len(report.tools) - 1)]))
    if report.action == "start" and report.session.role == "agent":
        calls.append(then("get_item", "instructions and policy", kind="session", id=id, view="text"))
    else:
        calls.append(then("step_session", "the reward", session=id, action="end"))
    return calls


def _a_call(id: str, signature: ToolSignature) -> NextCall:
    needed = cast("Sequence[str]", signature.parameters.get("required", ()))
    why = f"with `arguments`: {', '.join(needed)}" if needed else ""
    args = {"session": id, "action": "call", "tool": signature.name}
    return NextCall(tool="step_session", args=args, why=why)


def _turn_to_try_again(report: SessionReport) -> int:
    """The turn before what failed first was decided, where the caller had a part in it."""
    parts = cast("Sequence[Mapping[str, Any]]", report.reward.get("components", ()))
    failed = [int(one["turn"]) for one in parts if one["verdict"] == "fail" and one.get("turn")]
    done = [one.turn for one in report.session.tape if one.by == report.session.role]
    last = max(done, default=1)
    return max(1, min([last, *failed]))

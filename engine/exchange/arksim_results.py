"""ArkSim's recordings: simulation.json with its conversations, and evaluation.json with their scores.

The overall score of a conversation is the recorded reward, and is recomputed from its parts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import InvalidArgument
from ..evaluate import overall_of, parts_of
from ..shapes import as_list
from .arksim_scenarios import slug_of
from .files import Roots
from .importer import Imported, Losses, PastEntry, PastRun, PastTalk, as_object, as_reward

FORMAT: Final = "arksim"
STOP: Final = "###STOP###"
MOST_BYTES: Final = 200_000_000
SAME: Final = 1e-6
_RESULTS: Final = re.compile(r'"(simulator_version|evaluator_version)"\s*:')
_EVALUATION: Final = "evaluation.json"
_SIMULATION: Final = "simulation.json"


def is_results(head: str) -> bool:
    """Whether a file that begins like this is one of ArkSim's results."""
    return _RESULTS.search(head) is not None


def read_results(path: Path, roots: Roots) -> Imported:
    """The conversations of a simulation.json with the scores of the matching evaluation.json.

    Either of the two may be named; the other one is looked for beside it and in the folders where ArkSim writes it.
    """
    losses = Losses()
    named = _document(path, roots)
    simulation = named if "simulator_version" in named else _other(path, _SIMULATION, roots, losses)
    if simulation is None:
        raise InvalidArgument(
            f"`{path.name}` holds scores, and the conversations stand in another file, which is not here.",
            where="path",
            allowed=f"{_SIMULATION}, beside {_EVALUATION} or in ../simulation/",
        )
    scores = named if "evaluator_version" in named else _other(path, _EVALUATION, roots, losses)
    if scores is not None and scores.get("simulation_id") not in (None, simulation.get("simulation_id")):
        losses.add("scores", f"{_EVALUATION} is of another simulation", path.name)
        scores = None
    rows = _scored(scores)
    trials: Counter[str] = Counter()
    talks: list[PastTalk] = []
    for k, item in enumerate(as_list(simulation.get("conversations"))):
        row = as_object(item) or {}
        talk = _talk(row, rows.get(str(row.get("conversation_id"))), losses, f"conversations[{k}]")
        if talk is not None:
            trials[talk.named] += 1
            talk.trial = trials[talk.named]
            talks.append(talk)
    if not talks:
        raise InvalidArgument(f"`{path.name}` holds no conversations.", where="path", allowed=_SIMULATION)
    run = PastRun(path.name, talks, x_source=_without(simulation, "conversations"))
    scored = sum(talk.reward is not None for talk in talks)
    taken = {"conversations": len(talks), "scored": scored, "profile": FORMAT}
    return Imported(FORMAT, FORMAT, runs=(run,), taken=taken, lost=losses.rows)


def _talk(
    told: Mapping[str, Any], scores: Mapping[str, Any] | None, losses: Losses, at: str
) -> PastTalk | None:
    named = str(told.get("scenario_id") or "").strip()
    messages = [as_object(one) or {} for one in as_list(told.get("conversation_history"))]
    if not named or not messages:
        losses.add("conversation", "it has no scenario, or no messages", at)
        return None
    entries: list[PastEntry] = []
    for message in messages:
        _add(message, entries, losses, at)
    stopped = messages[-1].get("role") == "simulated_user"
    return PastTalk(
        slug_of(named),
        1,
        entries,
        "user_stop" if stopped or STOP in str(messages[-1].get("content")) else "max_turns",
        reward=_overall(scores, losses, at),
        named=named,
        x_source={"conversation": _without(told, "conversation_history"), "evaluation": scores},
    )


def _add(message: Mapping[str, Any], entries: list[PastEntry], losses: Losses, at: str) -> None:
    """The calls of a message, made before its words, and the words."""
    user = message.get("role") == "simulated_user"
    for item in as_list(message.get("tool_calls")):
        call = as_object(item) or {}
        name, args = call.get("name"), as_object(call.get("arguments", {}))
        if user or not isinstance(name, str) or args is None:
            losses.add("tool call", "it has no name or arguments, or is not the agent's", at)
            continue
        error = call.get("error")
        result = call.get("result") if error is None else error
        entries.append(PastEntry("agent", tool=name, args=args, result=result, ok=error is None, own=True))
    words = str(message.get("content") or "").replace(STOP, "").strip()
    if words:
        entries.append(PastEntry("user" if user else "agent", say=words))


def _overall(scores: Mapping[str, Any] | None, losses: Losses, at: str) -> float | None:
    """The recorded score; if out of range it is reported and not used, if its own parts contradict it, reported."""
    if scores is None:
        return None
    told = scores.get("overall_agent_score")
    value = as_reward(told, losses, at, "score", "ArkSim does not check what its judge says")
    if value is None:
        return None
    given = overall_of(parts_of(scores))
    if given is not None and abs(given - value) > SAME:
        losses.add("score", f"it is {value:g}, and its parts give {given:g}", at)
    return value


def _scored(scores: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    rows = (as_object(row) or {} for row in as_list((scores or {}).get("conversations")))
    return {str(row.get("conversation_id")): row for row in rows}


def _other(path: Path, name: str, roots: Roots, losses: Losses) -> dict[str, Any] | None:
    """The counterpart of a result file, at the places where ArkSim writes it."""
    part = name.removesuffix(".json")
    for place in (path.parent / name, path.parent.parent / part / name, path.parent.parent / name):
        if roots.peek(place, 1):
            return _document(place, roots)
    if name == _EVALUATION:
        losses.add("scores", f"there is no {_EVALUATION} beside it", path.name)
    return None


def _document(path: Path, roots: Roots) -> dict[str, Any]:
    value = as_object(roots.read_json(path, "path", MOST_BYTES))
    if value is None:
        raise InvalidArgument(f"`{path.name}` is no object.", where="path", allowed="a result file of ArkSim")
    return value


def _without(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key != name}

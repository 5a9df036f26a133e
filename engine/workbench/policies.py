"""Whether an agent ever reads its world's policy: it does where its instructions say `{policy}`."""

from __future__ import annotations

import re

from ..records.environment import AgentSpec
from ..world import CompiledWorld
from .worlds import Worlds

_PLACE = "{policy}"
_TOLD_OTHERWISE = ("recorded", "caller")
"""Kinds of agents that do not read instructions, or are shown the policy beside them."""
_SENTENCE = re.compile(r"[.!?\n]+")


def unread_policy(worlds: Worlds, world: CompiledWorld, instructions: str, agent: AgentSpec) -> list[str]:
    """A warning, if the policy of a world is neither in the instructions nor to be put there.

    The shipped worlds' own policies are left out on purpose: they are what there is to harden.
    """
    policy = world.world.policy.strip()
    if not policy or not instructions or _PLACE in instructions or agent.kind in _TOLD_OTHERWISE:
        return []
    if worlds.ships_policy(world) or _holds(instructions, policy):
        return []
    return [
        f"The agent never reads the world's policy ({len(policy):,} characters): write {_PLACE} in the instructions "
        "where it belongs."
    ]


def _holds(instructions: str, policy: str) -> bool:
    """Whether half of the policy's sentences are in the instructions anyway."""
    text = _plain(instructions)
    said = [plain for one in _SENTENCE.split(policy) if len(plain := _plain(one)) > 10]
    return bool(said) and 2 * sum(one in text for one in said) >= len(said)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))

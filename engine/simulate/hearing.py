"""What each side of a trial has heard, in its own terms: messages, results of its calls, notices of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..llm import Message, ToolCall
from ..records.conversation import Speaker
from ..records.scenario import Notifications
from ..world import Scene


class Hearing:
    """Both sides of one trial. `notifications`: which of the world's messages the agent is given."""

    def __init__(self, scene: Scene, notifications: Notifications) -> None:
        self._scene = scene
        self._notifications = notifications
        self.messages: dict[Speaker, list[Message]] = {"agent": [], "user": []}
        self.new = 0
        """Messages that the agent has not been given yet."""
        self._notices: dict[Speaker, list[str]] = {"agent": [], "user": []}

    def said(self, by: Speaker, text: str, *, given: bool = False) -> None:
        """Words of one side, which the other hears. `given`: they are not the side's own."""
        other: Speaker = "user" if by == "agent" else "agent"
        self.messages[by].append(Message("assistant", text))
        self.messages[other].append(Message("user", text))
        self.new += by == "user" or given

    def called(self, by: Speaker, text: str, calls: Sequence[ToolCall]) -> None:
        """Calls of a side, with what it said beside them."""
        self.messages[by].append(Message("assistant", text, tuple(calls)))

    def called_by_own_names(self, by: Speaker, text: str, calls: Sequence[ToolCall]) -> None:
        """The same for calls with the world's own tool names: the side hears the names it is shown."""
        shown = [replace(call, name=self._scene.shown_name(call.name, by)) for call in calls]
        self.called(by, text, shown)

    def beside(self, text: str) -> None:
        """What the agent said beside calls, which the user hears at once."""
        self.messages["user"].append(Message("user", text))

    def result(self, by: Speaker, text: str, id: str) -> None:
        """The result of a call, for the side that made it."""
        self.messages[by].append(Message("tool", text, tool_call_id=id))
        self.new += by == "agent"

    def take_notices(self, cause: Speaker | str) -> None:
        """Queue the world's new messages for their side, as far as the scenario lets the agent have them."""
        self._notices["user"] += self._scene.take_notices("user")
        told = self._scene.take_notices("agent")
        if self._notifications == "all" or (self._notifications == "own" and cause == "agent"):
            self._notices["agent"] += told

    def deliver(self, side: Speaker) -> None:
        """Put the messages waiting for a side in front of its next model call."""
        waiting = self._notices[side]
        self.messages[side] += [Message("system", f"Notice: {text}") for text in waiting]
        self.new += len(waiting) if side == "agent" else 0
        self._notices[side] = []

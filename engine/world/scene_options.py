"""What a scenario changes about its world, in the form a scene takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import did_you_mean
from ..records.world import check_moment
from .compiled import CompiledWorld
from .mistakes import Mistakes


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What a scenario changes about its world. Names are the world's own; only the agent sees others."""

    now: str | None = None
    """The moment at t = 0 instead of the clock's."""
    rename_tools: Mapping[str, str] = field(default_factory=dict[str, str])
    describe_tools: Mapping[str, str] = field(default_factory=dict[str, str])
    hide_tools: Sequence[str] = ()
    """Never offered, never callable by agent or user."""
    user_tools: Sequence[str] | None = None
    """The user's tools on offer; None: all."""
    solo: bool = False
    """The agent gets both sides' tools, the user none."""

    def check(self, world: CompiledWorld, where: str) -> None:
        """Raise InvalidArgument, listing all mistakes: unknown tools, two with one name, or `now` is not a moment."""
        mistakes = Mistakes()
        for key in ("rename_tools", "describe_tools", "hide_tools", "user_tools"):
            for name in getattr(self, key) or ():
                if name not in world.tools:
                    what = f"There is no tool `{str(name)[:64]}`.{did_you_mean(str(name), world.tools)}"
                    mistakes.add(what, f"{where}.{key}", sorted(world.tools))
        names = [self.rename_tools.get(name, name) for name in world.tools]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            mistakes.add(f"Two tools would be called `{name}`.", f"{where}.rename_tools")
        if self.now is not None:
            try:
                check_moment(self.now)
            except ValueError as error:
                mistakes.add(f"`now` is {error}.", f"{where}.now")
        mistakes.refuse()

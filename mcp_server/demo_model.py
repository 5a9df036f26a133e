"""Running the demo with a model other than `offline`: which one, how the server is told, and the confirmation first."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..engine.errors import InvalidArgument, NeedsConfirm
from .setting_values import ROLES, checked, flag, variable
from .settings import read_settings
from .terminal import Screen

CALLS_OF_A_SIMULATION: Final = 100
"""Model calls of both sides, in all ten trials of a simulation: two runs, the rounds and the proof."""


@dataclass(frozen=True, slots=True)
class DemoModel:
    """Who plays every role. `words`: arguments for `serve`; `env`: its variables, None: hardly any."""

    name: str = "offline"
    words: tuple[str, ...] = ()
    env: dict[str, str] | None = field(default=None, repr=False)

    @property
    def offline(self) -> bool:
        return not self.words

    @property
    def options(self) -> dict[str, Any]:
        """For runs and hardenings: do not ask again for what was confirmed once."""
        return {} if self.offline else {"options": {"confirm": True}}

    @property
    def pairing(self) -> str:
        """A model that costs time and money plays each scenario once."""
        return "all" if self.offline else "cover"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("another model than offline, in every role")
    group.add_argument(
        "--model", default="", help="a litellm id, or with --base-url what the endpoint calls it"
    )
    group.add_argument("--base-url", default="", metavar="URL", help="an OpenAI-compatible endpoint")
    group.add_argument("--key", default="", metavar="REFERENCE", help="env:NAME, where one is needed")
    group.add_argument("--confirm", action="store_true", help="do not ask before the model is called")


def model_of(args: argparse.Namespace) -> DemoModel:
    """The model that the command names, with the network and the keys that are set. InvalidArgument if invalid."""
    stray = next((name for name in ("base_url", "key", "confirm") if getattr(args, name)), "")
    if not args.model:
        if stray:
            raise InvalidArgument(
                f"{flag(stray)} without --model.", where=flag(stray), allowed="--model NAME"
            )
        return DemoModel()
    more = {name: getattr(args, name) for name in ("base_url", "key") if getattr(args, name)}
    text: str | dict[str, Any] = {"model": args.model, **more} if more else args.model
    try:
        checked("model_agent", text, Path())
    except InvalidArgument as error:
        part = error.where.rpartition(".")[2]
        raise InvalidArgument(
            error.what, where=flag(part if part in more else "model"), allowed=error.allowed
        ) from None
    spelled = text if isinstance(text, str) else json.dumps(text)
    settings = read_settings(args)
    settings.lend_keys([Path()])
    words = [word for role in ROLES for word in (flag(f"model_{role}"), spelled)]
    v = settings.values
    nets = [("allow_net", net) for net in v.allow_net]
    for name, value in (("proxy", v.proxy), ("ca_file", v.ca_file), *nets):
        words += [flag(name), value] if value else []
    ours = {variable(f"model_{role}") for role in ROLES}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return DemoModel(args.model, tuple(words), env)


def ask(model: DemoModel, simulations: int, screen: Screen, confirmed: bool) -> None:
    """State the cost and continue if confirmed; NeedsConfirm if nobody can be asked, or the answer is no."""
    if model.offline:
        return
    calls = round(CALLS_OF_A_SIMULATION * simulations, -1)
    screen.line(f"  Takes        about {calls:,} calls of {model.name}, with the proof; Ctrl-C ends it")
    if confirmed or (sys.stdin.isatty() and input("Go on? [y/N] ").strip().lower() in ("y", "yes")):
        return
    raise NeedsConfirm(
        f"About {calls:,} calls of {model.name} were not confirmed.", where="--confirm", allowed="--confirm"
    )

"""What a job needs of the process that does it: code, addresses, files and keys that the operator allows here.

Checked before a process goes on with what another one left: lacking something, it would end the job, or each of its
trials, in an error that says nothing about the agent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import anyio.to_thread

from ..agents import Reach, sent_headers
from ..errors import MissingKey, SetupError
from ..net import Refused
from ..records.environment import AgentSpec, ModelName
from ..records.run import RunRecord
from .archive import Archive
from .role_models import RoleModels
from .trials import TrialRunner
from .worlds import Worlds


class Means:
    """Looks whether this process has them. Every check raises the error that names what is missing."""

    def __init__(
        self, archive: Archive, worlds: Worlds, trials: TrialRunner, models: RoleModels, reach: Reach
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._trials = trials
        self._models = models
        self._reach = reach

    async def of_trials(self, run: RunRecord) -> None:
        """The agent, the models that speak, the world's code and servers, and the metrics' code of a run."""
        spec, cassette = AgentSpec.model_validate(run.agent), run.options.get("cassette")
        await anyio.to_thread.run_sync(self._check_world, run.world)
        await self.of_metrics(run.options.get("metrics") or [])
        await anyio.to_thread.run_sync(self._trials.cast, spec, run.models, cassette)
        try:
            await self._trials.probe(spec, run.models, cassette)
        except SetupError as error:
            _raise_if_ours(error)

    async def of_model(self, role: str, name: ModelName, cassette: Mapping[str, Any] | None = None) -> None:
        """A model that is asked besides the trials."""
        try:
            await self._models.probe({role: name}, cassette=cassette)
        except SetupError as error:
            _raise_if_ours(error)

    async def of_writer(self, environment: str) -> None:
        """The writer model of an environment, if that still exists."""
        found = self._archive.environments.find(environment)
        if found is not None:
            await self.of_model("writer", self._models.named(found)["writer"])

    async def of_metrics(self, metrics: Sequence[Any]) -> None:
        """The code of metrics, as they are stored."""

        def check() -> None:
            for k, one in enumerate(metrics):
                code = cast("Mapping[str, Any]", one).get("code") if isinstance(one, Mapping) else None
                if code:
                    self._check_code(str(code), f"metrics[{k}].code")

        await anyio.to_thread.run_sync(check)

    def _check_world(self, hash: str) -> None:
        world = self._worlds.reachable(hash, "world").world
        for k, tool in enumerate(world.tools):
            impl, at = tool.impl, f"world.tools[{k}]({tool.name}).impl"
            if impl is None:
                continue
            for name, target in (("python", impl.python), ("user", impl.user)):
                if target:
                    self._check_code(target, f"{at}.{name}")
            if impl.http is not None:
                sent_headers(impl.http.headers, self._reach, f"{at}.http")
        for name, server in world.servers.items():
            sent_headers(server.headers, self._reach, f"world.servers.{name}")

    def _check_code(self, target: str, where: str) -> None:
        self._reach.code.file(target.rpartition(":")[0], where)


def _raise_if_ours(error: SetupError) -> None:
    """Raise an error that another process may not have; an endpoint that is down is so for everybody."""
    if isinstance(error, MissingKey) or isinstance(error.__cause__, Refused):
        raise error

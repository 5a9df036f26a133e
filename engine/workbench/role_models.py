"""Which model plays which role: as set by the call, else the environment, else the server, else offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..agents import Reach
from ..errors import CasehardenError, InvalidArgument
from ..llm import (
    RELAY,
    REPLAY,
    Cassette,
    Connections,
    ModelClient,
    Probed,
    RecordedModel,
    open_cassette,
    open_model,
)
from ..records.environment import (
    AgentSpec,
    EnvironmentRecord,
    ModelChoice,
    ModelName,
    agent_name,
    short_name,
)

ROLES = ("agent", "user", "judge", "writer")
OFFLINE_WARNING = (
    "Models are offline (rule-based): this proves world, checks and proof, not how a real model behaves."
)


class RoleModels:
    """The models of this server. `reach`: how outside models and agents are reached."""

    def __init__(self, server: ModelChoice, reach: Reach | None = None) -> None:
        self.server = server
        self.reach = reach
        self.connections: Connections | None = reach.connections if reach else None
        self._operators: list[ModelName] = [getattr(server, role) for role in ROLES]

    def open(
        self, name: ModelName, where: str = "models", cassette: Mapping[str, Any] | None = None
    ) -> ModelClient:
        """The client of a model; one named by the server's settings may use what they refer to.

        `cassette`: `options.cassette` of a run; put in front of every model that would be called.
        """
        connections = self.connections
        if connections is not None and name in self._operators:
            connections = connections.of_operator()
        client = open_model(name, connections, where=where)
        if not cassette or is_free(name):
            return client
        return RecordedModel(client, self.cassette(cassette["file"]), cassette["mode"], where)

    def cassette(self, file: str) -> Cassette:
        """The cassette of a file, which need not exist."""
        return open_cassette(file, self.connections, "options.cassette.file")

    def of(self, environment: EnvironmentRecord, chosen: ModelChoice | None = None) -> dict[str, ModelName]:
        """A model for each role, each checked to open; the error names `models.ROLE`.

        One chosen for an agent that has its own model would be ignored, so it is refused.
        """
        if chosen is not None and chosen.agent and environment.agent.kind != "prompt":
            raise InvalidArgument(
                f"The agent is of kind {environment.agent.kind}: it has its own model.",
                where="models.agent",
                allowed="a model for user, judge or writer; one for the agent with the kind prompt alone",
            )
        named = self._named(environment, chosen or ModelChoice())
        for role, name in named.items():
            self.open(name, f"models.{role}")
        return named

    def writer(self, environment: EnvironmentRecord) -> ModelClient:
        """The writer model of an environment."""
        return self.open(self.of(environment)["writer"], "models.writer")

    async def probe(
        self,
        models: Mapping[str, ModelName],
        where: str = "models",
        cassette: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise what would make every call of one of them fail, if that can be known without spending one."""
        seen: list[ModelName] = []
        for role, name in models.items():
            client = self.open(name, f"{where}.{role}", cassette)
            if isinstance(client, Probed) and name not in seen:
                await client.probe()
            seen.append(name)

    def shown(self, environment: EnvironmentRecord) -> tuple[dict[str, str], list[str]]:
        """The models as reports call them, and warnings about those that cannot be opened, or about offline ones."""
        named = self.named(environment)
        shown: dict[str, str] = {}
        warnings: list[str] = []
        outside = agent_name(environment.agent.model_dump())
        if outside:
            shown["agent"] = outside
            del named["agent"]
        for role, name in named.items():
            try:
                shown[role] = self.open(name, f"models.{role}").name
            except CasehardenError as error:
                shown[role] = short_name(name)
                warnings.append(str(error))
        if environment.agent.kind == "prompt" and all(one.startswith("offline") for one in shown.values()):
            warnings.append(OFFLINE_WARNING)
        return shown, warnings

    def named(self, environment: EnvironmentRecord) -> dict[str, ModelName]:
        """The model of each role when a call names none, as written."""
        return self._named(environment, ModelChoice())

    def chosen(self, environment: EnvironmentRecord | None = None) -> dict[str, dict[str, str]]:
        """For each role the model, its source (environment, server, default), and what is wrong with it."""
        sources = (
            ("environment", environment.models if environment else ModelChoice()),
            ("server", self.server),
        )
        row: dict[str, dict[str, str]] = {}
        for role in ROLES:
            found = [(where, getattr(models, role)) for where, models in sources if getattr(models, role)]
            where, name = found[0] if found else ("default", "offline")
            row[role] = {"model": short_name(name), "from": where}
            try:
                row[role]["model"] = self.open(name, f"models.{role}").name
            except CasehardenError as error:
                row[role]["not_reachable"] = error.what
        return row

    def _named(self, environment: EnvironmentRecord, chosen: ModelChoice) -> dict[str, ModelName]:
        sources = (chosen, environment.models, self.server)
        return {
            role: next((getattr(s, role) for s in sources if getattr(s, role)), "offline") for role in ROLES
        }


def is_free(model: ModelName) -> bool:
    """Whether a model makes no paid calls."""
    return short_name(model).startswith(("offline", REPLAY))


def lent_roles(models: Mapping[str, ModelName], agent: AgentSpec) -> list[str]:
    """The roles that a client plays in trials: it sees what they are shown."""
    playing = {role: short_name(models.get(role, "")) for role in ("user", "judge")}
    if agent.kind == "prompt":
        playing["agent"] = short_name(agent.model or models.get("agent", ""))
    lent = [role for role, name in playing.items() if name == RELAY]
    return [*lent, "agent"] if agent.kind == "caller" else lent


def judges_itself(models: Mapping[str, ModelName], agent: AgentSpec) -> bool:
    """Whether the judge is the model, or the client, that is also the agent; rules never count."""
    lent, judge = lent_roles(models, agent), short_name(models.get("judge", ""))
    if "judge" in lent:
        return "agent" in lent
    own = short_name(agent.model or models.get("agent", "")) if agent.kind == "prompt" else ""
    return bool(judge) and judge == own and not is_free(judge)

"""Which model plays which role: the call's, else the environment's, else the server's, else offline."""

from __future__ import annotations

from ..errors import CasehardenError
from ..llm import open_model
from ..records.environment import EnvironmentRecord, ModelChoice

ROLES = ("agent", "user", "judge", "writer")
OFFLINE_WARNING = (
    "Models are offline (rule-based): this proves world, checks and proof, not how a real model behaves."
)


class RoleModels:
    """The models of this server."""

    def __init__(self, server: ModelChoice) -> None:
        self.server = server

    def of(self, environment: EnvironmentRecord, chosen: ModelChoice | None = None) -> dict[str, str]:
        """A model for each role, each one that can be opened; the error names `models.ROLE`."""
        named = self._named(environment, chosen or ModelChoice())
        for role, name in named.items():
            open_model(name, where=f"models.{role}")
        return named

    def shown(self, environment: EnvironmentRecord) -> tuple[dict[str, str], list[str]]:
        """The models as reports call them, and warnings: of those that cannot be opened, or of offline ones."""
        named = self.named(environment)
        shown: dict[str, str] = {}
        warnings: list[str] = []
        for role, name in named.items():
            try:
                shown[role] = open_model(name, where=f"models.{role}").name
            except CasehardenError as error:
                shown[role] = name
                warnings.append(str(error))
        if all(name.startswith("offline") for name in named.values()) and environment.agent.kind == "prompt":
            warnings.append(OFFLINE_WARNING)
        return shown, warnings

    def named(self, environment: EnvironmentRecord) -> dict[str, str]:
        """The model of each role when a call names none, as it is written."""
        return self._named(environment, ModelChoice())

    def chosen(self, environment: EnvironmentRecord | None = None) -> dict[str, dict[str, str]]:
        """For each role the model, where that comes from (environment, server, default), and what is wrong with it."""
        sources = (
            ("environment", environment.models if environment else ModelChoice()),
            ("server", self.server),
        )
        told: dict[str, dict[str, str]] = {}
        for role in ROLES:
            found = [
                (where, str(getattr(models, role))) for where, models in sources if getattr(models, role)
            ]
            where, name = found[0] if found else ("default", "offline")
            told[role] = {"model": name, "from": where}
            try:
                told[role]["model"] = open_model(name, where=f"models.{role}").name
            except CasehardenError as error:
                told[role]["not_reachable"] = error.what
        return told

    def _named(self, environment: EnvironmentRecord, chosen: ModelChoice) -> dict[str, str]:
        sources = (chosen, environment.models, self.server)
        return {
            role: next((getattr(s, role) for s in sources if getattr(s, role)), "offline") for role in ROLES
        }

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
        named = self._named(environment, ModelChoice())
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

    def _named(self, environment: EnvironmentRecord, chosen: ModelChoice) -> dict[str, str]:
        sources = (chosen, environment.models, self.server)
        return {
            role: next((getattr(s, role) for s in sources if getattr(s, role)), "offline") for role in ROLES
        }

"""Persona: who the simulated user is; may carry data that is put into the world."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer

from .authored import Authored, Sourced, Stored

Source = Literal["written", "generated", "shipped", "imported"]
"""Where a record came from: written by a client, by the writer model, shipped with a world, read from files."""


class Fact(Sourced):
    """One line of the user's sheet."""

    fact: str = Field(min_length=1, max_length=200)
    """What it is called, such as `order id`."""
    value: Any
    reveal: Literal["on_request", "upfront", "never"] | None = None
    """When the user tells it; None: as the scenario's `reveal` says."""


class PersonaData(Sourced):
    """Records that are merged into the world before `init`; they must fit its schema."""

    db: dict[str, Any] = Field(default_factory=dict[str, Any])
    user_db: dict[str, Any] = Field(default_factory=dict[str, Any])

    def sides(self) -> dict[str, Any]:
        """What is merged, by side; a side without data is not there."""
        return {side: value for side, value in (("db", self.db), ("user_db", self.user_db)) if value}


class Persona(Authored):
    """What a person writes. The least: `{"id": "dana"}`."""

    id: str = Field(min_length=1, max_length=64)
    profile: str = Field(default="", max_length=4000)
    """Who it is: age, work, mood, aims."""
    style: str = Field(default="", max_length=1000)
    """How the messages look, such as `short messages, typos`."""
    language: str = Field(default="", max_length=40)
    traits: list[str] = Field(default_factory=list[str], max_length=20)
    guidelines: str = Field(default="", max_length=4000)
    """How the user behaves; joined with the scenario's."""
    knowledge: list[str | Fact] = Field(default_factory=list[str | Fact], max_length=200)
    """Facts about this person; where the scenario has the same fact, the scenario's holds."""
    kind: str = Field(default="plain", pattern=r"^[a-z0-9_-]{1,64}$")
    """`plain`, or a method by which the user pursues an objective (`simulate/methods.py`)."""
    objective: str = Field(default="", max_length=2000)
    data: PersonaData = Field(default_factory=PersonaData)
    x_source: Any = None


class PersonaRecord(Stored):
    """A stored persona; its id is `environment/slug`."""

    format: Literal["persona/1"] = "persona/1"
    id: str
    environment: str
    persona: Persona
    version: int = 1
    source: Source = "written"
    created_at: str = ""
    updated_at: str = ""

    @field_serializer("persona")
    def _as_written(self, persona: Persona) -> dict[str, Any]:
        return persona.model_dump(mode="json", by_alias=True, exclude_unset=True)

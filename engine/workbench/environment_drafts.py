"""A new or changed environment before it is stored: every part loaded, checked against the others, compared.

Nothing is stored here except the conversations of a recorded agent, under their hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..agents import OUTSIDE, Recording, open_outside, probe
from ..canonical import digest
from ..code import MetricCode
from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, NotFound
from ..evaluate import check_thresholds, choose_metrics, passages_of
from ..exchange import CaseFolder, Roots, is_case_folder
from ..records.authored import load
from ..records.environment import AgentSpec, EnvironmentRecord, ModelChoice, Settings, knowledge_hash
from ..records.scenario import Limits
from ..world import CompiledWorld
from .archive import Archive
from .instructions import Instructions
from .plain import WORLD_CHARS, check_plain
from .role_models import RoleModels
from .trials import check_agent
from .worlds import Worlds, WorldSource, overlay, world_errors

KNOWLEDGE_CHARS = 2_000_000


class EnvironmentDrafts:
    """Makes drafts of environments."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        roots: Roots,
        models: RoleModels,
        instructions: Instructions,
        code: MetricCode,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._models = models
        self._instructions = instructions
        self._code = code

    def draft(
        self,
        id: str,
        world: CompiledWorld,
        agent: Any,
        models: Any,
        settings: Any,
        prefix: str = "",
    ) -> EnvironmentRecord:
        """The environment of these parts; errors give the path, prefixed by `prefix` (such as `environment.`)."""
        for name, value in (("agent", agent), ("models", models), ("settings", settings)):
            check_plain(value, f"{prefix}{name}")
        draft = EnvironmentRecord(
            id=id,
            agent=self.agent(agent, f"{prefix}agent"),
            models=load(ModelChoice, models, f"{prefix}models"),
            settings=self.settings(settings, f"{prefix}settings"),
            world=world.hash,
            world_name=world.world.name,
        )
        draft.name = draft.settings.name
        try:
            self._models.of(draft)
        except CasehardenError as error:
            raise error.at(prefix.rstrip(".")) if prefix else error from None
        return draft

    def draft_of_others(
        self,
        id: str,
        world: CompiledWorld,
        agent: Any,
        models: Any,
        settings: Any,
        lost: list[dict[str, Any]],
    ) -> EnvironmentRecord:
        """The environment of someone else's file: an agent or models not available here are lost, and reported."""
        try:
            self.agent(agent, "agent")
        except CasehardenError as error:
            use = "; or ".join(text for text in (error.allowed, "update_item sets another one") if text)
            lost.append({"what": "agent", "why": error.what, "use": use[:300]})
            agent = {}
        try:
            return self.draft(id, world, agent, models, settings)
        except CasehardenError as error:
            if not error.where.startswith("models"):
                raise
            lost.append({"what": "models", "why": error.what, "use": "update_item sets others"})
            return self.draft(id, world, agent, {}, settings)

    def agent(self, agent: Any, where: str) -> AgentSpec:
        """An agent that can be reached; its recordings are stored apart, so that runs need not carry them."""
        spec = load(AgentSpec, agent, where)
        check_agent(spec, where, self._models.reach)
        if spec.recordings and not re.fullmatch("[0-9a-f]{64}", spec.recordings):
            raise InvalidArgument(
                "`recordings` is no hash.", where=f"{where}.recordings", allowed="conversations"
            )
        if spec.recordings and not self._archive.recordings.has(spec.recordings):
            raise NotFound(
                "No recordings have this hash.", where=f"{where}.recordings", allowed="conversations"
            )
        if not spec.conversations:
            return spec
        for k, row in enumerate(spec.conversations):
            load(Recording, row, f"{where}.conversations[{k}]")
        hash = digest(spec.conversations)
        self._archive.recordings.keep(hash, spec.conversations)
        return spec.model_copy(update={"conversations": [], "recordings": hash})

    async def probe(self, environment: EnvironmentRecord) -> str:
        """`ok`, or why the agent cannot be reached at present; spends no model call."""
        agent = environment.agent
        if agent.kind not in OUTSIDE:
            return "ok"
        try:
            await probe(open_outside(agent, self._models.reach))
        except CasehardenError as error:
            return error.what
        return "ok"

    def settings(self, settings: Any, where: str) -> Settings:
        """The settings, checked to be valid."""
        loaded = load(Settings, settings, where)
        load(Limits, loaded.limits, f"{where}.limits")
        metrics = choose_metrics(loaded.metrics or [], f"{where}.metrics")
        self._code.pinned(loaded.metrics or [], f"{where}.metrics")
        check_thresholds(loaded.thresholds, f"{where}.thresholds", metrics)
        if loaded.knowledge_base is not None:
            kept = self._knowledge(loaded.knowledge_base, f"{where}.knowledge_base")
            loaded = loaded.model_copy(update={"knowledge_base": kept})
        if loaded.instructions_file:
            self._roots.resolve(loaded.instructions_file, f"{where}.instructions_file")
        return loaded

    def _knowledge(self, source: Any, where: str) -> str:
        """A knowledge base, stored under the hash of its passages."""
        known = knowledge_hash(source)
        if known and self._archive.knowledge.has(known):
            return source
        if isinstance(source, dict) and list(source) == ["file"]:  # pyright: ignore[reportUnknownArgumentType]
            source = self._knowledge_file(source["file"], f"{where}.file")  # pyright: ignore[reportUnknownArgumentType]
        check_plain(source, where, KNOWLEDGE_CHARS)
        passages = passages_of(source)
        if not passages:
            raise InvalidArgument(
                "The knowledge base is empty.", where=where, allowed="text, Markdown, JSON, {file}"
            )
        hash = digest(passages)
        self._archive.knowledge.keep(hash, passages)
        return f"sha256:{hash}"

    def keep_passages(self, passages: Sequence[str], where: str) -> str:
        """A knowledge base that is already cut into passages, stored as by `_knowledge`."""
        check_plain(list(passages), where, KNOWLEDGE_CHARS)
        hash = digest(list(passages))
        self._archive.knowledge.keep(hash, list(passages))
        return f"sha256:{hash}"

    def _knowledge_file(self, file: Any, where: str) -> Any:
        if not isinstance(file, str) or not file:
            raise InvalidArgument("A file is named by a text.", where=where, allowed="kb.md, kb.txt, kb.json")
        if file.endswith(".json"):
            return self._roots.read_json(file, where)
        return self._roots.read_text(file, where, KNOWLEDGE_CHARS)

    def world(self, source: WorldSource, over: Mapping[str, Any], id: str) -> CompiledWorld:
        """The world of a source with `world_data` laid over it; an error names the argument it came in."""
        check_plain(over, "world_data", WORLD_CHARS)
        document = overlay(source.document, over)
        document.setdefault("format", "world/1")
        document.setdefault("name", source.name or id)
        try:
            return self._worlds.compile_reachable(document, "world")
        except CasehardenError as error:
            raise world_errors(error, "world_data" if over else "world") from None

    def same_or_conflict(self, existing: EnvironmentRecord, draft: EnvironmentRecord, text: str) -> None:
        """Conflict that names the parts in which the draft differs from what is stored under its id."""
        differ = [
            name
            for name in ("agent", "models", "settings")
            if _content(getattr(existing, name)) != _content(getattr(draft, name))
        ]
        if existing.world != draft.world:
            differ.append("world")
        versions = self._archive.instructions.where(environment=existing.id)
        if text not in (versions[0].text, self._instructions.current(existing).text):
            differ.append("instructions")
        if not differ:
            return
        raise Conflict(
            f"Environment `{existing.id}` exists with other content ({', '.join(differ)}).",
            where="id",
            allowed="another id, or update_item",
            next=[
                NextCall("get_item", {"kind": "environment", "id": existing.id, "view": "full"}),
                NextCall("list_items", {"kind": "environment"}),
            ],
        )

    def same_folder_or_conflict(self, id: str, folder: CaseFolder, where: str = "environment.id") -> str:
        """A warning, or "", if the environment came from another folder that still exists.

        A checkout with the same content takes it over; Conflict for other content: neither overwrites the other.
        """
        existing = self._archive.environments.find(id)
        source = Path(existing.source) if existing is not None else Path()
        if existing is None or not source.is_absolute():
            return ""
        if source == folder.path or not is_case_folder(source):
            return ""
        texts = "", self._instructions.current(existing).text
        if existing.source_content == folder.content() != "" and folder.instructions in texts:
            return f"{id} came from {source}, which says the same: from now on it follows {folder.path}."
        raise Conflict(
            f"Environment `{id}` came from {source}; {folder.path} says something else and would overwrite it.",
            where=where,
            allowed="another id (environment.id in its caseharden.yaml), "
            "or another data folder (--home, CASEHARDEN_HOME)",
        )


def _content(part: Any) -> str:
    return digest(part.model_dump(mode="json"))

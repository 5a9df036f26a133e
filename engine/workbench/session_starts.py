"""What a session begins with: a simulation, a scenario, a random one, nothing, or a place in a stored conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import Conflict, InvalidArgument, NextCall, NotFound, nearest
from ..ids import simulation_slug, split_nested
from ..records.conversation import Speaker
from ..records.environment import EnvironmentRecord
from ..records.persona import Persona
from ..records.run import RunRecord
from ..records.scenario import Limits, Scenario, ScenarioRecord
from ..records.simulation import SimulationRecord
from ..seeds import choose
from .archive import Archive
from .pairs import partner
from .places import Places, Restored
from .run_drafts import agent_of
from .select import is_place
from .trials import TrialRunner

BLANK: Final = "blank"
_ALLOWED: Final = "a simulation or scenario id, #N, random, blank, or RUN/SIM/TRIAL@TURN"
_MANY: Final = 1000


@dataclass(frozen=True, slots=True)
class Opening:
    """A case to begin with, of the environment as it is now, or of the run that holds the place."""

    simulation: str
    scenario: str
    split: str = "train"
    row: SimulationRecord | None = None
    restored: Restored | None = None


class SessionStarts:
    """Resolves `start`. Run in a worker thread."""

    def __init__(self, archive: Archive, places: Places, trials: TrialRunner) -> None:
        self._archive = archive
        self._places = places
        self._trials = trials

    def find(
        self, environment: EnvironmentRecord, start: str, role: Speaker, draw: tuple[int, str]
    ) -> Opening:
        """What `start` names. `draw`: what a random choice depends on."""
        if start == BLANK:
            if role == "user":
                raise InvalidArgument(
                    "A blank session has no user to play.", where="role", allowed="agent, or another start"
                )
            return Opening(BLANK, BLANK)
        if is_place(start):
            found = self._places.find(start, environment.id, "start", role)
            return Opening(found.place.simulation, found.trial.scenario, found.trial.split, restored=found)
        if start.startswith("#") or start == "random":
            scenario = self._numbered(environment.id, start, draw)
            return self._of_scenario(environment.id, scenario)
        return self._named(environment.id, start)

    def cases(self, environment: str) -> list[dict[str, Any]]:
        """The scenarios by their number: `#3` is the third."""
        self._archive.environments.get(environment, "environment")
        return [
            {
                "number": number,
                "id": record.scenario.id,
                "goal": record.scenario.goal if record.split == "train" else "",
            }
            for number, record in enumerate(self._stored(environment), 1)
        ]

    def lay_out(self, run: RunRecord, opening: Opening) -> None:
        """Copy what the opening is made of into the run of the session."""
        if opening.restored is not None:
            self._places.lay_out(run, [opening.restored])
        elif opening.row is not None:
            self._trials.cases(run).copy(self._archive, [opening.row])
        else:
            self._lay_out_blank(run)

    def run_of(
        self, environment: EnvironmentRecord, opening: Opening, instructions: tuple[str, str], seed: int
    ) -> RunRecord:
        """The run that holds a session's case and its ends; its id and models are still empty."""
        settings = environment.settings
        run = RunRecord(
            id="",
            environment=environment.id,
            purpose="session",
            instructions=instructions[0],
            instructions_text=instructions[1],
            world=environment.world,
            agent=agent_of(environment),
            simulations=[opening.simulation],
            seed=seed or settings.seed,
            options={"limits": settings.limits, "user_guidelines": settings.user_guidelines},
        )
        if opening.restored is not None:
            source = opening.restored.run
            run.world, run.seed = source.world, source.seed
            run.options = {
                name: source.options[name]
                for name in ("limits", "limits_over", "user_guidelines")
                if name in source.options
            }
        return run

    def _lay_out_blank(self, run: RunRecord) -> None:
        scenario = Scenario(
            id=BLANK,
            goal="Try the tools of the world.",
            limits=Limits(max_turns=_MANY, max_tool_calls=10_000, same_message=_MANY),
        )
        rows = {
            "scenarios": ScenarioRecord(
                id=f"{run.environment}/{BLANK}", environment=run.environment, scenario=scenario
            ),
            "simulations": SimulationRecord(
                id=f"{run.environment}/{BLANK}", environment=run.environment, slug=BLANK, scenario=BLANK
            ),
        }
        for table, record in rows.items():
            row = record.model_dump(mode="json", by_alias=True)
            self._archive.store.run_table(run.id, table).put(BLANK, row)

    def _stored(self, environment: str) -> list[ScenarioRecord]:
        return sorted(self._archive.scenarios.where(environment=environment), key=lambda r: r.number)

    def _numbered(self, environment: str, start: str, draw: tuple[int, str]) -> ScenarioRecord:
        found = self._stored(environment)
        if not found:
            raise Conflict(
                f"{environment} has no scenarios.",
                where="start",
                allowed="blank, or scenarios first",
                next=[
                    NextCall("start_session", {"environment": environment, "start": BLANK}),
                    NextCall("generate_scenarios", {"environment": environment, "count": 5}),
                ],
            )
        if start == "random":
            return choose([r for r in found if r.split == "train"] or found, *draw)
        digits = start[1:]
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 8 else 0
        if not 1 <= number <= len(found):
            raise InvalidArgument(
                f"{start[:20]} is out of range.",
                where="start",
                allowed=f"#1 to #{len(found)}, a scenario or simulation id, random, blank",
            )
        return found[number - 1]

    def _named(self, environment: str, start: str) -> Opening:
        owner, slug = split_nested(start, environment)
        simulation = self._archive.simulations.find(f"{owner}/{slug}") if owner == environment else None
        if simulation is not None:
            scenario = self._archive.scenarios.get(f"{environment}/{simulation.scenario}", "start")
            return Opening(simulation.slug, simulation.scenario, scenario.split, simulation)
        found = self._archive.scenarios.find(f"{owner}/{slug}") if owner == environment else None
        if found is None:
            raise self._missing(environment, slug)
        return self._of_scenario(environment, found)

    def _of_scenario(self, environment: str, record: ScenarioRecord) -> Opening:
        """The first simulation of a scenario; if there is none, the scenario with its own partner."""
        slug = record.scenario.id
        for row in self._archive.simulations.where(environment=environment, scenario=slug):
            return Opening(row.slug, slug, record.split, row)
        name = partner(record)
        stored = "" if isinstance(record.scenario.persona, Persona) else name
        made = simulation_slug(slug, name)
        row = SimulationRecord(
            id=f"{environment}/{made}", environment=environment, slug=made, scenario=slug, persona=stored
        )
        return Opening(made, slug, record.split, row)

    def _missing(self, environment: str, slug: str) -> NotFound:
        shelves = (self._archive.simulations, self._archive.scenarios)
        known: Sequence[str] = [
            str(row["id"]).partition("/")[2]
            for shelf in shelves
            for row in shelf.table.walk({"environment": environment})
        ]
        near = nearest(slug, known)
        hint = f"; nearest `{near}`" if near else ""
        call = NextCall("list_items", {"kind": "scenario", "environment": environment})
        what = f"No simulation or scenario `{slug[:80]}` in {environment}{hint}."
        return NotFound(what, where="start", allowed=_ALLOWED, next=[call])

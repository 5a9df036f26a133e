"""The workbench: where everything is put together, one service per noun; the tools and the command line call these."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import anyio
import anyio.to_thread

from ..agents import Doors, Reach, SpanBatch
from ..code import MetricCode, PythonTools, ServerTools
from ..errors import CasehardenError
from ..exchange import Roots
from ..llm import Cassettes, Connections, Host
from ..net import HttpClient, Lending, Network, Redactor, Secrets
from ..processes import AllowedCode, Processes
from ..records.environment import DEFAULT_CONCURRENCY, MOST_CONCURRENCY, ModelChoice
from ..report import PageParts
from ..store import Damage, Store, Turns
from ..store.units import LEASE_S
from .archive import Archive
from .changing import Changing
from .comparing import Comparing
from .deleting import Deleting
from .environment_drafts import EnvironmentDrafts
from .environments import Environments
from .exporting import Exporting
from .hardening_drafts import HardeningDrafts
from .hardening_locks import HardeningLocks
from .hardenings import Hardenings
from .importing import Importing
from .importing_runs import RunImporter
from .instructions import Instructions
from .items import Items
from .jobs import BEAT_EVERY_S, Jobs
from .judging import Judging
from .key_files import KeyFiles
from .labelling import Labelling
from .listing import Listing
from .looks import LookLedger
from .mailbox import LEASE_S as CALL_LEASE_S, Mailbox
from .means import Means
from .model_calls import ModelCalls
from .naming import Naming
from .past_runs import PastRuns
from .personas import Personas
from .places import Places
from .plain import check_range
from .prompts import Prompts
from .proving import Proving
from .reporting import Reporting
from .rescoring import Rescoring
from .retention import Retention, check_retention
from .role_models import RoleModels
from .run_drafts import RunDrafts
from .runs import Runs
from .scenarios import Scenarios
from .scoring import Scoring
from .sessions import Sessions
from .simulations import Simulations
from .snapshots import Snapshots
from .trials import TrialRunner
from .views import Views
from .waiting import Waiting
from .worlds import Worlds

OpenDoors = Callable[[], AbstractAsyncContextManager[Doors]]
"""Opens a context in which the tools of trials are served."""
Texts = Callable[[str], str | None]
"""Looks up a text by name, or returns None."""


class Workbench:
    """Everything over one data folder.

    `home`: the data folder. `worlds`: the folder of shipped worlds. `roots`: folders below which files may be read and
    written. `models`: the server's model for each role. `network`: what may be reached. `lending`: which secrets
    callers may name. `code`: which third-party code may run. `doors`: serve tools to outside agents. `guides`: guides
    by name, and `guide_names` in order. `report`: the report's page, requested when one is made. `actor`: the audit's
    name for changes made here, unless `acting_as` names another. `retention_days`: runs, hardenings and jobs that ended
    longer ago are deleted (0: never). `concurrency`: trials at the same time if neither call nor environment says.
    `lease_s`: a process that gives no sign of life for this many seconds, stalled or stopped, loses its jobs to
    another. `call_lease_s`: a model call handed to a client but unanswered for this many seconds is handed out again.
    Use it as an async context: entering opens the store and resumes the jobs of dead processes; leaving stops ours
    where they are, to be resumed at the next start. Raises StorageError for an unusable data folder.
    """

    environments: Environments
    imports: Importing
    personas: Personas
    scenarios: Scenarios
    simulations: Simulations
    runs: Runs
    scores: Rescoring
    comparisons: Comparing
    exports: Exporting
    jobs: Waiting
    model_calls: ModelCalls
    hardenings: Hardenings
    sessions: Sessions
    prompts: Prompts
    items: Items

    def __init__(
        self,
        home: Path,
        *,
        worlds: Path | None = None,
        roots: Sequence[Path | str] = (),
        models: ModelChoice | None = None,
        network: Network | None = None,
        lending: Lending | None = None,
        code: AllowedCode | None = None,
        doors: OpenDoors | None = None,
        guides: Texts | None = None,
        guide_names: Sequence[str] = (),
        report: Callable[[], PageParts] | None = None,
        resume: bool = True,
        actor: str = "python",
        retention_days: float = 0,
        concurrency: int = DEFAULT_CONCURRENCY,
        lease_s: float = LEASE_S,
        call_lease_s: float = CALL_LEASE_S,
    ) -> None:
        self.home = Path(home)
        self.roots = Roots(roots)
        self._shipped = worlds
        self._models = models or ModelChoice()
        self.network = network or Network()
        self._lending = lending or Lending()
        self.redactor = Redactor()
        """Hides secrets in outgoing texts."""
        self.redactor.learn([self.network.proxy_password])
        self._code = code or AllowedCode()
        self._doors = doors
        self._guides: Texts = guides or _no_text
        self._guide_names = tuple(guide_names)
        self._report = report
        self._resume = resume
        self._actor = actor
        self._retention_days = check_retention(retention_days)
        self._concurrency = check_range(concurrency, "concurrency", 1, MOST_CONCURRENCY)
        self._lease_s = lease_s
        self._call_lease_s = call_lease_s
        self._stack = AsyncExitStack()
        self._reach: Reach | None = None

    async def __aenter__(self) -> Workbench:
        async with AsyncExitStack() as stack:
            store = await anyio.to_thread.run_sync(self._open)
            stack.callback(store.close)
            mailbox = Mailbox(store, self._call_lease_s)
            reach = await stack.enter_async_context(self.reach(mailbox))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            runner = Jobs(store, tasks, take_over=self._resume)
            self._reach = reach
            retention = self._compose(store, runner, reach, mailbox)
            tasks.start_soon(mailbox.watch)
            tasks.start_soon(runner.beat, min(BEAT_EVERY_S, self._lease_s / 4))
            runner.resume_orphans()
            tasks.start_soon(retention.sweeps)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A caller's error is not one of our tasks': it leaves as it is, not inside a group.
        await self._stack.__aexit__(None, None, None)

    def take_spans(self, batch: SpanBatch) -> int:
        """Assign spans exported by agents to their trials, by trace or conversation; how many belong to none."""
        doors = self._reach.doors if self._reach else None
        return doors.sort_out(batch) if doors else len(batch.spans) + batch.left_out

    async def damage(self) -> list[Damage]:
        """The tables with quarantined damaged lines; everything else in them is intact."""
        return await anyio.to_thread.run_sync(self._store.damage)

    def _open(self) -> Store:
        """The store, with the jobs already read: they are needed at once, on the loop."""
        self._store = Store(self.home, actor=self._actor, lease_s=self._lease_s)
        try:
            self._store.jobs.table.load()
        except CasehardenError:
            self._store.close()
            raise
        return self._store

    @asynccontextmanager
    async def reach(self, host: Host | None = None) -> AsyncGenerator[Reach]:
        """The means to reach outside models and agents; leaving the context closes all of it.

        `host`: who has calls answered by a client.
        """
        connections = replace(self.connections(), host=host)
        failed: Exception | None = None
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(connections))
            processes = await stack.enter_async_context(Processes())
            doors = await stack.enter_async_context(self._doors()) if self._doors else None
            try:
                yield Reach(connections, self._code, processes, doors)
            except Exception as error:
                failed = error
        # As in `__aexit__`: a caller's error leaves as it is, not inside a group.
        if failed is not None:
            raise failed

    def connections(self) -> Connections:
        """The connections to outside models."""
        files = KeyFiles(self.roots.paths, self.home, self._lending)
        callers = Secrets(files.read, lending=self._lending, redactor=self.redactor)
        operators = Secrets(
            files.read_for_operator, lending=self._lending, redactor=self.redactor, operator=True
        )
        cassettes = Cassettes(self.roots.resolve, callers, self.roots.open)
        return Connections(HttpClient(self.network), callers, operators, cassettes=cassettes)

    def _compose(self, store: Store, runner: Jobs, reach: Reach, mailbox: Mailbox) -> Retention:
        archive = Archive(store, self.redactor)
        python_tools = PythonTools(reach.code, reach.processes)
        metric_code = MetricCode(reach.code, reach.processes)
        worlds = Worlds(
            archive, self._shipped, self.roots, python_tools, ServerTools(reach, Turns(self.home / "turns"))
        )
        models = RoleModels(self._models, reach)
        instructions = Instructions(archive, self.roots)
        environment_drafts = EnvironmentDrafts(archive, worlds, self.roots, models, instructions, metric_code)
        trials = TrialRunner(archive, worlds, self.roots, models)
        scoring = Scoring(archive, worlds)
        judging = Judging(archive, trials, models, metric_code)
        means = Means(archive, worlds, trials, models, reach)
        self.personas = Personas(archive, worlds, self.roots, models, runner, means)
        self.scenarios = Scenarios(archive, worlds, self.roots, models, runner, self.personas, means)
        self.simulations = Simulations(archive, worlds, runner)
        deleting = Deleting(archive, runner, scoring)
        self.environments = Environments(
            archive,
            worlds,
            self.roots,
            environment_drafts,
            instructions,
            models,
            self.personas,
            self.scenarios,
            self.simulations,
            deleting,
        )
        self.comparisons = Comparing(archive, trials)
        snapshots = Snapshots(archive, trials)
        reporting = Reporting(archive, worlds, snapshots, self._report)
        self.exports = Exporting(archive, trials.cases, reporting)
        exported_runs = RunImporter(
            archive, worlds, environment_drafts, self.scenarios, trials, scoring, self.exports, judging
        )
        past_runs = PastRuns(archive, trials, scoring, instructions, self.environments, python_tools.why_not)
        self.imports = Importing(
            archive, self.environments, exported_runs, past_runs, environment_drafts, self.roots, runner
        )
        places = Places(archive, trials)
        run_drafts = RunDrafts(
            archive, trials, models, instructions, self.simulations, places, metric_code, self._concurrency
        )
        naming = Naming(archive, models)
        self.runs = Runs(archive, trials, runner, run_drafts, scoring, judging, naming, means)
        self.scores = Rescoring(
            archive,
            trials,
            runner,
            models,
            scoring,
            judging,
            Labelling(archive, worlds),
            self.roots,
            metric_code,
            means,
        )
        self.prompts = Prompts(archive, worlds, instructions, trials)
        self.sessions = Sessions(archive, trials, models, run_drafts, places, scoring)
        locks = HardeningLocks(archive, runner)
        drafts = HardeningDrafts(
            archive, models, instructions, self.simulations, run_drafts, locks, snapshots
        )
        looks = LookLedger(archive)
        proving = Proving(archive, worlds, trials, scoring, snapshots, looks, judging, models, means)
        self.hardenings = Hardenings(archive, runner, instructions, locks, drafts, proving)
        self.jobs = Waiting(
            runner,
            self.runs,
            self.scores,
            self.hardenings,
            self.simulations,
            self.personas,
            self.scenarios,
            self.imports,
        )
        self.model_calls = ModelCalls(archive, mailbox, runner, self.jobs.report)
        self.items = Items(
            Listing(archive, worlds, models, self._guide_names),
            Views(
                archive,
                worlds,
                runner,
                instructions,
                self.environments,
                self.scenarios,
                self._guides,
                self._guide_names,
                trials.live,
            ),
            Changing(
                archive, worlds, environment_drafts, models, instructions, self.personas, self.scenarios
            ),
            deleting,
        )
        return Retention(archive, deleting, self._retention_days)


def _no_text(name: str) -> str | None:
    """No text has that name."""
    return None

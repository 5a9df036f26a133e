"""The workbench with the shipped worlds and guides: the `Workbench` of `from caseharden import Workbench`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..engine.net import Lending, Network
from ..engine.processes import AllowedCode
from ..engine.records.environment import DEFAULT_CONCURRENCY, ModelChoice
from ..engine.workbench import LEASE_S, OpenDoors, Workbench as Bench
from .home import default_home
from .library import WORLDS, guide, guide_names, report_page


class Workbench(Bench):
    """The services over a data folder, as an async context manager.

    They are `.environments .personas .scenarios .simulations .runs .comparisons .exports .imports .jobs .hardenings
    .sessions .items`. `home` "" is the default data folder; `roots` are the folders below which callers may name files.
    `network`: what may be reached; `lending`: which secrets callers may name; `code`: which third-party code may run;
    `doors`: serve tools to outside agents. `resume`: entering resumes the jobs of dead processes. `actor`: the name in
    the audit log. `retention_days`: what ended longer ago is deleted (0: never). `concurrency`: trials at the same time
    if neither call nor environment says.
    """

    def __init__(
        self,
        home: Path | str = "",
        *,
        roots: Sequence[Path | str] = (),
        models: ModelChoice | None = None,
        network: Network | None = None,
        lending: Lending | None = None,
        code: AllowedCode | None = None,
        doors: OpenDoors | None = None,
        resume: bool = True,
        actor: str = "python",
        retention_days: float = 0,
        concurrency: int = DEFAULT_CONCURRENCY,
        lease_s: float = LEASE_S,
    ) -> None:
        super().__init__(
            Path(os.path.expanduser(home)) if home else default_home(),
            worlds=WORLDS,
            roots=[Path(r) for r in roots],
            models=models,
            network=network,
            lending=lending,
            code=code,
            doors=doors,
            resume=resume,
            actor=actor,
            retention_days=retention_days,
            concurrency=concurrency,
            lease_s=lease_s,
            guides=guide,
            guide_names=guide_names(),
            report=report_page,
        )

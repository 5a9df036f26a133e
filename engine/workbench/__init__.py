"""The workbench: the composition root of the engine, and one service a noun."""

from .results import Changes, Creation, EnvironmentReport, HardeningReport, Item, JobReport, Page, RunReport
from .workbench import Workbench

__all__ = [
    "Changes",
    "Creation",
    "EnvironmentReport",
    "HardeningReport",
    "Item",
    "JobReport",
    "Page",
    "RunReport",
    "Workbench",
]

"""The workbench: the composition root of the engine, with one service per noun."""

from ..store import Damage, acting_as
from ..store.units import LEASE_S
from .discretion import taken
from .results import Changes, Creation, EnvironmentReport, HardeningReport, Item, JobReport, Page, RunReport
from .workbench import OpenDoors, Workbench

__all__ = [
    "LEASE_S",
    "Changes",
    "Creation",
    "Damage",
    "EnvironmentReport",
    "HardeningReport",
    "Item",
    "JobReport",
    "OpenDoors",
    "Page",
    "RunReport",
    "Workbench",
    "acting_as",
    "taken",
]

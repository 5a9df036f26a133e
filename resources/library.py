"""What the package ships for reading: guides, and the folder of shipped worlds."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..engine.report import PageParts

HERE = Path(__file__).resolve().parent
GUIDES = HERE / "guides"
REPORT = HERE / "report"
SKILL = HERE / "skills" / "caseharden" / "SKILL.md"
"""The skill that teaches a coding assistant the loop."""
WORLDS = HERE / "worlds"
"""One folder per world: world.json, personas.json, scenarios.json, instructions.md and policy.md."""


@cache
def guide_names() -> tuple[str, ...]:
    """The guides, in the order of their names."""
    return tuple(sorted(path.stem for path in GUIDES.glob("*.md")))


def guide(name: str) -> str | None:
    """The Markdown of a guide, or None if no guide has that name."""
    return (GUIDES / f"{name}.md").read_text(encoding="utf-8") if name in guide_names() else None


@cache
def world_names() -> tuple[str, ...]:
    """The shipped worlds."""
    return tuple(sorted(path.parent.name for path in WORLDS.glob("*/world.json")))


@cache
def report_page() -> PageParts:
    """The page of a report: its template, style and script."""
    page, style, script = (
        (REPORT / name).read_text(encoding="utf-8") for name in ("page.html", "report.css", "report.js")
    )
    return PageParts(page, style, script)

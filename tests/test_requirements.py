"""The manifest of claimed requirements and the tests that show them name the same ids."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path


def test_every_claimed_requirement_is_shown_by_a_test(checkout: Path) -> None:
    assert claimed(checkout) - shown(checkout).keys() == set()


def test_every_test_names_only_claimed_requirements(checkout: Path) -> None:
    unknown = {i: files for i, files in shown(checkout).items() if i not in claimed(checkout)}
    assert unknown == {}


def claimed(checkout: Path) -> set[str]:
    return set(runpy.run_path(str(checkout / "tests" / "requirements.py"))["REQUIREMENTS"])


def shown(checkout: Path) -> dict[str, list[str]]:
    """Every id in a `pytest.mark.requirement(...)`, and the files it stands in."""
    found: dict[str, list[str]] = {}
    for file in sorted((checkout / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant) and isinstance(argument.value, str), file.name
                    found.setdefault(argument.value, []).append(file.name)
    return found

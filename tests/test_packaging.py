"""What is installed: the package alone, with its data, whatever stands in the folder it is called from."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import caseharden


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that no build folder is left in the checkout."""
    checkout = Path(__file__).resolve().parent.parent
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    kept = ["__init__.py", "__main__.py", "py.typed", "pyproject.toml", "README.md", "LICENSE"]
    kept += ["engine", "mcp_server", "resources", "tools", "tests", "scripts", "examples"]
    subprocess.run(["cp", "-r", *[str(checkout / k) for k in kept], str(source)], check=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_wheel_holds_the_package_with_its_data_and_nothing_else(wheel: Path, checkout: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0].split("-")[0] for n in names} == {"caseharden"}
    inside = {n.removeprefix("caseharden/") for n in names if n.startswith("caseharden/")}
    assert {
        n for n in inside if n.split("/")[0] in ("tests", "scripts", "examples", "docs", "benchmarks")
    } == set()
    rooms = ("engine", "mcp_server", "resources", "tools")
    data = {".py", ".md", ".json", ".txt", ".html", ".css", ".js"}
    on_disk = [f for r in rooms for f in (checkout / r).rglob("*") if f.is_file() and f.suffix in data]
    wanted = {str(f.relative_to(checkout)) for f in on_disk if "__pycache__" not in f.parts}
    assert inside == wanted | {"__init__.py", "__main__.py", "py.typed"}


def test_command_starts_in_a_folder_with_hostile_modules(wheel: Path, tmp_path: Path) -> None:
    installed, hostile = tmp_path / "installed", tmp_path / "hostile"
    zipfile.ZipFile(wheel).extractall(installed)
    for name in ("tools", "resources", "engine", "mcp_server"):
        (hostile / name).mkdir(parents=True)
        (hostile / name / "__init__.py").write_text("raise SystemExit('the wrong module was imported')\n")
    start = "runpy.run_module('caseharden', None, '__main__')"
    program = f"import runpy, sys; sys.path.insert(1, {str(installed)!r}); {start}"
    for command in (["-m", "caseharden", "--version"], ["-c", program, "--version"]):
        done = subprocess.run(
            [sys.executable, *command], cwd=hostile, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"caseharden {caseharden.__version__}\n"


def test_every_library_that_is_imported_is_declared_and_every_one_declared_is_imported_and_locked(
    checkout: Path,
) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {plain(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in project["dependencies"]}
    rooms = [
        p for name in ("engine", "mcp_server", "resources", "tools") for p in (checkout / name).rglob("*.py")
    ]
    plugin = checkout / "mcp_server" / "pytest_plugin.py"
    imported = {name for file in {*checkout.glob("*.py"), *rooms} - {plugin} for name in imports(file)}
    assert "pytest" in set(imports(plugin)), "pytest itself loads it"
    owners = metadata.packages_distributions()
    assert declared == {plain(owners[name][0]) for name in imported}
    for lock in ("requirements.lock", "requirements-dev.lock"):
        lines = (checkout / lock).read_text(encoding="utf-8").splitlines()
        assert declared <= {plain(line.partition("==")[0]) for line in lines if "==" in line}


def imports(file: Path) -> set[str]:
    """The libraries that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names


def plain(name: str) -> str:
    """The name of a distribution in its one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_version_is_that_of_the_project(checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert caseharden.__version__ == project["version"]
    assert f"## [{project['version']}]" in (checkout / "CHANGELOG.md").read_text(encoding="utf-8")

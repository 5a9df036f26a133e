"""`caseharden init DIR`: a small folder of cases that runs as it is, offline, and is meant to be edited."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..engine.errors import NotAllowed
from ..engine.exchange import Roots
from ..engine.ids import slugify
from .called import called

STARTER = Path(__file__).parent.parent / "resources" / "starter"
FILES = {
    "caseharden.yaml": "caseharden.yaml.txt",
    "instructions.md": "instructions.md.txt",
    "world.yaml": "world.yaml.txt",
    "personas.yaml": "personas.yaml.txt",
    "scenarios/loans.yaml": "scenarios-loans.yaml.txt",
}
_NO_TEXTS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
"""What YAML reads as something else than a text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default=".", help="where to write; it is made if it is not there"
    )


def run(args: argparse.Namespace) -> int:
    if not args.folder:
        raise NotAllowed("The folder has no name.", allowed="a folder, or . for this one")
    folder = Path(args.folder)
    for name in write(folder):
        print(f"wrote {folder / name}")
    print(f"next: {called('run', args.folder)}")
    return 0


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    return called("init", "another-folder")


def write(folder: Path) -> list[str]:
    """Write the starter's files; NotAllowed, and nothing written, where one of them is there already."""
    taken = [name for name in FILES if (folder / name).exists()]
    if taken:
        raise NotAllowed(f"`{folder / taken[0]}` exists.", allowed="a folder without " + ", ".join(taken))
    try:
        (folder / "scenarios").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"`{folder}` cannot be made a folder: {error.strerror}."
        raise NotAllowed(what, allowed="a folder, or a name that is free") from None
    roots = Roots([folder])
    id = _id(folder)
    for name, source in FILES.items():
        text = (STARTER / source).read_text(encoding="utf-8")
        roots.write_text(name, text.replace("id: my-agent", f"id: {id}", 1), name)
    return list(FILES)


def _id(folder: Path) -> str:
    """An environment's id made of the folder's name, as YAML reads it back."""
    id = slugify(folder.resolve().name) or "my-agent"
    return id if id[0].isalpha() and id not in _NO_TEXTS else f'"{id}"'

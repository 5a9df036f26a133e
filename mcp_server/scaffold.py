"""`caseharden init DIR`: a small folder of cases that runs as it is, offline, and is meant to be edited."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..engine.errors import NotAllowed
from ..engine.exchange import Roots

STARTER = Path(__file__).parent.parent / "resources" / "starter"
FILES = {
    "caseharden.yaml": "caseharden.yaml.txt",
    "instructions.md": "instructions.md.txt",
    "world.yaml": "world.yaml.txt",
    "personas.yaml": "personas.yaml.txt",
    "scenarios/loans.yaml": "scenarios-loans.yaml.txt",
}
NEXT = "caseharden init another-folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default=".", help="where to write; it is made if it is not there"
    )


def run(args: argparse.Namespace) -> int:
    folder = Path(args.folder)
    for name in write(folder):
        print(f"wrote {folder / name}")
    print(f"next: caseharden run {args.folder}")
    return 0


def write(folder: Path) -> list[str]:
    """Write the starter's files; NotAllowed, and nothing written, where one of them is there already."""
    taken = [name for name in FILES if (folder / name).exists()]
    if taken:
        raise NotAllowed(f"`{folder / taken[0]}` exists.", allowed="a folder without " + ", ".join(taken))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenarios").mkdir(exist_ok=True)
    roots = Roots([folder])
    for name, source in FILES.items():
        roots.write_text(name, (STARTER / source).read_text(encoding="utf-8"), name)
    return list(FILES)

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
    if not args.folder:
        raise NotAllowed("The folder has no name.", allowed="a folder, or . for this one")
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
    try:
        (folder / "scenarios").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"`{folder}` cannot be made a folder: {error.strerror}."
        raise NotAllowed(what, allowed="a folder, or a name that is free") from None
    roots = Roots([folder])
    for name, source in FILES.items():
        roots.write_text(name, (STARTER / source).read_text(encoding="utf-8"), name)
    return list(FILES)

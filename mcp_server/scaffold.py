"""`caseharden init DIR`: a small folder of cases that runs offline as it is, to be edited."""

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
AGENTS: dict[str, tuple[str, dict[str, str]]] = {
    "prompt": ("{kind: prompt}             # instructions + model + the world's tools", {}),
    "python": (
        "{kind: python, file: agent.py}   # runs with --allow-code",
        {"agent.py": "agent-python.py.txt", "clerk.py": "clerk.py.txt"},
    ),
    "command": (
        "{kind: command, argv: [python, agent.py]}   # runs with --allow-code",
        {"agent.py": "agent-command.py.txt", "clerk.py": "clerk.py.txt"},
    ),
    "chat_completions": ("{kind: chat_completions, url: http://127.0.0.1:8000/chat}   # yours", {}),
    "mcp": ("{kind: mcp, url: http://127.0.0.1:8000/mcp, tool: chat}   # yours", {}),
    "a2a": ("{kind: a2a, card_url: http://127.0.0.1:9000}   # yours", {}),
}
"""By kind: the agent's entry in caseharden.yaml, and the files that come with it."""
_NO_TEXTS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")
"""Words that YAML does not read as text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="where to write; created if it does not exist")
    parser.add_argument(
        "--agent-type",
        choices=tuple(AGENTS),
        default="prompt",
        metavar="KIND",
        help=f"how the agent is reached: {', '.join(AGENTS)}. python and command come with a small agent that runs",
    )


def run(args: argparse.Namespace) -> int:
    if not args.folder:
        raise NotAllowed("The folder has no name.", allowed="a folder, or . for this one")
    folder = Path(args.folder)
    for name in write(folder, args.agent_type):
        print(f"wrote {folder / name}")
    code = ["--allow-code", args.folder] if AGENTS[args.agent_type][1] else []
    print(f"next: {called('run', args.folder, *code)}")
    return 0


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    return called("init", "another-folder")


def write(folder: Path, kind: str = "prompt") -> list[str]:
    """Write the starter's files; NotAllowed, and nothing written, if one of them already exists.

    `kind`: how the agent is reached, one of AGENTS.
    """
    agent, more = AGENTS[kind]
    files = {**FILES, **more}
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise NotAllowed(f"`{folder / taken[0]}` exists.", allowed="a folder without " + ", ".join(taken))
    try:
        (folder / "scenarios").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"`{folder}` cannot be created as a folder: {error.strerror}."
        raise NotAllowed(what, allowed="a folder, or a name that is free") from None
    roots = Roots([folder])
    id = _id(folder)
    for name, source in files.items():
        text = (STARTER / source).read_text(encoding="utf-8")
        text = text.replace("id: my-agent", f"id: {id}", 1).replace(AGENTS["prompt"][0], agent, 1)
        roots.write_text(name, text, name)
    return list(files)


def _id(folder: Path) -> str:
    """An environment id made from the folder's name, as YAML reads it back."""
    id = slugify(folder.resolve().name) or "my-agent"
    return id if id[0].isalpha() and id not in _NO_TEXTS else f'"{id}"'

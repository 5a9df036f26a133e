"""The doctor's checks of the data folder: can it be used, by whom, and is all of it intact."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..engine.errors import CasehardenError
from ..engine.plural import plural
from ..engine.store import Store
from ..resources.home import shown
from .findings import Finding
from .settings import Settings
from .terminal import size

SCARCE: Final = 1_000_000_000
"""Free bytes on the disk below which a long run may fill it."""
SPENT: Final = 50_000_000
SHARED: Final = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "lustre", "ceph")
"""Network file systems, on which locks may not work."""
_ANOTHER: Final = "set CASEHARDEN_HOME, or --home, to another folder"


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Findings on the folder; opens the store, which reads every table. Run in a worker thread."""
    home, source = settings.home, settings.sources["home"]
    if not home.exists():
        text = f"{shown(home)} does not exist yet; it is created at first use"
        if os.access(_standing(home), os.W_OK):
            yield Finding("ok", "data folder", text, source)
        else:
            yield Finding("fail", "data folder", f"{shown(home)} cannot be created", source, _ANOTHER)
            return
    else:
        yield _opened(home, source)
        mode = home.stat().st_mode & 0o777
        if home.is_dir() and mode & 0o077:
            text = f"others on this machine may read it (mode {mode:o})"
            yield Finding("warn", "data folder", text, fix=f"chmod 700 {home}")
    yield from _disk(home)


def _opened(home: Path, source: str) -> Finding:
    try:
        with Store(home) as store:
            for table in store.tables():
                store.table(table).load()
            damage = store.damage()
    except CasehardenError as error:
        text = f"{shown(home)}: {error.what.rstrip('.')}"
        return Finding("fail", "data folder", text, source, f"{error.allowed} ({error.where})")
    damaged = sum(one.lines for one in damage)
    text = f"{shown(home)}, {size(_bytes(home))}, writable, {plural(damaged, 'damaged line')}"
    fix = f"kept as they were in {', '.join(str(one.file) for one in damage[:3])}" if damage else ""
    return Finding("warn" if damage else "ok", "data folder", text, source, fix)


def _disk(home: Path) -> Iterator[Finding]:
    standing = _standing(home)
    free = shutil.disk_usage(standing).free
    if free < SCARCE:
        verdict = "fail" if free < SPENT else "warn"
        yield Finding(verdict, "disk", f"{size(free)} free on the disk of the data folder", fix=_ANOTHER)
    kind = file_system(standing)
    if kind in SHARED:
        text = f"the data folder is on {kind}, where the locks between processes may not hold"
        yield Finding("warn", "disk", text, fix=f"{_ANOTHER}, on a disk of this machine")


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that holds a path; "" if unknown."""
    real, best, kind = path.resolve(), -1, ""
    try:
        rows = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for row in rows:
        point, found = row.split(" ")[1:3]
        place = Path(point.replace("\\040", " "))
        if real.is_relative_to(place) and len(place.parts) >= best:
            best, kind = len(place.parts), found
    return kind


def _standing(path: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _bytes(home: Path) -> int:
    sizes = (Path(folder, name) for folder, _, names in os.walk(home) for name in names)
    return sum(path.lstat().st_size for path in sizes if path.exists())

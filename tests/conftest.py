"""What tests share: the one backend of anyio, the checkout, examples without a deadline, files in memory."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, max_examples=50)
settings.load_profile("house")
CHECKOUT = Path(__file__).resolve().parent.parent
MEMORY, ROOM = Path("/dev/shm"), 2_000_000_000
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    # A disk that is asked to sync by every store that closes is a third of the suite's time.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

gc.disable()  # until all is collected: an import makes objects by the hundred thousand, none of them garbage


def pytest_collection_finish() -> None:
    """Leave out of each collection of garbage what the tests and the modules are made of, and collect less often.

    Otherwise a quarter of the time that tests take in this process goes into looking through it.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(5_000, 20, 20)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return CHECKOUT

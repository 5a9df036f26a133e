"""What every test shares: the one backend of anyio, the checkout's folder, examples without a deadline."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return CHECKOUT

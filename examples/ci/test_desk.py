"""A folder of cases as a test: it fails if the folder misses one of its thresholds, and says why."""

from __future__ import annotations

from caseharden.mcp_server.pytest_plugin import Suite


def test_the_desk_holds_its_thresholds(caseharden: Suite) -> None:
    caseharden.run("../shop-desk")

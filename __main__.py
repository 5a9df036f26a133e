"""`python -m caseharden` is the command `caseharden`."""

from __future__ import annotations

import sys

from .mcp_server.cli import main

if __name__ == "__main__":
    sys.exit(main())

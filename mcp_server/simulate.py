"""`caseharden simulate DIR`: the first half of `run`. What code can decide is graded; no judge is asked, and thresholds
wait for `caseharden score`.

Exit codes: 0 simulated, 2 wrong input, 3 no result, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse

from .run_folder import add_case_arguments, run, then

__all__ = ["add_arguments", "run", "then"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_case_arguments(parser, "simulate")

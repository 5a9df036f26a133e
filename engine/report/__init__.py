"""The report: a run or a hardening as data (`report/1`), and that data as one page that opens offline.

`report_of` is a pure function of what is stored; `page` puts its result into the page's template. The page computes
nothing that decides: it counts letters and draws.
"""

from __future__ import annotations

from .made import MOST_BYTES, Arm, Material, report_of
from .page import PageParts, page

__all__ = ["MOST_BYTES", "Arm", "Material", "PageParts", "page", "report_of"]

"""The page of a report: one file that opens offline, makes no request, and shows every quoted text as text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from ..records.report import Report

PLAIN_BYTES: Final = 2_000_000
"""Above this size the data is packed: gzip in base64, unpacked by the page itself."""
_MARK: Final = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class PageParts:
    """The page's template, style and script; `{{name}}` in the template is replaced by a part."""

    template: str
    style: str
    script: str


def page(report: Report, parts: PageParts) -> str:
    """The HTML. Its policy allows this one style and this one script by their hashes, and nothing else."""
    data = json.dumps(
        report.model_dump(mode="json"),
        ensure_ascii=False,
        separators=(",", ":"),
        allow_nan=False,
    )
    raw = data.encode("utf-8", "replace")
    packed = len(raw) > PLAIN_BYTES
    text = base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode() if packed else _inert(raw.decode())
    policy = (
        f"default-src 'none'; style-src '{_sealed(parts.style)}'; script-src '{_sealed(parts.script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    filled = {
        "policy": policy,
        "style": parts.style,
        "kind": "application/gzip-base64" if packed else "application/json",
        "data": text,
        "script": parts.script,
    }
    return _MARK.sub(lambda mark: filled[mark[1]], parts.template)


def _sealed(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inert(data: str) -> str:
    """JSON that cannot close the element around it."""
    return data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

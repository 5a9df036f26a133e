"""Keeps secrets out of the log: a filter before every handler of the process."""

from __future__ import annotations

import logging

from ..engine.net import Redactor


class Discreet(logging.Filter):
    """Hides secrets in messages and tracebacks; lets every record pass."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        record.msg, record.args, record.exc_info = self._redactor.hide(text), (), None
        return True


def hide_in_logs(redactor: Redactor) -> None:
    """Hide secrets in everything logged from now on; once per handler."""
    for handler in logging.getLogger().handlers:
        handler.filters = [one for one in handler.filters if not isinstance(one, Discreet)]
        handler.addFilter(Discreet(redactor))

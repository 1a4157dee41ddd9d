"""The engine's messages go to logging.getLogger("snowmelt"); where nobody set up logging, warnings go to stderr."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("snowmelt")


class _Fallback(logging.Handler):
    """Writes ``WARNING: text`` to stderr while no handler of the program would show it."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers or any(h is not self for h in logger.handlers):
            return
        print(f"{record.levelname}: {record.getMessage()}", file=sys.stderr)


logger.addHandler(_Fallback(logging.WARNING))


def deliver(level: int, message: str) -> None:
    logger.log(level, "%s", message)

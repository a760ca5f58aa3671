"""Which process the system ends when memory runs out."""

from __future__ import annotations

import contextlib
from pathlib import Path


def die_first() -> None:
    """Offer this process to the system before those that started it: it can be started again, they hold the requests.

    Does nothing where the system has no such setting.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")

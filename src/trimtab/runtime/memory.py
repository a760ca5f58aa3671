"""Which process the system ends when memory runs out."""

from __future__ import annotations

import contextlib
from pathlib import Path

_SETTING = Path("/proc/self/oom_score_adj")
_MOST = 1000
_MORE = 500
"""Half of all memory, in the system's thousandths: what this process seems to hold more than it does."""


def die_first() -> None:
    """Offer this process to the system before its parent, which holds the requests and can start it again.

    Does nothing where the system has no such setting.
    """
    with contextlib.suppress(OSError):
        inherited = int(_SETTING.read_text(encoding="ascii"))
        _SETTING.write_text(str(min(inherited + _MORE, _MOST)), encoding="ascii")

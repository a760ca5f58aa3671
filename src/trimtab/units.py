"""Units: one inside (seconds, bytes, cores, requests per second), converters only here, at the edge."""

from __future__ import annotations

import math
import re

_DURATION_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SIZE_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ]+)\s*")


def parse_duration_s(text: str) -> float:
    """Seconds in a text such as `300ms`, `2.5 s` or `1min`.

    Raises:
        ValueError: the text is no positive number followed by one of us, ms, s, min, h.
    """
    return _parse(text, _DURATION_S, "a duration such as 300ms, 2.5s or 1min")


def parse_size_bytes(text: str) -> int:
    """Bytes in a text such as `512MiB` or `4GB`.

    Raises:
        ValueError: the text is no positive number followed by a size unit.
    """
    return math.ceil(_parse(text, _SIZE_BYTES, "a size such as 512MiB or 4GB"))


def _parse(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match.group(2) not in units:
        raise ValueError(wanted)
    quantity = float(match.group(1)) * units[match.group(2)]
    if not math.isfinite(quantity):
        raise ValueError(wanted)
    return quantity


def format_duration(seconds: float) -> str:
    """A duration for people: three significant digits in the unit that fits (`4.1 ms`, `2.5 s`)."""
    if seconds == 0 or math.isnan(seconds) or math.isinf(seconds):
        return f"{seconds:g} s"
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def format_size(size_bytes: float) -> str:
    """A size for people (`1.4 MiB`)."""
    for unit in ("GiB", "MiB", "KiB"):
        if abs(size_bytes) >= _SIZE_BYTES[unit]:
            return f"{size_bytes / _SIZE_BYTES[unit]:.3g} {unit}"
    return f"{size_bytes:.0f} B"

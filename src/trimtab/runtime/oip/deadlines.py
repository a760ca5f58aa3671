"""How long a client waits, from what it says: the smallest of all sources counts; what cannot be read is an error.

| source | unit | who sends it |
| --- | --- | --- |
| request parameter `timeout` | microseconds | Triton's clients (schedule policy extension) |
| header `x-request-timeout-ms` | milliseconds | any HTTP client |
| header `x-envoy-expected-rq-timeout-ms` | milliseconds | Envoy |
| header `grpc-timeout` | number and unit (`H M S m u n`) | gRPC gateways |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from trimtab.errors import InvalidInputError

_MILLISECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])")
_GRPC_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

HEADERS = ("x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout")


def timeout_from(headers: Mapping[str, str], parameter: object = None) -> float | None:
    """Seconds that the client waits, the smallest that it named; None when it named none.

    Args:
        headers: those of `HEADERS` that the request has, by lower-case name.
        parameter: the request parameter `timeout`; None where there is none.

    Raises:
        InvalidInputError: one of them is not a positive time.
    """
    times_s = [_header_s(name, value) for name, value in headers.items()]
    if parameter is not None:
        times_s.append(_parameter_s(parameter))
    return min(times_s, default=None)


def _parameter_s(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e15:
        raise InvalidInputError(
            "invalid deadline", where="parameter 'timeout'", got=repr(value)[:40], wanted="microseconds, more than 0"
        )
    return value / 1e6


def _header_s(name: str, value: str) -> float:
    value = value.strip()
    if name == "grpc-timeout":
        wanted = "1 to 8 digits and one of H M S m u n, more than 0"
        parts = _GRPC.fullmatch(value)
        time_s = int(parts[1]) * _GRPC_UNITS_S[parts[2]] if parts else 0.0
    else:
        wanted = "milliseconds, more than 0"
        time_s = float(value) / 1e3 if _MILLISECONDS.fullmatch(value) else 0.0
    if time_s <= 0:
        raise InvalidInputError("invalid deadline", where=f"header '{name}'", got=repr(value)[:40], wanted=wanted)
    return time_s

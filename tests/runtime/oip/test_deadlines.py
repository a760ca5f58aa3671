"""The smallest deadline counts, in its own unit; what is no deadline is an error."""

from __future__ import annotations

import pytest

from trimtab.errors import InvalidInputError
from trimtab.runtime.oip.deadlines import timeout_from


@pytest.mark.parametrize(
    ("headers", "parameter", "seconds"),
    [
        ({}, None, None),
        ({}, 250_000, 0.25),
        ({}, 0.5, 5e-7),
        ({"x-request-timeout-ms": "40"}, None, 0.04),
        ({"x-request-timeout-ms": " 1.5 "}, None, 0.0015),
        ({"x-envoy-expected-rq-timeout-ms": "15000"}, None, 15.0),
        ({"grpc-timeout": "100m"}, None, 0.1),
        ({"grpc-timeout": "2S"}, None, 2.0),
        ({"grpc-timeout": "3M"}, None, 180.0),
        ({"grpc-timeout": "1H"}, None, 3600.0),
        ({"grpc-timeout": "5u"}, None, 5e-6),
        ({"grpc-timeout": "7n"}, None, 7e-9),
        ({"x-request-timeout-ms": "40", "grpc-timeout": "30m"}, 50_000, 0.03),
        ({"x-request-timeout-ms": "40", "x-envoy-expected-rq-timeout-ms": "60"}, 20_000, 0.02),
    ],
)
def test_smallest_wins(headers: dict[str, str], parameter: object, seconds: float | None) -> None:
    assert timeout_from(headers, parameter) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [0, -1, 0.0, True, "250", "", float("nan"), float("inf"), 10**400, 1e16])
def test_invalid_parameter(value: object) -> None:
    with pytest.raises(InvalidInputError, match="'timeout'"):
        timeout_from({}, value)


@pytest.mark.parametrize("name", ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms", "grpc-timeout"])
@pytest.mark.parametrize("value", ["", "0", "0m", "-5", "abc", "1e3", "nan", "inf", "10 0", "٣", "9" * 5000, "100x"])
def test_invalid_header(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        timeout_from({name: value})

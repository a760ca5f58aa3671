"""The marker `conformance`: tests that install several hundred MB, and run only where they are asked for."""

from __future__ import annotations

import pytest

MARKER = "conformance"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARKER}: real clients and peers in environments of their own (make conformance)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if MARKER in str(config.getoption("markexpr")):
        return
    for item in items:
        if item.get_closest_marker(MARKER) is not None:
            item.add_marker(pytest.mark.skip(reason=f"only with -m {MARKER} (make conformance)"))

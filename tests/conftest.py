"""Holds for every test: no property is judged by how fast the machine happens to be, and no module leaves a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="module")
def _no_tracker_is_left() -> Iterator[None]:
    """End the process that Python's spawned pools (`trimtab compare`) keep beside them for as long as Python runs."""
    yield
    tracker: Any = vars(resource_tracker)["_resource_tracker"]  # there is no public way to end it
    if os.name == "posix":
        tracker._stop()

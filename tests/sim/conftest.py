"""The simulator's machine code, for the tests that need many requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trimtab import compiled


@pytest.fixture(scope="module")
def machine_code() -> Iterator[None]:
    """The compiled form, compiled once in a session; afterwards, plain Python again."""
    pytest.importorskip("numba", reason="compiled code comes with Numba: pip install 'trimtab[fast]'")
    compiled.load("sim")
    yield
    compiled.unload("sim")

"""Both forms of the kernels: compiled for most tests, plain for those that ask for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from trimtab import compiled


@pytest.fixture(scope="module", autouse=True)
def compiled_form() -> Iterator[None]:
    """All of these tests run machine code, compiled once for all modules; other tests run in plain Python."""
    importlib.import_module("trimtab.plan.solve")
    compiled.load()
    yield
    compiled.unload()


@pytest.fixture
def plain_form() -> Iterator[None]:
    """One test in plain Python."""
    compiled.unload()
    yield
    compiled.load()

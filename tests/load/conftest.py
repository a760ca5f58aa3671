"""The scripted server as a fixture."""

from collections.abc import Iterator

import pytest
from tests.load.fake_server import FakeServer, serving


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake

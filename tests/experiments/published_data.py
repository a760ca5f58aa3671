"""Where the published measurements are, for tests that need them."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = next(
    (found for up in Path(__file__).parents if (found := up / "shared" / "data").is_dir()),
    Path(__file__).parents[3] / "shared" / "data",
)
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published measurements are not at {DATA}")

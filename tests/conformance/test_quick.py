"""Triton's clients and gRPC's own against `trimtab serve`: the part that is quick enough for every test run."""

from __future__ import annotations

import psutil
import pytest
from conformance.environments import InstallError, environment
from conformance.run import run_suites
from conformance.suites import QUICK

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores"),
]


def test_clients_of_one_small_environment_find_no_defect() -> None:
    try:
        environment("tritonclient")
    except InstallError as error:
        pytest.skip(f"tritonclient cannot be installed here: {error}")
    results = run_suites(QUICK)
    failed = [f"{one.client}: {v.check}: {v.detail}" for one in results for v in one.verdicts if not v.ok]
    assert not failed, "\n".join(failed)
    assert all(len(one.verdicts) >= 6 for one in results)

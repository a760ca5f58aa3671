"""All clients, and the same corpus to Trimtab, MLServer and KServe: `make conformance` runs these."""

from __future__ import annotations

import psutil
import pytest
from conformance.differential.compare import judge
from conformance.differential.run import PEERS, compare_with
from conformance.environments import NAMES, InstallError, environment
from conformance.run import run_suites
from conformance.suites import QUICK, SUITES

pytestmark = [
    pytest.mark.live,
    pytest.mark.conformance,
    pytest.mark.skipif(len(psutil.Process().cpu_affinity() or ()) < 2, reason="needs two cores"),
]


@pytest.fixture(scope="module", autouse=True)
def _environments() -> None:
    for name in NAMES:
        try:
            environment(name)
        except InstallError as error:
            pytest.skip(f"{name} cannot be installed here: {error}")


def test_all_other_clients_find_no_defect() -> None:
    results = run_suites(tuple(suite for suite in SUITES if suite not in QUICK))
    failed = [f"{one.client}: {v.check}: {v.detail}" for one in results for v in one.verdicts if not v.ok]
    assert not failed, "\n".join(failed)


def test_answers_are_those_of_the_peers_but_for_the_listed_differences() -> None:
    wrong = judge(compare_with(PEERS), PEERS)
    assert not wrong, "\n".join(wrong)

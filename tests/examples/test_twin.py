"""The comparison of reality and twin: what counts as apart, and that the twin gets the load that reality got."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from trimtab.profile.model import Profile
from trimtab.sim.run import Load
from trimtab.spec.load import load_pipeline
from trimtab.testing import make_chain
from trimtab.workload.arrivals import send_times
from trimtab.workload.trace import Trace

FOLDER = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def twin() -> ModuleType:
    """The script as a module; its folder is where it finds the demonstration's."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("digits_twin", FOLDER / "twin.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


def test_shares_are_apart_in_points_and_times_in_parts_of_the_real_one(twin: ModuleType) -> None:
    attainment = twin.Pair("in time", 0.995, 0.987, 1.0, relative=False)
    assert attainment.gap == pytest.approx(-0.8)
    assert attainment.holds
    assert not twin.Pair("in time", 0.995, 0.984, 1.0, relative=False).holds
    median = twin.Pair("p50", 0.020, 0.0231, 0.15, relative=True)
    assert median.gap == pytest.approx(0.155)
    assert not median.holds


def test_the_twin_gets_every_request_of_the_real_load(twin: ModuleType) -> None:
    pipeline = load_pipeline(FOLDER / "pipeline.yaml", check_files=False)
    stages = {
        name: {variant.name: (variant.accuracy, 0.004) for variant in task.variants.values()}
        for name, task in pipeline.tasks.items()
    }
    profile: Profile = make_chain(stages)[1]
    trace = Trace((30, 10, 50, 20) * 10, "made")
    told = twin.twin("cheapest", profile, Load(trace, "poisson", 7, compress=4.0), 0.001)
    assert told.summary.offered == len(send_times(trace.rates(compress=4.0), "poisson", 7))
    assert told.run.seconds == 10.0
    assert told.summary.attainment == 1.0
    # Two tasks of at least 4 ms and a hop of 1 ms each.
    assert told.summary.p50_s is not None
    assert told.summary.p50_s >= 0.0099
    assert np.isclose(told.summary.mean_cores, 2.0)

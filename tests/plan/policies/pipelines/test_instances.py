from __future__ import annotations

import itertools

import pytest

from trimtab.plan.model import Limits, PlanRequest
from trimtab.plan.policies.pipelines.instances import LatencyFit, fit_latency, instances
from trimtab.profile.model import CapacityPoint, Profile, ServicePoint, VariantProfile
from trimtab.testing import make_chain

TRUE = LatencyFit(0.040, 0.008, 0.002, 0.0005)
"""About what Themis published for its detector, seconds."""


def measured(fit: LatencyFit, shapes: list[tuple[int, int]], batches: tuple[int, ...]) -> VariantProfile:
    points = tuple(
        ServicePoint(cores, threads, batch, fit.seconds(batch, threads), {}, 0)
        for (cores, threads), batch in itertools.product(shapes, batches)
    )
    return VariantProfile("a", "v", points)


def test_the_fit_finds_the_coefficients_that_made_the_profile() -> None:
    shapes = [(1, 1), (2, 2), (4, 4), (8, 4)]
    found = fit_latency(measured(TRUE, shapes, (1, 2, 4, 8)), shapes, 0.99)
    assert found is not None
    for name in ("g", "d", "e", "h"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=1e-9)
    # 40 · 4 / 2 + 8 · 4 + 2 / 2 + 0.5 ms
    assert found.seconds(4, 2) == pytest.approx(0.1135)


def test_a_profile_of_too_few_points_is_met_all_the_same() -> None:
    profile = measured(TRUE, [(1, 1)], (1, 4))
    found = fit_latency(profile, [(1, 1)], 0.99)
    assert found is not None
    assert found.seconds(1, 1) == pytest.approx(TRUE.seconds(1, 1))
    assert found.seconds(4, 1) == pytest.approx(TRUE.seconds(4, 1))


def test_a_fit_never_says_that_work_takes_no_time() -> None:
    assert LatencyFit(0.01, 0.0, 0.0, -0.02).seconds(1, 1) > 0.0


def test_instances_are_every_measured_batch_of_every_shape() -> None:
    pipeline, profile = make_chain({"a": {"v": (0.9, 0.02)}}, shapes=((1, 1), (4, 2)), batches=(1, 4))
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=8.0))
    found = instances(request, "a", "v", [(1, 1), (4, 2)])
    assert [(i.cores, i.threads, i.batch) for i in found] == [(1, 1, 1), (1, 1, 4), (4, 2, 1), (4, 2, 4)]
    # 20 ms alone; a batch of 4 takes 0.1 + 0.9 · 4 = 3.7 times that; p99 is 1.2 times the mean.
    assert found[1].latency_s == pytest.approx(0.02 * 3.7 * 1.2)
    assert found[1].rate == pytest.approx(4 / (0.02 * 3.7 * 1.2))
    # Two threads: √2 times as fast, and two inferences side by side.
    assert found[2].rate == pytest.approx(2 * 2**0.5 / (0.02 * 1.2))
    assert [i.batch for i in instances(request, "a", "v", [(1, 1)], max_batch=3)] == [1]
    longer = instances(request, "a", "v", [(1, 1)], fit=TRUE, extra_s=0.003)
    assert longer[0].latency_s == pytest.approx(0.0505 + 0.003)
    assert longer[0].rate == pytest.approx(1 / 0.0535)


def test_a_capacity_table_is_read_as_it_is() -> None:
    rows = (CapacityPoint(2, 40.0, 0.2), CapacityPoint(4, 90.0, 0.15))
    pipeline, _ = make_chain({"a": {"v": (0.9, 0.02)}})
    profile = Profile({"a": {"v": VariantProfile("a", "v", (), capacity=rows)}})
    request = PlanRequest(pipeline, profile, 1.0, Limits(cores=8.0))
    assert fit_latency(profile.variants["a"]["v"], [(2, 1), (4, 1)], 0.99) is None
    for found in (
        instances(request, "a", "v", [(2, 1), (4, 1)]),
        instances(request, "a", "v", [(2, 1), (4, 1)], fit=TRUE, extra_s=0.003),
    ):
        assert [(i.batch, i.latency_s, i.rate) for i in found] == [(1, 0.2, 40.0), (1, 0.15, 90.0)]
        assert all(i.by_table for i in found)

"""Requests with deadlines of their own: who is refused, who goes first, and what the controller sees of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.reference import EarliestFirst
from tests.sim.scenes import Station, poisson, scene
from tests.sim.stories import Story, stories, tell

from trimtab import rng
from trimtab.errors import TraceError
from trimtab.observe.window import ALLOWED_QUANTILES
from trimtab.plan.policies import make_policy
from trimtab.sim import PLANTS, Load, Serving, simulate
from trimtab.sim import layout as at
from trimtab.sim.plant import SimPlant
from trimtab.workload.delays import Delays
from trimtab.workload.trace import Trace

TRIMTAB = Serving(draw="mean")


def a_plant(moments: list[float], delays: Delays, *, slo_s: float, servers: int = 1, seconds: float = 0.3) -> SimPlant:
    built = scene([Station("a", seconds, servers)], slo_s=slo_s)
    plant = SimPlant(
        built.pipeline, built.profile, PLANTS["free"], servers, iter([np.array(moments)]), 0,
        delays=delays, serving=TRIMTAB, records=len(moments),
    )  # fmt: skip
    plant.apply_now(built.plan, warm=True)
    return plant


def test_the_earliest_deadline_goes_first_whoever_came_first() -> None:
    # One server, 0.3 s each. Two requests with 2 s left come, then one with 0.9 s: it is served as the second.
    plant = a_plant([0.95, 0.96, 1.0], Delays((0.0, 1.1)), slo_s=2.0)
    plant.advance(5.0)
    assert plant.state["record_s"].tolist() == pytest.approx([0.3, 0.89, 0.55])


def test_admission_looks_at_the_own_deadline() -> None:
    # 95 % of 0.32 s hold a service of 0.3 s; those of 0.31 s do not.
    plant = a_plant([0.0, 1.0, 2.0], Delays((0.0, 0.68, 0.69)), slo_s=1.0)
    plant.advance(5.0)
    assert plant.state["record_outcome"].tolist() == [at.IN_TIME, at.IN_TIME, at.REFUSED]


def test_a_request_that_took_longer_than_the_slo_has_nothing_left_and_is_refused() -> None:
    plant = a_plant([0.5, 1.5], Delays((3.0, 0.0)), slo_s=1.0)
    plant.advance(5.0)
    assert plant.state["record_outcome"].tolist() == [at.REFUSED, at.IN_TIME]


@settings(max_examples=150)
@given(
    st.lists(st.floats(0.0, 3.99), min_size=1, max_size=40, unique=True).map(sorted),
    st.lists(st.floats(0.0, 1.2), min_size=4, max_size=4).map(tuple),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(1, 3),
    st.floats(0.05, 0.6),
)
def test_every_request_goes_as_in_a_second_simulator(
    moments: list[float], seconds: tuple[float, ...], spread: float, servers: int, service_s: float
) -> None:
    delays = Delays(seconds, spread)
    plant = a_plant(moments, delays, slo_s=1.0, servers=servers, seconds=service_s)
    left_s = delays.left_s(1.0, replayed(0), np.array(moments))
    plant.advance(20.0)
    answers_s, refused = EarliestFirst(servers, service_s).run(moments, left_s.tolist())
    outcome, response_s = plant.state["record_outcome"], plant.state["record_s"]
    assert np.flatnonzero(outcome == at.REFUSED).tolist() == sorted(refused)
    expected = [answers_s.get(i, math.nan) - moment for i, moment in enumerate(moments)]
    np.testing.assert_allclose(response_s, expected, rtol=0.0, atol=1e-9)


def replayed(seed: int) -> np.random.Generator:
    """The generator from which a plant draws delays."""
    return rng.generator(seed, "delays")


@settings(max_examples=40)
@given(stories())
def test_delays_of_nothing_change_nothing(story: Story) -> None:
    without = tell(replace(story, delays=None))
    assert tell(replace(story, delays=Delays((0.0,) * 4))).figures() == without.figures()


def test_an_observation_tells_what_requests_had_left() -> None:
    moments = [*np.linspace(0.0, 0.99, 100), *np.linspace(1.0, 1.99, 10), *np.linspace(2.0, 2.99, 4)]
    delays = Delays((0.25, 0.0, 0.6))
    plant = a_plant(moments, delays, slo_s=1.0, servers=90)
    seen = []
    for second in (1.0, 2.0, 2.5, 4.0, 5.0):
        plant.advance(second - 1e-6)
        seen.append(plant.observation(plant.take_window()).allowed_s)
    assert seen[0] == dict.fromkeys(ALLOWED_QUANTILES, 0.75)
    assert seen[1] == {}
    assert seen[2] == seen[3] == dict.fromkeys(ALLOWED_QUANTILES, 0.4)
    assert seen[4] == {}


def test_quantiles_are_those_of_the_window_whatever_the_blocks() -> None:
    moments = poisson(200.0, 6, seed=3)
    delays = Delays((0.2, 0.9, 0.1, 0.4, 0.0, 0.3), spread=0.8)
    built = scene([Station("a", 0.001)], slo_s=1.0)
    left_s = delays.left_s(1.0, replayed(7), moments)
    blocks = [moments[(moments >= start) & (moments < start + 2)] for start in (0, 2, 4)]
    plant = SimPlant(built.pipeline, built.profile, PLANTS["free"], 1, iter(blocks), 7, delays=delays, serving=TRIMTAB)
    plant.apply_now(built.plan, warm=True)
    plant.advance(0.3)
    plant.take_window()
    plant.advance(4.6)
    plant.offer(5)
    plant.advance(5.1)
    told = plant.observation(plant.take_window())
    inside = np.concatenate((left_s[(moments > 0.3) & (moments <= 5.1)], np.ones(5)))
    assert told.allowed_s == {q: np.quantile(inside, q, method="inverted_cdf") for q in ALLOWED_QUANTILES}


def test_a_run_says_what_requests_had_left() -> None:
    built = scene([Station("a", 0.01)], slo_s=1.0)
    load = Load(Trace((20,) * 10), delays=Delays((0.1,) * 5 + (0.3,) * 20, spread=0.5))
    result = simulate(
        built.pipeline, built.profile, load, make_policy("cheapest"), PLANTS["free"], cores=1, start=built.plan
    )
    (told,) = (note for note in result.run.notes if "way to us" in note)
    assert told == (
        "the way to us takes 0.1 to 0.3 s, 0.2 s on average, and within a second its spread is 0.5 of that; "
        "a request has the SLO less that when it arrives, and response times count from there"
    )


def test_delays_have_to_be_there_for_every_second() -> None:
    with pytest.raises(TraceError, match="shorter than the trace"):
        Load(Trace((1,) * 10), delays=Delays((0.1,) * 9))
    with pytest.raises(TraceError, match="own seconds"):
        Load(Trace((1,) * 10), compress=2.0, delays=Delays((0.1,) * 10))

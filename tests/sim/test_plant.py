"""The simulated plant: its contract, and the exact moments at which replicas start, serve, change, drain and cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from trimtab.control.protocols import Plant
from trimtab.errors import PlantError, SimulationError, TrimtabError
from trimtab.observe.model import Outcomes
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.sim import PLANTS, Fault, PlantModel, Serving
from trimtab.sim import layout as at
from trimtab.sim.plant import SimPlant
from trimtab.spec.model import Pipeline, Slo, Task, Variant
from trimtab.testing import check_plant, make_chain

SHAPES = ((1, 1), (2, 1), (2, 2), (4, 1))
SERVICE_S = {"best": 0.04, "good": 0.02, "least": 0.01}
LOAD_S = {"best": 3.0, "good": 2.0, "least": 1.0}
FIFO = Serving(rule="fifo", draw="mean")
SPARE = 20
"""Records for requests that a test offers itself."""
FORTY_S = np.linspace(0.0, 0.0039, 40)


def a_pipeline(slo_s: float = 100.0) -> Pipeline:
    variants = {v: Variant(v, None, accuracy) for v, accuracy in (("best", 0.9), ("good", 0.8), ("least", 0.7))}
    return Pipeline("one", {"a": Task("a", variants)}, Slo(slo_s))


def a_profile(shapes: Sequence[tuple[int, int]] = SHAPES) -> Profile:
    def points(seconds: float) -> tuple[ServicePoint, ...]:
        return tuple(ServicePoint(c, t, b, seconds, {}, samples=1) for c, t in shapes for b in (1, 8))

    return Profile({"a": {v: VariantProfile("a", v, points(s), load_time_s=LOAD_S[v]) for v, s in SERVICE_S.items()}})


def group(
    variant: str, replicas: int = 1, cores: int = 1, threads: int = 1, batch: int = 1, share: float = 1.0
) -> Allocation:
    return Allocation(variant, replicas, cores, threads, batch, share)


def a_plan(*groups: Allocation, resident: tuple[str, ...] = ()) -> Plan:
    held = tuple(dict.fromkeys([*(g.variant for g in groups), *resident]))
    return Plan({"a": TaskPlan("a", groups, held)}, 1.0)


class Watched:
    """A plant with one task and a request now and then, looked at as closely as a test likes."""

    def __init__(
        self,
        model: PlantModel,
        first: Plan,
        *,
        every_s: float = 0.1,
        until_s: float = 60.0,
        faults: Sequence[Fault] = (),
        serving: Serving = FIFO,
        warm: bool = True,
        slo_s: float = 100.0,
        cores: int = 20,
    ) -> None:
        # Half a period off, so that no request comes at the moment of a change.
        self.moments = np.arange(0.0, until_s, every_s) + every_s / 2.0
        self.plant = SimPlant(
            a_pipeline(slo_s), a_profile(), model, cores, iter([self.moments]), 0,
            serving=serving, faults=faults, records=len(self.moments) + SPARE,
        )  # fmt: skip
        self.plant.apply_now(first, warm=warm)

    def served(self, until_s: float) -> dict[str, int]:
        """Items by variant since the last look."""
        self.plant.advance(until_s)
        return dict(self.plant.observation(self.plant.take_window()).tasks["a"].served)

    def cores(self, until_s: float) -> float:
        """Core-seconds since the last look."""
        self.plant.advance(until_s)
        return self.plant.take_window().core_seconds

    def replicas(self) -> tuple[int, int, int]:
        """Ready, starting, cores."""
        seen = self.plant.observation(self.plant.take_window()).tasks["a"]
        return seen.replicas_ready, seen.replicas_starting, seen.cores

    def finished(self, until_s: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
        """Response times and outcomes of all requests."""
        self.plant.advance(until_s)
        assert self.plant.under_way == 0
        count = len(self.moments)
        return self.plant.state["record_s"][:count], self.plant.state["record_outcome"][:count]


RESIDENT = replace(PLANTS["instant-resident"], start_s=0.5, resize_s=0.25)
RESTART = replace(PLANTS["kubernetes"], start_s=6.0, drain_s=1.5)
BOTH = pytest.mark.parametrize("model", [RESIDENT, RESTART], ids=["resident", "restart"])


# --- the contract ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANTS)
@pytest.mark.parametrize("rule", ["trimtab", "fifo"])
def test_every_plant_keeps_the_contract(name: str, rule: str) -> None:
    pipeline, profile = make_chain(
        {"a": {"x": (0.9, 0.01), "y": (0.8, 0.005)}, "b": {"x": (0.9, 0.01)}}, shapes=((1, 1), (2, 1)), slo_s=1.0
    )

    def chain_plan(a: Allocation, b: Allocation) -> Plan:
        return Plan({"a": TaskPlan("a", (a,), ("x", "y")), "b": TaskPlan("b", (b,), ("x",))}, 1.0)

    plans = [
        chain_plan(group("x", 2), group("x")),
        chain_plan(group("y"), group("x", 1, 2)),
        chain_plan(group("x", 1, 2, batch=4), group("x")),
    ]

    @asynccontextmanager
    async def opened() -> AsyncIterator[Plant]:
        serving = Serving(rule="trimtab" if rule == "trimtab" else "fifo")
        yield SimPlant(pipeline, profile, PLANTS[name], 8, iter([]), 0, serving=serving)

    async def send(plant: Plant, count: int) -> None:
        assert isinstance(plant, SimPlant)
        plant.advance(plant.now_s + 20.0)  # until replicas are up
        await plant.observe()
        plant.offer(count)
        plant.advance(plant.now_s + 5.0)

    asyncio.run(check_plant(opened, plans, send=send))


def test_requests_may_be_offered_at_any_time_beside_those_that_come() -> None:
    pipeline = a_pipeline()
    for before_s in (0.0, 0.5, 1.5, 2.0):
        blocks = iter([np.array([0.25]), np.array([1.25, 1.75]), np.array([2.5])])
        plant = SimPlant(pipeline, a_profile(), RESIDENT, 4, blocks, 0, serving=FIFO)
        plant.apply_now(a_plan(group("least")), warm=True)
        if before_s:
            plant.advance(before_s)
        plant.offer(2)
        plant.advance(4.0)
        seen = plant.observation(plant.take_window())
        expected = [1, 2, 1, 0]
        expected[int(before_s)] += 2
        assert list(seen.arrivals) == expected
        assert seen.outcomes == Outcomes(in_time=6)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan({}, 1.0), "other tasks"),
        (a_plan(*[group("least", share=1 / 9)] * 9), "split"),
        (Plan({"a": TaskPlan("a", (), ())}, 1.0), "split"),
        (a_plan(group("worst")), "no such variant"),
        (a_plan(group("best"), resident=("worst",)), "no such variant"),
        (Plan({"a": TaskPlan("a", (group("best"),), ("best",), ("worst",))}, 1.0), "no such variant"),
        (a_plan(group("best", replicas=0)), "without a replica"),
        (a_plan(group("best", batch=0)), "without a replica"),
        (a_plan(group("best", cores=1, threads=2)), "without a replica"),
        (a_plan(group("best", replicas=11, cores=2)), "too many cores"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_and_changes_nothing(plan: Plan, words: str) -> None:
    first = a_plan(group("least", 2))
    watched = Watched(RESTART, first)
    watched.plant.advance(1.0)
    with pytest.raises(PlantError, match=words):
        watched.plant.apply_now(plan)
    assert watched.plant.plan is first
    assert watched.replicas() == (2, 0, 2)


@pytest.mark.parametrize("in_force", [False, True])
def test_a_shape_that_nobody_measured_is_refused_before_anything_changes(in_force: bool) -> None:
    watched = Watched(RESTART, a_plan(group("least", 2)))
    plan = a_plan(group("least", 2, cores=3))
    plant = watched.plant
    if not in_force:
        plant = SimPlant(a_pipeline(), a_profile(), RESTART, 20, iter([]), 0)
    with pytest.raises(TrimtabError, match="not known"):
        plant.apply_now(plan)
    assert plant.plan is not plan
    plant.advance(20.0)  # and no change is on its way


def test_shares_that_are_no_shares_are_refused() -> None:
    watched = Watched(RESIDENT, a_plan(group("least")))
    with pytest.raises(PlantError, match="share"):
        watched.plant.apply_now(a_plan(group("best"), group("good")))  # 1 and 1


def test_the_plan_in_force_may_be_applied_again() -> None:
    watched = Watched(RESTART, a_plan(group("least", 2)))
    watched.plant.advance(1.0)
    watched.plant.apply_now(a_plan(group("least", 2)))
    assert watched.replicas() == (2, 0, 2)
    assert watched.cores(10.0) == pytest.approx(2 * 9.0)


# --- starting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "resident", "ready_s"),
    [
        (RESTART, (), 6.0 + 2.0),
        (RESTART, ("best",), 6.0 + 2.0),  # a container holds one variant
        (RESIDENT, (), 0.5 + 2.0),
        (RESIDENT, ("best", "least"), 0.5 + 2.0 + 3.0 + 1.0),
        (replace(RESTART, load_s=0.25), (), 6.25),
        (replace(RESIDENT, load_s=0.25), ("best", "least"), 1.25),
        (PLANTS["free"], ("best",), 0.0),
    ],
)
def test_a_cold_replica_serves_once_it_has_started_and_loaded(
    model: PlantModel, resident: tuple[str, ...], ready_s: float
) -> None:
    plan = a_plan(group("good", 2), resident=resident)
    watched = Watched(model, plan, warm=False, every_s=20.0, until_s=20.0)
    watched.moments[:] = 0.0  # the one request comes at the start
    assert watched.replicas() == (0, 2, 2)
    response_s, _ = watched.finished()
    assert response_s.tolist() == pytest.approx([ready_s + 0.02])
    assert watched.replicas() == (2, 0, 2)
    assert watched.plant.peak_cores == 2


def test_admission_refuses_while_no_replica_is_ready() -> None:
    watched = Watched(RESTART, a_plan(group("least")), warm=False, serving=Serving(draw="mean"), until_s=20.0)
    _, outcomes = watched.finished()
    assert ((outcomes == at.REFUSED) == (watched.moments < 7.0)).all()


@BOTH
def test_another_replica_of_the_same_kind_joins_when_it_is_ready(model: PlantModel) -> None:
    watched = Watched(model, a_plan(group("good")))
    watched.plant.advance(10.0)
    watched.plant.apply_now(a_plan(group("good", 3)))
    ready_s = 10.0 + model.start_s + 2.0
    watched.plant.advance(ready_s - 0.001)
    assert watched.replicas() == (1, 2, 3)
    watched.plant.advance(ready_s)
    assert watched.replicas() == (3, 0, 3)


# --- changing -------------------------------------------------------------------------------------------------------


@BOTH
def test_a_change_of_batch_size_is_at_once(model: PlantModel) -> None:
    # Every 10 ms a request, service of 20 ms for any batch: alone they queue up, in batches they do not.
    watched = Watched(model, a_plan(group("good")), every_s=0.01, until_s=10.0)
    watched.plant.advance(1.0)
    waiting = watched.plant.observation(watched.plant.take_window()).tasks["a"].queued
    assert waiting == pytest.approx(50, abs=2)
    watched.plant.apply_now(a_plan(group("good", batch=8)))
    watched.plant.advance(1.5)
    seen = watched.plant.observation(watched.plant.take_window()).tasks["a"]
    assert seen.queued + seen.in_service <= 4
    assert seen.batches == 25


def test_variants_that_are_resident_change_at_once() -> None:
    watched = Watched(RESIDENT, a_plan(group("best", 2), resident=("least",)))
    assert watched.served(10.0) == {"best": 100}
    watched.plant.apply_now(a_plan(group("least", 2), resident=("best",)))
    assert watched.served(20.0) == {"least": 100}
    assert watched.replicas() == (2, 0, 2)
    assert watched.plant.peak_cores == 2


def test_a_variant_that_is_not_resident_is_loaded_while_the_old_one_serves() -> None:
    watched = Watched(RESIDENT, a_plan(group("least", 2)))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best", 2)))
    assert watched.served(13.0) == {"least": 30}  # three seconds to load
    assert watched.served(20.0) == {"best": 70}
    assert watched.plant.peak_cores == 2
    watched.plant.apply_now(a_plan(group("least", 2)))
    assert watched.served(21.0) == {"best": 10}  # it was unloaded
    assert watched.served(22.0) == {"least": 10}


def test_two_variants_load_one_after_the_other_and_replicas_side_by_side() -> None:
    watched = Watched(RESIDENT, a_plan(group("least", 3)))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best", 3), resident=("good", "least")))
    assert watched.served(15.0) == {"least": 50}
    assert watched.served(16.0) == {"best": 10}


def test_a_restart_is_made_before_the_break() -> None:
    watched = Watched(RESTART, a_plan(group("least", 2)))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best", 3)))
    assert watched.served(19.0) == {"least": 90}  # six seconds to start and three to load
    assert watched.served(20.0) == {"best": 10}
    response_s, outcomes = watched.finished()
    assert (outcomes == at.IN_TIME).all()
    assert response_s.max() == pytest.approx(0.04)
    assert watched.plant.peak_cores == 5


def test_a_switch_waits_for_all_that_start_anew() -> None:
    # Two new kinds, `best` up after nine seconds and `least` after seven; `good` serves on until both are there.
    watched = Watched(RESTART, a_plan(group("good")))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best", share=0.5), group("least", share=0.5)))
    assert watched.served(19.0) == {"good": 90}
    assert watched.served(21.0) == {"best": 10, "least": 10}


@pytest.mark.parametrize("more", [True, False])
def test_cores_change_in_place_after_the_time_it_takes(more: bool) -> None:
    before, after = (group("good", 2, 1), group("good", 2, 4)) if more else (group("good", 2, 4), group("good", 2, 1))
    watched = Watched(RESIDENT, a_plan(before))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(after))
    assert watched.cores(10.25) == pytest.approx(0.25 * 2 * before.cores)
    assert watched.cores(11.25) == pytest.approx(2.0 * after.cores)
    assert watched.replicas() == (2, 0, 2 * after.cores)
    watched.plant.offer(6)
    watched.plant.advance(watched.plant.now_s)
    assert watched.plant.observation(watched.plant.take_window()).tasks["a"].in_service == min(6, 2 * after.cores)


def test_where_cores_do_not_change_in_place_replicas_are_started_anew() -> None:
    watched = Watched(RESTART, a_plan(group("good", 1, 1)))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("good", 1, 4)))
    assert watched.cores(18.0) == pytest.approx(8.0 * 5)
    watched.plant.advance(20.0)
    assert watched.replicas() == (1, 0, 4)


def test_kubernetes_in_place_restarts_for_a_variant_and_not_for_cores() -> None:
    model = PLANTS["kubernetes-in-place"]
    watched = Watched(model, a_plan(group("good", 1, 1)))
    watched.plant.advance(10.0)
    watched.plant.apply_now(a_plan(group("good", 1, 4)))
    watched.plant.advance(10.1)
    assert watched.replicas() == (1, 0, 4)
    watched.plant.apply_now(a_plan(group("best", 1, 4)))
    watched.plant.advance(13.0)
    assert watched.replicas() == (1, 1, 8)
    watched.plant.advance(13.2)
    assert watched.replicas() == (1, 0, 4)


# --- leaving --------------------------------------------------------------------------------------------------------


def test_cost_is_what_is_held_from_start_to_the_end_of_the_grace() -> None:
    # One core from 0 on; a second one asked for at 4 s and given up at 20 s, with a grace of 1.5 s.
    watched = Watched(RESTART, a_plan(group("good")))
    watched.plant.advance(4.0)
    watched.plant.apply_now(a_plan(group("good", 2)))
    watched.plant.advance(20.0)
    watched.plant.apply_now(a_plan(group("good")))
    assert watched.replicas() == (1, 0, 2)
    watched.plant.advance(21.49)
    assert watched.replicas() == (1, 0, 2)
    watched.plant.advance(21.5)
    assert watched.replicas() == (1, 0, 1)
    watched.plant.take_window()
    fresh = Watched(RESTART, a_plan(group("good")))
    fresh.plant.advance(4.0)
    fresh.plant.apply_now(a_plan(group("good", 2)))
    fresh.plant.advance(20.0)
    fresh.plant.apply_now(a_plan(group("good")))
    assert fresh.cores(30.0) == pytest.approx(30.0 + (21.5 - 4.0))


def test_a_removed_replica_ends_its_batch_and_the_grace_counts_from_there() -> None:
    # Two requests at 9.99 s take 40 ms each, one on each replica; one replica goes at 10 s: it is done at 10.03 s.
    watched = Watched(RESTART, a_plan(group("best", 2)), every_s=100.0, until_s=100.0)
    watched.moments[:] = 50.0
    watched.plant.advance(9.99)
    watched.plant.offer(2)
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best")))
    assert watched.served(10.02) == {}
    assert watched.served(10.04) == {"best": 2}
    assert watched.replicas() == (1, 0, 2)
    watched.plant.take_window()
    assert watched.cores(20.0) == pytest.approx(20.0 - 10.04 + (10.03 + 1.5 - 10.04))


def test_overlap_and_grace_of_a_restart_are_paid_for() -> None:
    # Asked for at 10 s: two new replicas of 2 cores for 8 s beside one old of 1 core, which idles 1.5 s more.
    watched = Watched(RESTART, a_plan(group("least")), every_s=1.0)
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("good", 2, 2)))
    assert watched.cores(40.0) == pytest.approx(30.0 * 4 + 8.0 + 1.5)
    assert watched.plant.peak_cores == 5


def test_moving_cores_between_tasks_at_once_holds_no_more_than_the_plans_do() -> None:
    pipeline, profile = make_chain({"a": {"x": (0.9, 0.01)}, "b": {"x": (0.9, 0.01)}}, batches=(1,))

    def split(a: int, b: int) -> Plan:
        return Plan({n: TaskPlan(n, (group("x", k),), ("x",)) for n, k in (("a", a), ("b", b))}, 1.0)

    plant = SimPlant(pipeline, profile, PLANTS["free"], 5, iter([]), 0)
    plant.apply_now(split(4, 1), warm=True)
    plant.advance(1.0)
    plant.apply_now(split(1, 4))
    plant.advance(10.0)
    assert plant.take_window().core_seconds == pytest.approx(50.0)
    assert plant.peak_cores == 5


# --- overtaken ------------------------------------------------------------------------------------------------------


def test_a_change_that_is_taken_back_leaves_no_trace_but_its_cost() -> None:
    watched = Watched(RESTART, a_plan(group("least")))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best", 2)))
    watched.plant.advance(12.0)
    assert watched.replicas() == (1, 2, 3)
    watched.plant.apply_now(a_plan(group("least")))
    assert watched.replicas() == (1, 0, 1)
    assert watched.served(40.0) == {"least": 280}
    assert watched.plant.peak_cores == 3


def test_what_starts_already_is_kept_by_the_next_plan() -> None:
    watched = Watched(RESTART, a_plan(group("least")))
    watched.plant.advance(10.0)
    watched.plant.apply_now(a_plan(group("best")))
    watched.plant.advance(15.0)
    watched.plant.take_window()
    watched.plant.apply_now(a_plan(group("best", batch=4)))  # four seconds later it is up
    assert watched.served(19.0) == {"least": 40}
    assert watched.served(20.0) == {"best": 10}


def test_a_load_that_goes_on_is_not_begun_again_by_a_plan_that_wants_the_same() -> None:
    # A controller that changes its mind about cores every two seconds must not keep a load of three from ending.
    watched = Watched(RESIDENT, a_plan(group("least", 1, 4)))
    watched.plant.advance(10.0)
    watched.plant.take_window()
    for turn, cores in enumerate((1, 2, 1, 2, 1)):
        watched.plant.apply_now(a_plan(group("best", 1, cores)))
        watched.plant.advance(12.0 + 2.0 * turn)
    assert watched.served(21.0).get("best", 0) > 0


def test_a_plan_that_comes_while_a_replica_starts_waits_for_what_it_adds() -> None:
    # The replica loads `least` until 1.5 s; `best` is asked for at 1 s, and takes three seconds like anywhere else.
    watched = Watched(RESIDENT, a_plan(group("least")), warm=False)
    watched.plant.advance(1.0)
    watched.plant.apply_now(a_plan(group("best"), resident=("least",)))
    assert watched.served(4.0).get("best", 0) == 0


# --- mixes ----------------------------------------------------------------------------------------------------------


def test_traffic_is_shared_as_the_plan_says_and_as_evenly_as_can_be() -> None:
    plan = a_plan(group("best", share=0.5), group("good", share=0.25), group("least", share=0.25))
    watched = Watched(RESTART, plan)
    for second in range(1, 11):
        served = watched.served(second * 0.8)
        assert served == {"best": 4, "good": 2, "least": 2}


def test_a_group_that_closes_hands_on_what_waits_in_its_order() -> None:
    # Under `fifo`, forty requests at once are split between two groups; then only one is left, which serves in order.
    model = replace(RESIDENT, max_allocations_per_task=4)
    plan = a_plan(group("best", share=0.5), group("good", share=0.5), resident=("least",))
    watched = Watched(model, plan, every_s=100.0, until_s=100.0)
    watched.moments[:] = 90.0
    plant = SimPlant(a_pipeline(), a_profile(), model, 20, iter([FORTY_S]), 0, serving=FIFO, records=40)
    plant.apply_now(plan, warm=True)
    plant.advance(0.01)
    plant.apply_now(a_plan(group("least"), resident=("best", "good")))
    plant.advance(10.0)
    left_s = FORTY_S + plant.state["record_s"]
    assert plant.observation(plant.take_window()).tasks["a"].served == {"best": 1, "good": 1, "least": 38}
    assert (np.diff(left_s[2:]) > 0).all()
    assert left_s[-1] == pytest.approx(0.04 + 38 * 0.01)  # the slot of `best` goes on, that of `good` was taken away


def test_no_request_goes_to_a_group_whose_replicas_are_not_ready_yet() -> None:
    # In place, a mix needs no new kind of replica, so that it is in force at once; its second group starts only now.
    watched = Watched(RESIDENT, a_plan(group("good")), slo_s=0.5, serving=Serving(draw="mean"), until_s=30.0)
    watched.plant.advance(10.0)
    watched.plant.apply_now(a_plan(group("good", share=0.5), group("least", share=0.5)))
    _, outcomes = watched.finished()
    assert (outcomes == at.IN_TIME).all()


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_lost_batch_is_tried_again_when_the_replica_is_back() -> None:
    # The request of 10.0 s is served when its replica is lost at 10.01 s, and again from 10.01 + 6 + 3 s on.
    watched = Watched(RESTART, a_plan(group("best")), every_s=20.0, until_s=20.0, faults=[Fault(10.01, "a")])
    response_s, outcomes = watched.finished()
    assert outcomes.tolist() == [at.IN_TIME]
    assert response_s.tolist() == pytest.approx([9.01 + 0.04])
    assert watched.cores(120.0) == pytest.approx(120.0)  # its cores were held all the time


def test_a_lost_batch_goes_to_another_replica() -> None:
    watched = Watched(RESTART, a_plan(group("best", 2)), every_s=20.0, until_s=20.0, faults=[Fault(10.01, "a")])
    watched.plant.advance(10.02)
    assert watched.replicas() == (1, 1, 2)
    response_s, _ = watched.finished()
    assert response_s.tolist() == pytest.approx([0.01 + 0.04])
    assert watched.replicas() == (2, 0, 2)


def test_what_is_lost_twice_fails() -> None:
    faults = [Fault(10.01, "a"), Fault(10.03, "a")]
    watched = Watched(RESTART, a_plan(group("best", 2)), every_s=20.0, until_s=20.0, faults=faults)
    response_s, outcomes = watched.finished()
    assert outcomes.tolist() == [at.FAILED]
    assert np.isnan(response_s).all()


def test_the_first_replica_that_serves_is_the_one_that_is_lost() -> None:
    # Both serve a batch at 10.01 s; only one of the two requests is late.
    watched = Watched(RESTART, a_plan(group("best", 2)), every_s=20.0, until_s=20.0, faults=[Fault(10.01, "a")])
    watched.plant.advance(10.0)
    watched.plant.offer(1)
    watched.plant.advance(10.045)
    assert watched.plant.observation(watched.plant.take_window()).tasks["a"].served == {"best": 1}
    assert watched.plant.under_way == 1


def test_a_fault_where_nothing_serves_does_nothing() -> None:
    watched = Watched(
        RESTART, a_plan(group("best")), warm=False, faults=[Fault(2.0, "a"), Fault(3.0, "a", "slow", 9.0)]
    )
    watched.plant.advance(9.0)
    assert watched.replicas() == (1, 0, 1)


def test_a_slow_replica_is_slow_for_as_long_as_it_says() -> None:
    faults = [Fault(2.0, "a", "slow", factor=3.0, for_s=1.0)]
    watched = Watched(RESTART, a_plan(group("good")), faults=faults)
    response_s, _ = watched.finished()
    slow = (watched.moments > 2.0) & (watched.moments < 3.0)
    assert response_s[slow] == pytest.approx(0.06)
    assert response_s[~slow] == pytest.approx(0.02)


def test_a_second_slowness_lasts_as_long_as_it_says_too() -> None:
    faults = [Fault(2.0, "a", "slow", 3.0, 2.0), Fault(3.0, "a", "slow", 2.0, 4.0)]
    response_s, _ = Watched(RESTART, a_plan(group("good")), faults=faults).finished()
    assert response_s[20:30] == pytest.approx(0.06)
    assert response_s[30:70] == pytest.approx(0.04)
    assert response_s[70:] == pytest.approx(0.02)


def test_a_fault_of_a_task_that_does_not_exist_is_told() -> None:
    with pytest.raises(SimulationError, match="task"):
        Watched(RESTART, a_plan(group("good")), faults=[Fault(1.0, "b")])


# --- seeing ---------------------------------------------------------------------------------------------------------


def test_an_observation_tells_what_was_counted() -> None:
    watched = Watched(RESTART, a_plan(group("good", 2, 2, 2, batch=4)), every_s=0.25)
    seen = watched.plant.observation(watched.plant.take_window())
    assert (seen.now_s, seen.window_s, seen.arrivals, seen.response_s) == (0.0, 0.0, (), {})
    watched.plant.advance(2.5)
    seen = watched.plant.observation(watched.plant.take_window())
    assert seen.plan_id == a_plan(group("good", 2, 2, 2, batch=4)).id
    assert seen.arrivals == (4, 4)  # the third second is not complete
    assert seen.outcomes == Outcomes(in_time=10)
    assert seen.core_seconds == pytest.approx(2.5 * 4)
    assert set(seen.response_s) == {0.5, 0.95, 0.99}
    assert seen.response_s[0.5] == pytest.approx(0.02, rel=0.003)
    task = seen.tasks["a"]
    assert (task.batches, dict(task.served)) == (10, {"good": 10})
    assert task.service_ratio == pytest.approx(1.0)
    assert task.busy_core_s == pytest.approx(10 * 0.02 * 2)
    watched.plant.advance(4.0)
    assert watched.plant.observation(watched.plant.take_window()).arrivals == (4, 4)


def test_the_measured_ratio_is_against_what_is_believed() -> None:
    truth = Profile(
        {
            "a": {
                name: replace(profile, points=tuple(replace(p, mean_s=1.5 * p.mean_s) for p in profile.points))
                for name, profile in a_profile().variants["a"].items()
            }
        }
    )
    moments = np.linspace(0.0, 9.9, 100)
    plant = SimPlant(a_pipeline(), a_profile(), RESTART, 4, iter([moments]), 0, serving=FIFO, truth=truth)
    plant.apply_now(a_plan(group("best")), warm=True)
    plant.advance(20.0)
    seen = plant.observation(plant.take_window())
    assert seen.tasks["a"].service_ratio == pytest.approx(1.5)
    assert seen.response_s[0.5] == pytest.approx(0.06, rel=0.003)


def test_batches_are_spread_over_the_least_busy_replicas() -> None:
    watched = Watched(RESTART, a_plan(group("best", 3, 4)), every_s=1000.0)
    watched.plant.offer(7)
    watched.plant.advance(0.01)
    assert watched.plant.state["replica_i"][:3, at.BUSY].tolist() == [3, 2, 2]


def test_records_are_kept_of_the_first_requests() -> None:
    moments = np.linspace(0.0, 0.9, 10)
    plant = SimPlant(a_pipeline(), a_profile(), RESTART, 4, iter([moments]), 0, serving=FIFO, records=4)
    plant.apply_now(a_plan(group("best")), warm=True)
    plant.advance(5.0)
    assert plant.state["record_s"].tolist() == pytest.approx([0.04] * 4)
    assert plant.observation(plant.take_window()).outcomes == Outcomes(in_time=10)

from __future__ import annotations

from dataclasses import replace

from trimtab.plan.model import Allocation, Limits, PlanRequest
from trimtab.plan.residents import memory_bytes, with_residents
from trimtab.profile.model import CapacityPoint, Profile, VariantProfile
from trimtab.spec.model import Instance, Prices, Serverless
from trimtab.testing import make_chain

VARIANTS = {"s": (0.7, 0.004), "m": (0.8, 0.01), "l": (0.9, 0.03)}
PIPELINE, PROFILE = make_chain({"a": VARIANTS}, variant_bytes=100)
REQUEST = PlanRequest(PIPELINE, PROFILE, 5.0, Limits(cores=8.0))
ONE = Allocation("m", 2, 1, 1, 1)


def test_a_mix_holds_what_all_its_groups_serve_and_more() -> None:
    groups = (Allocation("l", 1, 1, 1, 1, 0.5), Allocation("m", 2, 1, 1, 1, 0.5))
    plans, notes = with_residents(REQUEST, {"a": groups})
    assert plans["a"].allocations == groups
    assert plans["a"].resident == ("l", "m", "s")
    assert plans["a"].may_use == ("m", "s"), "what serves the larger group may step down to the smaller's variant"
    assert notes == ()
    tight = replace(REQUEST, limits=Limits(cores=8.0, memory_bytes=600))
    plans, notes = with_residents(tight, {"a": groups})
    assert plans["a"].resident == ("l", "m")
    assert memory_bytes(plans, PROFILE) == 600
    assert notes == ("a/s does not fit the memory limit beside the others",)


def test_a_plant_that_cannot_switch_holds_what_is_served() -> None:
    fixed = replace(REQUEST, limits=Limits(cores=8.0, in_place_variants=False))
    plans, _ = with_residents(fixed, {"a": (ONE,)})
    assert plans["a"].resident == ("m",)
    assert plans["a"].may_use == ()


def test_a_variant_that_makes_what_is_rented_dearer_stays_out() -> None:
    prices = Prices(instances={"i": Instance("i", 2, 1.0, memory_bytes=400)})
    plans, notes = with_residents(replace(REQUEST, pipeline=replace(PIPELINE, prices=prices)), {"a": (ONE,)})
    assert plans["a"].resident == ("m", "s"), "two replicas of 200 bytes share an instance, of 300 they do not"
    assert notes == ("a/l would need dearer instances",)
    prices = Prices(serverless=Serverless(1.0, memory_bytes=250))
    plans, _ = with_residents(replace(REQUEST, pipeline=replace(PIPELINE, prices=prices)), {"a": (ONE,)})
    assert plans["a"].resident == ("m", "s")


def test_capacity_tables_say_what_steps_down() -> None:
    rows = {"s": CapacityPoint(4, 90.0, 0.2), "m": CapacityPoint(4, 40.0, 0.3), "l": CapacityPoint(4, 9.0, 0.5)}
    tables = Profile({"a": {v: VariantProfile("a", v, (), capacity=(row,)) for v, row in rows.items()}})
    plans, _ = with_residents(replace(REQUEST, profile=tables), {"a": (Allocation("m", 1, 4, 1, 1),)})
    assert plans["a"].resident == ("l", "m", "s")
    assert plans["a"].may_use == ("s",)

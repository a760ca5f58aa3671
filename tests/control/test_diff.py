from __future__ import annotations

from trimtab.control.diff import diff
from trimtab.control.protocols import Action
from trimtab.plan.model import Allocation, Plan, TaskPlan


def plan_of(variant: str = "s", replicas: int = 1, cores: int = 1, batch: int = 1, *, resident: str = "sl") -> Plan:
    task = TaskPlan("a", (Allocation(variant, replicas, cores, 1, batch),), tuple(resident))
    return Plan({"a": task}, 1.0)


def kinds(before: Plan | None, after: Plan) -> list[str]:
    return [action.kind for action in diff(before, after)]


def test_from_nothing_everything_is_set() -> None:
    assert kinds(None, plan_of()) == ["add-replicas", "set-resident", "set-cores", "set-variant", "set-batch"]


def test_each_facet_gives_its_action() -> None:
    assert diff(plan_of(), plan_of()) == ()
    assert diff(plan_of(), plan_of("l")) == (Action("a", "set-variant", "s", "l"),)
    assert diff(plan_of(), plan_of(replicas=3)) == (Action("a", "add-replicas", "1", "3"),)
    assert diff(plan_of(replicas=3), plan_of()) == (Action("a", "remove-replicas", "3", "1"),)
    assert kinds(plan_of(), plan_of(cores=2)) == ["set-cores"]
    assert kinds(plan_of(), plan_of(batch=4)) == ["set-batch"]
    assert kinds(plan_of(), plan_of(resident="s")) == ["set-resident"]


def test_variants_that_may_be_used_belong_to_the_variant() -> None:
    free = TaskPlan("a", (Allocation("l", 1, 1, 1, 1),), ("l", "s"), may_use=("s",))
    fixed = TaskPlan("a", (Allocation("l", 1, 1, 1, 1),), ("l", "s"))
    (action,) = diff(Plan({"a": fixed}, 1.0), Plan({"a": free}, 1.0))
    assert action == Action("a", "set-variant", "l", "l (or s)")


def test_a_task_that_is_gone_loses_its_replicas() -> None:
    assert diff(plan_of(replicas=2), Plan({}, 1.0)) == (Action("a", "remove-replicas", "2", "0"),)

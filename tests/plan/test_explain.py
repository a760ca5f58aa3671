from __future__ import annotations

from trimtab.plan.explain import explain
from trimtab.plan.model import Limits, PlanRequest, PlanResult
from trimtab.plan.policies import make_policy
from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline
from trimtab.testing import make_chain


def explained(chain: tuple[Pipeline, Profile], rate: float, name: str = "trimtab", cores: float = 2.0) -> PlanResult:
    policy, request = make_policy(name), PlanRequest(*chain, rate, Limits(cores=cores))
    return explain(policy, request, policy.propose(request))


def test_cores_and_slo_bind_where_more_of_them_gives_accuracy(chain: tuple[Pipeline, Profile]) -> None:
    words = " | ".join(explained(chain, 12.0).binding)
    assert "cores: with 3 instead of 2, accuracy would be 0.9555" in words
    assert "SLO: with 500 ms instead of 400 ms" in words
    assert "read with heavy on the same cores has accuracy 0.9555 but takes" in words


def test_nothing_binds_where_the_best_is_had_anyway(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 1.0)
    assert result.binding == ()
    assert result.plan.variants() == {"locate": ("heavy",), "read": ("heavy",)}


def test_the_runner_up_is_the_best_other_combination(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 1.0)
    assert result.runner_up is not None
    assert result.runner_up.plan.variants() == {"locate": ("middle",), "read": ("heavy",)}
    assert result.runner_up.reason == "its accuracy is 0.9409, 1.46 points less"


def test_a_policy_that_does_not_choose_says_so(chain: tuple[Pipeline, Profile]) -> None:
    result = explained(chain, 1.0, "cheapest")
    assert result.runner_up is not None
    assert "does not choose by it" in result.runner_up.reason


def test_there_is_no_runner_up_without_another_variant() -> None:
    assert explained(make_chain({"a": {"v": (0.9, 0.01)}}), 5.0).runner_up is None


def test_explaining_leaves_plan_and_estimate_alone(chain: tuple[Pipeline, Profile]) -> None:
    request = PlanRequest(*chain, 50.0, Limits(cores=2.0))
    plain = make_policy("ipa").propose(request)
    result = explained(chain, 50.0, "ipa")
    assert (result.plan, result.estimate, result.steps) == (plain.plan, plain.estimate, plain.steps)

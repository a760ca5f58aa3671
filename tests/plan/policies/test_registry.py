from __future__ import annotations

import pytest

from trimtab.errors import PlanRequestError
from trimtab.plan.policies import DEFAULT_POLICY, POLICIES, make_policy


def test_every_name_makes_the_policy_of_that_name() -> None:
    assert DEFAULT_POLICY in POLICIES
    for name in POLICIES:
        assert make_policy(name).name == name


def test_a_dotted_name_opens_the_same_door() -> None:
    assert make_policy("trimtab.plan.policies.ipa.policy:IpaPolicy").name == "ipa"


def test_a_misspelt_name_is_answered_with_the_one_meant() -> None:
    with pytest.raises(PlanRequestError, match=r"got trimtap.*one of trimtab, ipa.*\n.*did you mean 'trimtab'"):
        make_policy("trimtap")
    with pytest.raises(PlanRequestError, match="no such policy") as caught:
        make_policy("zzz")
    assert caught.value.next_step is None


@pytest.mark.parametrize(
    "name", ["nowhere.at.all:Policy", "trimtab.plan:Nothing", ":", "a:", "trimtab.plan.model:Plan"]
)
def test_what_cannot_be_loaded_is_said(name: str) -> None:
    with pytest.raises(PlanRequestError, match="cannot be loaded"):
        make_policy(name)


def test_what_is_no_policy_is_said() -> None:
    with pytest.raises(PlanRequestError, match="no policy"):
        make_policy("trimtab.control.settings:ControllerSettings")

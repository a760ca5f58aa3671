"""The contract of a policy that remembers, as a function that raises AssertionError with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trimtab.observe.model import Observation
from trimtab.plan.model import Plan, PlanRequest, PlanResult
from trimtab.plan.policies import ObservingPolicy
from trimtab.plan.policies.static import CheapestPolicy
from trimtab.testing.day import a_day, seen
from trimtab.testing.policies import check_answer, small_question

_LOOKS = 4
"""Most looks from one turn to the next; those of a slow policy are so much longer."""
_LONGEST_S = 100.0
"""The longest look."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a policy was told, what it was asked and what it answered."""

    where: str
    """In words."""
    observation: Observation | None
    """None at the start."""
    plan: Plan | None
    """In force while that was seen, and when the question came."""
    rate_rps: float
    answer: PlanResult | None
    """None where it was not its turn."""


def check_observing_policy(make: Callable[[], ObservingPolicy], *, tasks: int = 2) -> None:
    """Drive a policy through a day of observations, with a plan in force that follows its proposals.

    The day (`testing.day`) is quiet, rises, bursts, is overloaded, has gaps and falls silent. Every answer must be
    sound, as `check_policy` has it, which is to be run as well, and nothing may be raised, whatever was served, counted
    or ready. A fresh policy that is told the same afterwards, in other objects, must answer the same; so must one that
    is asked other questions in between. So its state comes from what it observes alone, and a journal replays.

    Args:
        make: makes a fresh policy.
        tasks: tasks of the chain, one or two.
    """
    policy = make()
    assert isinstance(policy, ObservingPolicy), "an observing policy has name, decides, propose and observe"
    assert make() is not policy, "`make` must make a fresh policy every time"
    day = _live(policy, _question(tasks))
    _tell_again(make(), day, _question(tasks))
    _tell_again(make(), day, _question(tasks), asks_more=True)


def _question(tasks: int) -> PlanRequest:
    question = small_question(tasks)
    return replace(question, limits=replace(question.limits, max_allocations_per_task=2))


def _live(policy: ObservingPolicy, question: PlanRequest) -> list[_Moment]:
    """The day at the policy's own rhythm, or once a look without one."""
    every_s = getattr(getattr(policy, "rhythm", None), "every_s", 1.0)
    seconds = round(min(max(every_s / _LOOKS, 1.0), _LONGEST_S))
    looks = round(min(max(every_s / seconds, 1.0), _LOOKS))
    where = f"{policy.name} at the start"
    first = _ask(policy, question, where)
    day = [_Moment(where, None, None, question.rate_rps, first)]
    plan = before = first.plan
    now_s = 0.0
    for number, look in enumerate(a_day(), start=1):
        where = f"{policy.name} after look {number}, {look.what}"
        observation = seen(look, now_s, seconds, plan, before, question)
        _tell(policy, observation, plan, where)
        answer = None
        if number % looks == 0:
            answer = _ask(policy, replace(question, rate_rps=look.rate_rps, current=plan), where)
        day.append(_Moment(where, observation, plan, look.rate_rps, answer))
        now_s, before, plan = observation.now_s, plan, plan if answer is None else answer.plan
    return day


def _tell_again(
    policy: ObservingPolicy, day: Sequence[_Moment], question: PlanRequest, *, asks_more: bool = False
) -> None:
    """The same day once more for a fresh policy; it must answer the same."""
    foreign = CheapestPolicy().propose(question).plan
    for number, moment in enumerate(day):
        plan = None if moment.plan is None else replace(moment.plan)
        if moment.observation is not None and plan is not None:
            _tell(policy, replace(moment.observation), plan, moment.where)
        asked = replace(question, rate_rps=moment.rate_rps, current=plan)
        if asks_more and number % 2:
            other = replace(asked, rate_rps=1.0 + 2.0 * asked.rate_rps, current=foreign if number % 4 == 1 else None)
            _ask(policy, other, f"{moment.where}, asked out of turn")
        if moment.answer is None:
            continue
        answer = _propose(policy, asked, moment.where)
        if asks_more:
            assert answer == moment.answer, f"{moment.where}: what it was asked before changes the answer"
            again = _propose(policy, asked, moment.where)
            assert again == answer, f"{moment.where}: asked twice, answered differently"
        assert answer == moment.answer, f"{moment.where}: a fresh policy that was told the same answers differently"


def _tell(policy: ObservingPolicy, observation: Observation, plan: Plan, where: str) -> None:
    try:
        policy.observe(observation, plan)
    except Exception as error:
        raise AssertionError(f"{where}: observe raised {error!r}") from error


def _ask(policy: ObservingPolicy, asked: PlanRequest, where: str) -> PlanResult:
    answer = _propose(policy, asked, where)
    check_answer(answer, asked, where)
    return answer


def _propose(policy: ObservingPolicy, asked: PlanRequest, where: str) -> PlanResult:
    try:
        return policy.propose(asked)
    except Exception as error:
        raise AssertionError(f"{where}: propose raised {error!r}") from error

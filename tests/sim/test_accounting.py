"""Every request is accounted for, whatever happens; and the same story is told the same way, always."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from tests.sim.stories import TINY, Story, Told, stories, tell

from trimtab import compiled
from trimtab.sim import layout as at


@settings(max_examples=80)
@given(stories())
def test_every_request_ends_once_and_leaves_nothing_behind(story: Story) -> None:
    told = tell(story)
    ended = told.outcomes
    assert told.offered == len(story.moments) == ended.ended
    assert [told.outcome.count(k) for k in (at.IN_TIME, at.LATE, at.REFUSED, at.DROPPED, at.FAILED)] == [
        ended.in_time, ended.late, ended.refused, ended.dropped, ended.failed
    ]  # fmt: skip
    check_nothing_is_left(told)
    check_answers(story, told)
    check_reasons(story, told)


def check_nothing_is_left(told: Told) -> None:
    state = told.plant.state
    assert not state["task_i"][at.WAITING].any()
    assert not state["task_i"][at.IN_SERVICE].any()
    assert not state["group_i"][:, at.QUEUED].any()
    assert not state["waits"].any()
    assert (state["group_i"][:, at.FREE] == state["group_i"][:, at.SLOTS]).all()
    assert not state["replica_i"][:, at.BUSY].any()
    # What is in flight was lost with its replica and only has to come out; every other place for a batch is free.
    flying = state["end_batch"][: state["counts"][at.IN_FLIGHT], 1]
    assert (state["batch_i"][flying, at.B_LOST] == 1).all()
    spare = state["spare"][: state["counts"][at.SPARE]]
    assert sorted([*flying.tolist(), *spare.tolist()]) == list(range(state.sizes.K))


def check_answers(story: Story, told: Told) -> None:
    """Records, windows and plans tell the same."""
    answered = ~np.isnan(told.response_s)
    assert told.answers == told.outcomes.in_time + told.outcomes.late == answered.sum()
    assert told.sum_response_s == pytest.approx(told.response_s[answered].sum())
    allowed_s = story.left_s()[answered]
    for response_s, outcome, left_s in zip(
        told.response_s[answered], np.array(told.outcome)[answered], allowed_s, strict=True
    ):
        assert response_s > 0.0
        assert abs(response_s - left_s) < 1e-9 or (outcome == at.IN_TIME) == (response_s < left_s)
    least = best = 1.0
    for name, task in story.pipeline.tasks.items():
        used = {v for v, count in told.served[name].items() if count}
        planned = {a.variant for _, plan in story.plans for a in plan.tasks[name].allocations}
        spare = {v for _, plan in story.plans for v in plan.tasks[name].may_use}
        assert used <= (planned | spare if story.serving.rule == "trimtab" else planned)
        worth = [task.variants[v].accuracy for v in used]
        least *= min(worth, default=1.0)
        best *= 1.0 if task.after else max(worth, default=1.0)  # a fan-out may bring nothing: then the task is no part
    if told.answers:
        assert least * (1.0 - 1e-9) <= told.worth / told.answers <= best * (1.0 + 1e-9)


def check_reasons(story: Story, told: Told) -> None:
    """Only what can end a request ends one."""
    ended, serving = told.outcomes, story.serving
    if sum(fault.kind == "lose" for fault in story.faults) < 2:
        assert ended.failed == 0  # every item is tried twice
    keeps_all = serving.rule == "clipper" or (serving.rule == "fifo" and serving.drop_after_s is None)
    if keeps_all and serving.queue_limit is None:
        assert ended.refused == ended.dropped == 0
    if len(story.pipeline.tasks) == 1:
        assert ended.dropped == 0  # nothing that waits has been worked on
    if not story.model.in_place_cores:
        # Nobody computes on cores that nobody holds; a replica whose cores shrink may, until its batches end.
        assert told.busy_core_s <= told.core_seconds * (1.0 + 1e-9)
    assert told.peak_cores >= min(plan.cores for _, plan in story.plans)
    assert told.core_seconds <= told.peak_cores * told.plant.now_s * (1.0 + 1e-9)


@settings(max_examples=30)
@given(stories())
def test_room_that_has_to_grow_changes_nothing_and_telling_again_neither(story: Story) -> None:
    assert tell(story, TINY).figures() == tell(story).figures()


@pytest.mark.usefixtures("machine_code")
@settings(max_examples=30)
@given(stories())
def test_plain_and_compiled_form_are_one(story: Story) -> None:
    compiled.load("sim")
    fast = tell(story).figures()
    compiled.unload("sim")
    assert fast == tell(story).figures()

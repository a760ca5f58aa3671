"""Who gets a batch, who is left out, and how one comes back."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trimtab.runtime.pool import LEAST_BATCHES, LONGEST_PAUSE_S, PAUSE_S, SLOW_TIMES, Pool, Seat
from trimtab.runtime.replica import BatchResult
from trimtab.runtime.service import Tensor

EXPECTED_S = 0.1


class Idle:
    """A replica that is only looked at."""

    id = "idle"
    task = "read"

    async def run(self, variant: str, inputs: Mapping[str, Tensor]) -> BatchResult:
        raise NotImplementedError


def a_pool(*paces: float, concurrency: int = 1, group: int = 0) -> Pool:
    """One replica a pace, each known well enough to be judged."""
    pool = Pool()
    pool.seats = [Seat(Idle(), concurrency, group, pace=pace, batches=LEAST_BATCHES) for pace in paces]
    return pool


def serve(pool: Pool, seat: Seat, times: float, now_s: float = 0.0) -> bool:
    """A batch that took so many times what was expected."""
    return pool.served(seat, times * EXPECTED_S, EXPECTED_S, now_s)


def test_a_batch_goes_where_the_expected_wait_is_least() -> None:
    pool = a_pool(1.0, 1.5, 1.0, concurrency=4)
    pool.seats[0].busy, pool.seats[1].busy, pool.seats[2].busy = 2, 1, 3
    # (2 + 1) × 1 and (1 + 1) × 1.5 are the same wait: the first of both; another batch on it, and it is the second.
    assert pool.next(0, 0.0) is pool.seats[0]
    pool.seats[0].busy = 3
    assert pool.next(0, 0.0) is pool.seats[1]


def test_a_replica_that_serves_more_at_once_gets_more() -> None:
    pool = a_pool(1.0, 1.0)
    pool.seats[1].concurrency = 3
    got = [0, 0]
    while (seat := pool.next(0, 0.0)) is not None:
        got[pool.seats.index(seat)] += 1
        seat.busy += 1
    assert got == [1, 3]
    assert pool.free(0, 0.0) == 0


def test_groups_and_draining_replicas_are_kept_apart() -> None:
    pool = a_pool(1.0, 1.0, 1.0)
    pool.seats[1].group = 1
    pool.seats[2].open = False
    assert [pool.slots(group, 0.0) for group in range(3)] == [1, 1, 0]
    assert [pool.next(group, 0.0) for group in range(3)] == [*pool.seats[:2], None]
    assert pool.of(pool.seats[1].replica) is pool.seats[1]
    assert pool.of(Idle()) is None


def test_pace_follows_what_batches_take() -> None:
    pool = a_pool(1.0, 1.0)
    for _ in range(50):
        serve(pool, pool.seats[0], 2.0)
    assert pool.seats[0].pace == pytest.approx(2.0, rel=1e-3)
    assert not pool.seats[0].pause_s


def test_a_single_stall_leaves_nobody_out() -> None:
    pool = a_pool(1.0, 1.0)
    assert not serve(pool, pool.seats[0], 1000.0)
    assert pool.seats[0].pace <= SLOW_TIMES
    assert serve(pool, pool.seats[0], 1000.0)


@pytest.mark.parametrize("expected_s", [0.0, float("inf"), float("nan")])
def test_nothing_is_learned_where_nothing_was_expected(expected_s: float) -> None:
    pool = a_pool(1.0, 1.0)
    assert not pool.served(pool.seats[0], 5.0, expected_s, 0.0)
    assert pool.seats[0].pace == 1.0


def test_a_slow_replica_is_left_out_once_it_is_known() -> None:
    pool = a_pool(1.0, 1.0)
    slow = pool.seats[0]
    slow.batches = 0
    changed = [serve(pool, slow, 10.0) for _ in range(LEAST_BATCHES)]
    assert changed == [False] * (LEAST_BATCHES - 1) + [True]
    assert (slow.serving, slow.free(0.0), slow.out_until_s) == (0, 0, PAUSE_S)
    assert pool.slots(0, 0.0) == 1
    assert pool.next_trial_s() == PAUSE_S


def test_who_is_slow_is_judged_by_the_median_of_the_others() -> None:
    others = a_pool(3.0, 1.0, 1.0, 40.0)  # a second sick one does not hide it
    assert serve(others, others.seats[0], 10.0)
    crowd = a_pool(4.0, 4.0, 4.0)  # where all are slow, the variant is
    assert not serve(crowd, crowd.seats[0], SLOW_TIMES * 4.0)
    groups = a_pool(9.0, 1.0)  # another group's replicas are no measure
    groups.seats[1].group = 1
    assert not serve(groups, groups.seats[0], 10.0)


def test_after_its_pause_it_gets_one_batch_before_anybody_else() -> None:
    pool = a_pool(1.0, 1.0, concurrency=4)
    slow = pool.seats[1]
    assert pool.leave_out(slow, 10.0)
    assert pool.next(0, 10.0 + PAUSE_S - 0.01) is pool.seats[0]
    assert pool.next(0, 10.0 + PAUSE_S) is slow
    slow.busy = 1
    assert pool.next(0, 10.0 + PAUSE_S) is pool.seats[0]


def test_a_trial_that_goes_well_brings_it_back() -> None:
    pool = a_pool(1.0, 9.0, concurrency=4)
    pool.leave_out(pool.seats[1], 0.0)
    assert serve(pool, pool.seats[1], 1.2, PAUSE_S + 0.1)
    assert (pool.seats[1].serving, pool.seats[1].pace, pool.next_trial_s()) == (4, 1.2, float("inf"))


def test_each_trial_that_fails_doubles_the_pause_up_to_a_bound() -> None:
    pool = a_pool(1.0, 9.0)
    slow, now_s, pauses = pool.seats[1], 0.0, []
    pool.leave_out(slow, now_s)
    for _ in range(8):
        pauses.append(slow.pause_s)
        now_s = slow.out_until_s
        serve(pool, slow, 10.0, now_s)
    assert pauses == [min(PAUSE_S * 2**i, LONGEST_PAUSE_S) for i in range(8)]
    assert slow.out_until_s == now_s + LONGEST_PAUSE_S


def test_batches_from_before_the_pause_are_no_trial() -> None:
    pool = a_pool(1.0, 1.0, concurrency=4)
    slow = pool.seats[1]
    pool.leave_out(slow, 0.0)
    assert pool.leave_out(slow, 0.5)  # a second batch of the same stop
    assert not serve(pool, slow, 30.0, 1.0)
    assert not serve(pool, slow, 1.0, 1.5)
    assert (slow.pause_s, slow.out_until_s) == (PAUSE_S, PAUSE_S)


def test_the_last_replica_is_never_left_out() -> None:
    pool = a_pool(1.0, 1.0)
    assert pool.leave_out(pool.seats[0], 0.0)
    assert not pool.leave_out(pool.seats[1], 0.0)
    pool.seats[1].pace = 9.0
    assert not serve(pool, pool.seats[1], 10.0)
    assert pool.next(0, 0.0) is pool.seats[1]


def test_those_left_out_come_back_when_the_others_are_gone() -> None:
    pool = a_pool(9.0, 1.0, concurrency=2)
    slow, other = pool.seats
    pool.leave_out(slow, 0.0)
    pool.recall()
    assert slow.serving == 0
    other.open = False
    pool.recall()
    assert (slow.serving, slow.free(0.0), slow.pace) == (2, 2, 1.0)
    assert pool.slots(0, 0.0) == 2


def test_a_group_whose_only_replica_is_left_out_serves_nothing_until_its_trial() -> None:
    pool = a_pool(1.0, 1.0, concurrency=2)
    pool.seats[1].group = 1
    assert pool.leave_out(pool.seats[1], 0.0)
    assert [pool.slots(1, now_s) for now_s in (0.0, PAUSE_S)] == [0, 1]
    pool.seats[1].busy = 1
    assert pool.slots(1, PAUSE_S) == 0  # the trial runs: nothing behind it

"""Batching rules of the literature as kernels, beside Trimtab's own (`dispatch.kernels`).

Each looks at the head of a queue and says: serve so many now, wait until a moment, or drop the head. They know one
variant, the allocated one. Where the source is unsure, the rule says so.

- `fifo`: first come, first served, batches of at most b; a batch that is not full waits until its head has waited
  `max_wait_s` (MLServer's adaptive batching, which IPA uses). A head older than `drop_after_s` is dropped, as IPA does.
- `clipper`: as many as wait, up to a bound that grows by one after every full batch within the latency objective and
  shrinks to 0.9 of itself after one that was not (additive increase, multiplicative decrease: Crankshaw et al., NSDI
  2017, §4.3; the factor 0.9 is from memory). Work-conserving, first come, first served; drops nothing.
- `nexus`: early drop (Shen et al., SOSP 2019, §6.3): the head is dropped while it could not be saved by the batch that
  the queue fills, of at most b; so the batch is as large as the queue allows. Work-conserving.
- `proteus`: waits while it can (Ahmad et al., ASPLOS 2024, §5): a batch starts when it is full, or at the last moment
  at which its head is still in time; an arrival that would make the batch too long for its head is left out of it. A
  head that not even a batch of one saves is dropped.
"""

from __future__ import annotations

from trimtab.compiled import kernel
from trimtab.dispatch.kernels import Floats, fitting_batch

TRIMTAB, FIFO, CLIPPER, NEXUS, PROTEUS = 0, 1, 2, 3, 4
"""The rules as numbers, as compiled code knows them."""
WAIT, SERVE, DROP = 0, 1, 2
"""What a rule says."""

INCREASE, DECREASE = 1.0, 0.9
"""Of Clipper's bound on the batch."""
_ROUNDING_S = 1e-9
"""A moment that was computed as the last possible one is still in time."""


@kernel()
def rule_step(
    rule: int,
    now_s: float,
    arrived_s: float,
    queued_s: float,
    deadline_s: float,
    queued: int,
    service_s: Floats,
    ratio: float,
    max_batch: int,
    bound: float,
    max_wait_s: float,
    drop_after_s: float,
) -> tuple[int, int, float]:
    """What to do about the head of a queue: (`WAIT`, 0, until), (`SERVE`, size, 0) or (`DROP`, 0, 0).

    Args:
        rule: one of the rules above, not `TRIMTAB`.
        now_s: the moment; a slot is free.
        arrived_s: when the head's request arrived.
        queued_s: when the head joined this queue.
        deadline_s: when this task has to be done with the head at the latest.
        queued: items waiting, at least 1.
        service_s: shape (B + 1,), of the allocated variant.
        ratio: measured ÷ expected service time.
        max_batch: the plan's largest batch, at most B.
        bound: Clipper's bound on the batch, at least 1.
        max_wait_s: of `fifo`.
        drop_after_s: of `fifo`; infinite: never.
    """
    most = min(queued, max_batch)
    if rule == FIFO:
        if now_s - arrived_s >= drop_after_s:
            return DROP, 0, 0.0
        if queued >= max_batch or now_s + _ROUNDING_S >= queued_s + max_wait_s:
            return SERVE, most, 0.0
        return WAIT, 0, queued_s + max_wait_s
    if rule == CLIPPER:
        return SERVE, max(1, min(most, int(bound))), 0.0
    left_s = deadline_s - now_s + _ROUNDING_S
    if rule == NEXUS:
        if service_s[most] * ratio > left_s:
            return DROP, 0, 0.0
        return SERVE, most, 0.0
    fits = fitting_batch(left_s, service_s, ratio, most)
    if fits == 0:
        return DROP, 0, 0.0
    last_s = deadline_s - service_s[most] * ratio
    if fits < most or most == max_batch or last_s <= now_s + _ROUNDING_S:
        return SERVE, fits, 0.0
    return WAIT, 0, last_s


@kernel()
def adjusted_bound(bound: float, size: int, took_s: float, objective_s: float, max_batch: int) -> float:
    """Clipper's bound after a batch of `size` that took `took_s`, with the latency objective `objective_s`."""
    if took_s > objective_s:
        return max(1.0, DECREASE * bound)
    if size >= int(bound):
        return min(float(max_batch), bound + INCREASE)
    return bound

"""A second simulator, slow and plain: a chain of tasks with first-come-first-served queues and constant service times.

It shares nothing with `trimtab.sim` but the meaning of a request's life, written from `docs/design/architecture.md` and
the docstrings of `sim.model.Serving`: one queue a task, batches of up to b, waiting for a full batch for at most so
long, dropping what is too old when its turn comes, and a limit on the requests at a task.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

_ENDED, _ARRIVED, _WOKEN = range(3)
ROUNDING_S = 1e-9


@dataclass
class Step:
    """A task."""

    servers: int
    batch: int
    seconds: dict[int, float]
    queue: deque[tuple[float, int]] = field(default_factory=deque)
    """When it came, which request."""
    busy: int = 0
    serving: int = 0
    wakes_s: float | None = None


@dataclass
class Reference:
    """A chain under the rule `fifo`."""

    steps: list[Step]
    max_wait_s: float = 0.0
    drop_after_s: float | None = None
    limit: int | None = None

    def run(self, moments: list[float]) -> tuple[dict[int, float], set[int], set[int]]:
        """Request → response time; the requests refused; those dropped."""
        self.moments, self.answers_s = moments, dict[int, float]()
        self.refused, self.dropped = set[int](), set[int]()
        self.events = [(moment, _ARRIVED, i, 0, [i]) for i, moment in enumerate(moments)]
        heapq.heapify(self.events)
        self.sequence = len(moments)
        while self.events:
            now_s, kind, _, k, requests = heapq.heappop(self.events)
            step = self.steps[k]
            if kind == _ARRIVED:
                if self.limit is not None and len(step.queue) + step.serving >= self.limit:
                    self.refused.add(requests[0])
                    continue
                step.queue.append((now_s, requests[0]))
            elif kind == _ENDED:
                step.serving -= len(requests)
                for request in requests:
                    self.hand_on(k, request, now_s)
                step.busy -= 1
            elif step.wakes_s != now_s:
                continue  # a wait that was given up meanwhile
            self.start(k, now_s)
        return self.answers_s, self.refused, self.dropped

    def hand_on(self, k: int, request: int, now_s: float) -> None:
        if k + 1 == len(self.steps):
            self.answers_s[request] = now_s - self.moments[request]
            return
        following = self.steps[k + 1]
        if self.limit is not None and len(following.queue) + following.serving + 1 > self.limit:
            self.dropped.add(request)
            return
        following.queue.append((now_s, request))
        self.start(k + 1, now_s)

    def start(self, k: int, now_s: float) -> None:
        step = self.steps[k]
        while step.queue and step.busy < step.servers:
            came_s, head = step.queue[0]
            step.wakes_s = None
            if self.drop_after_s is not None and now_s - self.moments[head] >= self.drop_after_s:
                step.queue.popleft()
                (self.dropped if k else self.refused).add(head)
                continue
            if len(step.queue) < step.batch and now_s + ROUNDING_S < came_s + self.max_wait_s:
                step.wakes_s = came_s + self.max_wait_s
                self.plan(step.wakes_s, _WOKEN, k, [])
                return
            taken = [step.queue.popleft()[1] for _ in range(min(step.batch, len(step.queue)))]
            step.busy += 1
            step.serving += len(taken)
            self.plan(now_s + step.seconds[len(taken)], _ENDED, k, taken)

    def plan(self, moment: float, kind: int, k: int, requests: list[int]) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (moment, kind, self.sequence, k, requests))


@dataclass
class EarliestFirst:
    """One task under the rule `trimtab`: a variant, constant service times, one item a batch; deadlines per request.

    Written from the docstrings of `dispatch.kernels`: 5 % of a request's time are kept for its answer; who arrives and
    could not be answered within the rest is refused, half of what is in service counting as still to be done; the
    earliest deadline goes first; what waits is refused when its deadline passes or the service would end too late.
    """

    servers: int
    seconds: float

    def run(self, moments: list[float], left_s: list[float]) -> tuple[dict[int, float], set[int]]:
        """Request → when it was answered; those refused."""
        answers_s, refused, waiting, busy = dict[int, float](), set[int](), set[int](), 0
        ends_s = [moment + 0.95 * left for moment, left in zip(moments, left_s, strict=True)]
        events = [(moment, _ARRIVED, i) for i, moment in enumerate(moments)]
        heapq.heapify(events)
        while events:
            now_s, kind, i = heapq.heappop(events)
            if kind == _ENDED:
                answers_s[i], busy = now_s, busy - 1
            elif kind == _ARRIVED:
                backlog_s = (len(waiting) + 0.5 * busy) * self.seconds / self.servers
                wait_s = backlog_s if waiting or busy == self.servers else 0.0
                if wait_s + self.seconds > 0.95 * left_s[i]:
                    refused.add(i)
                    continue
                waiting.add(i)
                heapq.heappush(events, (now_s + left_s[i], _WOKEN, i))
            elif i in waiting:  # its deadline passes
                waiting.discard(i)
                refused.add(i)
            while waiting and busy < self.servers:
                first = min(waiting, key=lambda k: (ends_s[k], k))
                waiting.discard(first)
                if now_s + self.seconds > ends_s[first]:
                    refused.add(first)
                    continue
                busy += 1
                heapq.heappush(events, (now_s + self.seconds, _ENDED, first))
        return answers_s, refused

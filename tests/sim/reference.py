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

"""The replicas of a simulated plant, each from its start to its release, and what they cost."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from trimtab.plan.model import Allocation, TaskPlan
from trimtab.profile.model import Profile
from trimtab.sim import layout as at
from trimtab.sim.model import PlantModel
from trimtab.sim.state import State


@dataclass(eq=False, slots=True)
class Replica:
    """One replica; its row in the state says what it does now."""

    row: int
    task: str
    template: tuple[object, ...]
    cores: int
    threads: int
    resident: set[str]
    ready: bool = False
    draining: bool = False
    since_s: float = 0.0
    """From when its cores are not yet in the sum of what was held."""
    ready_s: float = 0.0
    """When it is ready, while it starts."""
    loading: dict[str, float] = field(default_factory=dict)
    """Variants that are being loaded → when they will be resident."""
    slow_until_s: float = 0.0


class Fleet:
    """All replicas that hold cores: starting, serving or draining."""

    def __init__(self, state: State, model: PlantModel, truth: Profile) -> None:
        self._state, self._model, self._truth = state, model, truth
        self._replicas: list[Replica] = []
        self._free_rows: list[int] = []
        self._rows = 0
        self._held_core_s = 0.0
        self.peak_cores = 0
        """Most cores held at once so far."""

    def __contains__(self, replica: Replica) -> bool:
        return replica in self._replicas

    def of(self, task: str) -> list[Replica]:
        """The replicas of a task, the oldest first."""
        return [r for r in self._replicas if r.task == task]

    def template(self, allocation: Allocation) -> tuple[object, ...]:
        """What of an allocation cannot change while a replica runs."""
        variant = () if self._model.in_place_variants else (allocation.variant,)
        shape = () if self._model.in_place_cores else (allocation.cores, allocation.threads)
        return (*variant, *shape)

    def start(self, task: TaskPlan, allocation: Allocation, now_s: float, *, ready: bool) -> Replica:
        """A new replica, which holds its cores from now on; `boot` it, if it is not ready."""
        resident = set(task.resident) if self._model.in_place_variants else {allocation.variant}
        if self._free_rows:
            row = heapq.heappop(self._free_rows)
        else:
            row, self._rows = self._rows, self._rows + 1
            self._state.fit(replicas=self._rows)
        self._clear(row)
        shape = (allocation.cores, allocation.threads)
        replica = Replica(row, task.task, self.template(allocation), *shape, resident, ready=ready, since_s=now_s)
        self._replicas.append(replica)
        return replica

    def boot(self, replica: Replica, now_s: float) -> float:
        """Start a replica's process; returns when it is ready, with its variants loaded."""
        replica.loading.clear()
        loads_s = sum(self.load_s(replica.task, v) for v in sorted(replica.resident))
        replica.ready_s = now_s + self._model.start_s + loads_s
        return replica.ready_s

    def message(self, replica: Replica, task: TaskPlan, allocation: Allocation, now_s: float) -> float:
        """Tell a replica to be as a plan says: to load what is not resident, to change its cores.

        Returns when it will be. Loads follow one another; what is being loaded already is not begun again, and a
        replica that starts loads what is added before it is ready.
        """
        missing: set[str] = set(task.resident) - replica.resident if self._model.in_place_variants else set()
        if not replica.ready:
            replica.ready_s += sum(self.load_s(task.task, variant) for variant in missing)
            replica.resident |= missing
            return replica.ready_s
        done_s = now_s
        for variant in sorted(missing):
            if variant not in replica.loading:
                begins_s = max([now_s, *replica.loading.values()])
                replica.loading[variant] = begins_s + self.load_s(task.task, variant)
            done_s = max(done_s, replica.loading[variant])
        if (replica.cores, replica.threads) != (allocation.cores, allocation.threads):
            done_s += self._model.resize_s
        return done_s

    def load_s(self, task: str, variant: str) -> float:
        """Time to load a variant."""
        if self._model.load_s is not None:
            return self._model.load_s
        return self._truth.variants[task][variant].load_time_s or 0.0

    def become(self, replica: Replica, task: TaskPlan, allocation: Allocation, now_s: float) -> None:
        """A replica is as a plan says from now on."""
        self._bill(replica, now_s)
        replica.cores, replica.threads = allocation.cores, allocation.threads
        if self._model.in_place_variants:
            replica.resident = set(task.resident)
            replica.loading = {v: at_s for v, at_s in replica.loading.items() if v not in replica.resident}

    def retire(self, replica: Replica, now_s: float) -> None:
        """No new batch for a replica; its cores are given back once its last batches are done."""
        if not replica.ready:
            self.release(replica, now_s)
            return
        replica.draining = True
        self._state["replica_i"][replica.row, at.GROUP] = -1
        if self._state["replica_i"][replica.row, at.BUSY] == 0:
            self._state["replica_f"][replica.row, at.IDLE_AT_S] = now_s

    def settle(self, now_s: float) -> None:
        """Give back what drained replicas held, as of when they were done."""
        for replica in [r for r in self._replicas if r.draining]:
            if self._state["replica_i"][replica.row, at.BUSY] == 0:
                done_s = float(self._state["replica_f"][replica.row, at.IDLE_AT_S]) + self._model.drain_s
                if done_s <= now_s:
                    self.release(replica, done_s)

    def release(self, replica: Replica, at_s: float) -> None:
        """A replica is gone, and with it its cores."""
        self._bill(replica, at_s)
        self._replicas.remove(replica)
        self._clear(replica.row)
        heapq.heappush(self._free_rows, replica.row)

    def crash(self, replica: Replica) -> None:
        """A replica's process is gone, its cores are still held: it starts again."""
        replica.ready = False
        self._clear(replica.row)

    def core_seconds(self, now_s: float) -> float:
        """What was held until now."""
        return self._held_core_s + sum(r.cores * (now_s - r.since_s) for r in self._replicas)

    def count_peak(self) -> None:
        """Take note of what is held now."""
        self.peak_cores = max(self.peak_cores, sum(r.cores for r in self._replicas))

    def _bill(self, replica: Replica, until_s: float) -> None:
        self._held_core_s += replica.cores * (until_s - replica.since_s)
        replica.since_s = until_s

    def _clear(self, row: int) -> None:
        self._state["replica_i"][row] = (-1, 0, 0)
        self._state["replica_f"][row] = (1.0, 0.0)

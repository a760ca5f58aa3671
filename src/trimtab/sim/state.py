"""The arrays of a simulation: made, grown where they run out, and handed to the engine in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.sim import engine
from trimtab.sim import layout as at

_UNIFORMS = 1 << 16
_REQUESTS, _QUEUE, _REPLICAS, _BATCHES = 1 << 6, 1 << 8, 8, 16


@dataclass(slots=True)
class Sizes:
    """How large each dimension is; the letters are those of `layout.SHAPES`."""

    T: int
    G: int
    V: int
    B: int
    N: int = _REQUESTS
    Q: int = _QUEUE
    R: int = _REPLICAS
    K: int = _BATCHES
    U: int = _UNIFORMS

    @property
    def H(self) -> int:  # noqa: N802 - a letter, as the fields
        """Heaps: the queues of all groups, and one of deadlines."""
        return self.G + 1

    def shape(self, letters: str) -> tuple[int, ...]:
        """The shape that the letters of an array stand for."""
        return tuple(int(part) if part.isdigit() else getattr(self, part) for part in letters.split())


class State:
    """All arrays by name (`state["queue_key"]`), and what keeps them large enough."""

    def __init__(self, sizes: Sizes, uniforms: Callable[[int], NDArray[np.float64]], records: int = 0) -> None:
        """Make empty arrays; `uniforms(n)` draws n random numbers, `records` requests are kept one by one."""
        self.sizes = sizes
        self._draw = uniforms
        self._held: dict[str, NDArray[Any]] = {
            name: np.zeros(sizes.shape(shape), dtype=at.dtypes()[name]) for name, shape in at.SHAPES.items()
        }
        self._held["uniforms"] = uniforms(sizes.U)
        self._held["record_outcome"] = np.full(records, -1, dtype=np.int64)
        self._held["record_s"] = np.full(records, np.nan)
        self["queue_key"][:] = np.inf
        self["replica_i"][:, at.GROUP] = -1
        self["replica_f"][:, at.FACTOR] = 1.0
        self["group_f"][:, at.WAKE_S] = np.inf
        self["group_f"][:, at.BOUND] = 1.0
        self["group_f"][:, at.ALONE_S] = self["group_f"][:, at.PER_ITEM_S] = np.inf
        self["task_f"][:] = np.inf
        self["ratio"][:] = 1.0
        for name in ("service_s", "mean_s", "least_s"):
            self[name][:] = np.inf
        self._spare_from(0)
        self._bind()

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._held[name]

    def replace(self, name: str, array: NDArray[Any]) -> None:
        """Put another array in the place of one."""
        self._held[name] = array
        self._bind()

    def run(self, until_s: float) -> int:
        """Let the engine go on until then; makes room and draws numbers by itself. `REACHED` or `NEED_ARRIVALS`."""
        while True:
            code = int(engine.advance(until_s, self.arrays))
            if code in (at.REACHED, at.NEED_ARRIVALS):
                return code
            if code == at.NEED_UNIFORMS:
                self._refill()
            elif code == at.NEED_REQUESTS:
                self._grow_requests()
            else:
                self.grow_queue()

    def fit(self, *, batch: int = 0, replicas: int = 0, batches: int = 0) -> None:
        """Make room for batches up to `batch`, so many replicas, and so many batches in service at once."""
        sizes = self.sizes
        if batch + 1 > sizes.B:
            self._resize("B", batch + 1)
        if replicas > sizes.R:
            self._resize("R", max(replicas, 2 * sizes.R))
        if batches > sizes.K:
            old = sizes.K
            self._resize("K", max(batches, 2 * sizes.K))
            self._spare_from(old)
        self._limits()
        self._bind()

    def _resize(self, letter: str, size: int) -> None:
        """Make one dimension larger; what was there stays in its place."""
        fill = {"replica_f": 1.0, "replica_i": -1, "service_s": np.inf, "mean_s": np.inf}
        setattr(self.sizes, letter, size)
        for name, shape in at.SHAPES.items():
            if letter in shape.split():
                old = self._held[name]
                new = np.full(self.sizes.shape(shape), fill.get(name, 0), dtype=old.dtype)
                new[tuple(slice(length) for length in old.shape)] = old
                if name == "replica_i":
                    new[old.shape[0] :, (at.CONCURRENCY, at.BUSY)] = 0
                self._held[name] = new

    def _limits(self) -> None:
        """Room and random numbers that a single event may take at most."""
        tasks, batch = self.sizes.T, self.sizes.B
        most = np.ones(tasks, dtype=np.int64)  # items of a request that a task can have at most
        for t in range(tasks):
            brings = most * np.ceil(self["fan"][t].max(axis=1)).astype(np.int64)
            most[t] = max(1, brings.max())
        self["option_i"][at.PUSHES_AT_ONCE] = 2 + batch * int(most.sum())
        self["option_i"][at.DRAWS_AT_ONCE] = 2 + self.sizes.K + batch * tasks * tasks
        while 4 * self["option_i"][at.DRAWS_AT_ONCE] > self.sizes.U:
            self.sizes.U *= 2
        if self["queue_key"].shape[1] < 2 * self["option_i"][at.PUSHES_AT_ONCE]:
            self.grow_queue()

    def _spare_from(self, first: int) -> None:
        """All batch slots from `first` on are free."""
        count, spare = self["counts"], self["spare"]
        added = self.sizes.K - first
        spare[count[at.SPARE] : count[at.SPARE] + added] = np.arange(first, self.sizes.K)
        count[at.SPARE] += added

    def _refill(self) -> None:
        """Random numbers that are left, and new ones behind them: none is lost."""
        left = self["uniforms"][self["counts"][at.UNIFORM] :]
        self._held["uniforms"] = np.concatenate((left, self._draw(max(self.sizes.U - len(left), 1))))
        self["counts"][at.UNIFORM] = 0
        self._bind()

    def _grow_requests(self) -> None:
        """Twice as many requests at once; each moves to where its serial number says."""
        old = self.sizes.N
        rows = np.flatnonzero(self["request_i"][:, at.ALIVE])
        places = self["request_i"][rows, at.SERIAL] & (2 * old - 1)
        self.sizes.N = 2 * old
        for name, shape in at.SHAPES.items():
            if shape.startswith("N"):
                new = np.zeros(self.sizes.shape(shape), dtype=self._held[name].dtype)
                new[places] = self._held[name][rows]
                self._held[name] = new
        self._bind()

    def grow_queue(self) -> None:
        """Twice the room in every queue, if its entries need it; entries of requests that ended are kept until then."""
        self._forget_dues()
        self["counts"][at.HIGHEST] = max(int(self["group_i"][:, at.ENTRIES].max()), int(self["counts"][at.DUES]))
        while self.sizes.Q - self["counts"][at.HIGHEST] < 2 * self["option_i"][at.PUSHES_AT_ONCE]:
            self._resize("Q", 2 * self.sizes.Q)
        self._bind()

    def _forget_dues(self) -> None:
        """Take the deadlines of requests that ended out of their heap."""
        key, item = self["queue_key"][-1], self["queue_item"][-1]
        entries = int(self["counts"][at.DUES])
        serials = item[:entries, 1]
        request = self["request_i"][serials & (self.sizes.N - 1)]
        living = np.flatnonzero((request[:, at.ALIVE] == 1) & (request[:, at.SERIAL] == serials))
        living = living[np.lexsort((serials[living], key[living]))]  # what is sorted is a heap
        key[: len(living)], item[: len(living)] = key[living], item[living]
        self["counts"][at.DUES] = len(living)

    def _bind(self) -> None:
        self.arrays = at.Arrays(**self._held)

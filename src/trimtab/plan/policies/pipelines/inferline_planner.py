"""InferLine's planner: the cheapest configuration that it finds feasible on a sample trace, by greedy steps.

Start: the best hardware, batches of 1, and as many replicas as keep up; while it is not feasible, one more replica of
the task of least throughput. Then, of three actions on every task,

- IncreaseBatch: the next measured batch of at least twice the size,
- RemoveReplica: one less,
- DowngradeHW: the next smaller replica, with batch and replicas of the task chosen anew by the same two steps while the
  other tasks stay as they are,

the feasible one of least cost is taken, until none costs less. IncreaseBatch is taken at equal cost where nothing costs
less, for it unlocks the others. Cost is cores; feasible is a configuration that keeps up and whose latency quantile, by
`inferline_estimator`, is within the SLO.

Source: Crankshaw et al., SoCC 2020, §5. From memory: that batches double, and what DowngradeHW does to its task (the
paper's listing was not available). Ours: hardware is the cores of a replica, for each number of them the threads with
the least latency; replicas per task are bounded by the request's limit, other limits are the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.plan.latency import is_within
from trimtab.plan.model import PlanRequest
from trimtab.plan.policies.fixed import batch_time_s, ceil, measured_shapes
from trimtab.plan.policies.pipelines.inferline_estimator import Config, Configs, Estimator


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of replica, and the batches that were measured on it."""

    cores: int
    threads: int
    batches: tuple[int, ...]


def hardware_of(request: PlanRequest, task: str, variant: str, max_batch: int | None) -> tuple[Hardware, ...]:
    """Kinds of replicas, the best (of least latency) first and then by falling cores."""
    profile = request.profile.variants[task][variant]
    fastest: dict[int, tuple[int, int]] = {}
    for cores, threads in measured_shapes(request, task, variant):
        time_s = batch_time_s(profile, cores, threads, 1)
        if cores not in fastest or time_s <= batch_time_s(profile, *fastest[cores], 1):
            fastest[cores] = (cores, threads)
    kinds = []
    for cores, threads in fastest.values():
        measured = profile.batches(cores, threads) or (1,)
        allowed = tuple(b for b in measured if max_batch is None or b <= max_batch) or measured[:1]
        kinds.append(Hardware(cores, threads, allowed))
    best = min(kinds, key=lambda h: (batch_time_s(profile, h.cores, h.threads, h.batches[0]), h.cores))
    return (best, *sorted((h for h in kinds if h.cores < best.cores), key=lambda h: -h.cores))


class Planner:
    """One planning question: an estimator, and what there is to choose from."""

    def __init__(
        self,
        estimator: Estimator,
        slo_s: float,
        rates: Mapping[str, float],
        hardware: Mapping[str, Sequence[Hardware]],
        most_replicas: int,
    ) -> None:
        """With task → items per second, and task → kinds of replicas, the best first."""
        self._estimator, self._slo_s, self._rates = estimator, slo_s, rates
        self._hardware, self._most = hardware, most_replicas
        self._feasible: dict[tuple[Config, ...], bool] = {}

    def plan(self) -> dict[str, Config] | None:
        """The configuration that greedy steps end with; None where not even the start is feasible."""
        current = self._start({task: self._first(task, kinds[0]) for task, kinds in self._hardware.items()}, None)
        if current is None:
            return None
        while True:
            better = self._best_of(current, [*self._small_steps(current, self._hardware), *self._downgrades(current)])
            if better is None:
                return current
            current = better

    def is_feasible(self, configs: Configs) -> bool:
        """Whether the configuration keeps up and is within the SLO on the sample trace."""
        key = tuple(configs.values())
        if key not in self._feasible:
            self._feasible[key] = all(self._keeps_up(task, c) for task, c in configs.items()) and is_within(
                self._estimator.latency_s(configs), self._slo_s
            )
        return self._feasible[key]

    def _first(self, task: str, kind: Hardware) -> Config:
        """The smallest batches on this hardware, in the fewest replicas that keep up."""
        one = Config(kind.cores, kind.threads, kind.batches[0], 1)
        return replace(one, replicas=max(1, ceil(self._rates[task] / self._estimator.rate(task, one))))

    def _keeps_up(self, task: str, config: Config) -> bool:
        return is_within(self._rates[task], config.replicas * self._estimator.rate(task, config))

    def _start(self, configs: dict[str, Config], only: str | None) -> dict[str, Config] | None:
        """With replicas added, of the task of least throughput or of `only`, until it is feasible."""
        open_tasks = configs if only is None else {only: configs[only]}
        if any(config.replicas > self._most for config in configs.values()) or self._is_hopeless(configs):
            return None
        if not self.is_feasible({**configs, **{t: replace(c, replicas=self._most) for t, c in open_tasks.items()}}):
            return None
        while not self.is_feasible(configs):
            task = only or min(configs, key=lambda t: self._headroom(t, configs[t]))
            if configs[task].replicas >= self._most:
                return None  # more of the others might do, but that is not the step
            configs = {**configs, task: replace(configs[task], replicas=configs[task].replicas + 1)}
        return configs

    def _headroom(self, task: str, config: Config) -> float:
        """Throughput as a multiple of the task's rate."""
        return config.replicas * self._estimator.rate(task, config) / max(self._rates[task], 1e-12)

    def _is_hopeless(self, configs: Configs) -> bool:
        """Whether nobody waiting at all would still be too late."""
        alone = {task: replace(c, batch=1, replicas=10_000_000) for task, c in configs.items()}
        return not is_within(self._estimator.latency_s(alone), self._slo_s)

    def _small_steps(self, configs: Configs, tasks: Mapping[str, object]) -> Iterator[dict[str, Config]]:
        """RemoveReplica and IncreaseBatch on each of `tasks`."""
        for task in tasks:
            config = configs[task]
            if config.replicas > 1:
                yield {**configs, task: replace(config, replicas=config.replicas - 1)}
            kind = next(h for h in self._hardware[task] if h.cores == config.cores)
            larger = next((b for b in kind.batches if b >= 2 * config.batch), None)
            if larger is not None:
                yield {**configs, task: replace(config, batch=larger)}

    def _downgrades(self, configs: Configs) -> Iterator[dict[str, Config]]:
        """DowngradeHW on every task that has smaller hardware, where that could cost less."""
        for task, config in configs.items():
            kind = next((h for h in self._hardware[task] if h.cores < config.cores), None)
            if kind is None or self._least_cores(task, kind) >= config.total_cores:
                continue
            found = self._start({**configs, task: self._first(task, kind)}, task)
            while found is not None:
                yield found
                found = self._best_of(found, list(self._small_steps(found, {task: None})))

    def least_cores(self) -> int:
        """Cores below which no configuration keeps up."""
        return sum(min(self._least_cores(task, kind) for kind in kinds) for task, kinds in self._hardware.items())

    def _least_cores(self, task: str, kind: Hardware) -> int:
        """Cores below which this hardware does not keep up with any batch."""
        rates = [self._estimator.rate(task, Config(kind.cores, kind.threads, b, 1)) for b in kind.batches]
        return kind.cores * max(1, ceil(self._rates[task] / max(rates)))

    def _best_of(self, current: Configs, steps: Sequence[dict[str, Config]]) -> dict[str, Config] | None:
        """The feasible step of least cost below the present one; else one of equal cost with a larger batch."""
        now = _cost(current)
        for step in sorted(steps, key=_cost):
            if _cost(step) > now:
                break
            if (_cost(step) < now or _batches(step) > _batches(current)) and self.is_feasible(step):
                return step
        return None


def _cost(configs: Configs) -> int:
    return sum(config.total_cores for config in configs.values())


def _batches(configs: Configs) -> int:
    return sum(config.batch for config in configs.values())

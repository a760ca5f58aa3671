"""What to do: planning questions and answers as frozen values. `PlanRequest` → a policy → `PlanResult`.

A *plan* says for every task which variants, replicas, cores, batch size and share of traffic it gets. A replica of a
task may hold several *resident* variants, between which the dispatcher may choose per batch where the plan allows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from trimtab.profile.model import Profile
from trimtab.spec.model import Pipeline

LatencyModel = Literal["paper", "tail"]
"""How latency is predicted; `plan.latency` states both."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A group of equal replicas of one task that serve one variant by default."""

    variant: str
    replicas: int
    cores: int
    """Cores of one replica."""
    threads: int
    """Threads of one inference; the replica runs cores ÷ threads inferences at once."""
    batch: int
    """Largest batch that it is planned with."""
    share: float = 1.0
    """Share of the task's traffic; the shares of a task sum to 1."""
    most: int | None = None
    """Largest batch that the dispatcher may form when more waits than was planned for; None: `batch`."""
    instance: str | None = None
    """What its replicas are rented as, a name of the pipeline's price list or `serverless`; None: priced by the core,
    or not at all."""

    @property
    def batch_limit(self) -> int:
        """Largest batch that the dispatcher forms for it."""
        return self.batch if self.most is None else self.most

    @property
    def concurrency(self) -> int:
        """Batches that the whole group serves at once."""
        return self.replicas * (self.cores // self.threads)

    @property
    def total_cores(self) -> int:
        """Cores that the whole group holds."""
        return self.replicas * self.cores


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """What one task gets."""

    task: str
    allocations: tuple[Allocation, ...]
    resident: tuple[str, ...]
    """Variants loaded in every replica of the task, the allocated ones included."""
    may_use: tuple[str, ...] = ()
    """Resident variants that the dispatcher may use per batch beside the allocated one, to meet a deadline.

    Empty for a policy that fixes the variant."""

    @property
    def cores(self) -> int:
        """Cores that the task holds."""
        return sum(a.total_cores for a in self.allocations)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan for every task of a pipeline, made for `rate_rps` requests per second at the gateway."""

    tasks: Mapping[str, TaskPlan]
    rate_rps: float

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that follow from what the plan does; the rate it was made for does not enter."""
        return hashlib.sha256(msgspec.json.encode(self.tasks, order="sorted")).hexdigest()[:10]

    @property
    def cores(self) -> int:
        """Cores that the plan holds."""
        return sum(t.cores for t in self.tasks.values())

    def variants(self) -> dict[str, tuple[str, ...]]:
        """Task → allocated variants."""
        return {name: tuple(a.variant for a in task.allocations) for name, task in self.tasks.items()}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan may hold at most: the tighter of the pipeline's budget and the plant's capacity."""

    cores: float
    memory_bytes: int | None = None
    replicas_per_task: int = 100
    max_allocations_per_task: int = 1
    """1: the plant cannot split a task's traffic over groups of replicas."""
    in_place_variants: bool = True
    """Whether a replica can hold several variants and switch between them at once."""
    replicas: int | None = None
    """Replicas of all tasks together."""
    cost_per_hour: float | None = None
    in_place_cores: bool = False
    """Whether the cores of a running replica change at once."""
    start_s: float = 0.0
    """From asking for a replica to its process being up; loading its variants comes on top."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One arrival rate that may come, and how likely it is."""

    rate_rps: float
    probability: float


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """One planning question."""

    pipeline: Pipeline
    profile: Profile
    rate_rps: float
    """Arrival rate to plan for, requests per second at the gateway."""
    limits: Limits
    arrival_scv: float = 1.0
    """Squared coefficient of variation of the times between arrivals: 1 is Poisson, more is bursty."""
    service_ratio: Mapping[str, float] = field(default_factory=dict)
    """Task → measured ÷ profiled service time, as seen live; 1 where absent."""
    current: Plan | None = None
    """The plan in force, for what a change costs; None: nothing runs yet, and everything must load."""
    scenarios: tuple[Scenario, ...] = ()
    """The arrival rate as a distribution, in the place of `rate_rps`; probabilities sum to 1."""
    surge_rps: float | None = None
    """The rate that may come before the plan can be changed. Plans that step down have to hold the SLO there, with
    their fastest variants; None: no more than `rate_rps`."""
    at_once: bool = False
    """Whether the plan has to be one that `current` becomes without a replica being started or a variant loaded."""
    hold_probability: float | None = None
    """With scenarios: the probability with which the plan has to hold. None: the expected objective is maximised."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a decision: its name, the value it gave and the reason, in words with numbers."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskEstimate:
    """What a plan is expected to do at one task, by itself; `plan.latency` says how tasks add up."""

    service_s: float
    """Service time of a batch at the quantile that the task has to keep."""
    waiting_s: float
    """What the task's latency is more than that: batch formation and the wait for a busy replica."""
    utilisation: float
    capacity_rps: float
    """Largest rate of requests at the gateway that the task's replicas can serve at all."""


@dataclass(frozen=True, slots=True)
class PlanEstimate:
    """What a plan is expected to do at a rate. `latency_s` follows the latency model named in `latency_model`."""

    latency_s: float
    latency_model: LatencyModel
    meets_slo: bool
    accuracy: float
    """Product of the tasks' accuracies (PAS as a fraction); for mixes, of their traffic-weighted means."""
    cores: int
    goodput_rps: float
    """Requests per second expected to be answered within the SLO."""
    cost_per_hour: float | None
    """In the pipeline's currency; None without a price."""
    tasks: Mapping[str, TaskEstimate]
    load_s: float = 0.0
    """Load time that a change to it from the plan in force waits for, summed over the tasks; 0 if that is not known."""
    replicas: int = 0
    memory_bytes: int = 0
    """Of all resident variants in all replicas; a variant of unknown size counts as nothing."""
    extrapolated: tuple[str, ...] = ()
    """What had to be read outside the profile's measurements, in words."""


@dataclass(frozen=True, slots=True)
class ObjectiveValue:
    """The objective's value and its parts, in the order in which they count."""

    kind: str
    value: float
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The best plan that does something else, and why it lost."""

    plan: Plan
    reason: str


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The answer to a planning question. When `feasible` is false, `plan` is the least bad one (least goodput lost)."""

    policy: str
    plan: Plan
    feasible: bool
    estimate: PlanEstimate
    objective: ObjectiveValue
    steps: tuple[Step, ...]
    binding: tuple[str, ...] = ()
    """Constraints without slack, in words: relaxing one of them could improve the objective."""
    runner_up: RunnerUp | None = None
    gap: float = 0.0
    """How much better the objective could still be at most, as proved by the solver; 0: the plan is optimal."""

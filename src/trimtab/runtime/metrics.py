"""What this machine tells Prometheus: names with the prefix `trimtab_`, base units, labels from a bounded set.

The data plane calls plain methods; every series that they touch is bound beforehand, so that a call costs about a
microsecond. The registry is this object's own: nothing is global. `docs/reference/metrics.md` lists every name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from prometheus_client.exposition import choose_encoder

from trimtab.forecast import RateForecast
from trimtab.observe.model import Observation
from trimtab.observe.window import Outcome, TaskLevel
from trimtab.plan.model import Plan
from trimtab.spec.model import Pipeline

SECONDS_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.035,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds for times of requests and batches; the SLO's bound joins them: attainment can be read exactly."""
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
START_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DECISION_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
FORECAST_QUANTILES = (0.5, 0.9, 0.95, 0.99)
LOOP_COUNTERS = {
    "resumed": ("controller_resumed", "Times that a fresh controller took the place of a lost one."),
    "overruns": ("decision_overruns", "Decisions that took longer than they may; the last plan stood meanwhile."),
    "observe_errors": ("observe_errors", "Turns in which nothing could be observed; the last plan stood."),
    "apply_errors": ("apply_errors", "Turns in which a plan could not be applied; it was due again in the next."),
    "journal_errors": ("journal_errors", "Turns that could not be recorded at once."),
}
"""Field of `control.loop.LoopStats` → name and text of its counter."""
MAX_REASONS = 32
"""Distinct words for why requests ended as they did; any further one counts as `other`."""


class Metrics:
    """The metrics of one served pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.registry = CollectorRegistry()
        self.on_scrape: Callable[[], None] | None = None
        """Called before every exposition, to bring running totals up to the moment."""
        self._pipeline = pipeline.name
        self._reasons: set[str] = set()
        self._plan: Plan | None = None
        times_s = tuple(sorted({*SECONDS_BUCKETS, pipeline.slo.latency_s}))
        name = pipeline.name

        # --- requests ---
        self._offered = self._counter("requests_offered", "Well-formed requests that reached the gateway.").labels(name)
        self._ended = self._counter("requests", "Requests that ended, by outcome and reason.", "outcome", "reason")
        self._ended_by: dict[tuple[Outcome, str], Counter] = {}
        """Series that were touched before: a look-up by labels takes longer than counting."""
        self._rejected = self._counter(
            "rejected_requests",
            "Requests never offered: malformed, too large …",
            "protocol",
            "reason",
        )
        self._response = self._histogram("response_seconds", "Response time of answered requests, end to end.", times_s)
        self._response_here = self._response.labels(name)
        self._accuracy = Summary(
            "trimtab_delivered_accuracy",
            "Accuracy of the variants that answered, summed over answers (product over tasks, as measured offline).",
            ("pipeline",),
            registry=self.registry,
        ).labels(name)
        self._gauge("slo_latency_seconds", "The SLO's bound on the response time.").labels(name).set(
            pipeline.slo.latency_s
        )
        self._gauge("slo_quantile_ratio", "Share of requests that the SLO wants within its bound.").labels(name).set(
            pipeline.slo.quantile
        )

        # --- tasks ---
        items = self._counter("items", "Items of work served.", "task", "variant")
        service = self._histogram("service_seconds", "Time of one batch in service.", times_s, "task", "variant")
        waiting = self._histogram("waiting_seconds", "Longest wait in a batch before service.", times_s, "task")
        sizes = self._histogram("batch_items", "Items of one batch.", BATCH_BUCKETS, "task", "variant")
        variants = [(task.name, variant) for task in pipeline.tasks.values() for variant in task.variants]
        self._served = {
            (task, variant): (
                items.labels(name, task, variant),
                sizes.labels(name, task, variant),
                service.labels(name, task, variant),
                waiting.labels(name, task),
            )
            for task, variant in variants
        }
        queued = self._gauge("queued_items", "Items that wait.", "task")
        in_service = self._gauge("in_service_items", "Items in workers.", "task")
        replicas = self._gauge("replicas", "Replicas, by state (ready, starting).", "task", "state")
        cores = self._gauge("cores_held", "Cores held, starting and draining replicas included.", "task")
        self._levels = {
            task: (
                queued.labels(name, task),
                in_service.labels(name, task),
                replicas.labels(name, task, "ready"),
                replicas.labels(name, task, "starting"),
                cores.labels(name, task),
            )
            for task in pipeline.tasks
        }
        self._starts = self._histogram("replica_start_seconds", "Asked for → ready.", START_BUCKETS, "task")
        self._losses = self._counter("replicas_lost", "Replicas that ended without being asked to.", "task")
        self._core_seconds = self._counter("core_seconds", "Core-seconds held, the gateway's own included.").labels(
            name
        )

        # --- plan and controller ---
        self._plan_info = Info("trimtab_plan", "The plan in force.", ("pipeline",), registry=self.registry)
        planned_replicas = self._gauge("planned_replicas", "Replicas that the plan wants.", "task", "variant")
        planned_cores = self._gauge("planned_cores", "Cores that the plan wants.", "task", "variant")
        planned_batch = self._gauge("planned_batch_items", "Largest batch that the plan allows.", "task", "variant")
        self._planned = {
            (task, variant): (
                planned_replicas.labels(name, task, variant),
                planned_cores.labels(name, task, variant),
                planned_batch.labels(name, task, variant),
            )
            for task, variant in variants
        }
        switches = self._counter("variant_switches", "Changes of a task's planned variants.", "task")
        self._switches = {task: switches.labels(name, task) for task in pipeline.tasks}
        self._plan_changes = self._counter("plan_changes", "Plans that replaced another.").labels(name)
        self._decision = self._histogram("decision_seconds", "Time of one decision.", DECISION_BUCKETS).labels(name)
        self._infeasible = self._counter("infeasible_decisions", "Decisions for which no plan held the SLO.").labels(
            name
        )
        self._controller_errors = self._counter(
            "controller_errors", "Controller steps that failed; the last plan stood."
        ).labels(name)
        self._predicted_latency = self._gauge(
            "predicted_latency_seconds", "Latency that the plan should give, at the SLO's quantile."
        )
        self._observed_latency = self._gauge(
            "observed_latency_seconds", "Response time in the last window.", "quantile"
        )
        self._forecast = self._gauge("forecast_requests_per_second", "Arrival rate that was planned for.")
        self._forecast_peak = self._gauge(
            "forecast_peak_requests_per_second", "Highest second that is forecast, by quantile.", "quantile"
        )
        self._calibrated = self._gauge(
            "forecast_calibrated", "0 while the forecaster says that its quantiles have not held lately, else 1."
        )
        self._observed = self._gauge("observed_requests_per_second", "Arrival rate in the last window.")
        self._service_ratio = self._gauge(
            "service_time_ratio", "Measured service time over profiled, as followed lately.", "task"
        )
        self._fits = self._gauge(
            "profile_fits", "0 while a task's batches take far longer or shorter than profiled, else 1.", "task"
        )
        self._loop = {field: self._counter(*told).labels(name) for field, told in LOOP_COUNTERS.items()}
        self._loop_totals = dict.fromkeys(LOOP_COUNTERS, 0)

    # --- the data plane ---

    def request_offered(self) -> None:
        """A well-formed request arrived."""
        self._offered.inc()

    def request_ended(self, outcome: Outcome, reason: str = "", response_s: float | None = None) -> None:
        """An offered request ended, after `response_s` if it was answered."""
        ended = self._ended_by.get((outcome, reason))
        if ended is None:
            ended = self._ended.labels(self._pipeline, outcome, self._bounded(reason))
            if reason in self._reasons:
                self._ended_by[outcome, reason] = ended
        ended.inc()
        if response_s is not None:
            self._response_here.observe(response_s)

    def request_rejected(self, protocol: str, reason: str) -> None:
        """A protocol layer turned a request away before it was offered."""
        self._rejected.labels(self._pipeline, protocol, self._bounded(reason)).inc()

    def answered_with(self, accuracy: float) -> None:
        """A request was answered by variants whose accuracies multiply to `accuracy`."""
        self._accuracy.observe(accuracy)

    def batch_served(self, task: str, variant: str, items: int, *, service_s: float, waiting_s: float) -> None:
        """A batch was served; `waiting_s` is what its longest waiting item had waited."""
        served, size, service, waiting = self._served[task, variant]
        served.inc(items)
        size.observe(items)
        service.observe(service_s)
        waiting.observe(waiting_s)

    # --- the plant ---

    def task_level(self, task: str, level: TaskLevel) -> None:
        """What a task has and holds now."""
        queued, in_service, ready, starting, cores = self._levels[task]
        queued.set(level.queued)
        in_service.set(level.in_service)
        ready.set(level.replicas_ready)
        starting.set(level.replicas_starting)
        cores.set(level.cores)

    def replica_started(self, task: str, start_s: float) -> None:
        """A replica became ready, `start_s` after it was asked for."""
        self._starts.labels(self._pipeline, task).observe(start_s)

    def replica_lost(self, task: str) -> None:
        """A replica ended without being asked to."""
        self._losses.labels(self._pipeline, task).inc()

    def cost(self, core_seconds: float) -> None:
        """`core_seconds` more were held."""
        self._core_seconds.inc(core_seconds)

    def plan_in_force(self, plan: Plan) -> None:
        """The plant follows `plan` from now on."""
        before, self._plan = self._plan, plan
        if before is not None and before.id == plan.id:
            return
        self._plan_info.labels(self._pipeline).info({"id": plan.id})
        wanted: dict[tuple[str, str], tuple[int, int, int]] = {}
        for task, planned in plan.tasks.items():
            for group in planned.allocations:
                replicas, cores, batch = wanted.get((task, group.variant), (0, 0, 0))
                wanted[task, group.variant] = (
                    replicas + group.replicas,
                    cores + group.total_cores,
                    max(batch, group.batch_limit),
                )
        for key, gauges in self._planned.items():
            for gauge, value in zip(gauges, wanted.get(key, (0, 0, 0)), strict=True):
                gauge.set(value)
        if before is not None:
            self._plan_changes.inc()
            old, new = before.variants(), plan.variants()
            for task, switches in self._switches.items():
                if old.get(task) != new.get(task):
                    switches.inc()

    # --- the controller ---

    def observed(self, observation: Observation) -> None:
        """What the controller saw; figures that are missing keep their last value."""
        counts = [count for count in observation.arrivals if count is not None]
        if counts:
            self._observed.labels(self._pipeline).set(sum(counts) / len(counts))
        for quantile, seconds in observation.response_s.items():
            self._observed_latency.labels(self._pipeline, f"{quantile:g}").set(seconds)

    def decided(
        self, decision_s: float, *, feasible: bool, forecast_rps: float | None = None, latency_s: float | None = None
    ) -> None:
        """The controller decided, for an arrival rate of `forecast_rps`; the plan is expected to give `latency_s`."""
        self._decision.observe(decision_s)
        if not feasible:
            self._infeasible.inc()
        if forecast_rps is not None:
            self._forecast.labels(self._pipeline).set(forecast_rps)
        if latency_s is not None:
            self._predicted_latency.labels(self._pipeline).set(latency_s)

    def forecast(self, forecast: RateForecast) -> None:
        """The controller's forecast."""
        self._calibrated.labels(self._pipeline).set(forecast.warning is None)
        for quantile in FORECAST_QUANTILES:
            highest = forecast.at(quantile) if forecast.peak is None else forecast.peak.at(quantile)
            self._forecast_peak.labels(self._pipeline, f"{quantile:g}").set(highest)

    def calibrated(self, ratios: Mapping[str, float], fits: Mapping[str, bool]) -> None:
        """Measured ÷ profiled service time by task, and whether the profile fits."""
        for task, ratio in ratios.items():
            self._service_ratio.labels(self._pipeline, task).set(ratio)
        for task, does in fits.items():
            self._fits.labels(self._pipeline, task).set(does)

    def loop_did(self, totals: Mapping[str, int]) -> None:
        """What the control loop has done since it was made: the fields of `LoopStats` by name."""
        for field, counter in self._loop.items():
            counter.inc(totals[field] - self._loop_totals[field])
            self._loop_totals[field] = totals[field]

    def controller_failed(self) -> None:
        """A controller step failed; the last plan stands."""
        self._controller_errors.inc()

    # --- the scrape ---

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that `accept` (an HTTP Accept header) asks for, and its content type."""
        if self.on_scrape is not None:
            self.on_scrape()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    # --- making them ---

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"trimtab_{name}", text, ("pipeline", *labels), registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"trimtab_{name}", text, ("pipeline", *labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"trimtab_{name}", text, ("pipeline", *labels), buckets=buckets, registry=self.registry)

    def _bounded(self, reason: str) -> str:
        if reason in self._reasons:
            return reason
        if len(self._reasons) >= MAX_REASONS:
            return "other"
        self._reasons.add(reason)
        return reason

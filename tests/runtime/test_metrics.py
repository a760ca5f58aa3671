"""The metrics count what they are told, under the names that the reference page lists, with a bounded set of labels."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from trimtab.control.loop import LoopStats
from trimtab.forecast import Distribution, RateForecast
from trimtab.observe.model import Observation, Outcomes
from trimtab.observe.window import TaskLevel
from trimtab.plan.model import Allocation, Plan, TaskPlan
from trimtab.runtime.metrics import MAX_REASONS, Metrics
from trimtab.spec.model import Edge, Pipeline, Slo, Task, Variant

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def _task(name: str, *after: Edge) -> Task:
    return Task(name, {v: Variant(v, Path(f"{v}.onnx"), 0.9) for v in (f"{name}-s", f"{name}-l")}, after)


PIPELINE = Pipeline("digits", {"locate": _task("locate"), "read": _task("read", Edge("locate"))}, Slo(0.123, 0.95))


def _plan(variant: str, replicas: int = 1) -> Plan:
    def task(name: str, variant: str, replicas: int) -> TaskPlan:
        group = Allocation(variant, replicas, cores=2, threads=1, batch=4, most=16 if replicas > 1 else None)
        return TaskPlan(name, (group,), resident=(variant,))

    return Plan({"locate": task("locate", "locate-s", 1), "read": task("read", variant, replicas)}, rate_rps=10.0)


LOOP = asdict(LoopStats())


def _used() -> Metrics:
    """Metrics of which every method was called once."""
    metrics = Metrics(PIPELINE)
    metrics.request_offered()
    metrics.request_ended("in_time", "", 0.05)
    metrics.request_rejected("rest", "invalid")
    metrics.answered_with(0.8)
    metrics.batch_served("read", "read-s", 3, service_s=0.02, waiting_s=0.01)
    metrics.task_level("read", TaskLevel(queued=7, in_service=3, replicas_ready=2, replicas_starting=1, cores=6))
    metrics.replica_started("read", 0.4)
    metrics.replica_lost("read")
    metrics.cost(2.5)
    metrics.plan_in_force(_plan("read-s"))
    metrics.plan_in_force(_plan("read-l", replicas=2))
    metrics.observed(Observation(0.0, 2.0, (10, None, 20), Outcomes(), {}, {0.99: 0.07}))
    metrics.decided(0.001, feasible=False, forecast_rps=30.0, latency_s=0.09)
    peak = Distribution({0.5: 31.0, 0.99: 52.0}, 33.0)
    metrics.forecast(RateForecast(2.0, 20.0, {0.5: 21.0, 0.99: 29.0}, 1.0, "a test", peak, warning="doubts"))
    metrics.calibrated({"read": 1.6}, {"read": False})
    metrics.loop_did(LOOP | {"overruns": 2})
    metrics.loop_did(LOOP | {"overruns": 3, "resumed": 1})
    metrics.controller_failed()
    return metrics


READ = {"task": "read"}
READ_S = {"task": "read", "variant": "read-s"}
READ_L = {"task": "read", "variant": "read-l"}


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("requests_offered_total", {}, 1),
        ("requests_total", {"outcome": "in_time", "reason": ""}, 1),
        ("rejected_requests_total", {"protocol": "rest", "reason": "invalid"}, 1),
        ("response_seconds_count", {}, 1),
        ("response_seconds_bucket", {"le": "0.05"}, 1),
        ("response_seconds_bucket", {"le": "0.123"}, 1),
        ("response_seconds_bucket", {"le": "0.035"}, 0),
        ("delivered_accuracy_sum", {}, 0.8),
        ("delivered_accuracy_count", {}, 1),
        ("slo_latency_seconds", {}, 0.123),
        ("slo_quantile_ratio", {}, 0.95),
        ("items_total", READ_S, 3),
        ("items_total", READ_L, 0),
        ("batch_items_sum", READ_S, 3),
        ("service_seconds_sum", READ_S, 0.02),
        ("waiting_seconds_sum", READ, 0.01),
        ("queued_items", READ, 7),
        ("in_service_items", READ, 3),
        ("replicas", {**READ, "state": "ready"}, 2),
        ("replicas", {**READ, "state": "starting"}, 1),
        ("cores_held", READ, 6),
        ("replica_start_seconds_sum", READ, 0.4),
        ("replicas_lost_total", READ, 1),
        ("core_seconds_total", {}, 2.5),
        ("plan_info", {"id": _plan("read-l", 2).id}, 1),
        ("plan_info", {"id": _plan("read-s").id}, None),
        ("planned_replicas", READ_S, 0),
        ("planned_replicas", READ_L, 2),
        ("planned_cores", READ_L, 4),
        ("planned_batch_items", READ_L, 16),
        ("planned_batch_items", {"task": "locate", "variant": "locate-s"}, 4),
        ("plan_changes_total", {}, 1),
        ("variant_switches_total", READ, 1),
        ("variant_switches_total", {"task": "locate"}, 0),
        ("observed_requests_per_second", {}, 15),
        ("observed_latency_seconds", {"quantile": "0.99"}, 0.07),
        ("forecast_requests_per_second", {}, 30),
        ("forecast_peak_requests_per_second", {"quantile": "0.5"}, 31),
        ("forecast_peak_requests_per_second", {"quantile": "0.99"}, 52),
        ("forecast_calibrated", {}, 0),
        ("predicted_latency_seconds", {}, 0.09),
        ("decision_seconds_count", {}, 1),
        ("infeasible_decisions_total", {}, 1),
        ("controller_errors_total", {}, 1),
        ("controller_resumed_total", {}, 1),
        ("decision_overruns_total", {}, 3),
        ("apply_errors_total", {}, 0),
        ("service_time_ratio", READ, 1.6),
        ("profile_fits", READ, 0),
        ("profile_fits", {"task": "locate"}, None),
    ],
)
def test_what_is_counted(name: str, labels: dict[str, str], value: float | None) -> None:
    got = _used().registry.get_sample_value(f"trimtab_{name}", {"pipeline": "digits", **labels})
    assert got == (None if value is None else pytest.approx(value))


def test_what_was_never_seen_is_not_zero() -> None:
    metrics = Metrics(PIPELINE)
    metrics.observed(Observation(0.0, 1.0, (None,), Outcomes(), {}))
    names = {sample.name for metric in metrics.registry.collect() for sample in metric.samples}
    assert not names & {
        "trimtab_observed_requests_per_second",
        "trimtab_predicted_latency_seconds",
        "trimtab_plan_info",
    }


def test_a_forecast_without_a_peak_of_its_own_is_told_by_its_rate_and_one_without_doubts_as_calibrated() -> None:
    metrics = Metrics(PIPELINE)
    metrics.forecast(RateForecast(2.0, 20.0, {0.5: 21.0, 0.99: 29.0}, 1.0, "a test"))
    told = [
        metrics.registry.get_sample_value(f"trimtab_forecast_{name}", {"pipeline": "digits", **labels})
        for name, labels in (("peak_requests_per_second", {"quantile": "0.99"}), ("calibrated", {}))
    ]
    assert told == [29.0, 1.0]


def test_the_same_plan_again_is_no_change() -> None:
    metrics = Metrics(PIPELINE)
    metrics.plan_in_force(_plan("read-s"))
    metrics.plan_in_force(_plan("read-s"))
    assert metrics.registry.get_sample_value("trimtab_plan_changes_total", {"pipeline": "digits"}) == 0


def test_reasons_are_bounded() -> None:
    metrics = Metrics(PIPELINE)
    for n in range(MAX_REASONS + 5):
        metrics.request_ended("failed", f"reason {n}")
    labels = {"pipeline": "digits", "outcome": "failed", "reason": "other"}
    assert metrics.registry.get_sample_value("trimtab_requests_total", labels) == 5


def test_two_pipelines_share_nothing() -> None:
    one, other = Metrics(PIPELINE), Metrics(PIPELINE)
    one.request_offered()
    assert other.registry.get_sample_value("trimtab_requests_offered_total", {"pipeline": "digits"}) == 0


def test_exposition_speaks_both_formats() -> None:
    text, kind = _used().exposition()
    assert kind.startswith("text/plain")
    assert b'trimtab_requests_total{outcome="in_time",pipeline="digits",reason=""} 1.0' in text
    text, kind = _used().exposition("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_the_reference_page_lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(trimtab_\w+)` \| (\w+) \|([^|]*)\|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {(name, kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}
    suffix = {"counter": "_total", "info": "_info"}
    served = {
        (
            metric.name + suffix.get(metric.type, ""),
            metric.type,
            frozenset().union(*(sample.labels for sample in metric.samples)) - {"pipeline", "le"},
        )
        for metric in _used().registry.collect()
    }
    assert documented == served
    assert len(rows) == len(documented)


def test_every_name_has_our_prefix_and_the_pipeline() -> None:
    for metric in _used().registry.collect():
        assert metric.name.startswith("trimtab_")
        assert metric.documentation
        assert all(sample.labels["pipeline"] == "digits" for sample in metric.samples)

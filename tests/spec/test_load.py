"""The pipeline file: what it means, and what each mistake in it is answered with."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import ModelError, SpecError, TrimtabError
from trimtab.spec.document import Document
from trimtab.spec.load import load_pipeline, parse_pipeline, profile_entry
from trimtab.spec.model import (
    AccuracyModel,
    Budget,
    Edge,
    Instance,
    Objective,
    Pipeline,
    Planning,
    Prices,
    Serverless,
    Slo,
    Task,
    Variant,
)

FULL = """\
name: digits
tasks:
  read:
    after: {locate: {fan_out: 1.5, fan_out_by: {locate-s: 1.25}}}
    inputs: {crop: locate.crop, scene: request.scene}
    variants:
      read-s: {model: models/read-s.onnx, accuracy: 0.74}
      read-m: {model: models/read-m.onnx, accuracy: 1}
  locate:
    variants:
      locate-s: {model: models/locate-s.onnx, accuracy: 0.91, measured_on: "test split"}
slo: {latency: 400ms, quantile: 0.95}
budget: {cores: 2, memory: 4GiB, replicas_per_task: 7, replicas: 9, cost_per_hour: 1.5}
objective: {kind: weighted, alpha: 2, beta: 0.05, gamma: 0.01, delta: 1e-6, cost: money}
prices:
  currency: EUR
  instances:
    small: {cores: 4, memory: 8GiB, per_hour: 0.18}
    large: {cores: 16, per_second: 0.0002}
  serverless: {core_second: 0.00003, request: 0.0000002, cores: 4, memory: 6GiB}
accuracy:
  kind: measured
  table:
    - {variants: {read: read-s, locate: locate-s}, accuracy: 0.7}
    - {variants: {locate: locate-s, read: read-m}, accuracy: 0.8}
planning: {mix: 2, share_steps: 20, cores: {read: 2}, max_batch: 16, latency: paper}
policies: {ipa: {replicas: {read: 2}, sets: [[1, 2], [a]]}, "mine:Policy": {}}
profile: measured/profile.json
"""


def change(*path: str | int, to: object = None, remove: bool = False) -> str:
    """FULL with another value at `path`."""
    data: Any = yaml.safe_load(FULL)
    inner = data
    for part in path[:-1]:
        inner = inner[part]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return yaml.safe_dump(data, sort_keys=False)


def refusal(text: str) -> TrimtabError:
    with pytest.raises(SpecError) as caught:
        parse_pipeline(text, Path("pipeline.yaml"), check_files=False)
    return caught.value


def test_every_field_arrives() -> None:
    pipeline = parse_pipeline(FULL, Path("/srv/digits/pipeline.yaml"), check_files=False)
    models = Path("/srv/digits/models")
    assert pipeline == Pipeline(
        name="digits",
        tasks={
            "locate": Task(
                "locate", {"locate-s": Variant("locate-s", models / "locate-s.onnx", 0.91, "test split")}, (), {}
            ),
            "read": Task(
                "read",
                {
                    "read-s": Variant("read-s", models / "read-s.onnx", 0.74),
                    "read-m": Variant("read-m", models / "read-m.onnx", 1.0),
                },
                (Edge("locate", 1.5, {"locate-s": 1.25}),),
                {"crop": "locate.crop", "scene": "request.scene"},
            ),
        },
        slo=Slo(0.4, 0.95),
        budget=Budget(2.0, 4 << 30, 7, 9, 1.5),
        objective=Objective("weighted", 2.0, 0.05, 0.01, 1e-6, cost="money"),
        prices=Prices(
            currency="EUR",
            instances={
                "small": Instance("small", 4, 0.18 / 3600, 8 << 30),
                "large": Instance("large", 16, 0.0002),
            },
            serverless=Serverless(0.00003, 0.0000002, 4, 6 << 30),
        ),
        accuracy=AccuracyModel("measured", {("locate-s", "read-s"): 0.7, ("locate-s", "read-m"): 0.8}),
        planning=Planning(2, 20, {"read": 2}, 16, "paper"),
        policies={"ipa": {"replicas": {"read": 2}, "sets": ((1, 2), ("a",))}, "mine:Policy": {}},
        source=Path("/srv/digits/pipeline.yaml"),
    )
    assert list(pipeline.tasks) == ["locate", "read"]
    assert list(pipeline.tasks["read"].variants) == ["read-s", "read-m"]


def test_defaults() -> None:
    text = "{name: one, tasks: {t: {variants: {v: {accuracy: 0.5}}}}, slo: {latency: 1s}}"
    pipeline = parse_pipeline(text)
    assert pipeline == Pipeline("one", {"t": Task("t", {"v": Variant("v", None, 0.5)})}, Slo(1.0, 0.99))
    assert pipeline.budget == Budget(None, None, 100)
    assert pipeline.objective.kind == "accurate-under-budget"
    assert not pipeline.prices.known
    assert pipeline.accuracy.kind == "product"
    assert pipeline.source is None


@pytest.mark.parametrize("kind", ["accurate-under-budget", "weighted"])
def test_an_objective_may_be_its_kind_alone(kind: Any) -> None:
    for to in (kind, {"kind": kind}):
        pipeline = parse_pipeline(change("objective", to=to), check_files=False)
        assert pipeline.objective == Objective(kind)


def test_the_cheapest_has_a_floor() -> None:
    text = change("objective", to={"kind": "cheapest", "accuracy_floor": 0.8})
    assert parse_pipeline(text, check_files=False).objective == Objective("cheapest", accuracy_floor=0.8)


@pytest.mark.parametrize(("field", "cost"), [("point_worth_cores", "cores"), ("point_worth_per_hour", "money")])
def test_an_objective_may_say_what_a_point_of_accuracy_is_worth(field: str, cost: Any) -> None:
    objective = parse_pipeline(change("objective", to={field: 4}), check_files=False).objective
    assert objective == Objective.exchange(4.0, cost)
    assert (objective.kind, objective.alpha, objective.gamma) == ("weighted", 1.0, 0.0)
    assert (objective.cost, objective.point_worth) == (cost, 4.0)
    assert (objective.beta, objective.delta) == pytest.approx((0.0025, 2.5e-8))


@pytest.mark.parametrize("kind", ["product", "rank-sum"])
def test_an_accuracy_may_be_its_kind_alone(kind: Any) -> None:
    for to in (kind, {"kind": kind}):
        assert parse_pipeline(change("accuracy", to=to), check_files=False).accuracy == AccuracyModel(kind)


def test_a_floor_is_a_sum_where_accuracies_are_summed() -> None:
    content = yaml.safe_load(FULL) | {"accuracy": "rank-sum", "objective": {"kind": "cheapest", "accuracy_floor": 1.5}}
    assert parse_pipeline(yaml.safe_dump(content), check_files=False).objective.accuracy_floor == 1.5


@pytest.mark.parametrize("prices", [{"core_hour": 0}, {"serverless": {"core_second": 0}}])
def test_any_price_will_do_for_money(prices: Any) -> None:
    assert parse_pipeline(change("prices", to=prices), check_files=False).prices.known


def test_after_as_a_list() -> None:
    pipeline = parse_pipeline(change("tasks", "read", "after", to=["locate"]), check_files=False)
    assert pipeline.tasks["read"].after == (Edge("locate", 1.0),)


WRONG: list[tuple[str, str, list[str]]] = [
    # text, field, words
    (change("name", remove=True), "name", ["required, but absent"]),
    (change("name", to="two words"), "name", ["got 'two words'", "wanted a name of letters, digits"]),
    (change("name", to=7), "name", ["wrong type", "got 7", "wanted text"]),
    (change("name", to="read"), "tasks.read", ["this name is taken by the pipeline", "wanted another name"]),
    (change("tasks", remove=True), "tasks", ["required, but absent", "at least one"]),
    (change("tasks", to={}), "tasks", ["empty", "at least one"]),
    (change("tasks", to=[]), "tasks", ["wrong type", "got an empty list", "wanted tasks by name"]),
    (change("tasks", "request", to={"variants": {"v": {"accuracy": 1}}}), "tasks.request", ["taken by the request"]),
    (change("tasks", "a.b", to={"variants": {"v": {"accuracy": 1}}}), "tasks.a.b", ["not a name", "got 'a.b'"]),
    (change("tasks", "locate", to=3), "tasks.locate", ["wrong type", "got 3", "wanted a mapping of fields"]),
    (change("tasks", "locate", "variants", remove=True), "tasks.locate.variants", ["required, but absent"]),
    (change("tasks", "locate", "variants", to={}), "tasks.locate.variants", ["empty", "at least one"]),
    (change("tasks", "locate", "variant", to={}), "tasks.locate.variant", ["unknown", "did you mean 'variants'?"]),
    (change("tasks", "locate", "after", to="read"), "tasks.locate.after", ["got 'read'", "wanted a list of tasks"]),
    (change("tasks", "locate", "after", to=["read"]), "tasks.read.after", ["cycle", "read → locate → read"]),
    (change("tasks", "locate", "after", to=["locate"]), "tasks.locate.after[0]", ["cannot run after itself"]),
    (change("tasks", "read", "after", to=["locat"]), "tasks.read.after[0]", ["no such task", "did you mean 'locate'?"]),
    (
        change("tasks", "read", "after", to={"x": {}}),
        "tasks.read.after.x",
        ["no such task", "got 'x'", "wanted locate"],
    ),
    (change("tasks", "read", "after", to=["locate"] * 2), "tasks.read.after[1]", ["named twice", "got 'locate'"]),
    (change("tasks", "read", "after", "locate", "fan_out", to=0), "tasks.read.after.locate.fan_out", ["above 0"]),
    (change("tasks", "read", "after", "locate", "fan_out", to=math.inf), "tasks.read.after.locate.fan_out", ["finite"]),
    (
        change("tasks", "read", "after", "locate", "fan_out_by", "locate-x", to=2),
        "tasks.read.after.locate.fan_out_by.locate-x",
        ["no such variant of task 'locate'", "got 'locate-x'", "wanted locate-s", "did you mean 'locate-s'?"],
    ),
    (
        change("tasks", "read", "after", "locate", "fan_out_by", "locate-s", to=0),
        "tasks.read.after.locate.fan_out_by.locate-s",
        ["out of range", "above 0"],
    ),
    (change("tasks", "read", "after", "locate", "fanout", to=2), "tasks.read.after.locate.fanout", ["mean 'fan_out'?"]),
    (change("tasks", "read", "inputs", "crop", to="crop"), "tasks.read.inputs.crop", ["wanted request.<tensor>"]),
    (change("tasks", "read", "inputs", "crop", to=3), "tasks.read.inputs.crop", ["got 3", "<task>.<output>"]),
    (change("tasks", "read", "inputs", to=["x"]), "tasks.read.inputs", ["got a list of 1", "{crop: locate.crop}"]),
    (change("tasks", "read", "inputs", "crop", to="loc.x"), "tasks.read.inputs.crop", ["no such source", "'loc.x'"]),
    (change("tasks", "read", "inputs", "crop", to="read.x"), "tasks.read.inputs.crop", ["cannot read its own output"]),
    (
        change("tasks", "locate", "inputs", to={"x": "read.digit"}),
        "tasks.locate.inputs.x",
        ["task 'read' does not run before 'locate'", "got 'read.digit'", "wanted request.<tensor>", "add read to"],
    ),
    (change("slo", remove=True), "slo", ["required, but absent", "{latency: 400ms"]),
    (change("slo", to="400ms"), "slo", ["got '400ms'", "{latency: 400ms"]),
    (change("slo", "latency", to=0), "slo.latency", ["got 0", "wanted a duration above zero"]),
    (change("slo", "latency", to="0ms"), "slo.latency", ["out of range", "got '0ms'", "a duration above zero"]),
    (change("slo", "latency", to="-4ms"), "slo.latency", ["got '-4ms'", "a duration above zero"]),
    (change("slo", "latency", to=400), "slo.latency", ["a number without a unit", "got 400", "such as 400ms"]),
    (change("slo", "latency", to="400"), "slo.latency", ["got '400'", "with its unit, such as 400ms"]),
    (change("slo", "latency", to="1e999s"), "slo.latency", ["got '1e999s'"]),
    (change("slo", "latency", to=True), "slo.latency", ["wrong type", "got true"]),
    (change("slo", "quantile", to=99), "slo.quantile", ["out of range", "got 99", "between 0 and 1", "99 % is 0.99"]),
    (change("slo", "quantile", to=1), "slo.quantile", ["out of range"]),
    (change("slo", "quantile", to=0), "slo.quantile", ["out of range"]),
    (change("slo", "quantile", to="p99"), "slo.quantile", ["wrong type", "got 'p99'"]),
    (change("budget", "cores", to=0), "budget.cores", ["out of range", "got 0", "above 0"]),
    (change("budget", "cores", to=-1), "budget.cores", ["out of range", "got -1"]),
    (change("budget", "cores", to="2"), "budget.cores", ["wrong type", "got '2'"]),
    (change("budget", "memory", to=4), "budget.memory", ["a number without a unit", "such as 4GiB"]),
    (change("budget", "memory", to="0GiB"), "budget.memory", ["out of range", "above zero"]),
    (change("budget", "memory", to="4Gib"), "budget.memory", ["got '4Gib'", "such as 512MiB"]),
    (change("budget", "replicas_per_task", to=0), "budget.replicas_per_task", ["out of range", "at least 1"]),
    (change("budget", "replicas_per_task", to=1.5), "budget.replicas_per_task", ["got 1.5", "whole number"]),
    (change("budget", "replicas", to=0), "budget.replicas", ["out of range", "at least 1"]),
    (change("budget", "cost_per_hour", to=0), "budget.cost_per_hour", ["out of range", "money above 0"]),
    (change("prices", to={"currency": "EUR"}), "budget.cost_per_hour", ["needs prices", "got 1.5", "core_hour: 0.04"]),
    (change("prices", remove=True), "objective.cost", ["needs prices", "got 'money'", "count cores"]),
    (change("objective", to="weigthed"), "objective", ["got 'weigthed'", "did you mean 'weighted'?"]),
    (change("objective", to=3), "objective", ["got 3", "accurate-under-budget"]),
    (change("objective", "kind", to="x"), "objective.kind", ["got 'x'", "accurate-under-budget, cheapest"]),
    (change("objective", "kind", to="accurate-under-budget"), "objective.alpha", ["has no weights", "got 2"]),
    (change("objective", "kind", to="accurate-under-budget"), "objective.gamma", ["has no weights", "got 0.01"]),
    (change("objective", "beta", to=-1), "objective.beta", ["out of range", "got -1"]),
    (change("objective", "cost", to="time"), "objective.cost", ["got 'time'", "one of cores, money"]),
    (change("objective", "accuracy_floor", to=0.5), "objective.accuracy_floor", ["weighted has no accuracy floor"]),
    (change("objective", to="cheapest"), "objective.accuracy_floor", ["required, but absent", "accuracy_floor: 0.8}"]),
    (change("objective", to={"kind": "cheapest"}), "objective.accuracy_floor", ["required, but absent"]),
    (
        change("objective", to={"kind": "cheapest", "accuracy_floor": 80}),
        "objective.accuracy_floor",
        ["out of range", "got 80", "at most 1, the largest accuracy of the kind measured"],
    ),
    (change("objective", to={"alpha": 1}), "objective.kind", ["required, but absent", "{point_worth_cores: 4}"]),
    (
        change("objective", to={"point_worth": 4}),
        "objective.point_worth",
        ["unknown field", "did you mean 'point_worth_cores'?"],
    ),
    (change("objective", to={"point_worth_cores": 0}), "objective.point_worth_cores", ["got 0", "cores above 0"]),
    (change("objective", to={"point_worth_cores": -1}), "objective.point_worth_cores", ["out of range", "got -1"]),
    (change("objective", to={"point_worth_cores": 1e-9}), "objective.point_worth_cores", ["from 1e-6 to 1e9"]),
    (change("objective", to={"point_worth_cores": "4 cores"}), "objective.point_worth_cores", ["got '4 cores'"]),
    (change("objective", to={"point_worth_per_hour": 0}), "objective.point_worth_per_hour", ["got 0", "money above 0"]),
    (
        change("objective", to={"point_worth_cores": 4, "point_worth_per_hour": 0.3}),
        "objective.point_worth_per_hour",
        ["point_worth_cores and point_worth_per_hour are both given", "leave one of them out"],
    ),
    (
        change("objective", to={"kind": "cheapest", "point_worth_cores": 4}),
        "objective.kind",
        ["the objective has point_worth_cores, which takes its place", "got 'cheapest'", "{point_worth_cores: 4} says"],
    ),
    (change("objective", to={"point_worth_cores": 4, "beta": 1}), "objective.beta", ["takes its place", "got 1.0"]),
    (change("objective", to={"point_worth_cores": 4, "cost": "money"}), "objective.cost", ["takes its place"]),
    (
        yaml.safe_dump(yaml.safe_load(FULL) | {"prices": {}, "budget": {}, "objective": {"point_worth_per_hour": 0.3}}),
        "objective.point_worth_per_hour",
        ["in money needs prices", "got 0.3", "core_hour: 0.04", "point_worth_cores"],
    ),
    (
        yaml.safe_dump(yaml.safe_load(FULL) | {"accuracy": "rank-sum", "objective": {"point_worth_cores": 4}}),
        "objective.point_worth_cores",
        ["a sum of ranks has no points of accuracy", "got 4", "product or measured", "{kind: weighted, beta: 0.05}"],
    ),
    (change("prices", to={"core_hour": -1}), "prices.core_hour", ["out of range", "got -1"]),
    (change("prices", "currency", to=3), "prices.currency", ["wrong type", "got 3"]),
    (change("prices", "core_hour", to=1), "prices.instances", ["core_hour and instances are both given", "leave one"]),
    (change("prices", "instances", to={}), "prices.instances", ["empty", "machines by name"]),
    (change("prices", "instances", "small", "per_hour", remove=True), "prices.instances.small", ["no price", "either"]),
    (change("prices", "instances", "small", "per_second", to=1), "prices.instances.small", ["two prices", "per_hour"]),
    (change("prices", "instances", "small", "cores", to=0.5), "prices.instances.small.cores", ["whole number"]),
    (change("prices", "instances", "large", "memory", to=4), "prices.instances.large.memory", ["such as 4GiB"]),
    (
        change("prices", "instances", "serverless", to={"cores": 1, "per_hour": 1}),
        "prices.instances.serverless",
        ["this name is taken", "prices.serverless"],
    ),
    (change("prices", "serverless", "core_second", remove=True), "prices.serverless.core_second", ["required"]),
    (change("accuracy", to="sum"), "accuracy", ["got 'sum'", "product, rank-sum"]),
    (change("accuracy", to="measured"), "accuracy.table", ["required, but absent", "every combination"]),
    (change("accuracy", "table", remove=True), "accuracy.table", ["required, but absent", "every combination"]),
    (change("accuracy", "table", to=[]), "accuracy.table", ["empty"]),
    (change("accuracy", "kind", to="product"), "accuracy.table", ["the accuracy product has no table", "leave it out"]),
    (change("accuracy", "table", 0, "accuracy", to=70), "accuracy.table[0].accuracy", ["got 70", "90 % is 0.9"]),
    (
        change("accuracy", "table", 0, "variants", "read", to="read-x"),
        "accuracy.table[0].variants.read",
        ["no such variant of task 'read'", "got 'read-x'", "one of read-s, read-m", "did you mean 'read-"],
    ),
    (
        change("accuracy", "table", 1, "variants", "raed", to="read-s"),
        "accuracy.table[1].variants.raed",
        ["no such task", "did you mean 'read'?"],
    ),
    (
        change("accuracy", "table", 1, "variants", "read", remove=True),
        "accuracy.table[1].variants",
        ["names no variant of task 'read'", "one of read-s, read-m"],
    ),
    (
        change("accuracy", "table", 1, "variants", "read", to="read-s"),
        "accuracy.table[1]",
        ["the combination of item [0] again", "got {read: read-s, locate: locate-s}", "each combination once"],
    ),
    (
        change("accuracy", "table", 1, remove=True),
        "accuracy.table",
        ["missing", "got 1 of 2", "the first that is missing is {read: read-m, locate: locate-s}"],
    ),
    (change("planning", "mix", to=3), "planning.mix", ["out of range", "got 3", "wanted 1 or 2"]),
    (change("planning", "mix", to=True), "planning.mix", ["wrong type", "got true"]),
    (change("planning", "share_steps", to=1), "planning.share_steps", ["got 1", "from 2 to 100"]),
    (change("planning", "share_steps", to=101), "planning.share_steps", ["got 101", "from 2 to 100"]),
    (change("planning", "cores", "reed", to=1), "planning.cores.reed", ["no such task", "did you mean 'read'?"]),
    (change("planning", "cores", "read", to=0), "planning.cores.read", ["out of range", "at least 1"]),
    (change("planning", "cores", to=2), "planning.cores", ["got 2", "such as {read: 2}"]),
    (change("planning", "max_batch", to=0), "planning.max_batch", ["out of range", "at least 1"]),
    (change("planning", "latency", to="Tail"), "planning.latency", ["one of tail, paper", "did you mean 'tail'?"]),
    (change("policies", to=["ipa"]), "policies", ["got a list of 1", "{ipa: {threshold_rps: 4}}"]),
    (change("policies", "ipa", to=3), "policies.ipa", ["got 3", "settings by name"]),
    (change("profile", to=3), "profile", ["got 3", "the path of a profile file"]),
    (change("latency", to="4s"), "latency", ["unknown field", "wanted one of"]),
    ("[1, 2]", "", ["wrong type", "got a list of 2", "a mapping of fields"]),
    ("just text", "", ["wrong type", "got 'just text'"]),
]


@pytest.mark.parametrize(("text", "field", "words"), WRONG, ids=[f"{field or 'top'}: {w[0]}" for _, field, w in WRONG])
def test_a_mistake_is_told_with_file_line_field_got_and_wanted(text: str, field: str, words: list[str]) -> None:
    message = str(refusal(text))
    where = [line for line in message.splitlines() if line.startswith("pipeline.yaml:") and f": {field}:" in line]
    assert where or not field, message
    for word in words:
        assert word in message


@pytest.mark.parametrize("value", [1.3, -0.1, math.nan, math.inf, "90%", "0.9", True, 90, [0.9]])
def test_accuracy_is_a_fraction(value: object) -> None:
    text = change("tasks", "read", "variants", "read-s", "accuracy", to=value)
    error = refusal(text)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.strip().startswith("accuracy:"))
    assert error.where == f"pipeline.yaml:{line}: tasks.read.variants.read-s.accuracy"
    assert error.wanted == "a fraction from 0 to 1"
    assert "90 % is 0.9" in str(error.next_step)
    assert error.got is not None


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0])
def test_the_ends_of_the_range_are_accuracies(value: float) -> None:
    text = change("tasks", "read", "variants", "read-s", "accuracy", to=value)
    assert parse_pipeline(text, check_files=False).tasks["read"].variants["read-s"].accuracy == value


def test_a_variant_given_twice() -> None:
    error = refusal(FULL.replace("read-m:", "read-s:"))
    assert str(error).startswith("pipeline.yaml:8: tasks.read.variants.read-s: given twice")


def test_a_longer_cycle_is_named_whole() -> None:
    after = {"a": [], "b": ["a", "e"], "c": ["b"], "d": ["c"], "e": ["d"], "f": ["e"]}
    tasks = {name: {"after": ups, "variants": {"v": {"accuracy": 0.5}}} for name, ups in after.items()}
    error = refusal(json.dumps({"name": "p", "tasks": tasks, "slo": {"latency": "1s"}}))
    assert error.got == "b → c → d → e → b"
    assert error.where == "pipeline.yaml:1: tasks.b.after"


def test_all_mistakes_of_a_pass_are_told_in_the_order_of_the_file() -> None:
    error = refusal(FULL.replace("0.74", "1.74").replace("fan_out: 1.5", "fan_out: -1").replace("0.95", "95"))
    told = [line.split(": ")[1] for line in str(error).splitlines() if line.startswith("pipeline.yaml")]
    assert told == ["tasks.read.after.locate.fan_out", "tasks.read.variants.read-s.accuracy", "slo.quantile"]
    assert len(error.also) == 2
    assert error.where == "pipeline.yaml:4: tasks.read.after.locate.fan_out"


def test_parts_that_do_not_fit_together_are_told_together() -> None:
    text = FULL.replace("[locate]", "[locat]").replace("scene: request.scene", "scene: read.x")
    text = text.replace("currency: EUR", "core_hour: 1").replace("cores: {read: 2}", "cores: {reed: 2}")
    text = text.replace("kind: weighted", "kind: cheapest")
    told = [line.split(": ")[1] for line in str(refusal(text)).splitlines() if line.startswith("pipeline.yaml")]
    weights = [f"objective.{name}" for name in ("alpha", "beta", "gamma", "delta", "accuracy_floor")]
    assert told == ["tasks.read.inputs.scene", *weights, "prices.instances", "planning.cores.reed"]


def test_a_table_of_millions_of_combinations_is_answered_at_once() -> None:
    tasks = {f"t{i}": {"variants": {f"v{j}": {"accuracy": 0.5} for j in range(50)}} for i in range(20)}
    row = {"variants": dict.fromkeys(tasks, "v0"), "accuracy": 0.5}
    content = {"name": "p", "tasks": tasks, "slo": {"latency": "1s"}, "accuracy": {"kind": "measured", "table": [row]}}
    assert "t19: v1}" in str(refusal(json.dumps(content)).next_step)


def test_missing_model_files_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FULL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "locate-s.onnx").touch()
    (tmp_path / "models" / "read-m.onnx").mkdir()
    with pytest.raises(ModelError) as caught:
        load_pipeline(path)
    message = str(caught.value)
    assert f"{path}:7: tasks.read.variants.read-s.model" in message
    assert f"'read-s' is missing: got {tmp_path / 'models' / 'read-s.onnx'} (no such file)" in message
    assert "read-m.onnx (a directory)" in message
    assert "locate-s" not in message
    assert load_pipeline(path, check_files=False).source == path


def test_models_that_exist_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    for name in ("locate-s", "read-s", "read-m"):
        (tmp_path / "models" / f"{name}.onnx").touch()
    (tmp_path / "pipeline.yaml").write_text(FULL)
    monkeypatch.chdir(tmp_path / "models")
    pipeline = load_pipeline(Path("../pipeline.yaml"))
    model = pipeline.tasks["locate"].variants["locate-s"].model
    assert model == tmp_path / "models" / "locate-s.onnx"
    assert pipeline.source is not None
    assert pipeline.source.is_absolute()


def test_a_missing_file_is_a_spec_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no such pipeline file"):
        load_pipeline(tmp_path / "pipeline.yaml")


def test_where_the_profile_is(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FULL)
    assert profile_entry(path) == tmp_path / "measured" / "profile.json"
    path.write_text(change("profile", remove=True))
    assert profile_entry(path) == tmp_path / "profile.json"
    path.write_text(change("profile", to={"tasks": {}}))
    entry = profile_entry(path)
    assert isinstance(entry, Document)
    assert entry.data == {"tasks": {}}


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: name != "request")
FRACTIONS = st.floats(0, 1)


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Pipelines in topological order, with round units."""
    name, *names = draw(st.lists(NAMES, min_size=2, max_size=6, unique=True))
    tasks: dict[str, Task] = {}
    for task in names:
        variants = draw(st.dictionaries(NAMES, FRACTIONS, min_size=1, max_size=3))
        upstreams = draw(st.lists(st.sampled_from(list(tasks)), unique=True)) if tasks else []
        tasks[task] = Task(
            task,
            {variant: Variant(variant, None, accuracy) for variant, accuracy in variants.items()},
            tuple(Edge(up, draw(st.floats(0.01, 100))) for up in upstreams),
            {f"in{i}": f"{up}.out" for i, up in enumerate(["request", *upstreams])},
        )
    milliseconds = draw(st.integers(1, 10**6))
    return Pipeline(
        name,
        tasks,
        Slo(milliseconds / 1000, draw(st.floats(0.01, 0.999))),
        Budget(
            draw(st.none() | st.floats(0.1, 1e4)),
            draw(st.none() | st.integers(1, 10**12)),
            draw(st.integers(1, 99)),
            draw(st.none() | st.integers(1, 99)),
        ),
        draw(OBJECTIVES),
        draw(PRICES),
        draw(st.sampled_from([AccuracyModel(), AccuracyModel("rank-sum")])),
        draw(plannings(list(tasks))),
    )


OBJECTIVES = (
    st.just(Objective())
    | st.builds(Objective, st.just("weighted"), FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS)
    | st.builds(Objective, st.just("cheapest"), accuracy_floor=FRACTIONS)
)
MONEY = st.floats(0, 10)
MEMORY = st.none() | st.integers(1, 10**12)


@st.composite
def instances(draw: st.DrawFn) -> dict[str, Instance]:
    names = draw(st.lists(NAMES.filter(lambda name: name != "serverless"), min_size=1, max_size=3, unique=True))
    return {name: Instance(name, draw(st.integers(1, 64)), draw(MONEY), draw(MEMORY)) for name in names}


SERVERLESS = st.none() | st.builds(Serverless, MONEY, MONEY, st.integers(1, 8), MEMORY)
PRICES = st.builds(Prices, st.none() | MONEY, serverless=SERVERLESS) | st.builds(
    Prices, instances=instances(), serverless=SERVERLESS
)


def plannings(tasks: list[str]) -> st.SearchStrategy[Planning]:
    counts = st.integers(1, 64)
    cores = st.dictionaries(st.sampled_from(tasks), counts)
    latency: Any = st.sampled_from(["tail", "paper"])
    return st.builds(Planning, st.integers(1, 2), st.integers(2, 100), cores, st.none() | counts, latency)


def without_none(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}


def size(memory_bytes: int | None) -> str | None:
    return None if memory_bytes is None else f"{memory_bytes}B"


def as_file(pipeline: Pipeline) -> dict[str, Any]:
    """What a person would write for it."""
    budget, objective, prices, planning = pipeline.budget, pipeline.objective, pipeline.prices, pipeline.planning
    weights = {name: getattr(objective, name) for name in ("alpha", "beta", "gamma", "delta")}
    rents = {
        name: without_none({"cores": i.cores, "per_second": i.per_second, "memory": size(i.memory_bytes)})
        for name, i in prices.instances.items()
    }
    by_use = prices.serverless and without_none(
        {
            "core_second": prices.serverless.core_second,
            "request": prices.serverless.request,
            "cores": prices.serverless.cores,
            "memory": size(prices.serverless.memory_bytes),
        }
    )
    return {
        "name": pipeline.name,
        "tasks": {
            task.name: {
                "after": {edge.upstream: {"fan_out": edge.fan_out} for edge in task.after},
                "inputs": dict(task.inputs),
                "variants": {variant.name: {"accuracy": variant.accuracy} for variant in task.variants.values()},
            }
            for task in pipeline.tasks.values()
        },
        "slo": {"latency": f"{pipeline.slo.latency_s!r}s", "quantile": pipeline.slo.quantile},
        "budget": without_none(
            {
                "cores": budget.cores,
                "memory": size(budget.memory_bytes),
                "replicas_per_task": budget.replicas_per_task,
                "replicas": budget.replicas,
            }
        ),
        "objective": without_none({"kind": objective.kind, "accuracy_floor": objective.accuracy_floor})
        | (weights if objective.kind == "weighted" else {}),
        "prices": without_none({"core_hour": prices.core_hour, "instances": rents or None, "serverless": by_use}),
        "accuracy": pipeline.accuracy.kind,
        "planning": without_none(dataclasses.asdict(planning)),
    }


@settings(max_examples=40)
@given(pipeline=pipelines(), as_json=st.booleans(), seed=st.randoms(use_true_random=False))
def test_a_pipeline_that_is_written_is_read_whatever_the_order_of_its_tasks(
    pipeline: Pipeline, as_json: bool, seed: Any
) -> None:
    content = as_file(pipeline)
    tasks = list(content["tasks"].items())
    seed.shuffle(tasks)
    content["tasks"] = dict(tasks)
    text = json.dumps(content) if as_json else yaml.safe_dump(content, sort_keys=False)
    read = parse_pipeline(text)
    assert read == pipeline
    place = {name: i for i, name in enumerate(read.tasks)}
    assert all(place[edge.upstream] < place[task.name] for task in read.tasks.values() for edge in task.after)


@settings(max_examples=40)
@given(pipeline=pipelines())
def test_tasks_that_are_in_order_stay_where_they_are(pipeline: Pipeline) -> None:
    assert list(parse_pipeline(json.dumps(as_file(pipeline))).tasks) == list(pipeline.tasks)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["locate", "read", "400ms", {}, [], ["read"], {"locate": {}}, {"kind": "weighted"}])
)


@given(data=st.data())
def test_any_change_gives_a_pipeline_or_an_error_that_was_meant(data: st.DataObject) -> None:
    content: Any = yaml.safe_load(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        inner = content
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = data.draw(st.sampled_from([*keys, "new"] if isinstance(inner, dict) else keys))
            if key != "new" and isinstance(inner[key], dict | list) and inner[key] and data.draw(st.booleans()):
                inner = inner[key]
                continue
            inner[key] = data.draw(VALUES)
            break
    try:
        pipeline = parse_pipeline(json.dumps(content), check_files=False)
    except SpecError:
        return
    else:
        assert all(0 <= v.accuracy <= 1 for task in pipeline.tasks.values() for v in task.variants.values())
        assert 0 < pipeline.slo.latency_s < math.inf

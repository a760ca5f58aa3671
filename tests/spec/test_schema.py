"""The JSON schema for editors says the same as the reader, as far as forms go."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from trimtab.errors import SpecError
from trimtab.spec.load import parse_pipeline
from trimtab.spec.schema import schema_json

BASE = """\
$schema: pipeline.schema.json
name: digits
tasks:
  locate: {variants: {l: {model: l.onnx, accuracy: 1, measured_on: text}}}
  read:
    after: {locate: {fan_out: 2, fan_out_by: {l: 1.5}}}
    inputs: {crop: locate.crop}
    variants: {r: {accuracy: 0.5}}
slo: {latency: 400ms, quantile: 0.99}
budget: {cores: 1.5, memory: 512 MiB, replicas_per_task: 3, replicas: 4, cost_per_hour: 1.5}
objective: weighted
prices: {core_hour: 0, currency: EUR}
accuracy: product
planning: {mix: 2, share_steps: 2, cores: {read: 2}, max_batch: 4, latency: paper}
policies: {ipa: {threshold_rps: 4, variants: {read: r}, any: [1, [true]]}}
profile: profile.json
"""

VALID: list[dict[str, Any]] = [
    {},
    {"slo": {"latency": "2.5 s"}},
    {"slo": {"latency": ".5min"}},
    {"slo": {"latency": "1e-3h"}},
    {"objective": {"kind": "weighted", "alpha": 0}},
    {"objective": {"kind": "accurate-under-budget"}},
    {"objective": {"kind": "cheapest", "accuracy_floor": 0.8, "cost": "money"}},
    {"objective": {"point_worth_cores": 4}},
    {"objective": {"point_worth_per_hour": 0.3}},
    {"accuracy": "rank-sum"},
    {"accuracy": {"kind": "measured", "table": [{"variants": {"locate": "l", "read": "r"}, "accuracy": 0.4}]}},
    {"prices": {"instances": {"s": {"cores": 1, "per_hour": 0}, "l": {"cores": 4, "memory": "8GB", "per_second": 1}}}},
    {"prices": {"serverless": {"core_second": 1e-5, "request": 0, "cores": 2, "memory": "2GiB"}}},
    {"planning": {}, "policies": {}},
    {"profile": {"tasks": {}}},
    {"budget": {}},
]
INVALID: list[dict[str, Any]] = [
    {"name": "two words"},
    {"name": ""},
    {"tasks": {}},
    {"tasks": {"a.b": {"variants": {"v": {"accuracy": 1}}}}},
    {"tasks": {"a": {"variants": {}}}},
    {"tasks": {"a": {"variants": {"two words": {"accuracy": 1}}}}},
    {"tasks": {"a": {"variants": {"v": {}}}}},
    {"tasks": {"a": {"variants": {"v": {"accuracy": 1.3}}}}},
    {"tasks": {"a": {"variants": {"v": {"accuracy": "90%"}}}}},
    {"tasks": {"a": {"variants": {"v": {"accuracy": 1, "model": ""}}}}},
    {"tasks": {"a": {"variants": {"v": {"accuracy": 1, "modle": "x"}}}}},
    {"tasks": {"a": {"after": "b", "variants": {"v": {"accuracy": 1}}}}},
    {"tasks": {"a": {"after": {"two words": {}}, "variants": {"v": {"accuracy": 1}}}}},
    {"tasks": {"a": {"inputs": {"x": "crop"}, "variants": {"v": {"accuracy": 1}}}}},
    {"slo": {}},
    {"slo": {"latency": 400}},
    {"slo": {"latency": "400"}},
    {"slo": {"latency": "0ms"}},
    {"slo": {"latency": "0.0e5ms"}},
    {"slo": {"latency": "1s", "quantile": 1}},
    {"slo": {"latency": "1s", "quantile": 0}},
    {"budget": {"cores": 0}},
    {"budget": {"memory": "4Gib"}},
    {"budget": {"replicas_per_task": 1.5}},
    {"tasks": {"a": {"after": {"b": {"fan_out_by": {"v": 0}}}, "variants": {"v": {"accuracy": 1}}}}},
    {"budget": {"replicas": 0}},
    {"budget": {"cost_per_hour": 0}},
    {"objective": "fastest"},
    {"objective": "cheapest"},
    {"objective": {"kind": "weighted", "cost": "time"}},
    {"objective": {"point_worth_cores": 0}},
    {"objective": {"point_worth_per_hour": -0.3}},
    {"objective": {"point_worth_cores": 4, "point_worth_per_hour": 0.3}},
    {"objective": {"kind": "weighted", "point_worth_cores": 4}},
    {"accuracy": "measured"},
    {"accuracy": {"kind": "measured", "table": []}},
    {"accuracy": {"kind": "measured", "table": [{"variants": {"locate": "l"}, "accuracy": 2}]}},
    {"prices": {"core_hour": 1, "instances": {"s": {"cores": 1, "per_hour": 1}}}},
    {"prices": {"instances": {}}},
    {"prices": {"instances": {"s": {"cores": 1}}}},
    {"prices": {"instances": {"s": {"cores": 1, "per_hour": 1, "per_second": 1}}}},
    {"prices": {"serverless": {}}},
    {"planning": {"mix": 3}},
    {"planning": {"share_steps": 1}},
    {"planning": {"share_steps": 101}},
    {"planning": {"cores": {"read": 0}}},
    {"planning": {"latency": "mean"}},
    {"policies": {"ipa": 3}},
    {"policies": ["ipa"]},
    {"objective": {"alpha": 1}},
    {"prices": {"core_hour": -1}},
    {"profile": 3},
    {"profile": ""},
    {"unknown": 3},
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = schema_json()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def changed(change: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(BASE)
    return content | change


@pytest.mark.parametrize("change", VALID, ids=json.dumps)
def test_what_is_read_is_valid(validator: jsonschema.Draft202012Validator, change: dict[str, Any]) -> None:
    content = changed(change)
    parse_pipeline(json.dumps(content), check_files=False)
    assert list(validator.iter_errors(content)) == []


@pytest.mark.parametrize("change", INVALID, ids=json.dumps)
def test_what_is_refused_is_invalid(validator: jsonschema.Draft202012Validator, change: dict[str, Any]) -> None:
    content = changed(change)
    with pytest.raises(SpecError):
        parse_pipeline(json.dumps(content), check_files=False)
    assert list(validator.iter_errors(content))


@pytest.mark.parametrize("field", ["name", "tasks", "slo"])
def test_what_is_required(validator: jsonschema.Draft202012Validator, field: str) -> None:
    content = changed({})
    del content[field]
    assert list(validator.iter_errors(content))
    with pytest.raises(SpecError):
        parse_pipeline(json.dumps(content), check_files=False)


def test_every_field_is_described() -> None:
    schema = schema_json()
    objects = [schema, *schema["$defs"].values()]
    bare = [
        f"{o['title']}.{name}"
        for o in objects
        for name, f in o["properties"].items()
        if not {"description", "$ref"} & set(f)
    ]
    assert bare == []

"""The profile file: what is written is read, and what each mistake in it is answered with."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import ProfileError
from trimtab.profile.file import format_profile, load_profile, load_profile_for, parse_profile, save_profile
from trimtab.profile.model import (
    QUANTILES,
    CapacityCheck,
    CapacityPoint,
    Profile,
    Provenance,
    ServicePoint,
    VariantProfile,
)
from trimtab.profile.schema import schema_json
from trimtab.spec.load import load_pipeline, parse_pipeline

FULL: dict[str, Any] = {
    "trimtab_profile": 1,
    "provenance": {
        "measured_at": "2025-06-01T12:00:00+00:00",
        "host": "h",
        "cpu": "c",
        "cores_available": 2,
        "os": "Linux",
        "versions": {"onnxruntime": "1.20"},
        "command": "trimtab profile",
        "notes": ["no affinity"],
    },
    "tasks": {
        "read": {
            "read-s": {
                "model_sha256": "ab" * 32,
                "load_time_s": 0.2,
                "memory_bytes": 1000,
                "points": [
                    {"cores": 2, "threads": 1, "batch": 4, "mean_s": 0.01, "quantiles_s": {"0.5": 0.009, "0.99": 0.02}},
                    {"cores": 1, "batch": 1, "quantiles_s": {"0.5": 0.003}, "samples": 30},
                ],
                "checks": [
                    {
                        "cores": 2,
                        "threads": 1,
                        "batch": 1,
                        "rate_rps": 90,
                        "served_rps": 89.5,
                        "p50_s": 0.01,
                        "p99_s": 0.04,
                        "seconds": 5,
                        "sustained": True,
                    }
                ],
            },
            "read-m": {"points": {"1": "4ms", "8": "20ms"}},
            "read-l": {
                "load_time_s": 0.4,
                "capacity": [
                    {"cores": 4, "rate_rps": 33.5, "latency_s": 0.11},
                    {"cores": 1, "rate_rps": 8, "latency_s": 0.125},
                ],
            },
        }
    },
}


def change(*path: str | int, to: object = None, remove: bool = False) -> str:
    """FULL with another value at `path`, one field a line."""
    data = copy.deepcopy(FULL)
    inner: Any = data
    for part in path[:-1]:
        inner = inner[part]
    if remove:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return json.dumps(data, indent=1)


S = ("tasks", "read", "read-s")
POINT = (*S, "points", 0)


def test_every_field_arrives() -> None:
    profile = parse_profile(json.dumps(FULL))
    assert profile.provenance == Provenance(
        "2025-06-01T12:00:00+00:00",
        "h",
        "c",
        2,
        "Linux",
        {"onnxruntime": "1.20"},
        "trimtab profile",
        ("no affinity",),
    )
    assert profile.variants["read"]["read-s"] == VariantProfile(
        "read",
        "read-s",
        (
            ServicePoint(1, 1, 1, 0.003, {0.5: 0.003}, 30),
            ServicePoint(2, 1, 4, 0.01, {0.5: 0.009, 0.99: 0.02}, 0),
        ),
        0.2,
        1000,
        "ab" * 32,
        (CapacityCheck(2, 1, 1, 90.0, 89.5, 0.01, 0.04, 5.0, True),),  # noqa: FBT003 — in the order of the fields
    )


def test_the_short_form_is_one_core_with_means_only() -> None:
    assert parse_profile(json.dumps(FULL)).variants["read"]["read-m"] == VariantProfile(
        "read", "read-m", (ServicePoint(1, 1, 1, 0.004, {}, 0), ServicePoint(1, 1, 8, 0.02, {}, 0))
    )


def test_a_capacity_table_does_without_points() -> None:
    assert parse_profile(json.dumps(FULL)).variants["read"]["read-l"] == VariantProfile(
        "read", "read-l", (), 0.4, capacity=(CapacityPoint(1, 8.0, 0.125), CapacityPoint(4, 33.5, 0.11))
    )


def test_points_and_a_capacity_table_may_stand_side_by_side() -> None:
    text = change(*S, "capacity", to=[{"cores": 8, "rate_rps": 100, "latency_s": 0.1}])
    measured = parse_profile(text).variants["read"]["read-s"]
    assert len(measured.points) == 2
    assert measured.capacity == (CapacityPoint(8, 100.0, 0.1),)


L = ("tasks", "read", "read-l")
ROW = (*L, "capacity", 0)
WRONG: list[tuple[str, str, list[str]]] = [
    (change("trimtab_profile", remove=True), "trimtab_profile", ["required, but absent", "wanted 1"]),
    (change("trimtab_profile", to=2), "trimtab_profile", ["got 2", "wanted 1, the version"]),
    (change("tasks", remove=True), "tasks", ["required, but absent"]),
    (change("tasks", to=[]), "tasks", ["wrong type", "tasks by name"]),
    (change(*S, to=3), "tasks.read.read-s", ["wrong type", "got 3"]),
    (change(*S, "point", to=[]), "tasks.read.read-s.point", ["unknown field", "did you mean 'points'?"]),
    (change(*S, "points", remove=True), "tasks.read.read-s", ["nothing is measured", "points, a capacity table, or"]),
    (change(*S, to={}), "tasks.read.read-s", ["nothing is measured", "points, a capacity table, or both"]),
    (change(*S, "points", to=3), "tasks.read.read-s.points", ["wrong type", "got 3", "{1: 4ms, 8: 20ms}"]),
    (change(*L, "capacity", to=[]), "tasks.read.read-l.capacity", ["empty", "[{cores: 2, rate_rps: 30"]),
    (change(*L, "capacity", to={"1": 20}), "tasks.read.read-l.capacity", ["wrong type", "got a mapping", "[{cores"]),
    (change(*ROW, "cores", to=0.5), "tasks.read.read-l.capacity[0].cores", ["wrong type", "whole number"]),
    (change(*ROW, "cores", remove=True), "tasks.read.read-l.capacity[0].cores", ["required, but absent"]),
    (change(*ROW, "rate_rps", to=0), "tasks.read.read-l.capacity[0].rate_rps", ["out of range", "per second above 0"]),
    (change(*ROW, "latency_s", to="110ms"), "tasks.read.read-l.capacity[0].latency_s", ["wrong type", "seconds above"]),
    (change(*ROW, "latency", to=1), "tasks.read.read-l.capacity[0].latency", ["unknown", "did you mean 'latency_s'?"]),
    (change(*ROW, "cores", to=1), "tasks.read.read-l.capacity[1]", ["given twice", "cores 1", "each number of cores"]),
    (change(*S, "points", to=[]), "tasks.read.read-s.points", ["empty"]),
    (change(*S, "points", to={}), "tasks.read.read-s.points", ["empty"]),
    (change(*S, "points", to={"1": 4}), "tasks.read.read-s.points.1", ["a number without a unit", "got 4"]),
    (change(*S, "points", to={"0": "4ms"}), "tasks.read.read-s.points.0", ["got '0'", "a batch size"]),
    (change(*POINT, "batch", remove=True), "tasks.read.read-s.points[0].batch", ["required, but absent"]),
    (change(*POINT, "batch", to=0), "tasks.read.read-s.points[0].batch", ["out of range", "at least 1"]),
    (change(*POINT, "batch", to=1.5), "tasks.read.read-s.points[0].batch", ["wrong type", "whole number"]),
    (change(*POINT, "cores", to=0), "tasks.read.read-s.points[0].cores", ["out of range"]),
    (change(*POINT, "threads", to=3), "tasks.read.read-s.points[0].threads", ["3 threads on 2 cores", "divide"]),
    (change(*POINT, "mean_s", to=0), "tasks.read.read-s.points[0].mean_s", ["out of range", "seconds above 0"]),
    (change(*POINT, "mean_s", to=math.nan), "tasks.read.read-s.points[0].mean_s", ["not a finite", "got nan"]),
    (change(*POINT, "mean_s", to="4ms"), "tasks.read.read-s.points[0].mean_s", ["wrong type", "got '4ms'"]),
    (
        change(*POINT, "quantiles_s", to={"0.5": 0.02, "0.99": 0.01}),
        "tasks.read.read-s.points[0].quantiles_s",
        ["quantiles go down", "0.02 s at 0.5 and 0.01 s at 0.99"],
    ),
    (
        change(*POINT, "quantiles_s", to={"0.5": 1, "0.50": 1}),
        "tasks.read.read-s.points[0].quantiles_s",
        ["a quantile is given twice", "got 0.5"],
    ),
    (change(*POINT, "quantiles_s", to={}), "tasks.read.read-s.points[0].quantiles_s", ["empty"]),
    (change(*POINT, "quantiles_s", to={"99": 1}), "tasks.read.read-s.points[0].quantiles_s.99", ["a quantile", "'99'"]),
    (change(*POINT, "quantiles_s", to={"0.5": -1}), "tasks.read.read-s.points[0].quantiles_s.0.5", ["out of range"]),
    (
        change(*POINT, to={"batch": 1, "quantiles_s": {"0.9": 1}}),
        "tasks.read.read-s.points[0]",
        ["no service time", "mean_s, or quantiles_s with the median"],
    ),
    (
        change(*POINT, to={"batch": 1, "mean_s": 1}),
        "tasks.read.read-s.points[1]",
        ["given twice", "cores 1, threads 1, batch 1"],
    ),
    (change(*S, "model_sha256", to="abc"), "tasks.read.read-s.model_sha256", ["got 'abc'", "64 hexadecimal"]),
    (change(*S, "load_time_s", to=-1), "tasks.read.read-s.load_time_s", ["out of range"]),
    (change(*S, "memory_bytes", to=1.5), "tasks.read.read-s.memory_bytes", ["whole number of bytes"]),
    (change(*S, "checks", 0, "threads", to=4), "tasks.read.read-s.checks[0].threads", ["4 threads on 2 cores"]),
    (change(*S, "checks", 0, "sustained", to="yes"), "tasks.read.read-s.checks[0].sustained", ["true or false"]),
    (change("provenance", "host", remove=True), "provenance.host", ["required, but absent"]),
    (change("provenance", to="here"), "provenance", ["wrong type", "got 'here'"]),
]


@pytest.mark.parametrize(("text", "field", "words"), WRONG, ids=[f"{field}: {w[0]}" for _, field, w in WRONG])
def test_a_mistake_is_told_with_file_line_field_got_and_wanted(text: str, field: str, words: list[str]) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "profile.json")
    message = str(caught.value)
    assert [row for row in message.splitlines() if row.startswith("profile.json:") and f": {field}:" in row], message
    for word in words:
        assert word in message


def test_the_line_is_that_of_the_field() -> None:
    text = change(*POINT, "mean_s", to=-1)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if '"mean_s"' in row)
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "profile.json")
    assert caught.value.where == f"profile.json:{line}: tasks.read.read-s.points[0].mean_s"


@pytest.mark.parametrize(("text", "field", "words"), WRONG, ids=[f"{field}: {w[0]}" for _, field, w in WRONG])
def test_the_json_schema_refuses_what_a_schema_can(text: str, field: str, words: list[str]) -> None:
    between_fields = ("3 threads", "4 threads", "quantiles go down", "a quantile is given twice", "no service", "given")
    if words[0].startswith(between_fields) or "NaN" in text:
        return
    assert list(jsonschema.Draft202012Validator(schema_json()).iter_errors(json.loads(text))), field


def test_the_json_schema_takes_what_is_read() -> None:
    validator = jsonschema.Draft202012Validator(schema_json())
    validator.check_schema(schema_json())
    written = json.loads(format_profile(parse_profile(json.dumps(FULL))))
    for content in (FULL, written, FULL | {"$schema": "profile.schema.json"}):
        assert list(validator.iter_errors(content)) == []
        parse_profile(json.dumps(content))


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
SIX_DIGITS = st.builds(lambda x: float(f"{x:.6g}"), st.floats(1e-6, 1e3))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@st.composite
def points(draw: st.DrawFn) -> tuple[ServicePoint, ...]:
    shapes = st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 3]), st.integers(1, 64))
    made: list[ServicePoint] = []
    for threads, slots, batch in sorted(draw(st.sets(shapes, min_size=1, max_size=5))):
        kept = draw(st.sampled_from([(), (0.5,), QUANTILES, (0.001, 0.5, 0.9999)]))
        times = sorted(draw(st.lists(SIX_DIGITS, min_size=len(kept), max_size=len(kept))))
        quantiles_s = dict(zip(kept, times, strict=True))
        made.append(
            ServicePoint(threads * slots, threads, batch, draw(SIX_DIGITS), quantiles_s, draw(st.integers(0, 99)))
        )
    return tuple(sorted(made, key=lambda p: (p.cores, p.threads, p.batch)))


@st.composite
def measurements(draw: st.DrawFn) -> tuple[tuple[ServicePoint, ...], tuple[CapacityPoint, ...]]:
    """Points, a capacity table, or both."""
    cores = draw(st.sets(st.integers(1, 64), max_size=4))
    rows = tuple(CapacityPoint(n, draw(SIX_DIGITS), draw(SIX_DIGITS)) for n in sorted(cores))
    return draw(points() if not rows else st.just(()) | points()), rows


CHECKS = st.builds(
    CapacityCheck,
    cores=st.just(2),
    threads=st.sampled_from([1, 2]),
    batch=st.integers(1, 9),
    rate_rps=SIX_DIGITS,
    served_rps=SIX_DIGITS,
    p50_s=SIX_DIGITS,
    p99_s=SIX_DIGITS,
    seconds=SIX_DIGITS,
    sustained=st.booleans(),
)
PROVENANCES = st.builds(
    Provenance,
    measured_at=TEXT,
    host=TEXT,
    cpu=TEXT,
    cores_available=st.integers(1, 99),
    os=TEXT,
    versions=st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
    command=TEXT,
    notes=st.lists(TEXT, max_size=3).map(tuple),
)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    variants: dict[str, dict[str, VariantProfile]] = {}
    for task in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        variants[task] = {}
        for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
            measured, rows = draw(measurements())
            variants[task][name] = VariantProfile(
                task,
                name,
                measured,
                draw(st.none() | SIX_DIGITS),
                draw(st.none() | st.integers(0, 10**12)),
                draw(st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
                tuple(draw(st.lists(CHECKS, max_size=2))),
                rows,
            )
    return Profile(variants, draw(st.none() | PROVENANCES))


@settings(max_examples=60)
@given(profile=profiles())
def test_what_is_written_is_read(profile: Profile) -> None:
    text = format_profile(profile)
    assert parse_profile(text) == profile
    json.loads(text)


def test_six_digits_are_written_and_points_are_put_in_order() -> None:
    raw = (ServicePoint(1, 1, 2, 2 / 3, {0.5: 1 / 3}, 9), ServicePoint(1, 1, 1, 0.1234567891, {}, 9))
    text = format_profile(Profile({"t": {"v": VariantProfile("t", "v", raw)}}))
    assert '{"cores": 1, "threads": 1, "batch": 1, "mean_s": 0.123457, "samples": 9},\n' in text
    read = parse_profile(text)
    assert read.variants["t"]["v"].points == (
        ServicePoint(1, 1, 1, 0.123457, {}, 9),
        ServicePoint(1, 1, 2, 0.666667, {0.5: 0.333333}, 9),
    )
    assert format_profile(read) == text


def test_a_capacity_table_is_written_in_order_a_row_a_line() -> None:
    rows = (CapacityPoint(2, 2 / 3, 0.5), CapacityPoint(1, 0.4, 1 / 3))
    text = format_profile(Profile({"t": {"v": VariantProfile("t", "v", (), capacity=rows)}}))
    low = '          {"cores": 1, "rate_rps": 0.4, "latency_s": 0.333333},\n'
    assert f'{low}          {{"cores": 2, "rate_rps": 0.666667, "latency_s": 0.5}}\n' in text
    assert '"points"' not in text


def test_one_more_point_is_one_more_line() -> None:
    profile = parse_profile(json.dumps(FULL))
    measured = profile.variants["read"]["read-s"]
    more = VariantProfile(
        "read", "read-s", (*measured.points, ServicePoint(8, 1, 1, 1.0, {}, 3)), 0.2, 1000, "ab" * 32, measured.checks
    )
    before = format_profile(profile).splitlines()
    after = format_profile(Profile({"read": {**profile.variants["read"], "read-s": more}}, profile.provenance))
    added = [row for row in after.splitlines() if row not in before]
    assert len(added) == 2  # the point, and the comma of the one before it
    assert len(after.splitlines()) == len(before) + 1


def test_variants_of_which_nothing_is_measured_yet_are_left_out() -> None:
    measured = VariantProfile("t", "v", (ServicePoint(1, 1, 1, 0.1, {}, 9),))
    text = format_profile(Profile({"t": {"v": measured, "w": VariantProfile("t", "w", ())}, "u": {}}))
    assert parse_profile(text).variants == {"t": {"v": measured}, "u": {}}


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    broken = Profile({"t": {"v": VariantProfile("t", "v", (ServicePoint(1, 1, 1, math.nan, {}, 9),))}})
    with pytest.raises(ProfileError, match="not finite"):
        save_profile(broken, tmp_path / "profile.json")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text("old")
    profile = parse_profile(json.dumps(FULL))
    save_profile(profile, path)
    assert load_profile(path) == profile
    assert [p.name for p in tmp_path.iterdir()] == ["profile.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "profile.json").symlink_to("real.json")
    save_profile(parse_profile(json.dumps(FULL)), tmp_path / "profile.json")
    assert (tmp_path / "profile.json").is_symlink()
    assert load_profile(tmp_path / "real.json")


@pytest.mark.parametrize("name", ["absent/profile.json", "."])
def test_where_nothing_can_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match="cannot be written"):
        save_profile(parse_profile(json.dumps(FULL)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


PIPELINE = """\
name: digits
tasks: {read: {variants: {read-s: {accuracy: 0.7}, read-m: {accuracy: 0.9}, read-l: {accuracy: 1}}}}
slo: {latency: 400ms}
"""


def test_the_profile_of_a_pipeline_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    pipeline = load_pipeline(path)
    with pytest.raises(ProfileError) as caught:
        load_profile_for(pipeline)
    assert str(tmp_path / "profile.json") in str(caught.value)
    assert f"trimtab profile {path}" in str(caught.value)
    (tmp_path / "profile.json").write_text(json.dumps(FULL))
    assert load_profile_for(pipeline) == parse_profile(json.dumps(FULL))


def test_the_pipeline_file_or_the_caller_may_name_another_profile(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE + "profile: sub/measured.yaml\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "measured.yaml").write_text(yaml.safe_dump(FULL))
    assert load_profile_for(load_pipeline(path)) == parse_profile(json.dumps(FULL))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ProfileError, match=r"other\.json:1: trimtab_profile"):
        load_profile_for(load_pipeline(path), tmp_path / "other.json")


def test_a_profile_may_stand_in_the_pipeline_file(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    inline = "profile:\n  tasks:\n    read:\n      read-s: {points: {1: 4ms}}\n      read-m: {points: {1: 9ms, 2: 1}}\n"
    inline += "      read-l: {capacity: [{cores: 4, rate_rps: 60, latency_s: 0.1}]}\n"
    path.write_text(PIPELINE + inline)
    pipeline = load_pipeline(path)
    with pytest.raises(ProfileError) as caught:
        load_profile_for(pipeline)
    assert caught.value.where == f"{path}:8: profile.tasks.read.read-m.points.2"
    path.write_text(PIPELINE + inline.replace("2: 1}", "2: 1s}"))
    profile = load_profile_for(pipeline)
    assert profile.variants["read"]["read-m"].service_time(2, 1, 1).seconds == 1.0
    assert profile.variants["read"]["read-l"].capacity == (CapacityPoint(4, 60.0, 0.1),)


def test_overrides_reach_the_profile_of_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE + f"profile: {json.dumps(FULL)}\n")
    changed = ["profile.tasks.read.read-m.load_time_s=7", "profile.tasks.read.read-m.points={1: 3ms}"]
    pipeline = load_pipeline(path, overrides=changed)
    measured = load_profile_for(pipeline, overrides=changed).variants["read"]["read-m"]
    assert measured == VariantProfile("read", "read-m", (ServicePoint(1, 1, 1, 0.003, {}, 0),), 7.0)

    with pytest.raises(ProfileError) as caught:
        load_profile_for(pipeline, overrides=["profile.tasks.read.read-l.capacity=[{cores: 1, rate_rps: 0}]"])
    shown = "--set profile.tasks.read.read-l.capacity=[{cores: 1, rate_rps: 0}]: profile.tasks.read.read-l.capacity[0]"
    assert f"{shown}.rate_rps: out of range: got 0" in str(caught.value)
    assert f"{shown}.latency_s: required, but absent" in str(caught.value)

    other = tmp_path / "other.json"
    other.write_text(json.dumps(FULL))
    assert load_profile_for(pipeline, overrides=[f"profile={other}"]) == parse_profile(json.dumps(FULL))
    assert load_profile_for(pipeline, other, ["slo.latency=1s"]) == parse_profile(json.dumps(FULL))
    with pytest.raises(ProfileError) as caught:
        load_profile_for(pipeline, other, changed)
    assert str(caught.value).startswith(f"--set {changed[0]}: ")
    assert str(other) in str(caught.value)


def test_a_pipeline_made_in_code_has_no_profile_beside_it() -> None:
    with pytest.raises(ProfileError, match="was not read from a file"):
        load_profile_for(parse_pipeline(PIPELINE))

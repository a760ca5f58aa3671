"""Overrides: values given beside the file mean what they would mean in it, and answer for their own mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ModelError, SpecError
from trimtab.spec.document import Document, parse_document
from trimtab.spec.load import load_pipeline, parse_pipeline, profile_entry
from trimtab.spec.model import Objective, Pipeline
from trimtab.spec.overrides import apply_overrides, is_inside

TEXT = """\
name: digits
tasks:
  locate: {variants: {l.1: {accuracy: 0.9}, l.1.5: {accuracy: 0.95}}}
  read: {after: [locate], variants: {small: {accuracy: 0.7}, large: {accuracy: 0.8}}}
slo: {latency: 400ms}
objective: weighted
profile: {tasks: {}}
"""


def read(*overrides: str) -> Pipeline:
    return parse_pipeline(TEXT, Path("pipeline.yaml"), check_files=False, overrides=overrides)


def refusal(*overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        read(*overrides)
    return str(caught.value)


def test_an_override_stands_in_the_place_of_what_the_file_says() -> None:
    assert read("slo.latency=300ms").slo.latency_s == 0.3
    assert read("tasks.read.variants.large.accuracy=0.85").tasks["read"].variants["large"].accuracy == 0.85
    assert read("objective={kind: weighted, beta: 0.1}").objective == Objective("weighted", beta=0.1)
    assert read('objective={"kind": "weighted"}').objective == Objective("weighted")
    assert read("objective={point_worth_cores: 4}").objective == Objective.exchange(4.0)
    assert read("name=other").name == "other"
    assert read("tasks.read.after=[]").tasks["read"].after == ()


def test_what_is_absent_on_the_way_is_made() -> None:
    assert read("budget.cores=12").budget.cores == 12
    assert read("policies.ipa.replicas.read=2").policies == {"ipa": {"replicas": {"read": 2}}}
    assert read("tasks.extra.variants.v.accuracy=1", "tasks.extra.after=[read]").is_chain()


def test_later_overrides_meet_what_earlier_ones_made() -> None:
    assert read("objective={kind: weighted}", "objective.beta=0.1", "objective.beta=0.2").objective.beta == 0.2
    assert read("budget.cores=1", "budget={replicas: 3}").budget.cores is None


def test_a_name_with_dots_is_taken_whole() -> None:
    pipeline = read("tasks.locate.variants.l.1.accuracy=0.1", "tasks.locate.variants.l.1.5.accuracy=0.2")
    assert {name: v.accuracy for name, v in pipeline.tasks["locate"].variants.items()} == {"l.1": 0.1, "l.1.5": 0.2}


def test_the_file_itself_is_left_as_it_is() -> None:
    document = parse_document(TEXT, "pipeline.yaml", SpecError)
    before = json.dumps(document.data)
    assert apply_overrides(document, ["tasks.read.variants.large.accuracy=0", "slo={}"]).data != document.data
    assert json.dumps(document.data) == before
    assert apply_overrides(document, []) == document


WRONG = [
    ("slo.latency=300", "--set slo.latency=300: slo.latency: a number without a unit: got 300"),
    ("slo={latency: 1s, quantile: 9}", "--set slo={latency: 1s, quantile: 9}: slo.quantile: out of range: got 9"),
    ("slo.latncy=1s", "--set slo.latncy=1s: slo.latncy: unknown field: wanted one of latency, quantile"),
    ("slo=1s", "--set slo=1s: slo: wrong type: got '1s', wanted a mapping such as"),
    ("budget.cost_per_hour=3", "--set budget.cost_per_hour=3: budget.cost_per_hour: a budget of money needs prices"),
    ("tasks.reed.variants.v.accuracy=2", "tasks.reed.variants.v.accuracy: out of range: got 2"),
    ("tasks.new.after=[locate]", "--set tasks.new.after=[locate]: tasks.new.variants: required, but absent"),
    ("tasks.read.after=[locat]", "--set tasks.read.after=[locat]: tasks.read.after[0]: there is no such task"),
    ("slo.latency", "--set slo.latency: not an override: wanted path=value, such as slo.latency=300ms"),
    ("=1", "--set =1: not an override"),
    ("slo..latency=1s", "--set slo..latency=1s: not an override"),
    ("slo.latency=", "--set slo.latency=: slo.latency: has no value"),
    ("slo.latency=# nothing", "slo.latency: has no value"),
    ("budget.cores=null", "--set budget.cores=null: budget.cores: has no value"),
    ("slo={latency: 1s, latency: 2s}", "latency: 2s}: slo.latency: given twice"),
    ("slo={latency: ~}", "--set slo={latency: ~}: slo.latency: has no value"),
    ("slo={latency: 1s", "--set slo={latency: 1s: not valid YAML or JSON"),
    ("slo=latency: 1s", "--set slo=latency: 1s: slo: not a single value: wanted mappings in braces {}"),
    ("tasks.read.after=- locate", "tasks.read.after: not a single value"),
    ("name=*x", "--set name=*x: name: anchors and aliases are not read"),
    ("name=!!str x", "name: tags are not read"),
    ("name=a\x00", "not a text file: got a control character"),
    ("name=a\n---\nb", "a second document begins here"),
    ("objective.beta=0.1", "mappings only: got 'weighted' at objective, wanted a mapping there"),
    ("objective.beta=0.1", "→ set objective as a whole"),
    ("objective.point_worth_cores=4", "→ set objective as a whole"),
    ("tasks.read.after.locate.fan_out=2", "mappings only: got a list of 1 at tasks.read.after"),
    ("x" + ".x" * 99 + "=1", "nested too deep"),
]


@pytest.mark.parametrize(("override", "words"), WRONG)
def test_a_mistake_in_an_override_names_the_override(override: str, words: str) -> None:
    message = refusal(override)
    assert words in message
    assert "--set " in message
    assert "pipeline.yaml" not in message


def test_the_mistakes_of_the_file_keep_their_lines_and_come_first() -> None:
    text = TEXT.replace("0.8}", "8}").replace("profile: {tasks: {}}", "profile: 3")
    with pytest.raises(SpecError) as caught:
        parse_pipeline(text, Path("pipeline.yaml"), overrides=["slo.latency=3", "tasks.read.variants.small={}"])
    told = [line.split(": ")[:2] for line in str(caught.value).splitlines() if not line.startswith("  ")]
    assert told == [
        ["pipeline.yaml:4", "tasks.read.variants.large.accuracy"],
        ["pipeline.yaml:7", "profile"],
        ["--set tasks.read.variants.small={}", "tasks.read.variants.small.accuracy"],
        ["--set slo.latency=3", "slo.latency"],
    ]


def test_all_overrides_that_cannot_be_applied_are_told() -> None:
    message = refusal("slo", "objective.beta=1", "name=", "slo.latency=1s")
    assert [line.split(": ")[0] for line in message.splitlines() if line.startswith("--set")] == [
        "--set slo",
        "--set objective.beta=1",
        "--set name=",
    ]


def test_an_error_names_the_override_that_gave_the_value() -> None:
    message = refusal("objective={kind: weighted}", "objective.beta=-1")
    assert message.startswith("--set objective.beta=-1: objective.beta: out of range")
    message = refusal("objective={kind: cheapest}", "objective.cost=cores")
    assert message.startswith("--set objective={kind: cheapest}: objective.accuracy_floor: required, but absent")
    message = refusal("planning.beta=-1", "slo={latency: 1s}")
    assert message.startswith("--set planning.beta=-1: planning.beta: unknown field")


def test_a_long_override_is_cut_short() -> None:
    message = refusal(f"slo={{latency: {'1' * 500}}}")
    assert len(message.split(": slo.latency")[0]) == 80
    assert "…: slo.latency: a number without a unit" in message


def test_a_file_that_is_no_mapping_cannot_be_overridden() -> None:
    with pytest.raises(SpecError, match="mappings only: got a list of 1 at the top, wanted a mapping there"):
        parse_pipeline("[1]", overrides=["name=x"])


def test_files_are_read_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(TEXT)
    assert load_pipeline(path, overrides=["slo.latency=1s"]).slo.latency_s == 1.0
    with pytest.raises(ModelError, match=r"--set tasks\.read\.variants\.small\.model=x\.onnx: tasks"):
        load_pipeline(path, overrides=["tasks.read.variants.small.model=x.onnx"])


def test_the_profile_entry_is_read_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(TEXT)
    assert profile_entry(path, ["profile=other.json"]) == tmp_path / "other.json"
    entry = profile_entry(path, ["profile.tasks.read.small.points={1: 4ms}"])
    assert isinstance(entry, Document)
    assert entry.data == {"tasks": {"read": {"small": {"points": {"1": "4ms"}}}}}
    assert entry.where(("tasks", "read", "small")).startswith("--set profile.tasks.read.small.points={1: 4ms}: profile")
    with pytest.raises(SpecError, match="--set profile=3: profile: wrong type"):
        profile_entry(path, ["profile=3"])


def test_what_is_inside_of_a_field() -> None:
    assert is_inside("profile.tasks={}", "profile")
    assert is_inside(" profile.tasks={}", "profile")
    assert not is_inside("profile=x.json", "profile")
    assert not is_inside("profiles.x=1", "profile")
    assert not is_inside("name=profile.x", "profile")


SCALARS: st.SearchStrategy[Any] = (
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
)
WORDS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
VALUES = st.recursive(
    SCALARS | st.text(st.characters(codec="ascii", min_codepoint=32), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
TREES = st.dictionaries(WORDS, st.recursive(SCALARS, lambda inner: st.dictionaries(WORDS, inner, max_size=3)))


@given(tree=TREES, path=st.lists(WORDS, min_size=1, max_size=3), value=VALUES)
def test_an_override_means_what_the_file_would_with_that_value(tree: Any, path: list[str], value: Any) -> None:
    document = parse_document(json.dumps(tree), "f.json", SpecError)
    inner, through_scalars = tree, False
    for name in path[:-1]:
        inner = inner.setdefault(name, {}) if isinstance(inner, dict) else inner
        through_scalars = through_scalars or not isinstance(inner, dict)
    override = [f"{'.'.join(path)}={json.dumps(value)}"]
    if through_scalars:
        with pytest.raises(SpecError, match="mappings only"):
            apply_overrides(document, override)
        return
    inner[path[-1]] = value
    assert apply_overrides(document, override).data == parse_document(json.dumps(tree), "f.json", SpecError).data


@given(text=st.text())
def test_any_text_gives_a_document_or_a_refusal(text: str) -> None:
    document = parse_document(yaml.safe_dump({"a": {"b": 1}}), "f.yaml", SpecError)
    try:
        applied = apply_overrides(document, [text])
    except SpecError:
        return
    assert isinstance(applied.data, dict)

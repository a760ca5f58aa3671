"""A profile serves a pipeline only when it is of the same tasks, variants and model files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.errors import ModelError, ProfileError
from trimtab.profile.match import match_profile, model_digest, variant_digest
from trimtab.profile.model import Profile, ServicePoint, VariantProfile
from trimtab.spec.model import Pipeline, Slo, Task, Variant


def pipeline(model: Path | None = None) -> Pipeline:
    read = {name: Variant(name, model, 0.5) for name in ("read-s", "read-m")}
    locate = {"locate-s": Variant("locate-s", None, 0.5)}
    return Pipeline("digits", {"locate": Task("locate", locate), "read": Task("read", read)}, Slo(1.0))


def measured(task: str, variant: str, digest: str | None = None) -> VariantProfile:
    return VariantProfile(task, variant, (ServicePoint(1, 1, 1, 0.1, {}, 0),), model_sha256=digest)


def profile(variants: dict[str, list[str]], digest: str | None = None) -> Profile:
    return Profile({task: {name: measured(task, name, digest) for name in names} for task, names in variants.items()})


def refusal(p: Pipeline, measurements: Profile) -> str:
    with pytest.raises(ProfileError) as caught:
        match_profile(p, measurements)
    return str(caught.value)


def test_a_profile_that_belongs_comes_back_in_the_pipelines_order() -> None:
    given = profile({"read": ["read-m", "read-s"], "locate": ["locate-s"]})
    matched = match_profile(pipeline(), given)
    assert matched == given
    assert [(task, list(names)) for task, names in matched.variants.items()] == [
        ("locate", ["locate-s"]),
        ("read", ["read-s", "read-m"]),
    ]


def test_all_that_is_missing_is_named() -> None:
    message = refusal(pipeline(), profile({"read": ["read-m"]}))
    assert "lacks variant 'locate-s' of task 'locate'" in message
    assert "lacks variant 'read-s' of task 'read'" in message
    assert "trimtab profile" in message
    assert "read-m'" not in message


def test_unknown_tasks_and_variants_are_named_with_what_was_meant() -> None:
    message = refusal(
        pipeline(), profile({"locat": ["x"], "locate": ["locate-s"], "read": ["read-s", "read-m", "read-n"]})
    )
    assert "pipeline 'digits' has not: got 'locat', wanted one of locate, read" in message
    assert "did you mean 'locate'?" in message
    assert "task 'read' has not: got 'read-n', wanted one of read-s, read-m" in message
    message = refusal(pipeline(), profile({"read": ["read-s", "read-m", "zzz"], "locate": ["locate-s"]}))
    assert "remove it from the profile" in message


def test_the_profile_of_another_model_file_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "read.onnx"
    model.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    variants = {"locate": ["locate-s"], "read": ["read-s", "read-m"]}
    assert match_profile(pipeline(model), profile(variants, digest))
    message = refusal(pipeline(model), profile(variants, "ab" * 32))
    assert f"{model}: the profile of variant 'read-s' of task 'read' was measured on another model file" in message
    assert "got a profile of the file with SHA-256 abababababab" in message
    assert f"wanted a profile of this file, {digest[:12]}" in message
    assert "trimtab profile" in message
    assert "variant 'read-m'" in message


def test_what_cannot_be_compared_is_taken_on_trust(tmp_path: Path) -> None:
    variants = {"locate": ["locate-s"], "read": ["read-s", "read-m"]}
    assert match_profile(pipeline(tmp_path / "absent.onnx"), profile(variants, "ab" * 32))
    model = tmp_path / "read.onnx"
    model.write_bytes(b"weights")
    assert match_profile(pipeline(model), profile(variants))


def test_a_digest_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        model_digest(tmp_path)


def test_a_variants_digest_follows_all_that_it_runs(tmp_path: Path) -> None:
    file, folder = tmp_path / "own.py", tmp_path / "folder"
    file.write_text("class A: ...")
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights").write_bytes(b"1")
    plain = Variant("v", file, 0.5)
    assert variant_digest(plain) == model_digest(file)
    variants = [
        plain,
        Variant("v", file, 0.5, entry="A"),
        Variant("v", file, 0.5, entry="B"),
        Variant("v", file, 0.5, entry="A", options={"factor": 2}),
        Variant("v", file, 0.5, options={"factor": 2}),
        Variant("v", file, 0.5, options={"factor": 3}),
        Variant("v", folder, 0.5),
        Variant("v", folder, 0.5, options={"task": "translation"}),
    ]
    digests = [variant_digest(variant) for variant in variants]
    assert len(set(digests)) == len(variants)
    assert [variant_digest(replace(variant, name="other", accuracy=0.9)) for variant in variants] == digests
    (folder / "sub" / "weights").write_bytes(b"2")
    changed = variant_digest(variants[6])
    (folder / "sub" / "weights").rename(folder / "weights")
    assert len({digests[6], changed, variant_digest(variants[6])}) == 3
    with pytest.raises(ModelError, match="'v' has no model file"):
        variant_digest(Variant("v", None, 0.5))
    with pytest.raises(ModelError, match="cannot be read"):
        variant_digest(Variant("v", tmp_path / "gone", 0.5))

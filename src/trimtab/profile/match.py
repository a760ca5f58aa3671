"""Whether a profile belongs to a pipeline: the same tasks and variants, measured on the same model files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from trimtab.errors import ModelError, ProfileError
from trimtab.profile.model import Profile, VariantProfile
from trimtab.spec.mistakes import did_you_mean, one_of, together
from trimtab.spec.model import Pipeline, Variant


def match_profile(pipeline: Pipeline, profile: Profile) -> Profile:
    """The profile, in the pipeline's order, once it is sure that it covers the pipeline's variants and no others.

    A variant whose profile records the digest of a model file is compared with the pipeline's model file, where that
    exists; digests that are not recorded cannot be compared and are taken on trust.

    Raises:
        ProfileError: variants are missing, unknown ones are there, or another model was measured; names each.
        ModelError: a model file cannot be read.
    """
    wrong = [*_unknown(pipeline, profile), *_missing(pipeline, profile), *_other_models(pipeline, profile)]
    if wrong:
        raise together(wrong)
    ordered = {
        task.name: {name: profile.variants[task.name][name] for name in task.variants}
        for task in pipeline.tasks.values()
    }
    return Profile(ordered, profile.provenance)


def model_digest(path: Path) -> str:
    """SHA-256 of a model file, in hexadecimal: what ties a profile to the model it was measured on.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError("the model file cannot be read", where=str(path), got=error.strerror) from error


def variant_digest(variant: Variant) -> str:
    """SHA-256 of what a variant runs: of its model file alone, as `model_digest` gives it, where that is all; else of
    all the files of its folder, its runtime, its class and its options together.

    Raises:
        ModelError: it has no model, or that cannot be read.
    """
    if variant.model is None:
        raise ModelError(f"variant '{variant.name}' has no model file")
    if variant.model.is_dir():
        files = sorted(file for file in variant.model.rglob("*") if file.is_file())
        content = [(file.relative_to(variant.model).as_posix(), model_digest(file)) for file in files]
    elif variant.entry is None and not variant.options:
        return model_digest(variant.model)
    else:
        content = [("", model_digest(variant.model))]
    told = json.dumps([content, variant.runtime, variant.entry, variant.options], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def _unknown(pipeline: Pipeline, profile: Profile) -> Iterator[ProfileError]:
    for task, variants in profile.variants.items():
        if task not in pipeline.tasks:
            yield ProfileError(
                f"the profile has a task that pipeline '{pipeline.name}' has not",
                got=f"'{task}'",
                wanted=one_of(pipeline.tasks),
                next_step=did_you_mean(task, pipeline.tasks) or "remove it from the profile, or measure anew",
            )
            continue
        known = pipeline.tasks[task].variants
        for name in variants:
            if name not in known:
                yield ProfileError(
                    f"the profile has a variant that task '{task}' has not",
                    got=f"'{name}'",
                    wanted=one_of(known),
                    next_step=did_you_mean(name, known) or "remove it from the profile, or measure anew",
                )


def _missing(pipeline: Pipeline, profile: Profile) -> Iterator[ProfileError]:
    for task in pipeline.tasks.values():
        for name in task.variants:
            if name not in profile.variants.get(task.name, {}):
                yield ProfileError(
                    f"the profile lacks variant '{name}' of task '{task.name}'",
                    wanted="every variant of the pipeline",
                    next_step=_measure(pipeline),
                )


def _other_models(pipeline: Pipeline, profile: Profile) -> Iterator[ProfileError]:
    for task in pipeline.tasks.values():
        for variant in task.variants.values():
            measured = profile.variants.get(task.name, {}).get(variant.name)
            if measured is not None and (digest := _other_digest(variant, measured)):
                yield ProfileError(
                    f"the profile of variant '{variant.name}' of task '{task.name}' was measured on another model file",
                    where=str(variant.model),
                    got=f"a profile of the file with SHA-256 {str(measured.model_sha256)[:12]}…",
                    wanted=f"a profile of this file, {digest[:12]}…",
                    next_step=_measure(pipeline),
                )


def _other_digest(variant: Variant, measured: VariantProfile) -> str | None:
    """The digest of the variant's model file when it is not the one that was measured."""
    if variant.model is None or measured.model_sha256 is None or not variant.model.exists():
        return None
    digest = variant_digest(variant)
    return digest if digest != measured.model_sha256 else None


def _measure(pipeline: Pipeline) -> str:
    return f"measure: trimtab profile {pipeline.source or 'pipeline.yaml'}"

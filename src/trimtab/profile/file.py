"""The profile file: reading and writing a `Profile`. YAML or JSON is read; JSON is written, laid out to be compared.

`load_profile_for(pipeline)` is what serves and plans: it finds the pipeline's profile, beside the pipeline file or
inline in it, and makes sure that it belongs to the pipeline (`profile.match`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from trimtab.errors import ProfileError
from trimtab.profile.match import match_profile
from trimtab.profile.model import CapacityCheck, CapacityPoint, Profile, Provenance, ServicePoint, VariantProfile
from trimtab.profile.schema import (
    VERSION,
    CheckEntry,
    PointEntry,
    ProfileEntry,
    ProfileFileEntry,
    ProvenanceEntry,
    VariantProfileEntry,
)
from trimtab.spec.document import Document, parse_document, read_text
from trimtab.spec.load import profile_entry
from trimtab.spec.mistakes import FieldPath, Mistake, format_value
from trimtab.spec.model import Pipeline
from trimtab.spec.overrides import is_inside

DIGITS = 6
"""Significant digits that are written; the measurements themselves scatter by far more."""


def load_profile_for(pipeline: Pipeline, path: Path | None = None, overrides: Sequence[str] = ()) -> Profile:
    """The profile of a pipeline, checked to belong to it.

    Args:
        pipeline: As read from its file; that file says where the profile is (in the file's folder `profile.json`,
            unless the file says otherwise).
        path: Another profile file to read instead.
        overrides: Those that the pipeline file was read with: `profile=other.json` names another profile file, and
            `profile.tasks.read.large.load_time_s=2` changes a profile that is inline in the pipeline file.

    Raises:
        ProfileError: there is no profile, it is wrong, or it belongs to other variants or other model files.
    """
    return match_profile(pipeline, _find_profile(pipeline, path, overrides))


def load_profile(path: Path) -> Profile:
    """Read and check a profile file.

    Raises:
        ProfileError: the file cannot be read, or is wrong; tells file, line, field, what was got and what was wanted.
    """
    return parse_profile(read_text(path, ProfileError, "profile file"), str(path))


def parse_profile(text: str, source: str = "profile") -> Profile:
    """`load_profile` from text; `source` names it in errors."""
    document = parse_document(text, source, ProfileError)
    return _profile(document, document.validate(ProfileFileEntry))


def save_profile(profile: Profile, path: Path) -> None:
    """Write a profile file, wholly or not at all: a reader never sees a half of it.

    Raises:
        ProfileError: it cannot be written, or holds a number that is not finite.
    """
    text = format_profile(profile)
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise ProfileError("the profile cannot be written", where=str(path), got=error.strerror) from error


def format_profile(profile: Profile) -> str:
    """The profile file's text: a line for each point, times to six digits.

    Variants without points and without a capacity table are left out.
    """
    content: dict[str, Any] = {"trimtab_profile": VERSION}
    if profile.provenance is not None:
        content["provenance"] = _provenance_content(profile.provenance)
    content["tasks"] = {
        task: {name: _variant_content(measured) for name, measured in variants.items() if _is_measured(measured)}
        for task, variants in profile.variants.items()
    }
    try:
        return _layout(content) + "\n"
    except ValueError:
        raise ProfileError("the profile holds a number that is not finite", wanted="finite numbers") from None


def _find_profile(pipeline: Pipeline, path: Path | None, overrides: Sequence[str]) -> Profile:
    if path is not None:
        _refuse_overrides(path, overrides)
        return load_profile(path)
    if pipeline.source is None:
        raise ProfileError(
            f"pipeline '{pipeline.name}' was not read from a file, so nothing says where its profile is",
            next_step="name the profile file",
        )
    found = profile_entry(pipeline.source, overrides)
    if isinstance(found, Document):
        document = found.with_kind(ProfileError)
        return _profile(document, document.validate(ProfileEntry))
    if not found.exists():
        raise ProfileError(
            f"pipeline '{pipeline.name}' has no profile yet",
            where=str(found),
            got="no such file",
            next_step=f"measure it: trimtab profile {pipeline.source}",
        )
    return load_profile(found)


def _is_measured(variant: VariantProfile) -> bool:
    return bool(variant.points or variant.capacity)


def _refuse_overrides(path: Path, overrides: Sequence[str]) -> None:
    wrong = [override for override in overrides if is_inside(override, "profile")]
    if wrong:
        raise ProfileError(
            "overrides change the profile that is inline in the pipeline file, and another one was named",
            where=f"--set {wrong[0]}",
            got=str(path),
            next_step="leave the overrides of profile out, or the profile file",
        )


def _profile(document: Document, entry: ProfileEntry) -> Profile:
    mistakes = [
        mistake
        for task, variants in entry.tasks.items()
        for name, variant in variants.items()
        for mistake in _check_variant(("tasks", task, name), variant)
    ]
    if mistakes:
        raise document.error(mistakes)
    return Profile(
        {
            task: {name: _variant(task, name, variant) for name, variant in variants.items()}
            for task, variants in entry.tasks.items()
        },
        _provenance(entry.provenance) if entry.provenance else None,
    )


def _check_variant(field: FieldPath, entry: VariantProfileEntry) -> Iterator[Mistake]:
    if entry.points is None and entry.capacity is None:
        yield Mistake(field, "nothing is measured", wanted="points, a capacity table, or both")
    rows: Counter[int] = Counter()
    for i, row in enumerate(entry.capacity or ()):
        if rows[row.cores]:
            at: FieldPath = (*field, "capacity", i)
            yield Mistake(at, "this row is given twice", f"cores {row.cores}", "each number of cores once")
        rows[row.cores] += 1
    if isinstance(entry.points, list):
        seen: Counter[tuple[int, int, int]] = Counter()
        for i, point in enumerate(entry.points):
            at = (*field, "points", i)
            yield from _check_shape(at, point)
            yield from _check_times(at, point)
            shape = (point.cores, point.threads, point.batch)
            if seen[shape]:
                got = f"cores {point.cores}, threads {point.threads}, batch {point.batch}"
                yield Mistake(at, "this point is given twice", got, "each cores × threads × batch once")
            seen[shape] += 1
    for i, check in enumerate(entry.checks):
        yield from _check_shape((*field, "checks", i), check)


def _check_shape(field: FieldPath, entry: PointEntry | CheckEntry) -> Iterator[Mistake]:
    if entry.cores % entry.threads:
        wanted = "threads that divide the cores, since a replica runs cores / threads inferences at once"
        yield Mistake((*field, "threads"), "out of range", f"{entry.threads} threads on {entry.cores} cores", wanted)


def _check_times(field: FieldPath, point: PointEntry) -> Iterator[Mistake]:
    times = sorted((float(quantile), seconds) for quantile, seconds in (point.quantiles_s or {}).items())
    at: FieldPath = (*field, "quantiles_s")
    for (low, low_s), (high, high_s) in pairwise(times):
        if low == high:
            yield Mistake(at, "a quantile is given twice", format_value(low), "each quantile once")
        elif high_s < low_s:
            got = f"{low_s:g} s at {low:g} and {high_s:g} s at {high:g}"
            yield Mistake(at, "quantiles go down", got, "times that do not fall as the quantile rises")
    if point.mean_s is None and all(quantile != 0.5 for quantile, _ in times):
        yield Mistake(field, "no service time", wanted="mean_s, or quantiles_s with the median 0.5, or both")


def _variant(task: str, name: str, entry: VariantProfileEntry) -> VariantProfile:
    if isinstance(entry.points, dict):
        points = [ServicePoint(1, 1, int(batch), mean_s, {}, 0) for batch, mean_s in entry.points.items()]
    else:
        points = [_point(point) for point in entry.points or ()]
    return VariantProfile(
        task,
        name,
        tuple(sorted(points, key=lambda p: (p.cores, p.threads, p.batch))),
        load_time_s=entry.load_time_s,
        memory_bytes=entry.memory_bytes,
        model_sha256=entry.model_sha256,
        checks=tuple(CapacityCheck(**dict(check)) for check in entry.checks),
        capacity=tuple(sorted((CapacityPoint(**dict(row)) for row in entry.capacity or ()), key=lambda row: row.cores)),
    )


def _point(entry: PointEntry) -> ServicePoint:
    quantiles_s = dict(sorted((float(quantile), seconds) for quantile, seconds in (entry.quantiles_s or {}).items()))
    mean_s = quantiles_s[0.5] if entry.mean_s is None else entry.mean_s
    return ServicePoint(entry.cores, entry.threads, entry.batch, mean_s, quantiles_s, entry.samples)


def _provenance(entry: ProvenanceEntry) -> Provenance:
    return Provenance(**{**dict(entry), "notes": tuple(entry.notes)})


def _provenance_content(provenance: Provenance) -> dict[str, Any]:
    fields = {name: getattr(provenance, name) for name in ("measured_at", "host", "cpu", "cores_available", "os")}
    return {
        **fields,
        "versions": dict(sorted(provenance.versions.items())),
        "command": provenance.command,
        "notes": list(provenance.notes),
    }


def _variant_content(measured: VariantProfile) -> dict[str, Any]:
    points = sorted(measured.points, key=lambda p: (p.cores, p.threads, p.batch))
    content = {
        "model_sha256": measured.model_sha256,
        "load_time_s": None if measured.load_time_s is None else _rounded(measured.load_time_s),
        "memory_bytes": measured.memory_bytes,
        "points": [_point_content(point) for point in points] or None,
        "capacity": [_row_content(row) for row in sorted(measured.capacity, key=lambda row: row.cores)] or None,
        "checks": [_check_content(check) for check in measured.checks] or None,
    }
    return {name: value for name, value in content.items() if value is not None}


def _point_content(point: ServicePoint) -> dict[str, Any]:
    shape = {"cores": point.cores, "threads": point.threads, "batch": point.batch}
    content: dict[str, Any] = {**shape, "mean_s": _rounded(point.mean_s)}
    if point.quantiles_s:
        content["quantiles_s"] = {_quantile(q): _rounded(seconds) for q, seconds in sorted(point.quantiles_s.items())}
    return {**content, "samples": point.samples}


def _row_content(row: CapacityPoint) -> dict[str, Any]:
    return {"cores": row.cores, "rate_rps": _rounded(row.rate_rps), "latency_s": _rounded(row.latency_s)}


def _check_content(check: CapacityCheck) -> dict[str, Any]:
    shape = {"cores": check.cores, "threads": check.threads, "batch": check.batch}
    names = ("rate_rps", "served_rps", "p50_s", "p99_s", "seconds")
    return {**shape, **{name: _rounded(getattr(check, name)) for name in names}, "sustained": check.sustained}


def _quantile(quantile: float) -> str:
    return f"{quantile:.9f}".rstrip("0")


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


def _layout(value: object, indent: str = "") -> str:
    """JSON with a line for each field, but lists' items and what they hold on one line each."""
    deeper = indent + "  "
    if isinstance(value, Mapping) and value:
        fields = ",\n".join(f"{deeper}{_json(name)}: {_layout(item, deeper)}" for name, item in value.items())
        return f"{{\n{fields}\n{indent}}}"
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        items = ",\n".join(f"{deeper}{_json(item)}" for item in value)
        return f"[\n{items}\n{indent}]"
    return _json(value)


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False).replace(
        "\x7f", "\\u007f"
    )  # the one sign that JSON takes and YAML does not

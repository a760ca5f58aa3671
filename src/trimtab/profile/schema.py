"""The profile file's fields: what may stand where. Descriptions here are what an editor shows beside each field.

Only forms are checked here; how the numbers fit together is `profile.file`'s work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from trimtab.spec.forms import Count, Duration, Entry, Name, TaskName, by_type, form, json_schema
from trimtab.spec.mistakes import Wanted

VERSION = 1
"""The format's version, in the field `trimtab_profile`; a reader refuses any other."""

Seconds = Annotated[float, Field(gt=0), Wanted("a number of seconds above 0")]
Quantile = Annotated[str, Field(pattern=r"^0?\.[0-9]*[1-9][0-9]*$"), Wanted("a quantile between 0 and 1, such as 0.99")]
BatchKey = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$"), Wanted("a batch size, a whole number of at least 1")]
_Version = Annotated[Literal[1], Wanted(f"{VERSION}, the version of the format that this Trimtab reads")]
_QUANTILES = Wanted('seconds by quantile, such as {"0.5": 0.0041, "0.99": 0.0056}')


class PointEntry(Entry):
    """Service time of one batch, while all of the replica's concurrent slots are busy."""

    cores: Count = 1
    """Cores of the replica."""
    threads: Count = 1
    """Threads per inference; divides the cores. The replica serves cores / threads batches at once."""
    batch: Count
    """Requests in the batch."""
    mean_s: Annotated[Seconds | None, Wanted("a number of seconds above 0")] = None
    """Mean, seconds. Default: the median."""
    quantiles_s: Annotated[dict[Quantile, Seconds] | None, Field(min_length=1), _QUANTILES] = None
    """Quantile to seconds. Default: none, only the mean is known."""
    samples: Annotated[int, Field(ge=0), Wanted("a whole number of at least 0")] = 0
    """Number of batches measured. Default: 0, written by hand."""


class CheckEntry(Entry):
    """An open-loop check: response times under Poisson arrivals."""

    cores: Count = 1
    """Cores of the replica."""
    threads: Count = 1
    """Threads per inference."""
    batch: Count
    """Requests in a batch."""
    rate_rps: Annotated[float, Field(gt=0), Wanted("a number of requests per second above 0")]
    """Requests offered, per second."""
    served_rps: Annotated[float, Field(ge=0), Wanted("a number of requests per second of at least 0")]
    """Requests answered, per second."""
    p50_s: Seconds
    """Median of the response time, seconds."""
    p99_s: Seconds
    """99 % quantile of the response time, seconds."""
    seconds: Seconds
    """How long requests were sent."""
    sustained: bool
    """Whether the served rate kept up with the offered one and the queue did not grow."""


class CapacityEntry(Entry):
    """A row of a capacity table: what one replica serves, and how fast, one request after the other."""

    cores: Count
    """Cores of the replica."""
    rate_rps: Annotated[float, Field(gt=0), Wanted("a number of requests per second above 0")]
    """Requests per second that it serves within `latency_s`."""
    latency_s: Seconds
    """Response time at any rate up to `rate_rps`, seconds."""


class VariantProfileEntry(Entry):
    """All that was measured of one variant: service times, or a capacity table, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["points"]}, {"required": ["capacity"]}]})

    model_sha256: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{64}$"), Wanted("a SHA-256 digest, 64 hexadecimal digits")
    ] = None
    """Digest of the model file that was measured. Default: unknown, so that it is not compared."""
    load_time_s: Annotated[float | None, Field(ge=0), Wanted("a number of seconds of at least 0")] = None
    """From the request to load the model until it can serve, seconds. Default: unknown."""
    memory_bytes: Annotated[int | None, Field(ge=0), Wanted("a whole number of bytes of at least 0")] = None
    """Resident memory that one loaded copy adds. Default: unknown."""
    points: (
        Annotated[
            Annotated[list[PointEntry], Field(min_length=1), form("list")]
            | Annotated[dict[BatchKey, Duration], Field(min_length=1), form("short")],
            by_type("short", "list"),
            Wanted("a list of points, or batch sizes and their mean on one core such as {1: 4ms, 8: 20ms}"),
        ]
        | None
    ) = None
    """Service times: a list of points, or in short batch sizes and their mean service time on one core."""
    capacity: Annotated[
        list[CapacityEntry] | None,
        Field(min_length=1),
        Wanted("a list of rows such as [{cores: 2, rate_rps: 30, latency_s: 0.2}]"),
    ] = None
    """A capacity table, for numbers of cores that no point has."""
    checks: Annotated[list[CheckEntry], Wanted("a list of open-loop checks")] = Field(default_factory=list[CheckEntry])
    """Open-loop checks of the capacity."""


class ProvenanceEntry(Entry):
    """Where, when and with what the numbers were measured."""

    measured_at: str
    """Date and time, ISO 8601, UTC."""
    host: str
    """The machine's name."""
    cpu: str
    """The processor's name."""
    cores_available: Count
    """Cores that the measuring process could use."""
    os: str
    """The operating system."""
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    """Versions of what computes."""
    command: str = ""
    """The command that measured."""
    notes: list[str] = Field(default_factory=list[str])
    """What was missing, cut short, or else is worth knowing."""


class ProfileEntry(Entry):
    """What each variant of a pipeline can do: the content of a profile, as it may stand inline in a pipeline file."""

    schema_address: Annotated[str | None, Field(alias="$schema")] = None
    """Where the schema of this file is, for editors; nothing else reads it."""
    trimtab_profile: _Version = 1
    """Version of the format."""
    provenance: Annotated[ProvenanceEntry | None, Wanted("a mapping that says where the numbers come from")] = None
    """Where the numbers come from. Default: unknown, written by hand."""
    tasks: Annotated[
        dict[TaskName, dict[Name, VariantProfileEntry]], Wanted("tasks by name, with their variants by name")
    ]
    """Task, then variant, then what was measured."""


class ProfileFileEntry(ProfileEntry):
    """What each variant of a pipeline can do, as measured."""

    trimtab_profile: _Version
    """Version of the format; it says what kind of file this is."""


def schema_json() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the profile file, for editors and other programs."""
    return json_schema(ProfileFileEntry, "Trimtab profile file")

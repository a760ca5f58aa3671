"""What a run of the load generator gave: a record per request, their summary, and the series behind the pictures.

Every offered request ends in exactly one of the outcomes of `observe.model`; all figures here are the client's,
response times counted from the moment at which a request *should* have been sent. Pure, except for reading and writing.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np

from trimtab.errors import LoadError, TrimtabError
from trimtab.observe.model import Outcomes

Outcome = Literal["in_time", "late", "refused", "dropped", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FORMAT = "trimtab.load/1"
WINDOW_S = 5
"""Quantiles and ratios of the series are over the requests of so many seconds, ending with the one they stand at."""
LONG_WINDOW_S = 10
"""The same for accuracy, which takes more requests to tell, and for cost, which the server counts in steps."""
REFUSED_STATUS = frozenset({429, 503})
DROPPED_STATUS = 504


@dataclass(frozen=True, slots=True)
class Record:
    """One offered request; moments are seconds from the start of the replay."""

    index: int
    row: int
    """Row of the data set that it carried."""
    intended_s: float
    sent_s: float
    """When the generator let it go; it may still have waited for a free connection after that."""
    end_s: float
    outcome: Outcome
    status: int | None = None
    """HTTP status; None when no answer came."""
    error: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    """Task → variant that answered."""
    accuracy: float | None = None
    """Accuracy that the server states for those variants."""
    plan: str | None = None
    correct: bool | None = None
    """Whether the answer equals the label; None without an answer or a label."""

    @property
    def response_s(self) -> float:
        """Time from the intended moment to the end."""
        return self.end_s - self.intended_s

    @property
    def answered(self) -> bool:
        """Whether it got an answer that can be used, in time or not."""
        return self.outcome in {"in_time", "late"}


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked of a run: enough to repeat it."""

    name: str
    """What the run stands for in tables and pictures, such as the server's policy."""
    url: str
    model: str
    slo_s: float
    slo_quantile: float
    trace: str
    arrivals: str
    seed: int
    seconds: float
    """Length of the replay."""
    started_at: str = ""
    """ISO 8601, UTC."""
    data: str = ""
    rate_scale: float = 1.0
    time_compress: float = 1.0


@dataclass(frozen=True, slots=True)
class Combination:
    """Requests that were answered by the same variants."""

    variants: Mapping[str, str]
    """Task → variant."""
    answers: int
    stated_accuracy: float | None
    """As the server states it: the product of the variants' accuracies."""
    delivered_accuracy: float | None
    """Share of right answers among those with a label."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures. Ratios are of the requests offered unless said otherwise; None: could not be known."""

    offered: int
    in_time: int
    late: int
    refused: int
    dropped: int
    failed: int
    attainment: float | None
    violation_ratio: float | None
    p50_s: float | None
    """Response time of the requests that were *answered*, in time or late; the others have none."""
    p95_s: float | None
    p99_s: float | None
    delivered_accuracy: float | None
    """Share of right answers among the answered requests that have a label."""
    stated_accuracy: float | None
    """Mean over the answered requests of the accuracy that the server stated."""
    right_in_time: float | None
    """Share of the requests *offered* that were answered right and in time."""
    core_seconds: float | None
    """What the server held during the run, by its own count."""
    lag_p99_s: float | None
    """How late the generator itself was to send."""
    lag_max_s: float | None
    waited: int
    """Requests that had to wait for a free connection."""
    plans: int
    """Number of different plans that answered."""
    combinations: list[Combination]
    """Which variants answered together, most frequent first."""
    errors: Mapping[str, int]
    """Error in words → number of failed requests."""


@dataclass(frozen=True, slots=True)
class Series:
    """The run second by second, by intended moment; entry i is for [i, i+1). None: nothing to tell."""

    offered: list[int]
    in_time: list[int]
    late: list[int]
    refused: list[int]
    dropped: list[int]
    failed: list[int]
    attainment: list[float | None]
    """Over the window that ends here (`WINDOW_S`), as the next two."""
    p50_s: list[float | None]
    p99_s: list[float | None]
    accuracy: list[float | None]
    """Over the window that ends here (`LONG_WINDOW_S`), as the last one."""
    variants: dict[str, dict[str, list[int]]]
    """Task → variant, least accurate first → answers."""
    cores: list[float | None]
    """Core-seconds that the server held per second."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """All that is kept of a run beside its records."""

    run: Run
    summary: Summary
    series: Series
    notes: list[str]
    """What a reader must know to judge the figures, in words."""
    format: str = FORMAT


def outcome_of(status: int, response_s: float, slo_s: float) -> Outcome:
    """What an HTTP answer means: 503 and 429 refuse, 504 drops, any other error fails, and 200 is in time or late."""
    if status in REFUSED_STATUS:
        return "refused"
    if status == DROPPED_STATUS:
        return "dropped"
    if status != 200:
        return "failed"
    return "in_time" if response_s <= slo_s else "late"


def measure(
    run: Run,
    records: Sequence[Record],
    *,
    waited: int = 0,
    cost: Sequence[tuple[float, float]] = (),
    notes: Sequence[str] = (),
) -> LoadResult:
    """Sum up a run. `cost` holds (moment, the server's core-seconds so far) as read before, during and after it."""
    summary = _summary(records, waited, cost)
    return LoadResult(
        run, summary, _series(run, records, cost), [*notes, *_notes(run, summary, labelled=_labelled(records))]
    )


def rank_variants(combinations: Sequence[Combination]) -> dict[str, list[str]]:
    """Task → its variants that answered, least accurate first, as far as the stated accuracies tell.

    A stated accuracy is the product of the tasks' accuracies, so its logarithm is a sum with one term per task; least
    squares over the combinations gives each variant's term, and with it the order.
    """
    columns = sorted({pair for c in combinations for pair in c.variants.items()})
    stated = [(c.variants, c.stated_accuracy) for c in combinations if c.stated_accuracy]
    term = dict.fromkeys(columns, 0.0)
    if stated:
        chosen = np.array([[variants.get(task) == v for task, v in columns] for variants, _ in stated], dtype=float)
        log = np.log([accuracy for _, accuracy in stated])
        term = dict(zip(columns, np.linalg.lstsq(chosen, log - log.mean(), rcond=None)[0].tolist(), strict=True))
    ranked: dict[str, list[str]] = {}
    for task, variant in sorted(columns, key=lambda pair: (pair[0], round(term[pair], 9), pair[1])):
        ranked.setdefault(task, []).append(variant)
    return ranked


def write_result(result: LoadResult, path: Path) -> None:
    """Write a result as JSON.

    Raises:
        LoadError: the file cannot be written.
    """
    _write(path, msgspec.json.format(msgspec.json.encode(result), indent=1))


def read_result(path: Path) -> LoadResult:
    """Read what `write_result` wrote.

    Raises:
        LoadError: the file is missing or holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=LoadResult)
    except OSError as error:
        raise LoadError("the result cannot be read", where=str(path), got=error.strerror) from error
    except msgspec.DecodeError as error:
        raise LoadError(
            "this is no result of a load run", where=str(path), got=str(error), wanted="a file from trimtab load --json"
        ) from error


def write_records(records: Sequence[Record], path: Path) -> None:
    """Write one line of CSV per request; variants as `task=variant` pairs.

    Raises:
        LoadError: the file cannot be written.
    """
    text = io.StringIO()
    names = [f.name for f in fields(Record)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        row = {name: getattr(record, name) for name in names}
        row["variants"] = " ".join(f"{task}={variant}" for task, variant in record.variants.items())
        for moment in ("intended_s", "sent_s", "end_s"):
            row[moment] = f"{row[moment]:.6f}"
        writer.writerow(row.values())
    _write(path, text.getvalue().encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise LoadError("the file cannot be written", where=str(path), got=error.strerror) from error


def _summary(records: Sequence[Record], waited: int, cost: Sequence[tuple[float, float]]) -> Summary:
    ended = Counter(record.outcome for record in records)
    outcomes = Outcomes(**{outcome: ended[outcome] for outcome in OUTCOMES})
    if outcomes.ended != len(records):
        raise TrimtabError("the outcomes do not add up", got=outcomes.ended, wanted=f"{len(records)} offered requests")
    answered = [r for r in records if r.answered]
    p50, p95, p99 = _quantiles([r.response_s for r in answered], (0.5, 0.95, 0.99))
    (lag_p99,) = _quantiles([r.sent_s - r.intended_s for r in records], (0.99,))
    right = sum(r.correct is True and r.outcome == "in_time" for r in records)
    return Summary(
        offered=len(records),
        **{outcome: getattr(outcomes, outcome) for outcome in OUTCOMES},
        attainment=outcomes.attainment,
        violation_ratio=outcomes.violation_ratio,
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        delivered_accuracy=_mean([r.correct for r in answered]),
        stated_accuracy=_mean([r.accuracy for r in answered]),
        right_in_time=right / len(records) if _labelled(records) else None,
        core_seconds=max(cost[-1][1] - cost[0][1], 0.0) if len(cost) > 1 else None,
        lag_p99_s=lag_p99,
        lag_max_s=max((r.sent_s - r.intended_s for r in records), default=None),
        waited=waited,
        plans=len({r.plan for r in answered if r.plan is not None}),
        combinations=_combinations(answered),
        errors=dict(Counter(r.error or "no reason given" for r in records if r.outcome == "failed").most_common(20)),
    )


def _series(run: Run, records: Sequence[Record], cost: Sequence[tuple[float, float]]) -> Series:
    seconds = max([1, int(np.ceil(run.seconds)), *(int(r.intended_s) + 1 for r in records)])
    binned: list[list[Record]] = [[] for _ in range(seconds)]
    for record in records:
        binned[int(record.intended_s)].append(record)
    counts = {o: [sum(r.outcome == o for r in bin_) for bin_ in binned] for o in OUTCOMES}
    variants = {
        task: {
            variant: [sum(r.answered and r.variants.get(task) == variant for r in bin_) for bin_ in binned]
            for variant in ranked
        }
        for task, ranked in rank_variants(_combinations([r for r in records if r.answered])).items()
    }
    windows = _windows(binned, WINDOW_S)
    p50, p99 = zip(*(_quantiles([r.response_s for r in w if r.answered], (0.5, 0.99)) for w in windows), strict=True)
    return Series(
        offered=[len(bin_) for bin_ in binned],
        **counts,
        attainment=[_mean([r.outcome == "in_time" for r in w]) for w in windows],
        p50_s=list(p50),
        p99_s=list(p99),
        accuracy=[_mean([r.correct for r in w if r.answered]) for w in _windows(binned, LONG_WINDOW_S)],
        variants=variants,
        cores=_cores(seconds, cost),
    )


def _windows(binned: Sequence[Sequence[Record]], length: int) -> list[list[Record]]:
    """For each second, the records of the `length` seconds that end with it."""
    return [[r for bin_ in binned[max(0, i - length + 1) : i + 1] for r in bin_] for i in range(len(binned))]


def _combinations(answered: Sequence[Record]) -> list[Combination]:
    together: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in answered:
        together.setdefault(tuple(sorted(record.variants.items())), []).append(record)
    return [
        Combination(dict(key), len(rows), _mean([r.accuracy for r in rows]), _mean([r.correct for r in rows]))
        for key, rows in sorted(together.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


def _cores(seconds: int, cost: Sequence[tuple[float, float]]) -> list[float | None]:
    """Cores held, read between the moments at which the server was asked; None outside them."""
    if len(cost) < 2:
        return [None] * seconds
    moments, totals = (np.array(side) for side in zip(*cost, strict=True))
    ends = np.arange(1, seconds + 1, dtype=float)
    starts = np.maximum(ends - LONG_WINDOW_S, 0.0)
    held = (np.interp(ends, moments, totals) - np.interp(starts, moments, totals)) / (ends - starts)
    known = (starts >= moments[0]) & (ends <= moments[-1])
    return [float(value) if inside else None for value, inside in zip(held, known, strict=True)]


def _notes(run: Run, summary: Summary, *, labelled: bool) -> list[str]:
    notes = []
    unanswered = summary.refused + summary.dropped + summary.failed
    if unanswered:
        notes.append(
            f"response times are those of the {summary.in_time + summary.late:,} answered requests; the {unanswered:,} "
            "refused, dropped or failed ones have none and count as violations"
        )
    if summary.lag_p99_s is not None and summary.lag_p99_s > max(0.1 * run.slo_s, 0.005):
        notes.append(
            f"the generator itself was late: 1 % of the requests were sent more than {summary.lag_p99_s * 1e3:.0f} ms "
            "after their moment, which their response times include; give it more CPU or a lower rate"
        )
    if summary.waited:
        notes.append(
            f"{summary.waited:,} requests waited for a free connection, which their response times include; "
            "--connections raises the limit"
        )
    if summary.core_seconds is None:
        notes.append("cost is not known: the server offers no trimtab_core_seconds_total at /metrics")
    if not labelled:
        notes.append("delivered accuracy is not known: no answer could be compared with a label")
    return notes


def _labelled(records: Sequence[Record]) -> bool:
    return any(r.correct is not None for r in records)


def _quantiles(values: Sequence[float], quantiles: tuple[float, ...]) -> tuple[float | None, ...]:
    """Order statistics without interpolation: the smallest value that the share does not exceed."""
    if not values:
        return (None,) * len(quantiles)
    return tuple(float(v) for v in np.quantile(values, quantiles, method="inverted_cdf"))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None

from __future__ import annotations

import pytest
from experiments.ipa.measurements import NAMES, pipeline, timings
from experiments.ipa.published import base_cores, settings_row
from experiments.ipa.scaling import CORES, Sample, Shape, fit, samples, with_model
from hypothesis import given
from hypothesis import strategies as st
from tests.experiments.published_data import DATA, needs_data

parts = st.lists(st.floats(0.05, 1.0), min_size=4, max_size=4)
SIZES = [(cores, batch) for cores in (1, 2, 4, 8) for batch in (1, 2, 8)]


@given(parts, st.floats(0.01, 5.0), st.floats(0.01, 5.0))
def test_a_shape_without_noise_is_found_again(raw: list[float], one_s: float, other_s: float) -> None:
    truth = Shape(*(part / sum(raw) for part in raw))
    known = [
        Sample("t", variant, cores, batch, scale * truth(batch, cores))
        for variant, scale in (("a", one_s), ("b", other_s))
        for cores, batch in SIZES
    ]
    shape, scales = fit(known)
    assert scales == {"a": pytest.approx(one_s, rel=1e-4), "b": pytest.approx(other_s, rel=1e-4)}
    for cores, batch in [*SIZES, (16, 4)]:
        assert shape(batch, cores) == pytest.approx(truth(batch, cores), rel=1e-3)


def test_perfect_scaling_needs_no_other_term() -> None:
    known = [Sample("t", "a", cores, batch, 0.2 * batch / cores) for cores, batch in SIZES]
    shape, scales = fit(known)
    assert shape.g == pytest.approx(1.0, abs=1e-6)
    assert scales["a"] == pytest.approx(0.2)
    assert shape(1, 1) == pytest.approx(1.0)


@needs_data
def test_the_model_only_fills_gaps_and_goes_through_the_base_allocation() -> None:
    for name in NAMES:
        of = pipeline(name)
        base = base_cores(DATA, of, settings_row(DATA, name, "bursty", "IPA"))
        filled, known = with_model(DATA, of, base), timings(DATA)
        for task in of.tasks.values():
            for variant in task.variants:
                own = filled[task.name, variant]
                assert {size: own[size] for size in known[task.name, variant]} == known[task.name, variant]
                assert {(cores, 1) for cores in CORES} <= set(own)
                alone = [own[cores, 1].mean_s for cores in CORES if own[cores, 1].basis == "modelled"]
                assert alone == sorted(alone, reverse=True)


@needs_data
def test_what_is_fitted_is_measured_and_of_variants_with_several_sizes() -> None:
    known = samples(DATA)
    assert len(known) == 85
    assert all(sum(o.variant == s.variant for o in known) > 1 and s.batch <= 8 for s in known)
    # Language identification on one core, one request: the mean was recorded.
    assert next(s.seconds for s in known if s.task == "nlp-li" and (s.cores, s.batch) == (1, 1)) == 0.087216

"""The scale of features: as it was for ordinary data, and not flattened by absurd values."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import ConcernWarning, Detector, InputError, load, save
from oddkind.arrays import compressed, expanded, moments, to_memmap
from oddkind.metrics import auc
from oddkind.model.bundle import read
from oddkind.train.problem import checked
from oddkind.train.scaling import in_precision_needed, learn_scaling


def fitted(normal, **given):
    return Detector(random_state=0, **({"epochs": 20} | given)).fit(normal)


def data(draw, shift=0.0):
    """Normal samples, new normal ones and anomalies: features that depend on each other."""
    mixed = draw.normal(size=(5, 5))
    return *(draw.normal(size=(n, 5)) @ mixed + shift for n in (400, 100)), 3 * draw.normal(size=(100, 5)) + shift


ORDINARY = {
    "normal": lambda draw: draw.normal(3, 2, (300, 4)),
    "clusters": lambda draw: draw.normal(size=(300, 4)) + 8 * draw.integers(2, size=(300, 1)),
    "exponential": lambda draw: draw.exponential(size=(300, 4)),
    "log-normal": lambda draw: draw.lognormal(size=(300, 4)),
    "rare": lambda draw: (draw.random((300, 4)) < 0.01).astype(float),
    "one number": lambda draw: draw.normal(size=(300, 1)),
    "signals": lambda draw: draw.normal(size=(50, 2, 30)) ** 3,
    "bursts": lambda draw: draw.normal(size=(50, 2, 64)) * np.where(np.arange(64) < 4, 20, 1),
    "ink": lambda draw: draw.random((50, 1, 9, 9)) * (draw.random((50, 1, 9, 9)) < 0.1),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_data_keep_the_standard_deviation_to_the_same_bits(draw, kind):
    inputs, rows = ORDINARY[kind](draw).astype(np.float32), np.arange(0, 50, 2)
    found, (mean, deviation) = learn_scaling(inputs, rows), moments(inputs, rows)
    assert_array_equal(found.mean, mean.astype(np.float32))
    assert_array_equal(found.scale, np.where(deviation > 0, deviation, 1).astype(np.float32))
    assert found.bound is None
    assert found.warning == ""


@pytest.mark.parametrize("value", [1e3, -1e10, 1e19, -1e30, 3e38])
def test_one_absurd_value_changes_little_and_is_named(draw, value):
    normal, new, odd = data(draw)
    before = fitted(normal)
    normal[17, 3] = value
    with pytest.warns(ConcernWarning, match=r"1 of 400 samples .*row 17, .*\(feature 3, counted from 0\)$") as said:
        detector = fitted(normal)
    assert {one.category for one in said} == {ConcernWarning}
    known = np.repeat([False, True], 100)
    area, area_before = (auc(known, one.anomaly_score(np.concatenate([new, odd]))) for one in (detector, before))
    assert area == pytest.approx(area_before, abs=0.03)
    scale = before.model_.inputs.scale
    assert_allclose(detector.model_.inputs.scale, scale, rtol=0.2)


def test_absurd_values_are_named_where_they_are_held_out_and_by_the_names_of_columns(draw):
    inputs = draw.normal(size=(100, 2)).astype(np.float32)
    inputs[99, 1] = 1e9
    held_out = learn_scaling(inputs, np.arange(90))
    assert held_out.bound is None
    assert "row 99, counted from 0), such as 1e+09 in row 99" in held_out.warning
    assert learn_scaling(inputs, np.arange(100), ("speed", "heat")).warning.endswith("(feature heat)")


def test_heavy_tails_are_compressed(draw):
    inputs = draw.standard_cauchy((2000, 3)).astype(np.float32)
    found = learn_scaling(inputs, np.arange(2000))
    assert (found.scale < 5).all()
    assert (found.bound == 10).all()
    assert "3 of 3 features" in found.warning


@pytest.mark.parametrize("value", [1e19, 1e30, -3e38])
@pytest.mark.parametrize("shape", [(4,), (1, 16), (1, 12, 12)], ids=["vectors", "signals", "pictures"])
def test_a_new_absurd_value_overflows_nowhere(draw, shape, value):
    detector = fitted(draw.normal(size=(60, *shape)), epochs=1)
    new = draw.normal(size=(2, *shape))
    new[0].flat[1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = detector.anomaly_score(new)
    assert np.isfinite(score).all()
    assert score[0] > score[1]


@pytest.mark.parametrize("bound", [10.0, np.array([10.0, 1e6, 3.0], np.float32)], ids=["one", "each"])
def test_compressed_grows_stays_below_twice_the_bound_and_is_undone(bound):
    z = np.linspace(-90, 90, 181, dtype=np.float32)[:, None].repeat(3, 1)
    found = compressed(z, bound)
    assert (np.diff(found, axis=0) > 0).all()
    assert (np.abs(found) < 2 * np.asarray(bound)).all()
    inside = np.abs(z) <= bound
    assert_array_equal(found[inside], z[inside])
    assert_allclose(expanded(found, bound), z, rtol=1e-3)
    assert compressed(np.array([np.inf, -np.inf]), 10.0).tolist() == [20, -20]


@pytest.mark.parametrize("shift", [0, 1e5, 1e8, -1e10])
def test_an_offset_changes_nothing_much(draw, shift):
    normal, new, odd = data(np.random.default_rng(0))
    shifted = [fitted(normal + shift).anomaly_score(part + shift) for part in (new, odd)]
    plain = [fitted(normal).anomaly_score(part) for part in (new, odd)]
    known = np.repeat([False, True], 100)
    assert auc(known, np.concatenate(shifted)) == pytest.approx(auc(known, np.concatenate(plain)), abs=0.01)


@pytest.mark.parametrize("start", [0, 10**7, 10**12])
def test_the_same_numbers_score_the_same_whatever_their_type(draw, start):
    given = start + draw.integers(200, size=(120, 3))
    kinds = [np.int64, np.float64] + [np.float32] * (start < 2**24) + [np.uint8, np.int16] * (start == 0)
    first, *others = (fitted(given.astype(kind), epochs=2).anomaly_score(given.astype(kind)) for kind in kinds)
    for other in others:
        assert_array_equal(other, first)


@pytest.mark.parametrize("shape", [(3,), (2, 16)], ids=["vectors", "signals"])
def test_bytes_that_are_no_pictures_are_numbers(draw, shape):
    given = draw.integers(256, size=(60, *shape), dtype=np.uint8)
    detector = fitted(given, epochs=2)
    assert detector.model_.inputs.standardises
    assert_array_equal(detector.anomaly_score(given), fitted(given.astype(float), epochs=2).anomaly_score(given))


def test_double_precision_is_used_only_if_it_is_needed(draw):
    for given, kind in ((draw.normal(size=(50, 3)), "f4"), (1e8 + draw.normal(size=(50, 3)), "f8")):
        assert checked(given)[0].dtype == kind
    assert checked(np.full((50, 3), 0.1))[0].dtype == "f4"
    assert checked(1e-40 * draw.normal(size=(50, 3)))[0].dtype == "f8"
    mapped = to_memmap([(2**23 + np.arange(150)).astype("f4").reshape(50, 3)])
    found = in_precision_needed(mapped, mapped)
    assert found.dtype == "f8"
    assert_array_equal(found, mapped)


@pytest.mark.parametrize("kind", ["absurd", "offset"])
def test_bound_and_precision_are_saved(draw, tmp_path, kind):
    normal, new, _ = data(draw, 1e8 if kind == "offset" else 0.0)
    normal[3, 0] = 1e30 if kind == "absurd" else normal[3, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)
        detector = fitted(normal, epochs=1)
    detector.save(tmp_path / "model.oddkind")
    loaded = load(tmp_path / "model.oddkind")
    assert_array_equal(loaded.anomaly_score(new), detector.anomaly_score(new))
    assert ("fold.0.bound" in read(tmp_path / "model.oddkind").arrays) == (kind == "absurd")
    if kind == "absurd":
        loaded.inputs.bound[0] = 0
        loaded_again = tmp_path / "again.oddkind"
        save(loaded, loaded_again)
        with pytest.raises(InputError, match="array 'bound' must be above 0"):
            load(loaded_again)


# --- missing values ---


def masked(values):
    return np.ma.array(values, mask=np.arange(np.size(values)).reshape(np.shape(values)) == 3)


def missing(values, nothing):
    found = np.asarray(values).astype(object)
    found.flat[3] = nothing
    return found


@pytest.mark.parametrize("what", ["samples", "labels", "groups"])
def test_masked_and_missing_values_are_refused(draw, what):
    given = {"samples": draw.normal(size=(60, 2)), "labels": np.arange(60) % 2, "groups": np.arange(60) // 5}
    for broken in (masked(given[what]), missing(given[what], None), missing(given[what], np.nan)):
        with pytest.raises(ValueError, match=r"1 masked values|contains NaN|1 of 60 (labels|groups) are missing"):
            Detector(epochs=1).fit(*(given | {what: broken}).values())


def test_masked_values_are_refused_when_scoring_and_in_lists(draw):
    normal = draw.normal(size=(60, 2))
    detector = fitted(normal, epochs=1)
    for score in (detector.anomaly_score, detector.model.anomaly_score):
        for broken in (masked(normal), list(masked(normal))):
            with pytest.raises(InputError, match="samples hold 1 masked values"):
                score(broken)
    whole = np.ma.array(normal, mask=np.zeros_like(normal, bool))
    assert_array_equal(detector.anomaly_score(whole), detector.anomaly_score(normal))

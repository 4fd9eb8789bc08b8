"""What samples a model takes, and how they are standardised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import InputError
from oddkind.arrays import is_mapped, moments, to_memmap
from oddkind.model.inputs import InputSpec, as_samples


def spec_of(inputs, **given):
    """The form of these samples, standardised by their own moments."""
    mean, deviation = moments(inputs, np.arange(len(inputs)))
    scale = np.where(deviation > 0, deviation, 1)
    return InputSpec(inputs.shape[1:], mean.astype(np.float32), scale.astype(np.float32), **given)


# --- samples ---


@pytest.mark.parametrize(
    "kind", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint16, bool, object, ">f4"]
)
def test_samples_become_single_precision(kind):
    given = np.array([[0, 1, 5], [2, 0, 1]]).astype(kind)
    found = as_samples(given)
    assert found.dtype == np.float32
    assert_array_equal(found, given.astype(float))
    assert_array_equal(as_samples(given.tolist()), given.astype(float))


def test_bytes_stay_bytes_and_single_precision_is_not_copied():
    for kind in (np.uint8, np.float32):
        given = np.ones((2, 1, 3, 3), kind)
        assert as_samples(given) is given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("samples", "samples are .U7; they must be numbers"),
        ([["a", "b"]], "they must be numbers"),
        ([[1j, 2]], "samples are complex128; they must be numbers"),
        (np.array([["a", 1]], object), "samples are not numbers"),
        ([[1, 2], [3]], "samples are not numbers"),
        (np.array([["2020-01-01"]], "datetime64[D]"), "they must be numbers"),
        ([1.0, 2.0], "X has 1 axes; pass vectors"),
        (3.0, "X has 0 axes"),
        (np.zeros((1, 1, 1, 1, 1)), "X has 5 axes"),
        (np.zeros((0, 3)), r"X has shape \(0, 3\); every axis needs at least 1"),
        (np.zeros((3, 2, 0)), "every axis needs at least 1"),
        ([[1.0, np.nan]], "X holds NaN or infinity"),
        ([[1.0, -np.inf]], "X holds NaN or infinity"),
        ([[1.0, None]], "X holds NaN or infinity"),
        ([[1.0, 1e39]], "beyond the range of float32"),
        ([[10**39, 1]], "beyond the range of float32"),
    ],
    ids=str,
)
def test_what_is_no_array_of_finite_numbers_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        as_samples(given)


# --- the form that was learnt ---


@pytest.mark.parametrize("shape", [(4,), (2, 9), (3, 5, 5)])
def test_samples_of_the_form_that_was_learnt_are_valid(draw, shape):
    inputs = draw.normal(size=(6, *shape))
    assert_array_equal(spec_of(inputs).validate(inputs), inputs.astype(np.float32))
    pictures = draw.integers(256, size=(6, *shape)).astype(np.uint8)
    assert InputSpec(shape).validate(pictures) is pictures
    # Bytes are numbers, too, for a model of floats.
    assert spec_of(inputs).standardise(spec_of(inputs).validate(pictures)).dtype == np.float32


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), (1, 4), (1, 1, 4)])
def test_samples_of_another_shape_are_refused(draw, shape):
    with pytest.raises(InputError, match=rf"samples have shape \({shape[0]},.*\); the model learnt \(4,\)"):
        spec_of(draw.normal(size=(6, 4))).validate(np.zeros((2, *shape)))


@pytest.mark.parametrize("kind", [float, np.float32, int, bool])
def test_floats_are_refused_by_a_model_of_bytes(kind):
    with pytest.raises(InputError, match="samples are floats; the model learnt uint8, 0 to 255"):
        InputSpec((1, 3, 3)).validate(np.zeros((2, 1, 3, 3), kind))


def test_columns_in_another_order_are_refused(draw):
    spec = spec_of(draw.normal(size=(6, 2)), feature_names=("speed", "load"))

    class Table:
        def __init__(self, *columns):
            self.columns = columns

        def __array__(self, dtype=None, copy=None):
            return np.zeros((1, 2))

    assert spec.validate(Table("speed", "load")).shape == (1, 2)
    assert spec.validate(np.zeros((1, 2))).shape == (1, 2)
    for columns in (("load", "speed"), ("speed", "heat"), ("speed",)):
        with pytest.raises(InputError, match=r"the columns are \[.*\]; the model learnt \['speed', 'load'\]"):
            spec.validate(Table(*columns))


# --- standardisation ---


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.floats(-100, 100, width=32)))
def test_each_feature_or_channel_is_standardised_and_restored(inputs):
    spec = spec_of(inputs)
    found, axes = spec.standardise(inputs), (0, *range(2, inputs.ndim))
    assert found.dtype == np.float32
    assert_allclose(found.mean(axes, float), 0, atol=1e-2)
    spread = inputs.std(axes, dtype=float)
    wide = spread > 1e-2
    assert_allclose(found.std(axes, dtype=float)[wide], 1, rtol=1e-2)
    assert_allclose(spec.restore(found), inputs, rtol=1e-4, atol=1e-3)


def test_bytes_are_not_standardised_but_can_be_written_in_order():
    given = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)[..., ::-1]
    given.flags.writeable = False
    found = InputSpec((1, 3, 4)).standardise(given)
    assert_array_equal(found, given)
    assert found.flags.c_contiguous
    assert found.flags.writeable
    assert InputSpec((1, 3, 4)).restore(found) is found


def test_samples_mapped_from_a_file_stay_so(draw):
    inputs = draw.normal(size=(30, 4)).astype(np.float32)
    mapped, spec = to_memmap([inputs[:7], inputs[7:]]), spec_of(inputs)
    found = spec.standardise(spec.validate(mapped))
    assert is_mapped(found)
    assert_array_equal(found, spec.standardise(inputs))


def test_the_standardised_value_of_a_sample_does_not_depend_on_the_others(draw):
    inputs = draw.normal(size=(50, 3, 8)).astype(np.float32)
    spec = spec_of(inputs)
    assert_array_equal(spec.standardise(inputs[7:9]), spec.standardise(inputs)[7:9])

"""Samples: inputs with what is known about them."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from oddkind import InputError, Samples

FIELDS = ("inputs", "labels", "anomalous", "groups")


@pytest.fixture
def samples():
    rows = np.arange(6)
    return Samples(rows[:, None] * np.ones(3), rows % 2, rows > 3, rows // 2, name="six")


@pytest.mark.parametrize("field", FIELDS[1:])
@pytest.mark.parametrize("values", [np.zeros(5), np.zeros(7), np.zeros((6, 1)), np.array(1)])
def test_samples_refuse_a_field_of_another_length(field, values):
    with pytest.raises(InputError, match=rf"six: {field} has shape .*6 inputs need one value each"):
        Samples(np.zeros((6, 3)), **{field: values}, name="six")


@pytest.mark.parametrize("rows", [slice(1, 4), [5, 0, 0], np.array([4, 2]), np.arange(6) % 2 == 0])
def test_selecting_rows_takes_the_same_rows_of_every_field(samples, rows):
    part = samples[rows]
    wanted = np.arange(6)[rows]
    assert len(part) == len(wanted)
    assert part.name == "six"
    for field in FIELDS:
        assert_array_equal(getattr(part, field), getattr(samples, field)[wanted])


def test_selecting_rows_keeps_unknown_fields_unknown():
    part = Samples(np.zeros((6, 3)))[:2]
    assert (part.labels, part.anomalous, part.groups) == (None, None, None)

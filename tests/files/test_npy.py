import numpy as np
import pytest
from numpy.testing import assert_array_equal

from oddkind import InputError
from oddkind.files.npy import read_array


def test_arrays_are_read_without_pickle(tmp_path, draw):
    for array in (draw.normal(size=5), draw.integers(256, size=(1, 8, 8), dtype=np.uint8), np.arange(6).reshape(2, 3)):
        np.save(tmp_path / "a.npy", array)
        found = read_array(tmp_path / "a.npy")
        assert found.dtype == (np.uint8 if array.dtype == np.uint8 else np.float32)
        assert_array_equal(found, array.astype(found.dtype))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([{}]), "without pickle"),
        (np.array(["a"]), "a sample must hold numbers"),
        (np.float64(3), "a sample must be a vector"),
        (np.zeros((2, 0)), "a sample must be a vector"),
        (np.array([1, np.nan]), "NaN"),
        (np.array([1e300]), "too large"),
    ],
)
def test_a_file_that_is_not_an_array_of_numbers_is_refused(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=reason):
        read_array(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_text("text")
    with pytest.raises(InputError, match="without pickle"):
        read_array(tmp_path / "b.npy")

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.io import savemat

from oddkind import InputError
from oddkind.files.npy import read_recording


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_matlab_arrays_are_what_scipy_wrote(tmp_path, draw, dtype, compressed):
    array = draw.integers(100, size=(3, 7)).astype(dtype)
    others = {"name": "bearing", "c": 1j * array, "s": {"x": array}, "cell": np.array([{}, 1], object), "v": array[0]}
    savemat(tmp_path / "a.mat", {"a": array, **others}, do_compression=compressed)
    recording, left_out = read_recording(tmp_path / "a.mat")
    assert_array_equal(recording, np.column_stack([array.T, array[0]]))
    assert left_out == ["c", "cell", "name", "s"]


def test_a_damaged_matlab_file_is_read_or_refused_but_breaks_nothing(tmp_path, draw):
    for compressed in (False, True):
        savemat(tmp_path / "a.mat", {"a": draw.normal(size=50), "s": {"x": 1}}, do_compression=compressed)
        content = (tmp_path / "a.mat").read_bytes()
        refused = 0
        for _ in range(500):
            damaged = bytearray(content)
            for place in draw.integers(124, len(content), size=draw.integers(1, 4)):
                damaged[place] = draw.integers(256)
            (tmp_path / "b.mat").write_bytes(damaged)
            try:
                read_recording(tmp_path / "b.mat")
            except InputError:
                refused += 1
        assert refused > 20

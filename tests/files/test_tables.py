import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyarrow import parquet

from oddkind import InputError
from oddkind.files.npy import read_array
from oddkind.files.tables import columns_of, numbers_of, read_columns, read_signal


def written(file, text):
    file.write_text(text, encoding="utf-8")
    return file


def test_a_log_is_read_a_channel_a_column(tmp_path):
    log = written(tmp_path / "펌프.csv", "time,압력,temp,note\n0,1.5,20,a\n1,2.5,21,b\n2,-3e2,22,c\n")
    assert columns_of(log) == ["time", "압력", "temp", "note"]
    assert numbers_of(log) == ("time", "압력", "temp")
    assert_allclose(read_signal(log, ("temp", "압력")), [[20, 21, 22], [1.5, 2.5, -300]])
    parquet.write_table(pa.table({"a": [1, 2], "b": [0.5, 1.5]}), tmp_path / "a.parquet")
    assert_allclose(read_signal(tmp_path / "a.parquet", ("a", "b")), [[1, 2], [0.5, 1.5]])


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        ("a,b\n1,2\n", ("a", "c"), "no column 'c'; there are a, b"),
        ("a,b\n1,2\nten,3\n", ("a",), "column 'a', row 2: 'ten' is not a number"),
        ("a,b\n1,2\n,3\n4,5\n", ("a",), "column 'a', row 2: empty"),
        ("a,b\n1,2\n1,2,3\n", ("a",), "cannot be read as a table"),
        ("a\ntrue\n", ("a",), "column 'a', row 1: True is not a number"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, text, columns, reason):
    with pytest.raises(InputError, match=reason):
        read_signal(written(tmp_path / "a.csv", text), columns)


def test_a_table_without_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match="no column of numbers; there are a, b"):
        numbers_of(written(tmp_path / "a.csv", "a,b\nx,y\n"))


def test_columns_of_a_manifest_are_text(tmp_path):
    manifest = written(tmp_path / "a.csv", "path,label\n001.wav,01\n002.wav,\n")
    assert read_columns(manifest) == {"path": ["001.wav", "002.wav"], "label": ["01", ""]}
    with pytest.raises(InputError, match="two columns are called 'path'"):
        read_columns(written(tmp_path / "b.csv", "path,path\n1,2\n"))
    with pytest.raises(InputError, match=r"b\.parquet: cannot be read as a table"):
        columns_of(written(tmp_path / "b.parquet", "path"))


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
        (np.array(["a"]), "a sample holds numbers"),
        (np.float64(3), "a sample is a vector"),
        (np.zeros((2, 0)), "a sample is a vector"),
        (np.array([1, np.nan]), "NaN"),
        (np.array([1e300]), "too large"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=reason):
        read_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match="without pickle"):
        read_array(written(tmp_path / "b.npy", "text"))

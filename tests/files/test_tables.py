import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from pyarrow import parquet

from oddkind import InputError
from oddkind.files.tables import columns_of, numbers_of, read_columns, read_signal


def written(file, text):
    file.write_text(text, encoding="utf-8")
    return file


def test_each_column_of_a_log_is_a_channel(tmp_path):
    log = written(tmp_path / "펌프.csv", "time,압력,temp,note\n0,1.5,20,a\n1,2.5,21,b\n2,-3e2,22,c\n")
    assert columns_of(log) == ["time", "압력", "temp", "note"]
    assert numbers_of(log) == ("time", "압력", "temp")
    assert_allclose(read_signal(log, ("temp", "압력")), [[20, 21, 22], [1.5, 2.5, -300]])
    parquet.write_table(pa.table({"a": [1, 2], "b": [0.5, 1.5]}), tmp_path / "a.parquet")
    assert_allclose(read_signal(tmp_path / "a.parquet", ("a", "b")), [[1, 2], [0.5, 1.5]])


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        ("a,b\n1,2\n", ("a", "c"), "has no column 'c'; its columns are a, b"),
        ("a,b\n1,2\nten,3\n", ("a",), "column 'a', row 2: 'ten' is not a number"),
        ("a,b\n1,2\n,3\n4,5\n", ("a",), "column 'a', row 2: the value is missing"),
        ("a,b\n1,2\n1,2,3\n", ("a",), "cannot be read as a table"),
        ("a\ntrue\n", ("a",), "column 'a', row 1: True is not a number"),
    ],
)
def test_a_file_that_is_not_a_log_is_refused(tmp_path, text, columns, reason):
    with pytest.raises(InputError, match=reason):
        read_signal(written(tmp_path / "a.csv", text), columns)


def test_a_table_without_numbers_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no column of numbers; its columns are a, b"):
        numbers_of(written(tmp_path / "a.csv", "a,b\nx,y\n"))


def test_columns_of_a_manifest_are_text(tmp_path):
    manifest = written(tmp_path / "a.csv", "path,label\n001.wav,01\n002.wav,\n")
    assert read_columns(manifest) == {"path": ["001.wav", "002.wav"], "label": ["01", ""]}
    with pytest.raises(InputError, match="two columns have the name 'path'"):
        read_columns(written(tmp_path / "b.csv", "path,path\n1,2\n"))
    with pytest.raises(InputError, match=r"b\.parquet: cannot be read as a table"):
        columns_of(written(tmp_path / "b.parquet", "path"))

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from pyarrow import parquet

from oddkind import InputError
from oddkind.files import tables
from oddkind.files.dialects import Dialect
from oddkind.files.tables import columns_of, read_columns, read_signal, read_table


def written(file, text):
    file.write_text(text, encoding="utf-8")
    return file


def test_each_column_of_a_log_is_a_channel(tmp_path):
    log = written(tmp_path / "펌프.csv", "time,압력,temp,note\n0,1.5,20,a\n1,2.5,21,b\n2,-3e2,22,c\n")
    assert columns_of(log) == ["time", "압력", "temp", "note"]
    assert_allclose(read_signal(log, ("temp", "압력")), [[20, 21, 22], [1.5, 2.5, -300]])
    parquet.write_table(pa.table({"a": [1, 2], "b": [0.5, 1.5]}), tmp_path / "a.parquet")
    assert_allclose(read_signal(tmp_path / "a.parquet", ("a", "b")), [[1, 2], [0.5, 1.5]])


def test_decimal_and_boolean_values_are_numbers_and_missing_ones_are_nan(tmp_path):
    values = {
        "decimal": [decimal.Decimal("1.5"), decimal.Decimal("-2.0")],
        "on": [True, False],
        "gap": pa.array([None, 3], pa.int64()),
        "nothing": pa.nulls(2),
    }
    parquet.write_table(pa.table(values), tmp_path / "a.parquet")
    wanted = [[1.5, -2], [1, 0], [np.nan, 3], [np.nan, np.nan]]
    assert_allclose(read_signal(tmp_path / "a.parquet", [*values]), wanted)
    cells = ("-", "--", "nan", "NULL", "null", "NA", "N/A", "")
    log = written(tmp_path / "a.csv", "on,a\n" + "".join(f"true,{cell}\n" for cell in cells) + "false,2\n")
    assert_allclose(read_signal(log, ("on", "a")), [[1] * 8 + [0], [np.nan] * 8 + [2]])


@pytest.mark.parametrize(
    ("text", "columns", "reason"),
    [
        ("a,b\n1,2\n", ("a", "c"), "has no column 'c'; its columns are a, b"),
        ("a,b\n1,2\nten,3\n", ("a",), "column 'a', row 2: 'ten' is not a number"),
        ("a,b\n1,2\n1,2,3\n", ("a",), "cannot be read as a table .*--delimiter"),
        ("a,b\n2020-01-01,2\n", ("a",), "column 'a' holds date32.*, not numbers"),
        ("", ("a",), "has no column 'a'|cannot be read as a table"),
    ],
)
def test_a_file_that_is_not_a_log_is_refused(tmp_path, text, columns, reason):
    with pytest.raises(InputError, match=reason):
        read_signal(written(tmp_path / "a.csv", text), columns)


def test_bytes_of_another_encoding_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes("압력,b\n1,2\n".encode("cp949"))
    with pytest.raises(InputError, match=r"cannot be read as a table .*--encoding"):
        read_signal(tmp_path / "a.csv", ("b",))
    assert_allclose(read_signal(tmp_path / "a.csv", ("압력",), Dialect("cp949")), [[1]])


def test_more_rows_than_fit_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_VALUES", 100)
    parquet.write_table(pa.table({"a": np.zeros(60), "b": np.zeros(60)}), tmp_path / "a.parquet")
    assert read_signal(tmp_path / "a.parquet", ("a",)).shape == (1, 60)
    with pytest.raises(InputError, match="has 60 rows and 2 columns to read, more than 100 numbers; cut it"):
        read_signal(tmp_path / "a.parquet", ("a", "b"))
    with pytest.raises(InputError, match="has 60 rows and 2 columns"):
        read_columns(tmp_path / "a.parquet")


def test_time_stamps_in_nanoseconds_are_no_obstacle(tmp_path):
    moments = pa.array([1_600_000_000_000_000_001], pa.timestamp("ns"))
    parquet.write_table(pa.table({"path": ["a.wav"], "at": moments}), tmp_path / "a.parquet")
    assert read_columns(tmp_path / "a.parquet")["at"] == ["2020-09-13 12:26:40.000000001"]
    with pytest.raises(InputError, match=r"column 'at' holds timestamp\[ns\], not numbers"):
        read_signal(tmp_path / "a.parquet", ("at",))


def test_columns_of_a_manifest_are_text(tmp_path):
    manifest = written(tmp_path / "a.csv", "path,label\n001.wav,01\n002.wav,\n")
    assert read_columns(manifest) == {"path": ["001.wav", "002.wav"], "label": ["01", ""]}
    with pytest.raises(InputError, match="two columns have the name 'path'"):
        read_columns(written(tmp_path / "b.csv", "path,path\n1,2\n"))
    with pytest.raises(InputError, match=r"b\.parquet: cannot be read as a table"):
        columns_of(written(tmp_path / "b.parquet", "path"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949"])
def test_a_manifest_may_be_written_in_any_dialect(tmp_path, encoding):
    (tmp_path / "a.csv").write_bytes("path;label\n가.wav;펌프\n나.wav;\n".encode(encoding))
    assert columns_of(tmp_path / "a.csv") == ["path", "label"]
    assert read_columns(tmp_path / "a.csv") == {"path": ["가.wav", "나.wav"], "label": ["펌프", ""]}


def test_columns_may_be_of_any_type(tmp_path):
    table = pa.table({"at": [datetime.datetime(2020, 1, 1)], "a": [1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", Dialect(), ["at"]).schema.names == ["at"]

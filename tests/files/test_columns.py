"""Which columns of sensor logs are sensors."""

import decimal
import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from oddkind import InputError
from oddkind.files.columns import Clock, find_columns, marked, read_clock, truth_column
from oddkind.files.dialects import Dialect, sniff

N = 40


def logs(folder, *texts):
    files = []
    for number, text in enumerate(texts):
        file = folder / f"{number}.csv"
        file.write_text(text)
        files.append((file.name, file))
    return files


def table(draw, **columns):
    """Return the text of a log with a sensor 'a' and other columns."""
    columns = {"a": draw.normal(size=N)} | columns
    return ",".join(columns) + "\n" + "\n".join(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("datetime", [f"2020-03-09 10:00:{row:02}" for row in range(N)], r"is time \(timestamp"),
        ("zeit", [f"09.03.2020 10:00:{row:02}" for row in range(N)], r"is time \(09"),
        ("Time [s]", np.sort(np.random.default_rng(0).normal(size=N)), "is time, by its name"),
        ("time", [7] * N, "is time, by its name"),
        ("시간", range(N), "is time, by its name"),
        ("id", range(5, 5 + N), "is an index"),
        ("", range(N), "rises by the same step"),
        ("__index_level_0__", [3, 1] * (N // 2), "index of a pandas table"),
        ("m", np.arange(N) * 0.1, "rises by the same step"),
        ("m", np.cumsum(np.random.default_rng(0).uniform(0.1, 2, N)), "rises in each row and from file to file"),
        ("anomaly", [0.0, 1.0] * (N // 2), "looks like a label"),
        ("changepoint", [0] * N, "looks like a label"),
        ("Normal/Attack", ["Normal"] * N, "holds text, such as 'Normal', in 1 of 1 file"),
        ("note", ["x"] * N, "holds text, such as 'x', in 1 of 1 file"),
        ("gone", ["-"] * N, "has no values"),
    ],
)
def test_a_column_that_is_no_sensor_is_left_out_and_the_reason_named(tmp_path, draw, name, values, reason):
    files = logs(tmp_path, table(draw, **{name: values}))
    found = find_columns(files, sniff([files[0][1]]))
    assert found.sensors == ("a",)
    ((column, why),) = found.left_out.items()
    assert column == (name or "column 2")
    assert re.search(reason, why)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("label", np.random.default_rng(0).normal(size=N)),
        ("time", np.random.default_rng(0).normal(size=N)),
        ("id", np.random.default_rng(0).normal(size=N)),
        ("valve", ["true", "false"] * (N // 2)),
        ("gap", ["-", "1.5"] * (N // 2)),
        ("faulty pump", [0, 1] * (N // 2)),
        ("steady", [1] * N),
    ],
)
def test_a_name_alone_makes_no_sensor_a_label_and_no_gap_drops_it(tmp_path, draw, name, values):
    files = logs(tmp_path, table(draw, **{name: values}))
    assert find_columns(files, Dialect()).sensors == ("a", name)


def test_a_ramp_that_begins_again_in_each_file_is_a_sensor(tmp_path, draw):
    ramps = [np.cumsum(draw.uniform(0.1, 2, N)) for _ in range(2)]
    files = logs(tmp_path, *(table(draw, ramp=ramp) for ramp in ramps))
    assert find_columns(files, Dialect()).sensors == ("a", "ramp")


def test_all_files_decide_and_not_the_first(tmp_path, draw):
    texts = [
        table(draw, b=["-"] * N, c=["ERR"] * N),
        table(draw, b=["nan"] * N, c=draw.normal(size=N)),
        table(draw, b=draw.normal(size=N), c=draw.normal(size=N), rare=draw.normal(size=N)),
    ]
    found = find_columns(logs(tmp_path, *texts), Dialect())
    assert found.sensors == ("a", "b", "c")
    assert found.left_out == {"rare": "is only in 1 of 3 files"}


def test_columns_of_parquet_go_by_their_type(tmp_path, draw):
    numbers = draw.normal(size=N)
    columns = {
        "decimal": pa.array([decimal.Decimal(f"{value:.2f}") for value in numbers]),
        "on": numbers > 0,
        "ns": pa.array(range(1_600_000_000_000_000_001, 1_600_000_000_000_000_001 + N), pa.timestamp("ns")),
        "list": pa.array([[1.0]] * N),
        "text": [f"{value}" for value in numbers],
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = find_columns([("a", tmp_path / "a.parquet")], Dialect())
    assert found.sensors == ("decimal", "on")
    assert [*found.left_out] == ["ns", "list", "text"]
    assert found.time == "ns"


def test_options_name_time_and_truth(tmp_path, draw):
    files = logs(tmp_path, table(draw, moment=draw.normal(size=N), bad=draw.normal(size=N)))
    found = find_columns(files, Dialect(), time="moment", truth="bad")
    assert (found.sensors, found.time) == (("a",), "moment")
    assert found.left_out == {"moment": "is time (--time)", "bad": "marks anomalous rows (--truth)"}


def test_files_without_sensors_or_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none of 1 tables has a column of sensor values: a holds text, such as 'x'"):
        find_columns(logs(tmp_path, "a\nx\n"), Dialect())
    with pytest.raises(InputError, match=r"none of 1 tables can be read; 0\.csv: cannot be read as a table"):
        find_columns(logs(tmp_path, ""), Dialect())


@pytest.mark.parametrize(
    ("text", "truth", "wanted"),
    [
        ("a,anomaly\n1,0\n2,0\n", None, False),
        ("a,anomaly\n1,0.0\n2,1.0\n", None, True),
        ("a,Normal/Attack\n1,Normal\n2,Attack\n", None, True),
        ("a,is_anomaly\n1,false\n", None, False),
        ("a,b\n1,0\n2,1\n", None, None),
        ("a,b\n1,0\n2,1\n", "b", True),
        ("a,anomaly\n1,1\n", "b", None),
    ],
)
def test_a_column_of_truth_says_whether_a_file_is_anomalous(tmp_path, text, truth, wanted):
    ((_, file),) = logs(tmp_path, text)
    found = marked(file, Dialect(), truth)
    assert (found and found[1]) is wanted


def test_a_column_of_truth_goes_by_its_name():
    assert truth_column(["a", "Anomaly", "fault"]) == "Anomaly"
    assert truth_column(["a", "Defect", "b"]) == "Defect"
    assert truth_column(["a", "changepoint", "default"]) is None


def test_the_clock_shows_the_usual_step_gaps_and_where_it_goes_back(tmp_path):
    hours = {"steady": "10 11 12 13", "gap": "00 01 02 20", "back": "05 06 04 07"}
    texts = ["at,a\n" + "".join(f"2020-01-01T{hour}:00:00,1\n" for hour in own.split()) for own in hours.values()]
    clock = read_clock(logs(tmp_path, *texts), Dialect(), "at")
    assert clock == Clock(3600.0, ("2.csv, row 3",), ("1.csv, row 4",))
    numbers = read_clock(logs(tmp_path, "at,a\n0,1\n2,1\n4,1\n"), Dialect(), "at")
    assert numbers == Clock(None, (), ())
    assert read_clock(logs(tmp_path, "at,a\nx,1\ny,1\n"), Dialect(), "at") is None


@pytest.mark.parametrize(
    ("texts", "step"),
    [
        (("11.03.2024 08:00:00", "11.03.2024 08:00:10", "11.03.2024 08:00:20"), 10),
        (("31.01.2024 23:59:59,5", "01.02.2024 00:00:00,0", "01.02.2024 00:00:00,5"), 0.5),
        (("1/30/2024 8:00", "1/31/2024 8:00", "2/1/2024 8:00"), 86400),
        (("2024/3/1", "2024/3/2", "2024/3/3"), 86400),
        (("08:00:00.25", "08:00:00.50", "08:00:00.75"), 0.25),
        (("32.13.2024", "33.13.2024", "34.13.2024"), None),
        (("11.03.2024 08:00", "yesterday", "11.03.2024 08:02"), None),
    ],
    ids=str,
)
def test_times_are_read_as_they_are_written_in_many_countries(tmp_path, texts, step):
    files = logs(tmp_path, "at;a\n" + "".join(f"{text};{n}\n" for n, text in enumerate(texts)))
    clock = read_clock(files, Dialect(delimiter=";"), "at")
    assert clock == (None if step is None else Clock(pytest.approx(step), (), ()))


def test_rows_with_the_same_rounded_time_are_counted(tmp_path):
    rows = [f"2024-03-11T08:00:{second:02},1\n" for second in range(20) for _ in range(10)]
    clock = read_clock(logs(tmp_path, "at,a\n" + "".join(rows)), Dialect(), "at")
    assert (clock.step, clock.goes_back) == (0.1, ())


def test_named_columns_are_read_and_must_exist(tmp_path, draw):
    files = logs(tmp_path, table(draw, time=range(N), note=["x"] * N))
    found = find_columns(files, Dialect(), columns=("time",))
    assert found.sensors == ("time",)
    assert found.left_out == {"a": "is not one of --columns", "note": "holds text, such as 'x', in 1 of 1 file"}
    for option in ({"columns": ("b",)}, {"time": "b"}, {"truth": "b"}):
        with pytest.raises(
            InputError, match=rf"no table has the column 'b' of --{next(iter(option))}; the columns are a, time"
        ):
            find_columns(files, Dialect(), **option)
    found = find_columns(files, Dialect(), time="none", truth="none")
    assert (found.sensors, found.time, found.truth) == (("a", "time"), "none", "none")


def test_a_column_that_numbers_the_files_is_left_out_and_a_setting_is_not(tmp_path, draw):
    texts = [table(draw, run=[number] * N, load=[number % 3] * N) for number in range(9)]
    found = find_columns(logs(tmp_path, *texts), Dialect())
    assert found.sensors == ("a", "load")
    assert found.left_out["run"].startswith("has one value in each file")

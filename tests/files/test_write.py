"""Verdicts as CSV, Parquet or JSON lines."""

import csv
import json
import os

import pytest
from pyarrow import parquet

from oddkind import InputError, Verdict
from oddkind.files.write import write_verdicts

VERDICTS = [Verdict("소리 1.wav", "팬", 1.5, 0.25, False), Verdict('a,"b.wav', None, -2.0, 0.01, True)]


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_verdicts_are_written_whole_or_not_at_all(tmp_path, name):
    write_verdicts(VERDICTS, tmp_path / name)
    if name.endswith("csv"):
        rows = list(csv.DictReader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        assert [row["path"] for row in rows] == ["소리 1.wav", 'a,"b.wav']
        assert [row["anomalous"] for row in rows] == ["False", "True"]
    else:
        assert parquet.read_table(tmp_path / name).to_pylist() == [vars(verdict) for verdict in VERDICTS]
    for file in (tmp_path / "scores.txt", tmp_path / "none" / name):
        with pytest.raises(InputError, match=file.name):
            write_verdicts(VERDICTS, file)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_without_a_file_verdicts_are_printed_as_csv_or_json_lines(capsys):
    write_verdicts(VERDICTS, None)
    printed = capsys.readouterr().out
    assert [row["path"] for row in csv.DictReader(printed.splitlines())] == ["소리 1.wav", 'a,"b.wav']
    assert "\r" not in printed
    for promised in (True, False):
        write_verdicts(VERDICTS, None, as_json=True, promised=promised)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines == [vars(verdict) | {"promised": promised} for verdict in VERDICTS]


def test_no_verdicts_are_a_table_without_rows(tmp_path, capsys):
    write_verdicts([], None)
    write_verdicts([], tmp_path / "a.csv")
    header = "path,label,score,p_value,anomalous"
    assert capsys.readouterr().out.splitlines() == (tmp_path / "a.csv").read_text().splitlines() == [header]
    write_verdicts([], None, as_json=True)
    assert capsys.readouterr().out == ""


def test_names_that_are_not_utf_8_are_written_in_every_format(tmp_path, capsys):
    name = os.fsdecode(b"\xff \xec\x86\x8c.wav")
    verdicts = [Verdict(name, name, 1.0, 0.5, False)]
    shown = r"\udcff 소.wav"
    for file in (tmp_path / "scores.csv", tmp_path / "scores.parquet"):
        write_verdicts(verdicts, file)
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()))
    rows += parquet.read_table(tmp_path / "scores.parquet").to_pylist()
    write_verdicts(verdicts, None, as_json=True)
    rows.append(json.loads(capsys.readouterr().out))
    write_verdicts(verdicts, None)
    rows += csv.DictReader(capsys.readouterr().out.splitlines())
    assert len(rows) == 4
    assert all((row["path"], row["label"]) == (shown, shown) for row in rows)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scores.csv", "scores.parquet"]

"""How a data set is read."""

from typing import get_args

import numpy as np
import pytest
from PIL import Image
from problems import RATE, record

from oddkind import Entry, InputError, Source, source_of
from oddkind.errors import ConcernWarning
from oddkind.files.front_ends import FRONT_ENDS
from oddkind.files.source import FrontEndName, resolved


def test_the_front_ends_that_settings_may_name_are_those_that_there_are():
    assert get_args(FrontEndName) == tuple(FRONT_ENDS)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("sounds", {"size": (64, 64)}, "--size does not apply to sounds"),
        ("pictures", {"sample_rate": 8000}, "--sample-rate does not apply to pictures"),
        ("arrays", {"window": 1.0}, "--window does not apply to arrays"),
        ("tables", {"match_loudness": True}, "--match-loudness does not apply to tables"),
        ("sounds", {"window": -1.0}, r"--window -1\.0: .*greater than 0"),
        ("sounds", {"sample_rate": 0}, "--sample-rate 0: must be above 0"),
        ("sounds", {"front_end": ("mfcc",)}, "--front-end 'mfcc': "),
        ("pictures", {"size": (4, 64)}, "--size 4: .*greater than or equal to 8"),
        ("films", {}, "--kind 'films': "),
    ],
)
def test_a_setting_that_is_out_of_range_or_does_not_apply_is_refused(tmp_path, kind, settings, reason):
    with pytest.raises(InputError, match=reason):
        source_of(tmp_path, kind=kind, **settings)


def test_settings_that_are_not_given_come_from_the_first_file_that_can_be_read(tmp_path):
    record(tmp_path, "b.wav", 300, 1)
    (tmp_path / "a.wav").write_text("no sound")
    files = [Entry(tmp_path / name, name) for name in ("a.wav", "b.wav")]
    found = resolved(Source(kind="sounds", window=0.5), files)
    assert (found.sample_rate, found.window, found.hop) == (RATE, 0.5, 0.5)
    assert found.window_samples() == (RATE // 2, RATE // 2)
    given = Source(kind="sounds", sample_rate=8000, window=2, hop=0.25)
    assert resolved(given, files) == given.model_copy(update={"front_end": ("log-mel",)})
    with pytest.raises(InputError, match=r"none of 1 sounds can be read; a\.wav: is not a recording"):
        resolved(Source(kind="sounds"), files[:1])
    with pytest.raises(InputError, match="none of 0 sounds can be read"):
        resolved(Source(kind="sounds"), [])


def test_colours_and_columns_are_those_of_the_first_file(tmp_path, draw):
    Image.fromarray(draw.integers(256, size=(9, 9, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(draw.integers(256, size=(9, 9), dtype=np.uint8)).save(tmp_path / "b.png")
    files = [Entry(tmp_path / name, name) for name in ("a.png", "b.png")]
    for one in (files, files[::-1]):
        with pytest.warns(ConcernWarning, match="1 of 2 pictures have no colours"):
            found = resolved(Source(kind="pictures"), one)
        assert (found.grey, found.size) == (False, (64, 64))
    (tmp_path / "a.csv").write_text("time,note,load\n1,a,2\n")
    found = resolved(Source(kind="tables", window=3), [Entry(tmp_path / "a.csv", "a.csv")])
    assert (found.columns, found.hop) == (("load",), 3)


def test_tables_of_different_lengths_have_windows_that_suit_nearly_all(tmp_path):
    def window(*lengths, **settings):
        for old in tmp_path.iterdir():
            old.unlink()
        for number, n in enumerate(lengths):
            rows = "\n".join(f"{row % 7 * 0.3:.1f}" for row in range(n))
            (tmp_path / f"{number:02}.csv").write_text(f"load\n{rows}\n")
        source = source_of(tmp_path, **settings)
        return resolved(source, source.entries(tmp_path)[0]).window

    assert window(100, 100) is None
    assert window(100, 200) == 64
    assert window(50, 200) == 50
    assert window(0, 1, *[100] * 29) == 64
    assert window(100, 200, window=20) == 20
    assert window(3000, 2000, sample_rate=1000) == 1
    assert window(300, 300, sample_rate=1000) == 0.3


def test_a_table_with_a_marked_row_is_anomalous_unless_something_else_is_known(tmp_path):
    for name, marks in (("a", "00"), ("b", "01")):
        (tmp_path / f"{name}.csv").write_text(f"x,anomaly\n1,{marks[0]}\n2,{marks[1]}\n")
    (tmp_path / "c.csv").write_text("x\n1\n2\n")

    def conditions(**settings):
        return [entry.anomalous for entry in source_of(tmp_path, **settings).entries(tmp_path)[0]]

    assert conditions() == [False, True, None]
    assert conditions(truth="none") == [None, None, None]
    assert conditions(pattern="{name}.csv", normal="name=b") == [True, False, True]
    assert conditions(truth="x") == [True, True, True]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"encoding": "klingon"}, "--encoding 'klingon': .*this encoding is not known"),
        ({"encoding": "base64"}, "--encoding 'base64': .*this encoding is not known"),
        ({"delimiter": ";;"}, "--delimiter ';;': "),
        ({"decimal": ";"}, "--decimal ';': "),
        ({"missing": "zero"}, "--missing 'zero': "),
        ({"skip_rows": -1}, "--skip-rows -1: "),
    ],
)
def test_options_for_csv_are_checked(tmp_path, settings, reason):
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=reason):
        source_of(tmp_path, **settings)
    assert source_of(tmp_path, delimiter="tab").delimiter == "\t"


def test_a_label_may_be_a_column_with_one_value_in_each_file(tmp_path):
    for name, machine in (("a", 7), ("b", 8)):
        (tmp_path / f"{name}.csv").write_text(f"x,machine,on\n1,{machine},0\n2,{machine},1\n")
    source = source_of(tmp_path, label="machine")
    files, _ = source.entries(tmp_path)
    assert [entry.label for entry in files] == ["7", "8"]
    assert resolved(source, files).columns == ("x", "on")
    with pytest.raises(InputError, match=r"^a\.csv: column 'on' has 2 values \(0, 1\); --label takes .* --truth"):
        source_of(tmp_path, label="on").entries(tmp_path)
    with pytest.raises(InputError, match="--label names the field 'y', which does not exist"):
        source_of(tmp_path, label="y").entries(tmp_path)

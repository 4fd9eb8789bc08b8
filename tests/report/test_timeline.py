from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import listed

from oddkind import InputError
from oddkind.files.listing import Entry
from oddkind.files.score import score_files
from oddkind.model.martingale import ConformalMartingale
from oddkind.report.timeline import evidence_along, order_of


def entries(*names):
    return [Entry(Path(name), name) for name in names]


def manifest(folder, column, *values):
    rows = [f"{number}.wav,{value}" for number, value in enumerate(values)]
    file = folder / "files.csv"
    file.write_text("\n".join([f"path,{column}", *rows]))
    return file, entries(*(f"{number}.wav" for number in range(len(values))))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b_20240102.wav", "c_20240101.wav"], ["c_20240101.wav", "b_20240102.wav"]),
        (
            ["x/2024-01-01T10-30-05.wav", "y/2024-01-01T09-59.wav"],
            ["y/2024-01-01T09-59.wav", "x/2024-01-01T10-30-05.wav"],
        ),
        (["20240101_100000.wav", "20240101_095959.wav"], ["20240101_095959.wav", "20240101_100000.wav"]),
    ],
)
def test_time_stamps_in_names_are_an_order(names, expected):
    order = order_of(entries(*names), Path("nowhere"))
    assert order.names == tuple(expected)
    assert order.dated
    assert np.all(np.diff(order.at) > 0)


@pytest.mark.parametrize(
    "names",
    [
        ["9.wav", "10.wav"],
        ["20240101.wav", "other.wav"],
        ["20241301.wav", "20241302.wav"],
        ["20240101.wav", "20240101.flac"],
        ["part 1234567890.wav", "part 1234567891.wav"],
    ],
)
def test_names_without_different_time_stamps_are_no_order(names):
    assert order_of(entries(*names), Path("nowhere")) is None


def test_names_are_an_order_if_asked_for_and_10_comes_after_9():
    files = entries("b 10.wav", "b 9.wav", "a.wav")
    order = order_of(files, Path("nowhere"), "name")
    assert (order.names, order.at) == (("a.wav", "b 9.wav", "b 10.wav"), None)
    assert order_of(files, Path("nowhere"), "none") is None


def test_a_column_of_the_manifest_is_an_order(tmp_path):
    file, files = manifest(tmp_path, "Time", "2024-03-01 10:00", "2024-02-01 10:00", "2024-02-01 09:00")
    order = order_of(files, file)
    assert (order.names, order.by, order.dated) == (("2.wav", "1.wav", "0.wav"), "the column Time", True)
    file, files = manifest(tmp_path, "hours", "7.5", "-1", "3")
    assert order_of(files, file) is None
    order = order_of(files, file, "hours")
    assert (order.names, order.dated) == (("1.wav", "2.wav", "0.wav"), False)
    assert order.at.tolist() == [-1, 3, 7.5]


def test_a_column_that_cannot_be_an_order_is_refused(tmp_path):
    file, files = manifest(tmp_path, "time", "7.5", "early")
    assert order_of(files, file) is None  # it is called so, and holds something else
    with pytest.raises(InputError, match=r"1\.wav has 'early'; it must be a time such as"):
        order_of(files, file, "time")
    with pytest.raises(InputError, match="column 'tiem', which does not exist; known columns: path, time"):
        order_of(files, file, "tiem")
    with pytest.raises(InputError, match="is no manifest"):
        order_of(files, tmp_path, "time")
    file, files = manifest(tmp_path, "time", "7.5", "2024-03-01 10:00")
    with pytest.raises(InputError, match="times and numbers"):
        order_of(files, file, "time")
    file, files = manifest(tmp_path, "time", "7.5", "inf")
    with pytest.raises(InputError, match="'inf'"):
        order_of(files, file, "time")


def test_blocks_of_one_file_are_in_its_order():
    blocks = [Entry(Path("log.wav"), f"log.wav, {start}", windows=(start, start + 5)) for start in (10, 0, 5)]
    order = order_of(blocks, Path("nowhere"))
    assert order.names == ("log.wav, 0", "log.wav, 5", "log.wav, 10")


def test_the_evidence_is_that_of_the_martingale_and_learnt_files_do_not_count(data, fitted):
    files = listed(data)
    verdicts = score_files(files, fitted)
    order = order_of(files, data, "name")
    learnt = {entry.name for entry in files if entry.split == "train"}
    evidence, n = evidence_along(order, files, verdicts, fitted, learnt)
    assert (len(evidence), n) == (72, 24)
    scores = {verdict.path: verdict.score for verdict in verdicts}
    from oddkind.files.score import calibration_files

    (held_out,) = calibration_files(fitted)
    martingale = ConformalMartingale({"": held_out.scores})
    expected = []
    for name in order.names:
        if name not in learnt:
            martingale.add(scores[name])
        expected.append(np.log10(martingale.evidence))
    assert_allclose(evidence, expected)
    assert evidence.max() > 0.5  # half of the test files are odd

"""Long files are cut into blocks of time."""

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from problems import RATE, record

from oddkind import Entry, InputError, Source, source_of
from oddkind.files.blocks import block_samples, cutting, in_blocks, with_blocks
from oddkind.files.reading import each
from oddkind.files.score import learnt_by, learnt_mark
from oddkind.files.source import resolved


def log(folder, n, name="log.csv", seconds=None, marks=None):
    """A log of n rows whose only sensor counts them, noisily."""
    names, columns = ["value"], [(np.arange(n) + 0.3 * np.random.default_rng(0).normal(size=n)).round(6).tolist()]
    if seconds is not None:
        names.append("when")
        columns.append([datetime(2026, 1, 1) + timedelta(seconds=seconds * row) for row in range(n)])
    if marks is not None:
        names.append("anomaly")
        columns.append(np.isin(np.arange(n), marks).astype(int).tolist())
    rows = [",".join(map(str, values)) for values in zip(*columns, strict=True)]
    (folder / name).write_text("\n".join([",".join(names), *rows, ""]))
    return folder / name


def settings_for(file, min_groups=19, **given):
    source = source_of(file, columns=("value",), **given)
    files, _ = source.entries(file)
    return files, with_blocks(resolved(source, files), files, min_groups)


@given(n=st.integers(1, 400), window=st.integers(1, 9), hop=st.integers(1, 12), block=st.integers(1, 90))
def test_every_window_is_scored_and_blocks_that_are_learnt_from_share_no_row(tmp_path_factory, n, window, hop, block):
    file = log(tmp_path_factory.mktemp("log"), n)
    source = Source(kind="tables", columns=("value",), window=window, hop=hop, block=max(window, block))
    (whole,) = files = [Entry(file, "log.csv")]
    count = (n - window) // hop + 1
    if count < 1:
        assert in_blocks(files, source, apart=False) == in_blocks(files, source, apart=True) == [whole]
        return
    spans = [entry.windows for entry in in_blocks(files, source, apart=False)]
    covered = np.zeros(count, int)
    for start, stop in spans:
        covered[start:stop] += 1
    assert covered.min() == 1
    assert {stop - start for start, stop in spans} == {min(count, (max(window, block) - window) // hop + 1)}
    apart = [entry.windows for entry in in_blocks(files, source, apart=True)]
    for (_, stop), (start, _) in pairwise(apart):
        assert start * hop >= (stop - 1) * hop + window  # the rows of one end before those of the next begin
        assert start > stop  # and a window lies between


def test_a_single_long_log_is_cut_by_itself_by_its_clock(tmp_path):
    (entry,), source = settings_for(log(tmp_path, 10_080, seconds=60))
    assert (source.rate, source.block, source.window) == (1 / 60, 7200, 720)
    blocks = in_blocks([entry], source, apart=True)
    assert len(blocks) == 76
    assert blocks[1].name == "log.csv, 2026-01-01 02:12:00–04:11:00"
    assert cutting(source, 1, 76).startswith(
        "1 file is cut into 76 blocks of 2 h, with gaps of 12 min that are not used"
    )
    without = in_blocks(*settings_for(log(tmp_path, 10_080)), apart=True)
    assert without[1].name == "log.csv, rows 111–210"


def test_the_rate_that_is_promised_decides_how_many_blocks_there_are(tmp_path):
    file = log(tmp_path, 20_000)
    for min_groups in (9, 19, 99):
        assert len(in_blocks(*settings_for(file, min_groups), apart=True)) >= 4 * min_groups


@pytest.mark.parametrize(("n_files", "n", "given"), [(2, 10_000, {}), (1, 500, {}), (1, 10_000, {"block": "none"})])
def test_several_files_a_short_one_and_those_of_who_says_none_are_not_cut(tmp_path, n_files, n, given):
    for number in range(n_files):
        log(tmp_path, n, f"{number}.csv")
    source = source_of(tmp_path, columns=("value",), **given)
    files, _ = source.entries(tmp_path)
    source = with_blocks(resolved(source, files), files, 19)
    assert (source.block, in_blocks(files, source, apart=False)) == (None, files)


def test_a_block_holds_the_windows_of_its_own_rows_and_lacks_those_without_values(tmp_path):
    file = log(tmp_path, 100)
    lines = file.read_text().splitlines()
    lines[1 + 45] = ""  # within the third block
    lines[1 + 60 : 1 + 80] = ["-"] * 20
    file.write_text("\n".join(lines).replace("\n\n", "\n-\n") + "\n")
    files, source = settings_for(file, block=20, window=5, missing="drop-window")
    found = {entry.name: inputs for entry, inputs in each(in_blocks(files, source, apart=False), source)}
    assert [len(inputs) for name, inputs in found.items() if "61" not in name] == [4, 4, 3, 4]
    assert found["log.csv, rows 61–80"] == "a value is missing in each of its 4 windows"
    assert_array_equal(found["log.csv, rows 41–60"][:, 0, 0].round(), [40, 50, 55])


def test_a_block_is_anomalous_if_one_of_its_own_rows_is_marked(tmp_path):
    (entry,), source = settings_for(log(tmp_path, 100, marks=[25, 26, 99]), block=20, window=5)
    assert (entry.anomalous, entry.truth) == (True, "anomaly")
    blocks = in_blocks([entry], source, apart=False)
    assert [block.anomalous for block in blocks] == [False, True, False, False, True]


@pytest.mark.parametrize(("hop", "step"), [(10, 60), (5, 55)])
def test_blocks_of_a_stream_are_those_of_a_file(tmp_path, hop, step):
    _, source = settings_for(log(tmp_path, 600), block=60, window=10, hop=hop)
    assert block_samples(source) == (60, step)
    spans = [entry.windows for entry in in_blocks([Entry(tmp_path / "log.csv", "log.csv")], source, apart=False)]
    assert [start * hop for start, _ in spans[:-1]] == [*range(0, step * (len(spans) - 1), step)]


def test_recordings_are_cut_too_and_positions_read_like_a_clock(tmp_path):
    record(tmp_path, "long.wav", 300, 0, seconds=10)
    source = source_of(tmp_path, block="4s", window="500ms")
    files, _ = source.entries(tmp_path)
    source = with_blocks(resolved(source, files), files, 19)
    blocks = in_blocks(files, source, apart=False)
    assert [block.name for block in blocks] == [
        f"long.wav, {span}" for span in ("0:00:00–0:00:04", "0:00:04–0:00:08")
    ] + ["long.wav, 0:00:06–0:00:10"]
    assert source.window_samples() == (RATE // 2, RATE // 2)


def test_a_block_shorter_than_a_window_is_refused(tmp_path):
    with pytest.raises(InputError, match="--block is 10 samples long, shorter than a window of 20"):
        settings_for(log(tmp_path, 100), block=10, window=20)


def test_a_file_that_cannot_be_read_stays_whole_so_that_reading_names_the_reason(tmp_path):
    _, source = settings_for(log(tmp_path, 100), block=20, window=5)
    gone = Entry(tmp_path / "gone.csv", "gone.csv")
    assert in_blocks([gone], source, apart=True) == [gone]


def test_a_block_was_learnt_from_if_one_of_its_windows_was(tmp_path, fitted):
    files, source = settings_for(log(tmp_path, 200), block=20, window=5)
    blocks = in_blocks(files, source, apart=False)
    marked = [learnt_mark(blocks[2]), learnt_mark(blocks[5])]
    learnt = learnt_by(type(fitted)(**vars(fitted) | {"source": fitted.source | {"learnt": marked}}))
    assert [learnt(block) for block in blocks] == [number in (2, 5) for number in range(10)]
    assert learnt(files[0])
    whole = learnt_by(type(fitted)(**vars(fitted) | {"source": fitted.source | {"learnt": [learnt_mark(files[0])]}}))
    assert all(map(whole, blocks))

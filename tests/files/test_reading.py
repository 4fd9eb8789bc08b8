"""Files read with the settings of a data set."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from problems import listed, record

from oddkind import Entry, InputError, Source, source_of
from oddkind.files.reading import each, kept_windows, read
from oddkind.files.source import resolved


def test_files_come_back_in_order_however_many_threads_read_them(tmp_path):
    files = []
    for number in range(100):
        np.save(tmp_path / f"{number}.npy", np.full(3, number, np.float32))
        files.append(Entry(tmp_path / f"{number}.npy", str(number)))
    files[7] = Entry(tmp_path / "gone.npy", "gone")
    found = [*each(files, Source(kind="arrays"))]
    assert [entry for entry, _ in found] == files
    assert "cannot" in found[7][1] or "No such file" in found[7][1]
    assert [int(inputs[0, 0]) for number, (_, inputs) in enumerate(found) if number != 7] == [
        number for number in range(100) if number != 7
    ]


def test_a_table_is_cut_into_windows(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n" + "\n".join(f"{row},{-row}" for row in range(10)))
    file = [Entry(tmp_path / "a.csv", "a.csv")]

    def inputs(**settings):
        source = resolved(Source(kind="tables", **settings), file)
        return read(file, source).inputs

    assert inputs().shape == (1, 2, 10)
    assert_array_equal(inputs(window=4, hop=3)[:, 0], [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]])
    assert_array_equal(inputs(window=2, sample_rate=2)[:, 1], [[0, -1, -2, -3], [-4, -5, -6, -7]])
    with pytest.raises(InputError, match=r"a\.csv: has 10 rows, fewer than the 11 rows of a window"):
        inputs(window=11)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,inf\n")
    with pytest.raises(InputError, match=r"a\.csv: column 'b', row 2: the value is infinite"):
        inputs()


def test_windows_of_sound_become_vectors_with_the_label_and_the_name_of_their_file(data):
    files = listed(data, "test")[:3]
    source = resolved(source_of(data), files)
    front_end = source.make_front_end()
    samples = read(files, source)
    assert samples.inputs.shape == (6, len(front_end.bands()))
    assert samples.files.tolist() == samples.groups.tolist() == [entry.name for entry in files for _ in range(2)]
    assert samples.labels.tolist() == [entry.label for entry in files for _ in range(2)]
    for number, (_, inputs) in enumerate(each(files, source)):
        assert_allclose(inputs, samples.inputs[2 * number : 2 * number + 2], rtol=1e-6)


def test_arrays_of_another_type_are_refused(tmp_path):
    for name in ("a.npy", "b.npy", "c.npy"):
        np.save(tmp_path / name, np.zeros(4, np.uint8 if name[0] == "b" else np.float32))
    source, refused = source_of(tmp_path), {}
    files = source.entries(tmp_path)[0]
    assert len(read(files, source, on_refused=refused.__setitem__)) == 2
    reason = "gives uint8 samples of shape (4,); the files before it give float32 samples of shape (4,)"
    assert refused == {"b.npy": reason}
    with pytest.raises(InputError, match=r"^b\.npy: gives uint8 samples"):
        read(files, source)
    with pytest.raises(InputError, match="none of 1 arrays can be read"):
        read([Entry(tmp_path / "gone.npy", "gone.npy")], source, on_refused=refused.__setitem__)


def test_files_that_cannot_be_read_are_counted_by_reason_with_an_example(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.wav").write_bytes(b"?")
        (tmp_path / f"{number}.csv").write_bytes(b"\xff\xfe\x00")
        record(tmp_path, f"short/{number}.wav", 300, number, seconds=1)
    for kind, files in (("sounds", tmp_path), ("tables", tmp_path)):
        source = source_of(files, kind=kind)
        listed = [entry for entry in source.entries(files)[0] if "short" not in entry.name]
        with pytest.raises(InputError, match=rf"none of 9 {kind} can be read; 0\.\w+ \(and 8 other f") as refusal:
            resolved(source, listed)
        assert "1.wav" not in str(refusal.value)
        assert "1.csv" not in str(refusal.value)
    source = source_of(tmp_path / "short", window=3)
    files = source.entries(tmp_path / "short")[0]
    source = resolved(source, files)
    with pytest.raises(InputError, match=r"9 sounds can be read; 0\.wav \(and 8 other files\): is 1\.000 s long"):
        read(files, source, on_refused=lambda *_: None)


def test_pictures_without_groups_are_independent_and_files_of_one_group_are_not(tmp_path):
    for number in range(3):
        Image.fromarray(np.full((9, 9), number, np.uint8)).save(tmp_path / f"{number}.png")
    files = [Entry(tmp_path / f"{number}.png", str(number), "tile") for number in range(3)]
    source = resolved(Source(kind="pictures", size=(9, 9)), files)
    assert read(files, source).groups is None
    files[0] = Entry(files[0].path, "0", None, group="session")
    samples = read(files, source)
    assert samples.groups.tolist() == ["session", "1", "2"]
    assert samples.labels.tolist() == ["", "tile", "tile"]  # that of one file is not known
    assert samples.anomalous is None
    assert samples.inputs.shape == (3, 1, 9, 9)


GAP = "a,b\n0,1\n-,2\n4,3\n3,4\n2,5\n1,NULL\n"


@pytest.mark.parametrize(
    ("missing", "window", "wanted"),
    [
        ("interpolate", None, [[[0, 2, 4, 3, 2, 1], [1, 2, 3, 4, 5, 5]]]),
        ("drop-window", 2, [[[4, 3], [3, 4]]]),
        (None, 2, r"a\.csv: column 'a', row 2: the value is missing \(of 12 values 2 are\); --missing drop-window"),
        ("drop-window", None, "a value is missing in each of its 1 windows"),
    ],
)
def test_missing_values_are_refused_left_out_or_interpolated(tmp_path, missing, window, wanted):
    (tmp_path / "a.csv").write_text(GAP)
    files = [Entry(tmp_path / "a.csv", "a.csv")]
    source = resolved(source_of(tmp_path, missing=missing, window=window), files)
    assert source.columns == ("a", "b")
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            read(files, source)
    else:
        assert_allclose(read(files, source).inputs, wanted)
    assert (
        kept_windows(
            Entry(tmp_path / "a.csv", "a.csv"), source_of(tmp_path, columns=("a", "b"), missing="drop-window", window=2)
        )
        == 1
    )


def test_a_sensor_without_values_is_not_interpolated(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,-\n2,-\n")
    source = source_of(tmp_path, missing="interpolate", columns=("a", "b"))
    with pytest.raises(InputError, match="column 'b' has no values to interpolate between"):
        read([Entry(tmp_path / "a.csv", "a.csv")], source)


def test_settings_of_older_models_mean_what_they_meant(tmp_path):
    (tmp_path / "a.csv").write_text("time,a\n0,1.5\n1,2.5\n")
    source = Source.model_validate({"kind": "tables", "columns": ["time", "a"]})
    assert_allclose(read([Entry(tmp_path / "a.csv", "a")], source).inputs, [[[0, 1], [1.5, 2.5]]])

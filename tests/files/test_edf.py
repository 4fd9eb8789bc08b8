import numpy as np
import pytest
from edfio import Bdf, BdfSignal, Edf, EdfAnnotation, EdfSignal
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import InputError, check_files, source_of
from oddkind.files import npy
from oddkind.files.edf import N_RECORDS
from oddkind.files.npy import read_array, read_recording, sample_rate_in
from oddkind.files.reading import read
from oddkind.files.source import resolved

RATE = 200


def save(file, signals, **settings):
    """Write signals, pairs of rate and values from −1 to 1, by label."""
    Whole, Signal = (Bdf, BdfSignal) if file.suffix == ".bdf" else (Edf, EdfSignal)
    made = [Signal(values, rate, label=name, physical_range=(-1, 1)) for name, (rate, values) in signals.items()]
    Whole(made, **settings).write(file)


@pytest.fixture
def waves(draw):
    return draw.uniform(-1, 1, size=(2, 5 * RATE))


@pytest.mark.parametrize(("suffix", "error"), [("edf", 2e-5), ("bdf", 2e-7)])
@pytest.mark.parametrize("annotations", [None, (EdfAnnotation(1.5, None, "a knock"),)])
def test_the_signals_with_the_highest_rate_are_a_recording(tmp_path, waves, suffix, error, annotations):
    file = tmp_path / f"a.{suffix}"
    slow = (1, np.linspace(0, 1, 5))
    save(file, {"C4": (RATE, waves[1]), "C3": (RATE, waves[0]), "Temp": slow}, annotations=annotations)
    recording, left_out = read_recording(file)
    assert recording.dtype == np.float32
    assert_allclose(recording, waves.T, atol=error)
    assert left_out == ["Temp"]
    assert sample_rate_in(file) == RATE
    files, _ = source_of(tmp_path).entries(tmp_path)
    settings = resolved(source_of(tmp_path, channels=(1,)), files)
    assert (settings.kind, settings.sample_rate) == ("sounds", RATE)
    heard = settings.make_front_end()(recording[:, 0].reshape(5, RATE))
    assert_array_equal(read(files, settings).inputs, heard)
    kinds = {issue["kind"]: issue["message"] for issue in check_files(files, source_of(tmp_path))["issues"]}
    assert f"{file.name} (Temp)" in kinds["left out"]
    assert "resampled" not in kinds


def test_one_signal_is_a_sample_and_labels_may_repeat(tmp_path, waves):
    save(tmp_path / "a.edf", {"C3": (RATE, waves[0])})
    assert_allclose(read_array(tmp_path / "a.edf"), waves[0], atol=2e-5)
    save(tmp_path / "a.edf", {"C3": (RATE, waves[0]), "C4": (RATE, waves[1])})
    content = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "a.edf").write_bytes(content.replace(b"C4", b"C3", 1))
    with pytest.raises(InputError, match=r"holds C3 \(1000,\), C3 \(2\) \(1000,\); a file must hold one array"):
        read_array(tmp_path / "a.edf")


def test_a_signal_without_a_range_is_left_out(tmp_path, waves):
    save(tmp_path / "a.edf", {"C3": (RATE, waves[0]), "C4": (RATE, waves[1])})
    content = bytearray((tmp_path / "a.edf").read_bytes())
    physical_max = 256 + 2 * (16 + 80 + 8 + 8)
    content[physical_max : physical_max + 8] = b"-1      "
    (tmp_path / "a.edf").write_bytes(content)
    recording, left_out = read_recording(tmp_path / "a.edf")
    assert_allclose(recording[:, 0], waves[1], atol=2e-5)
    assert left_out == ["C3"]


def test_a_recording_that_was_not_closed_ends_with_the_file_and_what_follows_is_no_loss(tmp_path, waves):
    save(tmp_path / "a.edf", {"C3": (RATE, waves[0])}, data_record_duration=1)
    whole = read_array(tmp_path / "a.edf")
    content = bytearray((tmp_path / "a.edf").read_bytes())
    (tmp_path / "a.edf").write_bytes(content + b"more")
    assert_array_equal(read_array(tmp_path / "a.edf"), whole)
    content[N_RECORDS] = b"-1      "
    (tmp_path / "a.edf").write_bytes(content[:-10])
    assert_array_equal(read_array(tmp_path / "a.edf"), whole[: 4 * RATE])


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_a_file_that_is_cut_off_or_contradicts_itself_is_refused(tmp_path, waves, suffix, monkeypatch):
    save(tmp_path / f"a.{suffix}", {"C3": (RATE, waves[0])}, data_record_duration=1)
    content = (tmp_path / f"a.{suffix}").read_bytes()

    def with_field(start, text):
        return content[:start] + text + content[start + len(text) :]

    sizes = 256 + 216
    for damaged, reason in (
        (content[:-1], "is incomplete: its header announces 5 records, but there are 4"),
        (content[:400], "is incomplete|is damaged"),
        (with_field(236, b"0       "), "has no samples"),
        (with_field(236, b"-7      "), "its header contradicts itself"),
        (with_field(244, b"nan     "), "its header contradicts itself"),
        (with_field(244, b"0       "), "its header contradicts itself"),
        (with_field(252, b"99  "), "its header contradicts itself"),
        (with_field(sizes, b"0       "), "a signal has no samples in a record"),
        (with_field(sizes, b"2e9     "), "is damaged, or not a file of EDF or BDF"),
        (with_field(sizes, b"99999999"), "is incomplete"),
        (b"text", "is damaged, or not a file of EDF or BDF"),
        (b"", "is damaged, or not a file of EDF or BDF"),
    ):
        (tmp_path / f"b.{suffix}").write_bytes(damaged)
        with pytest.raises(InputError, match=reason):
            read_recording(tmp_path / f"b.{suffix}")
        with pytest.raises(InputError, match=reason):
            sample_rate_in(tmp_path / f"b.{suffix}")
    monkeypatch.setattr(npy, "MAX_UNPACKED", 3000)
    with pytest.raises(InputError, match="unpacks to more than 3,000 bytes"):
        read_recording(tmp_path / f"a.{suffix}")


def test_gaps_in_time_are_refused(tmp_path, waves):
    save(tmp_path / "a.edf", {"C3": (RATE, waves[0])}, data_record_duration=1, annotations=())
    content = (tmp_path / "a.edf").read_bytes()
    disjoint = content.replace(b"EDF+C", b"EDF+D", 1)
    (tmp_path / "a.edf").write_bytes(disjoint)
    assert_allclose(read_array(tmp_path / "a.edf"), waves[0], atol=2e-5)
    (tmp_path / "a.edf").write_bytes(disjoint.replace(b"+3\x14\x14", b"+9\x14\x14", 1))
    with pytest.raises(InputError, match="has gaps in time"):
        read_recording(tmp_path / "a.edf")


def test_annotations_in_latin_1_do_not_matter(tmp_path, waves):
    save(tmp_path / "a.edf", {"C3": (RATE, waves[0])}, annotations=(EdfAnnotation(1.5, None, "Größe"),))
    content = (tmp_path / "a.edf").read_bytes()
    (tmp_path / "a.edf").write_bytes(content.replace("Größe".encode(), "Größe".encode("latin-1") + bytes(2)))
    assert_allclose(read_array(tmp_path / "a.edf"), waves[0], atol=2e-5)


@pytest.mark.parametrize("suffix", ["edf", "bdf"])
def test_a_damaged_file_is_read_or_refused_but_breaks_nothing(tmp_path, waves, suffix, draw):
    notes = (EdfAnnotation(1.5, None, "a knock"),)
    save(
        tmp_path / f"a.{suffix}",
        {"C3": (RATE, waves[0]), "T": (1, np.ones(5))},
        data_record_duration=1,
        annotations=notes,
    )
    content = (tmp_path / f"a.{suffix}").read_bytes()
    refused = 0
    for _ in range(500):
        damaged = bytearray(content)
        for place in draw.integers(8, 1024, size=draw.integers(1, 4)):
            damaged[place] = draw.integers(256) if draw.random() < 0.5 else draw.integers(43, 58)
        (tmp_path / f"b.{suffix}").write_bytes(damaged)
        try:
            read_recording(tmp_path / f"b.{suffix}")
            sample_rate_in(tmp_path / f"b.{suffix}")
        except InputError:
            refused += 1
    assert refused > 50

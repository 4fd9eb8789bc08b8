import ast
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat

from oddkind import Entry, InputError, check_files, source_of
from oddkind.files import npy
from oddkind.files.npy import read_array, read_npy, read_recording
from oddkind.files.reading import read
from oddkind.files.source import resolved


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
        (np.array(["a"]), "a sample must hold numbers"),
        (np.float64(3), "a sample must be a vector"),
        (np.zeros((2, 0)), "a sample must be a vector"),
        (np.array([1, np.nan]), "NaN"),
        (np.array([1e300]), "too large"),
    ],
)
def test_a_file_that_is_not_an_array_of_numbers_is_refused(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=reason):
        read_array(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_text("text")
    with pytest.raises(InputError, match="without pickle"):
        read_array(tmp_path / "b.npy")


def test_one_array_of_a_compressed_or_a_matlab_file_is_a_sample(tmp_path, draw):
    array = draw.normal(size=(2, 50)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", signal=array)
    savemat(tmp_path / "a.mat", {"signal": array})
    for name in ("a.npz", "a.mat"):
        assert_array_equal(read_array(tmp_path / name), array)
    savemat(tmp_path / "two.mat", {"a": array, "b": array[:1]})
    with pytest.raises(InputError, match=r"holds a \(2, 50\), b \(1, 50\); .* --sample-rate"):
        read_array(tmp_path / "two.mat")


def test_files_that_are_damaged_or_too_large_are_refused(tmp_path, draw, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=draw.normal(size=500), b=np.zeros(500))
    savemat(tmp_path / "a.mat", {"a": draw.normal(size=500)}, do_compression=True)
    for name in ("a.npz", "a.mat"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / "b").write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match=r"is not an array that|is damaged, or not a file of MATLAB"):
            read_recording(tmp_path / "b")
    with pytest.raises(InputError, match="cannot be read"):
        read_recording(tmp_path / "gone.mat")
    savemat(tmp_path / "c.mat", {"rpm": 1797, "name": "bearing"})
    with pytest.raises(InputError, match=r"holds no signal, .* but rpm \(1, 1\)"):
        read_recording(tmp_path / "c.mat")
    np.savez(tmp_path / "pickled.npz", a=np.array([{}]))
    with pytest.raises(InputError, match="without pickle"):
        read_recording(tmp_path / "pickled.npz")
    monkeypatch.setattr(npy, "MAX_UNPACKED", 5000)
    with pytest.raises(InputError, match="unpacks to more than 5,000 bytes"):
        read_recording(tmp_path / "a.npz")


def test_the_longest_signals_of_a_file_are_its_channels(tmp_path, draw):
    ends = draw.normal(size=(2, 300, 1))
    savemat(tmp_path / "a.mat", {"X097_DE_time": ends[0], "X097_FE_time": ends[1], "X097RPM": 1797, "t": ends[0, :9]})
    recording, left_out = read_recording(tmp_path / "a.mat")
    assert_array_equal(recording, ends[..., 0].T.astype(np.float32))
    assert left_out == ["X097RPM", "t"]
    for array, n_channels in ((ends[0, :, 0], 1), (ends[..., 0], 2), (ends[..., 0].T, 2)):
        np.save(tmp_path / "a.npy", array)
        assert_array_equal(read_recording(tmp_path / "a.npy")[0], recording[:, :n_channels])


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat"])
def test_arrays_at_a_sample_rate_are_recordings(tmp_path, draw, suffix):
    signal = 30 * draw.normal(size=(2, 9000)).astype(np.float32)  # in m/s², beyond the full scale of a sound
    file = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(file, signal)
    elif suffix == "npz":
        np.savez(file, drive=signal[0], fan=signal[1], speed=1797.0)
    else:
        savemat(file, {"drive": signal[0], "fan": signal[1], "speed": 1797.0})
    settings = source_of(tmp_path, sample_rate=4000, front_end=("spectrum",), channels=(2,))
    assert settings.kind == "sounds"
    files, refused = settings.entries(tmp_path)
    assert ([entry.name for entry in files], refused) == ([file.name], {})
    settings = resolved(settings, files)
    front_end = settings.make_front_end()
    inputs = read(files, settings).inputs
    assert_allclose(inputs, front_end(signal[1, :8000].reshape(2, 4000)), rtol=1e-6)
    found = check_files(files, source_of(tmp_path, sample_rate=4000))
    kinds = {issue["kind"]: issue["message"] for issue in found["issues"]}
    assert "clipped" not in kinds
    assert "resampled" not in kinds
    assert "--channels chooses" in kinds["averaged"]
    assert ("left out" in kinds) == (suffix != "npy")
    assert "speed" in kinds.get("left out", "speed")
    with pytest.raises(InputError, match=r"holds no sample rate; name it with --sample-rate"):
        resolved(source_of(tmp_path, kind="sounds"), files)
    with pytest.raises(InputError, match=r"--window does not apply to arrays\. Signals .* --sample-rate"):
        source_of(tmp_path, window=1.0)


def test_arrays_next_to_sounds_are_not_recordings_and_nan_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([0.0, np.nan] * 200))
    settings = source_of(tmp_path, sample_rate=100)
    files = settings.entries(tmp_path)[0]
    settings = resolved(settings, files)
    with pytest.raises(InputError, match=r"NaN or infinite at 0\.010 s"):
        read(files, settings)
    np.save(tmp_path / "wide.npy", np.zeros((2000, 1500)))
    with pytest.raises(InputError, match="has 1500 channels of 2000 values"):
        read([Entry(tmp_path / "wide.npy", "wide")], settings)
    (tmp_path / "b.wav").write_bytes(b"")
    assert [entry.name for entry in source_of(tmp_path, kind="sounds").entries(tmp_path)[0]] == ["b.wav"]


def test_bits_that_are_no_number_are_refused_without_a_warning(tmp_path):
    np.save(tmp_path / "a.npy", np.array([0x7FF0000000000001, 0], np.uint64).view(float))  # a signalling NaN
    with pytest.raises(InputError, match="NaN"):
        read_array(tmp_path / "a.npy")
    assert np.isnan(read_recording(tmp_path / "a.npy")[0][0])


@given(
    hnp.arrays(st.sampled_from(["<f8", ">f4", "<i2", "|u1", "|b1", "<f2"]), hnp.array_shapes(min_dims=0, max_dims=4))
)
def test_npy_holds_the_same_array(array):
    for order in (np.ascontiguousarray, np.asfortranarray):
        content = io.BytesIO()
        np.save(content, order(array))
        found = read_npy(content.getvalue())
        assert_array_equal(found, order(array))
        assert found.dtype == array.dtype


@given(st.binary(max_size=200), st.integers(0, 200))
def test_npy_that_is_damaged_is_refused(garbage, at):
    content = io.BytesIO()
    np.save(content, np.arange(10.0))
    damaged = bytearray(content.getvalue())
    damaged[at : at + len(garbage)] = garbage
    try:
        found = read_npy(bytes(damaged))
    except InputError:
        return
    assert found.nbytes <= len(damaged)


@pytest.mark.parametrize("failures", [1, 4])
def test_a_file_is_not_blamed_for_threads_that_parse_headers_at_the_same_time(monkeypatch, tmp_path, failures):
    np.save(tmp_path / "a.npy", np.arange(5.0))
    content, tries = (tmp_path / "a.npy").read_bytes(), []

    def literal_eval(text):
        tries.append(text)
        if len(tries) <= failures:
            raise SystemError("AST constructor recursion depth mismatch (before=51, after=48)")
        return parse(text)

    parse = ast.literal_eval
    monkeypatch.setattr(ast, "literal_eval", literal_eval)
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4]
    tries.clear()
    assert read_npy(content).tolist() == [0, 1, 2, 3, 4]
    assert len(tries) == failures + 1

import os
import zlib

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from oddkind import InputError, source_of
from oddkind.files import npy
from oddkind.files.npy import read_array, read_recording
from oddkind.files.reading import read
from oddkind.files.source import resolved


def save_v73(file, **variables):
    """Write what `save -v7.3` of MATLAB does: reversed axes, and a name for each class."""
    with h5py.File(file, "w", userblock_size=512) as content:
        for name, (kind, array) in variables.items():
            packed = {"chunks": array.T.shape, "compression": "gzip"} if array.size > 1 else {}
            content.create_dataset(name, data=array.T, **packed).attrs["MATLAB_class"] = np.bytes_(kind)
        content.create_group("#refs#")
        content.create_group("structure")["x"] = [1.0]
    with file.open("r+b") as content:
        content.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + bytes([0, 2]) + b"IM")


@pytest.fixture
def ends(draw):
    return draw.normal(size=(2, 300))


def test_matlab_7_3_is_read_as_matlab_shows_it(tmp_path, ends):
    text, empty = np.array([[98, 99]], np.uint16), np.array([[0, 0]], np.uint64)
    save_v73(tmp_path / "a.mat", de=("double", ends), rpm=("double", np.array([[1797.0]])), who=("char", text))
    with h5py.File(tmp_path / "a.mat", "r+") as content:
        content["none"] = empty
        content["none"].attrs["MATLAB_class"] = np.bytes_("double")
        content["none"].attrs["MATLAB_empty"] = np.uint8(1)
    recording, left_out = read_recording(tmp_path / "a.mat")
    assert_array_equal(recording, ends.T.astype(np.float32))
    assert left_out == ["none", "rpm", "structure", "who"]
    with pytest.raises(InputError, match=r"holds de \(2, 300\), .*; a file must hold one array"):
        read_array(tmp_path / "a.mat")


@pytest.mark.parametrize("suffix", ["h5", "hdf5", "mat"])
@pytest.mark.parametrize("dtype", ["f8", ">f4", "i2", "u1", "?"])
@pytest.mark.parametrize(
    "packed", [{}, {"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf"}]
)
def test_one_data_set_is_a_sample(tmp_path, draw, suffix, dtype, packed):
    array = draw.integers(100, size=(3, 40)).astype(dtype)
    with h5py.File(tmp_path / f"a.{suffix}", "w") as content:
        content.create_dataset("a", data=array, chunks=(2, 20), **packed)
    found = read_array(tmp_path / f"a.{suffix}")
    assert found.dtype == (np.uint8 if dtype == "u1" else np.float32)
    assert_array_equal(found, array.astype(found.dtype))


def test_hdf5_at_a_sample_rate_is_a_recording_and_what_is_no_signal_is_named(tmp_path, ends):
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content["drive"], content["fan"], content["speed"] = ends[0], ends[1], 1797.0
        content["texts"], content["group/x"], content["complex"] = ["a", "b"], ends, 1j * ends
        content["nothing"], content["pair"] = h5py.Empty("f8"), np.zeros(9, [("a", "f8"), ("b", "f8")])
        content["reference"] = np.array([content["drive"].ref], h5py.ref_dtype)
        content["alias"] = h5py.SoftLink("/drive")
    recording, left_out = read_recording(tmp_path / "a.h5")
    assert_array_equal(recording, ends.T.astype(np.float32))
    assert left_out == ["alias", "complex", "group", "nothing", "pair", "reference", "speed", "texts"]
    settings = source_of(tmp_path, sample_rate=100)
    files, _ = settings.entries(tmp_path)
    settings = resolved(settings, files)
    heard = settings.make_front_end()(recording.mean(1).reshape(3, 100))
    assert_array_equal(read(files, settings).inputs, heard)


def external(content):
    content["a"] = h5py.ExternalLink("other.h5", "/a")


def outside(content):
    content.create_dataset("a", shape=9, dtype="f8", external=[("raw.bin", 0, 72)])


def virtual(content):
    layout = h5py.VirtualLayout(9, "f8")
    layout[:] = h5py.VirtualSource("other.h5", "a", 9)
    content.create_virtual_dataset("a", layout)


def unknown_filter(content):
    content.create_dataset("a", data=np.arange(100), chunks=(50,), scaleoffset=0)


def too_large(content):
    content.create_dataset("a", shape=10**9, dtype="f8")


def too_large_in_sum(content):
    for name in "abcdefgh":
        content.create_dataset(name, shape=80_000_000, dtype="f8")


def too_large_chunks(content):
    content.create_dataset("a", shape=9, dtype="f8", chunks=(535_000_000,), maxshape=(None,))


def packed_twice(content):
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((50,))
    settings.set_deflate(1)
    settings.set_deflate(1)
    h5py.h5d.create(content.id, b"a", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((100,)), settings)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (external, "a is a link to another file, which is not followed"),
        (outside, "a is stored in another file, which is not read"),
        (virtual, "a is stored in another file, which is not read"),
        (unknown_filter, "a is packed with the HDF5 filter 6; gzip, shuffle, fletcher32, lzf are read"),
        (too_large, "unpacks to more than 4,294,967,296 bytes"),
        (too_large_in_sum, "unpacks to more than 4,294,967,296 bytes"),
        (too_large_chunks, r"a is stored in chunks of 4,280,000,000 bytes; at most 4,000,000,000 are read"),
        (packed_twice, "a is packed more than once"),
        (lambda content: None, "holds no signal, .* but no array"),
    ],
)
def test_what_leads_out_of_a_file_or_is_too_large_is_refused(tmp_path, monkeypatch, make, reason):
    if make is too_large_chunks:
        monkeypatch.setattr(npy, "MAX_UNPACKED", 4_000_000_000)
    with h5py.File(tmp_path / "a.h5", "w") as content:
        make(content)
    with pytest.raises(InputError, match=reason):
        read_recording(tmp_path / "a.h5")


@pytest.mark.parametrize("size", [400, 1_000_000])
def test_a_chunk_that_unpacks_to_more_than_it_should_is_refused(tmp_path, monkeypatch, size):
    with h5py.File(tmp_path / "a.h5", "w") as content:
        data = content.create_dataset("a", shape=50, dtype="f8", chunks=(50,), compression="gzip")
        data.id.write_direct_chunk((0,), zlib.compress(bytes(size)))
    monkeypatch.setattr(npy, "MAX_UNPACKED", 1000)
    if size == 400:
        assert not read_array(tmp_path / "a.h5").any()
    else:
        with pytest.raises(InputError, match="a has a chunk that is damaged or unpacks to more than its 400 bytes"):
            read_array(tmp_path / "a.h5")


def test_a_chunk_of_lzf_that_could_be_too_large_is_refused(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as content:
        content.create_dataset("a", data=np.zeros(500), chunks=(500,), compression="lzf")
    monkeypatch.setattr(npy, "MAX_UNPACKED", 4000)
    with pytest.raises(InputError, match="a has a chunk that is damaged or unpacks to more than its 4,000 bytes"):
        read_array(tmp_path / "a.h5")


def test_what_is_no_hdf5_is_refused(tmp_path):
    (tmp_path / "a.h5").write_text("text")
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(600))
    os.symlink("loop.h5", tmp_path / "loop.h5")
    for name, reason in (
        ("a.h5", "not a file of HDF5"),
        ("new.mat", "not a file of HDF5"),
        ("loop.h5", "cannot be read"),
    ):
        with pytest.raises(InputError, match=reason):
            read_recording(tmp_path / name)


def test_a_damaged_hdf5_file_is_read_or_refused_but_breaks_nothing(tmp_path, ends, draw):
    save_v73(tmp_path / "a.mat", de=("double", ends[:, :50]), rpm=("double", np.array([[1797.0]])))
    content = (tmp_path / "a.mat").read_bytes()
    refused = 0
    for number in range(300):
        damaged = bytearray(content)
        for place in draw.integers(512, len(content), size=draw.integers(1, 4)):
            damaged[place] = draw.integers(256)
        (tmp_path / "b.mat").write_bytes(damaged[: draw.integers(len(content)) if number % 5 == 0 else None])
        try:
            read_recording(tmp_path / "b.mat")
        except InputError:
            refused += 1
    assert refused > 60

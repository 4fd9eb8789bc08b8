import struct

import numpy as np
import pytest
from nptdms import ChannelObject, GroupObject, RootObject, TdmsWriter
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import InputError, check_files, source_of
from oddkind.errors import ConcernWarning
from oddkind.files import npy
from oddkind.files.listing import kind_of
from oddkind.files.npy import read_array, read_recording, sample_rate_in
from oddkind.files.reading import read
from oddkind.files.source import resolved

RATE = 25600


def channel(name, values, rate=RATE, **properties):
    return ChannelObject("rig", name, np.asarray(values), ({"wf_increment": 1 / rate} if rate else {}) | properties)


def save(file, *channels, **more):
    with TdmsWriter(file) as writer:
        writer.write_segment([RootObject(more.get("root", {})), GroupObject("rig"), *channels])
        for values in more.get("then", ()):
            writer.write_segment([ChannelObject("rig", channels[0].channel, values)])


@pytest.fixture
def ends(draw):
    return draw.normal(size=(2, 2 * RATE)).astype(np.float32)


def test_channels_that_state_their_rate_are_a_recording(tmp_path, ends):
    file = tmp_path / "a.tdms"
    texts = ChannelObject("rig", "texts", ["a", "b"])
    times = ChannelObject("rig", "times", np.array(["2024-01-01"], "M8[us]"))
    save(file, channel("fan", ends[1]), channel("drive", ends[0]), channel("speed", [1797.0], None), texts, times)
    recording, left_out = read_recording(file)
    assert_array_equal(recording, ends.T)
    assert left_out == ["rig/speed", "rig/texts", "rig/times"]
    assert kind_of(tmp_path) == "sounds"
    files, _ = source_of(tmp_path).entries(tmp_path)
    settings = resolved(source_of(tmp_path, channels=(2,)), files)
    assert settings.sample_rate == RATE
    front_end = settings.make_front_end()
    expected = front_end(ends[1].reshape(2, RATE))
    assert_allclose(read(files, settings).inputs, expected, rtol=1e-6)
    kinds = {issue["kind"]: issue["message"] for issue in check_files(files, source_of(tmp_path))["issues"]}
    assert "a.tdms (rig/speed, rig/texts, rig/times)" in kinds["left out"]
    assert "--channels chooses" in kinds["averaged"]
    assert "resampled" not in kinds


def test_a_rate_that_is_given_resamples(tmp_path, ends):
    save(tmp_path / "a.tdms", channel("a", ends[0]))
    files, _ = source_of(tmp_path).entries(tmp_path)
    settings = resolved(source_of(tmp_path, sample_rate=12800), files)
    with pytest.warns(ConcernWarning, match="recordings at 25600 Hz are resampled to 12800 Hz"):
        assert len(read(files, settings)) == 2
    assert settings.window_samples() == (12800, 12800)


def test_without_a_rate_one_must_be_given(tmp_path, ends):
    save(tmp_path / "a.tdms", channel("a", ends[0], None))
    files, _ = source_of(tmp_path).entries(tmp_path)
    with pytest.raises(InputError, match="holds no sample rate; name it with --sample-rate"):
        resolved(source_of(tmp_path), files)
    settings = resolved(source_of(tmp_path, sample_rate=RATE), files)
    assert_array_equal(read(files, settings).inputs, settings.make_front_end()(ends[0].reshape(2, RATE)))


@pytest.mark.parametrize(
    ("rates", "named"), [((0.25, 0.25), "0.25"), ((100.0, 200.0), "100 and 200"), ((2e9, 1.0), "1 and 2e")]
)
def test_rates_that_cannot_be_used_are_refused(tmp_path, ends, rates, named):
    save(tmp_path / "a.tdms", channel("a", ends[0], rates[0]), channel("b", ends[1], rates[1]))
    with pytest.raises(InputError, match=f"has signals at {named}.* Hz; one whole number"):
        sample_rate_in(tmp_path / "a.tdms")


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_one_channel_of_several_segments_is_a_sample(tmp_path, draw, dtype):
    values = draw.integers(100, size=(2, 50)).astype(dtype)
    save(tmp_path / "a.tdms", channel("a", values[0]), then=[values[1]])
    files, _ = source_of(tmp_path, kind="arrays").entries(tmp_path)
    assert_array_equal(read_array(files[0].path), values.ravel())


def test_values_are_scaled_as_the_file_says(tmp_path):
    scale = {"NI_Scale[0]_Scale_Type": "Linear", "NI_Scale[0]_Linear_Slope": 0.5, "NI_Scale[0]_Linear_Y_Intercept": 3.0}
    scale |= {"NI_Number_Of_Scales": 1, "NI_Scale[0]_Linear_Input_Source": 0xFFFFFFFF, "my_Scale_Type": "x"}
    save(tmp_path / "a.tdms", channel("a", np.arange(9, dtype=np.int16), **scale))
    assert_array_equal(read_array(tmp_path / "a.tdms"), 3 + np.arange(9) / 2)


@pytest.mark.parametrize(
    "properties",
    [
        {"NI_Number_Of_Scales": 2**31 - 1},
        {"NI_Scale[123456789]_Scale_Type": "Linear"},
        {f"NI_Scale[{n}]_Scale_Type": "Add" for n in range(9)},
    ],
)
@pytest.mark.parametrize("of_root", [False, True])
def test_scales_that_would_not_end_are_refused(tmp_path, ends, properties, of_root):
    save(
        tmp_path / "a.tdms",
        channel("a", ends[0], **({} if of_root else properties)),
        root=properties if of_root else {},
    )
    with pytest.raises(InputError, match="has more than 100 scales, or more than 8 that join"):
        read_recording(tmp_path / "a.tdms")


def test_a_file_that_is_cut_off_or_too_large_is_refused(tmp_path, ends, monkeypatch):
    save(tmp_path / "a.tdms", channel("a", ends[0, :500]), then=[ends[1, :500]])
    content = (tmp_path / "a.tdms").read_bytes()
    second = content.rindex(b"TDSm")
    unfinished = content[: second + 12] + struct.pack("<Q", 2**64 - 1) + content[second + 20 :]
    for damaged, reason in (
        (content[:-1], f"is incomplete: its segments announce {len(content)} bytes, but there are {len(content) - 1}"),
        (content[: second + 9], f"is incomplete: it ends within a segment, at byte {second + 9}"),
        (unfinished, "did not finish its last segment"),
        (content + b"more", rf"is damaged, or not a file of TDMS \(there is no segment at byte {len(content)}\)"),
        (b"text", "not a file of TDMS"),
        (b"", "is damaged, or not a file of TDMS"),
    ):
        (tmp_path / "b.tdms").write_bytes(damaged)
        for look in (read_recording, sample_rate_in):
            with pytest.raises(InputError, match=reason):
                look(tmp_path / "b.tdms")
    monkeypatch.setattr(npy, "MAX_UNPACKED", 3000)
    with pytest.raises(InputError, match="unpacks to more than 3,000 bytes"):
        read_recording(tmp_path / "a.tdms")


def segment(kind, described):
    return b"TDSm" + struct.pack("<IIQQ", kind, 4713, len(described), len(described)) + described


def described(paths):
    objects = [struct.pack("<I", len(path)) + path.encode() + struct.pack("<II", 2**32 - 1, 0) for path in paths]
    return struct.pack("<I", len(objects)) + b"".join(objects)


@pytest.mark.parametrize("kind", ["metadata", "none"])
def test_segments_that_would_take_very_long_are_refused(tmp_path, kind):
    many = segment(6, described([f"/'g'/'{number}'" for number in range(10_000)]))
    more = segment(2, described([])) if kind == "metadata" else segment(0, b"")
    (tmp_path / "a.tdms").write_bytes(many + 1001 * more)
    with pytest.raises(InputError, match=r"describes 10,020,000 objects in its segments; at most 10,000,000 are read"):
        read_recording(tmp_path / "a.tdms")


def test_repeated_descriptions_are_counted_as_what_they_are(tmp_path, ends):
    same = [channel("it's", ends[0, :2]), channel("b", ends[1, :2])]
    with TdmsWriter(tmp_path / "a.tdms") as writer:
        for number in range(3000):
            writer.write_segment([same[0], channel("b", ends[1, :2], count=number)])
    assert read_recording(tmp_path / "a.tdms")[0].shape == (6000, 2)


def test_more_objects_than_are_described_are_refused(tmp_path):
    (tmp_path / "a.tdms").write_bytes(segment(6, struct.pack("<I", 9) + described(["/'g'"])[4:]))
    with pytest.raises(InputError, match="a segment announces 9 objects and describes 1"):
        read_recording(tmp_path / "a.tdms")


def test_an_index_next_to_a_file_is_not_read(tmp_path, ends):
    save(tmp_path / "a.tdms", channel("a", ends[0]))
    (tmp_path / "a.tdms_index").write_bytes(b"TDSh, of another file")
    assert_array_equal(read_array(tmp_path / "a.tdms"), ends[0])


def test_a_damaged_file_is_read_or_refused_but_breaks_nothing(tmp_path, ends, draw, capfd):
    save(tmp_path / "a.tdms", channel("a", ends[0, :20]), channel("b", ["x", "y"]), then=[ends[1, :20]])
    content = (tmp_path / "a.tdms").read_bytes()
    refused = 0
    for _ in range(500):
        damaged = bytearray(content)
        for place in draw.integers(4, len(content), size=draw.integers(1, 4)):
            damaged[place] = draw.integers(256)
        (tmp_path / "b.tdms").write_bytes(damaged)
        try:
            read_recording(tmp_path / "b.tdms")
            sample_rate_in(tmp_path / "b.tdms")
        except InputError:
            refused += 1
    assert refused > 100
    assert capfd.readouterr().err == ""

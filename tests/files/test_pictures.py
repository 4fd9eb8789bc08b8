import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from oddkind import Entry, InputError, Source, check_files, source_of
from oddkind.errors import ConcernWarning
from oddkind.files import pictures, reading
from oddkind.files.pictures import form_of, read_picture
from oddkind.files.source import resolved, warn_of_losses


def read(file, size=(12, 10), grey=True, **settings):
    return read_picture(file, size=size, grey=grey, **settings)[0]


def is_grey(file):
    return not form_of(file).coloured


def write_png(file, values):
    """Write 16 bits per value, [H, W, 1 to 4]: grey, grey and opacity, colours, colours and opacity."""
    height, width, n = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[n], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def write_tiff(file, values, order="<", compressed=False):
    """Write colours with 16 bits per value, [H, W, 3]."""
    height, width, n = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compressed else data
    fields = {256: width, 257: height, 258: 16, 259: 8 if compressed else 1, 262: 2, 273: 8, 277: n, 278: height}
    fields |= {279: len(data), 284: 1}
    data += bytes(len(data) % 2)
    bits = 8 + len(data)  # where the three numbers of bits are
    entries = b"".join(
        struct.pack(f"{order}HHII", tag, 3, 3, bits)
        if tag == 258
        else struct.pack(f"{order}HHII", tag, 4, 1, fields[tag])
        for tag in sorted(fields)
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", bits + 6)
    file.write_bytes(
        head + data + struct.pack(f"{order}HHH", 16, 16, 16)
        + struct.pack(f"{order}H", len(fields)) + entries + bytes(4)
    )  # fmt: skip


def listed(folder):
    return [Entry(path, path.name) for path in sorted(folder.iterdir())]


@pytest.fixture
def pixels(draw):
    return draw.integers(256, size=(12, 10, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_picture_is_read_as_it_was_written(tmp_path, pixels, suffix):
    file = tmp_path / f"타일 1.{suffix}"
    Image.fromarray(pixels).save(file)
    assert_array_equal(read(file, grey=False), np.moveaxis(pixels, -1, 0))
    assert not is_grey(file)
    Image.fromarray(pixels[..., 0]).save(file)
    assert_array_equal(read(file), pixels[None, ..., 0])
    assert_array_equal(read(file, grey=False), np.stack([pixels[..., 0]] * 3))
    assert is_grey(file)


def test_jpeg_grey_and_resized(tmp_path, draw):
    smooth = np.add.outer(np.linspace(0, 120, 64), np.linspace(0, 120, 48)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    expected = smooth.reshape(16, 4, 12, 4).mean((1, 3))
    assert_allclose(read(tmp_path / "a.jpg", size=(16, 12))[0], expected, atol=4)


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path):
    deep = (np.arange(120).reshape(12, 10) * 500).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert is_grey(tmp_path / "a.png")
    assert_array_equal(read(tmp_path / "a.png")[0], (deep / 257).astype(np.uint8))


def test_a_picture_is_turned_as_its_camera_says(tmp_path, pixels):
    orientation = Image.Exif()
    orientation[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=orientation)
    assert_array_equal(read(tmp_path / "a.png", size=(10, 12), grey=False), np.moveaxis(np.rot90(pixels, -1), -1, 0))


def test_a_file_that_is_not_a_complete_picture_is_refused(tmp_path, pixels, monkeypatch):
    whole = tmp_path / "a.png"
    Image.fromarray(pixels).save(whole)
    (tmp_path / "b.png").write_bytes(whole.read_bytes()[:-60])
    (tmp_path / "c.png").write_text("To whom it may concern")
    for name, reason in (("b.png", "is damaged"), ("c.png", "is not a picture"), ("gone.png", "cannot be read")):
        with pytest.raises(InputError, match=reason):
            read(tmp_path / name)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 119)
    with pytest.raises(InputError, match="has 10 × 12 pixels; at most 119 are read"):
        read(whole)


def test_a_bomb_is_refused_before_it_unpacks(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(InputError, match=r"is too large: .*400000000 pixels"):
        read(tmp_path / "bomb.png")


def test_the_limit_that_pillow_has_for_the_whole_process_is_left_as_it_is(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # as a program that uses oddkind may have set it
    with ThreadPoolExecutor(16) as pool:
        found = [*pool.map(lambda _: (read(tmp_path / "a.png"), Image.MAX_IMAGE_PIXELS), range(200))]
    assert {limit for _, limit in found} == {Image.MAX_IMAGE_PIXELS} == {10**6}
    for image, _ in found:
        assert_array_equal(image, found[0][0])


def test_a_picture_with_too_many_pixels_is_refused_whatever_limit_pillow_has(tmp_path, monkeypatch):
    Image.new("1", (9_000, 10_000)).save(tmp_path / "large.png")
    for limit in (10**9, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match="9000 × 10000 pixels; at most 89,000,000 are read"):
            read(tmp_path / "large.png")
        assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_sixteen_bits_of_a_png_are_kept(tmp_path, draw, n):
    values = draw.integers(4096, size=(12, 10, n))
    write_png(tmp_path / "a.png", values)
    form = form_of(tmp_path / "a.png")
    assert (form.coloured, form.deep, form.transparent) == (n > 2, True, n in (2, 4))
    shown = values[..., : n - (n in (2, 4))]
    assert (form.low, form.high) == (shown.min(), shown.max())
    found = read(tmp_path / "a.png", grey=n < 3, value_range=(0, 4095))
    assert found.dtype == np.float32
    assert_allclose(found, np.moveaxis(shown, -1, 0) / 4095, rtol=1e-6)
    assert len(np.unique(found)) > 80
    if n == 1:
        assert_array_equal(read(tmp_path / "a.png", grey=False, value_range=(0, 4095)), np.repeat(found, 3, axis=0))
    if n == 3:
        grey = (values @ [0.299, 0.587, 0.114]) / 4095
        assert_allclose(read(tmp_path / "a.png", value_range=(0, 4095))[0], grey, rtol=1e-5)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_a_coloured_tiff_are_kept(tmp_path, draw, order, compressed):
    values = draw.integers(4096, size=(12, 10, 3))
    write_tiff(tmp_path / "a.tif", values, order, compressed)
    found = read(tmp_path / "a.tif", grey=False, value_range=(0, 4095))
    assert_allclose(found, np.moveaxis(values, -1, 0) / 4095, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "top"), [(np.float32, 0.7), (np.float32, 3e4), (np.int32, 2**30), (np.uint16, 900)])
def test_the_range_is_that_of_the_data_set_and_is_kept(tmp_path, draw, dtype, top):
    values = (draw.uniform(0.1, 1, size=(4, 12, 10)) * top).astype(dtype)
    for number, image in enumerate(values):
        Image.fromarray(image).save(tmp_path / f"{number}.tif")
    settings = resolved(Source(kind="pictures", size=(12, 10)), listed(tmp_path))
    assert settings.grey
    assert settings.value_range == (values.min(), values.max())
    found = reading.read(listed(tmp_path), settings).inputs[:, 0]
    assert (found.min(), found.max()) == (0, 1)
    low, high = settings.value_range
    assert_allclose(found, (values - low) / (high - low), atol=1e-6)
    brighter = tmp_path / "later.tif"
    Image.fromarray((values[0] * 1.5).astype(dtype)).save(brighter)
    later = reading.read([Entry(brighter, "later")], settings).inputs
    assert_allclose(later[0, 0], ((values[0] * 1.5).astype(dtype) - low) / (high - low), rtol=1e-5)
    assert later.max() > 1  # not clipped


def test_pictures_of_another_depth_and_values_that_are_not_finite_are_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "8.png")
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.full((12, 10), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match="has 8 bits per value"):
        read(tmp_path / "8.png", value_range=(0, 4095))
    with pytest.raises(InputError, match=r"floating-point values; .* 8 bits"):
        read(tmp_path / "f.tif")
    with pytest.raises(InputError, match="NaN or infinite"):
        form_of(tmp_path / "nan.tif")


def test_a_picture_that_has_one_value_is_read(tmp_path):
    Image.fromarray(np.full((12, 10), 7, np.uint16)).save(tmp_path / "a.png")
    settings = resolved(Source(kind="pictures"), listed(tmp_path))
    assert settings.value_range == (7, 7)
    assert not reading.read(listed(tmp_path), settings).inputs.any()


def test_one_coloured_picture_keeps_the_colours_of_all(tmp_path, pixels):
    for name in ("a", "b", "c"):
        Image.fromarray(pixels if name == "b" else pixels[..., 0]).save(tmp_path / f"{name}.png")
    with pytest.warns(ConcernWarning, match=r"2 of 3 pictures have no colours, .* --grey .*: a.png, c.png"):
        assert resolved(Source(kind="pictures"), listed(tmp_path)).grey is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolved(Source(kind="pictures", grey=True), listed(tmp_path)).grey


def test_one_deep_picture_among_others_does_not_change_how_they_are_read(tmp_path, pixels):
    for name in ("a", "b", "c"):
        Image.fromarray(pixels[..., 0].astype(np.uint16 if name == "a" else np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.warns(ConcernWarning, match=r"1 of 3 pictures have more than 8 bits per value, .*: a.png"):
        assert resolved(Source(kind="pictures"), listed(tmp_path)).value_range is None


def test_check_says_what_is_dropped_and_reads_as_fit_does(tmp_path, pixels):
    for name in ("train/good", "test/good", "test/bad"):
        (tmp_path / name).mkdir(parents=True)
    glass = np.dstack([pixels, np.full((12, 10), 128, np.uint8)])
    Image.fromarray(pixels[..., 0]).save(tmp_path / "train/good/a.png")
    Image.fromarray(pixels[..., 1]).save(
        tmp_path / "train/good/b.tif", save_all=True, append_images=[Image.fromarray(pixels[..., 2])]
    )
    Image.fromarray(glass).save(tmp_path / "test/bad/c.png")
    Image.fromarray(np.dstack([pixels, np.full((12, 10), 255, np.uint8)])).save(tmp_path / "test/good/opaque.png")
    settings = source_of(tmp_path)
    found = check_files(settings.entries(tmp_path)[0], settings)
    assert found["settings"]["grey"] is True  # as fit, which learns from grey pictures alone
    messages = [issue["message"] for issue in found["issues"] if issue["kind"] in ("transparency", "pages", "colours")]
    assert [message.partition(" pictures")[0] for message in messages] == ["1 of 4", "1 of 4", "2 of 4"]
    assert "read as opaque: test/bad/c.png" in messages[0]
    assert "--pages all" in messages[1]
    assert "--no-grey keeps them: test/bad/c.png, test/good/opaque.png" in messages[2]
    Image.fromarray(pixels[..., 1]).save(tmp_path / "train/good/b.tif")
    (tmp_path / "test/bad/c.png").unlink()
    (tmp_path / "test/good/opaque.png").unlink()
    found = check_files(settings.entries(tmp_path)[0], settings)
    assert not {issue["kind"] for issue in found["issues"]} & {"transparency", "pages", "colours", "depth"}


def test_all_pages_are_samples_of_one_group(tmp_path, draw):
    values = draw.integers(4096, size=(3, 12, 10)).astype(np.uint16)
    first, *others = [Image.fromarray(page) for page in values]
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    Image.fromarray(values[0]).save(tmp_path / "b.tif")
    settings = resolved(Source(kind="pictures", size=(12, 10), pages="all"), listed(tmp_path))
    samples = reading.read(listed(tmp_path), settings)
    low, high = settings.value_range
    assert_allclose(samples.inputs[:3, 0], (values - low) / (high - low), atol=1e-6)
    assert samples.groups.tolist() == ["a.tif"] * 3 + ["b.tif"]
    with pytest.raises(InputError, match="--pages 'some'"):
        source_of(tmp_path, pages="some")


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp", "webp", "ppm"])
def test_a_damaged_picture_is_read_or_refused_but_breaks_nothing(tmp_path, draw, pixels, suffix):
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in draw.integers(len(content), size=draw.integers(1, 4)):
            damaged[place : place + draw.integers(1, 5)] = draw.choice([b"\0", b"\xff" * 4, draw.bytes(1)])
        (tmp_path / "b").write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's
                read(tmp_path / "b", grey=not form_of(tmp_path / "b").coloured)
        except InputError:
            refused += 1
    assert refused > 0


def test_a_page_without_a_size_is_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(pixels)])
    content = (tmp_path / "a.tif").read_bytes()
    width = struct.pack("<HH", 256, 4)
    assert content.count(width) == 2
    (tmp_path / "b.tif").write_bytes(content[: content.rindex(width)] + b"\1\0" + content[content.rindex(width) + 2 :])
    with pytest.raises(InputError, match="is damaged"):
        form_of(tmp_path / "b.tif")


def test_new_pictures_that_lose_what_the_learnt_ones_did_not_have_are_named(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "colours.png")
    Image.fromarray(pixels[..., 0]).save(
        tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(pixels[..., 1])]
    )
    known = Source(kind="pictures", size=(10, 10), grey=True)
    with pytest.warns(ConcernWarning) as found:
        warn_of_losses(known, listed(tmp_path))
    messages = [str(one.message) for one in found]
    assert len(messages) == 2
    assert "1 of 2 pictures have several pages, of which only the first is read" in messages[0]
    assert "1 of 2 pictures have colours, which are dropped" in messages[1]
    (tmp_path / "colours.png").unlink()
    with pytest.warns(ConcernWarning, match="none of 1 pictures has colours, unlike those that the model learnt from"):
        warn_of_losses(known.model_copy(update={"grey": False, "pages": "all"}), listed(tmp_path))

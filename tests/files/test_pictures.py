from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from oddkind import InputError
from oddkind.files import pictures
from oddkind.files.pictures import is_grey, read_picture


def read(file, size=(12, 10), grey=True):
    return read_picture(file, size=size, grey=grey)


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

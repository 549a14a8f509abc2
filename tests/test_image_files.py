"""Reading images as people have them, and refusing those that would train silently on wrong pixels."""

import numpy as np
import pytest
from image_makers import close, picture
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.data.image_files import read_image


def sixteen_bit():
    gray = np.asarray(picture().convert("L")).astype(np.uint16)
    return Image.fromarray(gray << 8 | 77), picture().convert("L").convert("RGB")


def transparent_palette():
    image = picture().quantize(16)
    image.info["transparency"] = bytes(range(16))
    return image, image.convert("RGBA").convert("RGB")


def image_cases():
    gray = picture().convert("L")
    yield "gray.jpg", gray, gray.convert("RGB")
    yield "cmyk.jpg", picture().convert("CMYK"), picture()
    yield "progressive.jpg", picture(), picture()
    yield "color.png", picture(), picture()
    yield "gray.png", gray, gray.convert("RGB")
    yield "palette.png", picture().quantize(32), picture().quantize(32).convert("RGB")
    yield "transparent palette.png", *transparent_palette()
    yield "alpha.png", picture().convert("RGBA"), picture()
    yield "gray alpha.png", picture().convert("LA"), gray.convert("RGB")
    yield "black and white.png", picture().convert("1"), picture().convert("1").convert("RGB")
    yield "sixteen bit.png", *sixteen_bit()
    yield "sixteen bit.tif", *sixteen_bit()
    yield "color.bmp", picture(), picture()
    yield "color.tif", picture(), picture()


@pytest.mark.parametrize(("name", "stored", "expected"), list(image_cases()), ids=[c[0] for c in image_cases()])
def test_every_kind_of_image_becomes_rgb(tmp_path, name, stored, expected):
    path = tmp_path / name
    options = {"quality": 95, "progressive": "progressive" in name} if name.endswith("jpg") else {}
    stored.save(path, **options)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert close(image, expected, mean=3.0 if name.endswith("jpg") else 1e-9)


def test_the_fast_decoder_gives_the_pixels_of_pillow(tmp_path):
    path = tmp_path / "a.jpg"
    for options in ({"quality": 60}, {"quality": 95, "subsampling": 0}, {"progressive": True}):
        picture(61, 83).save(path, **options)
        with Image.open(path) as reference:
            assert np.abs(read_image(path).astype(int) - np.asarray(reference.convert("RGB"))).max() <= 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "gray.jpg", "cmyk.jpg"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_truncated_image_is_an_error_that_names_it(tmp_path, name, kept):
    path = tmp_path / name
    modes = {"gray.jpg": "L", "cmyk.jpg": "CMYK"}
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(modes.get(name, "RGB")).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError, match=rf"{name}: not a complete, readable image"):
        read_image(path)


def test_a_jpeg_whose_second_half_is_zeros_is_an_error(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    with pytest.raises(DataError, match=r"a\.jpg: not a complete"):
        read_image(path)


def test_the_end_of_a_thumbnail_is_not_taken_for_the_end_of_the_image(tmp_path):
    path = tmp_path / "a.jpg"
    picture(16, 16).save(path)
    thumbnail = path.read_bytes()
    picture(200, 200).save(path, exif=b"Exif\x00\x00" + thumbnail)
    data = path.read_bytes()
    assert data.find(b"\xff\xd9") < len(data) // 2
    path.write_bytes(data[: len(data) - 40])
    with pytest.raises(DataError, match="end early"):
        read_image(path)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    picture().save(path, quality=95)
    before = read_image(path)
    path.write_bytes(path.read_bytes() + b"\x00" * 500 + b"maker notes")
    assert (read_image(path) == before).all()


def test_a_png_with_a_flipped_byte_is_an_error(tmp_path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png: not a complete"):
        read_image(path)


def test_a_text_file_is_no_image(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("404 not found")
    with pytest.raises(DataError, match="no image format that is known"):
        read_image(path)
    with pytest.raises(DataError, match="cannot read this image"):
        read_image(tmp_path)


def test_float_images_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.default_rng(0).random((5, 6), dtype=np.float32)).save(path)
    with pytest.raises(DataError, match="convert the image to 8 or 16 bit"):
        read_image(path)

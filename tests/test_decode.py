"""Pixels of every kind of file: each decoder gets what it reads right, damage is found, metadata decides nothing."""

import io
import itertools
import warnings

import cv2
import numpy as np
import pytest
from image_makers import VOC, chunk, png_bytes, tiff_bytes
from PIL import Image, ImageOps, PngImagePlugin

from semiseg.common.errors import DataError, Note
from semiseg.data.decode import decode, orientation, to_eight_bits, turned
from semiseg.data.discover import IMAGE_SUFFIXES
from semiseg.data.image_files import read_image
from semiseg.data.masks import read_mask

# Random pixels, so that a decoder that mixes up anything is found.


def noise(*shape, below=256, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, below, shape).astype(dtype)
    values.flat[0] = below - 1
    return values


def encoded(values, kind, **options):
    content = io.BytesIO()
    picture = values if isinstance(values, Image.Image) else Image.fromarray(values)
    picture.save(content, kind, **options)
    return content.getvalue()


# JPEG


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        *({"quality": 60}, {"quality": 95, "subsampling": 0}, {"subsampling": 1}, {"progressive": True}),
        *({"optimize": True}, {"restart_marker_rows": 1}, {"keep_rgb": True}),
    ],
    ids=str,
)
def test_jpeg_pixels_are_bit_for_bit_those_of_opencv(mode, options):
    for shape in ((61, 83), (1, 1), (7, 130)):
        data = encoded(Image.fromarray(noise(*shape, 3)).convert(mode), "JPEG", **options)
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        picture = decode(data)
        assert np.array_equal(picture.pixels, expected)
        assert picture.kind == f"JPEG {mode}"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_a_jpeg_that_was_cut_and_closed_again_is_found(tmp_path, mode, progressive, kept):
    data = encoded(Image.fromarray(noise(200, 200, 3)).convert(mode), "JPEG", progressive=progressive)
    path = tmp_path / "a.jpg"
    path.write_bytes(data[: int(len(data) * kept)] + b"\xff\xd9")  # OpenCV and Pillow: gray below, no word
    with pytest.raises(DataError, match=r"a\.jpg: not a complete, readable image \((Corrupt|Premature)"):
        read_image(path)


def test_a_jpeg_with_a_hole_in_the_middle_is_found():
    data = bytearray(encoded(noise(200, 200, 3), "JPEG"))
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    with pytest.raises(ValueError, match="Corrupt JPEG data"):
        decode(bytes(data))


@pytest.mark.parametrize("stray", [1, 4, 40])
def test_a_few_stray_bytes_before_the_end_of_a_jpeg_cost_nothing_and_hide_nothing(stray):
    data = encoded(noise(200, 200, 3), "JPEG")
    padded = data[:-2] + bytes(stray) + data[-2:]
    assert np.array_equal(decode(padded).pixels, decode(data).pixels)
    with pytest.raises(ValueError, match=r"[Pp]remature end"):
        decode(padded[: len(padded) // 2] + bytes(stray) + data[-2:])
    with pytest.raises(ValueError, match=r"\d{4} extraneous bytes"):
        decode(data[:-2] + bytes(4000) + data[-2:])


def test_stray_bytes_between_the_segments_of_a_jpeg_cost_nothing():
    data = encoded(noise(40, 60, 3), "JPEG")
    for marker in (b"\xff\xdb", b"\xff\xc0", b"\xff\xda"):
        at = data.index(marker)
        assert np.array_equal(decode(data[:at] + bytes(3) + data[at:]).pixels, decode(data).pixels)


# 16 bits


def shown(values, bits):
    gray = values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)
    return (gray >> (bits - 8)).astype(np.uint8)


def deep_files(values):
    """The same uint16 picture in every kind of file that holds 16 bits."""
    yield cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)[1].tobytes()
    yield tiff_bytes(values)
    yield tiff_bytes(values, deflate=True, rows=7)
    if values.ndim == 3:
        yield tiff_bytes(values, separate=True)
        yield tiff_bytes(values, separate=True, deflate=True, rows=7)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)], ids=["gray", "RGB"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_that_a_sixteen_bit_file_uses_fill_the_eight_that_are_seen(bits, shape):
    values = noise(*shape, below=2**bits, dtype=np.uint16)
    for data in deep_files(values):
        picture = decode(data)
        assert picture.bits == bits
        assert np.array_equal(picture.pixels, shown(values, bits))


def test_odd_numbers_of_bits_are_rounded_up_and_darkness_stays_dark():
    for most, bits in ((0, 8), (255, 8), (256, 10), (1024, 12), (4096, 14), (16384, 16), (65535, 16)):
        assert to_eight_bits(np.array([most], np.uint16))[1] == bits


def test_the_range_that_a_file_declares_is_taken_where_its_values_fit():
    dark = noise(9, 9, below=100, dtype=np.uint16)
    assert np.array_equal(decode(tiff_bytes(dark, t281=[4095])).pixels, shown(dark, 12))
    assert decode(tiff_bytes(noise(9, 9, below=5000, dtype=np.uint16), t281=[4095])).bits == 14
    assert np.array_equal(decode(png_bytes(dark, 16, chunk(b"sBIT", b"\x10"))).pixels, shown(dark, 16))


def test_scaling_is_said_once(tmp_path):
    for name in "ab":
        Image.fromarray(noise(5, 6, below=1024, dtype=np.uint16)).save(tmp_path / f"{name}.png")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("default")
        for name in "aba":
            read_image(tmp_path / f"{name}.png")
    assert [(n.category, "fit into 10 bits" in str(n.message)) for n in notes] == [(Note, True)]


def test_gray_where_zero_is_white_is_turned_over_at_sixteen_bits_as_at_eight():
    values = noise(9, 9, below=65536, dtype=np.uint16)
    eight = decode(tiff_bytes((values >> 8).astype(np.uint8), photometric=0)).pixels
    assert np.array_equal(decode(tiff_bytes(values, photometric=0)).pixels, eight)


# TIFF


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_separate_planes_give_the_picture_of_interleaved_ones(bands, dtype):
    values = noise(20, 30, bands, below=np.iinfo(dtype).max + 1, dtype=dtype)
    for separate, deflate, rows in itertools.product((False, True), (False, True), (20, 7)):
        data = tiff_bytes(values, separate=separate, deflate=deflate, rows=rows)
        assert np.array_equal(decode(data).pixels, shown(values[..., :3], 8 * values.itemsize))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_tiff_is_turned_whatever_decoder_reads_it(turn):
    values = noise(20, 30, 3, below=65536, dtype=np.uint16)
    expected = decode(tiff_bytes((values >> 8).astype(np.uint8), t274=[turn])).pixels
    for separate in (False, True):
        assert np.array_equal(decode(tiff_bytes(values, separate=separate, t274=[turn])).pixels, expected)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (tiff_bytes(noise(5, 6, 5, dtype=np.uint16)), "a TIFF of 5 bands of 16-bit unsigned integers"),
        (tiff_bytes(noise(5, 6, 2)), "a TIFF of 2 bands of 8-bit unsigned integers"),
        (tiff_bytes(noise(5, 6, 3, dtype=np.float32), numbers=3), "3 bands of 32-bit floating point numbers"),
        (tiff_bytes(noise(5, 6, dtype=np.float64), numbers=3), "1 band of 64-bit floating point numbers"),
        (tiff_bytes(noise(5, 6, 3), separate=True, photometric=8), "of 8-bit unsigned integers in separate planes"),
        (tiff_bytes(noise(5, 6, dtype=np.float32), numbers=3), "float gray values have no common scale"),
        (tiff_bytes(-noise(5, 6, dtype=np.int16), numbers=2), "negative or 32-bit gray values"),
    ],
    ids=["5 bands", "2 bands", "float RGB", "double", "LAB planes", "float gray", "negative"],
)
def test_tiffs_of_measurements_are_named_with_what_to_do(tmp_path, data, what):
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.tif: of no use as image: .*{what}.*; (save|convert)") as error:
        read_image(path)
    assert "download" not in str(error.value)


def test_pages_are_refused_and_smaller_copies_are_not_pages(tmp_path):
    pages = [Image.fromarray(noise(16, 16)), Image.fromarray(noise(8, 8))]
    with pytest.raises(ValueError, match="a TIFF of 2 pages"):
        decode(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}  # as in a cloud optimized GeoTIFF
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert np.array_equal(decode(data).pixels[..., 0], noise(16, 16))


# Metadata


def exif_blocks():
    """A sound block that says "turned", then ones that are damaged in every way."""
    exif = Image.Exif()
    exif[274] = 6
    sound = exif.tobytes()
    rng = np.random.default_rng(1)
    yield b"Exif\0\0"
    yield b"Exif\0\0II*\0\xff\xff\xff\xff"
    yield b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    for length in range(8, len(sound), 3):
        yield sound[:length]
    for _ in range(40):
        damaged = bytearray(sound)
        damaged[rng.integers(6, len(sound))] = rng.integers(256)
        yield bytes(damaged)
    for _ in range(20):
        yield b"Exif\0\0" + rng.bytes(60)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_malformed_exif_never_decides_whether_pixels_are_read(tmp_path, kind):
    path = tmp_path / "a"
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = decode(encoded(noise(12, 16, 3), kind, **options)).pixels
    for exif in exif_blocks():
        path.write_bytes(encoded(noise(12, 16, 3), kind, exif=exif, **options))
        assert np.array_equal(read_image(path), plain)
        upright = read_image(path, upright=True)  # as predict reads
        assert sorted(upright.shape) == sorted(plain.shape)
        assert sorted(upright.ravel()) == sorted(plain.ravel())


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEF, 0xFE])
def test_any_other_metadata_of_a_jpeg_may_be_damaged(marker):
    for mode in ("RGB", "CMYK"):
        data = encoded(Image.fromarray(noise(12, 16, 3)).convert(mode), "JPEG")
        for start in (
            b"MPF\0",
            b"Photoshop 3.0\x008BIM",
            b"ICC_PROFILE\0\x01\x09",
            b"http://ns.adobe.com/xap/1.0/\0<x",
        ):
            block = start + b"\xff" * 20
            segment = bytes([0xFF, marker]) + (len(block) + 2).to_bytes(2, "big") + block
            assert np.array_equal(decode(data[:2] + segment + data[2:]).pixels, decode(data).pixels)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_a_picture_is_turned_as_exif_says(value, kind):
    exif = Image.Exif()
    exif[274] = value
    data = encoded(noise(12, 16, 3), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(turned(decode(data).pixels, orientation(data)), upright)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_a_png_with_a_huge_text_or_a_damaged_note_is_read(mode):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 3_000_000, zip=True)
    picture = Image.fromarray(noise(9, 9, 3)).convert(mode)
    plain = decode(encoded(picture, "PNG")).pixels
    assert np.array_equal(decode(encoded(picture, "PNG", pnginfo=info)).pixels, plain)
    data = encoded(picture, "PNG")
    note = bytearray(chunk(b"tEXt", b"comment\0hello"))
    note[-1] ^= 1  # its checksum
    assert np.array_equal(decode(data[:33] + bytes(note) + data[33:]).pixels, plain)


@pytest.mark.filterwarnings("ignore")  # of Pillow, on metadata
def chunks_of(data):
    """The chunks of a PNG."""
    at, found = 8, []
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_a_png_that_its_checksums_contradict_is_refused_whatever_a_decoder_makes_of_it(mode):
    values = noise(9, 11, dtype=np.uint16, below=65536) if mode == "I;16" else noise(9, 11, 3)
    image = Image.fromarray(values) if mode == "I;16" else Image.fromarray(values).convert(mode)
    parts = chunks_of(encoded(image, "PNG"))
    for index, part in enumerate(parts):
        for at in (4, 8, len(part) - 1):  # its name, its content, its checksum
            damaged = part[:at] + bytes([part[at] ^ 32]) + part[at + 1 :]
            data = b"\x89PNG\r\n\x1a\n" + b"".join([*parts[:index], damaged, *parts[index + 1 :]])
            with pytest.raises(OSError, match="PNG"):
                decode(data)


def test_a_png_whose_palette_comes_after_its_pixels_is_refused_in_one_line(tmp_path):
    header, palette, transparent, *rest = chunks_of(
        encoded(Image.fromarray(noise(9, 11, 3)).quantize(8), "PNG", transparency=3)
    )
    parts = [header, rest[0], palette, transparent, *rest[1:]]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(DataError, match="not a complete, readable image"):
        read_image(tmp_path / "a.png")


def test_metadata_of_a_png_may_differ_from_its_checksum_but_not_the_bits_in_use():
    image = Image.fromarray(noise(9, 11, 3))
    start, *rest = chunks_of(encoded(image, "PNG"))
    for name, read in ((b"tEXt", True), (b"eXIf", True), (b"fcTL", True), (b"sBIT", False), (b"tEXT", False)):
        damaged = chunk(name, b"abc")[:-1] + b"!"
        data = b"\x89PNG\r\n\x1a\n" + b"".join([start, damaged, *rest])
        if read:
            np.testing.assert_array_equal(decode(data).pixels, image)
        else:
            with pytest.raises(OSError, match=f"checksum of {name.decode()} does not fit"):
                decode(data)


def test_mutated_files_are_read_or_refused_in_one_line_and_nothing_else(tmp_path):
    """Flipped, removed and inserted bytes in a file of each format; found by it: TypeError, KeyError, RuntimeError."""
    rng, path = np.random.default_rng(0), tmp_path / "a.png"
    files = [encoded(noise(12, 16, 3), kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM", "AVIF", "TGA")]
    files += [tiff_bytes(noise(12, 16, 3), separate=True, deflate=True), encoded(noise(12, 16), "GIF")]
    outcomes = set()
    for data, _ in itertools.product(files, range(30)):
        mutated = bytearray(data)
        for at, length in rng.integers(0, [len(data), 8], (3, 2)):
            mutated[at : at + length // 2] = rng.bytes(length)
        path.write_bytes(mutated)
        for read in (read_image, lambda file: read_mask(file, VOC)):
            try:
                outcomes.add(read(path).dtype)
            except DataError as error:
                outcomes.add("\n" in str(error))
    assert outcomes == {np.dtype(np.uint8), False}


# Size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "GIF"])
def test_images_are_read_up_to_the_stated_number_of_pixels(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(encoded(noise(20, 30), kind))
    assert read_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(
        DataError, match=r"30 x 20 pixels \(width x height\), more than dataset\.max_pixels=599; cut it"
    ):
        read_image(path, max_pixels=599)


def test_the_size_is_looked_at_before_anything_is_decoded():
    header = encoded(noise(5, 5), "PNG")
    huge = header[:8] + chunk(b"IHDR", (10**6).to_bytes(4, "big") * 2 + header[24:29]) + header[33:]
    with pytest.raises(ValueError, match="1000000 x 1000000 pixels"):
        decode(huge)


def test_no_other_limit_comes_first():
    assert Image.MAX_IMAGE_PIXELS is None  # Pillow's, of 179 megapixels


# Kinds


FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpx", ".jpf"), "JPEG2000"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    **{".bmp": "BMP", ".dib": "DIB", ".webp": "WEBP", ".avif": "AVIF", ".gif": "GIF", ".tga": "TGA", ".mpo": "MPO"},
}


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_format_that_counts_as_an_image_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    smooth = Image.fromarray(noise(3, 4, 3)).resize((40, 30), Image.Resampling.BICUBIC)
    smooth.save(path, FORMATS[suffix])
    difference = np.abs(read_image(path).astype(int) - np.asarray(smooth))
    assert difference.mean() < 12


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is empty"),
        (bytes(3000), "zeros alone"),
        (b"PK\x03\x04" + bytes(50), "a ZIP archive.*unpack it"),
        (b'\x10\0\0\0\0\0\0\0{"w":{}}', r"a \.safetensors file of weights.*--checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"\x93NUMPY\x01\0", "a NumPy array.*save it as PNG"),
        (b"\0\0\0\x18ftypheic", "a heic file.*save it as PNG or JPEG"),
        (b"II*\0\xff\xff\xff\xff", "damaged TIFF tags"),
        (b"plain text", "no image format that is known"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path, data, what):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.png: .*{what}") as error:
        read_image(path)
    assert "\n" not in str(error.value)

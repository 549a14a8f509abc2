"""Reading images and masks as people have them, and refusing those that would train silently on wrong pixels."""

import numpy as np
import pytest
from image_makers import VOC, close, indexed, labels, picture
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.data.image_files import read_image, read_mask
from semiseg.data.specs import custom_spec, get_spec

# Images


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


# Masks


@pytest.fixture
def mask_file(tmp_path):
    def save(values, name="m.png", **options):
        path = tmp_path / name
        (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)
        return path

    return save


@pytest.mark.parametrize(
    "stored",
    [indexed(labels()), Image.fromarray(labels()), Image.fromarray(labels().astype(np.uint16))],
    ids=["indexed", "gray", "16 bit"],
)
def test_index_masks_of_every_depth_are_read(mask_file, stored):
    mask = read_mask(mask_file(stored), VOC)
    assert mask.dtype == np.uint8
    assert (mask == labels()).all()


def test_a_one_bit_mask_is_background_and_class_one(mask_file):
    values = np.random.default_rng(0).random((9, 11)) < 0.5
    assert (read_mask(mask_file(Image.fromarray(values)), VOC) == values).all()


def test_low_bit_indexed_masks_keep_their_indices(mask_file):
    values = labels() % 3
    mask = indexed(values)
    assert (read_mask(mask_file(mask, bits=2), VOC) == values).all()


def broken(value, dtype=np.uint8):
    values = labels().astype(dtype)
    values[1, 1] = value
    return values


@pytest.mark.parametrize(
    ("type_name", "values", "message"),
    [
        ("pascal", broken(38), r"label values 38 are neither one of the 21 classes 0\.\.20 nor the ignore label 255"),
        ("pascal", broken(38), "color or gray picture of the classes"),
        ("pascal", broken(21), "counted from 1"),
        ("cityscapes", broken(33) % 34, "labelIds, not labelTrainIds: run tools/prepare_cityscapes.py"),
        ("pascal", broken(300, np.uint16), "label values 300 "),
        ("pascal", broken(65535, np.uint16), "save them as 8 bit with 255 there"),
    ],
)
def test_values_outside_the_classes_are_named_with_their_likely_cause(mask_file, type_name, values, message):
    with pytest.raises(DataError, match=rf"m\.png: .*{message}"):
        read_mask(mask_file(values), get_spec(type_name))


def test_void_255_under_another_ignore_label_is_explained(mask_file):
    spec = custom_spec("own", ["a", "b"], "i/{id}.jpg", "m/{id}.png", ignore_label=2)
    with pytest.raises(DataError, match="set ignore_label: 255"):
        read_mask(mask_file(np.array([[0, 1, 255]], np.uint8)), spec)
    assert read_mask(mask_file(np.array([[0, 1, 2]], np.uint8)), spec).tolist() == [[0, 1, 2]]


def test_jpeg_masks_are_recognised(mask_file):
    with pytest.raises(DataError, match="masks must be PNG"):
        read_mask(mask_file(Image.fromarray(labels()), "m.jpg"), VOC)


def test_a_color_picture_is_refused_where_indices_are_expected(mask_file):
    with pytest.raises(DataError, match=r"m\.png: this mask is a color picture \(RGB\).*mask_kind: color"):
        read_mask(mask_file(indexed(labels()).convert("RGB")), VOC)


def test_float_masks_are_refused(mask_file):
    with pytest.raises(DataError, match="float32, expected class indices"):
        read_mask(mask_file(labels().astype(np.float32), "m.tif"), VOC)


def test_a_truncated_mask_is_an_error(mask_file):
    path = mask_file(np.random.default_rng(0).integers(0, 21, (90, 90)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"m\.png: not a complete, readable mask"):
        read_mask(path, VOC)


COLORED = custom_spec(
    "own",
    VOC.classes,
    "images/{id}.jpg",
    "masks/{id}.png",
    VOC.palette,
    mask_kind="color",
    ignore_color=[224, 224, 192],
)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_color_masks_are_read_through_the_palette(mask_file, mode):
    stored = indexed(labels())
    assert (read_mask(mask_file(stored if mode == "P" else stored.convert(mode)), COLORED) == labels()).all()


def test_a_black_and_white_mask_is_read_as_colors(mask_file):
    spec = custom_spec("own", ["no", "yes"], "i/{id}", "m/{id}.png", [[0] * 3, [255] * 3], mask_kind="color")
    values = (labels() % 2 * 255).astype(np.uint8)
    assert (read_mask(mask_file(values), spec) == values // 255).all()


def test_colors_outside_the_palette_are_named_with_their_share(mask_file):
    rgb = np.array(indexed(labels()).convert("RGB"))
    rgb[3, :30] = (1, 2, 3)
    with pytest.raises(DataError, match=r"1 colors are not in the palette of own: \(1, 2, 3\) \(2\.5% of the pixels\)"):
        read_mask(mask_file(rgb), COLORED)

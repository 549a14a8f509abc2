"""Reading masks: kinds that are read, and those that are refused because they cannot be meant as they are."""

import io

import cv2
import numpy as np
import pytest
from image_makers import VOC, indexed, labels, png_bytes, tiff_bytes
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.data.masks import look_at_mask, read_mask
from semiseg.data.specs import custom_spec, get_spec


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


TWO = custom_spec("own", ["no", "yes"], "i/{id}", "m/{id}.png")


def test_a_one_bit_mask_of_two_classes_is_background_and_class_one(mask_file):
    values = np.random.default_rng(0).random((9, 11)) < 0.5
    assert (read_mask(mask_file(Image.fromarray(values)), TWO) == values).all()


def test_of_more_classes_white_in_a_one_bit_mask_may_mean_two_things(mask_file):
    values = np.random.default_rng(0).random((9, 11)) < 0.5
    with pytest.raises(DataError, match="gray of 1 bit: white is 255 by its value and 1 by its index"):
        read_mask(mask_file(Image.fromarray(values)), VOC)


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
        ("pascal", np.maximum(broken(21), 1), "counted from 1"),
        ("pascal", broken(21), "is a class missing in the list of classes"),
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


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colors_of_sixteen_bits_are_read_where_they_are_those_of_eight_and_else_refused(tmp_path, suffix):
    rgb = np.array(indexed(labels()).convert("RGB")).astype(np.uint16)
    for name, values in (("same", rgb * 257), ("as written", rgb), ("shifted", rgb * 256)):
        path = tmp_path / f"{name}{suffix}"
        assert cv2.imwrite(str(path), values[:, :, ::-1])
        if name == "same":
            assert (read_mask(path, COLORED) == labels()).all()
            continue
        for read in (lambda path: read_mask(path, COLORED), look_at_mask):
            with pytest.raises(DataError, match="16 bits a channel that are none of 8 bits; save it with 8 bits"):
                read(path)


def test_the_size_of_a_mask_is_checked_before_its_sixteen_bits_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    assert cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 9, 3), 256, np.uint16))
    with pytest.raises(DataError, match="9 x 8 pixels"):
        read_mask(tmp_path / "deep.png", COLORED, max_pixels=71)


def test_gray_of_sixteen_bits_is_no_color_where_it_would_be_taken_for_white(mask_file):
    spec = custom_spec("own", ["no", "yes"], "i/{id}", "m/{id}.png", [[0] * 3, [255] * 3], mask_kind="color")
    for value, fits in ((255, True), (65535, True), (256, False), (512, False)):
        path = mask_file((labels() % 2).astype(np.uint16) * value)
        if fits:
            assert (read_mask(path, spec) == labels() % 2).all()
        else:
            with pytest.raises(DataError, match="none of 8 bits"):
                read_mask(path, spec)


def test_colors_outside_the_palette_are_named_with_their_share(mask_file):
    rgb = np.array(indexed(labels()).convert("RGB"))
    rgb[3, :30] = (1, 2, 3)
    with pytest.raises(DataError, match=r"1 colors are not in the palette of own: \(1, 2, 3\) \(2\.5% of the pixels\)"):
        read_mask(mask_file(rgb), COLORED)


# What cannot be meant


def encoded(values, kind, **options):
    content = io.BytesIO()
    Image.fromarray(values).save(content, kind, **options)
    return content.getvalue()


def jpeg_in_tiff():
    return encoded(np.zeros((16, 16), np.uint8), "TIFF", compression="jpeg")


@pytest.mark.parametrize("spec", [VOC, "color"], ids=["index", "color"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (encoded(np.zeros((8, 8), np.uint8), "JPEG"), "JPEG"),
        (encoded(np.zeros((8, 8, 3), np.uint8), "WEBP"), "lossy WebP"),
        (encoded(np.zeros((8, 8, 3), np.uint8), "AVIF"), "AVIF or HEIF"),
        (jpeg_in_tiff(), "TIFF with JPEG inside"),
    ],
    ids=["JPEG", "WebP", "AVIF", "TIFF"],
)
def test_masks_in_a_format_that_changes_values_are_refused_by_content(tmp_path, spec, content, what):
    path = tmp_path / "m.png"  # whatever the name says, and even though all values here are right
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"m.png: {what} changes label values: masks must be PNG"):
        read_mask(path, COLORED if spec == "color" else spec)


def test_a_png_that_is_named_jpg_and_a_lossless_webp_are_read(tmp_path):
    path = tmp_path / "m.jpg"
    path.write_bytes(encoded(labels(), "PNG"))
    assert (read_mask(path, VOC) == labels()).all()
    path.write_bytes(encoded(np.asarray(indexed(labels()).convert("RGB")), "WEBP", lossless=True))
    assert (read_mask(path, COLORED) == labels()).all()


def renumbered(values, palette, order):
    """The same colours as ``palette[values]`` with indices in the order of ``order``, as an optimizer keeps them."""
    index_of = {value: index for index, value in enumerate(order)}
    mask = Image.fromarray(np.vectorize(index_of.get)(values).astype(np.uint8))
    mask.putpalette([channel for value in order for channel in palette[value]])
    return mask


@pytest.mark.parametrize("order", [[255, 15, 0], [15, 0, 255], [0, 15, 255]])
def test_indices_that_an_optimizer_renumbered_are_refused_with_the_class_that_the_color_means(mask_file, order):
    values = np.array([[0, 15, 255], [0, 0, 15]], np.uint8)
    stored = renumbered(values, VOC.full_palette().tolist(), order)
    with pytest.raises(
        DataError, match=r"palette shows index \d in the color of '(person|background)', which is class"
    ):
        read_mask(mask_file(stored), VOC)
    assert (read_mask(mask_file(stored), COLORED) == values).all()  # by colour it is clear


def test_the_colors_of_ones_own_classes_are_known_as_well(mask_file):
    spec = custom_spec("own", ["soil", "crop"], "i/{id}.jpg", "m/{id}.png", [[90, 60, 30], [0, 200, 0]])
    values = np.array([[0, 1, 1]], np.uint8)
    with pytest.raises(DataError, match="contradict each other"):
        read_mask(mask_file(renumbered(values, spec.palette, [1, 0])), spec)
    assert read_mask(mask_file(renumbered(values, spec.palette, [0, 1])), spec).tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 0, 2, 255], [0, 1, 255]])
def test_grays_in_a_palette_that_are_other_labels_than_their_indices_are_refused(mask_file, order):
    values = np.array([order], np.uint8)
    stored = renumbered(values, [[v] * 3 for v in range(256)], order)
    with pytest.raises(DataError, match="indices and gray values contradict each other"):
        read_mask(mask_file(stored), VOC)


@pytest.mark.parametrize(
    "palette",
    [[[0] * 3, [255] * 3], [[200, 10, 10], [10, 200, 10]], [[7] * 3, [7] * 3], [[v] * 3 for v in range(256)]],
    ids=["black and white", "colors of no class", "one color", "gray ramp"],
)
def test_palettes_that_name_no_other_classes_do_not_matter(mask_file, palette):
    values = np.array([[0, 1, 1]], np.uint8)
    mask = Image.fromarray(values)
    mask.putpalette([channel for color in palette for channel in color])
    assert (read_mask(mask_file(mask), TWO) == values).all()
    assert (read_mask(mask_file(mask), VOC) == values).all()


@pytest.mark.parametrize("colors", [[[0] * 3, [0, 200, 0]], [[0] * 3, [1] * 3], [[90, 60, 30], [0] * 3]])
def test_ignored_pixels_beyond_a_short_palette_do_not_matter(mask_file, colors):
    spec = custom_spec("own", ["soil", "crop"], "i/{id}.jpg", "m/{id}.png", colors)
    mask = Image.fromarray(np.array([[0, 1, 255]], np.uint8))
    mask.putpalette([*np.ravel(colors).tolist(), *bytes(762)])  # index 255 looks like a black class
    assert read_mask(mask_file(mask), spec).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_of_few_bits_is_refused_as_its_values_and_indices_differ(tmp_path, bits):
    path = tmp_path / "m.png"
    path.write_bytes(png_bytes(np.array([[0, 2**bits - 1]] * 2, np.uint8), bits))
    with pytest.raises(DataError, match=rf"gray of {bits} bits: white is 255 by its value and {2**bits - 1} by"):
        read_mask(path, VOC)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_colors_under_transparent_pixels_are_no_labels(mask_file, mode):
    spec = custom_spec("own", ["no", "yes"], "i/{id}", "m/{id}.png", [[0] * 3, [255] * 3], mask_kind="color")
    stored = Image.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).convert("RGB").convert(mode)
    if mode == "P":
        path = mask_file(stored, transparency=stored.getpixel((0, 0)))
    else:
        stored.putalpha(Image.fromarray(np.array([[255, 255, 0, 128]], np.uint8)))
        path = mask_file(stored)
    with pytest.raises(DataError, match=r"m\.png: 50\.0% of the pixels are transparent"):
        read_mask(path, spec)


def test_a_mask_of_several_pages_is_refused(mask_file):
    pages = [Image.fromarray(labels()) for _ in range(3)]
    with pytest.raises(DataError, match="a TIFF of 3 pages; save the page that is meant"):
        read_mask(mask_file(pages[0], "m.tif", save_all=True, append_images=pages[1:]), VOC)


def test_sixteen_bit_tiff_masks_are_read_by_value_and_not_scaled(tmp_path):
    path = tmp_path / "m.tif"
    path.write_bytes(tiff_bytes(labels().astype(np.uint16)))
    assert (read_mask(path, VOC) == labels()).all()


# ---- a look before anything is known of the classes


def test_a_look_counts_values_and_colors_whatever_they_mean(tmp_path):
    values = np.array([[0, 0, 7], [7, 7, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "gray.png")
    seen = look_at_mask(tmp_path / "gray.png")
    assert seen.values == {0: 2, 7: 3, 255: 1}
    assert seen.colors == {(0, 0, 0): 2, (7, 7, 7): 3, (255, 255, 255): 1}
    picture = Image.fromarray(values % 7)
    picture.putpalette([9, 8, 7, 1, 2, 3, 4, 5, 6, 250, 0, 0])
    picture.save(tmp_path / "palette.png")
    seen = look_at_mask(tmp_path / "palette.png")
    assert (seen.values, seen.palette) == ({0: 5, 3: 1}, {0: (9, 8, 7), 3: (250, 0, 0)})
    assert seen.colors == {(9, 8, 7): 5, (250, 0, 0): 1}
    Image.fromarray(np.stack([values, values, 255 - values], 2)).save(tmp_path / "rgb.png")
    seen = look_at_mask(tmp_path / "rgb.png")
    assert (seen.values, seen.colors) == (None, {(0, 0, 255): 2, (7, 7, 248): 3, (255, 255, 0): 1})


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_look_takes_gray_of_few_bits_as_it_is_shown(tmp_path, bits):
    (tmp_path / "m.png").write_bytes(png_bytes(np.array([[0, 1], [0, 0]], np.uint8), bits))
    white = 255 // (2**bits - 1)
    seen = look_at_mask(tmp_path / "m.png")
    assert seen.colors == {(0, 0, 0): 3, (white,) * 3: 1}
    assert (seen.values, seen.one_bit) == ({0: 3, 1 if bits == 1 else white: 1}, bits == 1)  # as indices are read


@pytest.mark.parametrize(
    ("content", "message"), [(b"no picture", "not a complete, readable mask"), (None, "no such mask")]
)
def test_a_look_at_what_is_no_mask_is_one_line(tmp_path, content, message):
    if content:
        (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"m\.png: {message}"):
        look_at_mask(tmp_path / "m.png")


def test_a_look_at_a_jpeg_is_refused(tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "m.jpg")
    with pytest.raises(DataError, match="JPEG changes label values"):
        look_at_mask(tmp_path / "m.jpg")


BLACK_AND_WHITE = custom_spec(
    "own", ["no", "yes"], "i/{id}", "m/{id}.png", mask_kind="color", colors=((0, 0, 0), (255, 255, 255))
)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.float32([[0, 0.5], [1, 1]]), "0.5"),
        (np.float32([[0, 300], [1000, 0]]), "300"),
        (np.float32([[0, np.nan], [1, 0]]), "nan"),
        (np.int32([[0, -5], [255, 0]]), "-5"),
        (np.int32([[0, 1000], [2000, 0]]), "1000"),
    ],
    ids=["parts", "float above", "nan", "below 0", "two above"],
)
def test_gray_of_32_bits_is_not_cut_to_eight(mask_file, values, named):
    path = mask_file(Image.fromarray(values), "m.tif")
    with pytest.raises(DataError, match=f"gray values such as {named}, which 8 bits do not hold"):
        read_mask(path, BLACK_AND_WHITE)
    if values.dtype == np.float32 or values.min() < 0:
        with pytest.raises(DataError, match=f"gray values such as {named}"):
            look_at_mask(path)


def test_whole_gray_values_of_32_bits_are_those_of_eight(mask_file):
    for kind in (np.float32, np.int32):
        path = mask_file(Image.fromarray(kind([[0, 255], [255, 0]])), "m.tif")
        assert read_mask(path, BLACK_AND_WHITE).tolist() == [[0, 1], [1, 0]]
        assert set(look_at_mask(path).colors) == {(0, 0, 0), (255, 255, 255)}


def test_a_pgm_that_would_be_stretched_is_refused(tmp_path):
    path = tmp_path / "m.pgm"
    for head in (b"P5\n# by hand\n3 1\n2\n", b"P5 3 1 2\n"):
        path.write_bytes(head + bytes([0, 1, 2]))
        with pytest.raises(DataError, match="a PGM whose largest value is 2, not 255; save it as 8-bit PNG"):
            look_at_mask(path)
    path.write_bytes(b"P5 3 1 255\n" + bytes([0, 1, 2]))
    assert look_at_mask(path).values == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("lossless", [False, True])
def test_jpeg_2000_masks_are_refused(tmp_path, lossless):
    path = tmp_path / "m.png"
    Image.fromarray(labels()).save(path, "JPEG2000", irreversible=not lossless)
    with pytest.raises(DataError, match="JPEG 2000 changes label values"):
        read_mask(path, VOC)

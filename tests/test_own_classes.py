"""What values and colours of masks are taken for."""

import numpy as np
import pytest
from PIL import Image

from semiseg.common.errors import ConfigError, DataError
from semiseg.data.masks import look_at_mask, read_mask
from semiseg.data.specs import custom_spec, index_palette
from semiseg.prepare.own.classes import Wishes, decide, question_of_kinds
from semiseg.prepare.own.masks import together


@pytest.fixture
def decided(tmp_path):
    """``decided(pictures, ...)``: what masks are taken for; every mask must then be read as that."""

    def decide_on(*pictures, **wishes):
        paths = [tmp_path / f"{index}.png" for index in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path)
        contents = [look_at_mask(path) for path in paths]
        classes = decide(together(contents), Wishes(**wishes))
        labels = {"mask_kind": classes.kind, "ignore_label": classes.ignore_label}
        labels["ignore_color"] = classes.ignore_color
        spec = custom_spec("own", classes.names, "i/{id}.png", "m/{id}.png", classes.colors, **labels)
        for path, content in zip(paths, contents, strict=True):
            labels = set(np.unique(read_mask(path, spec)).tolist())
            assert labels - {classes.ignore_label} == set(classes.of(content))
        return classes

    return decide_on


def grays(*values, dtype=np.uint8):
    """Blocks of values, equally large."""
    return np.kron(np.array(values), np.ones((8, 6), int)).astype(dtype).reshape(8, -1)


def indexed(values, palette):
    picture = Image.fromarray(values)
    picture.putpalette([c for color in palette for c in color])
    return picture


PALETTE = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)]


@pytest.mark.parametrize(
    ("values", "wishes", "kind", "names", "ignored"),
    [
        ((0, 1, 2), {}, "index", 3, None),
        ((0, 1), {}, "index", ("background", "foreground"), None),
        ((0, 1, 2, 255), {}, "index", 3, 255),
        ((0, 1, 3), {}, "index", 4, None),  # a class that these masks do not show
        ((0, 255), {}, "color", ("background", "foreground"), None),
        ((0, 128, 255), {}, "color", 3, None),
        ((0, 5), {}, "color", 2, None),
        ((1, 2, 3), {}, "color", 3, None),  # counted from 1
        ((1, 2, 3, 255), {}, "color", 3, (255, 255, 255)),
        ((0, 1, 2), {"ignore": 0}, "color", 2, (0, 0, 0)),
        ((0, 1, 2, 3), {"ignore": 3}, "index", 3, 3),
        ((0, 1, 2, 255), {"ignore": "none"}, "color", 4, None),
        ((0, 1, 255), {"classes": ("a", "b", "c")}, "color", ("a", "b", "c"), None),
        ((0, 1, 255), {"classes": ("a", "b")}, "index", ("a", "b"), 255),
        ((0, 3, 5), {"classes": tuple("abcdef")}, "index", tuple("abcdef"), None),
        ((0, 3, 5), {"classes": tuple("abc")}, "color", tuple("abc"), None),
        ((0, 255), {"colors": ((255,) * 3, (0,) * 3)}, "color", 2, None),  # in the order that was said
    ],
)
def test_gray_masks(decided, values, wishes, kind, names, ignored):
    classes = decided(grays(*values), **wishes)
    assert classes.kind == kind
    assert classes.names == names if isinstance(names, tuple) else len(classes.names) == names
    found = classes.ignore_color if kind == "color" else classes.ignore_label
    assert found == (ignored if ignored is not None or kind == "color" else 255)
    if "colors" in wishes:
        assert classes.colors == wishes["colors"]


def test_sixteen_bits_mean_the_same_as_eight(decided):
    assert decided(grays(0, 1, 2, dtype=np.uint16)).kind == "index"
    assert decided(grays(0, 65535, dtype=np.uint16)).colors == ((0, 0, 0), (255, 255, 255))
    assert decided(grays(0, 1, 65535, dtype=np.uint16)).ignore_color == (255, 255, 255)


def test_one_bit_masks_are_black_and_white(decided):
    assert decided(grays(0, 1, dtype=bool)).colors == ((0, 0, 0), (255, 255, 255))


@pytest.mark.parametrize(
    ("others", "kind"),
    [
        ([grays(0, 1)], "index"),
        ([indexed(grays(0, 1), PALETTE)], "index"),
        ([grays(0, 1), grays(0, 255)], "index"),
        ([grays(0, 255)], "color"),
        ([grays(0)], "color"),
    ],
)
def test_one_bit_masks_among_others_are_shown_as_they_are_read(decided, others, kind):
    classes = decided(grays(0, 1, dtype=bool), *others)
    assert (classes.kind, len(classes.names)) == (kind, 2)
    if len(others) == 1:
        assert classes.why["ignore"] == "nothing"


@pytest.mark.parametrize(
    ("masks", "wishes", "asked"),
    [
        ([(0, 1), (0, 1), (0, 255)], {}, True),
        ([(0, 1, 2), (0, 255)], {}, True),
        ([(0, 1), (0, 255)], {"ignore": 255}, False),
        ([(0, 1), (0, 255), (1, 255)], {}, False),
        ([(0, 1), (255, 255)], {}, False),  # nothing is labelled in one
        ([(0, 1), (0, 1)], {}, False),
        ([(0, 255), (0, 255)], {}, False),
    ],
)
def test_masks_of_two_kinds_are_asked_about(tmp_path, masks, wishes, asked):
    contents = {}
    for index, values in enumerate(masks):
        Image.fromarray(grays(*values)).save(tmp_path / "m.png")
        contents[f"m/{index}.png"] = look_at_mask(tmp_path / "m.png")
    question = question_of_kinds(contents, decide(together(contents.values()), Wishes(**wishes)), Wishes(**wishes))
    assert bool(question) == asked
    if asked:
        assert (
            f"255 in 1 (first m/{len(masks) - 1}.png), classes in {len(masks) - 1} others (first m/0.png: 0, 1"
            in question
        )


def test_a_palette_gives_indices_their_colors(decided):
    classes = decided(indexed(grays(0, 1, 2), PALETTE), indexed(grays(0, 2), PALETTE))
    assert (classes.kind, classes.colors) == ("index", tuple(PALETTE[:3]))


def test_index_0_of_two_is_background_unless_its_color_is_not_black(decided):
    assert decided(indexed(grays(0, 1), PALETTE)).names == ("background", "foreground")
    assert decided(indexed(grays(0, 1), ROADS)).names == ("class_0", "class_1")


def test_indices_far_apart_are_told_by_their_colors(decided):
    classes = decided(indexed(grays(0, 3), PALETTE))
    assert (classes.kind, classes.colors) == ("color", ((0, 0, 0), (0, 0, 200)))


def test_palettes_that_contradict_each_other_are_read_as_colors(decided):
    classes = decided(indexed(grays(0, 1, 2), PALETTE), indexed(grays(0, 1, 2), [*PALETTE[:1], *PALETTE[:0:-1]]))
    assert classes.kind == "color"
    assert set(classes.colors) == {*PALETTE}


VOC = index_palette(256)
ROADS = [(255, 255, 255), (0, 0, 0), (90, 0, 0)]  # white does not count, and black is road


@pytest.mark.parametrize(
    ("values", "palette", "wishes", "names", "ignored"),
    [
        ((1, 2, 3), VOC, {}, "one two three", None),
        ((0, 1, 2, 3), VOC, {"ignore": 0}, "aeroplane bicycle bird", 0),
        ((0, 15, 255), VOC, {}, "other person", 255),
        ((0, 15, 255), VOC, {"ignore": 255}, "other person", 255),
        ((0, 15, 255), VOC, {"ignore": "none"}, "other person void", None),
        ((0, 15, 255), VOC, {}, "other person void", None),  # as many names as indices
        ((0, 1, 2), ROADS, {"ignore": 0}, "road car", 0),
        ((0, 128, 255), [(i, i, i) for i in range(256)], {}, "a b c", None),  # a gray picture with a palette
    ],
)
def test_names_and_ignore_mean_the_indices_of_one_palette(decided, values, palette, wishes, names, ignored):
    masks = [indexed(grays(*some), palette) for some in (values, values[:2])]
    classes = decided(*masks, classes=tuple(names.split()), **wishes)
    assert classes.colors == tuple(palette[value] for value in values if value != ignored)
    assert classes.ignore_color == (None if ignored is None else palette[ignored])


def test_index_255_of_a_palette_does_not_count_without_names_either(decided):
    classes = decided(indexed(grays(0, 15, 255), VOC))
    assert (classes.colors, classes.ignore_color) == ((VOC[0], VOC[15]), VOC[255])
    assert classes.why["ignore"].startswith("index 255 = 224,224,192, 33.3%")


def test_index_255_of_a_palette_is_a_class_where_its_color_is_one_of_those_that_are_said(decided):
    for values in ((0, 15, 255), (0, 1, 255)):
        colors = tuple(VOC[value] for value in values)
        classes = decided(indexed(grays(*values), VOC), colors=colors)
        assert (classes.colors, classes.ignore_color) == (colors, None)


def test_color_pictures_in_the_colors_of_a_palette_have_its_order(decided):
    rgb = np.array(VOC, np.uint8)[grays(1, 2, 3)]
    classes = decided(rgb, indexed(grays(1, 2, 3), VOC), classes=("one", "two", "three"))
    assert classes.colors == VOC[1:4]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([indexed(grays(1, 2, 3), [*VOC[:2], VOC[3], VOC[2]])], "index 2 is 0,128,0 and 128,128,0"),
        ([indexed(grays(1, 2, 3, 4), [*VOC[:4], VOC[3]])], "index 3 and 4 in one color, 128,128,0"),
        ([np.array(VOC, np.uint8)[grays(1, 2)], grays(0, 0)], "others hold colors that it has not"),
    ],
)
def test_names_without_an_order_are_asked_for_with_colors(decided, others, message):
    masks = [indexed(grays(1, 2, 3), VOC), *others]
    found = decided(*masks)
    names = tuple("abcd"[: len(found.names)])
    with pytest.raises(ConfigError, match=f"{message}.*--colors"):
        decided(*masks, classes=names)
    colors = found.colors[::-1]
    assert decided(*masks, classes=names, colors=colors).colors == colors


@pytest.mark.parametrize(
    ("picture", "ignore", "message"),
    [
        (indexed(grays(0, 3, 9), VOC), 255, "this index; they hold index 0 = 0,0,0, index 3 = 128,128,0, index 9"),
        (grays(0, 128, 200), 255, "this value; they hold 0, 128, 200"),
        (np.array(VOC, np.uint8)[grays(1, 2, 3)], 255, "this color; they hold 0,128,0"),
    ],
)
def test_what_no_pixel_has_cannot_be_ignored(decided, picture, ignore, message):
    with pytest.raises(ConfigError, match=f"--ignore {ignore}: no pixel of the masks has {message}"):
        decided(picture, ignore=ignore)


def test_index_masks_without_an_ignored_pixel_are_noted(decided):
    assert decided(grays(0, 1, 2)).notes == decided(grays(0, 1, 2, 255), ignore=255).notes == ()
    (note,) = decided(grays(0, 1, 2), ignore=255).notes
    assert note == "--ignore 255: no pixel of the masks has this index; they hold 0, 1, 2"
    (note,) = decided(indexed(grays(0, 1, 2), [*ROADS[::-1]]), ignore=255).notes
    assert note.endswith("the palette shows index 2 in this gray: --ignore 2")


def test_color_pictures_are_sorted_by_color_and_white_is_a_class_until_it_is_said(decided):
    rgb = np.array([*PALETTE, (255, 255, 255)], np.uint8)[grays(4, 2, 1, 0)]
    classes = decided(rgb)
    assert classes.colors == ((0, 0, 0), (0, 200, 0), (200, 0, 0), (255, 255, 255))
    assert "--ignore 255" in classes.why["ignore"]
    classes = decided(rgb, ignore=255, classes=("a", "b", "c"))
    assert (classes.names, classes.ignore_color) == (("a", "b", "c"), (255, 255, 255))
    assert decided(rgb, ignore=(0, 200, 0)).ignore_color == (0, 200, 0)


def test_gray_and_color_masks_together_are_colors(decided):
    rgb = np.array(PALETTE, np.uint8)[grays(0, 1, 2)]
    assert decided(rgb, grays(0, 255)).colors == ((0, 0, 0), (0, 200, 0), (200, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_one_value_alone_leaves_nothing_to_tell_apart(decided, value):
    with pytest.raises(DataError, match=rf"hold one value alone \({value}\)"):
        decided(grays(value, value))


def test_numbers_of_objects_are_told_by_every_mask_counting_up(decided):
    masks = [grays(*range(n)) for n in (4, 9, 12)]
    with pytest.raises(DataError, match="up to a number of its own, at most 11: numbers of single objects"):
        decided(*masks)
    assert len(decided(*masks, classes=tuple("abcdefghijkl")).names) == 12
    assert len(decided(*masks, grays(0, 5, 11)).names) == 12  # a gap: these may be classes


@pytest.mark.parametrize(
    ("values", "wishes", "message"),
    [
        ((0, 1, 2, 3), {"classes": ("a", "b")}, "masks hold 0, 1, 2, 3; name all 4"),
        ((0, 128, 255), {"classes": ("a", "b")}, "2 names, but masks hold 0, 128, 255"),
        ((0, 1, 2), {"colors": ((0,) * 3, (9,) * 3)}, "2 colors for 3 classes"),
        ((0, 128, 255), {"colors": ((0,) * 3, (128,) * 3)}, "masks also hold 255; .* --ignore 255"),
    ],
)
def test_names_and_colors_that_do_not_fit_are_one_line(decided, values, wishes, message):
    with pytest.raises(ConfigError, match=message):
        decided(grays(*values), **wishes)


def test_shares_of_the_pixels_are_said(decided):
    assert "background (0) 25.0%, foreground (1) 75.0%" in decided(grays(0, 1, 1, 1)).why["classes"]


def test_a_thin_class_between_others_is_one_where_all_are_named(decided):
    drawn = grays(0, 255)
    drawn[:, 6] = 128  # a border, one pixel wide
    with pytest.raises(DataError, match="gray levels 128 of 0, 128, 255 nowhere fill 2 x 2 pixels"):
        decided(drawn)
    assert decided(drawn, classes=("no", "border", "yes")).names == ("no", "border", "yes")

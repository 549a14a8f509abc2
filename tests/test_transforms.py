"""Augmentation: image and label stay aligned, draws have the stated distribution, numbers equal plain numpy."""

import numpy as np
import pytest

from semiseg.common.rng import generator
from semiseg.data.transforms import MEAN, STD, TrainTransform, draw_scale, normalize, pad, resize


def denormalize(image):
    """float32 3 x H x W -> RGB values H x W x 3."""
    return image.transpose(1, 2, 0) * np.array(STD) + np.array(MEAN)


def numbered(height, width):
    """An image whose red and green tell row and column of each pixel, and a label of 1000 * row + column."""
    rows, cols = np.mgrid[:height, :width]
    image = np.stack([rows, cols, np.full_like(rows, 7)], axis=2).astype(np.uint8)
    return image, (rows * 1000 + cols).astype(np.int32)


def source_of(image, label):
    """(rows, cols) where each pixel came from, read from the image; asserts that the label says the same."""
    values = np.rint(denormalize(image)).astype(int)
    assert (values[..., 2] == 7).all()
    assert (label == values[..., 0] * 1000 + values[..., 1]).all()
    return values[..., 0], values[..., 1]


def test_normalize_is_the_formula_of_the_field():
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    result = normalize(image)
    expected = ((image - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    assert result.dtype == np.float32
    assert result.shape == (3, 13, 17)
    np.testing.assert_array_equal(result, expected.astype(np.float32))
    np.testing.assert_array_equal(normalize(image[:, ::-1]), result[:, :, ::-1])
    assert (normalize(image, (0, 0, 0), (1, 1, 1)) == image.transpose(2, 0, 1)).all()


def test_without_resize_the_result_is_a_window_of_the_image_possibly_flipped():
    image, label = numbered(60, 80)
    transform = TrainTransform((20, 30), rand_resize=None)
    corners, flips = set(), 0
    for seed in range(300):
        x, y, *_ = transform(image, label, generator(seed, "test"))
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((3, 20, 30), np.float32, (20, 30), np.int32)
        rows, cols = source_of(x, y)
        flipped = cols[0, 0] > cols[0, 1]
        flips += flipped
        first = cols.min()
        assert (rows == rows[0, 0] + np.arange(20)[:, None]).all()
        assert (cols == first + (np.arange(30)[::-1] if flipped else np.arange(30))).all()
        corners.add((int(rows[0, 0]), int(first)))
    assert 115 < flips < 185
    assert {0, 40} <= {top for top, _ in corners}  # both ends of each range are reached
    assert {0, 50} <= {left for _, left in corners}


def test_a_crop_of_the_image_size_is_the_image():
    image, label = numbered(20, 30)
    x, y, *_ = TrainTransform((20, 30), rand_resize=None, flip=False)(image, label, generator(0, "test"))
    np.testing.assert_array_equal(x, normalize(image))
    np.testing.assert_array_equal(y, label)


@pytest.mark.parametrize(("pad_label", "expected"), [(None, 254), (0, 0)])
def test_a_small_image_is_padded_evenly_with_the_mean_and_the_pad_label(pad_label, expected):
    image, label = numbered(10, 50)
    transform = TrainTransform((20, 30), rand_resize=None, ignore_label=254, pad_label=pad_label)
    for seed in range(20):
        x, y, *_ = transform(image, label, generator(seed, "test"))
        for rows in (np.s_[:5], np.s_[15:]):
            assert (x[:, rows] == 0).all()
            assert (y[rows] == expected).all()
        source_of(x[:, 5:15], y[5:15])
    x, y, *_ = TrainTransform((13, 60), rand_resize=None)(image, label, generator(0, "test"))
    for columns in (np.s_[:5], np.s_[55:]):
        assert (x[:, :, columns] == 0).all()
        assert (y[:, columns] == 255).all()
    assert (y[[0, 11, 12]] == 255).all()  # three rows too few: one above, two below
    source_of(x[:, 1:11, 5:55], y[1:11, 5:55])


def test_padding_adds_where_something_is_missing_and_nothing_elsewhere():
    padded = pad(np.ones((2, 5, 3), np.float32), (4, 6), 7)
    assert padded.shape == (2, 5, 6)
    assert (padded[:, :, [0, 4, 5]] == 7).all()
    assert (padded[:, :, 1:4] == 1).all()
    whole = np.ones((5, 6))
    assert pad(whole, (5, 4), 7) is whole


def test_a_scale_that_leaves_the_size_copies_nothing():
    image, label = numbered(10, 12)
    same, label_too = resize(image, label, 1.01)
    assert same is image
    assert label_too is label


def test_label_draws_do_not_depend_on_the_label():
    image, label = numbered(50, 60)
    transform = TrainTransform((33, 35), (0.5, 2.0))
    for seed in range(20):
        with_label, alone = generator(seed, "test"), generator(seed, "test")
        x, *_ = transform(image, label.astype(np.uint8), with_label)
        again, none, *_ = transform(image, None, alone)
        assert none is None
        np.testing.assert_array_equal(x, again)
        assert with_label.random() == alone.random()  # both used up the same draws


def naive_resize(image, label, scale):
    """Half-pixel-centred bilinear and nearest sampling, one pixel after the other."""
    height, width = image.shape[:2]
    tall, wide = int(height * scale), int(width * scale)
    out, near = np.zeros((tall, wide, 3)), np.zeros((tall, wide), label.dtype)
    for i in range(tall):
        for j in range(wide):
            y, x = (i + 0.5) * height / tall - 0.5, (j + 0.5) * width / wide - 0.5
            near[i, j] = label[int((i + 0.5) * height / tall), int((j + 0.5) * width / wide)]
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            fy, fx = y - y0, x - x0
            upper = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            lower = image[y1, x0] * (1 - fx) + image[y1, x1] * fx
            out[i, j] = upper * (1 - fy) + lower * fy
    return out, near


@pytest.mark.parametrize("scale", [0.5, 0.613, 0.97, 1.31, 1.77, 2.0])
def test_resize_equals_sampling_pixel_by_pixel(scale):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (31, 43, 3), dtype=np.uint8)
    label = rng.integers(0, 21, (31, 43)).astype(np.uint8)
    small, near = resize(image, label, scale)
    expected, expected_near = naive_resize(image, label, scale)
    assert np.abs(small - expected).max() <= 1
    assert (near == expected_near).all()


def test_resized_edges_of_image_and_label_lie_at_the_same_place():
    rows, cols = np.zeros((2, 64, 64), np.uint8)
    rows[20:44], cols[:, 13:50] = 1, 1
    image = np.stack([rows, cols, rows], axis=2) * 200  # red has edges between rows only, green between columns only
    label = 2 * rows + cols
    transform = TrainTransform((64, 64), (0.5, 2.0))
    for seed in range(40):
        x, y, *_ = transform(image, label, generator(seed, "test"))
        values = denormalize(x)[..., :2] - 100
        counted = (y != 255) & (np.abs(values) > 2).all(axis=2)  # a pixel halfway between may round to either side
        assert counted.sum() > 0.9 * (y != 255).sum()
        assert (2 * (values[..., 0] > 0) + (values[..., 1] > 0) == y)[counted].all()


def test_scales_fall_below_and_above_one_alike():
    rng = np.random.default_rng(0)
    scales = np.array([draw_scale(*rng.random(2), (0.5, 2.0)) for _ in range(20000)])
    assert scales.min() >= 0.5
    assert scales.max() <= 2
    assert np.mean(scales < 1) == pytest.approx(0.5, abs=0.02)
    assert np.mean(scales[scales < 1]) == pytest.approx(0.75, abs=0.01)  # uniform in each half
    assert np.mean(scales[scales > 1]) == pytest.approx(1.5, abs=0.01)
    assert np.quantile(scales, 0.75) == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("bounds", [(0.25, 0.75), (1.0, 2.0), (1.25, 1.5), (0.5, 1.0)])
def test_scales_are_uniform_where_one_is_not_inside(bounds):
    rng = np.random.default_rng(0)
    scales = np.array([draw_scale(*rng.random(2), bounds) for _ in range(20000)])
    low, high = bounds
    expected = [low + q * (high - low) for q in (0.25, 0.5, 0.75)]
    np.testing.assert_allclose(np.quantile(scales, [0.25, 0.5, 0.75]), expected, atol=0.02)


def test_the_whole_transform_equals_its_parts_in_plain_numpy():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 52, 3), dtype=np.uint8)
    label = rng.integers(0, 21, (40, 52)).astype(np.uint8)
    transform = TrainTransform((48, 33), (0.5, 2.0))
    for seed in range(30):
        x, y, *_ = transform(image, label, generator(seed, "test"))
        coin, along, flip, down, right = generator(seed, "test").random(5)
        scale = 0.5 + 0.5 * along if coin < 0.5 else 1 + along
        big, near = resize(image, label, scale)
        height, width = near.shape
        top, left = int(down * (max(height - 48, 0) + 1)), int(right * (max(width - 33, 0) + 1))
        big, near = big[top : top + 48, left : left + 33], near[top : top + 48, left : left + 33]
        if flip < 0.5:
            big, near = np.fliplr(big), np.fliplr(near)
        above, before = (48 - near.shape[0]) // 2, (33 - near.shape[1]) // 2
        place = np.s_[..., above : above + near.shape[0], before : before + near.shape[1]]
        expected, labels = np.zeros((3, 48, 33)), np.full((48, 33), 255)
        expected[place] = ((big - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
        labels[place] = near
        np.testing.assert_allclose(x, expected, atol=1e-6)
        np.testing.assert_array_equal(y, labels)


def test_a_tiny_image_survives_shrinking():
    image, label = np.full((1, 1, 3), 9, np.uint8), np.ones((1, 1), np.uint8)
    x, y, *_ = TrainTransform((4, 4), (0.1, 0.2))(image, label, generator(0, "test"))
    assert y[1, 1] == 1
    assert (y == 255).sum() == 15
    np.testing.assert_allclose(denormalize(x)[1, 1], 9, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"crop": crop} for crop in ((0, 5), (5, 0), (5,), (5, 5, 5))),
        *({"rand_resize": bounds} for bounds in ((0, 2), (-1, 2), (2, 1))),
        *({"std": std} for std in ((1, 0, 1), (1, -1, 1), (1, 1), (1, 1, 1, 1))),
        *({"mean": mean} for mean in ((1, 1), (1, 1, 1, 1))),
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|are three"):
        TrainTransform(**{"crop": (5, 5), **wrong})


@pytest.mark.parametrize("fine", [{"crop": (1, 1)}, {"rand_resize": (0.1, 0.1)}, {"std": (0.1, 0.1, 0.1)}], ids=str)
def test_settings_at_the_limit_are_fine(fine):
    image, label = numbered(6, 7)
    transform = TrainTransform(**{"crop": (5, 5), **fine})
    assert transform(image, label, generator(0, "test")).image.shape == (3, *transform.crop)


def test_what_is_not_said_is_as_published():
    unsaid = TrainTransform((5, 5))
    assert (unsaid.rand_resize, unsaid.flip, unsaid.ignore_label, unsaid.pad_label) == ((0.5, 2.0), True, 255, None)
    assert unsaid.mask_padding is False
    assert unsaid.mean == (0.485 * 255, 0.456 * 255, 0.406 * 255)  # ImageNet's
    np.testing.assert_allclose(unsaid.std, (0.229 * 255, 0.224 * 255, 0.225 * 255), rtol=1e-12)
    assert hash(unsaid) == hash(TrainTransform([5, 5]))


def test_a_crop_marks_its_pixels_of_the_image_where_padding_is_masked():
    image, label = numbered(10, 50)
    marked = TrainTransform((13, 30), rand_resize=None, mask_padding=True)(image, label, generator(0, "test"))
    rows = np.zeros((13, 30), bool)
    rows[1:11] = True  # three rows too few: one above, two below
    assert marked.inside.dtype == bool
    assert np.array_equal(marked.inside, rows)
    assert np.array_equal(marked.inside, marked.label != 255)
    assert TrainTransform((13, 30), rand_resize=None)(image, label, generator(0, "test")).inside is None


def test_lists_are_accepted_as_yaml_gives_them():
    assert TrainTransform([5, 5], [0.5, 2.0]) == TrainTransform((5, 5), (0.5, 2.0))

"""Strong views: each operator is what torchvision's calls of Pillow do, draws have the stated shares, nothing moves."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from tiny import config_of

from semiseg.common.errors import ConfigError
from semiseg.common.rng import generator
from semiseg.config.keys import BlurConfig, JitterConfig, StrongConfig
from semiseg.data.photometric import shift_hue, strong_view
from semiseg.data.transforms import TrainTransform, normalize


@pytest.fixture(scope="module")
def photo():
    """uint8 40 x 60 x 3: smooth colours and a hard edge."""
    rows, cols = np.mgrid[:40, :60]
    image = np.stack([rows * 6, cols * 4, 255 - rows * 3 - cols * 2], 2).clip(0, 255).astype(np.uint8)
    image[10:20, 30:45] = (250, 20, 130)
    return image


def of(**parts):
    """A configuration with these parts alone."""
    none = {"jitter": None, "grayscale": 0.0, "blur": None}
    return StrongConfig(**none | parts)


def jitter(**strengths):
    return of(
        jitter=JitterConfig(**{"prob": 1.0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0} | strengths)
    )


def worst(first, second):
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def drawn_factor(seed, place, strength):
    rng = generator(seed, "view")
    rng.random(4)
    return 1 + strength * rng.uniform(-1, 1, 4)[place]


@pytest.mark.parametrize(
    ("name", "place", "enhancer"),
    [
        ("brightness", 0, ImageEnhance.Brightness),
        ("contrast", 1, ImageEnhance.Contrast),
        ("saturation", 2, ImageEnhance.Color),
    ],
)
def test_a_colour_operator_is_pillows_with_the_drawn_factor(photo, name, place, enhancer):
    for seed in range(6):
        made = strong_view(photo, jitter(**{name: 0.5}), generator(seed, "view"))
        expected = np.asarray(enhancer(Image.fromarray(photo)).enhance(drawn_factor(seed, place, 0.5)))
        assert worst(made, expected) <= 2
        assert worst(made, photo) > 2


def test_hue_turns_as_torchvision_turns_it(photo):
    for turn in (-0.25, -0.1, 0.003, 0.2, 0.5):
        hue, saturation, value = Image.fromarray(photo).convert("HSV").split()
        with np.errstate(over="ignore"):
            turned = np.asarray(hue) + np.array(turn * 255).astype(np.int64).astype(np.uint8)
        expected = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")
        assert worst(np.asarray(shift_hue(Image.fromarray(photo), turn)), np.asarray(expected)) == 0
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert worst(np.asarray(shift_hue(red, 1 / 3)), np.full((2, 2, 3), (0, 255, 0))) <= 6  # to green


def test_blur_is_pillows_with_a_radius_from_the_range(photo):
    sigmas = []
    for seed in range(8):
        made = strong_view(photo, of(blur=BlurConfig(prob=1.0, sigma=(0.5, 1.5))), generator(seed, "view"))
        along = generator(seed, "view").random(4)[3]
        sigmas.append(0.5 + along)
        expected = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(float(sigmas[-1]))))
        assert worst(made, expected) <= 2
    assert max(sigmas) - min(sigmas) > 0.3


def test_gray_is_gray_and_keeps_the_brightness(photo):
    made = strong_view(photo, of(grayscale=1.0), generator(0, "view"))
    assert (made == made[..., :1]).all()
    np.testing.assert_allclose(made[..., 0], photo @ [0.299, 0.587, 0.114], atol=1)


def test_the_operators_come_in_the_drawn_order_with_the_drawn_factors(photo):
    cfg = jitter(brightness=0.5, contrast=0.4, saturation=0.3, hue=0.25)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    orders, views = set(), set()
    for seed in range(20):
        rng = generator(seed, "view")
        rng.random(4)
        factors, order = rng.uniform(-1, 1, 4), rng.permutation(4)
        picture = Image.fromarray(photo)
        for place in order:
            if place == 3:
                picture = shift_hue(picture, 0.25 * factors[3])
            else:
                picture = enhancers[place](picture).enhance(1 + (0.5, 0.4, 0.3)[place] * factors[place])
        made = strong_view(photo, cfg, generator(seed, "view"))
        assert worst(made, np.asarray(picture)) == 0
        orders.add(tuple(order))
        views.add(made.tobytes())
    assert len(orders) > 8
    assert len(views) == 20


def test_a_strength_above_1_never_turns_a_factor_negative(photo):
    for seed in range(6):  # factors are uniform in [0, 3]
        rng = generator(seed, "view")
        rng.random(4)
        factor = 1.5 * (1 + rng.uniform(-1, 1, 4)[2])
        expected = np.asarray(ImageEnhance.Color(Image.fromarray(photo)).enhance(factor))
        assert worst(strong_view(photo, jitter(saturation=2.0), generator(seed, "view")), expected) == 0


@pytest.mark.parametrize(
    ("part", "share"),
    [({"jitter": JitterConfig()}, 0.8), ({"grayscale": 0.2}, 0.2), ({"blur": BlurConfig(sigma=(1, 2))}, 0.5)],
    ids=["jitter", "grayscale", "blur"],
)
def test_each_part_happens_in_its_share_of_the_views(photo, part, share):
    small = photo[:12, 24:40]
    changed = sum(worst(strong_view(small, of(**part), generator(seed, "view")), small) > 0 for seed in range(400))
    assert abs(changed / 400 - share) < 0.08


def test_a_view_is_the_same_whatever_else_is_switched_on_before_it(photo):
    # Always the same number of draws: switching blur off moves no factor of the jitter.
    both = strong_view(photo, StrongConfig(grayscale=0.0, blur=BlurConfig(prob=0.0)), generator(3, "view"))
    alone = strong_view(photo, of(jitter=JitterConfig()), generator(3, "view"))
    assert worst(both, alone) == 0


def test_a_crop_carries_its_strong_views_aligned_normalised_and_padded(photo):
    label = np.arange(40 * 60).reshape(40, 60).astype(np.int32)
    plain = TrainTransform((48, 32), rand_resize=(0.9, 1.1), mask_padding=True)
    strong = TrainTransform((48, 32), rand_resize=(0.9, 1.1), mask_padding=True, strong=of(grayscale=1.0), views=2)
    weak, crop = (transform(photo, label, generator(5, "crop")) for transform in (plain, strong))
    for mine, theirs in zip(weak[:3], crop[:3], strict=True):
        np.testing.assert_array_equal(mine, theirs)  # strong views take nothing from the weak crop's draws
    assert crop.strong.shape == (2, 3, 48, 32)
    assert weak.strong is None
    assert (crop.strong[:, :, ~crop.inside] == 0).all()
    std, mean = np.array(plain.std)[:, None], np.array(plain.mean)[:, None]
    seen = crop.image[:, crop.inside] * std + mean
    gray = normalize(np.rint(seen.T @ [0.299, 0.587, 0.114]).astype(np.uint8)[:, None, None].repeat(3, 2))
    for view in crop.strong:
        np.testing.assert_allclose(view[:, crop.inside], gray[:, :, 0], atol=0.03)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("{jitter: {brightness: -0.1}}", "dataset.train.strong.jitter.brightness"),
        ("{jitter: {hue: 0.6}}", "dataset.train.strong.jitter.hue"),
        ("{grayscale: 1.5}", "dataset.train.strong.grayscale"),
        ("{blur: {sigma: [2, 0.1]}}", "dataset.train.strong.blur.sigma"),
        ("{jitters: {}}", "jitters"),
    ],
)
def test_impossible_views_are_named(written, key):
    with pytest.raises(ConfigError, match=key):
        config_of(f"dataset.train.strong={written}")

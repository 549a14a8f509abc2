"""Evaluation against the twin and an independent mIoU: sliding window, scales, mirror images, counting."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from mindspore import Tensor  # noqa: E402
from parity_cases import SMALL, difference, image_of, pair  # noqa: E402

from semiseg.config.keys import EvaluationConfig  # noqa: E402
from semiseg.evaluate import evaluate  # noqa: E402
from semiseg.inference.evaluation import Center  # noqa: E402
from semiseg.inference.logits import image_logits  # noqa: E402

pytestmark = pytest.mark.parity


def up(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def twin_slide(network, image, window, rate, probabilities=False):
    """Mean of window logits (or probabilities), pixel by pixel of coverage, with plain loops."""
    pads = [max(w - s, 0) for w, s in zip(window, image.shape[2:], strict=True)]
    before = [p // 2 for p in pads]
    padded = F.pad(image, (before[1], pads[1] - before[1], before[0], pads[0] - before[0]))
    total, count = None, torch.zeros(padded.shape[2:])
    starts = []
    for side, length in zip(padded.shape[2:], window, strict=True):
        step = int(np.ceil(length * rate))
        starts.append(sorted({min(k * step, side - length) for k in range(int(np.ceil((side - length) / step)) + 1)}))
    for top in starts[0]:
        for left in starts[1]:
            area = np.s_[top : top + window[0], left : left + window[1]]
            logits = up(network(padded[:, :, area[0], area[1]]).pred, window)
            total = torch.zeros(1, logits.shape[1], *padded.shape[2:]) if total is None else total
            total[:, :, area[0], area[1]] += logits.softmax(1) if probabilities else logits
            count[area] += 1
    mean = total / count
    return mean[:, :, before[0] : before[0] + image.shape[2], before[1] : before[1] + image.shape[3]]


def twin_whole(network, image):
    return up(network(image).pred, image.shape[2:])


@pytest.mark.parametrize(
    ("size", "window"), [((70, 130), (65, 65)), ((50, 90), (65, 65)), ((40, 50), (65, 81)), ((65, 65), (65, 65))]
)
def test_sliding_window(size, window):
    ours, twin = pair(SMALL, 1)
    image = image_of(2, 1, 3, *size)
    mode = EvaluationConfig(mode="slide", crop_size=window, stride_rate=2 / 3)
    found = image_logits(ours, Tensor(image), mode)
    with torch.no_grad():
        expected = twin_slide(twin, torch.from_numpy(image), window, 2 / 3)
    assert found.proto is None
    assert difference(found.linear.asnumpy(), expected.numpy()) < 1e-5
    found = image_logits(ours, Tensor(image), mode.model_copy(update={"average": "probabilities"}))
    with torch.no_grad():
        expected = twin_slide(twin, torch.from_numpy(image), window, 2 / 3, probabilities=True)
    assert difference(np.exp(found.linear.asnumpy()), expected.numpy()) < 1e-5


def test_one_window_over_everything_equals_the_whole_image():
    ours, _ = pair(SMALL, 1)
    image = Tensor(image_of(3, 1, 3, 65, 81))
    slide = EvaluationConfig(mode="slide", crop_size=(65, 81))
    whole = image_logits(ours, image, EvaluationConfig()).linear.asnumpy()
    assert difference(image_logits(ours, image, slide).linear.asnumpy(), whole) < 1e-6


@pytest.mark.parametrize("flip", [False, True])
def test_scales_and_mirror_images(flip):
    ours, twin = pair(SMALL, 1)
    height, width = 66, 81
    image = image_of(4, 1, 3, height, width)
    mode = EvaluationConfig(scales=(0.75, 1.0, 1.5), flip=flip, base_size=999)  # of the sliding window alone
    found = image_logits(ours, Tensor(image), mode)
    linear, proto = 0, 0
    with torch.no_grad():
        for scale in mode.scales:
            size = (round(height * scale), round(width * scale))
            view = up(torch.from_numpy(image), size)
            for mirrored in (False, True)[: 1 + flip]:
                out = twin(view.flip(3) if mirrored else view)
                parts = [up(out.pred, size), out.proto]
                parts = [up(p.flip(3) if mirrored else p, (height, width)) for p in parts]
                linear, proto = linear + parts[0], proto + parts[1]
    views = len(mode.scales) * (1 + flip)
    assert difference(found.linear.asnumpy(), linear.numpy() / views) < 1e-5
    assert difference(found.proto.asnumpy(), proto.numpy() / views) < 1e-5


def test_cityscapes_mode_brings_the_long_side_to_the_base_size():
    ours, twin = pair(SMALL, 1)
    image = image_of(5, 1, 3, 90, 50)
    mode = EvaluationConfig(mode="slide", base_size=120, crop_size=(65, 65))
    with torch.no_grad():
        logits = twin_slide(twin, up(torch.from_numpy(image), (120, round(120 / 90 * 50))), (65, 65), 2 / 3)
        expected = up(logits, (90, 50)).numpy()
    assert difference(image_logits(ours, Tensor(image), mode).linear.asnumpy(), expected) < 1e-5


def test_scores_of_a_small_set_equal_those_counted_from_the_twin():
    ours, twin = pair(SMALL, 1)
    rng = np.random.default_rng(6)
    samples = []
    for number, size in enumerate([(66, 70), (80, 65), (65, 65)]):
        mask = rng.choice([0, 1, 2, 4, 255], size).astype(np.uint8)
        samples.append((str(number), image_of(number, 1, 3, *size)[0], mask))

    class Loader(list):
        num_classes, ignore_label, center = SMALL.num_classes, 255, Center((65, 65), 255)

    found = evaluate(ours, Loader(samples), EvaluationConfig()).summary()
    for head, key in ((0, "miou"), (1, "proto_miou")):
        hit, union = np.zeros(SMALL.num_classes), np.zeros(SMALL.num_classes)
        for _, image, mask in samples:
            with torch.no_grad():
                out = twin(torch.from_numpy(image[None]))
            logits = (up(out.pred, mask.shape), out.proto)[head]
            prediction = logits[0].argmax(0).numpy()
            prediction[mask == 255] = 255
            for c in range(SMALL.num_classes):
                hit[c] += ((prediction == c) & (mask == c)).sum()
                union[c] += ((prediction == c) | (mask == c)).sum()
        assert found[key] == pytest.approx(100 * np.mean(hit / (union + 1e-10)), abs=1e-9)

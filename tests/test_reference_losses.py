"""The twin's losses against naive numpy loops over pixels."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reference import losses  # noqa: E402

pytestmark = pytest.mark.parity
C, SHAPE = 4, (2, 5, 6)


def draw(seed=0, ignored=0.3):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(SHAPE[0], C, *SHAPE[1:])) * 2
    label = rng.integers(0, C, SHAPE)
    label[rng.random(SHAPE) < ignored] = 255
    return logits, label


def tensors(*arrays):
    return [torch.from_numpy(a) for a in arrays]


def log_prob_loop(logits, label):
    """{(b, r, c): log softmax of the label} for the pixels that have one."""
    out = {}
    for b, r, c in np.ndindex(*SHAPE):
        if label[b, r, c] != 255:
            z = logits[b, :, r, c]
            out[b, r, c] = z[label[b, r, c]] - np.log(np.exp(z).sum())
    return out


def numeric_gradient(function, logits, pixels=6):
    """Central differences at a few entries of the logits."""
    rng = np.random.default_rng(5)
    for _ in range(pixels):
        at = tuple(rng.integers(0, n) for n in logits.shape)
        step = np.zeros_like(logits)
        step[at] = 1e-6
        yield at, (function(torch.from_numpy(logits + step)) - function(torch.from_numpy(logits - step))).item() / 2e-6


def assert_gradient(function, logits):
    z = torch.from_numpy(logits.copy()).requires_grad_()
    function(z).backward()
    for at, expected in numeric_gradient(function, logits):
        np.testing.assert_allclose(z.grad[at].item(), expected, atol=1e-7)


def test_cross_entropy_and_gradient():
    logits, label = draw()
    z, y = tensors(logits, label)
    expected = -np.mean(list(log_prob_loop(logits, label).values()))
    np.testing.assert_allclose(losses.cross_entropy(z, y).item(), expected, rtol=1e-12)
    assert_gradient(lambda v: losses.cross_entropy(v, y), logits)


@pytest.mark.parametrize(
    "loss",
    [
        losses.cross_entropy,
        losses.ohem_cross_entropy,
        lambda z, y: losses.ohem_cross_entropy(z, y, 0.7, 0),
        lambda z, y: losses.unsupervised_confidence(z, y, torch.ones(y.shape), 0.5, "confident"),
        lambda z, y: losses.unsupervised_entropy(z, y, z.detach(), 80),
    ],
)
def test_everything_ignored_is_zero_with_zero_gradient(loss):
    logits, _ = draw()
    z = torch.from_numpy(logits).requires_grad_()
    value = loss(z, torch.full(SHAPE, 255))
    value.backward()
    assert value.item() == 0
    assert not z.grad.any()


def ohem_loop(logits, label, thresh, min_kept):
    log_prob = log_prob_loop(logits, label)
    bound = np.inf
    if len(log_prob) > min_kept:
        ordered = sorted(np.exp(v) for v in log_prob.values())
        bound = max(thresh, ordered[min_kept - 1]) if min_kept else thresh
    kept = [-v for v in log_prob.values() if np.exp(v) <= bound + 1e-15]
    return np.mean(kept) if kept else 0.0


@pytest.mark.parametrize("thresh", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("min_kept", [0, 1, 10, 30, 1000])
def test_ohem(thresh, min_kept):
    logits, label = draw(1)
    z, y = tensors(logits, label)
    expected = ohem_loop(logits, label, thresh, min_kept)
    np.testing.assert_allclose(losses.ohem_cross_entropy(z, y, thresh, min_kept).item(), expected, rtol=1e-12)


def test_ohem_keeps_all_when_exactly_min_kept_are_valid():
    logits, label = draw(1)
    z, y = tensors(logits, label)
    for min_kept in ((label != 255).sum(), (label != 255).sum() + 1):
        assert losses.ohem_cross_entropy(z, y, 0.0, int(min_kept)) == losses.cross_entropy(z, y)


def test_ohem_gradient_misses_the_easy_pixels():
    logits, label = draw(2)
    z, y = tensors(logits, label)
    z.requires_grad_()
    losses.ohem_cross_entropy(z, y, 0.3, 5).backward()
    touched = z.grad.abs().sum(1).numpy() > 0
    bound = losses.ohem_threshold(z, y, 0.3, 5)
    hard = np.zeros(SHAPE, bool)
    for at, value in log_prob_loop(logits, label).items():
        hard[at] = np.exp(value) <= bound
    np.testing.assert_array_equal(touched, hard)


def test_single_pixel():
    z, y = torch.tensor([[[[2.0]], [[0.0]]]]), torch.tensor([[[1]]])
    expected = np.log(1 + np.exp(2.0))
    for value in (losses.cross_entropy(z, y), losses.ohem_cross_entropy(z, y), losses.ohem_cross_entropy(z, y, 0.7, 0)):
        np.testing.assert_allclose(value.item(), expected, rtol=1e-6)


@pytest.mark.parametrize("normalise", ["pixels", "confident"])
def test_unsupervised_by_confidence(normalise):
    logits, label = draw(3, ignored=0.1)
    confidence = np.random.default_rng(4).random(SHAPE)
    confidence[0, 0, 0] = 0.6  # exactly at the threshold counts
    label[0, 0, 0] = 1
    kept = [-v for at, v in log_prob_loop(logits, label).items() if confidence[at] >= 0.6]
    expected = sum(kept) / (label.size if normalise == "pixels" else len(kept))
    z, y, c = tensors(logits, label, confidence)
    actual = losses.unsupervised_confidence(z, y, c, 0.6, normalise)
    np.testing.assert_allclose(actual.item(), expected, rtol=1e-12)
    assert losses.unsupervised_confidence(z, y, c, 2.0, normalise).item() == 0


@pytest.mark.parametrize("percent", [50, 80, 93.7, 100])
def test_unsupervised_by_entropy(percent):
    logits, label = draw(5, ignored=0.2)
    teacher, _ = draw(6)
    entropy = np.zeros(SHAPE)
    for b, r, c in np.ndindex(*SHAPE):
        p = np.exp(teacher[b, :, r, c]) / np.exp(teacher[b, :, r, c]).sum()
        entropy[b, r, c] = -(p * np.log(p + 1e-10)).sum()
    bound = np.percentile(entropy[label != 255], percent)
    kept = [-v for at, v in log_prob_loop(logits, label).items() if entropy[at] < bound - 1e-12]
    expected = label.size / len(kept) * np.mean(kept)
    z, y, t = tensors(logits, label, teacher)
    np.testing.assert_allclose(losses.unsupervised_entropy(z, y, t, percent).item(), expected, rtol=1e-10)
    assert_gradient(lambda v: losses.unsupervised_entropy(v, y, t, percent), logits)


def test_drop_percent_rises_from_start_to_100():
    assert losses.drop_percent(80, 0, 80) == 80
    assert losses.drop_percent(80, 20, 80) == 85
    assert losses.drop_percent(80, 80, 80) == 100


def test_prototype_logits_and_cross_entropy():
    rng = np.random.default_rng(7)
    feature, prototypes = rng.normal(size=(11, 5)), rng.normal(size=(6, 5))
    label = np.array([0, 1, 2, 255, 1, 0, 2, 2, 255, 1, 0])
    logits = np.zeros((11, 3))
    for n in range(11):
        for c in range(3):
            cosines = []
            for p in prototypes[2 * c : 2 * c + 2]:
                cosines.append(feature[n] @ p / np.sqrt((feature[n] ** 2).sum() * (p**2).sum()))
            logits[n, c] = max(cosines) / 0.1
    f, p, y = tensors(feature, prototypes, label)
    np.testing.assert_allclose(losses.prototype_logits(f, p, 2), logits, rtol=1e-12)
    rows = [n for n in range(11) if label[n] != 255]
    expected = np.mean([np.log(np.exp(logits[n]).sum()) - logits[n, label[n]] for n in rows])
    np.testing.assert_allclose(losses.prototype_cross_entropy(f, p, 2, y).item(), expected, rtol=1e-12)
    confident = np.arange(11) % 2 == 0
    kept = [np.log(np.exp(logits[n]).sum()) - logits[n, label[n]] for n in rows if confident[n]]
    actual = losses.unsupervised_prototype(f, p, 2, y, torch.from_numpy(confident))
    np.testing.assert_allclose(actual.item(), sum(kept) / 11, rtol=1e-12)


def test_prototype_logits_do_not_feel_scale():
    rng = np.random.default_rng(8)
    f, p = tensors(rng.normal(size=(4, 5)), rng.normal(size=(6, 5)))
    torch.testing.assert_close(losses.prototype_logits(3 * f, 7 * p, 2), losses.prototype_logits(f, p, 2))


def test_supervised_adds_the_weighted_aux_at_label_size():
    logits, label = draw(9)
    aux = draw(10)[0][:, :, :3, :3]
    z, a, y = tensors(logits, aux, label)
    both = losses.supervised(z, a, y, losses.cross_entropy, 0.4)
    alone = losses.supervised(z, None, y, losses.cross_entropy, 0.4)
    resized = losses.upsample(a, (5, 6))
    np.testing.assert_allclose(resized[..., ::4, ::5], aux[..., ::2, ::2], rtol=1e-12)  # corners stay corners
    np.testing.assert_allclose((both - alone).item(), 0.4 * losses.cross_entropy(resized, y).item(), rtol=1e-10)

"""U2PL's contrastive part against the PyTorch twin on the same draws: loss, gradient, bank, thresholds."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from mindspore import Tensor, value_and_grad
from reference import u2pl as twin
from reference.losses import upsample

from semiseg.config.keys import ContrastiveConfig
from semiseg.methods.pseudo_labels import entropy_of, entropy_percentile
from semiseg.methods.u2pl.contrast import (
    Pixels,
    contrastive_loss,
    directions_at,
    mean_directions,
    sample_contrast,
)
from semiseg.methods.u2pl.memory_bank import MemoryBank
from semiseg.models.interpolate import nearest, resize

pytestmark = pytest.mark.parity
B, C, D, SMALL, LARGE = 2, 5, 8, (5, 6), (17, 21)
QUERIES, NEGATIVES = 7, 6
CASES = {
    "every class": {},
    "classes that are absent": {"labels": (0, 3)},
    "one class alone": {"labels": (2,)},
    "no label at all": {"labels": (255,)},
    "a bank that overflows": {"sizes": (9, 3, 4, 5, 2)},
    "an empty bank": {"low_rank": 0, "high_rank": 0},
    "no anchor": {"threshold": 0.999},
    "ranks of U2PL": {"low_rank": 3, "high_rank": 20},
}


def step_of(case, seed):
    """Arrays of one step."""
    rng = np.random.default_rng([seed, len(case.get("labels", ()))])
    logits = rng.normal(0, 1.5, (2 * B, C, *SMALL)).astype(np.float32)
    values = np.array([*case.get("labels", range(C)), 255])
    labels = [values[rng.integers(0, len(values), (B, *LARGE))].astype(np.int32) for _ in range(2)]
    reps = [rng.normal(0, 1, (2 * B, D, *SMALL)).astype(np.float32) for _ in range(2)]
    return logits, labels, reps


def context_of(case):
    low, high, threshold = (
        case.get(key, default) for key, default in (("low_rank", 1), ("high_rank", 3), ("threshold", 0.3))
    )
    cfg = ContrastiveConfig(
        current_class_threshold=threshold,
        num_queries=QUERIES,
        num_negatives=NEGATIVES,
    )
    cfg = cfg.model_copy(update={"low_rank": low, "high_rank": high})  # no rank at all is not for users
    sizes = case.get("sizes", (60,) * C)
    return cfg, twin.ContrastSpec(low, high, threshold, cfg.temperature, sizes)


def our_loss(arrays, cfg, bank, percent, seed):
    logits, (label_l, label_u), (rep, rep_teacher) = arrays
    entropy = entropy_of(resize(Tensor(logits[B:]), LARGE)).asnumpy()
    certain = entropy <= entropy_percentile(entropy, label_u, percent)
    uncertain = entropy >= entropy_percentile(entropy, label_u, 100 - percent)
    every = np.ones(label_l.shape, bool)
    small = [
        np.concatenate([nearest(part, SMALL).ravel() for part in pair])
        for pair in ((label_l, label_u), (every, certain), (every, uncertain))
    ]
    prob = torch.from_numpy(logits).softmax(1).permute(0, 2, 3, 1).reshape(-1, C).numpy()
    rows = rep_teacher.transpose(0, 2, 3, 1).reshape(-1, D)
    pixels = Pixels(prob, *small, labelled=B * SMALL[0] * SMALL[1])
    chosen = sample_contrast(pixels, Tensor(rows), bank, cfg, np.random.default_rng(seed))
    positive = mean_directions(Tensor(rows), Tensor(chosen.members))
    negative = directions_at(bank.rows, Tensor(chosen.negative))
    anchor, weight = Tensor(chosen.anchor), Tensor(chosen.weight)
    function = value_and_grad(lambda x: contrastive_loss(x, anchor, positive, negative, weight, cfg.temperature))
    value, gradient = function(Tensor(rep))
    return float(value), gradient.asnumpy()


def twin_loss(arrays, spec, queues, percent, seed):
    logits, labels, reps = arrays
    logits, *labels = (torch.from_numpy(x) for x in (logits, *labels))
    rep, rep_teacher = (torch.from_numpy(x).double() for x in reps)
    rep.requires_grad_()
    masks = twin.entropy_masks(twin.entropy(upsample(logits[B:], LARGE)), labels[1], percent)
    rng = np.random.default_rng(seed)
    draws = tuple(torch.from_numpy(rng.random(shape)) for shape in ((C, QUERIES), (C, QUERIES, NEGATIVES)))
    loss = twin.contrast_step(
        rep,
        rep_teacher,
        logits.softmax(1),
        tuple(twin.shrink(x, SMALL) for x in labels),
        tuple(twin.shrink(x, SMALL) for x in masks),
        queues,
        draws,
        spec,
    )
    loss.backward()
    return loss.item(), rep.grad.numpy()


@pytest.mark.parametrize("name", CASES)
def test_loss_gradient_and_bank_over_several_steps(name):
    cfg, spec = context_of(CASES[name])
    bank, queues = MemoryBank(spec.queue_sizes, D), twin.Queues([torch.zeros(0, D).double()] * C)
    losses = []
    for step in range(4):
        arrays, percent = step_of(CASES[name], step), 20 * (1 - step / 5)
        ours, theirs = our_loss(arrays, cfg, bank, percent, step), twin_loss(arrays, spec, queues, percent, step)
        assert ours[0] == pytest.approx(theirs[0], rel=2e-5, abs=1e-7)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-3, atol=2e-6)
        for c in range(C):
            held = bank.rows.asnumpy()[bank.places(c, np.arange(bank.count(c)))]
            np.testing.assert_array_equal(held, queues.keys[c].numpy().astype(np.float32))
        losses.append(ours[0])
    trivial = name in ("one class alone", "no label at all", "an empty bank", "no anchor")
    assert (max(losses) == 0) == trivial
    if name == "a bank that overflows":
        assert [bank.count(c) for c in range(C)] == list(spec.queue_sizes)


@pytest.mark.parametrize(("source", "target"), [((17, 21), (5, 6)), ((513, 513), (129, 129)), ((33, 37), (9, 10))])
def test_labels_shrink_to_the_same_pixels(source, target):
    x = np.arange(2 * source[0] * source[1], dtype=np.int32).reshape(2, *source)
    np.testing.assert_array_equal(nearest(x, target), twin.shrink(torch.from_numpy(x), target).numpy())

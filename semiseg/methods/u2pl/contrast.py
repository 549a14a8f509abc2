"""U2PL's contrastive loss: which pixels are anchors, positives and negatives of each class, and the loss itself.

Source: Wang et al., "Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels", CVPR 2022, section 3.3.
Shapes: M pixels of all images of a step at the decoder's size, L of them of labelled images (the first ones),
C classes, D channels, Q anchors (queries) a class, N negatives an anchor.
"""

from typing import NamedTuple

import numpy as np
from mindspore import Tensor, ops

from semiseg.config.keys import ContrastiveConfig
from semiseg.methods.u2pl.memory_bank import MemoryBank

_TINY = 1e-8  # torch.cosine_similarity's


class Pixels(NamedTuple):
    """What the teacher says of each pixel, and what is known of it; numpy."""

    prob: np.ndarray  # M x C, softmax
    label: np.ndarray  # M, class or pseudo-class; anything else: none
    certain: np.ndarray  # M, bool: labelled, or unlabelled of low entropy
    uncertain: np.ndarray  # M, bool: labelled, or unlabelled of high entropy
    labelled: int  # L


class Contrast(NamedTuple):
    """What the student's representations are compared with."""

    anchor: np.ndarray  # C x Q int32, which of the M pixels
    positive: np.ndarray  # C x D float32, of length 1
    negative: np.ndarray  # C x Q x N x D float32, of length 1
    weight: np.ndarray  # C float32: a class's share of the loss, 0 without anchors or negatives


def class_ranks(prob: np.ndarray) -> np.ndarray:
    """M x C: the place of each class in a pixel's order of probabilities, 0 for the most probable (ties: by index)."""
    order = np.argsort(-prob, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(prob.shape[1])[None], axis=1)
    return ranks


def anchor_masks(pixels: Pixels, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(members, anchors), bool M x C: certain pixels of each class, and those whose probability of it is above
    ``threshold``.
    """
    classes = np.arange(pixels.prob.shape[1])
    members = (pixels.label[:, None] == classes) & pixels.certain[:, None]
    return members, members & (pixels.prob > threshold)


def negative_masks(pixels: Pixels, low_rank: int, high_rank: int) -> np.ndarray:
    """bool M x C: pixels that are likely not of the class.

    Labelled ones: of another class, while the teacher ranks this class among its first ``low_rank`` (easily mistaken).
    Unlabelled ones: of high entropy, and the teacher ranks this class from ``low_rank`` to ``high_rank`` - 1.
    """
    num_classes, split = pixels.prob.shape[1], pixels.labelled
    ranks = class_ranks(pixels.prob)
    known = (pixels.label >= 0) & (pixels.label < num_classes)
    other = (pixels.label[:split, None] != np.arange(num_classes)) & known[:split, None]
    of_labelled = other & (ranks[:split] < low_rank)
    of_unlabelled = known[split:, None] & (ranks[split:] >= low_rank) & (ranks[split:] < high_rank)
    return np.concatenate([of_labelled, of_unlabelled]) & pixels.uncertain[:, None]


def sample_contrast(
    pixels: Pixels, rows: np.ndarray, bank: MemoryBank, cfg: ContrastiveConfig, rng: np.random.Generator
) -> Contrast:
    """Fills the bank with this step's negatives, then draws anchors and negatives.

    Args:
        rows: M x D, the teacher's representations. rng: draws C x Q anchors, then C x Q x N negatives, always as many.
    """
    num_classes, planes = pixels.prob.shape[1], rows.shape[1]
    members, anchors = anchor_masks(pixels, cfg.current_class_threshold)
    negatives = negative_masks(pixels, cfg.low_rank, cfg.high_rank)
    along = rng.random((num_classes, cfg.num_queries))
    within = rng.random((num_classes, cfg.num_queries, cfg.num_negatives))
    contrast = Contrast(
        np.zeros(along.shape, np.int32),
        np.zeros((num_classes, planes), np.float32),
        np.zeros((*within.shape, planes), np.float32),
        np.zeros(num_classes, np.float32),
    )
    for c in range(num_classes):
        bank.enqueue(c, rows[negatives[:, c]])
    present = np.flatnonzero(members.any(0))
    if len(present) < 2:  # nothing to tell apart
        return contrast
    for c in present:
        candidates = np.flatnonzero(anchors[:, c])
        if not len(candidates) or not bank.count(c):
            continue
        contrast.anchor[c] = candidates[(along[c] * len(candidates)).astype(np.int64)]
        contrast.positive[c] = _unit(rows[members[:, c]].mean(0))
        contrast.negative[c] = _unit(bank.take(c, (within[c] * bank.count(c)).astype(np.int64)))
        contrast.weight[c] = 1 / len(present)
    return contrast


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), _TINY)


def contrastive_loss(
    rep: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """Weighted sum over classes of the mean InfoNCE loss of their anchors.

    Args:
        rep: B x D x h x w, the student's representations; M = B * h * w. The others: fields of ``Contrast``.
    """
    planes, (num_classes, queries) = rep.shape[1], anchor.shape
    rows = ops.gather(rep.transpose(0, 2, 3, 1).reshape(-1, planes), anchor.reshape(-1), 0)
    rows = rows / ops.maximum(ops.sqrt((rows * rows).sum(1, keepdims=True)), _TINY)
    rows = rows.reshape(num_classes, queries, 1, planes)
    near = (rows[:, :, 0] * ops.expand_dims(positive, 1)).sum(2) / temperature  # C x Q
    far = (rows * negative).sum(3) / temperature  # C x Q x N
    # Cosines over a temperature are small: no shift is needed before exp.
    loss = ops.log(ops.exp(near) + ops.exp(far).sum(2)) - near
    return (loss.mean(1) * weight).sum()

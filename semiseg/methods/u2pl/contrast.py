"""U2PL's contrastive loss: which pixels are anchors, positives and negatives of each class, and the loss itself.

Source: Wang et al., "Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels", CVPR 2022, section 3.3.
``trainer.contrastive.negatives`` chooses between the paper's rule and what the published code does, its three faults
included: docs/method.md says how they differ.
Shapes: M pixels of all images of a step at the decoder's size, L of them of labelled images (the first ones),
C classes, D channels, Q anchors (queries) a class, N negatives an anchor.
"""

from typing import NamedTuple

import numpy as np
from mindspore import Tensor, ops

from semiseg.common.platform import kept_sum, permuted, with_axis
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
    images: int = 1  # of each kind; the pixels of one image stand together


class Contrast(NamedTuple):
    """What is compared with what, as indices: the representations stay on the device."""

    anchor: np.ndarray  # C x Q int32, which of the M pixels
    members: np.ndarray  # C x M bool, the pixels whose mean representation is the positive
    negative: np.ndarray  # C x Q x N int32, which of the bank's rows
    weight: np.ndarray  # C float32: a class's share of the loss, 0 without anchors or negatives


def class_ranks(prob: np.ndarray) -> np.ndarray:
    """M x C: the place of each class in a pixel's order of probabilities, 0 for the most probable (ties: by index)."""
    columns = np.ascontiguousarray(prob.T)
    ranks = np.zeros(columns.shape, np.int16)
    for c, column in enumerate(columns):  # counting who is ahead of whom is faster than sorting a few classes
        ranks[:c] += column > columns[:c]
        ranks[c + 1 :] += column >= columns[c + 1 :]
    return ranks.T


def members_by_label(pixels: Pixels) -> np.ndarray:
    """bool M x C: each pixel is of the class that it is labelled with."""
    return pixels.label[:, None] == np.arange(pixels.prob.shape[1])


def members_as_published(pixels: Pixels) -> np.ndarray:
    """bool M x C: of each kind the first image alone has labels, those of all its images, one over the other.

    The published function that makes one-hot labels writes every image's labels to the first image. Pixels without a
    label are written as class 0, but nothing is left where the first image itself has none.
    """
    num_classes, split = pixels.prob.shape[1], pixels.labelled
    kinds = []
    for label in (pixels.label[:split], pixels.label[split:]):
        by_image = label.reshape(pixels.images, -1)
        known = (by_image >= 0) & (by_image < num_classes)
        members = np.zeros((*by_image.shape, num_classes), bool)
        members[0, np.arange(by_image.shape[1]), np.where(known, by_image, 0)] = True
        members[0, ~known[0]] = False
        kinds.append(members.reshape(-1, num_classes))
    return np.concatenate(kinds)


def anchor_masks(pixels: Pixels, of_class: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(members, anchors), bool M x C: certain pixels of each class, and those whose probability of it is above
    ``threshold``. ``of_class``: bool M x C, the classes of each pixel.
    """
    members = of_class & pixels.certain[:, None]
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


def negatives_as_published(pixels: Pixels, of_class: np.ndarray, low_rank: int, high_rank: int) -> np.ndarray:
    """bool M x C: a pixel must in addition be of the class itself.

    No labelled pixel can be: it would have to be of the class and of another one.
    """
    ranks = class_ranks(pixels.prob)
    between = (ranks >= low_rank) & (ranks < high_rank)
    between[: pixels.labelled] = False
    return of_class & between & pixels.uncertain[:, None]


def sample_contrast(
    pixels: Pixels, rows: Tensor, bank: MemoryBank, cfg: ContrastiveConfig, rng: np.random.Generator
) -> Contrast:
    """Fills the bank with this step's negatives, then draws anchors and negatives.

    Args:
        rows: M x D, the teacher's representations. rng: draws C x Q anchors, then C x Q x N negatives, always as many.
    """
    count, num_classes = pixels.prob.shape
    published = cfg.negatives == "published"
    of_class = members_as_published(pixels) if published else members_by_label(pixels)
    members, anchors = (by_class(mask) for mask in anchor_masks(pixels, of_class, cfg.current_class_threshold))
    ranks = cfg.low_rank, cfg.high_rank
    negatives = negatives_as_published(pixels, of_class, *ranks) if published else negative_masks(pixels, *ranks)
    along = rng.random((num_classes, cfg.num_queries))
    within = rng.random((num_classes, cfg.num_queries, cfg.num_negatives))
    contrast = Contrast(
        np.zeros(along.shape, np.int32),
        np.zeros((num_classes, count), bool),
        np.zeros(within.shape, np.int32),
        np.zeros(num_classes, np.float32),
    )
    bank.enqueue(rows, [np.flatnonzero(mask) for mask in by_class(negatives)])
    present = np.flatnonzero(members.any(1))
    if len(present) < 2:  # nothing to tell apart
        return contrast
    # The published code takes the n-th class present for class n, but for its negatives.
    for c, of_anchors in zip(present, np.arange(len(present)) if published else present, strict=True):
        candidates = np.flatnonzero(anchors[of_anchors])
        if not len(candidates) or not bank.count(c):
            continue
        contrast.anchor[c] = candidates[(along[c] * len(candidates)).astype(np.int64)]
        contrast.members[c] = members[of_anchors]
        contrast.negative[c] = bank.places(c, (within[c] * bank.count(c)).astype(np.int64))
        contrast.weight[c] = 1 / len(present)
    return contrast


def by_class(mask: np.ndarray) -> np.ndarray:
    """M x C -> C x M, the pixels of a class side by side."""
    return np.ascontiguousarray(mask.T)


def mean_directions(rows: Tensor, members: Tensor) -> Tensor:
    """The mean of each class's members brought to length 1, 0 where there are none: M x D, C x M bool -> C x D."""
    members = members.astype("float32")
    mean = ops.matmul(members, rows) / ops.maximum(kept_sum(members, 1), 1.0)
    return _directions(mean)


def directions_at(rows: Tensor, places: Tensor) -> Tensor:
    """Some of R x D rows, brought to length 1, without gradient: int32 of any shape -> that shape x D."""
    return _directions(ops.stop_gradient(ops.gather(rows, places, 0)))


def _directions(rows: Tensor) -> Tensor:
    """... x D at length 1; a row of zeros stays as it is."""
    return rows / ops.maximum(ops.sqrt(kept_sum(rows * rows, -1)), _TINY)


def contrastive_loss(
    rep: Tensor, anchor: Tensor, positive: Tensor, negative: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """Weighted sum over classes of the mean InfoNCE loss of their anchors.

    Args:
        rep: B x D x h x w, the student's representations; M = B * h * w. anchor: C x Q int32, which of the M pixels.
        positive: C x D, negative: C x Q x N x D, both of length 1. weight: C, each class's share.
    """
    planes, (num_classes, queries) = rep.shape[1], anchor.shape
    rows = ops.gather(permuted(rep, (0, 2, 3, 1)).reshape(-1, planes), anchor.reshape(-1), 0)
    rows = _directions(rows).reshape(num_classes, queries, 1, planes)
    near = (rows[:, :, 0] * with_axis(positive, 1)).sum(2) / temperature  # C x Q
    far = (rows * negative).sum(3) / temperature  # C x Q x N
    # Cosines over a temperature are small: no shift is needed before exp.
    loss = ops.log(ops.exp(near) + ops.exp(far).sum(2)) - near
    return (loss.mean(1) * weight).sum()

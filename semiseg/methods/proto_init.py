"""The first prototypes: from a file, or k-means on features of labelled pixels inside the run."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from mindspore import Tensor
from scipy.cluster.vq import ClusterError, kmeans2

from semiseg.common.errors import CheckpointError
from semiseg.common.platform import numpy_of
from semiseg.common.rng import generator
from semiseg.data.transforms import normalize
from semiseg.interop.prototype_files import read_prototypes
from semiseg.methods.context import RunContext
from semiseg.models import SegmentationNetwork
from semiseg.models.interpolate import at_points, points


def initial_prototypes(network: SegmentationNetwork, context: RunContext) -> tuple[np.ndarray, list[str]]:
    """(classes*K x D prototypes, lines for the log). ``network`` in evaluation mode."""
    head, num_classes = context.net.proto_head, context.net.num_classes
    shape = network.proto_net.proto_list.shape
    if head.init_proto_path:
        rows = from_file(head.init_proto_path, shape, head.num_micro_proto)
        return rows, [f"prototypes from {head.init_proto_path}"]
    seed = context.trainer.seed
    pixels = choose_pixels(context.images.labeled, num_classes, head.init_samples, seed)
    features = gather_features(network, context, pixels)
    rows, notes = [], []
    for class_id in range(num_classes):
        rows_of_class = features.get(class_id, np.zeros((0, shape[1]), np.float32))
        centres, note = class_centres(rows_of_class, head.num_micro_proto, generator(seed, "kmeans", class_id))
        rows.append(centres)
        if note:
            notes.append(f"prototypes of class {class_id}: {note}")
    counted = sum(map(len, features.values()))
    notes.insert(0, f"prototypes by k-means on {counted} labelled pixels of {len(features)} classes")
    return np.concatenate(rows).astype(np.float32), notes


def from_file(path: Path, shape: tuple[int, int], per_class: int) -> np.ndarray:
    """Prototypes of a pickle, an .npz or a .ckpt. CheckpointError where there are none or the shape does not fit."""
    rows = read_prototypes(path, per_class)
    if rows.shape != tuple(shape):
        raise CheckpointError(
            f"{path}: expected prototypes of shape {tuple(shape)} (classes * K, channels), got {rows.shape}"
        )
    return rows


def choose_pixels(
    labeled_images: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]], num_classes: int, limit: int, seed: int
) -> list[dict[int, np.ndarray]]:
    """For each labelled image: class -> flat pixel indices, at most ``limit`` a class over the whole set, uniform."""
    counts = [np.bincount(mask.ravel(), minlength=256)[:num_classes] for _, mask in labeled_images()]
    totals = np.sum(counts, 0)
    chosen: list[dict[int, np.ndarray]] = [{} for _ in counts]
    for class_id in np.flatnonzero(totals):
        rng = generator(seed, "prototype pixels", int(class_id))
        ranks = np.sort(rng.choice(totals[class_id], min(limit, totals[class_id]), replace=False))
        ends = np.cumsum([count[class_id] for count in counts])
        for image, part in enumerate(np.split(ranks, np.searchsorted(ranks, ends))[:-1]):
            if len(part):
                chosen[image][int(class_id)] = part - (ends[image] - counts[image][class_id])
    for (_, mask), classes in zip(labeled_images(), chosen, strict=True):
        for class_id, ranks in classes.items():
            classes[class_id] = np.flatnonzero(mask.ravel() == class_id)[ranks]
    return chosen


def gather_features(
    network: SegmentationNetwork,
    context: RunContext,
    pixels: list[dict[int, np.ndarray]],
) -> dict[int, np.ndarray]:
    """class -> N x D features of the chosen pixels, as the upsampled feature map has them."""
    of_class: dict[int, list[np.ndarray]] = {}
    for (image, mask), classes in zip(context.images.labeled(), pixels, strict=True):
        if not classes:
            continue
        feature = network.feature(Tensor(normalize(image, context.mean, context.std)[None]))
        for class_id, flat in classes.items():
            where = points(flat // mask.shape[1], flat % mask.shape[1], mask.shape, feature.shape[2:])
            of_class.setdefault(class_id, []).append(numpy_of(at_points(feature, where.index, where.weight)[0]))
    return {class_id: np.concatenate(parts) for class_id, parts in sorted(of_class.items())}


def class_centres(features: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """``count`` centres of N x D features by k-means++; (centres, what had to be made up, if anything).

    With fewer distinct features than centres, those there are are used and the rest are slightly perturbed copies;
    without any feature, small random vectors.
    """
    distinct = np.unique(features, axis=0)
    if len(distinct) == 0:
        return rng.normal(0, 1e-2, (count, features.shape[1])), "no labelled pixel; small random vectors stand in"
    scale = 1e-3 * max(float(np.abs(distinct).mean()), 1e-6)
    if len(distinct) < count:
        copies = distinct[np.arange(count) % len(distinct)].astype(np.float64)
        copies[len(distinct) :] += rng.normal(0, scale, copies[len(distinct) :].shape)
        return copies, f"only {len(distinct)} distinct pixels for {count} prototypes; the rest are perturbed copies"
    try:
        return kmeans2(features.astype(np.float64), count, iter=30, minit="++", rng=rng, missing="raise")[0], ""
    except ClusterError:
        picked = distinct[rng.choice(len(distinct), count, replace=False)]
        return picked, "k-means left a cluster empty; single pixels stand in"

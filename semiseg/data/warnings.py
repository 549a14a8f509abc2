"""What may make a run worth little: random weights where tables have pretrained ones, too few images for the BatchNorm
of image pooling, no step with unlabelled images, too few classes for a loss, pseudo-labels that mislead, labelled
images that were not learnt.
"""

import statistics
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from semiseg.data.specs import DatasetSpec

_FEW_LEARNT = 4  # of fewer labelled images none is told from the others
_LEARNT, _FAR_BELOW = 0.8, 0.6  # share of right pixels of the median image; what is far below, of that
_ENOUGH_IMAGES = 4  # on CamVid supervised training scores as without that BatchNorm


def random_weights_warning(spec: DatasetSpec, pretrained: Path | str | None) -> str:
    """What to say of a run without pretrained weights on a data set whose published tables have them; else ""."""
    if pretrained is not None or spec.published_batch is None:
        return ""
    return (
        "net.encoder.pretrained is not set: the encoder starts from RANDOM WEIGHTS, and the run will stay far below "
        f"every published table of {spec.name}. Fetch the deep-stem resnet101.pth that U2PL's README links to "
        "(ImageNet; `semiseg weights` lists others) and start a new run with "
        "net.encoder.pretrained=path/to/resnet101.pth"
    )


def few_ranks_warning(low_rank: int, classes: int) -> str:
    """What to say where no unlabelled pixel can be a negative of U2PL's contrastive loss; else ""."""
    if low_rank < classes:
        return ""
    return (
        f"trainer.contrastive.low_rank is {low_rank}, and of {classes} classes none is ranked so low (the first is 0): "
        f"no unlabelled pixel is a negative of the contrastive loss; trainer.contrastive.low_rank={classes - 1} takes "
        "those of the last rank"
    )


def few_images_warning(images: int, pool_norm: bool) -> str:
    """What to say where BatchNorm behind image pooling, which sees one number an image, sees few of them; else "".

    images: two or more, those that share statistics in the smallest step.
    """
    if not pool_norm or images >= _ENOUGH_IMAGES:
        return ""
    return (
        f"BatchNorm behind image pooling knows each channel by {images} numbers (one an "
        "image, in steps of labelled images alone where there are such), and scores fall far: on CamVid 29 mIoU in "
        f"place of 44 with 2 images. Set dataset.batch_size to {_ENOUGH_IMAGES} or more (smaller crops make room; "
        "several devices share with net.sync_bn), or net.decoder.kwargs.pool_norm=false (no published decoder weights "
        "load then)"
    )


def labels_alone_warning(epochs: int, sup_only_epoch: int) -> str:
    """What to say of a method that learns from unlabelled images and never gets to them; else ""."""
    if sup_only_epoch < epochs:
        return ""
    return (
        f"no step learns from unlabelled images: trainer.sup_only_epoch is {sup_only_epoch}, of {epochs} epochs "
        "(trainer.epochs). Set it to 0.4 times as many, or take the method suponly"
    )


def lost_by_unlabeled(supervised: float, final: float, values: Mapping[str, Any], unread: Collection[str]) -> str:
    """What to say of a run whose score (percent) fell after the supervised phase; "" where it did not.

    values: of the configuration, by dotted key. unread: keys that nothing reads in this run: no use to change them.
    """
    if final >= supervised:
        return ""
    targets, threshold = "trainer.unsupervised.targets", "trainer.unsupervised.confid_thresh"
    advice = ["a longer supervised phase (trainer.sup_only_epoch)", "a smaller trainer.unsupervised.loss_weight"]
    if targets not in unread and values.get(targets) == "hard":
        advice.append(f"{targets}=soft")
    if threshold not in unread:
        advice.append(f"a larger {threshold}")
    return (
        f"unlabelled images made it worse: mIoU {supervised:.2f} at the end of the supervised phase, {final:.2f} at "
        f"the end. Try {', '.join(advice[:-1])} or {advice[-1]}; "
        'docs/faq.md, "Unlabelled images make it worse"'
    )


def not_learnt_warning(right: Mapping[str, float]) -> str:
    """What to say where some labelled images are predicted far worse than most; "" where none is, or most are not well.

    right: id of a labelled image -> share of its labelled pixels that the trained network has right, in evaluation.
    """
    if len(right) < _FEW_LEARNT or (usual := statistics.median(right.values())) < _LEARNT:
        return ""
    badly = sorted((share, sample) for sample, share in right.items() if share < _FAR_BELOW * usual)
    if not badly:
        return ""
    share, first = badly[0]
    return (
        f"{len(badly)} of {len(right)} labelled images, which it learnt from, are predicted far worse than the others "
        f"({first}: {share:.0%} of the pixels right; half of the others: more than {usual:.0%}). Either their masks "
        "are wrong, or they are of a kind of which a batch has few, and BatchNorm's statistics do not fit them: "
        'label more of them, or see docs/faq.md, "Images of one kind fail"'
    )

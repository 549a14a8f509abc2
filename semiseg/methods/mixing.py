"""How unlabelled images are mixed: CutMix, ClassMix, Cutout. B images of H x W pixels.

A mixer takes images with their pseudo-labels and scores and gives them back mixed, all three alike. All have one
interface (``Mixer``); ``make_mixer`` picks one by ``trainer.unsupervised.apply_aug``. AEL's adaptive CutMix is in
``ael.adaptive_cutmix``. The functions above say which pixels are replaced.
"""

import numpy as np
from mindspore import Tensor, jit, mutable, ops

from semiseg.common.host_array import HostArray
from semiseg.common.platform import numpy_of, with_axis
from semiseg.common.rng import generator
from semiseg.methods.context import RunContext, StepBatch
from semiseg.methods.pseudo_labels import BLANK, CUT, PseudoLabels


def cutmix_boxes(batch: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """One box of half the image's area per image, as U2PL draws them.

    Width is uniform over the integers [W // 2 + 1, W), height = round(area / width), the position uniform.

    Returns: int32 B x 4, rows of (top, left, height, width), inside the image.
    Raises: ValueError if the image is narrower than 3 pixels, where no such width exists.
    """
    if width < 3 or height < 1:
        raise ValueError(f"no half-area box fits an image of {height} x {width} pixels")
    widths = rng.integers(width // 2 + 1, width, size=batch)
    heights = np.round(height * width / 2 / widths).astype(np.int64)
    tops = rng.integers(0, height - heights + 1)
    lefts = rng.integers(0, width - widths + 1)
    return np.stack([tops, lefts, heights, widths], axis=1).astype(np.int32)


def box_masks(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool B x H x W, True inside each box of (top, left, height, width)."""
    top, left, tall, wide = (boxes[:, i, None] for i in range(4))
    rows, cols = np.arange(height)[None], np.arange(width)[None]
    in_rows = (rows >= top) & (rows < top + tall)
    in_cols = (cols >= left) & (cols < left + wide)
    return in_rows[:, :, None] & in_cols[:, None, :]


def class_masks(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool B x H x W, False on half of the classes of each image (rounded down), drawn at random: those stay.

    Padding is no class and is replaced.

    Source: ClassMix (https://arxiv.org/abs/2007.07936) as U2PL has it, where the kept classes are the image's own.
    """
    masks = np.ones(labels.shape, bool)
    for mask, label in zip(masks, labels, strict=True):
        classes = np.unique(label[label != BLANK])
        mask &= ~np.isin(label, rng.permutation(classes)[: len(classes) // 2])
    return masks


class Mixer:
    """Base of all mixers, and the one that mixes nothing (``none``). ``soft``: pseudo-labels come with soft targets."""

    def __init__(self, context: RunContext, soft: bool = False):
        self._seed, self._probability = context.trainer.seed, context.trainer.unsupervised.aug_prob
        self._mix = jit(_mix_pixels) if context.trainer.jit else _mix_pixels

    def __call__(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> PseudoLabels:
        """``pseudo`` (of the unlabelled images of ``batch``), mixed in a share of ``aug_prob`` of the steps."""
        replacement = self.replacement(step, pseudo, batch)
        if replacement is None or generator(self._seed, "mix", step).random() >= self._probability:
            return pseudo
        mask, partner = replacement
        arrays, others = pseudo.present(), partner.present()
        # mutable: a compiled function keeps the tensors of plain tuples for ever.
        fields = (mutable(tuple(arrays.values())), mutable(tuple(others[name] for name in arrays)))
        return PseudoLabels(**dict(zip(arrays, self._mix(Tensor(mask), *fields), strict=True)))

    def replacement(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> tuple[np.ndarray, PseudoLabels] | None:
        """Which pixels are replaced (bool B x H x W), and by what; None for nothing. Asked at every step."""
        return None

    def after_update(self, step: int) -> None:
        """What follows the optimizer; not called for a step that is left out."""

    def state(self) -> dict[str, HostArray]:
        """What lives between steps, by name."""
        return {}


class _WithNextImage(Mixer):
    """The partner of an image is the next one of the micro-batch (cyclic).

    A micro-batch of one image has no such partner: it is mixed with the previous one of this device, which is state.
    """

    def __init__(self, context: RunContext, soft: bool = False):
        super().__init__(context, soft)
        image, pixels = (1, 3, *context.crop), (1, *context.crop)
        shapes = {"image": image, "label": pixels, "score": pixels} | ({"strong": image} if context.strong else {})
        if soft:
            shapes["probability"] = (1, context.net.num_classes, *context.crop)
        self._previous = {
            name: HostArray(
                f"previous.{name}", np.zeros(shape, np.int32 if name == "label" else np.float32), per_device=True
            )
            for name, shape in (shapes | {"filled": (1,)}).items()
            if context.batch_size == 1
        }

    def replacement(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> tuple[np.ndarray, PseudoLabels] | None:
        partner = self._partner(pseudo)
        return None if partner is None else (self.mask(step, pseudo, batch), partner)

    def mask(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> np.ndarray:
        """bool B x H x W, True where the partner's pixels replace the image's."""
        raise NotImplementedError

    def state(self) -> dict[str, HostArray]:
        return {item.name: item for item in self._previous.values()}

    def _partner(self, pseudo: PseudoLabels) -> PseudoLabels | None:
        if not self._previous:
            present = pseudo.present().items()
            return PseudoLabels(**{name: ops.concat((value[1:], value[:1]), 0) for name, value in present})
        *stored, (_, filled) = self._previous.items()
        previous = None
        if filled.array[0]:
            previous = PseudoLabels(**{name: Tensor(item.array.copy()) for name, item in stored})
        for name, item in stored:
            item.set_data(getattr(pseudo, name))
        filled.array[0] = 1
        return previous


class CutMix(_WithNextImage):
    """A box of half the image's area comes from the partner (https://arxiv.org/abs/1905.04899), as U2PL draws it."""

    def mask(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> np.ndarray:
        return _half_area_boxes(self._seed, step, pseudo, batch)


class ClassMix(_WithNextImage):
    """The pixels of half of the image's own classes stay, the rest comes from the partner."""

    def mask(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> np.ndarray:
        # What is drawn depends on the classes: no draw for the whole batch.
        return class_masks(numpy_of(pseudo.label), generator(self._seed, "cutmix", step, batch.slice.first))


class Cutout(Mixer):
    """A box of half the image's area is blanked: the mean colour, no label (https://arxiv.org/abs/1708.04552)."""

    def replacement(self, step: int, pseudo: PseudoLabels, batch: StepBatch) -> tuple[np.ndarray, PseudoLabels]:
        blank = {name: ops.zeros_like(value) for name, value in pseudo.present().items()}
        blank = PseudoLabels(**(blank | {"label": ops.full_like(pseudo.label, CUT)}))
        return _half_area_boxes(self._seed, step, pseudo, batch), blank


_MIXERS: dict[str, type[Mixer]] = {"cutmix": CutMix, "classmix": ClassMix, "cutout": Cutout, "none": Mixer}


def make_mixer(context: RunContext, soft: bool = False) -> Mixer:
    """The mixer that ``trainer.unsupervised.apply_aug`` names."""
    return _MIXERS[context.trainer.unsupervised.apply_aug](context, soft)


def _half_area_boxes(seed: int, step: int, pseudo: PseudoLabels, batch: StepBatch) -> np.ndarray:
    """Masks of this micro-batch's boxes, among those that are drawn for the whole batch of the step."""
    first, count, total = batch.slice
    height, width = pseudo.image.shape[2:]
    boxes = cutmix_boxes(total, height, width, generator(seed, "cutmix", step))
    return box_masks(boxes[first : first + count], height, width)


def _mix_pixels(mask: Tensor, arrays: tuple, others: tuple) -> tuple:
    """The fields of a PseudoLabels, those of the partners where the mask (B x H x W) is True."""
    mixed = ()
    for index in range(len(arrays)):
        where = mask if arrays[index].ndim == 3 else with_axis(mask, 1)
        mixed = (*mixed, ops.where(where, others[index], arrays[index]))
    return mixed

"""Two training steps of ``u2pl`` and of ``ael`` on both sides: with bank and confidences, statistics by forward passes.

The draws are those of our generators; what follows from them is computed twice. Two steps lie on both sides of the end
of an epoch, so that what changes with the epochs changes between them.
"""

import copy
import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from parity_cases import (
    SMALL,
    Arrays,
    arrays_of,
    context_of,
    image_of,
    labels_of,
    load,
    numpy_of,
    twin_criterion,
    twin_of,
)
from reference import ael as twin_ael
from reference import training as twin_training
from reference import u2pl as twin_u2pl
from reference.network import ChannelDropout, Network, NetworkSpec, dropout_shapes, inject_dropout
from reference.step import teacher_labels

from semiseg.common.rng import generator
from semiseg.config.keys import (
    AdaptiveConfig,
    AdaptiveCutmixConfig,
    ContrastiveConfig,
    CopyPasteConfig,
    OptimizerConfig,
    SgdKwargs,
    TrainerConfig,
    UnsupervisedConfig,
)
from semiseg.data.loaders import Batch
from semiseg.data.transforms import Crop
from semiseg.engine.optim import SGD, poly
from semiseg.engine.step import TrainStep
from semiseg.interop.torch_names import to_mindspore_names
from semiseg.methods import RunContext, get_method
from semiseg.methods.ael.adaptive_cutmix import component_box, half_box
from semiseg.methods.mixing import cutmix_boxes
from semiseg.methods.sampling import BatchSlice, dropout_masks, random_slice

CROP, BATCH, SEED, STEPS = (65, 65), 2, 3, (3, 4)
UNLABELED, LABELED = 5, 3  # images that AEL's samplers choose from
CONFIDENCES = np.array([0.9, 0.05, 0.5, 0.97, 0.3], np.float32)
CONTRASTIVE = ContrastiveConfig(
    low_rank=1, high_rank=3, num_queries=40, num_negatives=12, loss_weight=0.25, bank_size=300, bank_size_background=400
)
ADAPTIVE = AdaptiveConfig(
    momentum=0.9,
    absent="decay",
    cutmix=AdaptiveCutmixConfig(area_thresh=0.01, area_thresh2=0.05),
    copy_paste=CopyPasteConfig(number=2, leave_out=(0,)),
    threshold=0.25,
)


class Images:
    """As ``TrainImages`` and as its source: the same image for an index, however it is asked for."""

    def __init__(self, kind: str = "", count: int = 0):
        self._kind, self._count = kind, count

    def source(self, kind: str, purpose: str, rand_resize=None) -> "Images":
        return Images(kind, UNLABELED if kind == "unlabeled" else LABELED)

    def __len__(self) -> int:
        return self._count

    def indices_of(self, ids: list[str]) -> list[int]:
        return [int(name.removeprefix("image")) for name in ids]

    def read(self, index: int, *keys: int) -> Crop:
        seed = 50 * (self._kind == "labeled") + index
        return Crop(image_of(seed, 1, 3, *CROP)[0], labels_of(seed, 1)[0], None)


class Case(NamedTuple):
    """Everything that both sides are given."""

    method: str
    spec: NetworkSpec
    context: RunContext
    student: Network
    teacher: Network

    def batches(self, step: int) -> tuple[Batch, Batch]:
        """Labelled and unlabelled images of a step."""
        names = [f"image{(step + i) % UNLABELED}" for i in range(BATCH)]
        labeled = Batch(step, names, image_of(100 + step, BATCH, 3, *CROP), labels_of(step, BATCH))
        return labeled, Batch(step, names, image_of(200 + step, BATCH, 3, *CROP), None)


def case_of(method: str, jit: bool = False) -> Case:
    """Two steps of ``u2pl`` or ``ael`` on 2 + 2 images of 65 x 65."""
    spec = dataclasses.replace(SMALL, prototypes=0, rep_head=method == "u2pl")
    rule = {"rule": "entropy"} if method == "u2pl" else {}
    trainer = TrainerConfig(
        epochs=10,
        sup_only_epoch=0,
        seed=SEED,
        jit=jit,
        optimizer=OptimizerConfig(kwargs=SgdKwargs(lr=0.01, momentum=0.9, weight_decay=1e-3), decoder_lr_times=4.0),
        unsupervised=UnsupervisedConfig(aug_prob=1.0, **rule),
        contrastive=CONTRASTIVE if method == "u2pl" else None,
        adaptive=ADAPTIVE if method == "ael" else None,
        teacher_bn="forward",
    )
    context = context_of(spec, trainer, BATCH, CROP, STEPS[-1], Images())
    return Case(method, spec, context, twin_of(spec, SEED), twin_of(spec, 17))


def marks_at_first() -> np.ndarray:
    """int32 C x U: which images are known to show a class."""
    return (np.random.default_rng(1).random((SMALL.num_classes, UNLABELED)) < 0.4).astype(np.int32)


def our_steps(case: Case) -> Arrays:
    """Everything that our steps change or compute: terms by step, gradients of the first one, weights by step, and what
    is remembered at the end.
    """
    method = get_method(case.method)(case.context)
    networks = {"student": load(method.student, arrays_of(case.student))}
    networks["teacher"] = load(method.teacher.network, arrays_of(case.teacher))
    optimizer = SGD(method.optimized, case.context.trainer)
    state = method.state()
    if case.method == "ael":
        state["adaptive.confidence"].array[:] = CONFIDENCES
        state["adaptive.images"].array[:] = marks_at_first()
    taken: Arrays = {}
    inner = optimizer._step

    def keep_gradients(gradients, *rates):
        for weight, gradient in zip(optimizer.weights, gradients, strict=True):
            taken.setdefault(f"gradient {weight.name}", gradient.asnumpy())
        inner(gradients, *rates)

    optimizer._step = keep_gradients
    train_step = TrainStep(method, optimizer)
    for step in STEPS:
        method.enter_step(step)
        result = train_step(step, *case.batches(step))
        taken |= {f"term{step} {k}": np.array(value) for k, value in result.terms.items() if k != "mask_ratio"}
        for part, network in networks.items():
            taken |= {f"{part}{step} {name}": p.asnumpy().copy() for name, p in network.parameters_and_names()}
    if case.method == "u2pl":
        bank, rows = method._bank, method._bank.rows.asnumpy()
        taken |= {f"bank {c}": rows[bank.places(c, np.arange(bank.count(c)))] for c in range(case.spec.num_classes)}
    else:
        taken |= {"memory confidence": state["adaptive.confidence"].array.copy()}
        taken |= {"memory images": state["adaptive.images"].array.copy()}
    return taken


def twin_steps(case: Case, double: bool) -> Arrays:
    """The same steps on the twin, by the same names."""
    dtype = torch.float64 if double else torch.float32
    student, teacher = (copy.deepcopy(twin).to(dtype) for twin in (case.student, case.teacher))
    for module in teacher.modules():
        if isinstance(module, ChannelDropout):
            module.p = 0.0  # our teacher never drops
    trainer, kwargs = case.context.trainer, case.context.trainer.optimizer.kwargs
    optimizer = twin_training.make_optimizer(
        student, kwargs.lr, kwargs.momentum, kwargs.weight_decay, trainer.optimizer.decoder_lr_times
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    queues = twin_u2pl.Queues([torch.zeros(0, case.spec.inner_planes, dtype=dtype)] * case.spec.num_classes)
    memory = twin_ael.Memory(torch.from_numpy(CONFIDENCES).to(dtype), torch.from_numpy(marks_at_first()))
    taken: Arrays = {}
    for step in STEPS:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * poly(step, case.context.steps, trainer.lr_scheduler.kwargs.power)
        inject_dropout(student, _kept_channels(case, step))
        run = _twin_u2pl if case.method == "u2pl" else _twin_ael
        terms = run(case, step, (student, teacher, optimizer), queues if case.method == "u2pl" else memory, dtype)
        taken |= {f"term{step} {name}": np.array(value) for name, value in terms.items()}
        if step == STEPS[0]:
            taken |= _gradients(student)
        for part, network in (("student", student), ("teacher", teacher)):
            taken |= {f"{part}{step} {name}": value.copy() for name, value in arrays_of(network).items()}
    if case.method == "u2pl":
        return taken | {f"bank {c}": keys.numpy() for c, keys in enumerate(queues.keys)}
    return taken | {"memory confidence": memory.confidence.numpy(), "memory images": memory.marks.numpy()}


def _gradients(student: Network) -> Arrays:
    """Under our names, which need the statistics beside them to tell a BatchNorm."""
    gradients = {name: numpy_of(p.grad).copy() for name, p in student.named_parameters() if p.requires_grad}
    gradients |= {name: value.numpy() for name, value in student.named_buffers() if "running_mean" in name}
    renamed = to_mindspore_names(gradients)
    return {f"gradient {name}": value for name, value in renamed.items() if "moving_mean" not in name}


def _kept_channels(case: Case, step: int) -> dict[str, torch.Tensor]:
    """Our dropout masks under the twin's names, which come in the same order."""
    shapes = dropout_shapes(case.spec, 2 * BATCH)
    planes = tuple(channels for _, channels in shapes.values())
    masks = dropout_masks(SEED, step, BatchSlice(0, BATCH, BATCH), planes, 0.1, kinds=2)
    return {name: torch.from_numpy(m.asnumpy()[:, :, 0, 0] > 0) for name, m in zip(shapes, masks, strict=True)}


def _tensors(batch: Batch, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
    label = None if batch.labels is None else torch.from_numpy(batch.labels).long()
    return torch.from_numpy(batch.images).to(dtype), label


def _twin_u2pl(case: Case, step: int, trained, queues: twin_u2pl.Queues, dtype: torch.dtype) -> dict[str, float]:
    student, teacher, optimizer = trained
    labeled, unlabeled = case.batches(step)
    image_l, label_l = _tensors(labeled, dtype)
    image_u, _ = _tensors(unlabeled, dtype)
    label_u, *_ = teacher_labels(teacher, image_u)
    boxes = torch.from_numpy(cutmix_boxes(BATCH, *CROP, generator(SEED, "cutmix", step)))
    image_u, label_u = (twin_training.cutmix(x, twin_training.box_masks(boxes, CROP)) for x in (image_u, label_u))
    cfg, rng = CONTRASTIVE, generator(SEED, "contrast", step, 0)
    shape = (case.spec.num_classes, cfg.num_queries)
    draws = tuple(torch.from_numpy(rng.random(size)) for size in (shape, (*shape, cfg.num_negatives)))
    sizes = (cfg.bank_size_background, *[cfg.bank_size] * (case.spec.num_classes - 1))
    passed = 1 - case.context.epoch(step) / case.context.trainer.epochs
    spec = twin_u2pl.U2PLSpec(
        contrast=twin_u2pl.ContrastSpec(
            cfg.low_rank, cfg.high_rank, cfg.current_class_threshold, cfg.temperature, sizes
        ),
        drop_percent=100 - 20 * passed,
        alpha=20 * passed,
        contrast_weight=cfg.loss_weight,
        criterion=twin_criterion(case.context),
    )
    batch = twin_u2pl.U2PLBatch(image_l, label_l, image_u, label_u, draws)
    return twin_u2pl.u2pl_step(student, teacher, optimizer, batch, queues, spec, step)


def _twin_ael(case: Case, step: int, trained, memory: twin_ael.Memory, dtype: torch.dtype) -> dict[str, float]:
    student, teacher, optimizer = trained
    labeled, unlabeled = case.batches(step)
    image_l, label_l = _pasted(step, *_tensors(labeled, dtype), memory)
    image_u, _ = _tensors(unlabeled, dtype)
    pseudo = twin_ael.label_in_training(teacher, image_u)
    image_u, pseudo = _mixed(step, image_u, pseudo, unlabeled.ids, memory, teacher)
    taught = twin_ael.label_in_training(teacher, image_l)
    rng = generator(SEED, "adaptive sampling", step)
    draws = [random_slice(rng, BatchSlice(0, BATCH, BATCH), CROP).astype(np.float32) for _ in range(2)]
    cfg = case.context.trainer.adaptive
    criterion = twin_criterion(case.context)
    spec = twin_ael.AELSpec(cfg.threshold, cfg.gamma, cfg.gamma2, cfg.momentum, cfg.absent, criterion)
    batch = twin_ael.AELBatch(image_l, label_l, taught, image_u, pseudo, tuple(map(torch.from_numpy, draws)))
    return twin_ael.ael_step(student, teacher, optimizer, batch, memory, spec, step)


def _pasted(step: int, images, labels, memory: twin_ael.Memory):
    """Copy-paste, classes drawn by the twin's probabilities."""
    probabilities = twin_ael.paste_probabilities(memory.confidence.double(), ADAPTIVE.copy_paste.leave_out).numpy()
    images, labels, others = images.clone(), labels.clone(), Images("labeled", LABELED)
    for i in range(BATCH):
        rng = generator(SEED, "copy-paste", step, i)
        happens, other = rng.random() < ADAPTIVE.copy_paste.prob, int(rng.integers(LABELED))
        if happens:
            image, label = (torch.from_numpy(x) for x in others.read(other)[:2])
            both = image.to(images.dtype), label.long()
            rng = generator(SEED, "copy-paste classes", step, i // 2)
            classes = rng.choice(len(probabilities), ADAPTIVE.copy_paste.number, p=probabilities / probabilities.sum())
            images[i], labels[i] = twin_ael.paste(images[i], labels[i], *both, sorted(set(classes.tolist())))
    return images, labels


def _mixed(step: int, images, pseudo, ids: list[str], memory: twin_ael.Memory, teacher: Network):
    """Adaptive CutMix: (images, (labels, confidences)); marks what the images and their partners show."""
    source = Images("unlabeled", UNLABELED)
    drawn = [memory.draw(*generator(SEED, "adaptive cutmix", step, i).random(2)) for i in range(BATCH)]
    partners = torch.stack([torch.from_numpy(source.read(image).image) for _, image in drawn]).to(images.dtype)
    shown = twin_ael.label_in_training(teacher, partners)
    boxes = []
    for i, (c, _) in enumerate(drawn):
        rng = generator(SEED, "adaptive box", step, i)
        box = component_box((shown[0][i] == c).numpy(), ADAPTIVE.cutmix.area_thresh * CROP[0] * CROP[1], rng)
        boxes.append(half_box(*CROP, rng) if box is None else box)
    inside = twin_training.box_masks(torch.from_numpy(np.stack(boxes)), CROP)
    for i, index in enumerate(source.indices_of(ids)):
        memory.mark(index, pseudo[0][i], ADAPTIVE.cutmix.area_thresh2)
        memory.mark(drawn[i][1], shown[0][i], ADAPTIVE.cutmix.area_thresh2)
    mixed = tuple(torch.where(inside, other, own) for own, other in zip(pseudo, shown, strict=True))
    return torch.where(inside[:, None], partners, images), mixed

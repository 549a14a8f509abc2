"""The same network, batch and draws on both sides: MindSpore (ours) and the PyTorch twin in float32 and float64.

Shared by the parity tests and by benchmarks/parity.py. Every difference is the largest absolute one, divided by the
largest absolute value of the float64 result.
"""

import copy
import dataclasses

import mindspore as ms
import numpy as np
import torch
from mindspore import Tensor
from reference import losses as twin_losses
from reference import training as twin_training
from reference.network import Network, NetworkSpec, inject_dropout
from reference.step import StepBatch, StepSpec, teacher_labels, train_step

from semiseg.checkpoints.match import require_match, shapes_of
from semiseg.common.rng import generator
from semiseg.config.keys import (
    AuxLossConfig,
    CriterionConfig,
    CriterionKwargs,
    DecoderConfig,
    DecoderKwargs,
    EncoderConfig,
    EncoderKwargs,
    NetConfig,
    OptimizerConfig,
    ProtoHeadConfig,
    SgdKwargs,
    TrainerConfig,
    UnsupervisedConfig,
)
from semiseg.data.loaders import Batch
from semiseg.engine.optim import SGD, poly
from semiseg.engine.step import TrainStep
from semiseg.interop.torch_names import to_mindspore_names
from semiseg.methods import RunContext, get_method
from semiseg.methods.mixing import cutmix_boxes
from semiseg.methods.sampling import BatchSlice, dropout_masks, grid_pixels
from semiseg.models import SegmentationNetwork, build_model

SMALL = NetworkSpec(depth=18, num_classes=5, width=8, inner_planes=16, aux=True, prototypes=2, zero_init_residual=False)
DROPOUT = ("decoder.head.3", "decoder.classifier.3", "decoder.classifier.7", "auxor.aux.3")
Arrays = dict[str, np.ndarray]


def config_of(spec: NetworkSpec) -> NetConfig:
    """Our configuration of a twin's network."""
    return NetConfig(
        num_classes=spec.num_classes,
        encoder=EncoderConfig(
            type=f"resnet{spec.depth}",
            freeze_bn=spec.freeze_bn,
            kwargs=EncoderKwargs(
                stem=spec.stem,
                multi_grid=spec.multi_grid is not None,
                zero_init_residual=spec.zero_init_residual,
                replace_stride_with_dilation=spec.replace_stride_with_dilation,
                width=spec.width,
            ),
        ),
        decoder=DecoderConfig(
            kwargs=DecoderKwargs(
                inner_planes=spec.inner_planes,
                dilations=spec.aspp_dilations,
                pool_norm=spec.pool_norm,
                rep_head=spec.rep_head,
            )
        ),
        aux_loss=AuxLossConfig() if spec.aux else None,
        proto_head=ProtoHeadConfig(num_micro_proto=spec.prototypes, select_granularity=8) if spec.prototypes else None,
    )


def twin_of(spec: NetworkSpec, seed: int) -> Network:
    """A float32 twin in evaluation mode whose statistics, scales and biases are not 0 and 1."""
    torch.manual_seed(seed)
    network = Network(spec).eval()
    draw = torch.Generator().manual_seed(seed + 1)
    norms = {name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    for name, value in network.state_dict().items():
        module, _, leaf = name.rpartition(".")
        if module in norms and leaf in ("weight", "running_var"):
            value.copy_(torch.rand(value.shape, generator=draw) + 0.5)
        elif leaf in ("bias", "running_mean"):
            value.copy_(0.2 * torch.randn(value.shape, generator=draw))
    return network


def arrays_of(twin: Network) -> Arrays:
    """A twin's state under our names."""
    return to_mindspore_names({name: value.numpy() for name, value in twin.state_dict().items()})


def load(network: SegmentationNetwork, arrays: Arrays) -> SegmentationNetwork:
    """Our network with these arrays, every name and shape matched."""
    parameters = dict(network.parameters_and_names())
    require_match(shapes_of(arrays), shapes_of(parameters), "the twin")
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name].astype(np.float32)))
    return network


def pair(spec: NetworkSpec, seed: int) -> tuple[SegmentationNetwork, Network]:
    """Ours and the float32 twin with the same weights, in evaluation mode."""
    twin = twin_of(spec, seed)
    return load(build_model(config_of(spec)), arrays_of(twin)), twin


def image_of(seed: int, *shape: int) -> np.ndarray:
    """Smooth random images in float32, about as large as normalised ones."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(*shape[:-2], 9, 11)))
    fine = torch.nn.functional.interpolate(coarse, shape[-2:], mode="bilinear", align_corners=True).numpy()
    return (fine + 0.3 * rng.normal(size=shape)).astype(np.float32)


def difference(actual: np.ndarray, exact: np.ndarray, least: float = 0.0) -> float:
    """max |actual - exact| / max |exact|, the divisor being at least ``least``."""
    exact = np.asarray(exact, np.float64)
    scale = max(np.abs(exact).max(initial=0.0), least)
    return float(np.abs(np.asarray(actual, np.float64) - exact).max(initial=0.0) / (scale or 1.0))


def step_differences(ours: Arrays, single: Arrays, double: Arrays) -> dict[str, dict[str, tuple[float, float]]]:
    """kind (loss, term, gradient, student, teacher) -> name -> (ours, torch float32), both against float64.

    A bias before a BatchNorm has a gradient of exactly 0; gradients are therefore measured against at least a
    thousandth of the largest of all.
    """
    largest = max((np.abs(value).max() for name, value in double.items() if name.startswith("gradient ")), default=0)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, exact in double.items():
        kind, _, rest = name.partition(" ")
        least = 1e-3 * largest if kind == "gradient" else 0.0
        both = difference(ours[name], exact, least), difference(single[name], exact, least)
        found.setdefault(kind, {})[rest] = both
    return found


def numpy_of(value: torch.Tensor) -> np.ndarray:
    return value.detach().numpy()


def evaluation_outputs(spec: NetworkSpec, size: tuple[int, int], seed: int = 0) -> dict[str, tuple[np.ndarray, ...]]:
    """Output name -> (ours, twin float32, twin float64) on one image of ``size``."""
    network, twin = pair(spec, seed)
    exact = copy.deepcopy(twin).double()
    image = image_of(seed, 1, 3, *size)
    ours = network(Tensor(image))
    with torch.no_grad():
        single, double = twin(torch.from_numpy(image)), exact(torch.from_numpy(image).double())
    return {
        name: (getattr(ours, name).asnumpy(), numpy_of(getattr(single, name)), numpy_of(getattr(double, name)))
        for name in ("pred", "rep", "aux", "proto")
        if getattr(double, name) is not None
    }


@dataclasses.dataclass
class StepCase:
    """One training step: everything both sides are given."""

    spec: NetworkSpec
    context: RunContext
    method: str
    step: int
    labeled: Batch
    unlabeled: Batch | None
    student: Network
    teacher: Network


def context_of(
    spec: NetworkSpec, trainer: TrainerConfig, batch: int, crop: tuple[int, int], steps_per_epoch: int, images=None
) -> RunContext:
    """What a method is given on our side, with OHEM; images are normalised already."""
    return RunContext(
        trainer=trainer,
        criterion=CriterionConfig(type="ohem", kwargs=CriterionKwargs(thresh=0.3, min_kept=2000)),
        net=config_of(spec),
        batch_size=batch,
        crop=crop,
        steps_per_epoch=steps_per_epoch,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        new_network=lambda: build_model(config_of(spec)),
        images=images,
    )


def labels_of(seed: int, count: int) -> np.ndarray:
    """int32 count x 65 x 65 in blocks, with ignored pixels."""
    labels = np.random.default_rng(seed).integers(0, SMALL.num_classes, (count, 5, 5)).repeat(13, 1).repeat(13, 2)
    labels[0, :, :9] = 255
    return labels.astype(np.int32)


def step_case(method: str, jit: bool = False, seed: int = 4, mix: bool = True, freeze_bn: bool = False) -> StepCase:
    """A step of ``suponly`` or ``ours`` on 2 (+ 2) images of 65 x 65, with dropout, CutMix and OHEM."""
    spec = dataclasses.replace(SMALL, prototypes=SMALL.prototypes if method == "ours" else 0, freeze_bn=freeze_bn)
    crop, batch, step = (65, 65), 2, 3
    trainer = TrainerConfig(
        epochs=10,
        sup_only_epoch=0,
        seed=seed,
        jit=jit,
        optimizer=OptimizerConfig(kwargs=SgdKwargs(lr=0.05, momentum=0.9, weight_decay=1e-3), decoder_lr_times=4.0),
        unsupervised=UnsupervisedConfig(confid_thresh=0.25, aug_prob=1.0 if mix else 0.0),
    )
    context = context_of(spec, trainer, batch, crop, steps_per_epoch=4)
    names = [f"image{i}" for i in range(batch)]
    labeled = Batch(step, names, image_of(seed, batch, 3, *crop), labels_of(seed, batch))
    unlabeled = Batch(step, names, image_of(seed + 1, batch, 3, *crop), None) if method == "ours" else None
    return StepCase(spec, context, method, step, labeled, unlabeled, twin_of(spec, seed), twin_of(spec, seed + 5))


def our_step(case: StepCase) -> Arrays:
    """Everything that our step changes or computes, by name."""
    method = get_method(case.method)(case.context)
    student = load(method.student, arrays_of(case.student))
    teacher = load(method.teacher.network, arrays_of(case.teacher))
    optimizer = SGD(method.optimized, case.context.trainer)
    taken: Arrays = {}
    inner = optimizer._step

    def keep_gradients(gradients, *rates):
        for weight, gradient in zip(optimizer.weights, gradients, strict=True):
            taken[f"gradient {weight.name}"] = gradient.asnumpy()
        inner(gradients, *rates)

    optimizer._step = keep_gradients
    result = TrainStep(method, optimizer)(case.step, case.labeled, case.unlabeled)
    taken["loss"] = np.array(result.loss)
    taken |= {f"term {name}": np.array(value) for name, value in result.terms.items() if name != "mask_ratio"}
    for part, network in (("student", student), ("teacher", teacher)):
        taken |= {f"{part} {name}": p.asnumpy() for name, p in network.parameters_and_names()}
    return taken


def twin_step(case: StepCase, double: bool) -> Arrays:
    """The same step on the twin, by the same names."""
    dtype = torch.float64 if double else torch.float32
    student, teacher = (copy.deepcopy(twin).to(dtype) for twin in (case.student, case.teacher))
    context, kwargs = case.context, case.context.trainer.optimizer.kwargs
    optimizer = twin_training.make_optimizer(
        student, kwargs.lr, kwargs.momentum, kwargs.weight_decay, context.trainer.optimizer.decoder_lr_times
    )
    for group in optimizer.param_groups:
        group["lr"] *= poly(case.step, context.steps, context.trainer.lr_scheduler.kwargs.power)
    images = len(case.labeled.images) + (len(case.unlabeled.images) if case.unlabeled else 0)
    planes = (case.spec.inner_planes,) * len(DROPOUT)
    masks = dropout_masks(context.trainer.seed, case.step, BatchSlice(0, images, images), planes, 0.1)
    kept = {name: torch.from_numpy(mask.asnumpy()[:, :, 0, 0] > 0) for name, mask in zip(DROPOUT, masks, strict=True)}
    inject_dropout(student, kept)
    criterion = twin_criterion(context)
    image_l, label_l = torch.from_numpy(case.labeled.images).to(dtype), torch.from_numpy(case.labeled.labels).long()
    if case.unlabeled is None:
        student.train()
        out = student(image_l)
        loss = twin_losses.supervised(out.pred, out.aux, label_l, criterion, 0.4)
        loss.backward()
        optimizer.step()
        twin_training.update_teacher(teacher, student, case.step, context.net.ema_decay)
        terms = {"sup": loss.item()}
    else:
        batch = _twin_batch(case, teacher, image_l, label_l)
        spec = StepSpec(k=case.spec.prototypes, threshold=context.trainer.unsupervised.confid_thresh)
        spec = dataclasses.replace(spec, criterion=criterion)
        terms = train_step(student, teacher, optimizer, batch, spec, case.step)
        terms = {{"sup_proto": "proto_sup", "unsup_proto": "proto_unsup"}.get(k, k): v for k, v in terms.items()}
    taken = {"loss": np.array(sum(terms.values()))} | {f"term {k}": np.array(v) for k, v in terms.items()}
    gradients = {name: numpy_of(p.grad) for name, p in student.named_parameters() if p.requires_grad}
    gradients |= {name: value.numpy() for name, value in student.named_buffers() if "running_mean" in name}
    renamed = to_mindspore_names(gradients)
    taken |= {f"gradient {name}": value for name, value in renamed.items() if "moving_mean" not in name}
    for part, network in (("student", student), ("teacher", teacher)):
        taken |= {f"{part} {name}": value for name, value in arrays_of(network).items()}
    return taken


def twin_criterion(context: RunContext):
    kwargs = context.criterion.kwargs
    return lambda logits, label: twin_losses.ohem_cross_entropy(logits, label, kwargs.thresh, kwargs.min_kept)


def _twin_batch(case: StepCase, teacher: Network, image_l: torch.Tensor, label_l: torch.Tensor) -> StepBatch:
    """Pseudo-labels by the twin's teacher; boxes and pixels as our generators draw them."""
    seed, size = case.context.trainer.seed, case.context.crop
    image_u = torch.from_numpy(case.unlabeled.images).to(image_l.dtype)
    label, confidence, _ = teacher_labels(teacher, image_u)
    if case.context.trainer.unsupervised.aug_prob:
        boxes = cutmix_boxes(len(image_u), *size, generator(seed, "cutmix", case.step))
        inside = twin_training.box_masks(torch.from_numpy(boxes), size)
        image_u, label, confidence = (twin_training.cutmix(x, inside) for x in (image_u, label, confidence))
    rows, cols = grid_pixels(seed, case.step, size, case.context.net.proto_head.select_granularity)
    points = torch.from_numpy(np.stack([rows, cols], 1))
    return StepBatch(image_l, label_l, image_u, label, confidence, points)


def gradient_of(function, logits: np.ndarray) -> tuple[float, np.ndarray]:
    """Value of a MindSpore function of one array, and its gradient."""
    value, gradient = ms.value_and_grad(function)(Tensor(logits.astype(np.float32)))
    return float(value), gradient.asnumpy()


def twin_gradient_of(function, logits: np.ndarray, double: bool) -> tuple[float, np.ndarray]:
    """Value of a torch function of one array, and its gradient."""
    x = torch.from_numpy(logits.astype(np.float32)).to(torch.float64 if double else torch.float32).requires_grad_()
    value = function(x)
    value.backward()
    return value.item(), numpy_of(x.grad)

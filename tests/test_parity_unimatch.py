"""UniMatch's network and two whole steps of ``unimatch`` and ``fixmatch`` against a PyTorch twin, judged in float64."""

import copy
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from mindspore import Tensor
from parity_cases import SMALL, difference, image_of, labels_of, load, numpy_of, step_differences
from reference import losses as twin_losses
from reference import unimatch as twin
from tiny import config_of

from semiseg.data.loaders import Batch
from semiseg.engine.optim import SGD, poly
from semiseg.engine.step import TrainStep
from semiseg.interop.torch_names import from_torch
from semiseg.methods import RunContext, get_method
from semiseg.methods.context import StepBatch
from semiseg.methods.sampling import BatchSlice
from semiseg.models import build_model

pytestmark = pytest.mark.parity
METHODS, PARTNERS = ("fixmatch", "unimatch"), {"fixmatch": "other_image", "unimatch": "same_image"}
CROP, BATCH, SEED, STEPS, THRESHOLD, LR = (65, 65), 2, 3, (3, 4), 0.25, 0.05
NOISE = 1e-7  # of a float32 sum
NET = (
    f"net.num_classes={SMALL.num_classes}",
    "net.encoder.type=resnet18",
    "net.encoder.kwargs={width: 8, multi_grid: false, pool_ceil: false, zero_init_residual: false}",
    "net.encoder.kwargs.replace_stride_with_dilation=[false, false, true]",
    f"net.decoder={{type: dec_unimatch, kwargs: {{inner_planes: {SMALL.inner_planes}, dilations: [1, 2, 3]}}}}",
)


def twin_of(seed, pool_norm=True):
    """In evaluation mode; statistics, scales and biases are not 0 and 1."""
    torch.manual_seed(seed)
    dilated, rates = (False, False, True), (1, 2, 3)
    network = twin.Network(
        twin.NetworkSpec(
            **vars(SMALL) | {"replace_stride_with_dilation": dilated, "aspp_dilations": rates, "pool_norm": pool_norm}
        )
    )
    draw = torch.Generator().manual_seed(seed + 1)
    for module in network.eval().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.copy_(torch.rand(value.shape, generator=draw) + 0.5)
            for value in (module.bias.data, module.running_mean):
                value.copy_(0.2 * torch.randn(value.shape, generator=draw))
    return network


def ours_from(network):
    """Our arrays, by the names that a published file would have."""
    state = {f"module.{name}": value.numpy() for name, value in network.state_dict().items()}
    return from_torch({"model": state, "epoch": 3}, "unimatch.pth").state


@pytest.mark.parametrize(
    ("size", "pool_norm"), [((65, 65), True), ((64, 82), True), ((65, 65), False)], ids=["odd", "even", "pool bias"]
)
def test_a_published_files_names_load_and_give_the_same_logits(size, pool_norm):
    network = twin_of(SEED, pool_norm)
    config = config_of(*NET, f"net.decoder.kwargs.pool_norm={str(pool_norm).lower()}")
    ours = load(build_model(config.net), ours_from(network))
    image = image_of(1, 2, 3, *size)
    with torch.no_grad():
        exact = numpy_of(network.double()(torch.from_numpy(image).double()))
        low = torch.nn.functional.interpolate  # the same resizing on both sides
        pred = torch.from_numpy(ours(Tensor(image)).pred.asnumpy()).double()
    assert pred.shape[2:] == ours.feature_size(*size)
    assert difference(low(pred, size, mode="bilinear", align_corners=True).numpy(), exact) < 1e-5


class Case(NamedTuple):
    """What both sides are given."""

    method: str
    context: RunContext
    network: twin.Network

    def batches(self, step):
        """Labelled and unlabelled images of a step, with padding in one of the latter."""
        ids = [f"image{i}" for i in range(BATCH)]
        labeled = Batch(step, ids, image_of(100 + step, BATCH, 3, *CROP), labels_of(step, BATCH))
        inside = np.ones((2, BATCH, *CROP), bool)
        inside[:, 0, :, :7] = inside[1, 1, -9:] = False
        images, again = image_of(200 + step, BATCH, 3, *CROP), image_of(300 + step, BATCH, 3, *CROP)
        noise = 0.3 * image_of(400 + step, 2 * BATCH, 3, *CROP).reshape(BATCH, 2, 3, *CROP)
        strong = [x[:, None] + noise for x in (images, again)]
        second = Batch(step, ids, again, None, inside[1], strong[1])
        return labeled, Batch(step, ids, images, None, inside[0], strong[0], second)


def case_of(method, jit=False):
    config = config_of(
        *NET,
        f"method={method}",
        "dataset.train.strong={}",
        f"trainer={{epochs: 10, sup_only_epoch: 0, seed: {SEED}, jit: {str(jit).lower()}}}",
        f"trainer.optimizer={{kwargs: {{lr: {LR}, weight_decay: 0.001}}, decoder_lr_times: 4}}",
        f"trainer.unsupervised.confid_thresh={THRESHOLD}",
        f"trainer.weak_to_strong={{partner: {PARTNERS[method]}, box_prob: 0.9}}",
        "net={proto_head: null, ema_decay: 0}",
    )
    context = RunContext(
        trainer=config.trainer,
        criterion=config.criterion,
        net=config.net,
        batch_size=BATCH,
        crop=CROP,
        steps_per_epoch=STEPS[-1],
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        new_network=lambda: build_model(config.net),
        images=None,
        mask_padding=True,
        strong=True,
    )
    return Case(method, context, twin_of(SEED))


def our_steps(case):
    """Terms by step, gradients of the first one, weights and statistics by step; and what was drawn, by step."""
    method = get_method(case.method)(case.context)
    load(method.student, ours_from(case.network))
    optimizer = SGD(method.optimized, case.context.trainer)
    taken, drawn, inner = {}, {}, optimizer._step

    def keep_gradients(gradients, *rates):
        for weight, gradient in zip(optimizer.weights, gradients, strict=True):
            taken.setdefault(f"gradient {weight.name}", gradient.asnumpy())
        return inner(gradients, *rates)

    optimizer._step = keep_gradients
    train_step = TrainStep(method, optimizer)
    for step in STEPS:
        labeled, unlabeled = case.batches(step)
        drawn[step] = method.inputs(step, StepBatch(labeled, unlabeled, BatchSlice(0, BATCH, BATCH)))
        result = train_step(step, labeled, unlabeled)
        taken |= {f"term{step} {name}": np.array(value) for name, value in result.terms.items()}
        taken |= {f"student{step} {name}": p.asnumpy().copy() for name, p in method.student.parameters_and_names()}
    return taken, drawn


def twin_steps(case, drawn, double):
    """The same steps on the twin, by the same names; boxes and dropped channels are those drawn by us."""
    dtype = torch.float64 if double else torch.float32
    network = copy.deepcopy(case.network).to(dtype)
    backbone = list(network.backbone.parameters())
    others = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": backbone, "lr": LR}, {"params": others, "lr": 4 * LR}]
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=0.9, weight_decay=0.001)
    taken = {}
    for step in STEPS:
        for group, times in zip(optimizer.param_groups, (1, 4), strict=True):
            group["lr"] = times * LR * poly(step, case.context.steps, 0.9)
        terms = twin.step(
            network, optimizer, _twin_batch(case, step, drawn[step], dtype), THRESHOLD, twin_losses.cross_entropy
        )
        taken |= {f"term{step} {name}": np.array(value) for name, value in terms.items()}
        if step == STEPS[0]:
            gradients = {name: numpy_of(p.grad).copy() for name, p in network.named_parameters()}
            statistics = {name: value for name, value in network.named_buffers() if "running_mean" in name}
            renamed = from_torch(gradients | {n: v.numpy() for n, v in statistics.items()}, "gradients").state
            taken |= {f"gradient {name}": value for name, value in renamed.items() if "moving_mean" not in name}
        taken |= {f"student{step} {name}": value.copy() for name, value in ours_from(network).items()}
    return taken


def _twin_batch(case, step, inputs, dtype):
    labeled, weak = case.batches(step)
    views = len(inputs.image_s) // BATCH
    real = lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(dtype)  # noqa: E731
    if PARTNERS[case.method] == "same_image":
        partner = weak.again
    else:
        rolled = (np.roll(array, -1, 0) for array in (weak.images, weak.inside, weak.strong))
        partner = Batch(step, weak.ids, next(rolled), None, *rolled)
    channels = tuple(real(mask.asnumpy()) for mask in inputs.channels) if case.method == "unimatch" else None
    return twin.StepBatch(
        image_l=real(labeled.images),
        label_l=torch.from_numpy(labeled.labels).long(),
        weak=real(weak.images),
        strong=real(weak.strong[:, :views].swapaxes(0, 1)),
        inside=torch.from_numpy(weak.inside),
        partner_weak=real(partner.images),
        partner_strong=real(partner.strong[:, :views].swapaxes(0, 1)),
        partner_inside=torch.from_numpy(partner.inside),
        boxes=torch.from_numpy(inputs.box.asnumpy()).unflatten(0, (views, BATCH)),
        channels=channels,
    )


@pytest.fixture(scope="module", params=METHODS)
def plain(request):
    """(method, ours without compiling, what was drawn, twin in float32, twin in float64)"""
    case = case_of(request.param)
    ours, drawn = our_steps(case)
    return request.param, ours, drawn, twin_steps(case, drawn, double=False), twin_steps(case, drawn, double=True)


def test_terms_gradients_weights_and_statistics_are_the_twins(plain):
    _, ours, _, single, double = plain
    assert ours.keys() == double.keys()
    for kind, found in step_differences(ours, single, double).items():
        usual = float(np.median([of_torch for _, of_torch in found.values()]))
        for name, (of_ours, of_torch) in found.items():
            assert of_ours <= 16 * max(of_torch, usual, NOISE), f"{kind} {name}: {of_ours:.1e}, torch {of_torch:.1e}"


def test_compiled_steps_are_the_plain_ones(plain):
    method, ours, _, _, _ = plain
    compiled, _ = our_steps(case_of(method, jit=True))
    assert compiled.keys() == ours.keys()
    for kind, found in step_differences(compiled, compiled, ours).items():
        worst = max(found, key=lambda name: found[name][0])
        assert found[worst][0] < (1e-3 if kind == "gradient" else 5e-5), f"{kind} {worst}"


def test_the_steps_compared_are_no_trivial_ones(plain):
    method, _, drawn, _, done = plain
    terms = {name: float(value) for name, value in done.items() if name.startswith("term")}
    assert min(terms.values()) > 0.05
    assert len(set(terms.values())) == len(terms)
    boxes = np.stack([inputs.box.asnumpy().mean((1, 2)) for inputs in drawn.values()])
    assert (boxes > 0.02).sum() > len(boxes)
    assert all(0 < terms[f"term{step} mask_ratio"] < 1 for step in STEPS)
    if method == "unimatch":
        kept = [mask.asnumpy() > 0 for mask in drawn[STEPS[0]].channels]
        assert all(0.2 < mask.mean() < 0.8 for mask in kept)

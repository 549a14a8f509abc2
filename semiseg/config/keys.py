"""Every key of the configuration: its type, default, description, range, and the runs in which it is read.

Section and key names are U2PL's where they exist. Only the command lines see the whole ``Config``; everyone else is
given its own part. ``python tools/config_reference.py`` writes docs/configuration.md and experiments/schema.json anew.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from semiseg.config.fields import (
    PERCENT,
    PROBABILITY,
    SCALES,
    SET,
    SHARE_OF_CROP,
    SHARE_OF_WINDOW,
    STRENGTH,
    Amp,
    Color,
    Positive,
    Rgb,
    Scales,
    Section,
    Size,
    Text,
    about,
    flatten,
    key,
)

# Methods that learn from unlabelled images: from a teacher's pseudo-labels, or from the student's own on a weak view.
TAUGHT = ("mean_teacher", "u2pl", "ael", "ours")
WEAK_TO_STRONG = ("fixmatch", "unimatch")
SEMI = (*TAUGHT, *WEAK_TO_STRONG)
METHODS = ("suponly", *SEMI)
_SEMI = {"method": SEMI}
_TAUGHT = {"method": TAUGHT}
# What is evaluated in windows, after training or during it.
SLIDE = ({"evaluation.mode": "slide"}, {"trainer.eval_mode": "slide"})
CENTER = ({"evaluation.mode": "center"}, {"trainer.eval_mode": "center"})


class CropConfig(Section):
    """What training cuts out of each image, at a place that is drawn."""

    size: Size = key((513, 513), "height and width in pixels")


class ValCropConfig(Section):
    """What evaluation.mode center scores: the middle of each image."""

    size: Size = key((513, 513), "height and width in pixels", read_if=CENTER)


class JitterConfig(Section):
    """Colour jitter as torchvision's ColorJitter: factors uniform in 1 - strength ... 1 + strength, in random order."""

    prob: float = key(0.8, "share of the views", **PROBABILITY)
    brightness: float = key(0.5, "strength", **STRENGTH)
    contrast: float = key(0.5, "strength", **STRENGTH)
    saturation: float = key(0.5, "strength", **STRENGTH)
    hue: float = key(0.25, "turned by up to this share of the colour circle", ge=0, le=0.5, expected="0..0.5")


class BlurConfig(Section):
    """Gaussian blur."""

    prob: float = key(0.5, "share of the views", **PROBABILITY)
    sigma: Scales = key((0.1, 2.0), "range of the standard deviation in pixels", **SCALES)


class StrongConfig(Section):
    """The strong view of an unlabelled crop: the same pixels, photometrically distorted; ``{}`` is FixMatch's."""

    jitter: JitterConfig | None = JitterConfig()
    grayscale: float = key(0.2, "share of the views without colour", **PROBABILITY)
    blur: BlurConfig | None = BlurConfig()


class TrainDataConfig(Section):
    """The training streams. Lists are derived from ``dataset.split`` unless written here."""

    data_root: Path | None = key(None, "null: dataset.data_root")
    data_list: Path | None = key(None, "labelled ids; with dataset.labeled_ratio: the pool it is drawn from")
    unlabeled_list: Path | None = key(None, "null: unlabeled.txt of the split")
    unlabeled_dir: Path | None = key(None, "instead of a list: every image in this folder")
    flip: bool = key(True, "mirror every other image")
    rand_resize: Scales | None = key((0.5, 2.0), "range of the random scale; null: none", **SCALES)
    scale_draw: Literal["halves", "uniform"] = key(
        "halves",
        "half of the scales below 1 and half above (U2PL), or uniform over the range (UniMatch)",
        read_if={"dataset.train.rand_resize": SET},
    )
    crop: CropConfig = CropConfig()
    strong: StrongConfig | None = key(
        None,
        "what the student sees of unlabelled images in place of the weak crop that is labelled for it; null: the weak "
        "crop itself",
        read_if=_SEMI,
    )
    pad_label: int = key(
        255,
        "the label of padding outside the image. One that is no class: padding is no image in either stream and has no "
        "pseudo-label, no loss, no place in a bank or count. A class (0 in U2PL's code, background): it is learnt as "
        "this class, and pseudo-labelled in unlabelled images",
        ge=0,
        le=255,
    )


class ValDataConfig(Section):
    """The evaluation images."""

    data_root: Path | None = key(None, "null: dataset.data_root")
    data_list: Path | None = key(None, "null: val.txt in dataset.splits")
    crop: ValCropConfig = ValCropConfig()


class CustomConfig(Section):
    """A data set of one's own (``dataset.type: custom``); docs/datasets.md walks through it.

    ``image`` and ``mask``: paths below the data root, ``{id}`` where the sample's id goes. Masks hold class indices, or
    ``colors`` (one per class, ``ignore_color`` for pixels that do not count).
    """

    name: Text = key("custom", "the folder of its runs below saver.root")
    classes: tuple[Text, ...] = key((), "in the order of their index")
    image: Text = key("images/{id}.jpg", "path of an image below the data root")
    mask: Text = key("masks/{id}.png", "path of its mask; {id:images=masks}: train/images/1 -> train/masks/1")
    mask_kind: Literal["index", "color"] = key("index", "what masks hold")
    colors: tuple[Color, ...] | None = key(None, "red, green, blue of each class")
    ignore_color: Color | None = key(None, "of pixels that do not count")


class DatasetConfig(Section):
    """Which images, which split, how they are read. ``batch_size`` counts labelled images (and as many unlabelled)."""

    type: Text = key(
        "synthetic",
        "pascal, cityscapes, camvid, synthetic, synthetic_longtail or custom",
        examples=["pascal", "cityscapes", "camvid", "synthetic", "synthetic_longtail", "custom"],
    )
    custom: CustomConfig | None = None
    data_root: Path | None = key(
        None, "folder of images and masks", read_if=({"dataset.train.data_root": None}, {"dataset.val.data_root": None})
    )
    splits: Path | None = key(None, "folder that holds <split>/labeled.txt, <split>/unlabeled.txt and val.txt")
    split: Text | None = key(None, "name of the folder of lists")
    labeled_ratio: float | None = key(
        None,
        "draws the labelled part from the whole pool instead of a written split",
        gt=0,
        lt=1,
        expected="a share between 0 and 1",
    )
    split_seed: int = key(0, "another seed, another draw", ge=0, read_if={"dataset.labeled_ratio": SET})
    train: TrainDataConfig = TrainDataConfig()
    val: ValDataConfig = ValDataConfig()
    batch_size: int = key(2, "labelled images of a (micro-)batch on one device, and as many unlabelled", ge=1)
    workers: int = key(2, "threads that read ahead; no effect on the result", ge=0, expected="0 or more threads")
    on_error: Literal["stop", "skip"] = key(
        "stop", "an unreadable image: stop and name it, or take the next one and count"
    )
    max_pixels: int = key(
        500_000_000,
        "larger images are refused before they are decoded; one takes at least 3 bytes a pixel",
        ge=1,
        expected="at least 1 pixel",
    )
    mean: Rgb | None = key(None, "of RGB values 0..255; null: what the encoder's ImageNet weights were trained with")
    std: tuple[Positive, Positive, Positive] | None = key(
        None, "of RGB values 0..255; null: as mean", expected="three numbers above 0"
    )
    ignore_label: int = key(255, "the value of pixels that do not count in index masks", ge=0, le=255)


class SgdKwargs(Section):
    """torch.optim.SGD's arguments of the same names."""

    lr: float = key(0.001, "of the encoder, at the start", gt=0)
    momentum: float = key(0.9, ge=0, lt=1)
    weight_decay: float = key(0.0001, ge=0)


class OptimizerConfig(Section):
    """SGD with two groups: the encoder, and everything else at ``decoder_lr_times`` its rate."""

    kwargs: SgdKwargs = SgdKwargs()
    decoder_lr_times: float = key(10.0, "rate of everything but the encoder", gt=0)


class PolyKwargs(Section):
    """lr = base * (1 - step / steps) ** power."""

    power: float = key(0.9, "0: a constant rate", ge=0)


class SchedulerConfig(Section):
    """The learning-rate schedule, per step."""

    kwargs: PolyKwargs = PolyKwargs()


_MAY_BE_SOFT = {"trainer.unsupervised.rule": "confidence", "method": ("mean_teacher", "ours")}
_BY_CONFIDENCE = (
    {**_MAY_BE_SOFT, "trainer.unsupervised.targets": "hard"},
    {"trainer.unsupervised.rule": "confidence", "method": "u2pl"},
)
_BY_THRESHOLD = (*_BY_CONFIDENCE, {"method": WEAK_TO_STRONG})
_MIXED = (
    {"trainer.unsupervised.apply_aug": ("cutmix", "classmix", "cutout"), **_TAUGHT},
    {"trainer.adaptive.cutmix": SET, **_TAUGHT},
)


class UnsupervisedConfig(Section):
    """Pseudo-labels and their loss."""

    rule: Literal["confidence", "entropy"] = key("confidence", "which pseudo-labels are used", read_if=_TAUGHT)
    confid_thresh: float = key(0.8, "pixels below are left out", read_if=_BY_THRESHOLD, **PROBABILITY)
    drop_percent: float = key(
        80.0,
        "percent of pixels kept at the start, rising linearly to 100",
        read_if={"trainer.unsupervised.rule": "entropy", **_TAUGHT},
        **PERCENT,
    )
    targets: Literal["hard", "soft"] = key(
        "hard",
        "what the student follows: the teacher's class of each confident pixel (published), or at every pixel its "
        "probabilities of all classes",
        read_if=_MAY_BE_SOFT,
    )
    normalize: Literal["all", "confident"] = key(
        "all", "divide by all pixels or by the confident ones", read_if=_BY_CONFIDENCE
    )
    apply_aug: Literal["cutmix", "classmix", "cutout", "none"] = key(
        "cutmix", "how unlabelled images are mixed", read_if={"trainer.adaptive.cutmix": None, **_TAUGHT}
    )
    aug_prob: float = key(0.5, "share of steps that mix", read_if=_MIXED, **PROBABILITY)
    loss_weight: float = key(1.0, "of the unsupervised loss", ge=0)


class ContrastiveConfig(Section):
    """U2PL's contrastive loss on unreliable pixels (method u2pl)."""

    low_rank: int = key(3, "unlabelled negatives: the teacher ranks the class from low_rank ...", ge=1)
    high_rank: int = key(20, "... to high_rank - 1")
    current_class_threshold: float = key(
        0.3, "anchors: the teacher's probability of their class is above", ge=0, lt=1, expected="a probability, 0..1"
    )
    low_entropy_threshold: float = key(
        20.0,
        "percent of pixels that are certain at the start, and as many uncertain",
        ge=0,
        le=50,
        expected="a percentage, 0..50",
    )
    negative_high_entropy: bool = key(True, "false: negatives of any entropy")
    negatives: Literal["paper", "published"] = key(
        "paper", "which pixels are negatives: by the paper's rule, or as U2PL's code has it, faults included"
    )
    num_queries: int = key(256, "anchors a class", ge=1)
    num_negatives: int = key(50, "for each anchor", ge=1)
    temperature: float = key(0.5, "of the similarities", ge=0.05)
    loss_weight: float = key(1.0, "of the contrastive loss", ge=0)
    bank_size: int = key(30000, "representations kept a class", ge=1)
    bank_size_background: int = key(50000, "of class 0", ge=1)


class AdaptiveCutmixConfig(Section):
    """AEL's CutMix: what is pasted is a badly learnt class, from an image that holds it. Shares are of the crop."""

    area_thresh: float = key(0.005, "a connected component must be larger to lend its bounding box", **SHARE_OF_CROP)
    area_thresh2: float = key(
        0.01, "a class must cover so much for the image to be marked as holding it", **SHARE_OF_CROP
    )


class CopyPasteConfig(Section):
    """AEL's copy-paste: pixels of badly learnt classes of another labelled image, laid over a labelled image."""

    number: int = key(3, "classes drawn for every two images", ge=1, expected="at least 1 class")
    prob: float = key(0.5, "share of the labelled images that get something pasted", **PROBABILITY)
    rand_resize: Scales = key((0.1, 2.0), "of the other image", **SCALES)
    leave_out: tuple[Annotated[int, Field(ge=0)], ...] = key(
        (), "classes that are never pasted", expected="classes, and not all of them"
    )


_UNIMATCH = {"method": "unimatch"}


class WeakToStrongConfig(Section):
    """FixMatch and UniMatch: the student follows on strong views what it says of the weak one."""

    partner: Literal["other_image", "same_image"] = key(
        "other_image",
        "what a box is pasted from: the next image of the (micro-)batch, or the same one under another augmentation "
        "(published)",
    )
    box_prob: float = key(0.5, "share of the strong views with a box from the partner", **PROBABILITY)
    box_area: Scales = key(
        (0.02, 0.4), "range of the box's share of the crop", expected="[low, high] with 0 < low <= high <= 1"
    )
    box_ratio: Scales = key((0.3, 1 / 0.3), "range of height / width", **SCALES)
    feature_dropout: float = key(
        0.5, "share of channels dropped from the two maps that the decoder reads", ge=0, lt=1, read_if=_UNIMATCH
    )
    strong_loss_weight: float = key(0.5, "of the mean loss of the two strong views", ge=0, read_if=_UNIMATCH)
    feature_loss_weight: float = key(0.5, "of the loss on perturbed features", ge=0, read_if=_UNIMATCH)


_AEL = {"method": "ael"}
_SAMPLED = (  # by one of AEL's samplers
    _AEL,
    {"trainer.adaptive.cutmix": SET, **_TAUGHT},
    {"trainer.adaptive.copy_paste": SET, **_TAUGHT},
)
_RESNET = {"net.encoder.type": ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")}


class AdaptiveConfig(Section):
    """Adaptive equalization learning (AEL, NeurIPS 2021): training is tilted towards classes of low confidence.

    Every semi-supervised method reads momentum, cutmix and copy_paste; the rest is of method ael.
    """

    momentum: float = key(0.999, "of each class's confidence", ge=0, lt=1)
    absent: Literal["keep", "decay"] = key(
        "keep",
        "the confidence of a class that no labelled image shows; decay: 0 in each pair of images without it, as "
        "published, so that rare classes count as unlearnt",
    )
    cutmix: AdaptiveCutmixConfig | None = key(None, "null: trainer.unsupervised.apply_aug mixes")
    copy_paste: CopyPasteConfig | None = None
    sample: bool = key(True, "leave out pixels of classes that are learnt well, at random", read_if=_AEL)
    gamma2: float = key(
        1.0, "exponent of the probability that a pixel stays", ge=0, read_if={**_AEL, "trainer.adaptive.sample": True}
    )
    gamma: float = key(
        2.0, "exponent of the teacher's confidence as a pixel's weight; 0: no weights", ge=0, read_if=_AEL
    )
    threshold: float = key(0.0, "pixels of lower teacher confidence have no pseudo-label", read_if=_AEL, **PROBABILITY)


class TrainerConfig(Section):
    """The training run."""

    epochs: int = key(80, "an epoch is one pass over the unlabelled list", ge=1)
    epoch_of: Literal["unlabeled", "labeled"] = key(
        "unlabeled", "the list whose pass is an epoch; without unlabelled images it is the labelled one"
    )
    sup_only_epoch: int = key(1, "epochs on labelled images alone, at the start", ge=0, read_if=_SEMI)
    eval_on: bool = key(True, "evaluate while training; false: no best.ckpt")
    eval_every: int = key(
        1, "epochs between two evaluations", ge=1, expected="at least 1 epoch", read_if={"trainer.eval_on": True}
    )
    eval_mode: Literal["same", "whole", "center", "slide"] = key(
        "same", "during training; same: evaluation.mode", read_if={"trainer.eval_on": True}
    )
    seed: int = key(0, "of weights, order, augmentation and every other draw", ge=0, le=2**32 - 1)
    optimizer: OptimizerConfig = OptimizerConfig()
    lr_scheduler: SchedulerConfig = SchedulerConfig()
    unsupervised: UnsupervisedConfig = key(UnsupervisedConfig(), read_if=_SEMI)
    contrastive: ContrastiveConfig | None = key(None, read_if={"method": "u2pl"})
    adaptive: AdaptiveConfig | None = key(None, read_if=_SAMPLED)
    weak_to_strong: WeakToStrongConfig = key(WeakToStrongConfig(), read_if={"method": WEAK_TO_STRONG})
    teacher_start: Literal["first_step", "semi_phase"] = key(
        "first_step", "where the teacher's average begins", read_if=_TAUGHT
    )
    teacher_bn: Literal["ema", "forward"] = key(
        "ema", "its BatchNorm statistics: averaged, or of its own forward passes"
    )
    resume: Literal["auto", "never", "extend"] = key(
        "auto",
        "auto: go on from last.ckpt; never: start anew; extend: go on although trainer.epochs is larger than the run's",
    )
    accumulate: int = key(
        1,
        "micro-batches of dataset.batch_size whose gradients make one step, on each device",
        ge=1,
        expected="at least 1 micro-batch",
    )
    amp: Amp = key(
        "off",
        "mixed precision: O1: convolutions in float16; O2: maps too; weights, BatchNorm, losses, prototypes and the "
        "teacher's average stay float32. A step that overflows is skipped",
    )
    recompute: bool = key(
        False,
        "save memory: maps inside the encoder's blocks are computed again for the gradient, BatchNorm's results kept",
    )
    scale_lr: bool = key(False, "multiply lr by (images a step) / (the published number), where one is published")
    jit: bool = key(True, "compile the step and, on CPU, evaluation; false starts faster and runs slower")
    deterministic: bool = key(False, "operators that give the same bits each time, slower; a CPU's always do")
    log_every: int = key(10, "steps between two lines of metrics.jsonl", ge=1, expected="at least 1 step")


class CriterionKwargs(Section):
    """OHEM's numbers."""

    thresh: float = key(
        0.7, "pixels with a lower probability of their class are hard", gt=0, le=1, expected="a probability, 0..1"
    )
    min_kept: int = key(100000, "at least so many pixels are taken", ge=0, expected="0 or more pixels")


class CriterionConfig(Section):
    """The supervised loss: plain cross entropy or online hard example mining."""

    type: Literal["CELoss", "ohem"] = key("CELoss", "cross entropy on all pixels, or on the hard ones")
    kwargs: CriterionKwargs = key(CriterionKwargs(), read_if={"criterion.type": "ohem"})
    class_balance: float = key(
        0.0,
        "pixels weigh (median frequency / frequency of their class in the labelled images) to this power, in cross "
        "entropies with labels and with hard pseudo-labels; 0: all alike, 1: median frequency balancing",
        ge=0,
        le=1,
        expected="a power, 0..1",
        read_if={"criterion.type": "CELoss"},
    )


class EncoderKwargs(Section):
    """The encoder's shape. ``width`` is the channel count of a ResNet's first convolution."""

    stem: Literal["deep", "conv7"] = key(
        "deep", "three 3x3 convolutions (PSPNet, U2PL), or one 7x7 (torchvision, mindcv)", read_if=_RESNET
    )
    multi_grid: bool = key(True, "dilations of layer4 times 2, 2, 4", read_if=_RESNET)
    pool_ceil: bool | None = key(
        None,
        "whether max-pooling rounds an even side up; null: yes behind the deep stem (U2PL), no behind the 7x7 one; "
        "UniMatch: false",
        read_if=_RESNET,
    )
    zero_init_residual: bool = key(True, "each block begins as the identity", read_if=_RESNET)
    replace_stride_with_dilation: tuple[bool, bool, bool] = key(
        (False, True, True), "of layer2, layer3, layer4: the strides that lead to 8, 16 and 32"
    )
    width: int = key(64, "64 in every published network", ge=4, expected="at least 4 channels", read_if=_RESNET)


class EncoderConfig(Section):
    """``pretrained`` is loaded when training starts; a word without dot and slash is a name of ``semiseg weights``."""

    type: Literal["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "efficientnet_lite0"] = key(
        "resnet101", "efficientnet_lite0 for small machines"
    )
    pretrained: Path | str | None = key(None, ".pth, .safetensors, .ckpt, or a known name; null: random weights")
    freeze_bn: bool = key(
        False,
        "BatchNorm of the encoder keeps the statistics of its pretrained weights, in training as in evaluation: for "
        "images of kinds that differ, of which a batch shows few",
    )
    kwargs: EncoderKwargs = EncoderKwargs()


class DecoderKwargs(Section):
    """The DeepLabv3+ decoder."""

    inner_planes: int = key(
        256, "channels; dec_deeplabv3_plus: the feature has twice as many", ge=1, expected="at least 1 channel"
    )
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = key((12, 24, 36), "of ASPP", expected="whole numbers above 0")
    dropout: float = key(
        0.1, "share of dropped channels", ge=0, lt=1, read_if={"net.decoder.type": "dec_deeplabv3_plus"}
    )
    pool_norm: bool = key(
        True,
        "BatchNorm in the image pooling branch, as published; false: a bias in its place, for steps of few images on "
        "one device",
    )
    rep_head: bool = key(
        False,
        "U2PL's representation head beside the classifier; method u2pl needs it, the others learn nothing from it",
    )


class DecoderConfig(Section):
    """The DeepLabv3+ decoder and its linear classifier."""

    type: Literal["dec_deeplabv3_plus", "dec_unimatch"] = key(
        "dec_deeplabv3_plus", "U2PL's, or UniMatch's lighter one (rates 6, 12, 18 there)"
    )
    kwargs: DecoderKwargs = DecoderKwargs()


class AuxLossConfig(Section):
    """An auxiliary classifier on layer3's output."""

    loss_weight: float = key(0.4, "of the auxiliary loss", ge=0)


class ProtoHeadConfig(Section):
    """The prototype head."""

    loss_weight: float = key(1.0, "of its loss on labelled pixels", ge=0)
    unsup_loss_weight: float = key(1.0, "of its loss on unlabelled pixels", ge=0)
    num_micro_proto: int = key(4, "prototypes a class", ge=1)
    temperature: float = key(0.1, "cosines are divided by it", gt=0)
    dynamic_update_proto: bool = key(True, "move prototypes while training")
    proto_update_momentum: float = key(
        0.99,
        "share of a prototype that stays at each step",
        ge=0,
        le=1,
        read_if={"net.proto_head.dynamic_update_proto": True},
    )
    init_proto_path: Path | None = key(
        None, "first prototypes: a pickle, an .npz or a .ckpt with a prototype head; null: k-means"
    )
    init_samples: int = key(
        20000,
        "at most so many labelled pixels a class go into k-means",
        read_if={"net.proto_head.init_proto_path": None},
    )
    select_granularity: int = key(32, "pixels are drawn from a grid of so many rows and columns")


class NetConfig(Section):
    """The network."""

    num_classes: int | None = about(None)  # the data set's, filled in by build.complete
    sync_bn: bool = key(True, "BatchNorm over all devices")
    ema_decay: float = key(0.99, "of the teacher's average, once it has warmed up", ge=0, lt=1)
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    aux_loss: AuxLossConfig | None = None
    proto_head: ProtoHeadConfig | None = None


class EvaluationConfig(Section):
    """How images are scored. ``base_size`` (slide): the long side is brought to scale * base_size; null keeps it."""

    mode: Literal["whole", "center", "slide"] = key("whole", "center: the crop of dataset.val.crop")
    scales: tuple[Positive, ...] = key(
        (1.0,), "the network's answers are averaged over them", min_length=1, expected="at least one scale above 0"
    )
    flip: bool = key(False, "and over the mirror image")
    average: Literal["logits", "probabilities"] = key(
        "logits",
        "what is averaged over windows, scales and mirror images; probabilities: as UniMatch's and AEL's code does",
    )
    amp: Amp = key("off", "the network in mixed precision, as trainer.amp; also in the evaluations of training")
    base_size: int | None = key(
        None,
        "the long side is brought to so many pixels; null: as it is",
        ge=1,
        expected="at least 1 px",
        read_if=SLIDE,
    )
    crop_size: Size = key((769, 769), "the window, height and width", read_if=SLIDE)
    stride_rate: float = key(
        2 / 3, "step from window to window, as a share of the window", read_if=SLIDE, **SHARE_OF_WINDOW
    )


class SaverConfig(Section):
    """Where the run is kept. ``main_dir`` null: ``root``/<dataset>/<split>/``name``."""

    root: Path | None = key(None, "folder of all runs", read_if={"saver.main_dir": None})
    name: Text | None = key(None, "null: the method's name", read_if={"saver.main_dir": None})
    main_dir: Path | None = key(None, "folder of this run")
    snapshot_dir: Text = key("checkpoints", "folder of the checkpoints in it")
    every: int = key(500, "steps between two writings of last.ckpt", ge=1, expected="at least 1 step")
    every_minutes: float | None = key(30.0, "and never longer than this between two; null: by steps alone", gt=0)
    keep: int = key(
        2,
        "checkpoints to continue from: last.ckpt and those before it, step_<n>.ckpt",
        ge=1,
        expected="at least 1 checkpoint",
    )


class MonitorConfig(Section):
    """What a run shows of itself while it runs. Nothing here changes what is learnt."""

    tensorboard: bool = key(True, "write TensorBoard events to <run folder>/events")
    tracker: Literal["none", "swanlab", "wandb"] = key(
        "none", "an experiment tracker that gets the same; the extra of its name installs it"
    )
    panels: int = key(
        4,
        "validation images drawn into the events at every evaluation",
        ge=0,
        expected="0 or more images",
        read_if=(
            {"monitor.tensorboard": True, "trainer.eval_on": True},
            {"monitor.tracker": ("swanlab", "wandb"), "trainer.eval_on": True},
        ),
    )
    pseudo_labels: bool = key(
        False, "measure how often pseudo-labels are right; needs masks of the unlabelled images", read_if=_SEMI
    )


class ExpectedConfig(Section):
    """Published scores in percent, compared with by evaluation."""

    miou: float | None = key(None, "linear head")
    proto_miou: float | None = key(None, "prototype head")
    tolerance: float = key(0.2, "difference that still counts as equal")


class Config(Section):
    """The whole configuration, frozen."""

    method: Text = key("suponly", "a name in semiseg.methods.METHODS", examples=list(METHODS))
    device: Literal["auto", "cpu", "gpu", "ascend"] = key("auto", "auto: the best that initialises")
    dataset: DatasetConfig = DatasetConfig()
    trainer: TrainerConfig = TrainerConfig()
    criterion: CriterionConfig = CriterionConfig()
    net: NetConfig = NetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    saver: SaverConfig = SaverConfig()
    monitor: MonitorConfig = MonitorConfig()
    expected: ExpectedConfig | None = None
    # Filled by load(): dotted key -> file or "command line", for every key that was written; what a published file's
    # keys were taken for; retired keys that state what is derived, with (value, origin).
    origins: dict[str, str] = about({})
    notes: tuple[str, ...] = about(())
    stated: dict[str, Any] = about({})

    # What load() and build.complete fill in is no part of a configuration's identity.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and flatten(self) == flatten(other)

    def __hash__(self) -> int:
        return hash(tuple(flatten(self).items()))

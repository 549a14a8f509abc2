"""Every key of the configuration: dataclasses with their defaults. The comment behind a field describes it to users.

Section and key names are U2PL's where they exist. Only the command lines see the whole ``Config``; everyone else is
given its own part.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# Fields of Config that load() fills: no keys, and not written out.
ABOUT = ("origins", "notes")


@dataclass(frozen=True)
class CropConfig:
    """``rand`` or ``center`` and (height, width) in pixels."""

    type: Literal["rand", "center"] = "rand"  # training draws its place, evaluation takes the middle
    size: tuple[int, int] = (513, 513)  # height and width in pixels


@dataclass(frozen=True)
class TrainDataConfig:
    """The training streams. Lists are derived from ``dataset.split`` unless written here."""

    data_root: Path | None = None  # null: dataset.data_root
    data_list: Path | None = None  # labelled ids; with dataset.labeled_ratio: the pool it is drawn from
    unlabeled_list: Path | None = None  # null: unlabeled.txt of the split
    unlabeled_dir: Path | None = None  # instead of a list: every image in this folder
    flip: bool = True  # mirror every other image
    rand_resize: tuple[float, float] | None = (0.5, 2.0)  # range of the random scale; null: none
    crop: CropConfig = CropConfig()
    pad_label: int = 255  # the label of padding outside the image; U2PL's code pads with 0 (background)


@dataclass(frozen=True)
class ValDataConfig:
    """The evaluation images."""

    data_root: Path | None = None  # null: dataset.data_root
    data_list: Path | None = None  # null: val.txt in dataset.splits
    crop: CropConfig = CropConfig("center")  # read by evaluation.mode: center


@dataclass(frozen=True)
class CustomConfig:
    """A data set of one's own (``dataset.type: custom``); docs/datasets.md walks through it.

    ``image`` and ``mask``: paths below the data root, ``{id}`` where the sample's id goes. Masks hold class indices, or
    ``colors`` (one per class, ``ignore_color`` for pixels that do not count).
    """

    name: str = "custom"  # the folder of its runs below saver.root
    classes: tuple[str, ...] = ()  # in the order of their index
    image: str = "images/{id}.jpg"  # path of an image below the data root
    mask: str = "masks/{id}.png"  # path of its mask
    mask_kind: Literal["index", "color"] = "index"  # what masks hold
    colors: tuple[tuple[int, int, int], ...] | None = None  # red, green, blue of each class
    ignore_color: tuple[int, int, int] | None = None  # of pixels that do not count


@dataclass(frozen=True)
class DatasetConfig:
    """Which images, which split, how they are read. ``batch_size`` counts labelled images (and as many unlabelled)."""

    type: str = "synthetic"  # pascal, cityscapes, synthetic, synthetic_longtail or custom
    custom: CustomConfig | None = None
    data_root: Path | None = None  # folder of images and masks
    splits: Path | None = None  # folder that holds <split>/labeled.txt, <split>/unlabeled.txt and val.txt
    split: str | None = None  # name of the folder of lists
    labeled_ratio: float | None = None  # draws the labelled part from the whole pool instead of a written split
    split_seed: int = 0  # another seed, another draw
    n_sup: int | None = None  # checked against the labelled list; never needed
    train: TrainDataConfig = TrainDataConfig()
    val: ValDataConfig = ValDataConfig()
    batch_size: int = 2  # labelled images of a (micro-)batch on one device, and as many unlabelled
    workers: int = 2  # threads that read ahead; no effect on the result
    on_error: Literal["stop", "skip"] = "stop"  # an unreadable image: stop and name it, or take the next one and count
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # of RGB values 0..255
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)  # of RGB values 0..255
    ignore_label: int = 255  # the value of pixels that do not count in index masks


@dataclass(frozen=True)
class SgdKwargs:
    """torch.optim.SGD's arguments of the same names."""

    lr: float = 0.001  # of the encoder, at the start
    momentum: float = 0.9
    weight_decay: float = 0.0001


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD with two groups: the encoder, and everything else at ``decoder_lr_times`` its rate."""

    type: Literal["SGD"] = "SGD"
    kwargs: SgdKwargs = SgdKwargs()
    decoder_lr_times: float = 10.0  # rate of everything but the encoder


@dataclass(frozen=True)
class PolyKwargs:
    """lr = base * (1 - step / steps) ** power."""

    power: float = 0.9  # 0: a constant rate


@dataclass(frozen=True)
class SchedulerConfig:
    """The learning-rate schedule, per step."""

    mode: Literal["poly"] = "poly"
    kwargs: PolyKwargs = PolyKwargs()


@dataclass(frozen=True)
class UnsupervisedConfig:
    """Pseudo-labels and their loss."""

    rule: Literal["confidence", "entropy"] = "confidence"  # which pseudo-labels are used
    confid_thresh: float = 0.8  # rule confidence: pixels below are left out
    drop_percent: float = 80.0  # rule entropy: percent of pixels kept at the start, rising linearly to 100
    normalize: Literal["all", "confident"] = "all"  # rule confidence: divide by all pixels or by the confident ones
    apply_aug: Literal["cutmix", "classmix", "cutout", "none"] = "cutmix"  # how unlabelled images are mixed
    aug_prob: float = 0.5  # share of steps that mix
    loss_weight: float = 1.0  # of the unsupervised loss


@dataclass(frozen=True)
class ContrastiveConfig:
    """U2PL's contrastive loss on unreliable pixels (method u2pl)."""

    low_rank: int = 3  # unlabelled negatives: the teacher ranks the class from low_rank ...
    high_rank: int = 20  # ... to high_rank - 1
    current_class_threshold: float = 0.3  # anchors: the teacher's probability of their class is above
    low_entropy_threshold: float = 20.0  # percent of pixels that are certain at the start, and as many uncertain
    negative_high_entropy: bool = True  # false: negatives of any entropy
    num_queries: int = 256  # anchors a class
    num_negatives: int = 50  # for each anchor
    temperature: float = 0.5  # of the similarities
    loss_weight: float = 1.0  # of the contrastive loss
    bank_size: int = 30000  # representations kept a class
    bank_size_background: int = 50000  # of class 0


@dataclass(frozen=True)
class AdaptiveCutmixConfig:
    """AEL's CutMix: what is pasted is a badly learnt class, from an image that holds it. Shares are of the crop."""

    area_thresh: float = 0.005  # a connected component must be larger to lend its bounding box
    area_thresh2: float = 0.01  # a class must cover so much for the image to be marked as holding it


@dataclass(frozen=True)
class CopyPasteConfig:
    """AEL's copy-paste: pixels of badly learnt classes of another labelled image, laid over a labelled image."""

    number: int = 3  # classes drawn a step
    prob: float = 0.5  # share of the labelled images that get something pasted
    rand_resize: tuple[float, float] = (0.1, 2.0)  # of the other image
    leave_out: tuple[int, ...] = ()  # classes that are never pasted


@dataclass(frozen=True)
class AdaptiveConfig:
    """Adaptive equalization learning (AEL, NeurIPS 2021): training is tilted towards classes of low confidence.

    Every semi-supervised method reads momentum, cutmix and copy_paste; the rest is of method ael.
    """

    momentum: float = 0.999  # of each class's confidence
    cutmix: AdaptiveCutmixConfig | None = None  # null: trainer.unsupervised.apply_aug mixes
    copy_paste: CopyPasteConfig | None = None
    sample: bool = True  # leave out pixels of classes that are learnt well, at random
    gamma2: float = 1.0  # sample: exponent of the probability that a pixel stays
    gamma: float = 2.0  # exponent of the teacher's confidence as a pixel's weight; 0: no weights
    threshold: float = 0.0  # pixels of lower teacher confidence have no pseudo-label


@dataclass(frozen=True)
class TrainerConfig:
    """The training run."""

    epochs: int = 80  # an epoch is one pass over the unlabelled list
    sup_only_epoch: int = 1  # epochs on labelled images alone, at the start
    eval_on: bool = True  # evaluate while training; false: no best.ckpt
    eval_every: int = 1  # epochs between two evaluations
    eval_mode: Literal["same", "whole", "center", "slide"] = "same"  # during training; same: evaluation.mode
    seed: int = 0  # of weights, order, augmentation and every other draw
    optimizer: OptimizerConfig = OptimizerConfig()
    lr_scheduler: SchedulerConfig = SchedulerConfig()
    unsupervised: UnsupervisedConfig = UnsupervisedConfig()
    contrastive: ContrastiveConfig | None = None  # read by method u2pl
    adaptive: AdaptiveConfig | None = None  # read by method ael
    teacher_start: Literal["first_step", "semi_phase"] = "first_step"  # where the teacher's average begins
    teacher_bn: Literal["ema", "forward"] = "ema"  # its BatchNorm statistics: averaged, or of its own forward passes
    resume: Literal["auto", "never"] = "auto"  # auto: go on from last.ckpt; never: start anew
    accumulate: int = 1  # micro-batches of dataset.batch_size whose gradients make one step, on each device
    scale_lr: bool = False  # multiply lr by (images a step) / (the published number), where one is published
    jit: bool = True  # compile the step and, on CPU, evaluation; false starts faster and runs slower
    log_every: int = 10  # steps between two lines of metrics.jsonl


@dataclass(frozen=True)
class CriterionKwargs:
    """OHEM's numbers."""

    thresh: float = 0.7  # pixels with a lower probability of their class are hard
    min_kept: int = 100000  # at least so many pixels are taken


@dataclass(frozen=True)
class CriterionConfig:
    """The supervised loss: plain cross entropy or online hard example mining."""

    type: Literal["CELoss", "ohem"] = "CELoss"  # cross entropy on all pixels, or on the hard ones
    kwargs: CriterionKwargs = CriterionKwargs()


@dataclass(frozen=True)
class EncoderKwargs:
    """The ResNet. ``width`` is the channel count of the stem's first convolution (64 in every published network)."""

    multi_grid: bool = True  # dilations of layer4 times 2, 2, 4
    zero_init_residual: bool = True  # each block begins as the identity
    replace_stride_with_dilation: tuple[bool, bool, bool] = (False, True, True)  # of layer2, layer3, layer4
    width: int = 64  # 64 in every published network


@dataclass(frozen=True)
class EncoderConfig:
    """``pretrained``: a .pth or .ckpt of a deep-stem ResNet, loaded at the start of training."""

    type: Literal["resnet10", "resnet18", "resnet50", "resnet101"] = "resnet101"  # deep-stem ResNet
    pretrained: Path | None = None  # null: random weights
    kwargs: EncoderKwargs = EncoderKwargs()


@dataclass(frozen=True)
class DecoderKwargs:
    """The DeepLabv3+ decoder."""

    inner_planes: int = 256  # channels; the feature has twice as many
    dilations: tuple[int, ...] = (12, 24, 36)  # of ASPP
    dropout: float = 0.1  # share of dropped channels
    rep_head: bool = False  # U2PL's representation head beside the classifier


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder and its linear classifier."""

    type: Literal["dec_deeplabv3_plus"] = "dec_deeplabv3_plus"  # DeepLabv3+
    kwargs: DecoderKwargs = DecoderKwargs()


@dataclass(frozen=True)
class AuxLossConfig:
    """An auxiliary classifier on layer3's output; ``aux_plane`` is its channel count (null: taken from the encoder)."""

    aux_plane: int | None = None  # null: the encoder's
    loss_weight: float = 0.4  # of the auxiliary loss


@dataclass(frozen=True)
class ProtoHeadConfig:
    """The prototype head. ``in_planes`` is the feature's channel count (null: taken from the decoder)."""

    in_planes: int | None = None  # null: the decoder's
    loss_weight: float = 1.0  # of its loss on labelled pixels
    unsup_loss_weight: float = 1.0  # of its loss on unlabelled pixels
    num_micro_proto: int = 4  # prototypes a class
    temperature: float = 0.1  # cosines are divided by it
    dynamic_update_proto: bool = True  # move prototypes while training
    proto_update_momentum: float = 0.99  # share of a prototype that stays at each step
    init_proto_path: Path | None = None  # first prototypes (pickle or .npz); null: k-means
    init_samples: int = 20000  # at most so many labelled pixels a class go into k-means
    select_granularity: int = 32  # pixels are drawn from a grid of so many rows and columns


@dataclass(frozen=True)
class NetConfig:
    """The network; ``num_classes`` null means the dataset's."""

    num_classes: int | None = None  # null: the data set's
    sync_bn: bool = True  # BatchNorm over all devices
    ema_decay: float = 0.99  # of the teacher's average, once it has warmed up
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    aux_loss: AuxLossConfig | None = None
    proto_head: ProtoHeadConfig | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """How images are scored. ``base_size`` (slide): the long side is brought to scale * base_size; null keeps it."""

    mode: Literal["whole", "center", "slide"] = "whole"  # center: the crop of dataset.val.crop
    scales: tuple[float, ...] = (1.0,)  # logits are averaged over them
    flip: bool = False  # and over the mirror image
    base_size: int | None = None  # slide: the long side is brought to so many pixels; null: as it is
    crop_size: tuple[int, int] = (769, 769)  # slide: the window, height and width
    stride_rate: float = 2 / 3  # slide: step from window to window, as a share of the window


@dataclass(frozen=True)
class SaverConfig:
    """Where the run is kept. ``main_dir`` null: ``root``/<dataset>/<split>/``name``."""

    root: Path | None = None  # folder of all runs
    name: str | None = None  # null: the method's name
    main_dir: Path | None = None  # folder of this run
    snapshot_dir: str = "checkpoints"  # folder of the checkpoints in it
    every: int = 500  # steps between two writings of last.ckpt
    every_minutes: float | None = 30.0  # and never longer than this between two; null: by steps alone
    keep: int = 2  # checkpoints to continue from: last.ckpt and those before it, step_<n>.ckpt


@dataclass(frozen=True)
class MonitorConfig:
    """What a run shows of itself while it runs. Nothing here changes what is learnt."""

    tensorboard: bool = True  # write TensorBoard events to <run folder>/events
    panels: int = 4  # validation images drawn into the events at every evaluation
    pseudo_labels: bool = False  # measure how often pseudo-labels are right; needs masks of the unlabelled images


@dataclass(frozen=True)
class ExpectedConfig:
    """Published scores in percent, compared with by evaluation."""

    miou: float | None = None  # linear head
    proto_miou: float | None = None  # prototype head
    tolerance: float = 0.2  # difference that still counts as equal


@dataclass(frozen=True)
class Config:
    """The whole configuration, frozen."""

    method: str = "suponly"  # a name in semiseg.methods.METHODS
    device: Literal["auto", "cpu", "gpu", "ascend"] = "auto"  # auto: the best that initialises
    dataset: DatasetConfig = DatasetConfig()
    trainer: TrainerConfig = TrainerConfig()
    criterion: CriterionConfig = CriterionConfig()
    net: NetConfig = NetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    saver: SaverConfig = SaverConfig()
    monitor: MonitorConfig = MonitorConfig()
    expected: ExpectedConfig | None = None
    # Filled by load(): dotted key -> file or "command line", for every key that was written.
    origins: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    # Filled by load(): what a published file's keys were taken for.
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)

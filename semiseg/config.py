"""The configuration: dataclasses are the schema and the defaults; YAML files and ``a.b=c`` overrides fill them.

``load(path, overrides)`` follows the ``base:`` chain, checks every key and type and returns a frozen ``Config``.
Section and key names are U2PL's where they exist. ``python -m semiseg.config show FOLDER`` prints the result with the
origin of each value. Only the command lines see the whole ``Config``; everyone else is given its own part.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from semiseg import schema
from semiseg.errors import ConfigError, UserError


@dataclass(frozen=True)
class CropConfig:
    """``rand`` or ``center`` and (height, width) in pixels."""

    type: Literal["rand", "center"] = "rand"
    size: tuple[int, int] = (513, 513)


@dataclass(frozen=True)
class TrainDataConfig:
    """The training streams. Lists are derived from ``dataset.split`` unless written here."""

    data_root: Path | None = None
    data_list: Path | None = None  # labelled ids
    unlabeled_list: Path | None = None
    flip: bool = True
    rand_resize: tuple[float, float] | None = (0.5, 2.0)
    crop: CropConfig = CropConfig()
    pad_label: int = 255  # the label of padding outside the image; U2PL's code pads with 0 (background)


@dataclass(frozen=True)
class ValDataConfig:
    """The evaluation images."""

    data_root: Path | None = None
    data_list: Path | None = None
    crop: CropConfig = CropConfig("center")  # read by evaluation.mode: center


@dataclass(frozen=True)
class DatasetConfig:
    """Which images, which split, how they are read. ``batch_size`` counts labelled images (and as many unlabelled)."""

    type: str = "synthetic"
    data_root: Path | None = None
    splits: Path | None = None  # folder that holds <split>/labeled.txt, <split>/unlabeled.txt and val.txt
    split: str | None = None
    labeled_ratio: float | None = None  # draws the labelled part from the whole pool instead of a written split
    split_seed: int = 0
    n_sup: int | None = None  # checked against the labelled list; never needed
    train: TrainDataConfig = TrainDataConfig()
    val: ValDataConfig = ValDataConfig()
    batch_size: int = 2
    workers: int = 2
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    ignore_label: int = 255


@dataclass(frozen=True)
class SgdKwargs:
    """torch.optim.SGD's arguments of the same names."""

    lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0001


@dataclass(frozen=True)
class OptimizerConfig:
    """SGD with two groups: the encoder, and everything else at ``decoder_lr_times`` its rate."""

    type: Literal["SGD"] = "SGD"
    kwargs: SgdKwargs = SgdKwargs()
    decoder_lr_times: float = 10.0


@dataclass(frozen=True)
class PolyKwargs:
    """lr = base * (1 - step / steps) ** power."""

    power: float = 0.9


@dataclass(frozen=True)
class SchedulerConfig:
    """The learning-rate schedule, per step."""

    mode: Literal["poly"] = "poly"
    kwargs: PolyKwargs = PolyKwargs()


@dataclass(frozen=True)
class UnsupervisedConfig:
    """Pseudo-labels and their loss."""

    rule: Literal["confidence", "entropy"] = "confidence"
    confid_thresh: float = 0.8  # rule confidence: pixels below are left out
    drop_percent: float = 80.0  # rule entropy: percent of pixels kept at the start, rising linearly to 100
    normalize: Literal["all", "confident"] = "all"  # rule confidence: divide by all pixels or by the confident ones
    apply_aug: Literal["cutmix", "none"] = "cutmix"
    aug_prob: float = 0.5  # share of steps that mix
    loss_weight: float = 1.0


@dataclass(frozen=True)
class TrainerConfig:
    """The training run."""

    epochs: int = 80  # an epoch is one pass over the unlabelled list
    sup_only_epoch: int = 1
    eval_on: bool = True
    eval_every: int = 1  # epochs
    seed: int = 0
    optimizer: OptimizerConfig = OptimizerConfig()
    lr_scheduler: SchedulerConfig = SchedulerConfig()
    unsupervised: UnsupervisedConfig = UnsupervisedConfig()
    teacher_start: Literal["first_step", "semi_phase"] = "first_step"
    teacher_bn: Literal["ema", "forward"] = "ema"
    resume: Literal["auto", "never"] = "auto"
    jit: bool = True  # compile the step; false starts faster and runs slower
    log_every: int = 10  # steps


@dataclass(frozen=True)
class CriterionKwargs:
    """OHEM's numbers."""

    thresh: float = 0.7
    min_kept: int = 100000


@dataclass(frozen=True)
class CriterionConfig:
    """The supervised loss: plain cross entropy or online hard example mining."""

    type: Literal["CELoss", "ohem"] = "CELoss"
    kwargs: CriterionKwargs = CriterionKwargs()


@dataclass(frozen=True)
class EncoderKwargs:
    """The ResNet. ``width`` is the channel count of the stem's first convolution (64 in every published network)."""

    multi_grid: bool = True
    zero_init_residual: bool = True
    replace_stride_with_dilation: tuple[bool, bool, bool] = (False, True, True)
    width: int = 64


@dataclass(frozen=True)
class EncoderConfig:
    """``pretrained``: a .pth or .ckpt of a deep-stem ResNet, loaded at the start of training."""

    type: Literal["resnet18", "resnet50", "resnet101"] = "resnet101"
    pretrained: Path | None = None
    kwargs: EncoderKwargs = EncoderKwargs()


@dataclass(frozen=True)
class DecoderKwargs:
    """The DeepLabv3+ decoder."""

    inner_planes: int = 256
    dilations: tuple[int, ...] = (12, 24, 36)
    dropout: float = 0.1


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder and its linear classifier."""

    type: Literal["dec_deeplabv3_plus"] = "dec_deeplabv3_plus"
    kwargs: DecoderKwargs = DecoderKwargs()


@dataclass(frozen=True)
class AuxLossConfig:
    """An auxiliary classifier on layer3's output; ``aux_plane`` is its channel count (null: taken from the encoder)."""

    aux_plane: int | None = None
    loss_weight: float = 0.4


@dataclass(frozen=True)
class ProtoHeadConfig:
    """The prototype head. ``in_planes`` is the feature's channel count (null: taken from the decoder)."""

    in_planes: int | None = None
    loss_weight: float = 1.0
    unsup_loss_weight: float = 1.0
    num_micro_proto: int = 4
    temperature: float = 0.1
    dynamic_update_proto: bool = True
    proto_update_momentum: float = 0.99
    init_proto_path: Path | None = None
    init_samples: int = 20000  # at most so many labelled pixels a class go into k-means
    select_granularity: int = 32


@dataclass(frozen=True)
class NetConfig:
    """The network; ``num_classes`` null means the dataset's."""

    num_classes: int | None = None
    sync_bn: bool = True
    ema_decay: float = 0.99
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    aux_loss: AuxLossConfig | None = None
    proto_head: ProtoHeadConfig | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """How images are scored. ``base_size`` (slide): the long side is brought to scale * base_size; null keeps it."""

    mode: Literal["whole", "center", "slide"] = "whole"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    base_size: int | None = None
    crop_size: tuple[int, int] = (769, 769)
    stride_rate: float = 2 / 3


@dataclass(frozen=True)
class SaverConfig:
    """Where the run is kept. ``main_dir`` null: ``root``/<dataset>/<split>/``name``."""

    root: Path | None = None
    name: str | None = None  # null: the method's name
    main_dir: Path | None = None
    snapshot_dir: str = "checkpoints"
    every: int = 500  # steps between two writings of last.ckpt


@dataclass(frozen=True)
class ExpectedConfig:
    """Published scores in percent, compared with by evaluation."""

    miou: float | None = None
    proto_miou: float | None = None
    tolerance: float = 0.2


@dataclass(frozen=True)
class Config:
    """The whole configuration, frozen."""

    method: str = "suponly"  # a name in semiseg.methods.METHODS
    device: Literal["auto", "cpu", "gpu", "ascend"] = "auto"
    dataset: DatasetConfig = DatasetConfig()
    trainer: TrainerConfig = TrainerConfig()
    criterion: CriterionConfig = CriterionConfig()
    net: NetConfig = NetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    saver: SaverConfig = SaverConfig()
    expected: ExpectedConfig | None = None
    # Filled by load(): dotted key -> file or "command line", for every key that was written.
    origins: dict[str, str] = field(default_factory=dict, compare=False, repr=False)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a YAML file (or of a folder with a config.yaml).

    Later wins: dataclass default, ``base:`` chain, the file, ``overrides`` (``section.key=value``, as on the command
    line). Relative paths resolve against the file that wrote them; in overrides against the working directory.

    Raises:
        ConfigError: unknown key, wrong type, impossible value, missing or broken file, cycle of bases.
    """
    path = Path(path)
    tree = _read_chain(path / "config.yaml" if path.is_dir() else path, ())
    for assignment in overrides:
        tree = schema.merge(tree, schema.override(assignment))
    origins: dict[str, str] = {}
    config = schema.build(Config, tree, "", origins)
    config = dataclasses.replace(config, origins=origins)
    validate(config)
    return config


def _read_chain(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    path = path.absolute()
    if path.resolve() in above:
        chain = " -> ".join(p.name for p in (*above, path))
        raise ConfigError(f"{path}: base: the files name each other in a circle ({chain})")
    content = schema.read_yaml(path)
    bases = content.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: base: expected a file name or a list of file names, got {bases!r}")
    if "origins" in content:
        raise ConfigError(f"{path}: unknown key origins")
    tree: dict[str, Any] = {}
    for base in bases:
        tree = schema.merge(tree, _read_chain(path.parent / base, (*above, path.resolve())))
    return schema.merge(tree, schema.annotate(content, str(path)))


def validate(config: Config) -> None:
    """Raises ConfigError for values that are well typed and cannot work, naming the key and who wrote it."""
    for dotted, fits, expected in _rules(config):
        if not fits:
            value = _get(config, dotted)
            origin = config.origins.get(dotted, "default")
            raise ConfigError(f"{origin}: {dotted}: expected {expected}, got {value}")


def _rules(config: Config) -> Iterator[tuple[str, bool, str]]:
    """(key, is it fine, what was expected), for every value that can be out of range."""
    data, trainer, net = config.dataset, config.trainer, config.net
    unsup = trainer.unsupervised
    positive = "a number above 0"
    yield "dataset.batch_size", data.batch_size >= 1, "at least 1"
    yield "dataset.workers", data.workers >= 0, "0 or more threads"
    yield "dataset.ignore_label", 0 <= data.ignore_label <= 255, "0..255"
    yield "dataset.std", min(data.std) > 0, "three numbers above 0"
    ratio = data.labeled_ratio
    yield "dataset.labeled_ratio", ratio is None or 0 < ratio < 1, "a share between 0 and 1"
    yield (
        "dataset.labeled_ratio",
        ratio is None or "dataset.split" not in config.origins or data.split is None,
        f"no dataset.split beside it (one says which images are labelled, here split {data.split}; set it to null)",
    )
    resize = data.train.rand_resize
    yield "dataset.train.rand_resize", resize is None or 0 < resize[0] <= resize[1], "[low, high] with 0 < low <= high"
    yield "dataset.train.pad_label", 0 <= data.train.pad_label <= 255, "0..255"
    yield "trainer.epochs", trainer.epochs >= 1, "at least 1"
    yield (
        "trainer.sup_only_epoch",
        0 <= trainer.sup_only_epoch <= trainer.epochs,
        f"0..{trainer.epochs} (trainer.epochs)",
    )
    yield "trainer.eval_every", trainer.eval_every >= 1, "at least 1 epoch"
    yield "trainer.log_every", trainer.log_every >= 1, "at least 1 step"
    yield "trainer.seed", trainer.seed >= 0, "0 or more"
    sgd = trainer.optimizer
    yield "trainer.optimizer.kwargs.lr", sgd.kwargs.lr > 0, positive
    yield "trainer.optimizer.kwargs.momentum", 0 <= sgd.kwargs.momentum < 1, "0 <= momentum < 1"
    yield "trainer.optimizer.kwargs.weight_decay", sgd.kwargs.weight_decay >= 0, "0 or more"
    yield "trainer.optimizer.decoder_lr_times", sgd.decoder_lr_times > 0, positive
    yield "trainer.unsupervised.confid_thresh", 0 <= unsup.confid_thresh <= 1, "a probability, 0..1"
    yield "trainer.unsupervised.drop_percent", 0 <= unsup.drop_percent <= 100, "a percentage, 0..100"
    yield "trainer.unsupervised.aug_prob", 0 <= unsup.aug_prob <= 1, "a probability, 0..1"
    yield "trainer.unsupervised.loss_weight", unsup.loss_weight >= 0, "0 or more"
    yield "criterion.kwargs.thresh", 0 < config.criterion.kwargs.thresh <= 1, "a probability, 0..1"
    yield "criterion.kwargs.min_kept", config.criterion.kwargs.min_kept >= 0, "0 or more pixels"
    yield "net.num_classes", net.num_classes is None or 2 <= net.num_classes <= 255, "2..255"
    yield "net.ema_decay", 0 <= net.ema_decay < 1, "0 <= decay < 1"
    yield "net.encoder.kwargs.width", net.encoder.kwargs.width >= 4, "at least 4 channels"
    stages = net.encoder.kwargs.replace_stride_with_dilation
    yield "net.encoder.kwargs.replace_stride_with_dilation", not stages[0], "[false, ...]: output stride 8, 16 or 32"
    yield "net.decoder.kwargs.inner_planes", net.decoder.kwargs.inner_planes >= 1, "at least 1 channel"
    yield "net.decoder.kwargs.dilations", all(d >= 1 for d in net.decoder.kwargs.dilations), "whole numbers above 0"
    yield "net.decoder.kwargs.dropout", 0 <= net.decoder.kwargs.dropout < 1, "0 <= dropout < 1"
    if net.aux_loss:
        yield "net.aux_loss.loss_weight", net.aux_loss.loss_weight >= 0, "0 or more"
    if net.proto_head:
        head = net.proto_head
        yield "net.proto_head.num_micro_proto", head.num_micro_proto >= 1, "at least 1"
        yield "net.proto_head.temperature", head.temperature > 0, positive
        yield "net.proto_head.proto_update_momentum", 0 <= head.proto_update_momentum <= 1, "0..1"
        yield "net.proto_head.loss_weight", head.loss_weight >= 0, "0 or more"
        yield "net.proto_head.unsup_loss_weight", head.unsup_loss_weight >= 0, "0 or more"
        yield "net.proto_head.init_samples", head.init_samples >= head.num_micro_proto, "at least num_micro_proto"
        side = min(data.train.crop.size)
        fits = 1 <= head.select_granularity <= side
        yield "net.proto_head.select_granularity", fits, f"1..{side} (the crop's shorter side, dataset.train.crop.size)"
    # Below this the deepest feature map of the network has a side of one pixel.
    stride = 32 // 2 ** sum(stages)
    smallest = 2 * stride + 1
    enough = f"at least {smallest} px a side (twice the output stride of {stride}, plus 1)"
    yield "dataset.train.crop.size", min(data.train.crop.size) >= smallest, enough
    yield "evaluation.crop_size", min(config.evaluation.crop_size) >= smallest, enough
    yield "evaluation.stride_rate", 0 < config.evaluation.stride_rate <= 1, "a share of the window, 0..1"
    scales = config.evaluation.scales
    yield "evaluation.scales", bool(scales) and min(scales) > 0, "at least one scale above 0"
    yield (
        "evaluation.base_size",
        config.evaluation.base_size is None or config.evaluation.base_size >= 1,
        "at least 1 px",
    )
    yield "saver.every", config.saver.every >= 1, "at least 1 step"


def unread_keys(config: Config) -> list[str]:
    """Keys that a file or the command line wrote and that the other keys make unread, one sentence each."""
    unsup, notes = config.trainer.unsupervised, []
    read_only_by = {
        "trainer.unsupervised.confid_thresh": ("confidence", unsup.rule, "trainer.unsupervised.rule"),
        "trainer.unsupervised.normalize": ("confidence", unsup.rule, "trainer.unsupervised.rule"),
        "trainer.unsupervised.drop_percent": ("entropy", unsup.rule, "trainer.unsupervised.rule"),
        "criterion.kwargs.thresh": ("ohem", config.criterion.type, "criterion.type"),
        "criterion.kwargs.min_kept": ("ohem", config.criterion.type, "criterion.type"),
    }
    for key, (needed, chosen, switch) in read_only_by.items():
        if key in config.origins and chosen != needed:
            notes.append(f"{key} ({config.origins[key]}) is not read: {switch} is {chosen}, not {needed}")
    return notes


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, nested dataclasses opened, in the order of the schema."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        if item.name == "origins":
            continue
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{item.name}.")
        else:
            flat[prefix + item.name] = value
    return flat


def _get(config: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        config = getattr(config, part)
    return config


def _plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as what YAML can hold."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != "origins"}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def dump(config: Config) -> str:
    """The resolved configuration as YAML that ``load`` reads back to an equal Config."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m semiseg.config show FOLDER_OR_FILE [key=value ...]``."""
    parser = argparse.ArgumentParser(prog="python -m semiseg.config", description="Show a resolved configuration.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print every key, its value and where it was written")
    show.add_argument("path", help="an experiment folder or a YAML file")
    show.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args(argv)
    try:
        config = load(args.path, args.overrides)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    flat = flatten(config)
    width = max(map(len, flat))
    for key, value in flat.items():
        text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6).removesuffix("...\n").strip()
        origin = config.origins.get(key, "default")
        print(f"{key:<{width}}  {text:<24}  # {origin}")
    for note in unread_keys(config):
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

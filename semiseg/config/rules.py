"""What values can work together: checks of a loaded Config beyond types, and keys that stay unread."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semiseg.common.errors import ConfigError
from semiseg.config.keys import AdaptiveConfig, Config, ContrastiveConfig


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
    yield "dataset.split_seed", data.split_seed >= 0, "0 or more"
    yield "dataset.ignore_label", 0 <= data.ignore_label <= 255, "0..255"
    yield "dataset.std", min(data.std) > 0, "three numbers above 0"
    ratio = data.labeled_ratio
    yield "dataset.labeled_ratio", ratio is None or 0 < ratio < 1, "a share between 0 and 1"
    yield (
        "dataset.labeled_ratio",
        ratio is None or "dataset.split" not in config.origins or data.split is None,
        f"no dataset.split beside it (one says which images are labelled, here split {data.split}; set it to null)",
    )
    yield from _unlabeled_rules(data.train.unlabeled_list, data.train.unlabeled_dir, ratio)
    resize = data.train.rand_resize
    yield "dataset.train.rand_resize", resize is None or 0 < resize[0] <= resize[1], "[low, high] with 0 < low <= high"
    yield "dataset.train.pad_label", 0 <= data.train.pad_label <= 255, "0..255"
    yield "trainer.epochs", trainer.epochs >= 1, "at least 1"
    yield (
        "trainer.sup_only_epoch",
        0 <= trainer.sup_only_epoch <= trainer.epochs,
        f"0..{trainer.epochs} (trainer.epochs)",
    )
    yield "trainer.accumulate", trainer.accumulate >= 1, "at least 1 micro-batch"
    yield "trainer.eval_every", trainer.eval_every >= 1, "at least 1 epoch"
    yield "trainer.log_every", trainer.log_every >= 1, "at least 1 step"
    yield "trainer.seed", 0 <= trainer.seed < 2**32, "0..4294967295"
    yield "trainer.lr_scheduler.kwargs.power", trainer.lr_scheduler.kwargs.power >= 0, "0 or more"
    sgd = trainer.optimizer
    yield "trainer.optimizer.kwargs.lr", sgd.kwargs.lr > 0, positive
    yield "trainer.optimizer.kwargs.momentum", 0 <= sgd.kwargs.momentum < 1, "0 <= momentum < 1"
    yield "trainer.optimizer.kwargs.weight_decay", sgd.kwargs.weight_decay >= 0, "0 or more"
    yield "trainer.optimizer.decoder_lr_times", sgd.decoder_lr_times > 0, positive
    yield "trainer.unsupervised.confid_thresh", 0 <= unsup.confid_thresh <= 1, "a probability, 0..1"
    yield "trainer.unsupervised.drop_percent", 0 <= unsup.drop_percent <= 100, "a percentage, 0..100"
    yield "trainer.unsupervised.aug_prob", 0 <= unsup.aug_prob <= 1, "a probability, 0..1"
    yield "trainer.unsupervised.loss_weight", unsup.loss_weight >= 0, "0 or more"
    if trainer.adaptive:
        yield from _adaptive_rules(trainer.adaptive, net.num_classes)
    if trainer.contrastive:
        yield from _contrastive_rules(trainer.contrastive)
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
    yield "dataset.train.crop.type", data.train.crop.type == "rand", "rand (training draws its crops)"
    yield "dataset.val.crop.type", data.val.crop.type == "center", "center (evaluation draws nothing)"
    yield "evaluation.crop_size", min(config.evaluation.crop_size) >= smallest, enough
    yield "dataset.val.crop.size", min(data.val.crop.size) >= smallest, enough
    yield "evaluation.stride_rate", 0 < config.evaluation.stride_rate <= 1, "a share of the window, 0..1"
    scales = config.evaluation.scales
    yield "evaluation.scales", bool(scales) and min(scales) > 0, "at least one scale above 0"
    yield (
        "evaluation.base_size",
        config.evaluation.base_size is None or config.evaluation.base_size >= 1,
        "at least 1 px",
    )
    yield "saver.every", config.saver.every >= 1, "at least 1 step"
    minutes = config.saver.every_minutes
    yield "saver.every_minutes", minutes is None or minutes > 0, f"{positive}, or null"
    yield "saver.keep", config.saver.keep >= 1, "at least 1 checkpoint"
    yield "monitor.panels", config.monitor.panels >= 0, "0 or more images"


def _contrastive_rules(contrast: ContrastiveConfig) -> Iterator[tuple[str, bool, str]]:
    section = "trainer.contrastive"
    yield f"{section}.low_rank", contrast.low_rank >= 1, "at least 1"
    yield f"{section}.high_rank", contrast.high_rank > contrast.low_rank, f"above low_rank ({contrast.low_rank})"
    yield f"{section}.current_class_threshold", 0 <= contrast.current_class_threshold < 1, "a probability, 0..1"
    yield f"{section}.low_entropy_threshold", 0 <= contrast.low_entropy_threshold <= 50, "a percentage, 0..50"
    yield f"{section}.temperature", contrast.temperature >= 0.05, "at least 0.05"
    yield f"{section}.loss_weight", contrast.loss_weight >= 0, "0 or more"
    for key in ("num_queries", "num_negatives", "bank_size", "bank_size_background"):
        yield f"{section}.{key}", getattr(contrast, key) >= 1, "at least 1"


def _adaptive_rules(adaptive: AdaptiveConfig, num_classes: int | None) -> Iterator[tuple[str, bool, str]]:
    section = "trainer.adaptive"
    yield f"{section}.momentum", 0 <= adaptive.momentum < 1, "0 <= momentum < 1"
    yield f"{section}.gamma", adaptive.gamma >= 0, "0 or more"
    yield f"{section}.gamma2", adaptive.gamma2 >= 0, "0 or more"
    yield f"{section}.threshold", 0 <= adaptive.threshold <= 1, "a probability, 0..1"
    if adaptive.cutmix:
        for key in ("area_thresh", "area_thresh2"):
            yield f"{section}.cutmix.{key}", 0 <= getattr(adaptive.cutmix, key) <= 1, "a share of the crop, 0..1"
    if adaptive.copy_paste:
        paste = adaptive.copy_paste
        yield f"{section}.copy_paste.number", paste.number >= 1, "at least 1 class"
        yield f"{section}.copy_paste.prob", 0 <= paste.prob <= 1, "a probability, 0..1"
        low, high = paste.rand_resize
        yield f"{section}.copy_paste.rand_resize", 0 < low <= high, "[low, high] with 0 < low <= high"
        left = set(paste.leave_out)
        known = num_classes is None or left < set(range(num_classes))
        yield f"{section}.copy_paste.leave_out", known and min(left, default=0) >= 0, "classes, and not all of them"


def _unlabeled_rules(written: Path | None, folder: Path | None, ratio: float | None) -> Iterator[tuple[str, bool, str]]:
    """The unlabelled images come from one place."""
    taken = f"beside dataset.labeled_ratio {ratio}, which leaves the rest of its pool unlabelled (set one to null)"
    yield "dataset.train.unlabeled_list", written is None or ratio is None, f"no such list {taken}"
    yield "dataset.train.unlabeled_dir", folder is None or ratio is None, f"no such folder {taken}"
    other = f"no such folder beside dataset.train.unlabeled_list {written} (set one to null)"
    yield "dataset.train.unlabeled_dir", folder is None or written is None, other


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
    contrastive = [key for key in config.origins if key.startswith("trainer.contrastive.")]
    read_only_by |= dict.fromkeys(contrastive, ("u2pl", config.method, "method"))
    if config.method == "ael":
        for key in ("confid_thresh", "normalize"):
            read_only_by[f"trainer.unsupervised.{key}"] = ("another", "ael", "method")
    of_ael = [f"trainer.adaptive.{key}" for key in ("sample", "gamma", "gamma2", "threshold")]
    read_only_by |= dict.fromkeys(of_ael, ("ael", config.method, "method"))
    for key, (needed, chosen, switch) in read_only_by.items():
        if key in config.origins and chosen != needed:
            notes.append(f"{key} ({config.origins[key]}) is not read: {switch} is {chosen}, not {needed}")
    return notes


def _get(config: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        config = getattr(config, part)
    return config

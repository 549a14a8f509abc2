"""What values can work together: the checks that cross keys. What one key may be stands on its field in ``keys``."""

from collections.abc import Iterator
from pathlib import Path

from semiseg.common.errors import ConfigError
from semiseg.common.text import did_you_mean
from semiseg.config.keys import Config, EncoderConfig, TrainerConfig, WeakToStrongConfig
from semiseg.config.unread import value_at
from semiseg.config.weights import WEIGHTS

_NO_REP_HEAD = "false (dec_unimatch has none; method u2pl needs net.decoder.type=dec_deeplabv3_plus)"


def validate(config: Config) -> None:
    """Raises ConfigError for values that cannot work together, naming the key and who wrote it."""
    for dotted, fits, expected in rules(config):
        if not fits:
            origin = config.origins.get(dotted, "default")
            raise ConfigError(f"{origin}: {dotted}: expected {expected}, got {value_at(config, dotted)}")


def rules(config: Config) -> Iterator[tuple[str, bool, str]]:
    """(key, is it fine, what was expected), for every value that depends on others."""
    data, trainer, net, ratio = config.dataset, config.trainer, config.net, config.dataset.labeled_ratio
    yield (
        "dataset.labeled_ratio",
        ratio is None or "dataset.split" not in config.origins or data.split is None,
        f"no dataset.split beside it (one says which images are labelled, here split {data.split}; set it to null)",
    )
    yield from _unlabeled_rules(data.train.unlabeled_list, data.train.unlabeled_dir, ratio)
    fits = trainer.sup_only_epoch <= trainer.epochs or config.method == "suponly"  # which has no other epochs
    yield "trainer.sup_only_epoch", fits, f"0..{trainer.epochs} (trainer.epochs)"
    yield "trainer.recompute", trainer.jit or not trainer.recompute, "false where trainer.jit is false (not compiled)"
    scale = "numbers of RGB values 0..255 (of 0..1 they are 255 times as large)"
    yield "dataset.std", data.std is None or max(data.std) >= 1, scale
    yield "dataset.mean", data.mean is None or not 0 < max(data.mean) < 1, scale
    yield from _class_rules(trainer, config.stated.get("net.num_classes"))
    yield from _weight_rules(net.encoder)
    place = Path(config.saver.snapshot_dir)
    within = not place.is_absolute() and ".." not in place.parts  # whose lock guards it
    yield "saver.snapshot_dir", within, "the name of a folder in the run's own"
    stages = net.encoder.kwargs.replace_stride_with_dilation
    yield "net.encoder.kwargs.replace_stride_with_dilation", not stages[0], "[false, ...]: output stride 8, 16 or 32"
    rep_head = net.decoder.kwargs.rep_head
    yield "net.decoder.kwargs.rep_head", not rep_head or net.decoder.type == "dec_deeplabv3_plus", _NO_REP_HEAD
    yield from _box_rules(trainer.weak_to_strong)
    if head := net.proto_head:
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
    yield "dataset.val.crop.size", min(data.val.crop.size) >= smallest, enough


def _box_rules(boxes: WeakToStrongConfig) -> Iterator[tuple[str, bool, str]]:
    """The largest box fits into the crop in some of its shapes."""
    area, (low, high) = boxes.box_area[1], boxes.box_ratio
    yield "trainer.weak_to_strong.box_area", area <= 1, "[low, high] with 0 < low <= high <= 1"
    # A box of share a and ratio r has sides sqrt(a * r) and sqrt(a / r): r from a to 1 / a lets both be at most 1.
    fits = min(high, 1 / area) - max(low, area) > 0
    yield "trainer.weak_to_strong.box_ratio", fits, f"some ratios from {area:g} to {1 / area:g} (box_area)"


def _weight_rules(encoder: EncoderConfig) -> Iterator[tuple[str, bool, str]]:
    """Weights that are named are known, and the encoder is theirs."""
    name = encoder.pretrained
    weights = WEIGHTS.get(name) if isinstance(name, str) else None
    near = did_you_mean(name, WEIGHTS).removeprefix("; ") if isinstance(name, str) and not weights else ""
    expected = "a file or a name that `semiseg weights` lists" + (f" ({near})" if near else "")
    yield "net.encoder.pretrained", not isinstance(name, str) or weights is not None, expected
    if weights:
        wanted = {"net.encoder.type": weights.encoder, "net.encoder.kwargs.stem": weights.stem}
        chosen = {"net.encoder.type": encoder.type, "net.encoder.kwargs.stem": encoder.kwargs.stem}
        for key, value in wanted.items():
            mend = f"set {key}={value}, or net.encoder.pretrained to weights of your encoder or to null"
            of = f"{value} (net.encoder.pretrained is {name}: {mend})"
            yield key, value in (None, chosen[key]), of


def _class_rules(trainer: TrainerConfig, stated: tuple[int, str] | None) -> Iterator[tuple[str, bool, str]]:
    """Ranks and lists of classes; ``stated``: their number, where a file says it."""
    if contrast := trainer.contrastive:
        high = contrast.high_rank > contrast.low_rank
        yield "trainer.contrastive.high_rank", high, f"above low_rank ({contrast.low_rank})"
    if trainer.adaptive and trainer.adaptive.copy_paste:
        left = set(trainer.adaptive.copy_paste.leave_out)
        fits = stated is None or left < set(range(stated[0]))
        yield "trainer.adaptive.copy_paste.leave_out", fits, "classes, and not all of them"


def _unlabeled_rules(written: Path | None, folder: Path | None, ratio: float | None) -> Iterator[tuple[str, bool, str]]:
    """The unlabelled images come from one place."""
    taken = f"beside dataset.labeled_ratio {ratio}, which leaves the rest of its pool unlabelled (set one to null)"
    yield "dataset.train.unlabeled_list", written is None or ratio is None, f"no such list {taken}"
    yield "dataset.train.unlabeled_dir", folder is None or ratio is None, f"no such folder {taken}"
    other = f"no such folder beside dataset.train.unlabeled_list {written} (set one to null)"
    yield "dataset.train.unlabeled_dir", folder is None or written is None, other

"""config.yaml files of U2PL, of AEL and of the authors' release, turned into this project's keys.

A pure function from the mapping in such a file to a mapping of our schema, and a note for each key that is ignored or
that means something in other words here. A key whose meaning is not supported is an error. docs/migrating.md has the
table; keys that are the same on both sides, and keys of our own, pass as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.config.published_ael import draw_labeled, translate_ael
from semiseg.config.published_work import Work, is_number, located, nested, translate_fixed

# Switches that the published networks always have on, or files that leave them off: key -> (what may stand there, why).
_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "dataset.noise_std": ((), "no published code reads it"),
    "dataset.train.GaussianBlur": ((False, None), "off, as here"),
    "dataset.train.rand_rotation": ((False, None), "off, as here"),
    "dataset.train.resize": ((False, None), "off, as here"),
    "dataset.train.cutout": ((False, None), "off, as here"),
    "dataset.train.cutmix": ((False, None), "off, as here (trainer.unsupervised.apply_aug mixes)"),
    "dataset.val.GaussianBlur": ((False, None), "off, as here"),
    "dataset.val.flip": ((False, None), "off, as here (evaluation.flip averages mirror images)"),
    "trainer.start_epochs": ((0, None), "a run starts at epoch 0, or where it was interrupted"),
    "trainer.unsupervised.TTA": ((False, None), "off, as here (evaluation.scales and evaluation.flip)"),
    "saver.pretrain": (("", False, None), "empty: the run starts from net.encoder.pretrained or from random weights"),
    "saver.ignore_keys": (([], False, None), "empty: every name of a checkpoint must fit"),
    "criterion.kwargs.use_weight": ((False, None), "off, as here"),
    "net.encoder.kwargs.fpn": ((True,), "always so: the decoder reads all four maps"),
    "trainer.contrastive.unsupervised_entropy_ignore": ((), "no published code reads it"),
    "trainer.contrastive.current_class_negative_threshold": ((1, 1.0), "always so: every probability is below 1"),
    "trainer.contrastive.anchor_ema": ((False, None), "off, as here"),
    "trainer.contrastive.binary": ((False, None), "off, as here"),
    "net.decoder.kwargs.rep_clf": ((), "the prototype head reads that feature whenever there is one"),
    "net.proto_head.patch_select": ((True,), "always so: one pixel in each cell of the grid"),
}
# Devices of the published runs: U2PL's contrastive loss is divided by their number before distributed training averages
# over them once more (docs/method.md).
_U2PL_DEVICES = {"pascal": 4, "cityscapes": 8}
_RENAMED = {"net.proto_head.proto_unpdate_momentum": "net.proto_head.proto_update_momentum"}
_CRITERIA = {"ohem": "ohem", "celoss": "CELoss", "ce": "CELoss", "crossentropy": "CELoss"}


def is_published(content: Mapping[str, Any]) -> bool:
    """Whether a mapping has the dotted type strings of U2PL, AEL or the authors (core.models.resnet.resnet101)."""
    net = content.get("net")
    parts = [net.get(part) for part in ("encoder", "decoder")] if isinstance(net, Mapping) else []
    types = [part.get("type") for part in parts if isinstance(part, Mapping)]
    return any(isinstance(name, str) and "." in name for name in types)


def translate(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[str]]:
    """A published mapping in our keys, and the notes.

    Args:
        content: what the YAML file holds.
        path: the file, absolute. Published paths are relative to its folder or to the repository root, which is the
            parent of the folder ``experiments`` above the file (or the file's own folder).

    Raises:
        ConfigError: a key that is written with a value that this project has no counterpart for.
    """
    work = Work(content, path)
    _refuse_with_ael(work)
    _translate_types(work)
    _translate_paths(work)
    _translate_method(work)
    if work.ael:
        translate_ael(work)
    translate_fixed(work, _FIXED)
    _translate_rest(work)
    _fill_in(work)
    return nested(work.keys), work.notes


def _refuse_with_ael(work: Work) -> None:
    """Raises: ConfigError for files of U2PL's branch with_AEL, whose method is another than U2PL and than AEL."""
    if "criterion.contra_weight" in work.keys:
        raise work.refuse(
            "criterion.contra_weight",
            "files of U2PL's branch with_AEL train AEL's losses with a little of the contrastive one, a method that is "
            "not here; experiments/cityscapes/*/u2pl_ael combine U2PL's losses with AEL's samplers",
        )


def _translate_types(work: Work) -> None:
    for key in ("net.encoder.type", "net.decoder.type"):
        written = work.keys.get(key)
        if isinstance(written, str) and "." in written:
            work.keys[key] = written.rpartition(".")[2]
            work.note(key, f"{written} is {work.keys[key]} here")
    if work.data_set != (written := work.keys.get("dataset.type")):
        work.keys["dataset.type"] = work.data_set
        work.note("dataset.type", f"{written} is {work.data_set} here; the method says what is learnt from")
    criterion = work.keys.get("criterion.type")
    if isinstance(criterion, str):
        work.keys["criterion.type"] = _CRITERIA.get(criterion.lower().replace("_", ""), criterion)
    for old, new in _RENAMED.items():
        if old in work.keys:
            work.default(new, work.keys.pop(old))
            work.note(old, f"is {new} here")
    for key in ("dataset.train.rand_resize", "net.aux_loss", "net.proto_head"):
        if work.keys.get(key) is False:
            work.keys[key] = None


def _translate_paths(work: Work) -> None:
    roots = [work.keys.pop(key, None) for key in ("dataset.train.data_root", "dataset.val.data_root")]
    parts = ["dataset"] if roots[0] == roots[1] else ["dataset.train", "dataset.val"]
    for part, written in zip(parts, roots, strict=False):
        if written:
            work.keys[f"{part}.data_root"] = located(work, written)
            key = "dataset.*.data_root" if part == "dataset" else f"{part}.data_root"
            work.note(key, f"{written} is {part}.data_root: {work.keys[f'{part}.data_root']}")
    for part in ("train", "val"):
        key = f"dataset.{part}.data_list"
        if isinstance(work.keys.get(key), str):
            work.keys[key] = located(work, work.keys[key], from_root=False)
    _add_unlabeled(work)
    if work.keys.get("saver.main_dir"):
        work.keys["saver.main_dir"] = located(work, work.keys["saver.main_dir"])
        work.note("saver.main_dir", f"taken as {work.keys['saver.main_dir']}")
    elif not work.keys.get("saver.root"):
        work.keys["saver.main_dir"] = str(work.path.parent)
        work.note("saver.snapshot_dir", f"lies in the file's own folder, as U2PL has it: {work.path.parent}")
    start = work.keys.get("net.proto_head.init_proto_path")
    if isinstance(start, str) and start:
        placeholder = start.startswith("path/to/")
        work.keys["net.proto_head.init_proto_path"] = None if placeholder else located(work, start)
        if placeholder:
            work.note("net.proto_head.init_proto_path", f"{start} is a placeholder; k-means inside the run stands in")


def _add_unlabeled(work: Work) -> None:
    """U2PL's unlabelled list is found by name beside the labelled one."""
    labeled = work.keys.get("dataset.train.data_list")
    if not isinstance(labeled, str) or "dataset.train.unlabeled_list" in work.keys:
        return
    path = Path(labeled)
    if work.ael and path.name != "labeled.txt":
        draw_labeled(work, path)
        return
    if path.name != "labeled.txt":
        raise work.refuse(
            "dataset.train.data_list",
            f"expected a file named labeled.txt, beside which unlabeled.txt lies, got {path.name}; "
            "or write dataset.train.unlabeled_list",
        )
    work.keys["dataset.train.unlabeled_list"] = str(path.with_name("unlabeled.txt"))
    work.note("dataset.train.data_list", f"the unlabelled list is unlabeled.txt beside it, in {path.parent}")
    work.default("dataset.split", path.parent.name)


def _translate_method(work: Work) -> None:
    if work.has("net.proto_head"):
        method = "ours"
    elif not work.semi:
        method = "suponly"
    elif work.ael and not work.has("trainer.contrastive"):
        method = "ael"
    else:
        method = "u2pl" if work.has("trainer.contrastive") else "mean_teacher"
    if "method" not in work.keys:
        work.keys["method"] = method
        work.note("method", f"{method}, by dataset.type, net.proto_head, trainer.contrastive and AEL's sections")
    _translate_contrastive(work)
    if work.keys["method"] != "suponly":
        _translate_unsupervised(work)


def _translate_contrastive(work: Work) -> None:
    written = [key for key in work.keys if key == "trainer.contrastive" or key.startswith("trainer.contrastive.")]
    rep_head = work.keys.pop("net.decoder.kwargs.rep_head", None)
    if work.keys["method"] == "u2pl":
        work.keys["net.decoder.kwargs.rep_head"] = True
        key, devices = "trainer.contrastive.loss_weight", _U2PL_DEVICES.get(work.data_set, 8)
        weight = work.keys.get(key, 1)
        if is_number(weight):
            work.keys[key] = weight / devices
            why = f"U2PL's code, on the {devices} devices of its tables, averages this loss once too often"
            work.note(key, f"{weight:g} is {weight / devices:g} here ({why}; its author recommends 0.1)")
        return
    for key in written:
        del work.keys[key]
    if rep_head is not None:
        work.note("net.decoder.kwargs.rep_head", "ignored (only method u2pl builds the representation head)")
    if any(key != "trainer.contrastive" for key in written):
        work.note("trainer.contrastive.*", f"not read (method {work.keys['method']})")


def _translate_unsupervised(work: Work) -> None:
    section = "trainer.unsupervised"
    by_confidence = work.ael or work.has("net.proto_head") or f"{section}.confid_thresh" in work.keys
    work.default(f"{section}.rule", "confidence" if by_confidence else "entropy")
    rule = work.keys[f"{section}.rule"]
    unread = f"{section}.drop_percent" if rule == "confidence" else f"{section}.confid_thresh"
    if unread in work.keys:
        del work.keys[unread]
        work.note(unread, f"not read: pixels are kept by {rule} ({section}.rule)")
    if rule == "entropy":
        work.default(f"{section}.drop_percent", 100)  # U2PL's default: nothing is dropped
    mixing = work.keys.get(f"{section}.apply_aug", False)
    work.keys[f"{section}.apply_aug"] = mixing or "none"


def _translate_rest(work: Work) -> None:
    if "criterion.threshold" in work.keys:
        del work.keys["criterion.threshold"]
        work.note("criterion.threshold", "ignored (AEL's code alone reads it; criterion.kwargs.thresh counts)")
    if "saver.auto_resume" in work.keys:
        written = work.keys.pop("saver.auto_resume")
        work.default("trainer.resume", "auto")
        kept = "" if written else "; false is not followed, so that no run is lost: trainer.resume=never starts anew"
        work.note("saver.auto_resume", f"is trainer.resume here, auto{kept}")
    if "net.encoder.kwargs.pretrained" in work.keys:
        del work.keys["net.encoder.kwargs.pretrained"]
    if not work.keys.get("net.encoder.pretrained"):
        work.note(
            "net.encoder.pretrained",
            "the published code has a path to ImageNet weights inside resnet.py; here this key names the file, "
            "and without it training starts from random weights",
        )


def _fill_in(work: Work) -> None:
    """What the published code has in its source, or takes as a default that differs from ours."""
    pascal = work.data_set == "pascal"
    built_in: dict[str, Any] = {"trainer.optimizer.decoder_lr_times": 10 if pascal or work.ael else 1}
    built_in["dataset.train.pad_label"] = 0
    if work.keys["method"] == "suponly":
        built_in |= {"trainer.epoch_of": "labeled"}
        work.keys["net.ema_decay"] = 0  # the files write U2PL's number, which its supervised runs do not read
        work.note("net.ema_decay", "0: the published supervised runs have no teacher")
    elif work.keys["method"] == "ael":
        built_in |= {"trainer.teacher_bn": "forward"}
    else:
        built_in |= {"trainer.teacher_start": "semi_phase", "trainer.teacher_bn": "forward"}
    if not work.authors:  # U2PL's and AEL's files write both; edited ones without them mean their code's own
        built_in |= {
            "net.encoder.kwargs.multi_grid": False,
            "net.encoder.kwargs.replace_stride_with_dilation": [False, False, False],
        }
    for key, value in built_in.items():
        if key not in work.keys:
            work.keys[key] = value
            source = "AEL" if work.ael and not key.startswith("dataset.") else "U2PL"
            work.note(key, f"{value}, as {source} has it built in")
    if work.keys["method"] != "suponly":  # which has no other epochs
        work.default("trainer.sup_only_epoch", 0 if work.ael else 1)
    work.default("dataset.train.flip", False)
    work.default("dataset.train.rand_resize", None)
    if work.has("dataset.val.crop"):
        work.default("trainer.eval_mode", "center")
    if work.ael:
        work.default("evaluation.average", "probabilities")
    if pascal or "evaluation.mode" in work.keys:
        work.default("evaluation.mode", "whole")
        work.note("evaluation.mode", f"{work.keys['evaluation.mode']}, as the published eval.sh scores {work.data_set}")
        return
    work.keys["evaluation.mode"] = "slide"
    work.default("evaluation.base_size", 2048)
    if isinstance(work.keys.get("dataset.val.crop.size"), list):
        work.default("evaluation.crop_size", work.keys["dataset.val.crop.size"])
    work.note("evaluation.mode", f"slide, long side 2048, as the published eval.sh scores {work.data_set}")

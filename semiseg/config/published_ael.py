"""What AEL's YAML files have of their own, turned into this project's keys: three sections, a list to draw from, rates.

Source: its train.py, loss_helper.py and data sets, of which the defaults here are.
"""

from pathlib import Path
from typing import Any

from semiseg.config.published_work import AEL_SECTIONS, Work, is_number, translate_fixed

_ADAPTIVE = "trainer.adaptive"
# Its sections: acp pastes on labelled images, acm mixes unlabelled ones, cons is the loss of the consistency.
_RENAMED = {
    "dataset.acp.number": f"{_ADAPTIVE}.copy_paste.number",
    "dataset.acp.rand_resize": f"{_ADAPTIVE}.copy_paste.rand_resize",
    "dataset.acm.area_thresh": f"{_ADAPTIVE}.cutmix.area_thresh",
    "dataset.acm.area_thresh2": f"{_ADAPTIVE}.cutmix.area_thresh2",
    "criterion.cons.sample": f"{_ADAPTIVE}.sample",
    "criterion.cons.gamma": f"{_ADAPTIVE}.gamma",
    "criterion.cons.gamma2": f"{_ADAPTIVE}.gamma2",
    "criterion.threshold": f"{_ADAPTIVE}.threshold",
    "criterion.consist_weight": "trainer.unsupervised.loss_weight",
}
_FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "dataset.acm.number": ((), "no published code reads it: one class is drawn for each image"),
    "dataset.acm.no_pad": ((True,), "always so: the box is the component's own"),
    "dataset.acm.no_slim": ((True,), "always so: the box is the component's own"),
}
# Classes that its source never pastes. Its numbers are Cityscapes' large classes and mean nothing on VOC, where
# background is left out.
_LEFT_OUT = {"cityscapes": [0, 1, 2, 8, 10], "pascal": [0]}
# All of its losses are divided by the number of devices before distributed training averages over them once more
# (docs/method.md).
_DEVICES = 8
# Images in the lists that it draws its n_sup labelled ones from.
_POOL = {"pascal": 10582, "cityscapes": 2975}


def translate_ael(work: Work) -> None:
    """AEL's own sections, and the rates that its code really trains with."""
    _translate_rates(work)
    if work.keys["method"] == "suponly":
        _leave_out_sections(work)
        return
    paste, mix, consistency = map(work.has, AEL_SECTIONS)
    if mix:
        _refuse_other_boxes(work)
    if not consistency and (threshold := work.keys.get("criterion.threshold")):
        raise work.refuse("criterion.threshold", f"{threshold} is not supported without criterion.cons, only 0")
    _translate_momentum(work, paste, mix)
    translate_fixed(work, _FIXED)
    if is_number(prob := work.keys.pop("dataset.acp.prob", None)):
        work.default(f"{_ADAPTIVE}.copy_paste.prob", 1 - prob)
        work.note("dataset.acp.prob", f"{prob:g} is {1 - prob:g} here: AEL's code pastes with the rest's probability")
    for old, new in _RENAMED.items():
        if old in work.keys:
            work.default(new, work.keys.pop(old))
            work.note(old, f"is {new} here")
    for section in AEL_SECTIONS:  # true, or null for what is off
        if section in work.keys:
            work.note(section, f"{'on' if work.keys.pop(section) else 'off'}")
    _fill_in(work, paste, mix, consistency)


def _translate_rates(work: Work) -> None:
    for name, change in (("lr", lambda x: x / _DEVICES), ("weight_decay", lambda x: x * _DEVICES)):
        key = f"trainer.optimizer.kwargs.{name}"
        if is_number(written := work.keys.get(key)):
            work.keys[key] = change(written)
            why = f"AEL's code, on the {_DEVICES} devices of its tables, averages its losses once too often"
            work.note(key, f"{written:g} is {work.keys[key]:g} here ({why})")


def _leave_out_sections(work: Work) -> None:
    for section in AEL_SECTIONS:
        written = [key for key in work.keys if key == section or key.startswith(f"{section}.")]
        if written:
            work.note(f"{section}.*", "not read (method suponly)")
        for key in written:
            del work.keys[key]


def _refuse_other_boxes(work: Work) -> None:
    """Left out, both keys mean boxes that are padded or cut to half the area, which are not supported here."""
    for name in ("no_pad", "no_slim"):
        if f"dataset.acm.{name}" not in work.keys:
            raise work.refuse(f"dataset.acm.{name}", "left out, which means false: not supported here; write true")


def _translate_momentum(work: Work, paste: bool, mix: bool) -> None:
    """One of three is read: acm's where it mixes, else acp's where it pastes, else cons's."""
    read = AEL_SECTIONS[1] if mix else AEL_SECTIONS[0] if paste else AEL_SECTIONS[2]
    for section in AEL_SECTIONS:
        key = f"{section}.momentum"
        if key in work.keys:
            value = work.keys.pop(key)
            if section == read:
                work.default(f"{_ADAPTIVE}.momentum", value)
            work.note(key, f"is {_ADAPTIVE}.momentum here" if section == read else f"not read ({read}.momentum is)")


def _fill_in(work: Work, paste: bool, mix: bool, consistency: bool) -> None:
    """What AEL's source has where a file is silent."""
    work.default(f"{_ADAPTIVE}.absent", "decay")
    if paste:
        work.default(f"{_ADAPTIVE}.copy_paste.number", 3)
        work.default(f"{_ADAPTIVE}.copy_paste.leave_out", _LEFT_OUT.get(work.data_set, []))
    if mix:
        work.default(f"{_ADAPTIVE}.cutmix.area_thresh", 0.0001)
        work.default(f"{_ADAPTIVE}.cutmix.area_thresh2", work.keys[f"{_ADAPTIVE}.cutmix.area_thresh"])
        work.keys.pop("trainer.unsupervised.apply_aug", None)
    if mix or work.keys["trainer.unsupervised.apply_aug"] != "none":
        work.default("trainer.unsupervised.aug_prob", 1.0)
    if work.keys["method"] == "ael":
        work.default(f"{_ADAPTIVE}.sample", False)
        if not consistency:
            work.default(f"{_ADAPTIVE}.gamma", 0)


def draw_labeled(work: Work, pool: Path) -> None:
    """AEL's list holds all training images, of which ``n_sup`` drawn ones are labelled."""
    count, total = work.keys.get("dataset.n_sup"), _POOL.get(work.data_set)
    if total is None or not isinstance(count, int) or not 0 < count < total:
        raise work.refuse("dataset.n_sup", f"expected a number of labelled images below {total}, got {count!r}")
    work.keys["dataset.labeled_ratio"] = count / total
    work.note(
        "dataset.n_sup",
        f"{count} of the {total} images of {pool.name} are drawn by dataset.split_seed (dataset.labeled_ratio); AEL "
        "draws others, by Python's random.sample",
    )

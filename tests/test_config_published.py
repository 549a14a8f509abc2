"""config.yaml files with the keys of U2PL, of AEL and of the authors' release."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkpoint_files import write_ckpt
from tiny import ROOT, write_voc

from semiseg import cli, evaluate, train
from semiseg.common.errors import ConfigError
from semiseg.config.fields import flatten
from semiseg.config.loading import dump, load
from semiseg.config.published import is_published, translate
from semiseg.config.unread import unread_keys
from semiseg.data.build import complete
from semiseg.data.splits import labeled_count
from semiseg.engine.build import fresh_network
from semiseg.methods import get_method


def sgd(lr, decay):
    return {
        "optimizer": {"type": "SGD", "kwargs": {"lr": lr, "momentum": 0.9, "weight_decay": decay}},
        "lr_scheduler": {"mode": "poly", "kwargs": {"power": 0.9}},
    }


def data_section(kind, folder, roots, lists, side, n_sup):
    crop = {"size": [side, side]}
    return {
        "type": kind,
        "train": {
            "data_root": roots,
            "data_list": f"{lists}/{folder}/{n_sup}/labeled.txt",
            "flip": True,
            "GaussianBlur": False,
            "rand_resize": [0.5, 2.0],
            "crop": {"type": "rand", **crop},
        },
        "val": {"data_root": roots, "data_list": f"{lists}/{folder}/val.txt", "crop": {"type": "center", **crop}},
        "batch_size": 2,
        "n_sup": n_sup,
        "noise_std": 0.1,
        "workers": 2,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "ignore_label": 255,
    }


def net_section(package, classes):
    return {
        "num_classes": classes,
        "sync_bn": True,
        "ema_decay": 0.99,
        "encoder": {
            "type": f"{package}.models.resnet.resnet101",
            "kwargs": {
                "multi_grid": True,
                "zero_init_residual": True,
                "fpn": True,
                "replace_stride_with_dilation": [False, True, True],
            },
        },
        "decoder": {
            "type": f"{package}.models.decoder.dec_deeplabv3_plus",
            "kwargs": {"inner_planes": 256, "dilations": [12, 24, 36]},
        },
    }


LISTS = "../../../../data/splits"
OHEM = {"type": "ohem", "kwargs": {"thresh": 0.7, "min_kept": 100000}}


def authors(kind="pascal_semi"):
    """As the authors' release has it for 183 labelled images (VOC) or 186 (Cityscapes)."""
    pascal = kind.startswith("pascal")
    n_sup, side, k = (183, 513, 4) if pascal else (186, 769, 3)
    folder, root = ("pascal", "semantic_seg/VOC2012") if pascal else ("cityscapes", "semantic_seg/cityscapes")
    content = {
        "dataset": data_section(kind, folder, root, LISTS, side, n_sup),
        "trainer": {"epochs": 80 if pascal else 200, "sup_only_epoch": 1, "eval_on": True}
        | sgd(0.001 if pascal else 0.01, 0.0001 if pascal else 0.0005),
        "saver": {
            "main_dir": f"ckpt/{'voc' if pascal else 'city'}/{n_sup}/semiseg_with_proto",
            "snapshot_dir": "checkpoints",
            "pretrain": "",
            "ignore_keys": [],
            "auto_resume": False,
        },
        "criterion": {"threshold": 0.7, **copy.deepcopy(OHEM)},
        "net": net_section("core", 21 if pascal else 19),
    }
    content["trainer"]["unsupervised"] = {"TTA": False, "drop_percent": 80, "apply_aug": "cutmix"}
    content["trainer"]["unsupervised"]["confid_thresh"] = 0.8 if pascal else 0.65
    content["net"]["decoder"]["kwargs"] |= {"rep_head": False, "rep_clf": True}
    if not pascal:
        content["net"]["aux_loss"] = {"aux_plane": 1024, "loss_weight": 0.4}
    content["net"]["proto_head"] = {
        "in_planes": 512,
        "loss_weight": 1.0,
        "num_micro_proto": k,
        "dynamic_update_proto": True,
        "proto_unpdate_momentum": 0.98,
        "init_proto_path": f"path/to/class_wise_protos_{k}_perpixel.pickle",
        "patch_select": True,
        "select_granularity": 32,
    }
    return content


def u2pl(kind="pascal_semi"):
    """As U2PL has it for 1464 labelled images (VOC) or 744 (Cityscapes), with or without unlabelled ones."""
    pascal = kind.startswith("pascal")
    folder, root = ("pascal", "VOC2012") if pascal else ("cityscapes", "cityscapes")
    n_sup, side = (1464, 513) if pascal else (744, 769)
    content = {
        "dataset": data_section(kind, folder, f"../../../../data/{root}", LISTS, side, n_sup),
        "trainer": {"epochs": 80 if pascal else 200, "eval_on": True} | sgd(0.001, 0.0001),
        "saver": {"snapshot_dir": "checkpoints", "pretrain": ""},
        "criterion": copy.deepcopy(OHEM),
        "net": net_section("u2pl", 21 if pascal else 19) | {"aux_loss": {"aux_plane": 1024, "loss_weight": 0.4}},
    }
    if kind.endswith("_semi"):
        content["trainer"]["unsupervised"] = {"TTA": False, "drop_percent": 80, "apply_aug": "cutmix"}
        content["trainer"]["contrastive"] = {
            "negative_high_entropy": True,
            "low_rank": 3,
            "high_rank": 20,
            "current_class_threshold": 0.3,
            "current_class_negative_threshold": 1,
            "unsupervised_entropy_ignore": 80,
            "low_entropy_threshold": 20,
            "num_negatives": 50,
            "num_queries": 256,
            "temperature": 0.5,
        }
    else:
        content["trainer"]["start_epochs"] = 0
        content["net"]["decoder"]["kwargs"]["rep_head"] = False
    return content


def ael(kind="cityscapes_semi"):
    """As AEL has it for 744 labelled images of Cityscapes, or 1464 of VOC."""
    pascal = kind.startswith("pascal")
    folder, root, side = ("pascal", "VOC2012", 513) if pascal else ("cityscapes", "cityscapes", 769)
    content = {
        "dataset": data_section(kind, folder, f"../../../../data/{root}", LISTS, side, 1464 if pascal else 744),
        "trainer": {"epochs": 80 if pascal else 200, "eval_on": True} | sgd(0.01, 0.0001),
        "saver": {"snapshot_dir": "checkpoints", "pretrain": ""},
        "criterion": {"threshold": 0.7 if pascal else 0, **copy.deepcopy(OHEM)},
        "net": net_section("semseg", 21 if pascal else 19) | {"aux_loss": {"aux_plane": 1024, "loss_weight": 0.4}},
    }
    content["criterion"]["cons"] = {"sample": True, "gamma": 2, "gamma2": 1}
    content["dataset"]["acp"] = {"number": 1 if pascal else 3}
    content["dataset"]["acm"] = {"number": 3, "area_thresh": 0.03 if pascal else 0.005, "no_pad": True, "no_slim": True}
    if not pascal:
        content["dataset"]["acm"]["area_thresh2"] = 0.01
    return content


def write(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "config.yaml"


def without(content, dotted):
    *sections, last = dotted.split(".")
    node = content
    for section in sections:
        node = node[section]
    del node[last]
    return content


def with_value(content, dotted, value):
    *sections, last = dotted.split(".")
    node = content
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return content


# --- the published files as they are ----------------------------------------------------------------------------------


def test_the_authors_voc_file(tmp_path):
    config = load(write(tmp_path / "experiments/pascal/183/ours", authors()))
    assert config.method == "ours"
    assert get_method(config.method)
    data = config.dataset
    assert (data.type, data.split, data.batch_size) == ("pascal", "183", 2)
    stated = {key: leaf.value for key, leaf in config.stated.items()}
    assert stated == {"dataset.n_sup": 183, "net.num_classes": 21, "net.proto_head.in_planes": 512}
    assert data.data_root == tmp_path / "semantic_seg/VOC2012"
    assert data.train.data_list == tmp_path / "data/splits/pascal/183/labeled.txt"
    assert data.train.unlabeled_list == tmp_path / "data/splits/pascal/183/unlabeled.txt"
    assert data.val.data_list == tmp_path / "data/splits/pascal/val.txt"
    assert (data.train.crop.size, data.train.rand_resize, data.train.flip) == ((513, 513), (0.5, 2.0), True)
    assert config.saver.main_dir == tmp_path / "ckpt/voc/183/semiseg_with_proto"
    unsup = config.trainer.unsupervised
    assert (unsup.rule, unsup.confid_thresh, unsup.apply_aug) == ("confidence", 0.8, "cutmix")
    assert (config.trainer.epochs, config.trainer.sup_only_epoch) == (80, 1)
    assert config.trainer.optimizer.decoder_lr_times == 10
    assert config.trainer.optimizer.kwargs.lr == 0.001
    assert (config.criterion.type, config.criterion.kwargs.min_kept) == ("ohem", 100000)
    assert config.net.encoder.type == "resnet101"
    head = config.net.proto_head
    assert (head.num_micro_proto, head.proto_update_momentum, head.init_proto_path) == (4, 0.98, None)
    assert config.net.aux_loss is None
    assert (config.evaluation.mode, config.evaluation.scales) == ("whole", (1.0,))


def test_the_authors_cityscapes_file(tmp_path):
    config = load(write(tmp_path / "experiments/cityscapes/186/ours", authors("cityscapes_semi")))
    assert config.dataset.type == "cityscapes"
    assert config.trainer.optimizer.decoder_lr_times == 1
    assert config.trainer.unsupervised.confid_thresh == 0.65
    evaluation = config.evaluation
    assert (evaluation.mode, evaluation.base_size, evaluation.crop_size) == ("slide", 2048, (769, 769))
    assert evaluation.stride_rate == pytest.approx(2 / 3)
    assert config.trainer.eval_mode == "center"
    assert config.net.aux_loss.loss_weight == 0.4
    assert config.saver.main_dir == tmp_path / "ckpt/city/186/semiseg_with_proto"


@pytest.mark.parametrize("kind", ["pascal", "cityscapes"])
def test_u2pl_files_of_labelled_images_alone(tmp_path, kind):
    folder = tmp_path / f"experiments/{kind}/1464/suponly"
    config = load(write(folder, u2pl(kind)))
    assert config.method == "suponly"
    assert config.saver.main_dir == folder
    assert config.dataset.data_root == tmp_path / f"data/{'VOC2012' if kind == 'pascal' else 'cityscapes'}"
    assert config.trainer.optimizer.decoder_lr_times == (10 if kind == "pascal" else 1)
    assert config.stated["net.aux_loss.aux_plane"].value == 1024


def test_u2pl_files_with_its_contrastive_loss_are_method_u2pl(tmp_path):
    content = u2pl()
    content["trainer"]["contrastive"] |= {"num_queries": 128, "low_entropy_threshold": 10}
    config = load(write(tmp_path / "experiments/pascal/1464/ours", content))
    assert config.method == "u2pl"
    assert config.trainer.unsupervised.rule == "entropy"
    assert config.trainer.unsupervised.drop_percent == 80
    contrastive = config.trainer.contrastive
    assert (contrastive.num_queries, contrastive.low_entropy_threshold, contrastive.num_negatives) == (128, 10, 50)
    assert config.net.decoder.kwargs.rep_head
    assert (config.trainer.teacher_start, config.trainer.teacher_bn) == ("semi_phase", "forward")
    notes = " ".join(config.notes)
    assert "unsupervised_entropy_ignore: ignored" in notes
    assert "teacher_bn: forward, as U2PL" in notes


def test_a_contrastive_loss_with_another_negative_threshold_is_refused(tmp_path):
    content = u2pl()
    content["trainer"]["contrastive"]["current_class_negative_threshold"] = 0.5
    with pytest.raises(ConfigError, match=r"current_class_negative_threshold: 0\.5 is not supported here, only 1"):
        load(write(tmp_path, content))


def test_u2pl_without_the_contrastive_loss_is_the_mean_teacher(tmp_path):
    config = load(write(tmp_path, without(u2pl(), "trainer.contrastive")))
    assert (config.method, config.net.proto_head) == ("mean_teacher", None)
    assert config.trainer.unsupervised.rule == "entropy"


PUBLISHED = [
    *(authors(), authors("cityscapes_semi"), u2pl(), u2pl("cityscapes"), u2pl("pascal"), u2pl("cityscapes_semi")),
    *(ael(), ael("pascal_semi"), ael("pascal")),
]


@pytest.mark.parametrize("content", PUBLISHED)
def test_every_key_is_read_or_reported_once(tmp_path, content):
    path = write(tmp_path / "experiments/a/b/c", content)
    config = load(path)
    keys = [note.split(": ")[0] for note in config.notes]
    assert len(keys) == len(set(keys))
    mapping, _ = translate(content, path)
    kept = flat(mapping)
    for key, value in flat(content).items():
        section = ".".join(key.split(".")[:2]) + ".*"
        same = key in kept and (kept[key] == value or key.endswith(("data_list", "apply_aug")))
        assert same or key in keys or section in keys or key.endswith("data_root"), key


def flat(content, prefix=""):
    found = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_the_resolved_file_reads_back_without_notes(tmp_path):
    config = load(write(tmp_path / "experiments/a/b/c", authors()))
    assert config.notes
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump(config))
    again = load(resolved)
    assert again == config
    assert again.notes == ()


def test_our_own_files_are_left_alone(tmp_path):
    own = {"net": {"encoder": {"type": "resnet50"}}, "dataset": {"type": "pascal_semi"}}
    assert not is_published(own)
    assert load(write(tmp_path, own)).notes == ()
    for odd in ({}, {"net": None}, {"net": {"encoder": None}}, {"net": {"encoder": {"type": 3}}}):
        assert not is_published(odd)
    assert is_published(authors())
    assert is_published(u2pl())


def test_translation_leaves_its_input_as_it_is(tmp_path):
    content = authors()
    before = copy.deepcopy(content)
    translate(content, tmp_path / "config.yaml")
    assert content == before


RECIPES = [
    ("pascal/1464/ours", authors(), {"proto_update_momentum": 0.98}),
    ("cityscapes/186/ours", authors("cityscapes_semi"), {"proto_update_momentum": 0.98}),
    ("cityscapes/744/ael", ael(), {}),
    ("pascal/1464/ael", ael("pascal_semi"), {}),
]


@pytest.mark.parametrize(("leaf", "content", "differs"), RECIPES, ids=[leaf for leaf, *_ in RECIPES])
def test_a_published_file_is_trained_as_the_experiment_of_the_same_table(tmp_path, leaf, content, differs):
    theirs, ours = flatten(load(write(tmp_path, content))), flatten(load(ROOT / f"experiments/{leaf}"))
    free = ("dataset.", "saver.", "expected", "evaluation.crop_size", "evaluation.base_size", "trainer.unsupervised.")
    found = {key for key in theirs | ours if theirs.get(key) != ours.get(key) and not key.startswith(free)}
    assert found == {f"net.proto_head.{name}" for name in differs}
    assert theirs["dataset.train.pad_label"] == ours["dataset.train.pad_label"] == 0
    for key in ("rule", "aug_prob"):
        assert theirs[f"trainer.unsupervised.{key}"] == ours[f"trainer.unsupervised.{key}"]


@pytest.mark.parametrize(("kind", "weight"), [("pascal_semi", 0.25), ("cityscapes_semi", 0.125)])
def test_u2pls_contrastive_weight_is_what_its_code_trains_with(tmp_path, kind, weight):
    assert load(write(tmp_path, u2pl(kind))).trainer.contrastive.loss_weight == weight
    content = with_value(u2pl(kind), "trainer.contrastive.loss_weight", 0.5)
    config = load(write(tmp_path, content), ["net.encoder.pretrained=w.pth"])
    assert config.trainer.contrastive.loss_weight == weight / 2
    assert f"0.5 is {weight / 2:g} here" in " ".join(config.notes)


@pytest.mark.parametrize("kind", ["pascal", "cityscapes"])
def test_published_supervised_runs_count_labelled_images_and_have_no_teacher(tmp_path, kind):
    config = load(write(tmp_path, u2pl(kind)))
    assert (config.trainer.epoch_of, config.net.ema_decay, config.trainer.teacher_bn) == ("labeled", 0, "ema")


# --- AEL's files ------------------------------------------------------------------------------------------------------


def test_aels_sections_are_trainer_adaptive(tmp_path):
    config = load(write(tmp_path / "experiments/cityscapes/744/ours", ael()))
    assert (config.method, config.dataset.split) == ("ael", "744")
    adaptive = config.trainer.adaptive
    assert (adaptive.sample, adaptive.gamma, adaptive.gamma2, adaptive.threshold) == (True, 2, 1, 0)
    assert (adaptive.cutmix.area_thresh, adaptive.cutmix.area_thresh2) == (0.005, 0.01)
    assert (adaptive.copy_paste.number, adaptive.copy_paste.leave_out) == (3, (0, 1, 2, 8, 10))
    sgd_kwargs = config.trainer.optimizer.kwargs
    assert (sgd_kwargs.lr, sgd_kwargs.weight_decay, config.trainer.optimizer.decoder_lr_times) == (0.00125, 0.0008, 10)
    notes = " ".join(config.notes)
    assert "trainer.optimizer.kwargs.lr: 0.01 is 0.00125 here" in notes
    assert "criterion.threshold: is trainer.adaptive.threshold here" in notes


@pytest.mark.parametrize(
    ("kind", "data_set", "labelled", "total"),
    [("cityscapes_semi_cp", "cityscapes", 1488, 2975), ("pascal_voc_semi_cp", "pascal", 2646, 10582)],
)
def test_aels_file_as_its_repository_has_it(tmp_path, kind, data_set, labelled, total):
    # One list of all training images, of which n_sup are drawn; acm below train; rand_resize, prob and momentum in acp.
    content = ael(f"{data_set}_semi")
    data = content["dataset"]
    data |= {"type": kind, "n_sup": labelled, "acp": data["acp"] | {"rand_resize": [0.1, 2.0], "prob": 0.5}}
    data["acp"]["momentum"] = 0.999
    data["train"] |= {"data_list": "/path/to/all_train.txt", "acm": data.pop("acm") | {"number": 3}}
    config = load(write(tmp_path / "experiments/ael", content))
    assert (config.method, config.dataset.type, config.dataset.split) == ("ael", data_set, None)
    assert labeled_count(total, config.dataset.labeled_ratio) == labelled
    assert config.dataset.train.data_list == Path("/path/to/all_train.txt")
    paste = config.trainer.adaptive.copy_paste
    assert (paste.rand_resize, paste.prob, config.trainer.adaptive.momentum) == ((0.1, 2.0), 0.5, 0.999)
    assert any("AEL draws others" in note for note in config.notes)
    assert config.stated["dataset.n_sup"].value == labelled  # compared with what is drawn of the list that is there


@pytest.mark.parametrize("published", [u2pl, ael])
def test_dilations_that_a_file_leaves_out_are_those_of_its_code(tmp_path, published):
    for key in ("multi_grid", "replace_stride_with_dilation"):
        content = without(published("pascal_semi"), f"net.encoder.kwargs.{key}")
        config = load(write(tmp_path, content))
        assert not np.any(getattr(config.net.encoder.kwargs, key))
        assert any(f"net.encoder.kwargs.{key}" in note and "built in" in note for note in config.notes)


@pytest.mark.parametrize("count", [None, 0, 2975, "many"])
def test_aels_number_of_labelled_images_must_be_one(tmp_path, count):
    content = ael()
    content["dataset"]["n_sup"] = count
    content["dataset"]["train"]["data_list"] = "/path/to/fine_train.txt"
    with pytest.raises(ConfigError, match=r"dataset\.n_sup: expected a number of labelled images below 2975, got"):
        load(write(tmp_path, content))


@pytest.mark.parametrize(
    ("section", "value", "gone"), [("acp", False, "copy_paste"), ("acm", False, "cutmix"), ("acm", None, "cutmix")]
)
def test_parts_of_ael_can_be_off(tmp_path, section, value, gone):
    config = load(write(tmp_path, with_value(ael(), f"dataset.{section}", value)))
    assert getattr(config.trainer.adaptive, gone) is None
    assert unread_keys(config) == []


def test_ael_without_its_consistency_options_weighs_all_pixels_alike(tmp_path):
    adaptive = load(write(tmp_path, without(ael(), "criterion.cons"))).trainer.adaptive
    assert (adaptive.sample, adaptive.gamma) == (False, 0)
    # Its code then takes the mean over the pixels above a threshold, as no method here does.
    with pytest.raises(ConfigError, match=r"threshold: 0\.7 is not supported without criterion\.cons, only 0"):
        load(write(tmp_path, without(ael("pascal_semi"), "criterion.cons")))


@pytest.mark.parametrize(
    ("section", "written", "key", "value"),
    [
        ("dataset.acp", {"prob": 0.2}, "copy_paste.prob", 0.8),  # the code pastes where random() > prob
        ("dataset.acp", {"momentum": 0.9}, "momentum", 0.999),  # acm's counts where there is one
        ("dataset.acp", {"prob": 0.5}, "copy_paste.number", 3),
        ("dataset.acm", {"no_pad": True, "no_slim": True}, "cutmix.area_thresh", 0.0001),
        ("dataset.acm", {"no_pad": True, "no_slim": True, "area_thresh": 0.02}, "cutmix.area_thresh2", 0.02),
        ("dataset.acm", {"no_pad": True, "no_slim": True, "momentum": 0.9}, "momentum", 0.9),
        ("criterion.cons", {"gamma": 2}, "sample", False),
        ("criterion.cons", {"gamma": 2, "sample": True}, "gamma2", 1),
    ],
)
@pytest.mark.parametrize("kind", ["cityscapes_semi", "pascal_semi"])
def test_what_an_ael_file_leaves_out_is_as_its_code_has_it(tmp_path, kind, section, written, key, value):
    config = load(write(tmp_path, with_value(ael(kind), section, written)))
    for name in ("adaptive", *key.split(".")):
        config = getattr(config.trainer if name == "adaptive" else config, name)
    assert config == pytest.approx(value)


def test_momentum_of_an_ael_file_is_that_of_the_first_section_which_is_on(tmp_path):
    content = with_value(with_value(ael(), "dataset.acm", False), "dataset.acp", {"momentum": 0.9})
    assert load(write(tmp_path, content)).trainer.adaptive.momentum == 0.9
    content = with_value(with_value(content, "dataset.acp", False), "criterion.cons", {"gamma": 2, "momentum": 0.8})
    assert load(write(tmp_path, content)).trainer.adaptive.momentum == 0.8


def test_files_of_u2pls_branch_with_ael_are_another_method(tmp_path):
    content = with_value(ael(), "criterion.contra_weight", 0.1)
    content["trainer"]["contrastive"] = u2pl()["trainer"]["contrastive"]
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: criterion.contra_weight: files of U2PL's branch with_AEL train")


def test_the_weight_of_aels_consistency(tmp_path):
    config = load(write(tmp_path, with_value(ael(), "criterion.consist_weight", 0.5)))
    assert config.trainer.unsupervised.loss_weight == 0.5


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("dataset.acm.no_pad", False, "dataset.acm.no_pad"),
        ("dataset.acm", {"area_thresh": 0.005, "no_pad": True}, "dataset.acm.no_slim: left out, which means false"),
        ("dataset.acm.shape", "disk", "dataset.acm"),
        ("criterion.cons.gamma3", 1, "criterion.cons"),
        ("criterion.cons.gamma", -1, "trainer.adaptive.gamma"),
        ("trainer.optimizer.kwargs.lr", True, "trainer.optimizer.kwargs.lr"),
    ],
)
def test_what_ael_cannot_mean_here_is_one_line(tmp_path, key, value, shown):
    path = write(tmp_path, with_value(ael(), key, value))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_key_written_twice_the_last_one_counts_and_is_noted(tmp_path):
    text = yaml.safe_dump(ael(), sort_keys=False)
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("  epochs: 200\n", "  epochs: 100\n  epochs: 200\n"))
    config = load(path)
    assert config.trainer.epochs == 200
    line = path.read_text().splitlines().index("  epochs: 200") + 1
    assert config.notes[0] == f"line {line}: epochs is written twice; the last one counts"
    path.write_text("trainer: {epochs: 1, epochs: 2}\n")  # a file of our own
    with pytest.raises(ConfigError, match="line 1 is not valid YAML: key 'epochs' is written twice"):
        load(path)


# --- where paths lead -------------------------------------------------------------------------------------------------


def test_a_file_outside_any_experiments_folder_keeps_everything_beside_itself(tmp_path):
    config = load(write(tmp_path / "downloads", authors()))
    assert config.dataset.data_root == tmp_path / "downloads/semantic_seg/VOC2012"
    assert config.dataset.train.data_list == tmp_path / "downloads/data/splits/pascal/183/labeled.txt"
    assert config.saver.main_dir == tmp_path / "downloads/ckpt/voc/183/semiseg_with_proto"


def test_absolute_paths_and_different_roots_stay(tmp_path):
    content = with_value(authors(), "dataset.train.data_root", "/data/voc")
    content["net"]["proto_head"]["init_proto_path"] = "protos/voc.pickle"
    config = load(write(tmp_path / "experiments/a/b/c", content))
    assert str(config.dataset.train.data_root) == "/data/voc"
    assert config.dataset.val.data_root == tmp_path / "semantic_seg/VOC2012"
    assert config.dataset.data_root is None
    assert config.net.proto_head.init_proto_path == tmp_path / "protos/voc.pickle"


def test_overrides_win_over_translated_keys(tmp_path):
    path = write(tmp_path / "experiments/a/b/c", authors())
    config = load(
        path, ["dataset.data_root=/elsewhere", "trainer.optimizer.decoder_lr_times=3", "evaluation.flip=true"]
    )
    assert str(config.dataset.data_root) == "/elsewhere"
    assert config.trainer.optimizer.decoder_lr_times == 3
    assert config.evaluation.flip


def test_keys_of_ours_may_stand_in_a_published_file(tmp_path):
    content = with_value(authors(), "expected.miou", 74.65)
    content = with_value(with_value(content, "evaluation.mode", "center"), "trainer.unsupervised.rule", "entropy")
    config = load(write(tmp_path, content))
    assert config.expected.miou == 74.65
    assert config.evaluation.mode == "center"
    assert config.trainer.unsupervised.rule == "entropy"
    assert config.trainer.unsupervised.drop_percent == 80


def test_what_published_files_leave_out_has_the_published_default(tmp_path):
    content = without(without(u2pl("pascal"), "dataset.train.flip"), "dataset.train.rand_resize")
    config = load(write(tmp_path, content))
    assert config.dataset.train.flip is False
    assert config.dataset.train.rand_resize is None
    content = without(without(u2pl(), "trainer.unsupervised.drop_percent"), "trainer.unsupervised.apply_aug")
    unsup = load(write(tmp_path, content)).trainer.unsupervised
    assert (unsup.drop_percent, unsup.apply_aug) == (100, "none")


@pytest.mark.parametrize("content", PUBLISHED)
def test_what_the_translation_adds_is_never_named_as_unread(tmp_path, content):
    assert unread_keys(load(write(tmp_path / "experiments/a/b/c", content))) == []


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.train.GaussianBlur", True),
        ("dataset.train.rand_rotation", [-10.0, 10.0]),
        ("trainer.unsupervised.TTA", True),
        ("trainer.start_epochs", 4),
        ("saver.pretrain", "some/ckpt.pth"),
        ("saver.ignore_keys", ["decoder.classifier"]),
        ("criterion.kwargs.use_weight", True),
        ("net.encoder.kwargs.fpn", False),
        ("net.proto_head.patch_select", False),
        ("trainer.optimizer.type", "adam"),
        ("trainer.lr_scheduler.mode", "cosine"),
        ("trainer.unsupervised.apply_aug", "mixup"),
        ("net.encoder.type", "core.models.resnet.resnet200"),
        ("net.decoder.type", "core.models.decoder.dec_deeplabv3"),
        ("criterion.type", "focal"),
        ("dataset.train.data_list", "lists/all.txt"),
        ("net.proto_head.distance", "l2"),
        ("dataset.colour", 3),
    ],
)
def test_a_meaning_that_is_not_supported_is_an_error(tmp_path, key, value):
    path = write(tmp_path, with_value(authors(), key, value))
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert key in message
    assert "\n" not in message


# --- the commands -----------------------------------------------------------------------------------------------------

SMALL = [
    *("net.encoder.type=resnet18", "net.encoder.kwargs.width=4", "net.decoder.kwargs.inner_planes=8"),
    *("net.proto_head.in_planes=null", "net.proto_head.num_micro_proto=2", "net.proto_head.select_granularity=8"),
    *("dataset.train.crop.size=[33, 33]", "dataset.val.crop.size=[33, 33]", "dataset.workers=0"),
    *("trainer.jit=false", "device=cpu", "net.proto_head.init_samples=50"),
]


@pytest.fixture
def repository(tmp_path):
    """The authors' layout with a few tiny images: experiments/, data/splits/ and semantic_seg/VOC2012."""
    root = tmp_path / "repository"
    data = root / "semantic_seg/VOC2012"
    write_voc(data, {"labeled": 2, "unlabeled": 4, "val": 2}, (36, 40), 21, "2")
    (root / "data/splits").mkdir(parents=True)
    shutil.move(data / "splits", root / "data/splits/pascal")
    content = with_value(with_value(authors(), "dataset.n_sup", 2), "trainer.epochs", 2)
    content["dataset"]["train"]["data_list"] = f"{LISTS}/pascal/2/labeled.txt"
    content["saver"]["main_dir"] = "ckpt/voc/2/semiseg_with_proto"
    return root, write(root / "experiments/pascal/2/ours", content)


def test_training_and_evaluation_on_the_authors_file(repository, capsys):
    root, path = repository
    assert cli.run(train.main, ["--config", str(path), *SMALL]) == 0
    folder = root / "ckpt/voc/2/semiseg_with_proto"
    assert {"best.ckpt", "last.ckpt"} <= {file.name for file in (folder / "checkpoints").iterdir()}
    log = (folder / "log.txt").read_text()
    assert log.count("note: net.proto_head.proto_unpdate_momentum: is net.proto_head.proto_update_momentum here") == 1
    assert "2 labelled, 4 unlabelled, 2 validation images" in log
    first = log.splitlines()[0]
    assert "WARNING: net.encoder.pretrained is not set: the encoder starts from RANDOM WEIGHTS" in first
    assert "net.encoder.pretrained=path/to/resnet101.pth" in first
    capsys.readouterr()
    result = root / "scores.json"
    assert cli.run(evaluate.main, ["--config", str(path), "--json", str(result), *SMALL]) == 0
    out = capsys.readouterr().out
    assert out.count("note: criterion.threshold: ignored") == 1
    scores = json.loads(result.read_text())
    assert scores["mode"] == "whole"
    assert 0 <= scores["miou"] <= 100
    assert scores["proto_miou"] is not None


@pytest.mark.parametrize(("content", "method"), [(u2pl(), "u2pl"), (ael("pascal_semi"), "ael")], ids=["u2pl", "ael"])
def test_training_on_u2pls_and_aels_files(tmp_path, content, method):
    write_voc(tmp_path / "data/VOC2012", {"labeled": 2, "unlabeled": 4, "val": 2}, (36, 40), 21, "2")
    (tmp_path / "data/splits").mkdir()
    shutil.move(tmp_path / "data/VOC2012/splits", tmp_path / "data/splits/pascal")
    content = with_value(with_value(copy.deepcopy(content), "dataset.n_sup", 2), "trainer.epochs", 2)
    content["net"]["aux_loss"]["aux_plane"] = 16  # of the small network
    content["dataset"]["train"]["data_list"] = f"{LISTS}/pascal/2/labeled.txt"
    path = write(tmp_path / "experiments/pascal/2/ours", content)
    arguments = [item for item in SMALL if not item.startswith("net.proto_head")]
    if method == "u2pl":
        arguments += ["trainer.contrastive={num_queries: 8, num_negatives: 4, bank_size: 50}"]
    assert cli.run(train.main, ["--config", str(path), *arguments]) == 0
    log = (path.parent / "log.txt").read_text()
    assert f"{method} on pascal, split 2: 2 labelled, 4 unlabelled" in log
    assert "finished: 4 steps" in log


def test_the_authors_checkpoint_is_found_and_scored_from_a_shell(repository):
    root, path = repository
    config, _ = complete(load(path, SMALL))
    built = fresh_network(config, 5)
    arrays = {f"module.{name}": p.asnumpy() for name, p in built.parameters_and_names()}
    write_ckpt(root / "ckpt/voc/2/semiseg_with_proto/checkpoints/best.ckpt", arrays)
    command = [sys.executable, "-m", "semiseg.evaluate", "--config", "config.yaml", *SMALL]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "checkpoint: " in done.stdout
    assert "mIoU" in done.stdout
    # The same command does not train over a checkpoint that it did not write.
    refused = cli.run(train.main, ["--config", str(path), *SMALL])
    assert refused == 2


def test_imagenet_weights_at_the_start_of_training_alone(repository, capsys, tmp_path):
    root, path = repository
    config, _ = complete(load(path, SMALL))
    encoder = fresh_network(config, 6).encoder
    weights = {name: p.asnumpy() for name, p in encoder.parameters_and_names()}
    weights["bn1.beta"] = np.full_like(weights["bn1.beta"], 7.0)
    file = write_ckpt(tmp_path / "resnet18.ckpt", weights)
    arguments = ["--config", str(path), *SMALL, f"net.encoder.pretrained={file}", "trainer.optimizer.kwargs.lr=1e-9"]
    assert cli.run(train.main, arguments) == 0
    folder = root / "ckpt/voc/2/semiseg_with_proto"
    assert f"arrays from {file}" in (folder / "log.txt").read_text()
    assert "RANDOM WEIGHTS" not in (folder / "log.txt").read_text()
    from semiseg.checkpoints.io import read

    arrays, _ = read(folder / "checkpoints/last.ckpt")
    for part in ("student", "teacher"):
        np.testing.assert_allclose(arrays[f"{part}.encoder.bn1.beta"], 7.0, atol=1e-4)
        np.testing.assert_allclose(arrays[f"{part}.encoder.conv1.0.weight"], weights["conv1.0.weight"], atol=1e-4)
    file.unlink()
    assert cli.run(train.main, arguments) == 0  # finished: the file is not needed any more
    assert "this run is finished" in capsys.readouterr().out
    other = [argument.replace("resnet18.ckpt", "none.pth") for argument in arguments]
    assert cli.run(train.main, [*other, f"saver.main_dir={tmp_path}/new"]) == 2
    assert "none.pth" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()

"""Every shipped experiment loads, says only what makes it differ, and carries the published settings."""

import pytest
from tiny import ROOT

from semiseg.config import flatten, load
from semiseg.config.unread import unread_keys
from semiseg.config.yaml_text import read_yaml
from semiseg.data import build as data_build
from semiseg.data.paths import run_folder

LEAVES = sorted(ROOT.glob("experiments/*/*/*/config.yaml"))
METHODS = ("suponly", "mean_teacher", "u2pl", "ael", "ours")
SPLITS = {"pascal": ["92", "183", "366", "732", "1464"], "cityscapes": ["186", "372", "744", "1488"]}


def name_of(path):
    return "/".join(path.parts[-4:-1])


@pytest.fixture(params=LEAVES, ids=name_of)
def leaf(request):
    return request.param


def test_every_split_of_the_tables_is_there():
    found = {tuple(path.parts[-4:-1]) for path in LEAVES}
    for dataset, splits in SPLITS.items():
        assert {(dataset, split, method) for split in splits for method in METHODS} <= found
    assert len({split for dataset, split, _ in found if dataset == "synthetic"}) >= 2


def test_a_leaf_loads_and_its_folder_says_what_it_is(leaf):
    dataset, split, method = leaf.parts[-4:-1]
    config, spec = data_build.complete(load(leaf))
    assert config.dataset.split == split
    plain = method.removesuffix("_resnet101").removesuffix("_1gpu")
    assert config.method == ("u2pl" if plain == "u2pl_ael" else plain)
    assert spec.name == dataset
    name = "semiseg_with_proto" if method == "ours" else method
    assert run_folder(config, spec) == ROOT / "ckpt" / spec.folder / split / name
    assert unread_keys(config) == []


def test_a_leaf_holds_base_split_and_expected_score_only(leaf):
    content = read_yaml(leaf)
    assert set(content) <= {"base", "dataset", "expected"} | (
        {"saver"} if leaf.parent.name.endswith(("_resnet101", "_1gpu")) else set()
    )
    assert set(content["dataset"]) == {"split"}


def published(leaf):
    config = load(leaf)
    sgd, unsup, net = config.trainer.optimizer, config.trainer.unsupervised, config.net
    found = {
        "crop": config.dataset.train.crop.size,
        "rand_resize": config.dataset.train.rand_resize,
        "batch": config.dataset.batch_size,
        "epochs": (config.trainer.epochs, config.trainer.sup_only_epoch),
        "epoch of": config.trainer.epoch_of,
        "pad": config.dataset.train.pad_label,
        "best": (config.trainer.eval_mode, config.dataset.val.crop.size),
        "sgd": (sgd.kwargs.lr, sgd.kwargs.momentum, sgd.kwargs.weight_decay, sgd.decoder_lr_times),
        "power": config.trainer.lr_scheduler.kwargs.power,
        "aug": (unsup.apply_aug, unsup.aug_prob),
        "aux": net.aux_loss and net.aux_loss.loss_weight,
        "mode": config.evaluation.mode,
        "criterion": (config.criterion.type, config.criterion.kwargs.thresh, config.criterion.kwargs.min_kept),
        "encoder": (net.encoder.type, net.encoder.kwargs.multi_grid, net.encoder.kwargs.replace_stride_with_dilation),
        "decoder": (net.decoder.kwargs.inner_planes, net.decoder.kwargs.dilations, net.decoder.kwargs.dropout),
        "ema": net.ema_decay,
    }
    if config.method != "suponly":
        found["rule"] = (unsup.rule, unsup.confid_thresh if unsup.rule == "confidence" else unsup.drop_percent)
        found["teacher"] = (config.trainer.teacher_start, config.trainer.teacher_bn)
    if net.proto_head:
        head = net.proto_head
        found["head"] = (head.temperature, head.proto_update_momentum, head.select_granularity)
        found["weights"] = (head.loss_weight, head.dynamic_update_proto, head.num_micro_proto)
    return found


COMMON = {
    "rand_resize": (0.5, 2.0),
    "pad": 0,
    "epoch of": "unlabeled",
    "batch": 2,
    "power": 0.9,
    "aug": ("cutmix", 0.5),
    "criterion": ("ohem", 0.7, 100000),
    "encoder": ("resnet101", True, (False, True, True)),
    "decoder": (256, (12, 24, 36), 0.1),
    "ema": 0.99,
}
PASCAL = COMMON | {
    "crop": (513, 513),
    "best": ("center", (513, 513)),
    "epochs": (80, 1),
    "sgd": (0.001, 0.9, 0.0001, 10.0),
    "aux": None,
    "mode": "whole",
}
CITYSCAPES = COMMON | {
    "crop": (769, 769),
    "best": ("center", (769, 769)),
    "epochs": (200, 1),
    "sgd": (0.01, 0.9, 0.0005, 1.0),
    "aux": 0.4,
    "mode": "slide",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dataset", "expected", "prototypes", "threshold"),
    [("pascal", PASCAL, 4, 0.8), ("cityscapes", CITYSCAPES, 3, 0.65)],
)
def test_published_settings_arrive(dataset, expected, prototypes, threshold, method):
    if method in ("ours", "mean_teacher"):
        expected = expected | {"rule": ("confidence", threshold), "teacher": ("semi_phase", "forward")}
    if method == "ours":
        expected = expected | {"head": (0.1, 0.99, 32), "weights": (1.0, True, prototypes)}
    if method == "suponly":
        expected = expected | {"epoch of": "labeled", "ema": 0, "batch": 8 if dataset == "pascal" else 4}
        expected |= {"criterion": ("CELoss", 0.7, 100000)} if dataset == "pascal" else {}
    if method == "ael":
        sgd, epochs = (0.00125, 0.9, 0.0008, 10.0), expected["epochs"][0]
        expected = expected | {
            "rule": ("confidence", 0.8),
            "teacher": ("first_step", "forward"),
            "aug": ("cutmix", 1.0),
        }
        expected |= {"sgd": sgd, "epochs": (epochs, 0), "aux": 0.4}
    if method == "u2pl":
        expected = expected | {"rule": ("entropy", 80), "teacher": ("semi_phase", "forward")}
        expected |= (
            {"criterion": ("CELoss", 0.7, 100000), "batch": 4}
            if dataset == "pascal"
            else {"epochs": (expected["epochs"][0], 0)}
        )
    for split in SPLITS[dataset]:
        assert published(ROOT / f"experiments/{dataset}/{split}/{method}") == expected


@pytest.mark.parametrize("split", SPLITS["pascal"])
def test_a_recipe_for_one_device_differs_from_the_published_one_in_what_fits_alone(split):
    published, one = (flatten(load(ROOT / f"experiments/pascal/{split}/{name}")) for name in ("ours", "ours_1gpu"))
    differing = {key: one[key] for key in one if key in published and one[key] != published[key]}
    assert differing == {
        "dataset.train.crop.size": (321, 321),
        "dataset.batch_size": 4,
        "trainer.accumulate": 4,
        "trainer.amp": "O2",
        "saver.name": "ours_1gpu",
    }
    assert set(published) - set(one) == {"expected.miou", "expected.proto_miou", "expected.tolerance"}
    assert differing["dataset.batch_size"] * differing["trainer.accumulate"] == 16


def test_u2pls_contrastive_settings_are_the_published_ones():
    config = load(ROOT / "experiments/cityscapes/186/u2pl")
    found = config.trainer.contrastive
    assert found.negatives == "paper"
    assert (found.low_rank, found.high_rank, found.num_queries, found.num_negatives) == (3, 20, 256, 50)
    assert (found.current_class_threshold, found.low_entropy_threshold, found.temperature) == (0.3, 20, 0.5)
    assert (found.bank_size, found.bank_size_background) == (30000, 50000)
    assert config.net.decoder.kwargs.rep_head
    voc = load(ROOT / "experiments/pascal/183/u2pl").trainer.contrastive
    assert (voc.loss_weight, found.loss_weight) == (1 / 4, 1 / 8)  # the devices of the published runs


def test_aels_adaptive_settings_are_the_published_ones():
    voc, city = (load(ROOT / f"experiments/{leaf}/ael").trainer.adaptive for leaf in ("pascal/183", "cityscapes/186"))
    assert (voc.momentum, voc.gamma, voc.gamma2, voc.sample, voc.threshold) == (0.999, 2, 1, True, 0.7)
    assert (city.momentum, city.gamma, city.gamma2, city.sample, city.threshold) == (0.999, 2, 1, True, 0)
    assert (voc.cutmix.area_thresh, voc.cutmix.area_thresh2) == (0.03, 0.03)
    assert (city.cutmix.area_thresh, city.cutmix.area_thresh2) == (0.005, 0.01)
    assert (voc.copy_paste.number, voc.copy_paste.prob, voc.copy_paste.rand_resize) == (1, 0.5, (0.1, 2.0))
    assert (city.copy_paste.number, city.copy_paste.leave_out) == (3, (0, 1, 2, 8, 10))
    together = load(ROOT / "experiments/cityscapes/186/u2pl_ael").trainer
    assert (together.adaptive.cutmix, together.adaptive.copy_paste) == (city.cutmix, city.copy_paste)
    assert together.contrastive == load(ROOT / "experiments/cityscapes/186/u2pl").trainer.contrastive


def test_the_sliding_window_is_the_published_one():
    mode = load(ROOT / "experiments/cityscapes/186/ours").evaluation
    assert (mode.crop_size, mode.base_size, mode.scales, mode.flip) == ((769, 769), 2048, (1.0,), False)
    assert mode.stride_rate == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("dataset", "scores"),
    [("pascal", [70.78, 74.65, 76.77, 78.70, 80.18]), ("cityscapes", [73.99, 77.10, 78.58, 79.55])],
)
def test_published_checkpoints_scores_are_expected(dataset, scores):
    for split, score in zip(SPLITS[dataset], scores, strict=True):
        assert load(ROOT / f"experiments/{dataset}/{split}/ours").expected.miou == score
        assert load(ROOT / f"experiments/{dataset}/{split}/suponly").expected is None


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.parts[-4] in ("pascal", "cityscapes")], ids=name_of)
def test_experiments_of_published_tables_do_not_take_our_own_choices(leaf):
    config = load(leaf)
    assert not any(origin.endswith("_base/recipes/semiseg.yaml") for origin in config.origins.values())


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf.parts[-4] not in SPLITS], ids=name_of)
def test_all_other_experiments_have_our_own_choices(leaf):
    own = flatten(load(ROOT / "experiments/_base/recipes/semiseg.yaml", ["method=mean_teacher"]))
    written = load(ROOT / "experiments/_base/recipes/semiseg.yaml").origins
    found = flatten(load(leaf))
    longer = {"net.ema_decay": 0.995} if leaf.parts[-4] in ("camvid", "custom") else {}  # recipes/photographs.yaml
    assert {key: found[key] for key in written} == {key: own[key] for key in written} | longer


def test_the_zoo_page_states_the_scores_that_evaluation_expects():
    text = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
    for dataset, folder in (("pascal", "voc"), ("cityscapes", "city")):
        for split in SPLITS[dataset]:
            expected = load(ROOT / f"experiments/{dataset}/{split}/ours").expected.miou
            place = f"`{folder}/{split}/semiseg_with_proto/checkpoints/best.ckpt`"
            assert f"| {place} | `experiments/{dataset}/{split}/ours` | {expected:.2f} |" in text

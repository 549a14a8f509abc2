"""UniMatch's YAML files: every key arrives where it is meant, and what has no counterpart is refused."""

import copy

import pytest
import yaml
from tiny import ROOT

from semiseg.common.errors import ConfigError
from semiseg.config import flatten, load
from semiseg.config.unread import unread_keys

PASCAL = {
    "dataset": "pascal",
    "nclass": 21,
    "crop_size": 321,
    "data_root": "Your/Pascal/Path",
    "epochs": 80,
    "batch_size": 2,
    "lr": 0.001,
    "lr_multi": 10.0,
    "criterion": {"name": "CELoss", "kwargs": {"ignore_index": 255}},
    "conf_thresh": 0.95,
    "model": "deeplabv3plus",
    "backbone": "resnet101",
    "replace_stride_with_dilation": [False, False, True],
    "dilations": [6, 12, 18],
}
CITYSCAPES = {
    "dataset": "cityscapes",
    "nclass": 19,
    "crop_size": 801,
    "data_root": "/data/cityscapes",
    "epochs": 240,
    "batch_size": 2,
    "lr": 0.005,
    "lr_multi": 1.0,
    "criterion": {"name": "OHEM", "kwargs": {"ignore_index": 255, "thresh": 0.7, "min_kept": 200000}},
    "conf_thresh": 0,
    "backbone": "resnet101",
    "replace_stride_with_dilation": [False, False, True],
    "dilations": [6, 12, 18],
}


@pytest.fixture
def written(tmp_path):
    """Writes such a file where UniMatch has it, in configs/."""

    def write(content):
        path = tmp_path / "configs" / "pascal.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize(("content", "leaf"), [(PASCAL, "pascal/92"), (CITYSCAPES, "cityscapes/186_unimatch")])
def test_a_published_file_gives_what_our_recipe_gives(written, content, leaf):
    theirs, ours = (flatten(load(path)) for path in (written(content), ROOT / f"experiments/{leaf}/unimatch"))
    told = ("saver.", "expected", "dataset.split", "dataset.data_root", "dataset.train.flip", "dataset.val.crop.size")
    differing = {key for key in theirs if theirs[key] != ours.get(key) and not key.startswith(told)}
    # Equal in effect: "same" is "whole" on VOC, windows are not read there, and their step is the default.
    assert differing <= {"trainer.eval_mode", "evaluation.crop_size"}


def test_nothing_that_the_file_says_is_left_unread_and_notes_say_what_is_missing(written):
    config = load(written(PASCAL))
    assert unread_keys(config) == []
    assert config.dataset.data_root == written(PASCAL).parent.parent / "Your/Pascal/Path"
    assert [note.split(":")[0] for note in config.notes] == ["method", "the lists", "saver.root"]
    assert config.saver.root == written(PASCAL).parent.parent / "exp"


def test_the_method_and_keys_of_ours_may_be_given_beside(written):
    path = written(PASCAL | {"trainer": {"seed": 3}})
    config = load(path, ["method=fixmatch", "dataset.split=92"])
    assert (config.method, config.trainer.seed, config.trainer.epochs) == ("fixmatch", 3, 80)


@pytest.mark.parametrize("given", ["command line", "file"])
def test_supervised_epochs_are_passes_over_the_labelled_list_as_in_its_script(written, given):
    path = written(PASCAL | ({"method": "suponly"} if given == "file" else {}))
    config = load(path, ["method=unimatch", "method=suponly"] if given == "command line" else [])
    assert (config.method, config.trainer.epoch_of, config.net.ema_decay) == ("suponly", "labeled", 0)
    assert unread_keys(config) == []
    assert load(written(PASCAL), ["method=fixmatch"]).trainer.epoch_of == "unlabeled"


def test_what_its_scripts_score_is_scored_here(written):
    assert load(written(PASCAL)).dataset.val.data_list is None
    scored = written(PASCAL).parent.parent / "splits/pascal/val.txt"
    scored.parent.mkdir(parents=True)
    scored.write_text("JPEGImages/a.jpg SegmentationClass/a.png\n")
    assert load(written(PASCAL)).dataset.val.data_list == scored


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "coco"}, "dataset: expected pascal or cityscapes"),
        ({"nclass": 20}, "nclass: expected 21"),
        ({"model": "pspnet"}, "model: expected deeplabv3plus"),
        ({"criterion": {"name": "Dice"}}, "criterion.name"),
        ({"criterion": {"name": "CELoss", "kwargs": {"ignore_index": 0}}}, "ignore_index"),
        ({"backbone": "xception"}, "net.encoder.type"),
        ({"conf_tresh": 0.9}, "conf_tresh"),
        ({"lr_multi": "ten"}, "lr_multi: expected a number"),
        ({"crop_size": "321"}, "dataset.train.crop.size"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_has_no_counterpart_is_one_line_that_names_it(written, change, message):
    path = written(copy.deepcopy(PASCAL) | change)
    with pytest.raises(ConfigError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)

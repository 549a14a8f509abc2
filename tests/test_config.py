"""Files and overrides become one frozen configuration, and it says where each value was written."""

import pytest
import yaml
from pydantic import ValidationError
from tiny import ROOT

from semiseg import cli
from semiseg.common.errors import ConfigError
from semiseg.config import dump, flatten, load
from semiseg.config.keys import Config
from semiseg.config.loading import main
from semiseg.config.unread import unread_keys


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_later_wins_default_base_file_override(tmp_path):
    write(tmp_path / "low.yaml", "trainer: {epochs: 10, seed: 1, log_every: 3}\nnet: {aux_loss: {}}")
    write(tmp_path / "deep/mid.yaml", "base: ../low.yaml\ntrainer: {seed: 2, log_every: 4}\nnet: {aux_loss: null}")
    path = write(tmp_path / "deep/leaf.yaml", "base: mid.yaml\ntrainer: {log_every: 5}")
    config = load(path, ["trainer.eval_every=6"])
    trainer = config.trainer
    assert (trainer.epochs, trainer.seed, trainer.log_every, trainer.eval_every) == (10, 2, 5, 6)
    assert trainer.sup_only_epoch == Config().trainer.sup_only_epoch
    assert config.net.aux_loss is None
    origins = {key: config.origins[f"trainer.{key}"] for key in ("epochs", "seed", "log_every", "eval_every")}
    assert origins == {
        "epochs": str(tmp_path / "low.yaml"),
        "seed": str(tmp_path / "deep/mid.yaml"),
        "log_every": str(path),
        "eval_every": "command line",
    }


def test_several_bases_merge_in_order_and_lists_replace(tmp_path):
    write(tmp_path / "a.yaml", "evaluation: {scales: [1, 2, 3], flip: true}")
    write(tmp_path / "b.yaml", "evaluation: {scales: [0.5]}")
    config = load(write(tmp_path / "c.yaml", "base: [a.yaml, b.yaml]"))
    assert (config.evaluation.scales, config.evaluation.flip) == ((0.5,), True)


def test_one_base_may_be_reached_twice_but_a_circle_is_refused(tmp_path):
    write(tmp_path / "low.yaml", "trainer: {seed: 7}")
    for name in ("a", "b"):
        write(tmp_path / f"{name}.yaml", "base: low.yaml")
    assert load(write(tmp_path / "c.yaml", "base: [a.yaml, b.yaml]")).trainer.seed == 7
    write(tmp_path / "x.yaml", "base: y.yaml")
    write(tmp_path / "y.yaml", "base: x.yaml")
    with pytest.raises(ConfigError, match=r"in a circle \(x.yaml -> y.yaml -> x.yaml\)"):
        load(tmp_path / "x.yaml")


@pytest.mark.parametrize("base", ["3", "[a.yaml, 3]", "{a: b}"])
def test_a_base_is_a_file_name(tmp_path, base):
    with pytest.raises(ConfigError, match="base: expected a file name"):
        load(write(tmp_path / "c.yaml", f"base: {base}"))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such configuration file"):
        load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such configuration file"):
        load(write(tmp_path / "c.yaml", "base: gone.yaml"))
    with pytest.raises(ConfigError, match=r"config\.yaml: no such configuration file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pascal_ours", "[recipes/pascal_ours.yaml]"),
        ("synthetic_ours", "[recipes/synthetic_ours.yaml]"),
        ("synthetic_longtail_u2pl", "[recipes/synthetic_u2pl.yaml, data/synthetic_longtail.yaml]"),
        ("cityscapes_u2pl_ael", "[recipes/cityscapes_u2pl_ael.yaml]"),
        ("custom", "[data/custom.yaml]"),
        ("mean_teacher", "[methods/mean_teacher.yaml]"),
    ],
)
def test_a_base_of_the_old_layout_is_told_what_took_its_place(tmp_path, old, new):
    bases = ROOT / "experiments/_base"
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / "c.yaml", f"base: {bases}/{old}.yaml"))
    message = f"{bases}/{old}.yaml: no such configuration file any more; {bases} has {new} in its place"
    assert str(caught.value) == message
    names = [f"{bases}/{name}" for name in new.strip("[]").split(", ")]
    assert set(load(write(tmp_path / "d.yaml", f"base: [{', '.join(names)}]")).origins.values()) >= set(names)


@pytest.mark.parametrize("name", ["pascal_theirs", "mars_ours"])
def test_a_base_that_never_was_is_just_missing(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"{name}\.yaml: no such configuration file$"):
        load(write(tmp_path / "c.yaml", f"base: {ROOT}/experiments/_base/{name}.yaml"))


def test_a_folder_stands_for_its_config_yaml(tmp_path):
    write(tmp_path / "config.yaml", "trainer: {seed: 3}")
    assert load(tmp_path).trainer.seed == 3


def test_paths_resolve_against_the_file_that_wrote_them(tmp_path, monkeypatch):
    write(tmp_path / "low/base.yaml", "dataset: {data_root: ../data, splits: splits}")
    path = write(tmp_path / "leaf/c.yaml", "base: ../low/base.yaml\nsaver: {root: runs}")
    monkeypatch.chdir(tmp_path)
    config = load("leaf/c.yaml", ["dataset.splits=mine"])
    assert config.dataset.data_root == tmp_path / "data"
    assert config.dataset.splits == tmp_path / "mine"
    assert config.saver.root == path.parent / "runs"


@pytest.mark.parametrize("override", ["origins={}", "origins.a=b", "base=x.yaml"])
def test_inner_keys_cannot_be_written(tmp_path, override):
    with pytest.raises(ConfigError):
        load(write(tmp_path / "c.yaml", ""), [override])
    with pytest.raises(ConfigError, match="unknown key origins"):
        load(write(tmp_path / "d.yaml", "origins: {a: b}"))


def test_equality_and_hash_are_those_of_the_keys(tmp_path):
    one, other = (load(write(tmp_path / f"{name}.yaml", "trainer: {seed: 3}")) for name in "ab")
    assert (one == other, hash(one) == hash(other), one.origins == other.origins) == (True, True, False)
    assert one != load(tmp_path / "a.yaml", ["trainer.seed=4"])


def test_a_configuration_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().trainer.epochs = 3


ODD = [
    "dataset.split='1e3'",
    "dataset.split='08'",
    "saver.name=on",
    "saver.name='a: b # c'",
    "trainer.optimizer.kwargs.lr=1e-7",
    "net.aux_loss={}",
    "dataset.train.rand_resize=null",
    "dataset.data_root='/odd: dir/é #1'",
]


@pytest.mark.parametrize("leaf", sorted(ROOT.glob("experiments/*/*/*/config.yaml"))[::7])
@pytest.mark.parametrize("overrides", [[], *([item] for item in ODD)], ids=["as it is", *ODD])
def test_what_is_dumped_loads_to_an_equal_configuration(tmp_path, leaf, overrides):
    config = load(leaf, overrides)
    again = load(write(tmp_path / "dumped.yaml", dump(config)))
    assert again == config
    assert flatten(again) == flatten(config)
    assert yaml.safe_load(dump(config)) is not None


IMPOSSIBLE = [
    ("dataset.batch_size=0", "at least 1"),
    ("dataset.workers=-1", "0 or more"),
    ("dataset.std=[1, 0, 1]", "above 0"),
    ("dataset.std=[0.229, 0.224, 0.225]", "numbers of RGB values 0..255"),
    ("dataset.mean=[0.485, 0.456, 0.406]", "numbers of RGB values 0..255"),
    ("dataset.labeled_ratio=1.5", "a share between 0 and 1"),
    ("dataset.train.rand_resize=[2, 1]", "low <= high"),
    ("dataset.train.crop.type=center", "rand"),
    ("dataset.val.crop.type=rand", "center"),
    ("dataset.train.crop.size=[16, 100]", "at least 17 px"),
    ("dataset.train.pad_label=256", "0..255"),
    ("trainer.epochs=0", "at least 1"),
    ("trainer.sup_only_epoch=81", "0..80"),
    ("trainer.sup_only_epoch=-1", "0 or more"),
    ("saver.snapshot_dir=/somewhere", "the name of a folder in the run's own"),
    ("saver.snapshot_dir=../other/checkpoints", "the name of a folder in the run's own"),
    ("net.encoder.pretrained=true", "true"),
    ("net.encoder.pretrained=[a]", "a list"),
    ("trainer.eval_every=0", "at least 1"),
    ("trainer.amp=O3", "off, O1, O2"),
    ("evaluation.amp=true", "off, O1, O2"),
    ("trainer.log_every=0", "at least 1"),
    ("trainer.seed=-1", "0..4294967295"),
    ("trainer.seed=4294967296", "0..4294967295"),
    ("trainer.optimizer.kwargs.lr=0", "above 0"),
    ("trainer.optimizer.kwargs.momentum=1", "momentum < 1"),
    ("trainer.optimizer.kwargs.weight_decay=-1e-4", "0 or more"),
    ("trainer.optimizer.decoder_lr_times=0", "above 0"),
    ("trainer.lr_scheduler.kwargs.power=-1", "0 or more"),
    ("trainer.unsupervised.confid_thresh=80", "a probability"),
    ("trainer.unsupervised.drop_percent=101", "a percentage"),
    ("trainer.unsupervised.aug_prob=2", "a probability"),
    ("trainer.unsupervised.loss_weight=-1", "0 or more"),
    ("criterion.kwargs.thresh=0", "a probability"),
    ("criterion.kwargs.min_kept=-1", "0 or more"),
    ("net.num_classes=1", "2..255"),
    ("net.ema_decay=1", "decay < 1"),
    ("net.encoder.kwargs.replace_stride_with_dilation=[true, true, true]", "output stride 8, 16 or 32"),
    ("net.encoder.kwargs.width=3", "at least 4"),
    ("net.decoder.kwargs.dilations=[0]", "above 0"),
    ("net.decoder.kwargs.dropout=1", "dropout < 1"),
    ("net.aux_loss.loss_weight=-1", "0 or more"),
    ("net.proto_head.num_micro_proto=0", "at least 1"),
    ("net.proto_head.temperature=0", "above 0"),
    ("net.proto_head.proto_update_momentum=1.1", "0..1"),
    ("net.proto_head.init_samples=3", "at least num_micro_proto"),
    ("net.proto_head.select_granularity=514", "1..513"),
    ("evaluation.scales=[]", "at least one scale"),
    ("evaluation.scales=[1, 0]", "above 0"),
    ("evaluation.stride_rate=0", "a share of the window"),
    ("evaluation.crop_size=[8, 8]", "at least 17 px"),
    ("evaluation.base_size=0", "at least 1 px"),
    ("saver.every=0", "at least 1 step"),
]


@pytest.mark.parametrize(("override", "expected"), IMPOSSIBLE)
def test_impossible_values_are_refused_with_key_and_range(tmp_path, override, expected):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / "c.yaml", "method: mean_teacher"), [override])
    assert str(caught.value).startswith(f"command line: {override.partition('=')[0]}: expected ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "smallest"), [("[false, true, true]", 17), ("[false, false, true]", 33), ("[false, false, false]", 65)]
)
def test_the_smallest_crop_follows_the_output_stride(tmp_path, stages, smallest):
    path = write(tmp_path / "c.yaml", "")
    stride = f"net.encoder.kwargs.replace_stride_with_dilation={stages}"
    load(path, [stride, f"dataset.train.crop.size=[{smallest}, {smallest}]"])
    with pytest.raises(ConfigError, match=f"at least {smallest} px a side"):
        load(path, [stride, f"dataset.train.crop.size=[{smallest}, {smallest - 1}]"])


def test_ratio_and_split_exclude_each_other(tmp_path):
    path = write(tmp_path / "c.yaml", "dataset: {split: 183}")
    with pytest.raises(ConfigError, match=r"dataset\.labeled_ratio: expected no dataset\.split beside it"):
        load(path, ["dataset.labeled_ratio=0.125"])
    assert load(path, ["dataset.labeled_ratio=0.125", "dataset.split=null"]).dataset.labeled_ratio == 0.125


def test_show_prints_every_key_with_its_origin(tmp_path, capsys):
    path = write(tmp_path / "config.yaml", "trainer: {epochs: 3, sup_only_epoch: 1}")
    assert main(["show", str(tmp_path), "evaluation.scales=[0.5, 1]", "criterion.kwargs.thresh=0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line for line in lines}
    assert set(flatten(load(path))) <= set(shown)
    assert shown["trainer.epochs"].split() == ["trainer.epochs", "3", "#", str(path)]
    assert shown["evaluation.scales"].split("#") == [shown["evaluation.scales"].split("#")[0], " command line"]
    assert "[0.5, 1.0]" in shown["evaluation.scales"]
    assert shown["trainer.seed"].endswith("# default")
    assert lines[-1].startswith("note: criterion.kwargs.thresh")


def test_show_fails_with_one_line(tmp_path, capsys):
    assert cli.run(main, ["show", str(tmp_path), "a=1"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


# --- encoders and their weights ---------------------------------------------------------------------------------------


def test_mean_and_std_are_the_encoders_unless_they_are_written(tmp_path):
    path = write(tmp_path / "a.yaml", "dataset: {std: [1, 2, 3]}")
    resnet, small = load(path).dataset, load(path, ["net.encoder.type=efficientnet_lite0"]).dataset
    assert (resnet.mean, resnet.std) == ((123.675, 116.28, 103.53), (1, 2, 3))
    assert (small.mean, small.std) == ((127, 127, 127), (1, 2, 3))
    assert load(path, ["net.encoder.type=efficientnet_lite0", "dataset.std=null"]).dataset.std == (128, 128, 128)
    written = load(path, ["net.encoder.type=efficientnet_lite0", "dataset.mean=[0, 0, 0]"])
    assert written.dataset.mean == (0, 0, 0)
    assert load(write(tmp_path / "b.yaml", dump(written)), ["net.encoder.type=resnet50"]).dataset.mean == (0, 0, 0)


def test_a_bare_word_names_weights_and_anything_else_a_file(tmp_path):
    path = write(tmp_path / "a.yaml", "net: {encoder: {type: efficientnet_lite0, pretrained: efficientnet_lite0}}")
    config = load(path)
    assert config.net.encoder.pretrained == "efficientnet_lite0"
    assert load(write(tmp_path / "b.yaml", dump(config))) == config
    for text, file in (("w.pth", "w.pth"), ("./weights", "weights"), ("deep/w", "deep/w")):
        path = write(tmp_path / "c.yaml", f"net: {{encoder: {{pretrained: {text}}}}}")
        assert load(path).net.encoder.pretrained == tmp_path / file
    assert load(path, ["net.encoder.pretrained="]).net.encoder.pretrained is None


@pytest.mark.parametrize(
    ("overrides", "key", "parts"),
    [
        (
            ["net.encoder.pretrained=efficientnet_lit0"],
            "net.encoder.pretrained",
            ["did you mean 'efficientnet_lite0'?"],
        ),
        (["net.encoder.pretrained=xception"], "net.encoder.pretrained", ["`semiseg weights` lists", "resnet101"]),
        (
            ["net.encoder.pretrained=resnet50", "net.encoder.kwargs.stem=conv7"],
            "net.encoder.type",
            ["expected resnet50", "set net.encoder.type=resnet50", "got resnet101"],
        ),
        (
            ["net.encoder.pretrained=resnet101"],
            "net.encoder.kwargs.stem",
            ["expected conv7", "set net.encoder.kwargs.stem=conv7", "got deep"],
        ),
    ],
)
def test_weights_by_name_must_be_known_and_fit_the_encoder(tmp_path, overrides, key, parts):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / "a.yaml", ""), overrides)
    message = str(caught.value)
    assert f": {key}: " in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_keys_of_resnets_are_not_read_for_another_encoder(tmp_path):
    path = write(tmp_path / "a.yaml", "net: {encoder: {type: efficientnet_lite0, kwargs: {stem: conv7, width: 32}}}")
    notes = unread_keys(load(path))
    assert [note.split()[0] for note in notes] == ["net.encoder.kwargs.stem", "net.encoder.kwargs.width"]
    assert unread_keys(load(path, ["net.encoder.type=resnet34"])) == []


def test_mixed_precision_is_switched_off_by_the_word_that_yaml_takes_for_false(tmp_path):
    path = write(tmp_path / "config.yaml", "trainer: {amp: off}\nevaluation: {amp: O2}")
    assert (load(path).trainer.amp, load(path).evaluation.amp) == ("off", "O2")
    assert load(path, ["trainer.amp=O1", "evaluation.amp=off"]).evaluation.amp == "off"
    assert load(write(tmp_path / "again.yaml", dump(load(path)))) == load(path)


def test_recomputation_is_refused_where_steps_are_not_compiled(tmp_path):
    path = write(tmp_path / "config.yaml", "trainer: {jit: false}")
    with pytest.raises(ConfigError, match=r"trainer\.recompute: expected false where trainer\.jit is false"):
        load(path, ["trainer.recompute=true"])


def test_a_supervised_run_may_be_shorter_than_a_phase_that_it_does_not_have(tmp_path):
    path = write(tmp_path / "c.yaml", "method: suponly\ntrainer: {sup_only_epoch: 8}")
    assert load(path, ["trainer.epochs=4"]).trainer.epochs == 4
    with pytest.raises(ConfigError, match=r"sup_only_epoch: expected 0\.\.4"):
        load(path, ["trainer.epochs=4", "method=mean_teacher"])


def test_a_resolved_configuration_is_of_the_run_it_lies_in(tmp_path):
    config = load(write(tmp_path / "c.yaml", "method: suponly"), [f"saver.main_dir={tmp_path}/first"])
    copy = tmp_path / "copy"
    copy.mkdir()
    resolved = write(copy / "config.resolved.yaml", dump(config))
    assert load(resolved).saver.main_dir == copy
    assert load(resolved, ["trainer.epochs=7"]).saver.main_dir == copy
    assert load(resolved, [f"saver.main_dir={tmp_path}/second"]).saver.main_dir == tmp_path / "second"
    for key in ("saver.name=mine", "dataset.split='32'"):
        assert load(resolved, [key]).saver.main_dir == tmp_path / "first"

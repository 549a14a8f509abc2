"""What a checkpoint belongs to: recorded, compared, refused with a table, or taken from it."""

import json
import re

import numpy as np
import pytest
from checkpoint_files import torch_state, write_pth
from mindspore import Tensor
from PIL import Image
from tiny import TINY_NET, config_of, with_prototypes
from tool import load_tool, run_tool

from semiseg import cli, evaluate, export, predict, report, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.checkpoints.identity import IdentityError, differing, identity_in, identity_of, require_same
from semiseg.common.errors import CheckpointError, ConfigError
from semiseg.config import flatten, load
from semiseg.data.build import complete
from semiseg.engine import build
from semiseg.evaluate import load_network

CLASSES = ("sky", "sea", "land")
PROTO = "net.proto_head={num_micro_proto: 2, select_granularity: 8}"


def identity(*overrides, classes=CLASSES):
    return identity_of(flatten(config_of(*TINY_NET, *overrides)), classes)


# What counts, without any network

# Shapes tell nothing of most of these; a score with another value of any of them means nothing.
COUNTS = {
    "net.encoder.type=resnet10": "net.encoder.type",
    "net.encoder.kwargs.width=8": "net.encoder.kwargs.width",
    "net.encoder.kwargs.stem=conv7": "net.encoder.kwargs.stem",
    "net.encoder.kwargs.multi_grid=false": "net.encoder.kwargs.multi_grid",
    "net.encoder.kwargs.replace_stride_with_dilation=[false, false, true]": (
        "net.encoder.kwargs.replace_stride_with_dilation"
    ),
    "net.encoder.kwargs.pool_ceil=false": "net.encoder.kwargs.pool_ceil",
    "net.decoder.type=dec_unimatch": "net.decoder.type",
    "net.decoder.kwargs.inner_planes=16": "net.decoder.kwargs.inner_planes",
    "net.decoder.kwargs.dilations=[12, 24, 36]": "net.decoder.kwargs.dilations",
    "net.decoder.kwargs.pool_norm=false": "net.decoder.kwargs.pool_norm",
    "net.aux_loss={}": "net.aux_loss",
    "net.proto_head=null": "net.proto_head",
    "net.proto_head.num_micro_proto=3": "net.proto_head.num_micro_proto",
    "net.proto_head.temperature=0.2": "net.proto_head.temperature",
    "dataset.mean=[100, 100, 60]": "dataset.mean",
    "dataset.std=[1, 1, 1]": "dataset.std",
    "dataset.ignore_label=254": "dataset.ignore_label",
}
# Keys of the network that a scored image never meets.
TRAINING_ONLY = (
    *("sync_bn", "ema_decay", "encoder.pretrained", "encoder.freeze_bn", "encoder.kwargs.zero_init_residual"),
    *("decoder.kwargs.dropout", "decoder.kwargs.rep_head", "aux_loss.loss_weight"),
    *("proto_head.loss_weight", "proto_head.unsup_loss_weight", "proto_head.dynamic_update_proto"),
    *("proto_head.proto_update_momentum", "proto_head.init_proto_path", "proto_head.init_samples"),
    "proto_head.select_granularity",
)


@pytest.mark.parametrize("change", COUNTS)
def test_each_fact_on_network_and_preprocessing_counts(change):
    rows = differing(identity(PROTO), identity(PROTO, change))
    assert [key for key, _, _ in rows] == [COUNTS[change]]


def test_every_key_of_the_network_either_counts_or_is_known_to_matter_in_training_alone():
    keys = {key for key in flatten(config_of(PROTO, "net.aux_loss={}")) if key.startswith("net.")}
    counted = {key for key in COUNTS.values() if key.startswith("net.")} - {"net.aux_loss", "net.proto_head"}
    assert keys == counted | {f"net.{key}" for key in TRAINING_ONLY}


@pytest.mark.parametrize(
    "change",
    [
        *("evaluation.mode=slide", "evaluation.scales=[0.5, 1.0]", "device=cpu", "dataset.data_root=/elsewhere"),
        *("dataset.split=8", "trainer.epochs=3", "method=u2pl", "net.ema_decay=0.5", "net.encoder.pretrained=/a.pth"),
    ],
)
def test_what_may_differ_between_training_and_evaluation_does_not_count(change):
    assert differing(identity(PROTO), identity(PROTO, change)) == []


def test_names_order_and_number_of_classes_count():
    for classes in (("sea", "sky", "land"), ("sky", "sea", "shore"), ("sky", "sea"), (*CLASSES, "road")):
        assert [key for key, _, _ in differing(identity(), identity(classes=classes))] == ["classes"]
    with pytest.raises(IdentityError) as error:
        require_same(identity(), identity(classes=("sea", "sky", "land", "road")), "best.ckpt", "Mend it")
    rows = [line.split() for line in str(error.value).splitlines()[2:-1]]
    assert rows == [
        ["number", "of", "classes", "3", "4"],
        *(["class", "0", "sky", "sea"], ["class", "1", "sea", "sky"], ["class", "3", "-", "road"]),
    ]


def test_the_refusal_is_a_table_of_key_checkpoint_and_configuration():
    trained = identity("net.decoder.kwargs.dilations=[1, 1, 6]", "net.aux_loss={}", "dataset.mean=[1, 2, 3]")
    with pytest.raises(IdentityError) as error:
        require_same(trained, identity("net.encoder.kwargs.multi_grid=false"), "best.ckpt", "Mend it")
    first, *table, last = str(error.value).splitlines()
    assert first.startswith("best.ckpt: was trained with other values")
    assert last == "Mend it"
    assert [re.split(r"  +", line.strip()) for line in table] == [
        ["in the checkpoint", "in the configuration"],
        ["net.encoder.kwargs.multi_grid", "true", "false"],
        ["net.decoder.kwargs.dilations", "[1, 1, 6]", "[1, 2, 3]"],
        ["dataset.mean", "[1, 2, 3]", "[123.675, 116.28, 103.53]"],
        ["net.aux_loss", "set", "null"],
    ]


def test_a_checkpoint_that_says_nothing_passes_and_unknown_keys_are_passed_over():
    for record in (None, {}, {"step": 1}, {"identity": 3}, {"identity": {"classes": "x"}}):
        assert identity_in(record) is None
    require_same(None, identity(), "best.ckpt", "")
    newer = {**identity(), "net.decoder.kwargs.novel": 3}
    older = {key: value for key, value in identity().items() if key != "dataset.std"}
    for trained in (newer, older):
        require_same(trained, identity("dataset.std=[1, 1, 1]") if trained is older else identity(), "best.ckpt", "")


def test_what_travels_is_json_and_names_no_file():
    places = ("net.encoder.pretrained=/secret/a.pth", "dataset.data_root=/secret", "saver.root=/secret")
    recorded = identity(PROTO, *places)
    assert json.loads(json.dumps(recorded)) == recorded
    assert "secret" not in json.dumps(recorded)


# Written by training


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_data):
    """(config file, overrides, run folder) of one epoch with other dilations, another mean and another window."""
    folder = tmp_path_factory.mktemp("trained")
    path = folder / "config.yaml"
    path.write_text(
        f"""dataset: {{type: synthetic, data_root: '{tiny_data}', splits: '{tiny_data}/splits', split: 4, workers: 0}}
trainer: {{epochs: 1, sup_only_epoch: 0, jit: false}}
device: cpu
saver: {{main_dir: '{folder}/run'}}
evaluation: {{mode: slide, crop_size: [33, 33]}}
"""
    )
    base = [*TINY_NET[:2], "net.decoder.kwargs.inner_planes=8", "dataset.train.crop.size=[33, 33]"]
    base += ["net.proto_head={select_granularity: 8, init_samples: 100}", "method=ours"]
    own = ["net.decoder.kwargs.dilations=[1, 2, 3]", "dataset.mean=[100, 100, 60]"]
    assert cli.run(train.main, ["--config", str(path), *base, *own]) == 0
    return path, base, own, folder / "run"


NAMES = ("best.ckpt", "last.ckpt")


@pytest.mark.parametrize("name", NAMES)
def test_training_records_what_a_checkpoint_belongs_to(trained, name):
    _, _, _, folder = trained
    found = identity_in(checkpoint_io.read(folder / "checkpoints" / name)[1])
    assert found["net.decoder.kwargs.dilations"] == [1, 2, 3]
    assert found["dataset.mean"] == [100, 100, 60]
    assert found["classes"] == ["background", "disk", "ring", "triangle", "cross", "bar"]
    assert (found["method"], found["evaluation.crop_size"]) == ("ours", [33, 33])


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def commands(photo, tmp_path):
    """Each command of a network with the arguments that it needs beside those that name the network."""
    return {
        "evaluate": (evaluate.main, ["--json", str(tmp_path / "scores.json")]),
        "predict": (predict.main, [str(photo), "--out", str(tmp_path / "out")]),
        "export": (export.main, ["--format", "mindir", "--size", "33", "33", "--out", str(tmp_path / "n.mindir")]),
        "show-prototypes": (load_tool("show_prototypes").main, ["--out", str(tmp_path / "page.html")]),
    }


@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "show-prototypes"])
@pytest.mark.parametrize("name", NAMES)
def test_every_command_refuses_another_network_or_preprocessing(trained, photo, tmp_path, capsys, command, name):
    path, base, _, folder = trained
    main, arguments = commands(photo, tmp_path)[command]
    before = sorted(tmp_path.rglob("*"))
    named = ["--config", str(path), "--checkpoint", str(folder / "checkpoints" / name)]
    assert cli.run(main, [*named, *arguments, *base]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [re.split(r"  +", line.strip()) for line in err.splitlines()[1:-1]] == [
        ["in the checkpoint", "in the configuration"],
        ["net.decoder.kwargs.dilations", "[1, 2, 3]", "[12, 24, 36]"],
        ["dataset.mean", "[100, 100, 60]", "[123.675, 116.28, 103.53]"],
    ]
    assert "--as-trained" in err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoints_own_values_give_the_score_of_training(trained, photo, tmp_path, capsys, name):
    path, base, own, folder = trained
    scores = []
    named = ["--config", str(path), "--checkpoint", str(folder / "checkpoints" / name)]
    for more in ([*base, *own], [*base, "--as-trained"]):
        assert cli.run(evaluate.main, [*named, "--json", str(tmp_path / "x.json"), *more]) == 0
        scores.append(json.loads((tmp_path / "x.json").read_text()))
    assert scores[0] == scores[1]
    assert "as trained: net.decoder.kwargs.dilations, dataset.mean (the checkpoint's" in capsys.readouterr().out
    if name == "best.ckpt":  # the other one holds the teacher, which is not scored before it is used
        logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert scores[1]["miou"] == pytest.approx(logged[-1]["eval"]["miou"])


@pytest.mark.parametrize("name", NAMES)
def test_predictions_need_no_configuration(trained, photo, tmp_path, capsys, name):
    path, base, own, folder = trained
    checkpoint = ["--checkpoint", str(folder / "checkpoints" / name)]
    with_config, without = tmp_path / "with", tmp_path / "without"
    told = ["--config", str(path), *base, *own]
    small = ["--whole-up-to", "0.0001"]  # the sliding window, whose size is the checkpoint's
    assert cli.run(predict.main, [*checkpoint, str(photo), *small, "--out", str(with_config), *told]) == 0
    assert cli.run(predict.main, [*checkpoint, str(photo), *small, "--out", str(without), "device=cpu"]) == 0
    for file in ("index/photo.png", "color/photo.png", "classes.csv", "shares.csv"):
        assert (without / file).read_bytes() == (with_config / file).read_bytes(), file
    capsys.readouterr()
    assert cli.run(predict.main, [*checkpoint, str(photo), "--out", str(without), "dataset.mean=[1, 2, 3]"]) == 2
    assert "Leave these keys out" in capsys.readouterr().err
    assert cli.run(predict.main, [str(photo), "--out", str(tmp_path / "none")]) == 2
    assert "--config or --checkpoint: name one" in capsys.readouterr().err


def test_scoring_without_a_configuration_needs_the_places_of_the_images_alone(trained, tiny_data, tmp_path, capsys):
    path, base, own, folder = trained
    best, out = folder / "checkpoints/best.ckpt", tmp_path / "x.json"
    places = [f"dataset.data_root={tiny_data}", f"dataset.splits={tiny_data}/splits", "device=cpu"]
    found = []
    for named in (["--config", str(path), *base, *own], places):
        assert cli.run(evaluate.main, ["--checkpoint", str(best), "--json", str(out), *named]) == 0
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1]
    capsys.readouterr()
    assert cli.run(evaluate.main, ["--checkpoint", str(best), "--json", str(best), *places]) == 2
    assert "is read by this command" in capsys.readouterr().err


def test_export_and_prototypes_take_the_checkpoints_values(trained, photo, tmp_path, capsys):
    path, base, _, folder = trained
    best = folder / "checkpoints/best.ckpt"
    for command in ("export", "show-prototypes"):
        main, arguments = commands(photo, tmp_path)[command]
        named = ["--config", str(path), "--checkpoint", str(best), "--as-trained"]
        other = [
            "net.encoder.type=efficientnet_lite0",
            "net.encoder.pretrained=efficientnet_lite0",
            "net.encoder.kwargs={}",
        ]
        assert cli.run(main, [*named, *arguments, *base, *other]) == 0
    assert json.loads((tmp_path / "n.mindir.json").read_text())["mean"] == [100, 100, 60]


def test_a_report_with_other_values_is_refused_and_one_with_the_checkpoints_is_made(trained, capsys):
    _, _, _, folder = trained
    module, out = report, folder / "page.html"
    for kept in (False, True):  # scores that are kept do not belong to other values either
        assert run_tool(capsys, module, folder, "--out", out, "dataset.std=[1, 1, 1]")[0] == 2
        assert run_tool(capsys, module, folder, "--out", out, "dataset.std=[1, 1, 1]", "--as-trained")[0] == 0
        assert "confusion" in out.read_text()
        assert run_tool(capsys, module, folder, "--out", out)[0] == 0
        assert kept or (folder / "evaluation.json").is_file()


def test_the_python_interface_compares_too(trained):
    path, base, own, folder = trained
    best = folder / "checkpoints/best.ckpt"
    with pytest.raises(IdentityError, match=r"net\.decoder\.kwargs\.dilations"):
        load_network(load(path, base), best)
    assert load_network(load(path, [*base, *own]), best).training is False


def test_a_converted_checkpoint_keeps_what_it_belongs_to(trained, tmp_path, capsys):
    path, base, _, folder = trained
    out = tmp_path / "mine.ckpt"
    assert cli.main(["convert-checkpoint", str(folder / "checkpoints/last.ckpt"), str(out)]) == 0
    with pytest.raises(IdentityError):
        load_network(load(path, base), out)
    assert cli.main(["convert-checkpoint", str(out), str(tmp_path / "x.ckpt"), "--config", str(path)]) == 2
    assert not (tmp_path / "x.ckpt").exists()


def test_a_run_is_not_continued_where_its_configuration_is_gone(trained, tmp_path, capsys):
    path, base, own, folder = trained
    resolved = folder / "config.resolved.yaml"
    aside, best = tmp_path / "aside.yaml", folder / "checkpoints/best.ckpt"
    kept = best.rename(tmp_path / "best.ckpt")
    resolved.rename(aside)
    try:
        assert cli.run(train.main, ["--config", str(path), *base, own[0], "trainer.epochs=2"]) == 2
    finally:
        aside.rename(resolved)
        kept.rename(best)
    assert f"{resolved} is not there, which says of what run" in capsys.readouterr().err


# Classes of a described data set


def described(tmp_path, classes, *more):
    path = tmp_path / "own.yaml"
    path.write_text(
        f"""method: suponly
device: cpu
dataset:
  type: custom
  custom: {{classes: [{", ".join(classes)}], image: "images/{{id}}.png", mask: "masks/{{id}}.png"}}
"""
    )
    return load(path, [*TINY_NET, *more])


def saved(tmp_path, config):
    config, spec = complete(config)
    record = {"step": 1, "identity": identity_of(flatten(config), spec.classes)}
    arrays = checkpoint_io.network_arrays(with_prototypes(build.fresh_network(config, seed=3)))
    checkpoint_io.save(tmp_path / "own.ckpt", arrays, record)
    return tmp_path / "own.ckpt"


def test_classes_of_other_names_are_refused_or_taken_from_the_checkpoint(tmp_path):
    checkpoint = saved(tmp_path, described(tmp_path, CLASSES))
    other = described(tmp_path, ("air", "sea", "land"), "dataset.custom.image=scans/{id}.tif")
    with pytest.raises(IdentityError, match="class 0"):
        load_network(other, checkpoint)
    taken = evaluate.trained_network(other, checkpoint, own=True)
    assert taken.spec.classes == CLASSES
    assert taken.spec.image == "scans/{id}.tif"  # where files lie is no business of the checkpoint's
    assert taken.taken == ("classes",)


def test_masks_in_another_order_are_not_read_under_the_checkpoints_names(tmp_path):
    checkpoint = saved(tmp_path, described(tmp_path, CLASSES))
    other = described(tmp_path, ("sea", "sky", "land"))
    with pytest.raises(ConfigError, match=r"masks here are described as sea, sky, land, and .* as sky, sea, land"):
        evaluate.trained_network(other, checkpoint, own=True)
    colors = {"sky": [0, 0, 9], "sea": [0, 9, 0], "land": [9, 0, 0]}
    of = {
        order: described(
            tmp_path, order, "dataset.custom.mask_kind=color", f"dataset.custom.colors={[colors[c] for c in order]}"
        )
        for order in (CLASSES, ("sea", "sky", "land"))
    }
    checkpoint = saved(tmp_path, of[CLASSES])
    taken = evaluate.trained_network(of["sea", "sky", "land"], checkpoint, own=True)  # each colour means what it did
    assert (taken.spec.classes, taken.spec.palette) == (CLASSES, tuple(tuple(colors[c]) for c in CLASSES))


RED, GREEN, BLUE, BLACK = [9, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 0]


def colored(tmp_path, colors, *more, ignored="null", name="own"):
    """The identity of a data set with colour masks."""
    keys = {"name": name, "mask_kind": "color", "colors": colors, "ignore_color": ignored}
    config = described(tmp_path, CLASSES, *(f"dataset.custom.{key}={value}" for key, value in keys.items()), *more)
    config, spec = complete(config)
    return identity_of(flatten(config), spec.classes)


def test_a_mask_color_that_means_another_class_is_refused_and_shown_by_class(tmp_path):
    trained = colored(tmp_path, [RED, GREEN, BLUE])
    with pytest.raises(IdentityError) as error:
        require_same(trained, colored(tmp_path, [RED, BLUE, GREEN]), "best.ckpt", "Mend it")
    assert [re.split(r"  +", line.strip()) for line in str(error.value).splitlines()[1:-1]] == [
        ["in the checkpoint", "in the configuration"],
        ["color of sea", "[0, 9, 0]", "[0, 0, 9]"],
        ["color of land", "[0, 0, 9]", "[0, 9, 0]"],
    ]


@pytest.mark.parametrize(
    ("colors", "ignored", "name"),
    [
        ([BLUE, RED, GREEN], "null", "another"),  # the same colours, whatever the data set is called
        ([RED, GREEN, BLACK], str(BLUE), "own"),  # a class became ignored, and the other way round
        ([[1, 1, 1], RED, [2, 2, 2]], "null", "own"),  # one colour is enough where the data are the same
    ],
)
def test_colors_that_change_their_meaning_count(tmp_path, colors, ignored, name):
    trained = colored(tmp_path, [RED, GREEN, BLUE], ignored=BLACK)
    here = colored(tmp_path, colors, ignored=ignored, name=name)
    assert [key for key, _, _ in differing(trained, here)] == ["dataset.custom.colors"]


def test_masks_of_the_same_classes_in_another_form_are_scored(tmp_path):
    trained = colored(tmp_path, [RED, GREEN, BLUE], ignored=BLACK)
    by_index = "dataset.custom.mask_kind=index"
    for here in (
        colored(tmp_path, [[1, 1, 1], [2, 2, 2], [3, 3, 3]]),  # other colours: a mask that holds none is refused itself
        colored(tmp_path, [RED, GREEN, BLUE]),  # without ignored pixels, or with others
        colored(tmp_path, [RED, GREEN, BLUE], ignored=[5, 5, 5]),
        colored(tmp_path, [BLACK, RED, [3, 3, 3]], name="another"),  # another data set with colours of its own
        colored(tmp_path, [GREEN, RED, BLUE], by_index),  # colours of index masks are for drawing
    ):
        assert differing(trained, here) == differing(here, trained) == []


def test_the_checkpoints_own_colors_are_taken_with_their_ignored_pixels(tmp_path):
    def with_colors(colors, ignored):
        keys = ("mask_kind=color", f"colors={colors}", f"ignore_color={ignored}")
        return described(tmp_path, CLASSES, *(f"dataset.custom.{key}" for key in keys))

    checkpoint = saved(tmp_path, with_colors([RED, GREEN, BLUE], BLACK))
    other = with_colors([RED, BLACK, BLUE], GREEN)
    with pytest.raises(IdentityError, match="color of sea"):
        load_network(other, checkpoint)
    taken = evaluate.trained_network(other, checkpoint, own=True)
    assert taken.spec.palette == tuple(map(tuple, (RED, GREEN, BLUE)))
    assert taken.spec.ignore_color == tuple(BLACK)
    assert taken.lines()[1].startswith("as trained: dataset.custom.colors (the checkpoint's")


def test_a_network_of_other_heads_is_taken_as_it_was(tmp_path):
    head = "net.proto_head={num_micro_proto: 2}"
    checkpoint = saved(tmp_path, described(tmp_path, CLASSES, head))
    plain = described(tmp_path, CLASSES, "net.aux_loss={}")
    network = evaluate.trained_network(plain, checkpoint, own=True).load()
    assert network.proto_net is not None
    assert network.auxor is None


# Files that say nothing


def test_published_and_older_checkpoints_load_as_before(tmp_path, capsys):
    config = described(tmp_path, CLASSES)
    network = build.fresh_network(complete(config)[0], seed=3)
    arrays = checkpoint_io.network_arrays(network)
    checkpoint_io.save(tmp_path / "old.ckpt", arrays, {"step": 1, "miou": 2.0})
    plain = {name: parameter.asnumpy() for name, parameter in network.parameters_and_names()}
    write_pth(tmp_path / "theirs.pth", torch_state(plain))
    for name, note in (("old.ckpt", "an earlier version wrote it"), ("theirs.pth", "")):
        found = evaluate.trained_network(config, tmp_path / name)
        assert found.file.note.startswith(note)
        assert bool(found.file.note) == bool(note)
        assert found.load()
        with pytest.raises(CheckpointError, match="leave --as-trained out"):
            evaluate.trained_network(config, tmp_path / name, own=True)


def test_a_spoilt_record_is_one_line(tmp_path):
    config = described(tmp_path, CLASSES)
    for spoilt in (
        {"net": 3},
        {"net.proto_head": None, "net.proto_head.temperature": 1},
        {"a..b": 1},
        {"net.decoder.kwargs.dilations": {"x": 1}},
    ):
        whole = identity_of(flatten(complete(config)[0]), CLASSES) | spoilt
        checkpoint_io.save(tmp_path / "x.ckpt", {"module.x": Tensor([1.0])}, {"step": 1, "identity": whole})
        assert cli.run(predict.main, ["--checkpoint", str(tmp_path / "x.ckpt"), str(tmp_path), "--out", "o"]) == 2

"""Data of one's own from a YAML alone: description, masks of every kind, a folder of unlabelled images, a whole run."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from own_data import COLORS, QUICK, add, make_set, mask_of, write_config, write_ids, write_split
from PIL import Image
from tiny import ROOT

from semiseg import cli, evaluate, train
from semiseg.common.errors import ConfigError, DataError
from semiseg.config import load
from semiseg.data import build as data_build
from semiseg.data.lists import read_split
from semiseg.engine import build

NAMES = [f"{i:02}" for i in range(12)]


@pytest.fixture
def folder(tmp_path):
    """Twelve images with masks in a folder with a space: 4 labelled, 6 unlabelled, 2 validation images."""
    folder = tmp_path / "my field"
    make_set(folder / "data", count=12)
    write_split(folder, "4", NAMES[:4], NAMES[4:10], NAMES[10:])
    return folder


def open_data(path, *overrides):
    config, spec = data_build.complete(load(path, overrides))
    return config, spec, read_split(config, spec)


def first_mask(path, *overrides):
    config, spec, split = open_data(path, *overrides)
    return data_build.dataset(config, spec, split.labeled, "train").read(0)[1]


# ---- the description


def test_shipped_example_describes_a_data_set():
    config, spec = data_build.complete(load(ROOT / "experiments/custom/20/ours"))
    assert spec.classes == ("background", "crop", "weed")
    assert config.net.num_classes == 3
    assert spec.image_path("a") == "images/a.jpg"
    assert spec.palette[1] == (60, 180, 75)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"custom": {"classes": ["one"]}}, "at least two names"),
        ({"custom": {"classes": ["a", "b", "a"]}}, "occur twice: a"),
        ({"custom": {"colors": [[0, 0, 0]]}}, "1 colors for 3 classes"),
        ({"custom": {"colors": None, "mask_kind": "color"}}, "needs colors"),
        ({"custom": {"image": "images/x.jpg"}}, "must hold {id} once"),
        ({"custom": {"mask": "../masks/{id}.png"}}, "below the data root"),
        ({"custom": {"name": "a/b"}}, "plain names"),
        ({"ignore_label": 2}, "also the index of class 'weed'"),
        ({"type": "pascal"}, "write type: custom"),
        ({"custom": {"mask_kind": "rgb"}}, "one of index, color"),
        ({"custom": {"clases": ["a"]}}, "did you mean 'classes'"),
    ],
)
def test_descriptions_that_cannot_work_are_one_line(folder, keys, message):
    path = write_config(folder, **keys)
    with pytest.raises(ConfigError) as error:
        data_build.complete(load(path))
    assert message in str(error.value)
    assert "config.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_type_custom_without_description_says_so(tmp_path):
    (tmp_path / "c.yaml").write_text("dataset: {type: custom}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: .*dataset\.custom must describe"):
        data_build.complete(load(tmp_path / "c.yaml"))


def test_ignore_label_of_a_built_in_set_is_not_a_choice(tmp_path):
    (tmp_path / "c.yaml").write_text("dataset: {type: pascal, ignore_label: 254}\n")
    with pytest.raises(ConfigError, match=r"ignore_label is 254, but pascal's is 255"):
        data_build.complete(load(tmp_path / "c.yaml"))


def test_ids_below_folders_and_images_of_several_kinds(tmp_path):
    for name in ("north/a 1.jpg", "south/b.png"):
        path = tmp_path / "data/images" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.zeros((40, 44, 3), np.uint8)).save(path)
        mask = (tmp_path / "data/masks" / name).with_suffix(".png")
        mask.parent.mkdir(parents=True)
        Image.fromarray(mask_of("00")).save(mask)
    write_split(tmp_path, "1", ["north/a 1.jpg"], ["south/b.png"], ["val.png"])
    path = write_config(tmp_path, split="1", custom={"image": "images/{id}", "mask": "masks/{stem}.png"})
    assert np.array_equal(first_mask(path), mask_of("00"))


# ---- masks of every kind


def replace_mask(folder, picture):
    picture.save(folder / "data/masks/00.png")


def test_semantic_masks_as_coco_writes_them_are_read(folder):
    expected = mask_of("00")
    expected[:5] = 255
    replace_mask(folder, Image.fromarray(expected))
    assert np.array_equal(first_mask(write_config(folder, split="4")), expected)


def test_sixteen_bit_masks_are_read(folder):
    expected = mask_of("00")
    expected[:5] = 255
    replace_mask(folder, Image.fromarray(expected.astype(np.uint16)))
    assert np.array_equal(first_mask(write_config(folder, split="4")), expected)


def test_indexed_masks_are_read_by_index(folder):
    picture = Image.fromarray(mask_of("00"))
    picture.putpalette([7] * 768)
    replace_mask(folder, picture)
    assert np.array_equal(first_mask(write_config(folder, split="4")), mask_of("00"))


def test_another_ignore_label_is_kept_out_of_training_and_score(folder):
    mask = mask_of("10")
    mask[:20] = 200
    Image.fromarray(mask).save(folder / "data/masks/10.png")
    path = write_config(folder, split="4", ignore_label=200)
    config, spec = data_build.complete(load(path))
    loader = build.EvalLoader(config, spec)
    assert loader.ignore_label == 200
    assert np.array_equal(next(iter(loader))[2], mask)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_color_masks_are_read_where_the_colors_are_told(folder, mode):
    picture = Image.fromarray(np.array(COLORS, np.uint8)[mask_of("00")])
    replace_mask(folder, picture.quantize(8) if mode == "P" else picture.convert(mode))
    path = write_config(folder, split="4", custom={"mask_kind": "color"})
    assert np.array_equal(first_mask(path), mask_of("00"))


def test_ignored_color_becomes_the_ignore_label(folder):
    expected = mask_of("00")
    rgb = np.array(COLORS, np.uint8)[expected]
    rgb[:5], expected[:5] = (255, 255, 255), 255
    replace_mask(folder, Image.fromarray(rgb))
    path = write_config(folder, split="4", custom={"mask_kind": "color", "ignore_color": [255, 255, 255]})
    assert np.array_equal(first_mask(path), expected)


@pytest.mark.parametrize(
    ("picture", "kind", "fix"),
    [
        (lambda m: np.array(COLORS, np.uint8)[m], "index", "mask_kind: color"),
        (lambda m: np.where(m == 0, 65535, m).astype(np.uint16), "index", "save them as 8 bit"),
        (lambda m: np.where(m == 1, 3, 1).astype(np.uint8), "index", "start at 0"),
        (lambda m: np.array([(9, 9, 9), (0, 200, 0), (200, 0, 0)], np.uint8)[m], "color", "add them to colors"),
    ],
)
def test_masks_that_cannot_be_right_are_refused_with_the_fix(folder, picture, kind, fix):
    replace_mask(folder, Image.fromarray(picture(mask_of("00"))))
    path = write_config(folder, split="4", custom={"mask_kind": kind})
    with pytest.raises(DataError) as error:
        first_mask(path)
    assert "00.png" in str(error.value)
    assert fix in str(error.value)


# ---- a folder of unlabelled images


def test_folder_of_images_stands_for_a_list(folder):
    more = folder / "more pictures"
    for name in ("a", "deep/b"):
        path = more / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(path)
    path = write_config(folder, split="4", train={"unlabeled_dir": "more pictures"})
    config, spec, split = open_data(path)
    assert split.unlabeled == ["a.png", "deep/b.png"]
    assert split.notes == ()
    part = data_build.open_part(config, spec, split.unlabeled, "train", with_mask=False)
    assert part.read(1)[0].shape == (50, 60, 3)
    data_build.quick_check(config, spec, split)


@pytest.mark.parametrize("which", ["data/images", "data"])
def test_folder_with_everything_leaves_out_known_images_and_masks(folder, which):
    config, spec, split = open_data(write_config(folder, split="4", train={"unlabeled_dir": which}))
    prefix = "" if which.endswith("images") else "images/"
    assert split.unlabeled == [f"{prefix}{name}.jpg" for name in NAMES[4:10]]
    assert len(split.notes) == 1
    assert split.notes[0].startswith("6 of 12 " if which.endswith("images") else "18 of 24 ")
    data_build.quick_check(config, spec, split)


@pytest.mark.parametrize(
    ("image", "mask"), [("images/{id}.jpg", "masks/{id}.png"), ("{id}.jpg", "{id}_mask.png")], ids=["folders", "flat"]
)
def test_lists_of_absolute_paths_below_the_data_root_are_understood(folder, image, mask):
    data = folder / "data"
    files = [(f"{image.format(id=name)}", f"{mask.format(id=name)}") for name in NAMES]
    write_ids(folder / "splits/4/labeled.txt", [f"{data}/{i}" for i, _ in files[:4]])
    write_ids(folder / "splits/4/unlabeled.txt", [f"{data}/{i} {data}/{m}" for i, m in files[4:10]])
    write_ids(folder / "splits/val.txt", ["# validation", *(f"./{i},./{m}" for i, m in files[10:])])
    split = open_data(write_config(folder, split="4", custom={"image": image, "mask": mask}))[2]
    assert (split.labeled, split.unlabeled, split.val) == (NAMES[:4], NAMES[4:10], NAMES[10:])


def test_masks_beside_their_images_are_never_drawn_nor_learnt_from(folder):
    for name in NAMES:
        (folder / f"data/masks/{name}.png").rename(folder / f"data/images/{name}_mask.png")
        Image.open(folder / f"data/images/{name}.jpg").save(folder / f"data/images/{name}.png")
        (folder / f"data/images/{name}.jpg").unlink()
    custom = {"image": "images/{id}.png", "mask": "images/{id}_mask.png"}
    split = open_data(write_config(folder, labeled_ratio=0.3, custom=custom))[2]
    assert sorted(split.labeled + split.unlabeled) == NAMES[:10]
    assert len(split.notes) == 1
    assert "12 of 24 files" in split.notes[0]
    assert "masks: 12 (00_mask.png, 01_mask.png, ... and 10 more)" in split.notes[0]
    split = open_data(write_config(folder, split="4", custom=custom, train={"unlabeled_dir": "data"}))[2]
    assert split.unlabeled == [f"images/{name}.png" for name in NAMES[4:10]]


def test_a_validation_image_behind_a_link_is_not_learnt_from(folder):
    (folder / "more").mkdir()
    (folder / "more/linked").symlink_to(folder / "data/images", target_is_directory=True)
    config, spec, split = open_data(write_config(folder, split="4", train={"unlabeled_dir": "more"}))
    assert split.unlabeled == [f"linked/{name}.jpg" for name in NAMES[4:10]]
    data_build.quick_check(config, spec, split)


def test_an_image_that_a_labelled_or_validation_image_is_a_link_to_is_not_learnt_from(folder):
    (folder / "more").mkdir()
    for name in ("a", NAMES[0], NAMES[10]):
        add(folder / "more", name, with_mask=False)
    for name in (NAMES[0], NAMES[10]):
        (folder / f"data/images/{name}.jpg").unlink()
        (folder / f"data/images/{name}.jpg").symlink_to(folder / f"more/images/{name}.jpg")
    config, spec, split = open_data(write_config(folder, split="4", train={"unlabeled_dir": "more"}))
    assert split.unlabeled == ["images/a.jpg"]
    data_build.quick_check(config, spec, split)


def test_folder_with_nothing_left_or_no_images_is_one_line(folder):
    write_split(folder, "10", NAMES[:10], [], NAMES[10:])
    path = write_config(folder, split="10", train={"unlabeled_dir": "data/images"})
    with pytest.raises(DataError, match="nothing is left"):
        open_data(path)
    with pytest.raises(DataError, match="no image in this folder"):
        open_data(write_config(folder, split="4", train={"unlabeled_dir": "splits"}))


@pytest.fixture
def two_roots(tmp_path):
    """Keys of twelve training and three other validation images of the same names, each in a root of their own."""
    make_set(tmp_path / "train", count=12)
    make_set(tmp_path / "val", count=3)
    for name in NAMES[:3]:
        Image.fromarray(np.full((40, 44, 3), int(name), np.uint8)).save(tmp_path / f"val/images/{name}.jpg")
    write_split(tmp_path, "4", NAMES[:4], NAMES[4:], NAMES[:3])
    return {"data_root": None, "train": {"data_root": "train"}, "val": {"data_root": "val"}}


@pytest.mark.parametrize(("keys", "labeled"), [({"labeled_ratio": 0.5}, 6), ({"split": "4"}, 4)])
def test_equal_names_in_two_roots_are_different_pictures(tmp_path, two_roots, keys, labeled):
    config, spec, split = open_data(write_config(tmp_path, **two_roots, **keys))
    assert [len(ids) for ids in split.lists().values()] == [labeled, 12 - labeled, 3]
    assert (
        "3 training images named as validation images (00, 01, ... and 1 more) count as other pictures"
        in split.notes[0]
    )
    data_build.quick_check(config, spec, split)


@pytest.mark.parametrize("copy", [shutil.copy, os.symlink])
def test_validation_images_in_two_roots_are_known_by_file_and_content(tmp_path, two_roots, copy):
    (tmp_path / "val/images/01.jpg").unlink()
    copy(tmp_path / "train/images/01.jpg", tmp_path / "val/images/01.jpg")
    config, spec, split = open_data(write_config(tmp_path, labeled_ratio=0.5, **two_roots))
    assert sorted([*split.labeled, *split.unlabeled]) == [name for name in NAMES if name != "01"]
    data_build.quick_check(config, spec, split)
    with pytest.raises(DataError, match="the labeled and the val list share 1 sample: 01"):
        open_data(write_config(tmp_path, split="4", **two_roots))


def test_a_validation_root_below_the_training_root_is_left_out_by_file(tmp_path, two_roots):
    shutil.move(tmp_path / "val", tmp_path / "train/images/val")
    for name in NAMES[:3]:
        mask = tmp_path / f"train/masks/val/images/{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask_of(name)).save(mask)
    two_roots["val"]["data_root"] = "train/images/val"
    config, spec, split = open_data(write_config(tmp_path, labeled_ratio=0.5, **two_roots))
    assert [*sorted([*split.labeled, *split.unlabeled])] == NAMES
    data_build.quick_check(config, spec, split)


def test_two_keys_for_one_root_change_nothing(folder):
    roots = {"data_root": None, "train": {"data_root": "data"}, "val": {"data_root": "./splits/../data"}}
    assert len(open_data(write_config(folder, labeled_ratio=0.5, **roots))[2].labeled) == 5
    write_split(folder, "4", NAMES[:4], NAMES[4:10], NAMES[3:6])
    with pytest.raises(DataError, match="the labeled and the val list share 1 sample: 03"):
        open_data(write_config(folder, split="4", **roots))


def test_images_without_masks_are_unlabelled_by_themselves(folder):
    make_set(folder / "data", count=12, without_mask=5)
    split = open_data(write_config(folder, labeled_ratio=0.3))[2]
    assert len(split.labeled) == 3
    assert len(split.unlabeled) == 7 + 5
    assert {f"{i:02}" for i in range(12, 17)} <= set(split.unlabeled)


# ---- the whole way, as a user goes it


def program(folder, *arguments):
    """python ARGUMENTS from another working directory; standard output and error."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_own_data_is_split_checked_trained_and_evaluated(tmp_path, monkeypatch, capsys):
    def run(main, *arguments):
        assert cli.run(main, list(map(str, arguments))) == 0
        return "".join(capsys.readouterr())

    folder = tmp_path / "my field"
    make_set(folder / "data", count=10, without_mask=4, color=True)
    add(folder / "data", "deep/extra", with_mask=False)
    config = write_config(folder, "ours", split="4", custom={"mask_kind": "color"})
    program(folder, ROOT / "tools/make_splits.py", "--config", config, "--count", 4, "--val-count", 3, "--class-aware")
    assert "no problems found" in program(folder, ROOT / "tools/check_data.py", "--config", config)
    options = (*QUICK, "dataset.batch_size=4", "trainer.epochs=2", "trainer.sup_only_epoch=1", "trainer.eval_every=2")
    monkeypatch.chdir(folder)
    said = run(train.main, "--config", config, *options)
    assert "split 4: 4 labelled, 8 unlabelled, 3 validation images" in said
    assert "2 epochs of 2 steps = 4 steps" in said
    assert (folder / "runs/field/4/semiseg_with_proto/checkpoints/best.ckpt").is_file()
    run(evaluate.main, "--config", config, "--json", folder / "s.json", "--save", folder / "p", *QUICK)
    scores = json.loads((folder / "s.json").read_text())
    assert scores["images"] == 3
    assert list(scores["iou"]) == ["ground", "crop", "weed"]
    assert 0 <= scores["miou"] <= 100
    assert 0 <= scores["proto_miou"] <= 100
    assert len(list((folder / "p/index").rglob("*.png"))) == 3

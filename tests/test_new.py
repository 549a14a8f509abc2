"""``semiseg new``: from two folders to an experiment that trains, with photographs of three kinds."""

import json
import shutil

import numpy as np
import pytest
from own_data import COLORS, QUICK, make_large, make_microscope, make_phone, mask_of, save_pair
from PIL import Image
from tiny import ROOT
from tool import run_tool, snapshot

from semiseg import train
from semiseg.config import load
from semiseg.config.unread import unread_keys
from semiseg.data import build
from semiseg.data.lists import read_split
from semiseg.data.paths import run_folder
from semiseg.data.splits import read_list
from semiseg.prepare import make_splits, new


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone that experiments are written into; commands run in it."""
    folder = tmp_path / "clone"
    (folder / "experiments").mkdir(parents=True)
    (folder / "experiments/_base").symlink_to(ROOT / "experiments/_base")
    (folder / "tools").symlink_to(ROOT / "tools")
    monkeypatch.setattr(new, "checkout", lambda: folder)
    monkeypatch.chdir(folder)
    return folder


def call(capsys, images, masks, *options, name="mine"):
    """(exit code, standard output, standard error) of the command."""
    return run_tool(capsys, new, name, "--images", images, "--masks", masks, "--device", "cpu", *options)


def refused(capsys, clone, *arguments, name="mine"):
    """The one line of a call that writes nothing."""
    before = sorted((clone / "experiments").iterdir())
    code, out, err = call(capsys, *arguments, name=name)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert sorted((clone / "experiments").iterdir()) == before
    return err


def opened(clone, leaf):
    config, spec = build.complete(load(clone / "experiments" / leaf))
    return config, spec, read_split(config, spec)


def simple(root, count=8, without_mask=0, **change):
    """Images and index masks of one name; ``change``: index -> another mask."""
    for index in range(count + without_mask):
        mask = change.get(f"m{index}", mask_of(str(index)))
        save_pair(root / "images", root / "masks" if index < count else None, f"{index}", mask)
    return root / "images", root / "masks"


# ---- three kinds of photographs


def test_phone_photographs_with_black_and_white_masks(capsys, clone, tmp_path):
    code, out, _ = call(capsys, *make_phone(tmp_path))
    assert code == 0
    assert "images   10 photos/{id}.JPG, 30 x 40 to 40 x 30 px; 6 have a mask labels/{id}_mask.png" in out
    assert "background (0)" in out
    assert "2 of 4 unlabelled images carry an EXIF rotation (first IMG_6)" in out
    config, spec, split = opened(clone, "mine/5/ours")
    assert (spec.classes, spec.mask_kind) == (("background", "foreground"), "color")
    assert split.unlabeled == [f"IMG_{i}" for i in (6, 7, 8, 9)]
    part = build.dataset(config, spec, [*split.labeled, *split.val], "train")
    for index in range(len(part)):
        image, mask = part.read(index)
        assert image.shape[:2] == mask.shape == (40, 30)  # those on their side are turned


@pytest.mark.filterwarnings("ignore::semiseg.common.errors.Note")  # of bits
def test_gray_microscope_images_of_sixteen_bits(capsys, clone, tmp_path):
    code, out, _ = call(capsys, *make_microscope(tmp_path), "--classes", "ground", "cell", "wall")
    assert code == 0
    assert "every image has a mask, so most stand for unlabelled ones" in out
    assert "asked:" not in out
    _, spec, split = opened(clone, "mine/4/suponly")
    assert (spec.image, spec.mask) == ("raw/{id}.tif", "seg/{id}_label.tif")
    assert (spec.mask_kind, spec.classes) == ("index", ("ground", "cell", "wall"))
    assert [len(ids) for ids in split.lists().values()] == [4, 2, 2]


def test_large_pictures_with_masks_in_colors(capsys, clone, tmp_path):
    code, out, _ = call(capsys, *make_large(tmp_path), "--ignore", "255")
    assert code == 0
    assert "as their short side has 1000 px: objects smaller than 17 px are lost" in out
    config, spec, _ = opened(clone, "mine/3/mean_teacher")
    assert sorted(spec.palette) == sorted(COLORS)
    assert spec.ignore_color == (255, 255, 255)
    assert config.dataset.train.rand_resize == (0.24, 0.72)
    assert config.evaluation.scales == (0.48,)


# ---- what is written


def test_everything_follows_from_the_folders_and_is_said(capsys, clone, tmp_path):
    code, out, _ = call(capsys, *simple(tmp_path, 8, 5), name="experiments/mine")
    assert code == 0
    for topic in ("images", "masks", "classes", "ignore", "split", "scale", "crop", "encoder", "batch", "epochs"):
        assert any(line.startswith(f"{topic:<8} ") for line in out.splitlines()), topic
    assert "split    6 labelled, 5 unlabelled, 2 for scoring" in out
    assert (
        "asked: what are the 3 classes called? --classes with 3 names, or edit experiments/mine/_base/data.yaml" in out
    )
    assert "no problems found" in out
    assert "\n  bash experiments/mine/6/suponly/train.sh\n" in out
    for method in ("suponly", "mean_teacher", "ours"):
        config, spec, split = opened(clone, f"mine/6/{method}")
        assert config.method == method
        assert unread_keys(config) == []
        assert split.unlabeled == ["10", "11", "12", "8", "9"]
        name = {"ours": "semiseg_with_proto"}.get(method, method)
        assert run_folder(config, spec) == clone / "ckpt/mine/6" / name
        assert (config.net.proto_head is not None) == (method == "ours")


def test_images_whose_names_look_like_paths_and_endings_are_found_again(capsys, clone, tmp_path):
    images, masks = simple(tmp_path / "ends", 8, 3)
    for name in ("0", "9"):
        for path in (tmp_path / "ends").glob(f"*/{name}.*"):
            path.rename(path.with_name(f"{name}.jpg{path.suffix}"))
    assert call(capsys, images, masks, name="ends")[0] == 0
    split = opened(clone, "ends/6/ours")[2]
    assert {"0.jpg", "9.jpg"} <= {*split.labeled, *split.unlabeled, *split.val}
    for index in range(8):  # of two kinds, in a folder that is named as the one above it
        folders = (tmp_path / f"deep/{kind}/img" for kind in ("img", "gt"))
        save_pair(*folders, str(index), mask_of(str(index)), "{}.jpg {}.png" if index % 2 else "{}.png {}.png")
    assert call(capsys, tmp_path / "deep/img", tmp_path / "deep/gt", name="deep")[0] == 0
    spec, split = opened(clone, "deep/4/ours")[1:]
    assert spec.image == "img/{id}"
    assert sorted([*split.labeled, *split.unlabeled, *split.val])[:2] == ["img/0.png", "img/1.jpg"]


def test_the_lists_are_those_that_make_splits_draws(capsys, clone, tmp_path):
    call(capsys, *simple(tmp_path, 16), "--labels", 5, "--val-count", 4, "--seed", 7)
    record = json.loads((clone / "experiments/mine/splits/5/split.json").read_text())
    assert (record["seed"], record["count"], record["pool"], record["without_mask"]) == (7, 5, 12, 0)
    options = ("--count", 5, "--seed", 7, "--class-aware")
    out = run_tool(capsys, make_splits, "--config", clone / "experiments/mine/5/ours", *options)[1]
    assert "up to date (5 labelled, 7 unlabelled images)" in out


def test_the_one_image_of_a_rare_class_is_labelled(capsys, clone, tmp_path):
    rare = mask_of("0")
    rare[:9] = 3
    images, masks = simple(tmp_path, 20, m3=rare)
    for seed in range(4):
        call(capsys, images, masks, "--val-count", 2, "--labels", 4, "--seed", seed, name=f"seed{seed}")
        split = opened(clone, f"seed{seed}/4/ours")[2]
        assert "3" in split.labeled


def parted(root, **counts):
    """Images and masks in folders of these names; ``unlabeled`` ones have no mask."""
    for folder, count in counts.items():
        for index in range(count):
            masks = None if folder == "unlabeled" else root / "masks" / folder
            save_pair(root / "images" / folder, masks, f"{folder}{index}", mask_of(f"{index}"))
    return root / "images", root / "masks"


def test_folders_train_val_and_test_stay_what_they_are(capsys, clone, tmp_path):
    folders = parted(tmp_path, train=8, val=3, test=4, unlabeled=2)
    (tmp_path / "masks/val/val2.png").unlink()
    code, out, _ = call(capsys, *folders)
    assert code == 0, out
    assert (
        "split    8 labelled, 2 unlabelled, 2 for scoring; as the folders test, val say (--parts drawn mixes all), "
        "4 images of test left out (splits/test.txt: 4 with a mask), 1 of val without a mask left out" in out
    )
    split = opened(clone, "mine/8/ours")[2]
    assert [sorted(ids) for ids in split.lists().values()] == [
        [f"train/train{i}" for i in range(8)],
        ["unlabeled/unlabeled0", "unlabeled/unlabeled1"],
        ["val/val0", "val/val1"],
    ]
    lists = clone / "experiments/mine/splits"
    assert (lists / "test.txt").read_text().split() == [f"test/test{i}" for i in range(4)]
    assert run_tool(capsys, make_splits, "--config", "experiments/mine/8/ours", "--count", "3")[0] == 0  # never of test
    drawn = [*read_list(lists / "3/labeled.txt"), *read_list(lists / "3/unlabeled.txt")]
    assert sorted(drawn) == sorted([*split.labeled, *split.unlabeled])


def test_images_and_masks_in_folders_of_each_part_are_one_data_set(capsys, clone, tmp_path):
    for part, count in (("train", 8), ("valid", 3)):
        for index in range(count):
            place = tmp_path / "data" / part
            name = f"{part}{index}"
            save_pair(place / "images", place / "labels" if index < 6 else None, name, mask_of(name))
    code, out, _ = call(capsys, tmp_path / "data", tmp_path / "data")
    assert code == 0, out
    assert "images   11 {id}.jpg, 44 x 40 px; 9 have a mask {id:images=labels}.png" in out
    split = opened(clone, "mine/6/ours")[2]
    assert [sorted(ids) for ids in split.lists().values()] == [
        [f"train/images/train{i}" for i in range(6)],
        ["train/images/train6", "train/images/train7"],
        [f"valid/images/valid{i}" for i in range(3)],
    ]


def test_parts_are_drawn_where_one_asks_for_it_or_folders_say_nothing_of_scoring(capsys, clone, tmp_path):
    folders = parted(tmp_path, train=8, test=4)
    assert call(capsys, *folders, "--labels", "4")[0] == 0
    split = opened(clone, "mine/4/ours")[2]
    assert {sample.split("/")[0] for ids in split.lists().values() for sample in ids} == {"train"}
    assert "test left out" not in call(capsys, *folders, "--parts", "drawn", name="mixed")[1]
    assert len(list((clone / "experiments/mixed/splits").glob("t*.txt"))) == 0


def test_parts_of_folders_that_do_not_suffice_are_refused(capsys, clone, tmp_path):
    folders = parted(tmp_path, train=1, val=6)
    message = (
        "1 image with a mask to learn from (--parts drawn mixes all): at least 3 are needed, two to learn from, and"
    )
    assert message in refused(capsys, clone, *folders)
    folders = parted(tmp_path, train=5)
    message = "--val-count 2: the images of a folder val are for scoring, 6 with a mask; leave it out, or --parts drawn"
    assert message in refused(capsys, clone, *folders, "--val-count", "2")


def test_masks_that_label_nothing_are_neither_learnt_from_nor_scored(capsys, clone, tmp_path):
    nothing = np.full((40, 44), 255, np.uint8)
    folders = simple(tmp_path, **{f"m{index}": nothing for index in range(4)})
    code, out, _ = call(capsys, *folders)
    assert code == 0
    assert "note: 4 masks without a labelled pixel: 0, 1, 2" in out
    assert "their images are unlabelled ones" in out
    split = opened(clone, "mine/3/ours")[2]
    assert {"0", "1", "2", "3"} <= {*split.unlabeled}
    assert not {"0", "1", "2", "3"} & {*split.labeled, *split.val}


def test_masks_without_an_image_and_files_that_are_no_images_are_said(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    (images / "notes.txt").touch()
    shutil.copy(masks / "0.png", masks / "gone.png")
    out = call(capsys, images, masks)[1]
    assert "1 file of the masks' folder fit no image: gone.png" in out
    assert "other files: 1 (notes.txt)" in out


def test_images_that_lie_on_their_side_without_their_mask_are_said(capsys, clone, tmp_path):
    sideways = Image.Exif()
    sideways[0x0112] = 6
    for name, size in (("drawn_upright", (44, 40)), ("drawn_as_stored", (40, 44))):
        for index in range(8):
            save_pair(tmp_path / name / "i", tmp_path / name / "m", f"{index}", np.zeros(size, np.uint8) + index % 2)
            Image.new("RGB", (44, 40)).save(tmp_path / name / "i" / f"{index}.jpg", exif=sideways)
        for png in (tmp_path / name / "i").glob("*.png"):
            png.unlink()
    out = call(capsys, tmp_path / "drawn_upright/i", tmp_path / "drawn_upright/m", name="upright")[1]
    assert "note: 2 of 2 unlabelled images carry an EXIF rotation" in out
    out = call(capsys, tmp_path / "drawn_as_stored/i", tmp_path / "drawn_as_stored/m", name="stored")[1]
    assert "unlabelled images carry an EXIF rotation" not in out


def test_unlabelled_images_that_look_like_masks_are_said(capsys, clone, tmp_path):
    images, masks = simple(tmp_path, 8, without_mask=4)
    assert "few colors" not in call(capsys, images, masks)[1]
    for index in range(8):
        place = images / "second" / f"{index}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(mask_of(f"{index}")).save(place)
    for name in images.glob("*.jpg"):
        Image.open(name).save(name.with_suffix(".png"))
        name.unlink()
    out = call(capsys, images, masks, name="again")[1]
    assert "note: unlabelled images hold few colors, as masks do (second/0, second/1, " in out
    assert "note: 8 unlabelled images of second are named like images with a mask (second/0); if they show" in out


def test_other_pictures_of_images_with_a_mask_are_left_out_of_all_lists(capsys, clone, tmp_path):
    images, masks = simple(tmp_path, 8, without_mask=3)
    for path in sorted(images.iterdir())[:8]:
        Image.new("RGB", (44, 40)).save(path.with_name(f"{path.stem}_superpixels{path.suffix}"))
    code, out, _ = call(capsys, images, masks)
    assert code == 0
    assert "note: 8 pictures {id}_superpixels (0_superpixels, 10_superpixels, ... and 6 more) left out" in out
    assert not [
        sample for ids in opened(clone, "mine/6/ours")[2].lists().values() for sample in ids if "super" in sample
    ]
    leaf, lists = "experiments/mine/6/ours", clone / "experiments/mine/splits/3"
    assert run_tool(capsys, make_splits, "--config", leaf, "--count", "3")[0] == 0
    assert "super" not in (lists / "labeled.txt").read_text() + (lists / "unlabeled.txt").read_text()


def test_masks_of_two_kinds_are_asked_about(capsys, clone, tmp_path):
    two_kinds = {f"m{i}": np.minimum(mask_of(str(i)), 1) * (1 if i % 2 else 255) for i in range(8)}
    images, masks = simple(tmp_path, 8, **two_kinds)
    out = call(capsys, images, masks)[1]
    assert (
        "asked: are these masks of two kinds? 0 and 255 in 4 (first masks/0.png), classes in 4 others (first masks/1"
        in out
    )
    assert "two kinds" not in call(capsys, images, masks, "--ignore", 255, name="said")[1]


def test_gray_masks_of_two_programs_are_asked_about(capsys, clone, tmp_path):
    gray = np.array([0, 128, 255], np.uint8)
    two = {f"m{i}": gray[mask_of(str(i))] if i % 2 else mask_of(str(i)) for i in range(8)}
    images, masks = simple(tmp_path, 8, **two)
    out = call(capsys, images, masks)[1]
    assert (
        "asked: are these masks of two kinds? 0, 1, 2 in 4 (first masks/0.png), 0, 128, 255 in 4 others (first " in out
    )
    named = call(capsys, images, masks, "--classes", *"abcde", name="said")[1]
    assert "two kinds" not in named
    levels = simple(tmp_path / "one", 8, **{f"m{i}": gray[mask_of(str(i))] for i in range(8)})
    assert "two kinds" not in call(capsys, *levels, name="levels")[1]


def test_problems_of_unlabelled_images_leave_the_files_and_give_code_1(capsys, clone, tmp_path):
    images, masks = simple(tmp_path, 8, 3)
    (images / "9.jpg").write_bytes(b"no picture")
    code, out, _ = call(capsys, images, masks)
    assert code == 1
    assert "9.jpg: not a complete, readable image" in out
    assert (clone / "experiments/mine/6/ours/train.sh").is_file()


def test_colors_and_values_are_understood_as_people_write_them():
    assert [new._value(text) for text in ("255", "none", "0,9,0", "#ff8000")] == [255, "none", (0, 9, 0), (255, 128, 0)]
    assert new._color("7") == (7, 7, 7)
    for text in ("256", "1,2", "red", "#12", "1,2,300"):
        with pytest.raises(new.argparse.ArgumentTypeError, match="expected 255, 60,180,75 or #3cb44b"):
            new._color(text)


# ---- what is refused, in one line and with nothing written


def test_empty_folders_are_named(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "empty: no image in this folder" in refused(capsys, clone, tmp_path / "empty", masks)
    assert "empty: no image in this folder" in refused(capsys, clone, images, tmp_path / "empty")
    assert "nowhere: no such folder" in refused(capsys, clone, images, tmp_path / "nowhere")


def test_masks_of_another_size_name_the_first_and_count_the_others(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    for name, size in (("2", (30, 44)), ("5", (40, 43))):
        Image.fromarray(mask_of(name, size)).save(masks / f"{name}.png")
    err = refused(capsys, clone, images, masks)
    assert "2.png: mask is 44 x 30 pixels (width x height), but its image 2.jpg is 44 x 40" in err
    assert "2 of 8 images with a mask are refused" in err


def test_masks_in_jpeg_are_refused(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    for path in masks.iterdir():
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()
    assert "JPEG changes label values" in refused(capsys, clone, images, masks)


def test_masks_that_were_jpeg_are_refused_by_their_hundreds_of_colors(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    for index, path in enumerate(sorted(masks.iterdir())):
        noise = np.random.default_rng(index).integers(0, 7, (40, 44, 3))
        Image.fromarray((np.array(COLORS)[mask_of(path.stem)] + noise).astype(np.uint8)).save(path)
    err = refused(capsys, clone, images, masks)
    assert "colors in 8 masks" in err
    assert "smoothed edges or what JPEG left" in err


def test_one_smoothed_mask_among_others_is_named(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    Image.fromarray((np.arange(40 * 44).reshape(40, 44) % 251).astype(np.uint8)).save(masks / "5.png")
    err = refused(capsys, clone, images, masks)
    assert "1 of 8 masks hold more than 64: masks/5.png" in err


def test_photographs_in_the_place_of_masks_are_taken_for_such(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    for index, path in enumerate(sorted(masks.iterdir())):
        noise = np.random.default_rng(index).integers(0, 256, (40, 44, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    assert "are these the masks? so many are in photographs" in refused(capsys, clone, images, masks)


def test_no_mask_for_any_image_shows_the_names(capsys, clone, tmp_path):
    images, masks = simple(tmp_path)
    for index, path in enumerate(sorted(masks.iterdir())):
        path.rename(masks / f"{'abcdefghijk'[index]}.png")
    err = refused(capsys, clone, images, masks)
    assert "no file here is named after an image" in err
    assert "a.png, b.png, ... and 6 more" in err


@pytest.mark.parametrize("name", ["mine", "experiments/mine", "./experiments/mine/", "experiments/_new/../mine"])
def test_a_folder_that_is_there_is_refused_before_anything_is_read(capsys, clone, name):
    for folder in ("mine", "_new"):
        (clone / "experiments" / folder).mkdir()
    (clone / "experiments/mine/note").write_text("mine")
    before = snapshot(clone / "experiments/mine")
    assert "is there already and is never replaced" in refused(capsys, clone, "nowhere", "nowhere", name=name)
    assert snapshot(clone / "experiments/mine") == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../mine", "plain name"),
        ("a/b", "plain name"),
        ("_base2", "plain name"),
        ("/tmp/x", "plain"),
        ("voc", "another"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(capsys, clone, name, message):
    assert message in refused(capsys, clone, "nowhere", "nowhere", name=name)


def test_without_a_clone_it_is_said(capsys, clone, monkeypatch):
    monkeypatch.setattr(new, "checkout", lambda: None)
    assert "needs a clone of SemiSeg" in refused(capsys, clone, "nowhere", "nowhere")


@pytest.mark.parametrize(
    ("count", "without", "options", "message"),
    [
        (2, 4, (), "2 images with a mask: at least 3 are needed"),
        (3, 0, (), "3 images with a mask: at least 4 are needed"),
        (
            8,
            0,
            ("--labels", 6),
            "--labels 6: at most 5 of 6 images that are not for scoring, as every",
        ),
        (8, 2, ("--val-count", 8), "some must be left to train on"),
        (8, 2, ("--classes", "a", "b"), "name all 3"),
        (8, 2, ("--classes", "a", "a", "b"), "occur twice: a"),
        (8, 2, ("--mask-name", "{id}_x.png"), "no file here is named after an image"),
    ],
)
def test_what_cannot_be_drawn_or_named_is_refused(capsys, clone, tmp_path, count, without, options, message):
    assert message in refused(capsys, clone, *simple(tmp_path, count, without), *options)


def test_impossible_numbers_end_with_usage(capsys):
    for option in (("--labels", "0"), ("--scale", "-1"), ("--seed", "-1"), ("--ignore", "red")):
        with pytest.raises(SystemExit) as stop:
            new.parse(["x", "--images", "i", "--masks", "m", *option])
        assert stop.value.code == 2
    assert "expected 255, 60,180,75 or #3cb44b" in capsys.readouterr().err


# ---- the whole way


def test_what_is_written_trains(capsys, clone, tmp_path):
    assert call(capsys, *make_phone(tmp_path))[0] == 0
    leaf = clone / "experiments/mine/5/ours"
    options = (*QUICK, "net.encoder.pretrained=null", "trainer.epochs=2", "trainer.sup_only_epoch=1")
    code, out, err = run_tool(capsys, train, "--config", leaf, *options, "trainer.eval_every=2")
    assert code == 0, err
    assert "split 5: 5 labelled, 4 unlabelled, 1 validation images" in out + err
    assert (clone / "ckpt/mine/5/semiseg_with_proto/checkpoints/best.ckpt").is_file()

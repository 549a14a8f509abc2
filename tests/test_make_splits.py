"""``semiseg make-splits``: drawing, recording, and agreement with what a configuration draws itself."""

import json

import numpy as np
import pytest
from own_data import make_set, mask_of, write_config, write_ids
from PIL import Image
from tool import run_tool, snapshot

from semiseg import cli
from semiseg.config import load
from semiseg.data import build
from semiseg.data.lists import read_split
from semiseg.data.splits import read_list
from semiseg.prepare import make_splits

TOOL = make_splits


@pytest.fixture
def config(tmp_path):
    make_set(tmp_path / "data", count=30, without_mask=5)
    return write_config(tmp_path)


def lists(folder):
    return tuple(read_list(folder / f"{part}.txt") for part in ("labeled", "unlabeled"))


def test_count_and_validation_images_are_drawn_and_recorded(capsys, config, tmp_path):
    code, out, _ = run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8, "--seed", 3)
    assert code == 0
    assert "6 labelled, 21 unlabelled images, seed 3" in out
    labeled, unlabeled = lists(tmp_path / "splits/6")
    val = read_list(tmp_path / "splits/val.txt")
    assert sorted(labeled + unlabeled + val) == [f"{i:02}" for i in range(35)]
    assert len(val) == 8
    assert set(labeled + val) <= {f"{i:02}" for i in range(30)}  # those with a mask
    record = json.loads((tmp_path / "splits/6/split.json").read_text())
    assert (record["seed"], record["count"], record["pool"], record["without_mask"]) == (3, 6, 22, 5)
    assert "--seed 3" in record["command"]


def test_what_is_no_image_is_left_out_counted_and_named(capsys, config, tmp_path):
    for name in ("._00.jpg", "notes.txt", "40.JPG"):
        (tmp_path / "data/images" / name).touch()
    out = run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)[1]
    left_out = "hidden: 1 (._00.jpg); other files: 1 (notes.txt); not named images/{id}.jpg: 1 (40.JPG)"
    assert f"note: 3 of 38 files in {tmp_path}/data/images are left out ({left_out})\n" in out
    assert "6 labelled, 21 unlabelled" in out


def test_names_that_end_like_two_images_are_read_back(capsys, config, tmp_path):
    for name in ("00", "34"):
        for path in (tmp_path / "data").glob(f"*/{name}.*"):
            path.rename(path.with_name(f"{name}.jpg{path.suffix}"))
    options = ("--config", config, "--count", 6, "--val-count", 8, "--class-aware")
    assert run_tool(capsys, TOOL, *options)[0] == 0
    split = read_split(load(config, ["dataset.split=6"]), build.data_spec(load(config)))
    assert {"00.jpg", "34.jpg"} <= {*split.labeled, *split.unlabeled, *split.val}
    assert "up to date" in run_tool(capsys, TOOL, "--config", config, "--count", 6, "--class-aware")[1]


def test_an_id_that_no_list_can_hold_is_refused_before_anything_is_written(capsys, config, tmp_path):
    (tmp_path / "data/images/34.jpg").rename(tmp_path / "data/images/34.png b.jpg")
    code, _, err = run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)
    assert code == 2
    assert "unlabeled.txt: cannot be written, as no line of a list would be read as '34.png b'" in err
    assert not (tmp_path / "splits").exists()


def test_split_is_what_training_reads(capsys, config):
    run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)
    loaded = load(config, ["dataset.split=6"])
    split = read_split(loaded, build.data_spec(loaded))
    assert (len(split.labeled), len(split.unlabeled), len(split.val)) == (6, 21, 8)


def test_ratio_draws_what_the_configuration_draws(capsys, config, tmp_path):
    run_tool(capsys, TOOL, "--config", config, "--ratio", 0.25, "--val-count", 8, "--seed", 5)
    loaded = load(config, ["dataset.labeled_ratio=0.25", "dataset.split_seed=5"])
    split = read_split(loaded, build.data_spec(loaded))
    assert lists(tmp_path / "splits/6") == (split.labeled, split.unlabeled)


def test_seed_decides_and_a_second_run_changes_nothing(capsys, config, tmp_path):
    run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)
    before = snapshot(tmp_path / "splits")
    assert "up to date" in run_tool(capsys, TOOL, "--config", config, "--count", 6)[1]
    assert snapshot(tmp_path / "splits") == before
    code, _, err = run_tool(capsys, TOOL, "--config", config, "--count", 6, "--seed", 1)
    assert code == 2
    assert "holds another split" in err
    assert snapshot(tmp_path / "splits") == before
    assert run_tool(capsys, TOOL, "--config", config, "--count", 6, "--seed", 1, "--name", "6_b")[0] == 0
    assert lists(tmp_path / "splits/6")[0] != lists(tmp_path / "splits/6_b")[0]
    assert run_tool(capsys, TOOL, "--config", config, "--count", 6, "--seed", 1, "--overwrite")[0] == 0
    assert lists(tmp_path / "splits/6") == lists(tmp_path / "splits/6_b")


def test_a_lost_validation_list_is_made_again_and_another_count_is_not_passed_over(capsys, config, tmp_path):
    run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)
    before = snapshot(tmp_path / "splits")
    (tmp_path / "splits/val.txt").unlink()
    out = run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)[1]
    assert "val.txt: 8 validation images" in out
    assert snapshot(tmp_path / "splits").keys() == before.keys()
    out = run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 9)[1]
    assert "val.txt has 8 images and stays; --val-count 9 is not used" in out


def test_images_that_came_later_are_in_the_next_draw(capsys, config, tmp_path):
    run_tool(capsys, TOOL, "--config", config, "--count", 6, "--val-count", 8)
    make_set(tmp_path / "data", count=40)
    assert "10 labelled, 22 unlabelled" in run_tool(capsys, TOOL, "--config", config, "--count", 10)[1]


def classes_in(names):
    return {int(v) for name in names for v in np.unique(mask_of(name))}


def test_class_aware_shows_the_rare_class_for_every_seed(capsys, config, tmp_path):
    plain = set()
    for seed in range(4):
        common = ("--config", config, "--count", 3, "--seed", seed)
        run_tool(capsys, TOOL, *common, "--name", f"plain_{seed}")
        run_tool(capsys, TOOL, *common, "--name", f"aware_{seed}", "--class-aware")
        assert classes_in(lists(tmp_path / f"splits/aware_{seed}")[0]) == {0, 1, 2}
        plain.add(frozenset(classes_in(lists(tmp_path / f"splits/plain_{seed}")[0])))
    assert frozenset({0, 1}) in plain  # else the request would have shown nothing


def test_class_aware_says_which_classes_found_no_room(capsys, tmp_path):
    for value in range(3):  # a class an image
        for folder, picture in (("images", np.zeros((9, 9, 3))), ("masks", np.full((9, 9), value))):
            path = tmp_path / "data" / folder / (f"{value}.jpg" if folder == "images" else f"{value}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(path)
    out = run_tool(capsys, TOOL, "--config", write_config(tmp_path), "--count", 2, "--class-aware")[1]
    assert "note: 2 images do not show" in out
    assert len(json.loads((tmp_path / "splits/2/split.json").read_text())["classes_without_label"]) == 1


def test_plain_list_needs_no_configuration(capsys, tmp_path):
    path = tmp_path / "all ids.txt"
    path.write_bytes(b"a 1\r\nb\r\nc\r\nd")
    code, _, _ = run_tool(capsys, TOOL, "--list", path, "--ratio", 0.5, "--out", tmp_path / "splits")
    assert code == 0
    labeled, unlabeled = lists(tmp_path / "splits/2")
    assert sorted(labeled + unlabeled) == ["a 1", "b", "c", "d"]


def test_validation_images_are_never_drawn(capsys, tmp_path):
    write_ids(tmp_path / "splits/val.txt", ["b"])
    path = write_ids(tmp_path / "all.txt", "abcd")
    run_tool(capsys, TOOL, "--list", path, "--count", 1, "--out", tmp_path / "splits")
    labeled, unlabeled = lists(tmp_path / "splits/1")
    assert sorted(labeled + unlabeled) == ["a", "c", "d"]


def test_equal_names_in_two_roots_are_different_pictures(capsys, tmp_path):
    for part, count in (("train", 12), ("val", 3)):
        make_set(tmp_path / part, count)
    for name in ("00", "01"):  # 02 is a copy
        Image.fromarray(np.full((40, 44, 3), int(name), np.uint8)).save(tmp_path / f"val/images/{name}.jpg")
    write_ids(tmp_path / "splits/val.txt", ["00", "01", "02"])
    roots = {"data_root": None, "train": {"data_root": "train"}, "val": {"data_root": "val"}}
    config = write_config(tmp_path, **roots)
    code, out, _ = run_tool(capsys, TOOL, "--config", config, "--ratio", 0.5)
    assert code == 0
    assert "note: 2 training images named as validation images (00, 01) count as other pictures" in out
    assert "6 labelled, 5 unlabelled images" in out


def test_all_labelled_leaves_no_empty_list(capsys, tmp_path):
    path = write_ids(tmp_path / "all.txt", "ab")
    assert run_tool(capsys, TOOL, "--list", path, "--count", 2, "--out", tmp_path)[0] == 0
    assert not (tmp_path / "2/unlabeled.txt").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "31"], "cannot label 31 of 30"),
        (["--count", "0"], "cannot label 0"),
        (["--ratio", "1.5"], "labeled ratio"),
        (["--count", "2", "--val-count", "30"], "some must be left"),
    ],
)
def test_impossible_amounts_are_one_line_and_write_nothing(capsys, config, tmp_path, options, message):
    code, _, err = run_tool(capsys, TOOL, "--config", config, *options)
    assert (code, len(err.splitlines())) == (2, 1)
    assert message in err
    assert not (tmp_path / "splits").exists()


def test_damaged_mask_is_named(capsys, config, tmp_path):
    (tmp_path / "data/masks/03.png").write_bytes(b"no picture")
    code, _, err = run_tool(capsys, TOOL, "--config", config, "--count", 3, "--class-aware")
    assert code == 2
    assert "03.png" in err
    assert not (tmp_path / "splits").exists()


@pytest.mark.parametrize(
    "options",
    [[], ["--count", "2"], ["--list", "x", "--count", "2"], ["--config", "x", "--count", "2", "--ratio", "1"]],
)
def test_contradicting_options_end_with_usage(options):
    with pytest.raises(SystemExit) as stop:
        TOOL.parse(options)
    assert stop.value.code == 2


@pytest.mark.parametrize("name", [".", "..", "../other", "a/b", ""])
def test_a_split_is_a_folder_in_that_of_the_splits(tmp_path, capsys, name):
    (tmp_path / "all.txt").write_text("a\nb\nc\n")
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ["make-splits", f"--list={tmp_path}/all.txt", "--count=1", f"--out={tmp_path}/splits", f"--name={name}"]
        )
    assert ended.value.code == 2
    assert "--name is the name of a folder in that of the splits" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['["a", "b"]\n', "image,mask\na.jpg,a.png\nb.jpg,b.png\n"])
def test_a_list_alone_may_be_neither_json_nor_a_table(tmp_path, capsys, content):
    (tmp_path / "all.txt").write_text(content)
    assert cli.main(["make-splits", f"--list={tmp_path}/all.txt", "--count=1", f"--out={tmp_path}/splits"]) == 2
    assert "all.txt: line 1" in capsys.readouterr().err
    assert not (tmp_path / "splits").exists()

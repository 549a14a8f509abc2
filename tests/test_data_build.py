"""From a configuration to lists and data sets: one value changes the label ratio, contradictions show both numbers."""

import os

import numpy as np
import pytest
from own_data import add, make_set, write_config, write_ids, write_split
from tiny import ROOT

from semiseg import train
from semiseg.common.distributed import ALONE, Group
from semiseg.common.errors import ConfigError, DataError
from semiseg.config.loading import dump, load
from semiseg.data import build as data_build
from semiseg.data.lists import Split, read_split, save_lists
from semiseg.data.paths import split_name
from semiseg.data.presence import sampled
from semiseg.data.splits import read_list
from semiseg.engine import build
from semiseg.engine.plan import Plan, steps_per_epoch

ALL = [f"{i:02}" for i in range(20)]
VAL = ["18", "19"]


@pytest.fixture
def folder(tmp_path):
    """20 images with masks, splits of 4 and 8, validation images 18 and 19."""
    make_set(tmp_path / "data", count=20)
    write_split(tmp_path, "4", ALL[:4], ALL[4:18], VAL)
    write_split(tmp_path, "8", ALL[:8], ALL[8:18], VAL)
    return tmp_path


def split_of(path, *overrides):
    config, spec = data_build.complete(load(path, overrides))
    return config, read_split(config, spec)


def first_log_line(path, *overrides):
    config, split = split_of(path, *overrides)
    plan = Plan(config, None, split, path, None, 1, 2, 1.0, ())
    return train.opening_lines(plan, "cpu", ALONE, 0)[0]


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        ("split: '4'", "split 4: 4 labelled, 14 unlabelled"),
        ("split: '8'", "split 8: 8 labelled, 10 unlabelled"),
        ("labeled_ratio: 0.5", "split ratio_0.5_seed_0: 9 labelled, 9 unlabelled"),
        ("labeled_ratio: 0.125", "split ratio_0.125_seed_0: 3 labelled, 15 unlabelled"),
    ],
)
def test_one_value_in_the_yaml_reaches_the_log(folder, value, counts):
    path = write_config(folder)
    text = path.read_text().replace("dataset:\n", f"dataset:\n  {value}\n", 1)
    path.write_text(text)
    assert counts + ", " in first_log_line(path)
    assert "2 validation images" in first_log_line(path)


def test_published_splits_change_by_one_value_too(tmp_path):
    splits = tmp_path / "splits"
    for count in (92, 183):
        write_ids(splits / f"{count}/labeled.txt", range(count))
        write_ids(splits / f"{count}/unlabeled.txt", range(count, 1000))
    write_ids(splits / "val.txt", range(1000, 1010))
    leaf = ROOT / "experiments/pascal/183/ours"
    assert ": 183 labelled, 817 unlabelled, 10 validation" in first_log_line(leaf, f"dataset.splits={splits}")
    changed = first_log_line(leaf, f"dataset.splits={splits}", "dataset.split=92")
    assert ": 92 labelled, 908 unlabelled" in changed


def test_ratio_is_drawn_from_the_seed_alone(folder):
    path = write_config(folder, labeled_ratio=0.5)
    first, again = split_of(path)[1], split_of(path)[1]
    assert first == again
    other = split_of(path, "dataset.split_seed=1")[1]
    assert set(other.labeled) != set(first.labeled)
    assert sorted(other.labeled + other.unlabeled) == ALL[:18]
    names = {split_name(load(path, [f"dataset.split_seed={seed}"])) for seed in (0, 1)}
    assert len(names) == 2


def test_ratio_of_a_published_set_is_drawn_from_its_pool(tmp_path):
    write_ids(tmp_path / "s/92/labeled.txt", ["c", "a"])
    write_ids(tmp_path / "s/92/unlabeled.txt", ["d", "b"])
    write_ids(tmp_path / "s/val.txt", ["v"])
    leaf = ROOT / "experiments/pascal/183/ours"
    overrides = [f"dataset.splits={tmp_path}/s", "dataset.labeled_ratio=0.5", "dataset.split=null"]
    split = split_of(leaf, *overrides)[1]
    assert sorted(split.labeled + split.unlabeled) == list("abcd")
    assert len(split.labeled) == 2
    write_ids(tmp_path / "s/train.txt", [f"{i}" for i in range(10)])
    assert len(split_of(leaf, *overrides)[1].labeled) == 5
    pool = write_ids(tmp_path / "pool.txt", [f"p{i}" for i in range(6)])
    split = split_of(leaf, *overrides, f"dataset.train.data_list={pool}")[1]
    assert (len(split.labeled), len(split.unlabeled)) == (3, 3)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"split": "4", "n_sup": 8}, ["n_sup is 8", "4 ids", "config.yaml"]),
        ({"split": "4", "labeled_ratio": 0.5}, ["labeled_ratio", "0.5", "split 4"]),
        ({"split": "4", "train": {"data_list": "splits/8/labeled.txt"}}, ["8 ids", "split 4 has 4 (4 in both)"]),
        ({"labeled_ratio": 0.5, "train": {"unlabeled_list": "x.txt"}}, ["unlabeled_list", "labeled_ratio 0.5"]),
        ({"labeled_ratio": 0.5, "train": {"unlabeled_dir": "more"}}, ["unlabeled_dir", "labeled_ratio 0.5"]),
        (
            {"split": "4", "train": {"unlabeled_dir": "more", "unlabeled_list": "x.txt"}},
            ["unlabeled_dir", "unlabeled_list", "x.txt"],
        ),
        ({"split": None}, ["dataset.split", "labeled_ratio"]),
    ],
)
def test_contradictions_name_both_sides(folder, keys, parts):
    path = write_config(folder, **keys)
    with pytest.raises(ConfigError) as error:
        split_of(path)
    assert all(part in str(error.value) for part in parts), error.value
    assert "\n" not in str(error.value)


def test_matching_n_sup_and_list_are_fine(folder):
    path = write_config(folder, split="4", n_sup=4, train={"data_list": "splits/4/labeled.txt"})
    assert split_of(path)[1].labeled == ALL[:4]


def test_written_lists_need_no_splits_folder(folder):
    path = write_config(
        folder,
        splits=None,
        train={"data_list": "splits/4/labeled.txt", "unlabeled_list": "splits/4/unlabeled.txt"},
        val={"data_list": "splits/val.txt"},
    )
    config, split = split_of(path)
    assert (len(split.labeled), len(split.unlabeled), split.val) == (4, 14, VAL)
    assert split_name(config) == "lists"


def test_missing_split_names_those_that_are_there(folder):
    with pytest.raises(DataError, match=r"splits there: 4, 8.*make_splits"):
        split_of(write_config(folder, split="5"))


# ---- saved lists


def test_lists_are_saved_and_a_changed_pool_is_refused(folder):
    path = write_config(folder, labeled_ratio=0.5)
    split = split_of(path)[1]
    run = folder / "run"
    save_lists(run, split)
    assert read_list(run / "lists/labeled.txt") == split.labeled
    assert read_list(run / "lists/unlabeled.txt") == split.unlabeled
    assert read_list(run / "lists/val.txt") == VAL
    before = (run / "lists/labeled.txt").stat().st_mtime_ns
    save_lists(run, split)
    assert (run / "lists/labeled.txt").stat().st_mtime_ns == before
    make_set(folder / "data", count=30)
    with pytest.raises(DataError, match=r"began with 9 ids, now the configuration gives 14"):
        save_lists(run, split_of(path)[1])
    assert read_list(run / "lists/unlabeled.txt") == split.unlabeled


def test_saved_lists_give_the_same_split_again(folder):
    split = split_of(write_config(folder, labeled_ratio=0.5))[1]
    save_lists(folder / "run", split)
    lists = {
        "train": {"data_list": "run/lists/labeled.txt", "unlabeled_list": "run/lists/unlabeled.txt"},
        "val": {"data_list": "run/lists/val.txt"},
    }
    assert split_of(write_config(folder, **lists))[1] == split


# ---- the quick check


def quick(path, *overrides, **options):
    config, spec = data_build.complete(load(path, overrides))
    return data_build.quick_check(config, spec, read_split(config, spec), **options)


def test_quick_check_passes_good_data_and_names_what_is_missing(folder):
    path = write_config(folder, split="4")
    quick(path)
    (folder / "data/images/10.jpg").unlink()
    quick(path, with_unlabeled=False)
    with pytest.raises(DataError, match=r"10\.jpg: not there.*1 files"):
        quick(path)
    (folder / "data/masks/19.png").unlink()
    quick(path, "trainer.eval_on=false", with_unlabeled=False)
    with pytest.raises(DataError, match=r"19\.png"):
        quick(path, with_unlabeled=False)


def test_quick_check_finds_one_file_under_two_names(folder):
    (folder / "data/images/10.jpg").unlink()
    (folder / "data/images/10.jpg").symlink_to(folder / "data/images/18.jpg")
    with pytest.raises(DataError, match="share 1 image file:"):
        quick(write_config(folder, split="4"))


@pytest.fixture
def few_looks(monkeypatch):
    """Of the 14 unlabelled images five are looked at; returns them."""
    monkeypatch.setattr(data_build, "sampled", lambda count: sampled(count, 5))
    return [ALL[4:18][index] for index in sampled(14, 5)]


def test_of_many_unlabelled_images_a_sample_is_looked_at_and_the_note_says_so(folder, few_looks):
    path = write_config(folder, split="4")
    for name in set(ALL[4:18]) - set(few_looks):
        (folder / f"data/images/{name}.jpg").unlink()
    (note,) = quick(path)
    assert note == f"looked at 5 of 14 images in {folder}/data; semiseg check-data looks at all"
    (folder / f"data/images/{few_looks[0]}.jpg").unlink()
    with pytest.raises(DataError, match=r"1 files are missing in .*, looked at 5 of 14 images in .* looks at all"):
        quick(path)


def test_all_labelled_and_validation_images_are_looked_at(folder, few_looks, monkeypatch):
    path = write_config(folder, split="8")
    for name in (*ALL[:8], *VAL):
        image = folder / f"data/images/{name}.jpg"
        image.rename(folder / "away")
        with pytest.raises(DataError, match=rf"{name}\.jpg: not there"):
            quick(path)
        (folder / "away").rename(image)


def test_samples_without_image_and_mask_are_skipped_while_one_is_left(folder):
    split = ["dataset.on_error=skip", "method=suponly"]
    for name in ALL[:3]:
        for file in (f"images/{name}.jpg", f"masks/{name}.png"):
            (folder / "data" / file).unlink()
    (note,) = (note for note in quick(write_config(folder, split="4"), *split) if "skipped" in note)
    assert "00.jpg: not there, though a list names it (6 files are missing" in note
    (folder / f"data/masks/{ALL[3]}.png").unlink()
    with pytest.raises(DataError, match="7 files are missing"):
        quick(write_config(folder, split="4"), *split)


def test_a_file_that_was_not_looked_at_is_one_line_when_it_is_read(folder, few_looks):
    config, spec = data_build.complete(load(write_config(folder, split="4")))
    split = read_split(config, spec)
    gone = next(index for index, name in enumerate(ALL[4:18]) if name not in few_looks)
    path = folder / f"data/images/{split.unlabeled[gone]}.jpg"
    path.unlink()
    data_build.quick_check(config, spec, split)
    with pytest.raises(DataError) as caught:
        data_build.open_part(config, spec, split.unlabeled, "train", with_mask=False).read(gone)
    assert str(caught.value) == f"{path}: no such image; check the data root and the list that names it"


def test_the_looks_at_files_do_not_grow_with_the_list(folder, few_looks, monkeypatch):
    counts, real = [], os.lstat
    for names in (ALL[4:18], [f"{i:05}" for i in range(2000)]):
        for index in sampled(len(names), 5):
            add(folder / "data", names[index], with_mask=False)
        write_split(folder, "long", ALL[:4], names, VAL)
        looks = []
        monkeypatch.setattr(os, "lstat", lambda path, looks=looks, **kw: looks.append(path) or real(path, **kw))
        quick(write_config(folder, split="long"))
        counts.append(len(looks))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("leaf", "root", "tool"),
    [("pascal/183/ours", "VOC2012", "prepare_voc"), ("cityscapes/186/ours", "cityscapes", "prepare_cityscapes")],
)
def test_missing_masks_name_the_tool_that_makes_them(tmp_path, leaf, root, tool):
    config, spec = data_build.complete(load(ROOT / "experiments" / leaf, [f"dataset.data_root={tmp_path}"]))
    image = tmp_path / spec.image_path("train/x")
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    with pytest.raises(DataError, match=rf"tools/{tool}\.py makes the masks"):
        data_build.dataset(config, spec, ["train/x"], "train")


def test_resolved_configuration_of_own_data_loads_again(folder):
    config = load(write_config(folder, split="4", train={"unlabeled_dir": "data/images"}))
    (folder / "resolved.yaml").write_text(dump(config))
    assert load(folder / "resolved.yaml") == config


@pytest.mark.parametrize("left_out", ["[0, 1, 2]", "[99]"])
def test_classes_that_are_never_pasted_are_some_of_the_data_sets(folder, left_out):
    overrides = ["dataset.split=4", f"trainer.adaptive={{copy_paste: {{leave_out: {left_out}}}}}"]
    with pytest.raises(ConfigError, match=r"copy_paste\.leave_out: expected some of the classes 0 to 2"):
        data_build.complete(load(write_config(folder, "ael"), overrides))


def test_lists_for_supervised_training_alone_need_no_unlabelled_one(folder):
    written = {"train": {"data_list": "splits/4/labeled.txt"}, "val": {"data_list": "splits/val.txt"}}
    path = write_config(folder, splits=None, **written)
    labels_alone = ["method=suponly", "trainer.epoch_of=labeled", "net.proto_head=null"]
    config, spec = data_build.complete(load(path, labels_alone))
    split = read_split(config, spec)
    assert (len(split.labeled), len(split.unlabeled)) == (4, 0)
    for others in (["trainer.epoch_of=unlabeled"], ["method=mean_teacher"]):
        config, spec = data_build.complete(load(path, [*labels_alone, *others]))
        with pytest.raises(ConfigError, match=r"unlabeled\.txt"):
            read_split(config, spec)


def test_evaluation_images_are_shared_out_to_the_devices(folder):
    config, spec = data_build.complete(load(write_config(folder), ["dataset.split=4"]))
    whole = [name for name, _, _ in build.EvalLoader(config, spec)]
    parts = [[name for name, _, _ in build.EvalLoader(config, spec, Group(rank, 2))] for rank in (0, 1)]
    assert [len(build.EvalLoader(config, spec, Group(rank, 2))) for rank in (0, 1)] == [len(p) for p in parts]
    assert parts == [whole[0::2], whole[1::2]]


@pytest.mark.parametrize(("pad_label", "filled"), [(0, 0), (1, 1), (255, 255), (77, 255)])
def test_crops_of_the_centre_are_padded_as_training_crops_are(folder, pad_label, filled):
    overrides = ["dataset.split=4", f"dataset.train.pad_label={pad_label}", "dataset.val.crop.size=[99, 97]"]
    config, spec = data_build.complete(load(write_config(folder), overrides))
    center = build.EvalLoader(config, spec).center
    image, mask = center.crop(np.ones((3, 40, 44), np.float32), np.ones((40, 44), np.uint8))
    assert (image.shape, mask.shape) == ((3, 99, 97), (99, 97))
    assert mask[0, 0] == filled
    assert image[0, 0, 0] == 0


@pytest.mark.parametrize(("images", "steps"), [(2, 3), (4, 2), (5, 1), (8, 1)])
def test_an_epoch_is_one_pass_over_the_unlabelled_images(images, steps):
    assert steps_per_epoch(Split(["a"], ["b"] * 5, ["c"]), images) == steps
    assert steps_per_epoch(Split(["a"] * 5, [], ["c"]), images) == steps


def test_an_epoch_may_be_one_pass_over_the_labelled_images():
    split = Split(["a"] * 5, ["b"] * 9, ["c"])
    assert [steps_per_epoch(split, 2, epoch_of) for epoch_of in ("unlabeled", "labeled")] == [5, 3]

"""The synthetic data set: what is written, that it is reproducible, and that nothing of the user's is touched."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.common.errors import ConfigError, DataError
from semiseg.data.specs import SPECS
from semiseg.prepare import synthetic_shapes as shapes
from semiseg.prepare.synthetic import (
    SyntheticOptions,
    draw_labels,
    generate,
    image_id,
    val_index,
)
from semiseg.prepare.synthetic_scene import _SHAPES, render

TOOL = Path(__file__).resolve().parents[1] / "tools" / "make_synthetic.py"
SMALL = SyntheticOptions(seed=3, size=64, unlabeled=24, val=5, labels=(4, 16), draws=3)
ALL_MODES = {(kind, mode) for kind in range(1, SPECS["synthetic"].num_classes) for mode in range(2)}


def contents(root):
    """Hash of every file under root, by relative name."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def ids(path):
    return path.read_text(encoding="utf-8").split()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """One finished set; tests that change files make their own."""
    out = tmp_path_factory.mktemp("synthetic") / "set"
    assert generate(out, SMALL, progress=False)
    return out


@pytest.fixture
def tiny(tmp_path):
    """Options of the smallest set, and a finished copy of it that a test may damage."""
    options = SyntheticOptions(size=32, unlabeled=2, val=1, labels=(1,), draws=1)
    generate(tmp_path / "tiny", options, progress=False)
    return options, tmp_path / "tiny"


def test_same_options_give_the_same_bytes_and_another_seed_does_not(small, tmp_path):
    generate(tmp_path / "again", SMALL, progress=False)
    assert contents(tmp_path / "again") == contents(small)
    other = SyntheticOptions(**{**SMALL.__dict__, "seed": 4})
    generate(tmp_path / "other", other, progress=False)
    name = f"JPEGImages/{image_id(0)}.jpg"
    assert contents(tmp_path / "other")[name] != contents(small)[name]


def test_an_image_made_alone_equals_the_one_in_the_set(small):
    for index in (7, val_index(2)):
        alone = render(SMALL.seed, index, SMALL.size)
        stored = np.asarray(Image.open(small / "SegmentationClassAug" / f"{image_id(index)}.png"))
        np.testing.assert_array_equal(stored, alone.label)
        photo = np.asarray(Image.open(small / "JPEGImages" / f"{image_id(index)}.jpg").convert("RGB"))
        # JPEG halves the resolution of colour, so the noise differs; the means of 8 x 8 blocks do not.
        difference = (photo.astype(float) - alone.image).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
        assert np.abs(difference).max() < 6


def test_in_the_long_tailed_set_class_shares_spread_over_two_orders_of_magnitude():
    pixels = np.zeros(6)
    for index in range(250):
        pixels += np.bincount(render(0, index, 48, long_tailed=True).label.ravel(), minlength=256)[:6]
    shares = pixels / pixels.sum()
    assert (np.diff(shares) < 0).all()
    assert 100 < shares[0] / shares[5] < 400
    usual = np.bincount(np.concatenate([render(0, i, 48).label.ravel() for i in range(60)]), minlength=256)[1:6]
    assert usual.max() / usual.min() < 4


def test_the_long_tailed_set_has_a_folder_of_its_own(tmp_path):
    tool = [
        sys.executable,
        str(TOOL),
        "--out",
        str(tmp_path / "x"),
        "--size",
        "32",
        "--unlabeled",
        "2",
        "--labels",
        "1",
    ]
    done = subprocess.run([*tool, "--long-tailed", "--val", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x/synthetic.json").read_text())["options"]["long_tailed"]
    again = subprocess.run([*tool, "--val", "2"], capture_output=True, text=True)
    assert again.returncode == 2
    assert "long_tailed True not False" in again.stderr


def test_the_order_of_rendering_does_not_matter():
    forward = [render(0, index, 48).image for index in range(4)]
    backward = [render(0, index, 48).image for index in reversed(range(4))][::-1]
    np.testing.assert_array_equal(forward, backward)


def test_validation_images_do_not_depend_on_the_size_of_the_pool(small, tmp_path):
    generate(tmp_path / "set", SyntheticOptions(seed=3, size=64, unlabeled=3, val=5, labels=(2,)), progress=False)
    here, there = contents(small), contents(tmp_path / "set")
    for name in ids(small / "splits" / "val.txt"):
        assert here[f"JPEGImages/{name}.jpg"] == there[f"JPEGImages/{name}.jpg"]


def test_every_image_has_a_mask_of_its_size_with_known_labels(small):
    images = sorted(path.stem for path in (small / "JPEGImages").iterdir())
    masks = sorted((small / "SegmentationClassAug").iterdir())
    assert images == [path.stem for path in masks]
    assert len(images) == SMALL.pool + SMALL.val
    found = set()
    for path in masks:
        with Image.open(small / "JPEGImages" / f"{path.stem}.jpg") as image, Image.open(path) as mask:
            assert (image.format, image.mode, mask.mode) == ("JPEG", "RGB", "P")
            assert image.size == mask.size == (64, 64)
            assert bytes(mask.getpalette()) == SPECS["synthetic"].full_palette().tobytes()
            found |= set(np.unique(np.asarray(mask)).tolist())
    assert found == {0, 1, 2, 3, 4, 5, 255}


def test_two_labels_never_touch_without_void_between_them(small):
    for path in (small / "SegmentationClassAug").iterdir():
        label = np.asarray(Image.open(path)).astype(int)
        for a, b in ((label[1:], label[:-1]), (label[:, 1:], label[:, :-1])):
            assert np.all((a == b) | (a == 255) | (b == 255))


def test_the_lists_are_disjoint_and_name_existing_files(small):
    val = ids(small / "splits" / "val.txt")
    stored = {path.stem for path in (small / "JPEGImages").iterdir()}
    assert len(val) == len(set(val)) == SMALL.val
    folders = [path for path in (small / "splits").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folders) == ["16", "16_s1", "16_s2", "4", "4_s1", "4_s2"]
    for folder in folders:
        labeled, unlabeled = ids(folder / "labeled.txt"), ids(folder / "unlabeled.txt")
        assert len(labeled) == int(folder.name.split("_")[0])
        assert len(unlabeled) == SMALL.unlabeled, "every label count has equally many steps an epoch"
        together = labeled + unlabeled + val
        assert len(set(together)) == len(together)
        assert set(together) <= stored


def test_label_draws_of_one_count_differ(small):
    draws = [tuple(ids(small / "splits" / name / "labeled.txt")) for name in ("16", "16_s1", "16_s2")]
    assert len(set(draws)) == 3


def test_every_draw_of_sixteen_shows_every_class_in_both_modes(small):
    for name in ("16", "16_s1", "16_s2"):
        labeled = ids(small / "splits" / name / "labeled.txt")
        shown = set().union(*(render(SMALL.seed, int(i.removeprefix("syn_")), SMALL.size).modes for i in labeled))
        assert shown == ALL_MODES


def test_a_draw_is_random_among_those_that_show_every_mode():
    seen = np.zeros((30, 4), bool)
    seen[np.arange(30), np.arange(30) % 4] = True
    options = SyntheticOptions(unlabeled=20, labels=(6,))
    draws = [draw_labels(seen, 6, number, options) for number in range(200)]
    assert all(seen[list(draw.labeled)].any(axis=0).all() and draw.missing_modes == 0 for draw in draws)
    chosen = Counter(position for draw in draws for position in draw.labeled)
    assert len(chosen) == 30
    assert max(chosen.values()) < 3 * min(chosen.values())


def test_the_manifest_names_every_file_and_the_draws_that_miss_a_mode(small):
    manifest = json.loads((small / "synthetic.json").read_text())
    assert manifest["complete"] is True
    assert sorted([*manifest["files"], "synthetic.json"]) == sorted(contents(small))
    assert [manifest["missing_modes"][name] for name in ("16", "16_s1", "16_s2")] == [0, 0, 0]
    assert manifest["options"]["seed"] == 3
    assert manifest["classes"] == ["background", "disk", "ring", "triangle", "cross", "bar"]


def test_each_shape_gets_the_label_of_its_name():
    x, y = np.meshgrid(*[np.linspace(-1.5, 1.5, 151, dtype=np.float32)] * 2)
    rng = np.random.default_rng(0)
    area = {name: (getattr(shapes, name)(x, y, rng) < 0).sum() * 0.0004 for name in SPECS["synthetic"].classes[1:]}
    assert area["disk"] == pytest.approx(np.pi * 0.9**2, rel=0.02)
    assert area["triangle"] == pytest.approx(3 * np.sqrt(3) * 0.58**2, rel=0.02)
    assert shapes.ring(np.float32(0), np.float32(0), rng) > 0 > shapes.disk(np.float32(0), np.float32(0), rng)
    assert list(area) == [shape.__name__ for shape in _SHAPES]


def test_a_draw_too_small_for_every_mode_takes_the_best_it_can():
    seen = np.eye(6, dtype=bool)
    draw = draw_labels(seen, 2, 0, SyntheticOptions(unlabeled=4, labels=(2,)))
    assert (len(draw.labeled), len(draw.unlabeled), draw.missing_modes) == (2, 4, 4)


def test_a_mode_counts_only_where_its_class_is_labelled():
    for index in range(40):
        rendering = render(1, index, 96)
        assert {kind for kind, _ in rendering.modes} <= set(np.unique(rendering.label).tolist())


def test_a_scene_looks_alike_at_every_size():
    for index in range(5):
        small_label, large_label = render(0, index, 96).label, render(0, index, 192).label[::2, ::2]
        inside = (small_label != 255) & (large_label != 255)
        assert (small_label == large_label)[inside].mean() > 0.98


def test_a_second_run_writes_nothing(tiny):
    options, out = tiny
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert generate(out, options, progress=False) is False
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_missing_image_is_made_again(tiny):
    options, out = tiny
    before = contents(out)
    (out / "JPEGImages" / f"{image_id(0)}.jpg").unlink()
    assert generate(out, options, progress=False) is True
    assert contents(out) == before


@pytest.mark.parametrize("content", [None, "not json", "[]", '{"files": ["../../x"]}'])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, content):
    (tmp_path / "thesis.txt").write_text("precious")
    if content is not None:
        (tmp_path / "synthetic.json").write_text(content)
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(DataError, match="something else"):
            generate(tmp_path, SMALL, overwrite=overwrite, progress=False)
    assert contents(tmp_path) == before


def test_a_manifest_that_points_out_of_the_folder_removes_nothing(tiny):
    options, out = tiny
    precious = out.parent / "precious.txt"
    precious.write_text("kept")
    manifest = json.loads((out / "synthetic.json").read_text())
    manifest["files"].append("../precious.txt")
    (out / "synthetic.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="something else"):
        generate(out, options, overwrite=True, progress=False)
    assert precious.read_text() == "kept"


def test_other_options_need_overwrite_which_leaves_foreign_files(tiny):
    _options, out = tiny
    wanted = SyntheticOptions(size=32, unlabeled=1, val=1, labels=(2,), draws=1)
    before = contents(out)
    with pytest.raises(DataError, match=r"unlabeled 2 not 1.*--overwrite"):
        generate(out, wanted, progress=False)
    assert contents(out) == before
    (out / "splits" / "1" / "mine.txt").write_text("mine")
    generate(out, wanted, overwrite=True, progress=False)
    generate(out.parent / "fresh", wanted, progress=False)
    after = contents(out)
    assert after.pop("splits/1/mine.txt")
    assert after == contents(out.parent / "fresh")


def test_overwrite_refuses_to_replace_a_file_of_the_user(tiny):
    _, out = tiny
    mine = out / "splits" / "2" / "labeled.txt"
    mine.parent.mkdir()
    mine.write_text("my own list")
    before = contents(out)
    with pytest.raises(DataError, match="in the way"):
        generate(out, SyntheticOptions(size=32, unlabeled=1, val=1, labels=(2,)), overwrite=True, progress=False)
    assert contents(out) == before


def test_an_interrupted_run_is_not_taken_as_complete_and_is_finished_by_the_next(tmp_path, monkeypatch):
    out, options = tmp_path / "set", SyntheticOptions(size=32, unlabeled=2, val=1, labels=(1,), draws=1)
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("semiseg.prepare.synthetic.render", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(out, options, progress=False)
    assert json.loads((out / "synthetic.json").read_text())["complete"] is False
    assert not list(out.rglob("*.txt")), "without lists nothing can train on half a set"
    assert generate(out, options, progress=False) is True
    generate(tmp_path / "fresh", options, progress=False)
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("name", "value"), [("size", 8), ("seed", -1), ("unlabeled", 0), ("val", 0), ("draws", 0), ("labels", (0, 4))]
)
def test_impossible_options_are_named(name, value):
    with pytest.raises(ConfigError, match=name):
        SyntheticOptions(**{name: value})


def test_the_command_writes_a_set_and_then_finds_it_up_to_date(tmp_path):
    command = [
        sys.executable,
        str(TOOL),
        "--out",
        "set",
        "--size",
        "32",
        "--unlabeled",
        "2",
        "--val",
        "1",
        "--labels",
        "2",
    ]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "4 training and 1 validation images" in first.stdout
    assert "100%" in first.stderr
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "up to date" in second.stdout
    assert not second.stderr


def test_the_command_refuses_in_one_line_with_exit_code_2(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    for extra in ([], ["--size", "1"]):
        done = subprocess.run(
            [sys.executable, str(TOOL), "--out", str(tmp_path), *extra], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert contents(tmp_path).keys() == {"thesis.txt"}

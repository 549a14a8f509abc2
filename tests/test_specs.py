"""The table of data sets: names, colours, and the way from a line of a list to the image and the mask."""

import numpy as np
import pytest
from PIL import Image

from semiseg.common.errors import ConfigError
from semiseg.data.specs import SPECS, custom_spec, get_spec, index_palette

OWN = {"name": "leaves", "classes": ["soil", "leaf"], "image": "photos/{id}.jpg", "mask": "labels/{id}.png"}


def test_class_counts_and_folders_of_the_built_in_sets():
    assert [(s.name, s.folder, s.num_classes) for s in SPECS.values()] == [
        ("pascal", "voc", 21),
        ("cityscapes", "city", 19),
        ("camvid", "camvid", 11),
        ("synthetic", "synthetic", 6),
        ("synthetic_longtail", "synthetic_longtail", 6),
    ]
    assert SPECS["synthetic"].classes == ("background", "disk", "ring", "triangle", "cross", "bar")


def test_voc_colors_are_the_official_ones():
    known = {"background": (0, 0, 0), "aeroplane": (128, 0, 0), "bottle": (128, 0, 128), "person": (192, 128, 128)}
    table = dict(zip(SPECS["pascal"].classes, SPECS["pascal"].palette, strict=True))
    assert {name: table[name] for name in known} == known
    assert table["tvmonitor"] == (0, 64, 128)
    assert index_palette(256)[255] == (224, 224, 192) == SPECS["pascal"].ignore_color


def test_cityscapes_classes_stand_in_train_id_order():
    spec = SPECS["cityscapes"]
    assert [spec.classes[i] for i in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]
    assert [spec.palette[i] for i in (0, 10, 13, 18)] == [(128, 64, 128), (70, 130, 180), (0, 0, 142), (119, 11, 32)]


@pytest.mark.parametrize(
    ("name", "found"),
    [("voc", "pascal"), ("pascal_semi", "pascal"), ("cityscapes_semi", "cityscapes"), ("synthetic", "synthetic")],
)
def test_the_fields_other_names_are_known(name, found):
    assert get_spec(name) is SPECS[found]


@pytest.mark.parametrize(
    ("wrong", "near"), [("pascall", "pascal"), ("Cityscape", "cityscapes"), ("synth", "synthetic")]
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(ConfigError, match=f"unknown data set '{wrong}'.*did you mean '{near}'"):
        get_spec(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
        "train/aachen/aachen_000000_000019_leftImg8bit.png",
        "train/aachen/aachen_000000_000019",
    ],
)
def test_cityscapes_lines_lead_to_image_and_mask(line):
    spec = SPECS["cityscapes"]
    sample = spec.sample_id(line)
    assert spec.image_path(sample) == "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"
    assert spec.mask_path(sample) == "gtFine/train/aachen/aachen_000000_000019_gtFine_labelTrainIds.png"


@pytest.mark.parametrize(
    "line",
    [
        "my photo 1",
        "JPEGImages/my photo 1.jpg",
        "/JPEGImages/my photo 1.jpg\t/SegmentationClassAug/my photo 1.png",
        "JPEGImages/my photo 1.jpg SegmentationClassAug/my photo 1.png",
    ],
)
def test_voc_lines_may_be_ids_paths_or_pairs_of_paths(line):
    spec = SPECS["pascal"]
    assert spec.sample_id(line) == "my photo 1"
    assert spec.sample_id(spec.sample_id(line)) == "my photo 1"
    assert spec.mask_path("my photo 1") == "SegmentationClassAug/my photo 1.png"


@pytest.mark.parametrize(
    "line",
    [
        "./JPEGImages/2007_000032.jpg",
        "././2007_000032",
        "/home/me/VOC2012/JPEGImages/2007_000032.jpg",
        "/home/me/JPEGImages/VOC2012/JPEGImages/2007_000032.jpg",
        "../VOC2012/JPEGImages/2007_000032.jpg",
        "C:\\data\\VOC2012\\JPEGImages\\2007_000032.jpg",
        "C:/data/VOC2012/JPEGImages/2007_000032.jpg",
        "JPEGImages/2007_000032.jpg SegmentationClass/2007_000032.png",  # UniMatch
        "JPEGImages/2007_000032.jpg,SegmentationClassAug/2007_000032.png",
        "./JPEGImages/2007_000032.jpg; ./SegmentationClassAug/2007_000032.png",
        '"JPEGImages/2007_000032.jpg","SegmentationClass/2007_000032.png"',
        "/a/JPEGImages/2007_000032.jpg /a/SegmentationClassAug/2007_000032.png",
    ],
)
def test_lists_of_other_programs_mean_the_same_image(line):
    spec = SPECS["pascal"]
    assert spec.sample_id(line) == "2007_000032"
    assert spec.sample_id("2007_000032") == "2007_000032"


def test_unimatchs_cityscapes_pairs_are_understood():
    line = "leftImg8bit/train/a/a_0_0_leftImg8bit.png gtFine/train/a/a_0_0_gtFine_labelTrainIds.png"
    assert SPECS["cityscapes"].sample_id(line) == "train/a/a_0_0"


def test_a_path_below_the_data_root_needs_no_folder_of_images():
    spec = custom_spec(**{**OWN, "image": "{id}.jpg", "mask": "{id}_mask.png"})
    assert spec.sample_id("/data/leaves/north/1.jpg", ["/data/leaves"]) == "north/1"
    assert spec.sample_id("/data/leaves/1.jpg /data/leaves/1_mask.png", ["/data/leaves"]) == "1"


@pytest.mark.parametrize("sample", ["a,b", "my photo 2", "north/images/3", "#4", "it's", "a;b c", "images"])
def test_ids_with_signs_of_lists_in_them_stay_what_they_are(sample):
    for image in ("images/{id}.jpg", "images/{id}"):
        spec = custom_spec(
            **{**OWN, "image": image, "mask": "masks/{stem}.png" if image[-1] == "}" else "masks/{id}.png"}
        )
        assert spec.sample_id(sample) == sample
        assert spec.sample_id(spec.image_path(sample)) == sample


def test_a_pair_whose_mask_belongs_to_another_image_is_no_pair():
    assert " " in SPECS["pascal"].sample_id("JPEGImages/1.jpg SegmentationClass/2.png")


def test_own_data_needs_a_name_classes_and_two_paths_only():
    spec = custom_spec(**OWN)
    assert (spec.folder, spec.classes, spec.ignore_label, spec.mask_kind) == ("leaves", ("soil", "leaf"), 255, "index")
    assert spec.palette == index_palette(2)


def test_own_ids_may_keep_the_extension_of_their_image():
    spec = custom_spec(**{**OWN, "image": "photos/{id}", "mask": "labels/{stem}_mask.png"})
    assert spec.sample_id("photos/a/b.v2.jpeg") == "a/b.v2.jpeg"
    assert spec.mask_path("a/b.v2.jpeg") == "labels/a/b.v2_mask.png"


def test_masks_of_own_data_may_lie_in_a_folder_amid_the_path():
    spec = custom_spec(**{**OWN, "image": "{id}.jpg", "mask": "{id:images=masks}.png"})
    assert spec.mask_path("train/images/1") == "train/masks/1.png"
    assert spec.sample_id("train/images/1.jpg train/masks/1.png") == "train/images/1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_kind": "color"}, "needs colors"),
        ({"mask_kind": "rgb"}, '"index" or "color"'),
        ({"colors": [[0, 0, 0]]}, "1 colors for 2 classes"),
        ({"colors": [[0, 0, 0], [0, 0]]}, "three integers"),
        ({"colors": [[0, 0, 0], [0, 0, 300]]}, "three integers"),
        ({"colors": ["red", "green"]}, "three integers"),
        ({"mask_kind": "color", "colors": [[1, 2, 3], [1, 2, 3]]}, "used twice"),
        ({"mask_kind": "color", "colors": [[1, 2, 3], [0, 0, 0]], "ignore_color": [0, 0, 0]}, "used twice"),
        ({"ignore_label": 1}, "index of class 'leaf'"),
        ({"ignore_label": 256}, "from 0 to 255"),
        ({"ignore_label": True}, "from 0 to 255"),
        ({"classes": ["leaf", "leaf"]}, "occur twice: leaf"),
        ({"classes": ["leaf"]}, "at least two"),
        ({"classes": "soil leaf"}, "list of names"),
        ({"classes": [f"c{i}" for i in range(256)]}, "room for 255"),
        ({"image": "photos"}, "must hold {id} once"),
        ({"image": "photos/{name}.jpg"}, "must hold {id} once"),
        ({"mask": "labels/{id"}, "must hold {id} once"),
        ({"image": "photos/{id:04d}.jpg"}, "must hold {id} once"),
        ({"mask": "labels/{id!s}.png"}, "must hold {id} once"),
        ({"mask": "labels/{id}_{{x}}.png"}, "must hold {id} once"),
        ({"mask": "labels/{id:a=a}.png"}, "must hold {id} once"),
        ({"image": "{id:a=b}.png"}, "must hold {id} once"),
        ({"name": ".."}, "must be plain names"),
        ({"mask": "photos/{id}.jpg"}, "same path"),
        ({"image": "/photos/{id}.jpg"}, "below the data root"),
        ({"name": "a/b"}, "plain names"),
    ],
)
def test_contradictions_in_own_data_are_config_errors(change, message):
    with pytest.raises(ConfigError, match=message.replace("{", r"\{")):
        custom_spec(**{**OWN, **change})


def test_the_full_palette_colors_an_indexed_png(tmp_path):
    spec = SPECS["pascal"]
    picture = Image.fromarray(np.array([[0, 15, 255]], np.uint8))
    picture.putpalette(spec.full_palette().tobytes())
    picture.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as saved:
        rgb = np.asarray(saved.convert("RGB"))
    assert rgb[0].tolist() == [[0, 0, 0], [192, 128, 128], [224, 224, 192]]

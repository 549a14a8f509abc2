"""``semiseg check-data``: what it counts, what it finds, its exit codes; inputs as bad as people have them."""

import numpy as np
import pytest
import wild_data
from own_data import image_of, make_set, mask_of, write_config, write_ids, write_split
from PIL import Image
from tiny import ROOT
from tool import run_tool

from semiseg.prepare import check_data
from semiseg.prepare.check import PartReport, content_overlaps

TOOL = check_data
LABELED, UNLABELED, VAL = ["00", "01", "02"], ["03", "04", "05", "06"], ["07", "08"]


@pytest.fixture
def config(tmp_path):
    """Three labelled, four unlabelled, two validation images; a folder with a space in its name."""
    folder = tmp_path / "my field"
    make_set(folder / "data", count=9)
    write_split(folder, "3", LABELED, UNLABELED, VAL)
    return write_config(folder, split="3")


def data(config):
    return config.parent / "data"


def check(capsys, config, *more):
    return run_tool(capsys, TOOL, "--config", config, "--workers", 2, *more)


def save_jpeg(config, name, mode=None, turn=None, size=None):
    picture = Image.fromarray(image_of(name, mask_of(name)))
    picture = picture.convert(mode) if mode else picture
    picture = picture.resize(size) if size else picture
    exif = Image.Exif()
    if turn:
        exif[274] = turn
    picture.save(data(config) / f"images/{name}.jpg", exif=exif)


def row(out, name):
    return next(line.split() for line in out.splitlines() if line.split()[:1] == [name])


def test_table_counts_files_and_pixels(capsys, config):
    code, out, _ = check(capsys, config)
    assert code == 0
    assert "no problems found" in out
    for name, count in (("labeled", 3), ("unlabeled", 4), ("val", 2)):
        assert row(out, name)[1:4] == [str(count), "0", "0"]
        assert "40 x 44, JPEG RGB" in " ".join(row(out, name))
    for value, name in enumerate(("ground", "crop", "weed")):
        cells = row(out, str(value))
        assert cells[1] == name
        for column, names in ((2, LABELED), (4, VAL)):
            masks = np.stack([mask_of(n) for n in names])
            assert cells[column] == f"{(masks == value).mean():.2%}"
            assert cells[column + 1] == str(sum((mask == value).any() for mask in masks))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_images_are_counted_and_fine(capsys, config, mode):
    save_jpeg(config, "00", mode)
    code, out, _ = check(capsys, config)
    assert code == 0
    assert f"JPEG {mode} 1" in out


def save_on_its_side(config, name):
    """An image as a phone stores it, under a mask that was drawn on the upright picture."""
    turned = Image.fromarray(image_of(name, mask_of(name))).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[274] = 6
    turned.save(data(config) / f"images/{name}.jpg", exif=exif)


def test_exif_rotation_is_noted_and_fine_where_it_fits_the_mask(capsys, config):
    save_on_its_side(config, "01")
    code, out, _ = check(capsys, config)
    assert code == 0
    assert "1 images of the labeled part carry an EXIF rotation (first 01)" in out


def test_half_turns_beside_masks_that_were_drawn_upright_are_a_problem(capsys, config):
    save_jpeg(config, "00", turn=3)
    code, out, _ = check(capsys, config)
    assert (code, "1 images of the labeled part carry an EXIF rotation (first 00)" in out) == (0, True)
    save_on_its_side(config, "01")  # from which it is seen how masks were drawn
    code, out, _ = check(capsys, config)
    assert code == 1
    assert "problem: 1 masks were drawn on the upright picture of an image with an EXIF rotation (first 01: " in out
    assert "1 images with one lie as stored under theirs (first 00: both fit); turn the files themselves" in out


@pytest.mark.filterwarnings("ignore::semiseg.common.errors.Note")  # of bits
def test_several_depths_of_sixteen_bits_are_a_problem(capsys, config):
    for name, largest in (("00", 1000), ("01", 1020)):
        gray = (np.arange(40 * 44).reshape(40, 44) % 400).astype(np.uint16)
        gray[0, 0] = largest
        Image.fromarray(gray).save(data(config) / f"images/{name}.jpg", "TIFF")
    code, out, _ = check(capsys, config)
    assert (code, "(10 of 16 bits) 2" in out) == (0, True)
    gray[0, 0] = 1040  # a little brighter, and four times darker as it is read
    Image.fromarray(gray).save(data(config) / "images/01.jpg", "TIFF")
    code, out, _ = check(capsys, config)
    assert code == 1
    assert "problem: images of 16 bits of which different numbers are in use (10 bits in 1, 12 bits in 1)" in out


def cut(config):
    path = data(config) / "images/04.jpg"
    path.write_bytes(path.read_bytes()[:400])
    return path


def remove_image(config):
    path = data(config) / "images/04.jpg"
    path.unlink()
    return path


def remove_mask(config):
    path = data(config) / "masks/07.png"
    path.unlink()
    return path


def other_size(config):
    Image.fromarray(np.zeros((40, 45), np.uint8)).save(data(config) / "masks/02.png")
    return data(config) / "masks/02.png"


def bad_labels(config):
    mask = mask_of("02")
    mask[0, 0] = 17
    Image.fromarray(mask).save(data(config) / "masks/02.png")
    return "label values 17"


def color_mask(config):
    Image.fromarray(np.zeros((40, 44, 3), np.uint8)).save(data(config) / "masks/02.png")
    return "mask_kind: color"


@pytest.mark.parametrize("damage", [cut, remove_image, remove_mask, other_size, bad_labels, color_mask])
def test_bad_file_is_named_and_the_others_are_read(capsys, config, damage):
    named = str(damage(config))
    code, out, _ = check(capsys, config)
    assert code == 1
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 1
    assert named in problems[0]
    assert sum(int(row(out, part)[1]) for part in ("labeled", "unlabeled", "val")) == 9
    assert "problems found" in out


def test_many_problems_are_shortened(capsys, config):
    for name in UNLABELED:
        (data(config) / f"images/{name}.jpg").unlink()
    out = check(capsys, config, "--show", "1")[1]
    assert "... and 3 more unlabeled files not there" in out


@pytest.mark.parametrize(
    ("unlabeled", "message"),
    [
        (["03", "00"], "the labeled and the unlabeled list share 1 sample: 00"),
        (["03", "07"], "the unlabeled and the val list share 1 sample: 07"),
        (["03", "03"], "'03' on lines 1, 2"),
        ([], "the list is empty"),
    ],
)
def test_lists_that_leak_repeat_or_are_empty(capsys, config, unlabeled, message):
    write_ids(config.parent / "splits/3/unlabeled.txt", unlabeled)
    code, out, _ = check(capsys, config)
    assert code == 1
    assert message in out


def test_same_image_under_another_name_is_a_leak(capsys, config):
    (data(config) / "images/05.jpg").write_bytes((data(config) / "images/08.jpg").read_bytes())
    code, out, _ = check(capsys, config)
    assert code == 1
    assert "under another name: 05 = 08" in out


def test_a_copy_of_the_same_name_in_another_folder_is_a_leak_too():
    first, second, third = (PartReport(name, 1) for name in ("unlabeled", "val", "labeled"))
    for report, file in ((first, "/photos/a.jpg"), (second, "/images/a.jpg"), (third, "/images/a.jpg")):
        report.contents["digest"] = ("a.jpg", file)
    found = content_overlaps(first, second)
    assert found == "1 images of the unlabeled part are in the val part as other files of the same name: a.jpg = a.jpg"
    assert content_overlaps(second, third) is None  # one file: the lists' own check names it


def test_same_image_twice_in_training_is_only_noted(capsys, config):
    (data(config) / "images/05.jpg").write_bytes((data(config) / "images/01.jpg").read_bytes())
    code, out, _ = check(capsys, config)
    assert code == 0
    assert "note: 1 images of the labeled part are in the unlabeled part under another name: 01 = 05" in out


def test_link_to_the_same_file_is_a_leak(capsys, config):
    path = data(config) / "images/05.jpg"
    path.unlink()
    path.symlink_to(data(config) / "images/08.jpg")
    code, out, _ = check(capsys, config, "--quick")
    assert code == 1
    assert "the unlabeled and the val part share 1 image file:" in out


def test_windows_lists_without_final_line_end_are_fine(capsys, config):
    (config.parent / "splits/3/unlabeled.txt").write_bytes(b"\xef\xbb\xbf03\r\n04\r\n\r\n05\r\n06")
    assert check(capsys, config)[0] == 0


def test_class_that_no_labelled_image_shows_is_noted(capsys, config):
    Image.fromarray(np.zeros((40, 44), np.uint8)).save(data(config) / "masks/00.png")
    write_ids(config.parent / "splits/3/labeled.txt", ["00"])
    code, out, _ = check(capsys, config)
    assert code == 0
    assert "no pixel of crop, weed in the labeled part" in out


def test_nothing_labelled_among_what_is_scored_is_a_problem(capsys, config):
    for name in VAL:
        Image.fromarray(np.full((40, 44), 255, np.uint8)).save(data(config) / f"masks/{name}.png")
    code, out, _ = check(capsys, config)
    assert code == 1
    assert "problem: no labelled pixel in the val part: nothing can be scored" in out


def test_quick_opens_no_image(capsys, config):
    cut(config)
    assert check(capsys, config, "--quick")[0] == 0
    remove_mask(config)
    code, out, _ = check(capsys, config, "--quick")
    assert code == 1
    assert "masks/07.png: not there" in out


def test_missing_masks_of_voc_name_the_tool(capsys, tmp_path, tiny_data):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"dataset: {{type: pascal, data_root: '{tiny_data}', splits: '{tiny_data}/splits', split: 4}}\n"
        "saver: {root: runs}\n"
    )
    write_ids(tmp_path / "labeled.txt", ["unlabeled_000"])
    out = check(
        capsys,
        config,
        "dataset.split=null",
        f"dataset.train.data_list={tmp_path}/labeled.txt",
        f"dataset.train.unlabeled_list={tiny_data}/splits/4/labeled.txt",
    )[1]
    assert "SegmentationClassAug/unlabeled_000.png: not there; python tools/prepare_voc.py makes the masks" in out


ONE_OF_EVERYTHING = {
    "jpeg_mask.png": "JPEG changes label values: masks must be PNG",
    "renumbered_mask.png": "its palette shows index 0 in the color of 'crop', which is class 1",
    "colors_mask.png": "this mask is a color picture",
    "counted_from_1_mask.png": "are labels counted from 1?",
    "two_bits_mask.png": "gray of 2 bits",
    "other_size_mask.png": "mask is 60 x 39 pixels",
    "missing_mask.png": "not there",
    "half.jpg": "not a complete, readable image (Corrupt JPEG data",
    "cut.png": "not a complete, readable image (the PNG data end early)",
    "empty.jpg": "the file is empty",
    "answer.jpg": "a web page",
    "height.tif": "a TIFF of 3 bands of 32-bit floating point numbers",
    "five_bands.tif": "a TIFF of 5 bands of 16-bit unsigned integers",
    "pages.tif": "a TIFF of 2 pages",
    "large.png": "60000 x 40000 pixels (width x height), more than dataset.max_pixels=500000000",
    "weights.png": "a .safetensors file of weights",
    "pointer.png": "run git lfs pull",
}


@pytest.mark.filterwarnings("ignore::semiseg.common.errors.Note")
def test_a_folder_with_one_of_everything(capsys, tmp_path):
    code, out, _ = check(capsys, wild_data.make(tmp_path), "--show", 99)
    assert code == 1
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    for name, problem in ONE_OF_EVERYTHING.items():
        assert any(f"/{name}: " in line and problem in line for line in problems), name
    assert "no labelled pixel of weed, while 7.5% of the pixels hold the ignore label 255" in problems[0]
    assert "(12 bits in 2, 16 bits in 2)" in problems[1]
    assert len(problems) == len(ONE_OF_EVERYTHING) + 2  # everything else in the folder is read
    assert "TIFF I;16 (12 of 16 bits) 1" in out
    assert "5 of 28 files in" in out
    shown = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    for line in out.replace(str(tmp_path), "wild").splitlines():
        assert line in shown


@pytest.mark.parametrize("more", ["dataset.splitt=3", "dataset.split=null", "dataset.n_sup=5", "dataset.custom=null"])
def test_wrong_configuration_is_exit_code_2(capsys, config, more):
    code, _, err = check(capsys, config, more)
    assert (code, len(err.splitlines())) == (2, 1)


def test_missing_root_and_split_are_problems(capsys, config):
    assert check(capsys, config, "dataset.data_root=/nowhere")[0] == 1
    code, out, _ = check(capsys, config, "dataset.split=4")
    assert code == 1
    assert "splits there: 3" in out

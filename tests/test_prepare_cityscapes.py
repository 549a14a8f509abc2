"""``semiseg prepare-cityscapes`` on small look-alikes of gtFine."""

import json

import numpy as np
import pytest
from PIL import Image
from tool import run_tool, snapshot

from semiseg.data.dataset import SegmentationDataset
from semiseg.data.specs import SPECS
from semiseg.prepare import cityscapes, prepare_cityscapes

TOOL = prepare_cityscapes
SIZE = (32, 64)
# id -> train id, typed from the paper's 19 classes: a second source beside the table made from names.
OFFICIAL = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14}
OFFICIAL |= {28: 15, 31: 16, 32: 17, 33: 18}


def ids_of(name):
    rng = np.random.default_rng(list(name.encode()))
    return np.kron(rng.integers(0, 34, (4, 8)), np.ones((8, 8), int)).astype(np.uint8)


def expected_of(ids):
    return np.vectorize(lambda v: OFFICIAL.get(int(v), 255))(ids).astype(np.uint8)


def polygons_of(*things):
    """The JSON of a picture with rectangles (label, left, top, right, bottom), each painted over the ones before."""
    objects = [
        {"label": label, "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]} | more
        for label, (x0, y0, x1, y1), more in things
    ]
    return json.dumps({"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects})


@pytest.fixture
def root(tmp_path):
    """Two training pictures of one city, one validation picture, labelIds for all."""
    root = tmp_path / "city scapes"
    for sample in ("train/aachen/aachen_000000_000019", "train/ulm/ulm_000001_000019", "val/bonn/bonn_000000_000019"):
        image = root / f"leftImg8bit/{sample}_leftImg8bit.png"
        ids = root / f"gtFine/{sample}_gtFine_labelIds.png"
        for path in (image, ids):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(image)
        Image.fromarray(ids_of(sample)).save(ids)
    return root


SAMPLE = "train/aachen/aachen_000000_000019"


def result(root, sample=SAMPLE, folder="gtFine"):
    with Image.open(root / folder / f"{sample}_gtFine_labelTrainIds.png") as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def test_table_is_the_official_one():
    assert len(cityscapes.LABELS) == 34
    ids = np.arange(34, dtype=np.uint8)
    assert [cityscapes.TRAIN_ID[name] for name in cityscapes.LABELS] == expected_of(ids).tolist()
    assert set(OFFICIAL.values()) == set(range(19))
    for number, train_id in OFFICIAL.items():
        assert cityscapes.LABELS[number] == SPECS["cityscapes"].classes[train_id]


def test_label_ids_become_train_ids_and_originals_stay(capsys, root):
    before = snapshot(root)
    code, out, _ = run_tool(capsys, TOOL, "--root", root, "--workers", 2)
    assert code == 0
    assert "train: 2 written, 0 right already, 0 problems; 2 of 2 have their image" in out
    assert "val: 1 written" in out
    assert "train has 2 of 2,975" in out
    samples = (SAMPLE, "train/ulm/ulm_000001_000019", "val/bonn/bonn_000000_000019")
    for sample in samples:
        assert np.array_equal(result(root, sample), expected_of(ids_of(sample)))
    after = snapshot(root)
    assert {path: after[path] for path in before} == before
    part = SegmentationDataset(SPECS["cityscapes"], root, samples)
    assert [part.read(i)[1].shape for i in range(3)] == [SIZE] * 3
    assert run_tool(capsys, TOOL, "--root", root, "--strict")[0] == 1


def test_second_run_writes_nothing_and_a_stopped_one_goes_on(capsys, root):
    run_tool(capsys, TOOL, "--root", root)
    before = snapshot(root)
    code, out, _ = run_tool(capsys, TOOL, "--root", root / "gtFine")
    assert (code, snapshot(root)) == (0, before)
    assert "train: 0 written, 2 right already" in out
    (root / f"gtFine/{SAMPLE}_gtFine_labelTrainIds.png").unlink()
    assert "train: 1 written, 1 right already" in run_tool(capsys, TOOL, "--root", root)[1]


def test_polygons_are_drawn_where_only_they_are_there(capsys, root):
    ids = root / f"gtFine/{SAMPLE}_gtFine_labelIds.png"
    ids.unlink()
    text = polygons_of(
        ("road", (0, 0, 63, 31), {}),
        ("sky", (0, 0, 63, 9), {"deleted": 1}),
        ("cargroup", (10, 10, 19, 19), {}),
        ("license plate", (12, 12, 15, 15), {}),
        ("polegroup", (30, 0, 31, 31), {}),
        ("person", (40, 20, 49, 31), {"deleted": 0}),
        ("parking", (45, 0, 63, 25), {}),
    )
    (root / f"gtFine/{SAMPLE}_gtFine_polygons.json").write_text(text)
    code, out, _ = run_tool(capsys, TOOL, "--root", root)
    assert code == 0
    assert "(1 drawn from polygons)" in out
    expected = np.zeros(SIZE, np.uint8)
    expected[10:20, 10:20] = 13
    expected[:, 30:32] = 255
    expected[20:, 40:50] = 11
    expected[:26, 45:] = 255
    assert np.array_equal(result(root), expected)


def test_objects_without_an_area_change_nothing_and_are_counted(capsys, root):
    (root / f"gtFine/{SAMPLE}_gtFine_labelIds.png").unlink()
    content = json.loads(polygons_of(("road", (0, 0, 63, 31), {}), ("sky", (0, 0, 63, 9), {})))
    path = root / f"gtFine/{SAMPLE}_gtFine_polygons.json"
    path.write_text(json.dumps(content))
    whole = cityscapes.read_train_ids(path)
    content["objects"].insert(1, {"label": "person", "polygon": []})
    content["objects"].append({"label": "car", "polygon": [[5, 5]]})
    content["objects"].append({"label": "car", "polygon": [], "deleted": 1})
    path.write_text(json.dumps(content))
    code, out, _ = run_tool(capsys, TOOL, "--root", root)
    assert code == 0
    named = f"{path.name}: person (object 1, 0 points), {path.name}: car (object 3, 1 point)"
    assert f"note: 2 objects of fewer than 2 points left out: {named}\n" in out
    assert np.array_equal(result(root), whole)


def test_label_ids_win_over_polygons_and_agree_with_them(capsys, root):
    rectangles = [("building", (0, 0, 63, 31), {}), ("car", (5, 6, 30, 20), {}), ("trailer", (20, 10, 40, 31), {})]
    path = root / f"gtFine/{SAMPLE}_gtFine_polygons.json"
    path.write_text(polygons_of(*rectangles))
    ids = np.full(SIZE, 11, np.uint8)
    ids[6:21, 5:31], ids[10:, 20:41] = 26, 30
    Image.fromarray(ids).save(root / f"gtFine/{SAMPLE}_gtFine_labelIds.png")
    assert np.array_equal(cityscapes.read_train_ids(path), expected_of(ids))
    assert "drawn" not in run_tool(capsys, TOOL, "--root", root)[1]


def test_other_output_folder(capsys, root, tmp_path):
    before = snapshot(root)
    assert run_tool(capsys, TOOL, "--root", root, "--out", tmp_path / "new", "--parts", "val")[0] == 0
    assert snapshot(root) == before
    assert [p.name for p in (tmp_path / "new").rglob("*.png")] == ["bonn_000000_000019_gtFine_labelTrainIds.png"]


@pytest.mark.parametrize("kind", ["cut off", "jpeg", "colors", "not an id", "other size", "bad json", "unknown label"])
def test_damaged_files_are_named_and_the_others_are_made(capsys, root, kind):
    named = root / f"gtFine/{SAMPLE}_gtFine_labelIds.png"
    if kind == "cut off":
        named.write_bytes(named.read_bytes()[:-30])
    elif kind == "jpeg":
        Image.fromarray(np.full(SIZE, 7, np.uint8)).save(named, "JPEG")
    elif kind == "colors":
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(named)
    elif kind == "not an id":
        Image.fromarray(np.full(SIZE, 90, np.uint8)).save(named)
    elif kind == "other size":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(named)
    else:
        named.unlink()
        named = root / f"gtFine/{SAMPLE}_gtFine_polygons.json"
        text = polygons_of(("spaceship", (0, 0, 9, 9), {}))
        named.write_text(text if kind == "unknown label" else text[:-9])
    code, out, _ = run_tool(capsys, TOOL, "--root", root)
    assert code == 1
    assert f"problem: {named}: " in out
    assert "train: 1 written" in out
    assert not (root / f"gtFine/{SAMPLE}_gtFine_labelTrainIds.png").exists()


def test_another_file_in_the_place_is_kept_and_named(capsys, root):
    target = root / f"gtFine/{SAMPLE}_gtFine_labelTrainIds.png"
    Image.fromarray(ids_of(SAMPLE)).save(target)
    before = target.read_bytes()
    code, out, _ = run_tool(capsys, TOOL, "--root", root)
    assert (code, target.read_bytes()) == (1, before)
    assert f"problem: {target}: another file is there already" in out
    assert run_tool(capsys, TOOL, "--root", root, "--overwrite")[0] == 0
    assert np.array_equal(result(root), expected_of(ids_of(SAMPLE)))


def test_download_tells_the_steps_and_fetches_nothing(capsys, tmp_path):
    code, out, err = run_tool(capsys, TOOL, "--root", tmp_path, "--download")
    assert code == 2
    assert "https://www.cityscapes-dataset.com" in out
    assert "own account" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [[], ["gtFine"]])
def test_empty_or_wrong_folder_is_one_line(capsys, tmp_path, make):
    for name in make:
        (tmp_path / name).mkdir()
    code, _, err = run_tool(capsys, TOOL, "--root", tmp_path)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: ")

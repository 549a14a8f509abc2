"""The command line that predicts images."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg import cli, predict
from semiseg.checkpoints import io as checkpoint_io
from semiseg.config import load
from semiseg.data import build as data_build
from semiseg.engine import build


def run(ready, *options):
    path, overrides, _ = ready
    return cli.run(predict.main, ["--config", str(path), *(str(option) for option in options), *overrides])


@pytest.fixture
def photos(tmp_path):
    """A folder with a photograph, a gray scan, one that was taken upright, and a file that is no image."""
    folder = tmp_path / "my photos"
    (folder / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.jpg")
    Image.fromarray(pixels[:, :, 0]).save(folder / "deep/gray.png")
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    turned.save(folder / "turned.png", exif=exif)
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:400])
    return folder


def test_bad_files_are_left_out_and_named_and_the_rest_is_predicted(ready, photos, tmp_path, capsys):
    assert run(ready, photos, "--out", tmp_path / "out", "--probabilities") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f"3 of 4 images predicted: {tmp_path / 'out'}"
    assert f"1 could not be read and were left out: {photos / 'broken.jpg'}" in err
    written = sorted(p.relative_to(tmp_path / "out/index").as_posix() for p in (tmp_path / "out/index").rglob("*.png"))
    assert written == ["a.png", "deep/gray.png", "turned.png"]
    with Image.open(tmp_path / "out/index/turned.png") as upright:
        assert upright.size == (40, 60)
    with Image.open(tmp_path / "out/index/a.png") as index, np.load(tmp_path / "out/probabilities/a.npz") as packed:
        found = packed["probabilities"].astype(float)
        chosen = np.take_along_axis(found, np.asarray(index)[None].astype(int), 0)[0]
        assert (found.max(0) - chosen).max() < 2e-3  # half precision leaves ties
    assert not (tmp_path / "out/probabilities/broken.npz").exists()


def test_a_malformed_exif_block_and_a_picture_of_one_pixel_are_predicted(ready, tmp_path, capsys):
    folder = tmp_path / "odd"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "exif.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    Image.fromarray(pixels[:1, :1]).save(folder / "dot.png")
    Image.fromarray(pixels[:1]).save(folder / "line.png")
    for number, options in enumerate(([], ["--long-side", 1], ["evaluation.scales=[0.25, 1.0]"])):
        assert run(ready, folder, "--out", tmp_path / f"out{number}", *options) == 0
        lines = (tmp_path / f"out{number}/shares.csv").read_text().splitlines()[1:]
        assert [line.split(",")[:3] for line in lines] == [["dot", "1", "1"], ["exif", "60", "40"], ["line", "60", "1"]]


def test_single_images_and_a_named_checkpoint(ready, photos, tmp_path, capsys):
    elsewhere = ready[2].rename(tmp_path / "mine.ckpt")
    assert run(ready, photos / "a.jpg", photos / "deep", "--out", tmp_path / "out", "--checkpoint", elsewhere) == 0
    assert not (tmp_path / "out/probabilities").exists()
    lines = (tmp_path / "out/shares.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["image", "a", "gray"]
    assert sum(map(float, lines[1].split(",")[3:])) == pytest.approx(100, abs=1e-3)


def test_results_that_are_there_are_kept_unless_asked_otherwise(ready, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(ready, photos / "a.jpg", "--out", out) == 0
    (out / "mine.txt").write_text("keep")
    (out / "index/a.png").write_bytes(b"old")
    assert run(ready, photos / "a.jpg", "--out", out) == 2
    assert (out / "index/a.png").read_bytes() == b"old"
    assert "--overwrite" in capsys.readouterr().err
    assert run(ready, photos / "a.jpg", "--out", out, "--overwrite") == 0
    assert (out / "index/a.png").read_bytes() != b"old"
    assert (out / "mine.txt").read_text() == "keep"


def test_results_may_lie_below_the_images_and_are_no_images_the_next_time(ready, photos, tmp_path, capsys):
    (photos / "broken.jpg").unlink()
    out = photos / "results"
    assert run(ready, photos, "--out", out) == 0
    (out / "index/a.png").unlink()
    assert run(ready, photos, "--out", out, "--overwrite") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"3 of 3 images predicted: {out}"
    assert (out / "index/a.png").is_file()


def test_input_that_cannot_work_is_one_line_and_writes_nothing(ready, photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    config, _ = data_build.complete(load(ready[0], [*ready[1], "dataset.type=pascal"]))
    other = tmp_path / "other.ckpt"
    checkpoint_io.save(other, checkpoint_io.network_arrays(build.fresh_network(config, 0)), {"step": 1})
    for options, message in (
        ([photos / "gone.jpg"], "no such image or folder"),
        ([tmp_path / "empty"], "no image in this folder"),
        ([photos, "--long-side", "0"], "--long-side"),
        ([photos, "--whole-up-to", "nan"], "--whole-up-to"),
        ([photos, "--whole-up-to", "inf"], "--whole-up-to"),
        (["trainer.seed=1"], "no image or folder named"),
        ([], "no image or folder named"),
        ([photos, "--format", "cocoa"], "--format: no such format 'cocoa'; did you mean 'coco'?"),
        ([photos, "--uncertain", "0"], "--uncertain: expected at least 1 image, got 0"),
        ([photos, "--rank-by", "entropy"], "belongs to --uncertain"),
        ([photos, "--checkpoint", tmp_path / "gone.ckpt"], "no such checkpoint"),
        ([photos, "--checkpoint", other], "21"),
    ):
        assert run(ready, *options, "--out", out) == 2, options
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert message in err
        table = [line for line in err.splitlines() if line.startswith("  ")]  # of the checkpoint of other classes
        assert err.count("\n") == 1 + len(table)
        assert not out.exists()


def test_annotations_hold_what_the_index_pictures_hold(ready, photos, tmp_path, capsys):
    (photos / "broken.jpg").unlink()
    out = tmp_path / "out"
    assert run(ready, photos, "--out", out, "--format", "coco,labelme,png") == 0
    coco = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a.jpg", "deep/gray.png", "turned.png"]
    for image in coco["images"]:
        name = image["file_name"].rpartition(".")[0]
        with Image.open(out / f"index/{name}.png") as picture:
            index = np.asarray(picture)
        assert index.shape == (image["height"], image["width"])  # upright
        found = np.zeros(index.size, np.uint8)
        for annotation in coco["annotations"]:
            if annotation["image_id"] == image["id"]:
                ends = np.cumsum(annotation["segmentation"]["counts"])
                for start, stop in zip(ends[::2], ends[1::2], strict=False):
                    found[start:stop] = annotation["category_id"] - 1
        assert np.array_equal(found.reshape(index.shape[::-1]).T, index)
        labelme = json.loads((out / f"labelme/{name}.json").read_text())
        assert (labelme["imageHeight"], labelme["imageWidth"]) == index.shape
        assert ((out / f"labelme/{name}.json").parent / labelme["imagePath"]).resolve() == photos / image["file_name"]
    assert run(ready, photos, "--out", tmp_path / "coco alone", "--format", "coco") == 0
    assert {path.name for path in (tmp_path / "coco alone").iterdir()} == {"coco.json", "shares.csv", "classes.csv"}


def mean_entropies(ready, names, out):
    """By probabilities as they are written, in half precision."""
    found = {}
    for name in names:
        with np.load(out / f"probabilities/{name}.npz") as packed:
            p = packed["probabilities"].astype(float)
        found[name] = -(p * np.log(np.maximum(p, 1e-12))).sum(0).mean()
    return found


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_least_sure_images_are_listed_drawn_and_alone_written(ready, photos, tmp_path, capsys):
    Image.new("RGB", (50, 50)).save(photos / "black.png")
    out, every = tmp_path / "out", tmp_path / "every"
    assert run(ready, photos, "--out", every, "--probabilities") == 1
    entropies = mean_entropies(ready, ("a", "black", "deep/gray", "turned"), every)
    ranked = sorted(entropies, key=entropies.get, reverse=True)
    capsys.readouterr()
    assert run(ready, photos, "--out", out, "--uncertain", 2, "--format", "labelme") == 1
    printed, err = capsys.readouterr()
    lines = table(out / "uncertain.csv")
    assert [line["image"] for line in lines] == ranked[:2]
    for rank, line in enumerate(lines, 1):
        assert int(line["rank"]) == rank
        assert float(line["entropy"]) == pytest.approx(entropies[line["image"]], abs=5e-3)
        assert 0 <= float(line["disagreement"]) <= 1
        assert Path(line["path"]).is_file()
        with Image.open(out / "uncertain" / line["picture"]) as picture, Image.open(line["path"]) as image:
            assert picture.height == max(image.size if "turned" in line["path"] else image.size[1:]) + 4
    assert printed.splitlines()[-1] == f"4 of 5 images looked through, 2 listed in uncertain.csv: {out}"
    assert f"  1  {ranked[0]}: entropy {float(lines[0]['entropy']):.3f}, the heads differ on" in printed
    assert err.count("broken.jpg") == 2
    written = {path.relative_to(out / "labelme").as_posix() for path in (out / "labelme").rglob("*.json")}
    assert written == {f"{name}.json" for name in ranked[:2]}
    assert not (out / "index").exists()


def test_without_an_image_the_unlabelled_list_is_looked_through(ready, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(ready, "--out", out, "--uncertain", 9, "--rank-by", "disagreement") == 0
    lines = table(out / "uncertain.csv")
    assert sorted(line["image"] for line in lines) == [f"unlabeled_{number:03}" for number in range(6)]
    differing = [float(line["disagreement"]) for line in lines]
    assert differing == sorted(differing, reverse=True)
    assert differing[0] > 0
    assert {path.name for path in out.iterdir()} == {"uncertain", "uncertain.csv"}


def test_a_network_of_one_head_has_no_disagreement(tiny_config, tiny_overrides, tmp_path, capsys):
    path, overrides = tiny_config("mean_teacher"), [text for text in tiny_overrides if "proto_head" not in text]
    config, _ = data_build.complete(load(path, overrides))
    best = tmp_path / "run/checkpoints/best.ckpt"
    checkpoint_io.save(best, checkpoint_io.network_arrays(build.fresh_network(config, seed=3)), {"step": 1})
    ready, out = (path, overrides, best), tmp_path / "out"
    assert run(ready, "--out", out, "--uncertain", 2, "--rank-by", "disagreement") == 2
    assert "--rank-by entropy" in capsys.readouterr().err
    assert run(ready, "--out", out, "--uncertain", 2) == 0
    assert {line["disagreement"] for line in table(out / "uncertain.csv")} == {""}


def test_a_path_with_an_equals_sign_is_a_path_where_it_exists(ready, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (photos / "a.jpg").rename("a=b.jpg")
    args = predict.parse(["--config", "c", "--out", "o", "a=b.jpg", "trainer.seed=1", "c=d.jpg"])
    assert [str(path) for path in args.inputs] == ["a=b.jpg"]
    assert args.overrides == ["trainer.seed=1", "c=d.jpg"]

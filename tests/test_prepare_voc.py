"""``semiseg prepare-voc`` on small look-alikes of VOC and SBD."""

import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from tool import run_tool, snapshot

from semiseg.common.errors import DataError
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.specs import SPECS
from semiseg.data.splits import read_list
from semiseg.prepare import archives, prepare_voc

TOOL = prepare_voc
SIZE = (24, 30)
PALETTE = SPECS["pascal"].full_palette()


def labels_of(name, seed=0):
    """A mask that depends on the name: blocks of classes, with ignored pixels."""
    rng = np.random.default_rng([seed, *name.encode()])
    mask = np.kron(rng.integers(0, 21, (4, 5)), np.ones((6, 6), int)).astype(np.uint8)
    mask[0, :7] = 255
    return mask


def save_indexed(path, labels, palette=PALETTE):
    picture = Image.fromarray(labels)
    picture.putpalette(palette.ravel().tolist())
    picture.save(path)


def save_mat(path, labels):
    """As in SBD: a struct GTcls with boundaries, present categories and the picture."""
    savemat(path, {"GTcls": {"Boundaries": 0, "Segmentation": labels, "CategoriesPresent": np.unique(labels)}})


@pytest.fixture
def devkit(tmp_path):
    """VOC: train a b, val v (VOC's masks); SBD: a (another mask), s, t. Folder names hold a space."""
    root = tmp_path / "my data" / "VOCdevkit" / "VOC2012"
    cls = tmp_path / "my data" / "benchmark_RELEASE" / "dataset" / "cls"
    for folder in (root / "JPEGImages", root / "SegmentationClass", root / "ImageSets" / "Segmentation", cls):
        folder.mkdir(parents=True)
    for name in "abvst":
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / f"JPEGImages/{name}.jpg")
    for name in "abv":
        save_indexed(root / f"SegmentationClass/{name}.png", labels_of(name))
    for name in "ast":
        mask = labels_of(name, seed=1)
        mask[mask == 255] = 0
        save_mat(cls / f"{name}.mat", mask)
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("v\n")
    return tmp_path / "my data"


def arguments(devkit, *more):
    return ("--voc", devkit / "VOCdevkit", "--sbd", devkit / "benchmark_RELEASE", "--workers", 2, *more)


def mask_at(devkit, name, folder="SegmentationClassAug"):
    with Image.open(devkit / "VOCdevkit/VOC2012" / folder / f"{name}.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette("RGB")[: 21 * 3] == PALETTE[:21].ravel().tolist()
        return np.asarray(picture)


def test_masks_of_voc_win_over_sbd_and_originals_stay(capsys, devkit):
    before = snapshot(devkit)
    code, out, _ = run_tool(capsys, TOOL, *arguments(devkit))
    assert code == 0
    assert "5 masks written, 0 right already, 0 problems" in out
    for name in "abv":
        assert np.array_equal(mask_at(devkit, name), labels_of(name))
    for name in "st":
        expected = labels_of(name, seed=1)
        expected[expected == 255] = 0
        assert np.array_equal(mask_at(devkit, name), expected)
    after = snapshot(devkit)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 5


def test_result_is_what_training_reads(capsys, devkit):
    run_tool(capsys, TOOL, *arguments(devkit))
    part = SegmentationDataset(SPECS["pascal"], devkit / "VOCdevkit/VOC2012", list("abvst"))
    assert part.presence().missing == []
    assert all(part.read(i)[1].shape == SIZE for i in range(5))


def test_second_run_writes_nothing_and_a_stopped_one_goes_on(capsys, devkit):
    run_tool(capsys, TOOL, *arguments(devkit))
    before = snapshot(devkit)
    code, out, _ = run_tool(capsys, TOOL, *arguments(devkit))
    assert (code, snapshot(devkit)) == (0, before)
    assert "0 masks written, 5 right already" in out
    (devkit / "VOCdevkit/VOC2012/SegmentationClassAug/s.png").unlink()
    assert "1 masks written, 4 right already" in run_tool(capsys, TOOL, *arguments(devkit))[1]


def test_counts_say_what_is_missing_and_where_it_is(capsys, devkit):
    out = run_tool(capsys, TOOL, "--voc", devkit / "VOCdevkit/VOC2012")[1]
    assert "2 of 1,464 (train) and 1 of 1,449 (val)" in out
    assert archives.VOC.url in out
    assert "train_aug has 2 of 10,582 masks" in out
    assert archives.SBD.url in out
    assert "--sbd" in out
    assert run_tool(capsys, TOOL, *arguments(devkit, "--strict"))[0] == 1


def test_complete_counts_are_recognised():
    train, val = [f"t{i}" for i in range(1464)], [f"v{i}" for i in range(1449)]
    masks = {*train, *val, *(f"s{i}" for i in range(12_031 - 1464 - 1449))}
    assert TOOL.what_is_missing(masks, train, val, True) == []
    assert len(TOOL.what_is_missing(masks - {"s0"}, train, val, True)) == 1
    assert len(TOOL.what_is_missing(masks - {"v0"}, train, val, True)) == 1


@pytest.mark.parametrize("kind", ["rgb", "rgba", "other palette"])
def test_masks_in_colors_become_indices(capsys, devkit, kind):
    labels = labels_of("b")
    path = devkit / "VOCdevkit/VOC2012/SegmentationClass/b.png"
    colors = Image.fromarray(PALETTE[labels])
    if kind == "other palette":  # as image editors save it: the same colours under other numbers
        used = np.unique(labels)
        shuffled = np.roll(used, 1)
        table = np.zeros(256, np.uint8)
        table[used] = np.arange(len(used))
        palette = np.zeros((256, 3), np.uint8)
        order = np.argsort(shuffled)
        palette[order] = PALETTE[np.sort(shuffled)]
        save_indexed(path, order.astype(np.uint8)[table[labels]], palette)
    else:
        colors.convert(kind.upper()).save(path)
    assert run_tool(capsys, TOOL, *arguments(devkit))[0] == 0
    assert np.array_equal(mask_at(devkit, "b"), labels)


def test_own_masks_in_colors_fill_the_gaps(capsys, devkit):
    own = devkit / "colored"
    own.mkdir()
    for name in "st":
        Image.fromarray(PALETTE[labels_of(name)]).save(own / f"{name}.png")
    code, _, _ = run_tool(capsys, TOOL, "--voc", devkit / "VOCdevkit", "--masks", own, "--out", devkit / "new")
    assert code == 0
    assert sorted(p.name for p in (devkit / "new").iterdir()) == ["a.png", "b.png", "s.png", "t.png", "v.png"]
    with Image.open(devkit / "new/s.png") as picture:
        assert np.array_equal(np.asarray(picture), labels_of("s"))


@pytest.mark.parametrize("kind", ["other labels", "colors", "cut off"])
def test_another_mask_in_the_place_is_kept_and_named(capsys, devkit, kind):
    target = devkit / "VOCdevkit/VOC2012/SegmentationClassAug/b.png"
    target.parent.mkdir()
    if kind == "other labels":
        save_indexed(target, labels_of("b", seed=7))
    elif kind == "colors":
        Image.fromarray(PALETTE[labels_of("b")]).save(target)
    else:
        save_indexed(target, labels_of("b"))
        target.write_bytes(target.read_bytes()[:-40])
    before = target.read_bytes()
    code, out, _ = run_tool(capsys, TOOL, *arguments(devkit))
    assert (code, target.read_bytes()) == (1, before)
    assert f"problem: {target}: " in out
    assert run_tool(capsys, TOOL, *arguments(devkit, "--overwrite"))[0] == 0
    assert np.array_equal(mask_at(devkit, "b"), labels_of("b"))


@pytest.mark.parametrize("kind", ["cut off mat", "no mat", "wrong values", "other size", "no image", "cut off png"])
def test_damaged_files_are_named_and_the_others_are_made(capsys, devkit, kind):
    cls = devkit / "benchmark_RELEASE/dataset/cls"
    named = cls / "s.mat"
    if kind == "cut off mat":
        named.write_bytes(named.read_bytes()[:-50])
    elif kind == "no mat":
        named.write_text("<html>not found</html>")
    elif kind == "wrong values":
        save_mat(named, np.full(SIZE, 40, np.uint8))
    elif kind == "other size":
        save_mat(named, np.zeros((5, 5), np.uint8))
    elif kind == "no image":
        named = devkit / "VOCdevkit/VOC2012/JPEGImages/s.jpg"
        named.unlink()
    else:
        named = devkit / "VOCdevkit/VOC2012/SegmentationClass/b.png"
        named.write_bytes(named.read_bytes()[:-40])
    code, out, _ = run_tool(capsys, TOOL, *arguments(devkit))
    assert code == 1
    assert f"problem: {named}: " in out
    assert "4 masks written, 0 right already, 1 problems" in out


def test_lists_that_voc_holds_are_written(capsys, devkit):
    splits = devkit / "splits"
    assert run_tool(capsys, TOOL, *arguments(devkit, "--splits", splits))[0] == 0
    assert read_list(splits / "val.txt") == ["v"]
    assert read_list(splits / "1464/labeled.txt") == ["a", "b"]
    assert read_list(splits / "1464/unlabeled.txt") == ["s", "t"]
    (splits / "1464/labeled.txt").write_bytes(b"b\r\na")  # the same ids, as somebody else wrote them
    assert run_tool(capsys, TOOL, *arguments(devkit, "--splits", splits))[0] == 0
    assert (splits / "1464/labeled.txt").read_bytes() == b"b\r\na"
    (splits / "val.txt").write_text("a\nb\n")
    code, _, err = run_tool(capsys, TOOL, *arguments(devkit, "--splits", splits))
    assert code == 2
    assert f"{splits / 'val.txt'}: holds 2 ids, VOC's folder gives 1" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--voc", "nowhere"], "no VOC2012 here"),
        (["--sbd", "nowhere"], "no SBD here"),
        (["--masks", "nowhere"], "no such folder of masks"),
        (["--out", "VOCdevkit/VOC2012/SegmentationClass"], "originals stay as they are"),
    ],
)
def test_wrong_folders_are_one_line(capsys, devkit, more, message):
    more = [more[0], devkit / more[1]]
    before = snapshot(devkit)
    code, _, err = run_tool(capsys, TOOL, *arguments(devkit), *more)
    assert (code, len(err.splitlines())) == (2, 1)
    assert err.startswith("error: ")
    assert message in err
    assert snapshot(devkit) == before


def test_nothing_to_convert_says_where_masks_come_from(capsys, devkit):
    for path in (devkit / "VOCdevkit/VOC2012/SegmentationClass").iterdir():
        path.unlink()
    code, _, err = run_tool(capsys, TOOL, "--voc", devkit / "VOCdevkit")
    assert code == 2
    assert archives.VOC.url in err
    assert archives.SBD.url in err


# ---- --download


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder and answers Range requests; says nothing."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        begin = self.headers.get("Range", "")
        if not begin:
            return super().do_GET()
        start = int(begin.removeprefix("bytes=").rstrip("-"))
        content = Path(self.translate_path(self.path)).read_bytes()[start:]
        self.server.ranges.append(start)
        self.send_response(206 if content else 416)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None


@pytest.fixture
def archive_server(monkeypatch, tmp_path, devkit):
    """Both archives, made of the look-alikes, on a local server that stands for the official ones."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    server.ranges = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    for key, name, content in (("VOC", "voc.tar", "VOCdevkit"), ("SBD", "sbd.tgz", "benchmark_RELEASE")):
        path = folder / name
        with tarfile.open(path, "w:gz" if name.endswith("tgz") else "w") as archive:
            archive.add(devkit / content, arcname=content)
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        monkeypatch.setattr(archives, key, archives.Archive(url, md5, "small"))
    server.folder = folder
    yield server
    server.shutdown()
    server.server_close()


def test_download_needs_consent_and_shows_the_terms(capsys, archive_server, tmp_path):
    code, out, err = run_tool(capsys, TOOL, "--download", tmp_path / "new")
    assert code == 2
    assert "--accept-terms" in err
    assert archives.VOC.url in out
    assert "under their terms" in out
    assert not (tmp_path / "new").exists()


def test_download_goes_on_where_it_stopped_and_touches_nothing(capsys, archive_server, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    whole = (archive_server.folder / "voc.tar").read_bytes()
    (new / "voc.tar.part").write_bytes(whole[:5000])
    (new / "VOCdevkit/VOC2012/JPEGImages").mkdir(parents=True)
    own = new / "VOCdevkit/VOC2012/JPEGImages/a.jpg"
    own.write_bytes((tmp_path / "my data/VOCdevkit/VOC2012/JPEGImages/b.jpg").read_bytes() + b"own")
    before = own.read_bytes()
    code, out, _ = run_tool(capsys, TOOL, "--download", new, "--accept-terms")
    assert code == 0, out
    assert "5 masks written" in out
    assert archive_server.ranges == [5000]
    assert (new / "voc.tar").read_bytes() == whole
    assert own.read_bytes() == before


def test_an_archive_that_reaches_outside_its_folder_or_breaks_off_leaves_no_file_half_written(tmp_path):
    content, folder = np.random.default_rng(0).bytes(1 << 16), tmp_path / "new"
    for name, kept in (("../outside.jpg", 1.0), ("inside.jpg", 0.5)):
        path = tmp_path / "a.tgz"
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        with pytest.raises(DataError, match=r"a\.tgz: (would write outside|cannot be unpacked into)"):
            archives.unpack(path, folder)
        assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.tgz"]


def test_wrong_bytes_and_no_network_are_one_line(capsys, archive_server, monkeypatch, tmp_path):
    (archive_server.folder / "voc.tar").write_bytes(b"<html>")
    code, _, err = run_tool(capsys, TOOL, "--download", tmp_path / "new", "--accept-terms")
    assert code == 2
    assert "MD5" in err
    assert not (tmp_path / "new/voc.tar").exists()
    nobody = archives.Archive("http://127.0.0.1:9/voc.tar", "0" * 32, "small")
    monkeypatch.setattr(archives, "VOC", nobody)
    code, _, err = run_tool(capsys, TOOL, "--download", tmp_path / "other", "--accept-terms")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "cannot be fetched" in err

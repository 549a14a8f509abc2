"""Scoring says which of the scored images the run learnt from."""

import re
import shutil

from runs import write_run

from semiseg import cli, evaluate
from semiseg.config import load


def notes_of(capsys, path, overrides, *options):
    """What is said of images that the run learnt from."""
    capsys.readouterr()
    assert cli.run(evaluate.main, ["--config", str(path), *options, *overrides]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if "learnt from" in line]


def test_scored_images_that_the_run_learnt_from_are_counted(ready, tmp_path, monkeypatch, capsys):
    path, overrides, best = ready
    data = tmp_path / "data"
    shutil.copytree(load(path, overrides).dataset.data_root, data)
    masks = data / "SegmentationClassAug"
    overrides = [*overrides, f"dataset.data_root={data}"]
    lists = write_run((path, overrides, best)) / "lists"
    assert notes_of(capsys, path, overrides) == []
    both = tmp_path / "both.txt"
    names = {name: (lists / f"{name}.txt").read_text().splitlines() for name in ("labeled", "unlabeled", "val")}
    shutil.copyfile(masks / f"{names['labeled'][0]}.png", masks / f"{names['unlabeled'][0]}.png")
    both.write_text("\n".join([*names["labeled"][:2], *names["unlabeled"][:1], *names["val"]]))
    scored = [*overrides, f"dataset.val.data_list={both}"]
    (note,) = notes_of(capsys, path, scored)
    assert note.startswith("note: the run learnt from 3 of the 6 images that are scored (2 labelled, 1 unlabelled; ")
    monkeypatch.chdir(best.parent)
    assert len(notes_of(capsys, path, scored, "--checkpoint", "best.ckpt")) == 1
    shutil.copyfile(best, tmp_path / "alone.ckpt")
    assert notes_of(capsys, path, scored, "--checkpoint", str(tmp_path / "alone.ckpt")) == []
    (lists / "unlabeled.txt").unlink()
    assert notes_of(capsys, path, scored) == []


def test_images_of_other_data_with_the_same_ids_are_not_ones_that_the_run_learnt_from(ready, tmp_path, capsys):
    path, overrides, _ = ready
    folder = write_run(ready)
    scored = [*overrides, f"dataset.val.data_list={folder / 'lists/labeled.txt'}"]
    other = tmp_path / "other"
    shutil.copytree(load(path, overrides).dataset.data_root, other)
    assert notes_of(capsys, path, [*scored, f"dataset.data_root={other}"]) == []
    written = folder / "config.resolved.yaml"  # the run's data are gone from where they were
    written.write_text(re.sub(r"(?m)^(  data_root): .*$", r"\1: /not/here", written.read_text()))
    (note,) = notes_of(capsys, path, [*scored, f"dataset.data_root={other}"])
    assert "from 4 of the 4 images that are scored (4 labelled; " in note

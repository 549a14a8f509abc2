"""tools/compare.py: what it makes of finished runs, what it skips, and one run for real."""

import csv
import hashlib
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY_NET
from tool import load_tool

from semiseg import cli
from semiseg.common.errors import ConfigError
from semiseg.config import load
from semiseg.config.loading import dump
from semiseg.data import truth
from semiseg.data.build import complete
from semiseg.data.lists import read_split, save_lists
from semiseg.reporting.comparison_runs import common_methods, run_all, shares_of_cores

TOOL = ROOT / "tools" / "compare.py"
CLASSES = ["background", "disk", "ring", "triangle", "cross", "bar"]


@pytest.fixture
def compare(capsys):
    """Calls the tool in this process; returncode, stdout and stderr."""
    tool = load_tool("compare")

    def run(*arguments):
        capsys.readouterr()
        code = cli.run(tool.main, list(map(str, arguments)))
        return SimpleNamespace(returncode=code, **dict(zip(("stdout", "stderr"), capsys.readouterr(), strict=True)))

    return run


def finished(out, split, method, seed, miou, proto=None, image_counts=None):
    """A scores.json whose per-class IoU are miou, and 10 points less for the two rarest classes."""
    path = out / "synthetic" / f"{split}_s{seed}" / method / "scores.json"
    path.parent.mkdir(parents=True)
    iou = dict(zip(CLASSES, [miou] * 4 + [miou - 10] * 2, strict=True))
    pixels = dict(zip(CLASSES, [900, 50, 40, 30, 5, 2], strict=True))
    scores = {"miou": miou, "proto_miou": proto, "iou": iou, "label_pixels": pixels}
    path.write_text(json.dumps(scores | ({"image_counts": image_counts} if image_counts else {})))


@pytest.fixture
def runs(tmp_path):
    for seed, (base, ours) in enumerate([(60.0, 66.0), (62.0, 64.0)]):
        finished(tmp_path, "16", "suponly", seed, base)
        finished(tmp_path, "16", "ours", seed, ours, ours + 1)
    finished(tmp_path, "32", "suponly", 0, 70.0)
    return tmp_path


def test_finished_runs_become_a_table_a_csv_and_a_chart(compare, runs):
    done = compare("--collect", "--out", runs, "--splits", 16, 32, "--methods", "suponly", "ours", "--seeds", 2)
    assert done.returncode == 0, done.stderr
    assert "| 16 | suponly | 60.0 | 62.0 | 61.0 | 1.4 | - | - | 51.0 |" in done.stdout
    assert "| 16 | ours | 66.0 | 64.0 | 65.0 | 1.4 | +4.0 | 66.0 | 55.0 |" in done.stdout
    assert "| 32 | suponly | 70.0 | not run | 70.0 | 0.0 | - | - | 60.0 |" in done.stdout
    assert "5 of 8 runs" in done.stdout
    rows = list(csv.DictReader((runs / "synthetic.csv").read_text().splitlines()))
    assert [row["miou"] for row in rows if row["method"] == "ours"] == ["66.0000", "64.0000"]
    assert rows[0]["proto_miou"] == rows[0]["checkpoint_sha256"] == ""
    ours = next(row for row in rows if row["method"] == "ours")
    assert (ours["seed"], ours["disk"], ours["bar"]) == ("0", "66.0000", "56.0000")
    with Image.open(runs / "synthetic.png") as picture:
        assert min(picture.size) > 300
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20


def test_the_csv_says_which_checkpoint_was_scored(compare, runs):
    scores, checkpoint = runs / "synthetic/16_s1/ours/scores.json", runs / "moved best.ckpt"
    checkpoint.write_bytes(b"weights")
    scores.write_text(json.dumps(json.loads(scores.read_text()) | {"checkpoint": str(checkpoint)}))
    assert compare("--collect", "--out", runs, "--seeds", 2, "--methods", "ours").returncode == 0
    rows = list(csv.DictReader((runs / "synthetic.csv").read_text().splitlines()))
    assert [row["checkpoint_sha256"] for row in rows] == ["", hashlib.sha256(b"weights").hexdigest()]


def test_differences_to_the_baselines_have_intervals_where_counts_by_image_are_there(compare, tmp_path):
    rng = np.random.default_rng(0)
    for method, miou in (("suponly", 60.0), ("mean_teacher", 64.0), ("ours", 66.0)):
        for seed in range(2):
            labelled = np.full(6, 100)
            hit = np.round(miou + rng.normal(0, 2, (9, 6))).astype(int)
            rows = {f"i{n}": [row.tolist(), labelled.tolist(), labelled.tolist()] for n, row in enumerate(hit)}
            finished(tmp_path, "16", method, seed, miou + seed, image_counts=rows)
    arguments = ["--collect", "--out", tmp_path, "--seeds", 2, "--methods", "suponly", "mean_teacher", "ours"]
    lines = compare(*arguments).stdout.splitlines()
    differences = [line for line in lines if line.startswith("16: ")]
    assert [line.partition(", 95% interval")[0] for line in differences] == [
        "16: mean_teacher - suponly (seeds 0, 1): +4.00",
        "16: ours - suponly (seeds 0, 1): +6.00",
        "16: ours - mean_teacher (seeds 0, 1): +2.00",
    ]
    finished(tmp_path, "32", "suponly", 0, 70.0)  # scored by an earlier version
    assert not any(line.startswith("32: ") for line in compare(*arguments, "--splits", 32).stdout.splitlines())


def test_a_class_that_no_scored_mask_shows_is_not_among_the_rare(compare, runs):
    path = runs / "synthetic/16_s0/ours/scores.json"
    scores = json.loads(path.read_text())
    scores["iou"]["bar"], scores["label_pixels"]["bar"] = 0.0, 0
    path.write_text(json.dumps(scores))
    done = compare("--collect", "--out", runs, "--seeds", 1, "--methods", "ours")
    assert "| 16 | ours | 66.0 | 66.0 | 0.0 | - | 67.0 | 56.0 |" in done.stdout


def test_the_gain_is_over_common_seeds(compare, runs):
    finished(runs, "32", "ours", 1, 99.0)
    done = compare("--collect", "--out", runs, "--splits", 32, "--methods", "suponly", "ours", "--seeds", 2)
    assert "| 32 | ours | not run | 99.0 | 99.0 | 0.0 | - | - | 89.0 |" in done.stdout


def test_nothing_finished_is_said(compare, tmp_path):
    done = compare("--collect", "--out", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no finished run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--splits", "17"], "experiments/synthetic/17: no experiment there"),
        (["--methods", "our"], "experiments/synthetic/16/our: no such experiment; there: ael, "),
        (["--seeds", "0"], "--seeds and --jobs: expected 1 or more"),
        (["--variant", "strong", "ours"], "--variant strong ours: expected a name of letters"),
        (["--variant", "a/b", "ours", "a.b=1"], "--variant a/b ours a.b=1: expected a name of letters"),
        (["--variant", "strong", "our", "a.b=1"], "experiments/synthetic/16/our: no such experiment"),
        (["--methods", "suponly", "--variant", "ours", "ours", "a.b=1"], "--variant ours: there is a row or a method"),
        (
            ["--variant", "strong", "ours", "a.b=1", "--variant", "strong", "ours", "a.b=2"],
            "--variant strong: there is a row or a method",
        ),
    ],
)
def test_what_is_not_there_is_named(compare, arguments, message):
    done = compare("--collect", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


DATA_SETS = sorted({path.parents[2] for path in (ROOT / "experiments").glob("*/*/*/config.yaml")})


@pytest.mark.parametrize("folder", DATA_SETS, ids=lambda folder: folder.name)
def test_every_data_set_can_be_compared(folder, tmp_path):
    tool = load_tool("compare")
    splits = sorted(path.name for path in folder.iterdir() if path.is_dir())
    args = tool.parse(["--dataset", folder.name, "--splits", *splits, "--seeds", "2", "--out", str(tmp_path), "a.b=c"])
    args.score_with = ["d.e=f"]
    jobs = tool.plan(args)
    assert {job.leaf for job in jobs} <= {path.parent for path in folder.glob("*/*/config.yaml")}
    assert {(job.split, job.seed) for job in jobs} == {(split, seed) for split in splits for seed in (0, 1)}
    assert len({job.folder for job in jobs}) == len(jobs)
    assert {(job.overrides, job.scoring) for job in jobs} == {(("a.b=c",), ("d.e=f",))}
    job = jobs[-1]
    assert job.scores == tmp_path / folder.name / f"{job.split}_s1" / job.method / "scores.json"


@pytest.mark.parametrize(
    ("cores", "shares", "expected"),
    [({0, 1}, 2, ["0", "1"]), ({2, 5, 7, 9, 11}, 2, ["2,5", "7,9"]), ({0}, 2, ["", ""]), ({0, 1, 2}, 1, [""])],
)
def test_runs_side_by_side_have_cores_of_their_own(monkeypatch, cores, shares, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: cores)
    assert shares_of_cores(shares) == expected


def test_a_core_is_given_back_when_a_run_ends(monkeypatch):
    monkeypatch.setattr("semiseg.reporting.comparison_runs.shares_of_cores", lambda shares: ["0", "1"])
    taken = []
    jobs = [SimpleNamespace(run=taken.append) for _ in range(5)]
    assert run_all(jobs, 2) is None
    assert set(taken) <= {"0", "1"}
    assert len(taken) == 5


def jobs_behind_a_failing_one(error):
    def fail(cores):
        raise error

    started = []
    return [SimpleNamespace(run=fail), *(SimpleNamespace(run=started.append) for _ in range(20))], started


def test_no_run_is_started_after_one_has_failed():
    error = subprocess.CalledProcessError(1, "train.sh")
    jobs, started = jobs_behind_a_failing_one(error)
    assert run_all(jobs, 1) is error
    assert started == []


def test_no_run_is_started_after_one_whose_configuration_is_wrong():
    jobs, started = jobs_behind_a_failing_one(ConfigError("no such key"))
    with pytest.raises(ConfigError, match="no such key"):
        run_all(jobs, 1)
    assert started == []


def test_methods_of_ones_own_follow_the_known_ones(tmp_path):
    for method in ("zebra", "ours", "mine", "suponly"):
        (tmp_path / "7" / method).mkdir(parents=True)
        (tmp_path / "7" / method / "config.yaml").touch()
    assert common_methods(tmp_path, ["7"], None) == ["suponly", "ours", "mine", "zebra"]
    assert common_methods(tmp_path, ["7"], ["zebra", "ours"]) == ["zebra", "ours"]


def test_damaged_scores_are_one_line(compare, runs):
    (runs / "synthetic/16_s0/ours/scores.json").write_text('{"miou": 3}')
    done = compare("--collect", "--out", runs, "--methods", "ours", "--seeds", 1)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "not the scores of a run" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_is_made_once(compare, tmp_path, tiny_data):
    data = [f"dataset.data_root={tiny_data}", f"dataset.splits={tiny_data}/splits", "dataset.split=4"]
    tiny = [*TINY_NET, "dataset.train.crop.size=[33, 33]", "trainer.epochs=1", "trainer.sup_only_epoch=1"]
    arguments = ["--out", tmp_path, "--methods", "suponly", "--seeds", 1, *data, *tiny, "trainer.jit=false"]
    program = [sys.executable, TOOL, *arguments]
    done = subprocess.run(list(map(str, program)), capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, (tmp_path / "synthetic/16_s0/suponly/output.txt").read_text()
    scores = tmp_path / "synthetic/16_s0/suponly/scores.json"
    written = scores.stat().st_mtime_ns
    again = compare(*arguments)
    assert again.stdout == done.stdout
    assert scores.stat().st_mtime_ns == written


def test_a_variant_is_a_row_with_keys_of_its_own(compare, runs):
    finished(runs, "16", "ours+strong", 0, 69.0)
    variant = ["--variant", "ours+strong", "ours", "dataset.train.strong={}"]
    arguments = ["--out", runs, "--methods", "suponly", *variant]
    jobs = load_tool("compare").plan(load_tool("compare").parse([*map(str, arguments), "--seeds", "1", "net.x=1"]))
    assert [(job.method, job.leaf.name, job.overrides) for job in jobs] == [
        ("suponly", "suponly", ("net.x=1",)),
        ("ours+strong", "ours", ("net.x=1", "dataset.train.strong={}")),
    ]
    done = compare("--collect", "--seeds", 1, *arguments)
    assert "| 16 | ours+strong | 69.0 | 69.0 | 0.0 | +9.0 |" in done.stdout


def test_scores_of_other_settings_are_not_taken_for_these(compare, runs):
    made = runs / "synthetic/16_s0/suponly/compare.json"
    made.write_text('{\n "overrides": [\n  "trainer.epochs=30"\n ],\n "scoring": []\n}\n')
    done = compare("--out", runs, "--methods", "suponly", "--seeds", 1, "trainer.epochs=40")
    assert done.returncode == 2
    assert f'{made}: these runs had other settings ({{ "overrides": [ "trainer.epochs=30" ]' in done.stderr
    assert compare("--out", runs, "--methods", "suponly", "--seeds", 1, "trainer.epochs=30").returncode == 0
    made.with_name("scores.json").unlink()  # as if it had failed before its first step
    tool = load_tool("compare")
    arguments = ["trainer.epochs=40", "--out", str(runs), "--methods", "suponly", "--seeds", "1"]
    (job,) = tool.plan(tool.parse(arguments))
    job.check_settings()


@pytest.fixture
def recorded(runs, tiny_data):
    """A finished run with its configuration and lists; (its folder, arguments that name it)."""
    folder = runs / "synthetic/16_s0/suponly"
    keys = [f"dataset.data_root={tiny_data}", f"dataset.splits={tiny_data}/splits", "dataset.split=4"]
    leaf = ROOT / "experiments/synthetic/16/suponly"
    config, spec = complete(load(leaf, [f"saver.main_dir={folder}", "trainer.seed=0", *keys]))
    (folder / "config.resolved.yaml").write_text(dump(config))
    save_lists(folder, read_split(config, spec))
    return folder, ["--out", runs, "--methods", "suponly", "--seeds", 1, *keys]


def test_scores_of_another_recipe_are_not_taken_for_this_one(compare, recorded):
    folder, arguments = recorded
    assert compare(*arguments).returncode == 0
    written = folder / "config.resolved.yaml"
    text = written.read_text()
    written.write_text(text.replace("lr: 0.05", "lr: 0.0625"))
    message = f"{folder}: holds a run of another configuration (trainer.optimizer.kwargs.lr was 0.0625, now"
    done = compare(*arguments)
    assert (done.returncode, message in done.stderr) == (2, True)
    collected = compare("--collect", *arguments)
    assert (collected.returncode, f"note: {message}" in collected.stderr) == (0, True)
    written.write_text(text.replace("batch_size: 4", "batch_size: 2"))
    assert f"{folder}: holds a run of 2 labelled images a step" in compare(*arguments).stderr


def test_scores_of_other_lists_are_not_taken_for_these(compare, recorded):
    folder, arguments = recorded
    listed = folder / "lists/val.txt"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    done = compare(*arguments)
    assert (done.returncode, f"{listed}: this run began with" in done.stderr) == (2, True)


def test_scores_on_other_masks_are_not_taken_for_these(compare, recorded):
    folder, arguments = recorded
    truth.save(folder, {"labeled": [-2, -2, -2, -2]})
    done = compare(*arguments)
    assert done.returncode == 2
    assert f"{folder}: 4 of 4 labeled masks changed since this run began" in done.stderr


def test_scores_of_a_list_that_was_edited_since_are_not_taken_for_these(compare, recorded, tmp_path, tiny_data):
    folder, arguments = recorded
    listed = tmp_path / "test.txt"
    listed.write_text((tiny_data / "splits/val.txt").read_text())
    arguments += ["--score-with", f"dataset.val.data_list={listed}"]
    (job,) = load_tool("compare").plan(load_tool("compare").parse(list(map(str, arguments))))
    job._scored.write_text(job._scored_now())
    assert compare(*arguments).returncode == 0
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    done = compare(*arguments)
    assert (done.returncode, f"{folder / 'scores.json'}: of other images or masks than" in done.stderr) == (2, True)


def test_keys_for_every_run_that_an_option_would_take_for_its_own_are_refused(compare, runs):
    for option in (["--methods", "suponly"], ["--splits", "16"]):
        done = compare("--out", runs, *option, "trainer.epochs=40")
        assert (done.returncode, "key=value for every run stands before the options" in done.stderr) == (2, True)


def test_a_split_named_twice_counts_once(compare, runs):
    done = compare("--collect", "--out", runs, "--splits", 16, 16, "--methods", "suponly", "--seeds", 2)
    assert "2 of 2 runs" in done.stdout


def test_a_time_that_a_full_disk_cut_off_is_no_obstacle(compare, tmp_path, tiny_data):
    folder = tmp_path / "synthetic/16_s0/suponly"
    folder.mkdir(parents=True)
    (folder / "seconds").touch()
    keys = [f"dataset.data_root={tiny_data}", f"dataset.splits={tiny_data}/splits", "dataset.split=none"]
    done = compare("--out", tmp_path, "--methods", "suponly", "suponly", "--seeds", 1, *keys)
    assert done.returncode == 1  # the run itself fails: there is no such split
    assert "suponly" in done.stderr


@pytest.mark.parametrize("key", ["trainer.seed=7", "saver.main_dir=/tmp/x"])
def test_keys_that_are_set_for_each_run_are_refused(compare, tmp_path, key):
    done = compare("--out", tmp_path, "--methods", "suponly", "--seeds", 2, key)
    assert done.returncode == 2
    assert "trainer.seed and saver.main_dir are set for each run" in done.stderr


def test_a_seed_without_a_label_draw_of_its_own_is_refused_where_others_have_one(compare, tmp_path):
    for name in ("16", "16_s1"):
        (tmp_path / "splits" / name).mkdir(parents=True)
    arguments = ["--methods", "suponly", "--out", str(tmp_path), f"dataset.splits={tmp_path}/splits"]
    parsed = load_tool("compare").parse(["--seeds", "2", *arguments])
    assert ["dataset.split=16_s1" in job.keys for job in load_tool("compare").plan(parsed)] == [False, True]
    done = compare("--seeds", 3, *arguments)
    assert done.returncode == 2
    assert "no label draw of seed 2 (there are 2); take --seeds 2" in done.stderr


def test_a_run_that_fails_is_named(compare, tmp_path):
    done = compare("--out", tmp_path, "--methods", "suponly", "--seeds", 1, f"dataset.splits={tmp_path}/none")
    assert done.returncode == 1
    assert "a run failed" in done.stderr
    assert "none" in (tmp_path / "synthetic/16_s0/suponly/output.txt").read_text()

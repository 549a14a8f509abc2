"""Experiment trackers: what they are told, that nothing of theirs stops a run, and the real ones offline."""

import importlib.util
import json
import subprocess
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
from event_files import pictures, scalars
from tiny import ROOT, TINY_NET

from semiseg import cli, train
from semiseg.checkpoints import io as checkpoint_io
from semiseg.common.errors import ConfigError
from semiseg.config import load
from semiseg.engine import trackers
from semiseg.engine.events import Events
from semiseg.engine.plan import make_plan
from semiseg.engine.trackers import TRACKERS, TrackedRun, Tracker, require_package, run_id

CLASSES = ("road", "traffic light")
RECORDS = (
    {"step": 10, "lr": 0.5, "loss": 2.0, "mask_ratio": 0.25, "proto_counts": [1, 2, 5, 0, 0, 0]},
    {"step": 10, "eval": {"miou": 40.0, "iou": [30.0, 50.0]}},
)
PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


class StandIn(ModuleType):
    """What is used of either package; ``fail`` names a call that raises."""

    def __init__(self, name, fail=None, error=RuntimeError):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.calls, self.config, self.settings, self.fail, self.error = [], {}, {}, fail, error
        self.offline, self.sync_dir, self.url = True, "/there", None
        self.Image = lambda picture: ("picture", picture)
        self.Settings = lambda **settings: self.settings.update(settings) or settings

    def _called(self, name, *args):
        self.calls.append((name, *args))
        if self.fail == name:
            raise self.error(f"no {name}\ntoday")

    def init(self, **options):
        self.config = options
        self._called("init")
        return self

    def log(self, values, step):
        self._called("log", values, step)

    def finish(self):
        self._called("finish")

    def logged(self):
        return [(values, step) for name, *rest in self.calls if name == "log" for values, step in [rest]]


@pytest.fixture
def installed(monkeypatch):
    """Puts a stand-in in the place of a package."""

    def install(name, **options):
        module = StandIn(name, **options)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return install


def tracked(folder):
    return TrackedRun(folder, "pascal/183/ours", "abc", {"trainer": {"epochs": 3}}, CLASSES)


def record(recorder):
    for line in RECORDS:
        recorder.numbers(line)
    recorder.scalar("train/images per second", 7.0, 10)
    recorder.picture("images/a", PICTURE, 10)
    recorder.close()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_gets_what_tensorboard_gets(installed, tmp_path, name):
    module, said = installed(name), []
    record(Tracker(name, tracked(tmp_path), said.append))
    record(Events(tmp_path, 0, CLASSES))
    numbers, shown = {}, {}
    for values, step in module.logged():
        for tag, value in values.items():
            (shown if isinstance(value, tuple) else numbers)[tag, step] = value
    as_events = {(tag, step): value for tag, points in scalars(tmp_path / "events").items() for step, value in points}
    assert {(tag.replace(" ", "_"), step): pytest.approx(value) for (tag, step), value in numbers.items()} == as_events
    (picture,) = pictures(tmp_path / "events").values()
    assert list(shown) == [("images/a", 10)]
    assert np.array_equal(shown["images/a", 10][1], picture)
    assert [call[0] for call in module.calls][-1] == "finish"
    assert len(said) == 1
    assert said[0].startswith(f"{name}: ")


def test_each_package_is_told_name_id_folder_and_configuration(installed, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.setenv("SWANLAB_PROJ_NAME", "mine")
    run = tracked(tmp_path)
    for name in TRACKERS:
        module = installed(name)
        Tracker(name, run, lambda line: None).close()
        told = module.config
        assert (told["id"], told["resume"], told["config"]) == ("abc", "allow", run.config)
    # As each package calls these; what it passes to its own settings stays out of the terminal.
    assert (told["name"], told["project"], told["dir"]) == (run.name, "semiseg", tmp_path)
    assert module.settings["console"] == "off"
    other = sys.modules["swanlab"]
    assert (other.config["experiment_name"], other.config["project"]) == (run.name, "mine")
    assert other.config["logdir"] == str(tmp_path / "swanlog")


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, OSError])
@pytest.mark.parametrize("fail", ["init", "log", "finish"])
@pytest.mark.parametrize("name", TRACKERS)
def test_whatever_fails_is_one_line_and_the_end_of_the_tracker(installed, tmp_path, name, fail, error):
    module, said = installed(name, fail=fail, error=error), []
    tracker = Tracker(name, tracked(tmp_path), said.append)
    record(tracker)
    record(tracker)
    warnings = [line for line in said if "WARNING" in line]
    assert len(warnings) == 1
    assert f"{name} failed and is off from here on ({error.__name__}: no {fail} today)" in warnings[0]
    assert "\n" not in warnings[0]
    assert [call[0] for call in module.calls].count(fail) == 1


@pytest.mark.parametrize("call", ["init", "finish"])
def test_what_hangs_is_left_alone(installed, tmp_path, monkeypatch, call):
    module, said, release = installed("wandb"), [], threading.Event()
    monkeypatch.setattr(module, call, lambda **_: release.wait(30))
    if call == "finish":
        monkeypatch.setattr(module, "init", lambda **_: module)
    tracker = Tracker("wandb", tracked(tmp_path), said.append, patience=0.2)
    record(tracker)
    release.set()
    assert sum("WARNING" in line for line in said) == 1
    assert "within 0.2 s" in said[-1]


def test_training_never_waits_for_a_slow_tracker(installed, tmp_path, monkeypatch):
    module, said, release = installed("wandb"), [], threading.Event()
    monkeypatch.setattr(module, "log", lambda *_, **__: release.wait(30))
    monkeypatch.setattr(trackers, "_MOST_WAITING", 5)
    tracker = Tracker("wandb", tracked(tmp_path), said.append)
    for step in range(9):
        tracker.scalar("loss", 1.0, step)
    release.set()
    assert [("5 records wait to be sent" in line) for line in said] == [False, True]  # after where it writes


def test_nobody_is_asked_at_the_terminal(installed, tmp_path, monkeypatch):
    module, said, before = installed("swanlab"), [], sys.stdin
    monkeypatch.setattr(module, "init", lambda **_: input("your choice: "))
    Tracker("swanlab", tracked(tmp_path), said.append)
    assert "EOFError" in said[0]
    assert sys.stdin is before


def test_a_run_that_continues_keeps_its_id(tmp_path):
    first = run_id(tmp_path, 0)
    assert run_id(tmp_path, 40) == first
    assert run_id(tmp_path, 0) != first
    (tmp_path / "tracker.json").write_text("[half")
    assert len(run_id(tmp_path, 40)) == len(first)


@pytest.mark.parametrize(
    ("clone", "command"), [("/clone", '-c constraints.txt -e ".[wandb]"'), (None, "semiseg[wandb]")]
)
def test_a_package_that_is_missing_is_refused_with_the_command(monkeypatch, clone, command):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    monkeypatch.setattr(trackers, "checkout", lambda: clone)
    with pytest.raises(ConfigError, match=r"monitor.tracker: wandb is not installed; pip install") as error:
        require_package("wandb")
    assert command in str(error.value)


def test_it_is_refused_before_a_run_begins(tiny_config, tiny_overrides, monkeypatch, tmp_path):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    config = load(tiny_config(), [*tiny_overrides, "monitor.tracker=swanlab"])
    with pytest.raises(ConfigError, match="swanlab is not installed"):
        make_plan(config, 1)
    assert not (tmp_path / "run").exists()


def test_a_run_has_the_same_bits_with_a_tracker_and_with_one_that_fails(tiny_config, tmp_path, installed, capsys):
    path = str(tiny_config("suponly"))
    options = [*TINY_NET, "dataset.train.crop.size=[33, 33]", "trainer.epochs=1", "trainer.sup_only_epoch=0"]
    arrays, module = {}, installed("wandb")
    for name, chosen, fail in (("none", "none", None), ("works", "wandb", None), ("fails", "wandb", "log")):
        module.fail = fail
        run = [f"saver.main_dir={tmp_path}/{name}", "saver.name=mine", f"monitor.tracker={chosen}", "monitor.panels=1"]
        assert cli.run(train.main, ["--config", path, *options, *run]) == 0
        arrays[name], _ = checkpoint_io.read(tmp_path / f"{name}/checkpoints/last.ckpt")
        if name == "works":
            assert module.config["name"] == "synthetic/4/mine"
            assert module.config["config"]["trainer"]["epochs"] == 1
            assert json.loads((tmp_path / "works/tracker.json").read_text())["id"] == module.config["id"]
            tags = {tag for values, _ in module.logged() for tag in values}
            assert {"score/miou", "loss/total"} <= tags
            assert any(tag.startswith("images/") for tag in tags)
    for name in ("works", "fails"):
        assert all(np.array_equal(array, arrays["none"][key]) for key, array in arrays[name].items())
    logs = {name: (tmp_path / name / "log.txt").read_text() for name in arrays}
    assert [logs[name].count("WARNING: monitor.tracker") for name in logs] == [0, 0, 1]
    numbers = [(tmp_path / name / "metrics.jsonl").read_text() for name in arrays]
    assert numbers[0] == numbers[1] == numbers[2]


REAL = """
import sys
from pathlib import Path
import numpy as np
from semiseg.engine.trackers import TrackedRun, Tracker
for start in range(2):
    run = TrackedRun(Path(sys.argv[2]), "pascal/183/ours", "abc123", {"trainer": {"epochs": 3}}, ("road", "car"))
    tracker = Tracker(sys.argv[1], run, print)
    tracker.numbers({"step": 10 * start + 1, "loss": 0.5})
    tracker.picture("images/a", np.full((5, 7, 3), 9, np.uint8), 10 * start + 1)
    tracker.close()
"""


@pytest.mark.parametrize("name", TRACKERS)
def test_the_real_package_writes_offline_and_continues_its_run(tmp_path, name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (the extra {name})")
    offline = {"WANDB_MODE": "offline", "SWANLAB_MODE": "offline", "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **offline}
    command = [sys.executable, "-c", REAL, name, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout, done.stdout
    assert f"{name}: {tmp_path}" in done.stdout
    images = [path for path in tmp_path.rglob("*.png") if "media" in path.parts]
    assert len(images) >= 1
    kept = [path for path in tmp_path.rglob("*") if path.suffix in (".wandb", ".swanlab")]
    assert len(kept) == 2
    assert all(path.stat().st_size > 0 for path in kept)
    if name == "wandb":
        assert {path.name for path in kept} == {"run-abc123.wandb"}

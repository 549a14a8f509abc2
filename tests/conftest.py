"""Fixtures of the core's tests: a folder of tiny images and a configuration that trains on it."""

import semiseg  # noqa: F401, I001  (before mindspore: it sets what MindSpore reads at its own import)

import os
from pathlib import Path

import pytest
from tiny import ROOT, TINY_NET, with_prototypes, write_voc

from semiseg.data import build as data_build
from semiseg.engine import build
from semiseg.checkpoints import io as checkpoint_io
from semiseg.config import load
from semiseg.models.resnet import DEPTHS


# Each of pytest-xdist's processes on a core of its own: MindSpore's threads of two would wait in loops for each other.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(worker.removeprefix("gw")) % len(_cores)]})


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Synthetic data set's layout: 4 labelled, 6 unlabelled, 3 validation images of 44 x 52 px. Not to be written."""
    root = tmp_path_factory.mktemp("tiny data")
    write_voc(root, {"labeled": 4, "unlabeled": 6, "val": 3}, (44, 52), 6, "4")
    return root


@pytest.fixture
def tiny_config(tmp_path, tiny_data):
    """Writes tmp_path/config.yaml for a method (2 + 2 images, 3 steps an epoch, 3 epochs) and gives its path."""

    def write(method: str = "ours") -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(f"base: {ROOT}/experiments/synthetic/16/{method}/config.yaml\n")
        lines = [
            f"dataset: {{data_root: '{tiny_data}', splits: '{tiny_data}/splits', split: 4, batch_size: 2, workers: 0}}",
            "trainer: {epochs: 3, sup_only_epoch: 1, eval_every: 2, jit: false, log_every: 2}",
            f"saver: {{main_dir: '{tmp_path}/run', every: 4}}",
            "device: cpu",
        ]
        with path.open("a") as file:
            file.write("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def tiny_overrides() -> list[str]:
    """Command-line overrides that make the network and the crops tiny."""
    return [*TINY_NET, "dataset.train.crop.size=[33, 33]", *PROTO]


@pytest.fixture
def ready(tiny_config, tiny_overrides, tmp_path):
    """(config file, overrides, run folder's best.ckpt) with a network of random weights as best."""
    path = tiny_config()
    config, _ = data_build.complete(load(path, tiny_overrides))
    best = tmp_path / "run/checkpoints/best.ckpt"
    network = with_prototypes(build.fresh_network(config, seed=3))
    checkpoint_io.save(best, checkpoint_io.network_arrays(network), {"step": 1})
    return path, tiny_overrides, best


PROTO = ["net.proto_head.select_granularity=8", "net.proto_head.init_samples=100"]


@pytest.fixture
def shallow(monkeypatch):
    """Networks of resnet18 have one block a stage: for what is compiled, where each layer costs a tenth of a second."""
    block, _ = DEPTHS["resnet18"]
    monkeypatch.setitem(DEPTHS, "resnet18", (block, (1, 1, 1, 1)))

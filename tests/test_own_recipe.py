"""Crop, scale, network, batch and length of a first run, from sizes and the machine."""

from collections import Counter

import pytest
from tiny import ROOT

from semiseg.config import load
from semiseg.prepare.own.recipe import Images, Machine, recipe_for, this_machine

CPU = Machine("cpu", 24, "here")


def recipe(height, width, machine=CPU, unlabeled=300, scale=None):
    return recipe_for(Images(Counter({(height, width): 10}), unlabeled), machine, scale)


@pytest.mark.parametrize(
    ("size", "crop"),
    [((360, 480), 193), ((480, 640), 257), ((96, 96), 89), ((130, 900), 129), ((33, 60), 33), ((20, 20), 33)],
)
def test_the_crop_follows_the_short_side_on_a_cpu(size, crop):
    found = recipe(*size)
    assert found.crop == crop
    assert found.crop % 8 == 1
    assert (found.scale, found.rand_resize) == (1.0, [0.5, 1.5])
    assert str(min(size)) in found.why["crop"]


def test_half_of_the_images_decide():
    sizes = Counter({(360, 480): 6, (3000, 4000): 5})
    assert recipe_for(Images(sizes, 10), CPU).crop == 193


def test_camvid_would_get_the_recipe_that_it_has():
    found, shipped = recipe(360, 480, unlabeled=337), load(ROOT / "experiments/camvid/30/ours")
    assert (found.crop, found.crop) == shipped.dataset.train.crop.size
    assert tuple(found.rand_resize) == shipped.dataset.train.rand_resize
    assert (found.epochs, found.sup_only) == (shipped.trainer.epochs, shipped.trainer.sup_only_epoch)
    assert (found.batch, found.accumulate) == (shipped.dataset.batch_size, shipped.trainer.accumulate)
    assert (found.encoder, found.weights) == (shipped.net.encoder.type, shipped.net.encoder.pretrained)


def test_large_images_are_seen_smaller_and_it_is_said_what_that_costs():
    found = recipe(3000, 4000)
    assert (found.scale, found.rand_resize, found.crop) == (0.16, [0.08, 0.24], 257)
    assert "objects smaller than 50 px are lost; --scale 1" in found.why["scale"]
    said = recipe(3000, 4000, scale=1)
    assert (said.scale, said.rand_resize) == (1, [0.5, 1.5])


def test_a_cpu_gets_the_small_network_and_a_device_the_published_one():
    found = recipe(360, 480)
    assert (found.encoder, found.weights, found.batch) == ("efficientnet_lite0", "efficientnet_lite0", 4)
    device = recipe(600, 800, Machine("gpu", 80, "here"))
    assert (device.encoder, device.weights, device.crop, device.batch) == ("resnet101", "resnet101s_timm", 513, 4)
    assert recipe(600, 800, Machine("gpu", 6, "here")).encoder == "efficientnet_lite0"


@pytest.mark.parametrize(("memory", "crop", "batch"), [(24, 257, 4), (4, 257, 2), (3, 185, 2), (2.5, 129, 2)])
def test_little_memory_means_fewer_images_at_once_then_smaller_ones(memory, crop, batch):
    found = recipe(480, 640, Machine("cpu", memory, "here"))
    assert (found.crop, found.batch, found.batch * found.accumulate) == (crop, batch, 4)


@pytest.mark.parametrize(("unlabeled", "epochs"), [(337, 12), (24, 170), (3, 1020), (10_000, 2)])
def test_a_run_on_a_cpu_ends_in_reasonable_time(unlabeled, epochs):
    found = recipe(360, 480, unlabeled=unlabeled)
    assert found.epochs == epochs
    assert 0 < found.sup_only < found.epochs
    assert "minutes" in found.why["epochs"]
    assert ("more than --minutes 40: two passes are the least" in found.why["epochs"]) == (unlabeled == 10_000)


def test_a_shorter_run_can_be_asked_for():
    assert recipe_for(Images(Counter({(360, 480): 1}), 24), CPU, minutes=10).epochs == 48
    device = Machine("gpu", 80, "here")
    assert recipe_for(Images(Counter({(360, 480): 1}), 24), device, minutes=10).epochs == 1333


def test_the_machine_is_what_its_drivers_and_their_environment_say(tmp_path):
    assert this_machine(dev=tmp_path, environment={}).device == "cpu"
    (tmp_path / "nvidia0").touch()
    idle = this_machine(dev=tmp_path, environment={})
    assert (idle.device, "CUDA_HOME is not set" in idle.why) == ("cpu", True)
    gpu = this_machine(dev=tmp_path, environment={"CUDA_HOME": "/c"})
    assert (gpu.device, gpu.memory) == ("gpu", 16)
    (tmp_path / "davinci0").touch()
    both = {"CUDA_HOME": "/c", "ASCEND_OPP_PATH": "/a"}
    assert this_machine(dev=tmp_path, environment=both).device == "ascend"
    said = this_machine("cpu", 5, dev=tmp_path, environment=both)
    assert (said.device, said.memory) == ("cpu", 5)

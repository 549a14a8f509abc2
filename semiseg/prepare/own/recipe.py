"""Settings for a first run on images of one's own, from their sizes and the machine. Sizes are pixels, memory is GB.

What does not depend on them stands in experiments/_base/recipes/photographs.yaml; a GPU or an Ascend gets the network
and rates of photographs_resnet101.yaml. Both were made for photographs of 480 x 360 px.
"""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiseg.common.accelerators import DEV, driver_files

_ENVIRONMENT = {"ascend": ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH"), "gpu": ("CUDA_HOME",)}
_NEEDS = {"ascend": "CANN's set_env.sh was not sourced", "gpu": "CUDA_HOME is not set"}
_RESIZE = (0.5, 1.5)
_SHARE = 0.6  # of the memory that a run may take


class Machine(NamedTuple):
    """What trains. memory: of the device, of a CPU the machine's."""

    device: str
    memory: float
    why: str


class Images(NamedTuple):
    """sizes: (height, width) -> images. unlabeled: how many are without a label."""

    sizes: Counter[tuple[int, int]]
    unlabeled: int

    @property
    def short_side(self) -> int:
        """The median of the shorter sides."""
        return int(np.median(sorted(min(size) for size in self.sizes.elements())))


class Recipe(NamedTuple):
    """Values of a configuration. scale: what images are resized by, before the range of ``rand_resize``.

    why: topic -> one sentence.
    """

    crop: int
    scale: float
    batch: int
    accumulate: int
    encoder: str
    weights: str
    epochs: int
    sup_only: int
    why: Mapping[str, str]

    @property
    def rand_resize(self) -> list[float]:
        """Half to one and a half of the scale."""
        return [round(self.scale * factor, 4) for factor in _RESIZE]


class _Network(NamedTuple):
    """A network and what is known of its cost: ``seconds`` of a step and ``memory`` of 4 + 4 images of 193 px.

    batch: images of a step that its learning rate belongs to. largest, smallest: sides of a crop. side: short side of
    images that such a crop learns well from.
    """

    encoder: str
    weights: str
    batch: int
    largest: int
    smallest: int
    side: int
    steps: int
    memory: float
    base: float


# Measured on a CPU: CamVid's runs (`ours`, 193 px, 4 + 4 images, two cores) take 2 s a step and 2.3 GB; 4 images of 321
# px take 8.9 GB with ResNet-101 (docs/performance.md). What a device takes is reckoned from that.
_LITE = _Network("efficientnet_lite0", "efficientnet_lite0", 4, 257, 33, 480, 1020, 1.3, 1.2)
_RESNET = _Network("resnet101", "resnet101s_timm", 8, 513, 65, 960, 4000, 5.0, 2.0)
_SECONDS = 2.1  # a step of _LITE at 193 px, 4 + 4 images, on two cores
MINUTES = 40.0  # of a first run on a CPU
_SMALL_DEVICE = 8  # GB


def this_machine(
    device: str | None = None,
    memory: float | None = None,
    dev: Path = DEV,
    environment: Mapping[str, str] = os.environ,
) -> Machine:
    """What will train here; ``device`` and ``memory`` where they are said. MindSpore is not asked."""
    files = driver_files(dev)
    if device:
        why = "as you said"
    else:
        there = [name for name in ("ascend", "gpu") if files[name]]
        ready = [name for name in there if any(environment.get(key) for key in _ENVIRONMENT[name])]
        device = ready[0] if ready else "cpu"
        if ready:
            why = f"{files[device][0]} is here; --device cpu if MindSpore does not run on it (semiseg doctor tells)"
        elif there:
            why = f"{files[there[0]][0]} is here, but {_NEEDS[there[0]]}; --device {there[0]} if it works all the same"
        else:
            why = "no GPU or Ascend is here; --device gpu or ascend if another machine trains"
    if memory is None:
        memory = _host_memory() if device == "cpu" else 16.0
        why += f"; {memory:.0f} GB" + ("" if device == "cpu" else " are assumed, --memory says how many there are")
    return Machine(device, memory, why)


def _host_memory() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def recipe_for(images: Images, machine: Machine, scale: float | None = None, minutes: float = MINUTES) -> Recipe:
    """Crop, scale, network, batch and length of a first run. ``scale``: where it is said; ``minutes``: on a CPU."""
    cpu = machine.device == "cpu"
    small = cpu or machine.memory < _SMALL_DEVICE
    network = _LITE if small else _RESNET
    why = {}
    scale, why["scale"] = _scale(images, network, scale)
    crop, batch, why["crop"], why["batch"] = _crop_and_batch(images.short_side, scale, network, machine)
    fits = "small enough to train on a CPU" if cpu else f"for a device of {machine.memory:.0f} GB"
    why["encoder"] = f"{network.encoder} with ImageNet weights, {fits}; device {machine.device}: {machine.why}"
    epochs, why["epochs"] = _epochs(images.unlabeled, crop, network, minutes if cpu else None)
    sup_only = max(1, round(0.4 * epochs)) if epochs > 1 else 0
    why["epochs"] += f"; the first {sup_only} epochs on labelled images alone"
    accumulate = network.batch // batch
    return Recipe(crop, scale, batch, accumulate, network.encoder, network.weights, epochs, sup_only, why)


def _scale(images: Images, network: _Network, said: float | None) -> tuple[float, str]:
    """1, or what brings large images near the size that networks of this kind are trained on."""
    side = images.short_side
    large = side > 2 * network.side
    scale = said if said else round(network.side / side, 2) if large else 1.0
    low, high = (scale * factor for factor in _RESIZE)
    seen = f"images are seen at {low:.3g} to {high:.3g} of their size"
    if said:
        return scale, f"{seen} (--scale {said:g})"
    if large:
        return scale, (
            f"{seen}, as their short side has {side} px: objects smaller than {round(8 / scale)} px are lost; "
            "--scale 1 keeps the size and sees a small part of an image at a time"
        )
    return scale, seen


def _crop_and_batch(side: int, scale: float, network: _Network, machine: Machine) -> tuple[int, int, str, str]:
    """The largest crop of 8k + 1 px that fits the images, and the largest batch that fits the memory; why.

    side: the short side of the images (median).
    """
    shown = f"{side} px" if scale == 1 else f"{side} px, {round(side * scale)} at scale {scale:g}"
    side = round(side * scale)
    # On a CPU about half of an image at a time, as CamVid's recipe has it; small images whole.
    wanted = side if network is _RESNET else max(0.55 * side, min(side, 129))
    crop = _eight_k_plus_one(min(wanted, network.largest), network.smallest)
    how = "the rest is padding" if crop > side else "about half of it" if crop < 0.6 * side else "about all of it"
    reason = f"the short side of the images is {shown} (median): {how}"
    room = machine.memory * (_SHARE if machine.device == "cpu" else 0.9) - network.base
    fitting = [size for size in (8, 4, 2) if size <= network.batch and _memory(network, crop, size) <= room]
    if not fitting:
        room_of_two = (max(room, 0.1) / _memory(network, 193, 2)) ** 0.5 * 193
        crop, fitting = _eight_k_plus_one(min(crop, room_of_two), network.smallest), [2]
        reason = f"two images of this size and two without labels fit into {machine.memory:.0f} GB"
    batch = fitting[0]
    need = network.base + _memory(network, crop, batch)
    at_once = f"{batch} labelled and {batch} unlabelled images at once take about {need:.0f} GB"
    return crop, batch, reason, at_once if batch == network.batch else f"{at_once}; {network.batch} and as many a step"


def _memory(network: _Network, crop: int, batch: int) -> float:
    """Of a step, in proportion to its pixels."""
    pixels = batch / 4 * (crop / 193) ** 2
    return network.memory * pixels


def _eight_k_plus_one(side: float, smallest: int) -> int:
    return max(smallest, int(side - 1) // 8 * 8 + 1)


def _epochs(unlabeled: int, crop: int, network: _Network, minutes: float | None) -> tuple[int, str]:
    """So many passes over the unlabelled images that two cores need ``minutes``; None: all steps of the recipe."""
    a_pass = -(-unlabeled // network.batch)
    seconds = _SECONDS * (crop / 193) ** 2
    steps = network.steps if minutes is None else min(network.steps, minutes * 60 / seconds)
    epochs = max(2, round(steps / a_pass))
    text = f"{epochs * a_pass} steps, as an epoch is a pass over {unlabeled} unlabelled images"
    if minutes is not None:
        needed = max(1, round(epochs * a_pass * seconds / 60))
        text += f", about {needed} minutes a method on two cores"
        text += (
            f", more than --minutes {minutes:g}: two passes are the least" if needed > max(1, round(minutes)) else ""
        )
    return epochs, text

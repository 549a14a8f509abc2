"""A small data set of a user's own, and configurations that describe it."""

import numpy as np
import yaml
from PIL import Image
from tiny import ROOT, TINY_NET

CLASSES = ("ground", "crop", "weed")
COLORS = ((0, 0, 0), (0, 200, 0), (200, 0, 0))

# Overrides for a run of a few steps in seconds.
QUICK = (
    *TINY_NET,
    "dataset.train.crop.size=[33, 33]",
    "dataset.workers=0",
    "trainer.jit=false",
    "net.proto_head={select_granularity: 8, init_samples: 50, num_micro_proto: 2}",
    "criterion.type=CELoss",
    "device=cpu",
)


def mask_of(name, size=(40, 44)):
    """Blocks of the three classes; class 2 is rare."""
    rng = np.random.default_rng(list(name.encode()))
    mask = np.kron(rng.choice(3, (4, 4), p=(0.6, 0.38, 0.02)), np.ones((10, 11), int)).astype(np.uint8)
    return mask[: size[0], : size[1]]


def image_of(name, mask):
    rng = np.random.default_rng([1, *name.encode()])
    base = np.array([(90, 80, 60), (60, 140, 60), (170, 90, 60)])[np.minimum(mask, 2)]
    return np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)


def add(root, name, with_mask=True, color=False):
    """images/<name>.jpg and, on request, masks/<name>.png; returns the mask."""
    mask = mask_of(name)
    for folder in ("images", "masks"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_of(name, mask)).save(root / f"images/{name}.jpg", quality=92)
    if with_mask:
        picture = np.array(COLORS, np.uint8)[mask] if color else mask
        Image.fromarray(picture).save(root / f"masks/{name}.png")
    return mask


def make_set(root, count=12, without_mask=0, color=False):
    """Images 00.., the last ``without_mask`` of them without a mask; returns their names."""
    names = [f"{i:02}" for i in range(count + without_mask)]
    for index, name in enumerate(names):
        add(root, name, index < count, color)
    return names


def write_config(folder, method="ours", **dataset):
    """folder/config.yaml on the shipped base of own data; ``dataset`` are keys of that section."""
    custom = {"name": "field", "classes": list(CLASSES), "colors": [list(c) for c in COLORS]}
    custom |= dataset.pop("custom", {})
    bases = ROOT / "experiments/_base"
    recipe = bases / f"recipes/custom_{method}.yaml"
    parts = [bases / "data/custom.yaml", bases / f"methods/{method}.yaml"]
    tree = {
        "base": [str(path) for path in ([recipe] if recipe.is_file() else parts)],
        "dataset": {"custom": custom, "data_root": "data", "splits": "splits", **dataset},
        "saver": {"root": "runs"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def write_ids(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{i}\n" for i in ids))
    return path


def write_split(folder, name, labeled, unlabeled, val):
    """splits/<name>/{labeled,unlabeled}.txt and splits/val.txt."""
    for part, ids in ((f"{name}/labeled", labeled), (f"{name}/unlabeled", unlabeled), ("val", val)):
        write_ids(folder / f"splits/{part}.txt", ids)

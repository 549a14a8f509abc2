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
    "net.encoder.pretrained=null",
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


# ---- folders as people have them: what ``semiseg new`` looks at


def save_pair(images, masks, name, values, naming="{}.jpg {}.png", exif=None):
    """An image of ``values`` (H x W of classes) and its mask, 8 or 16 bit gray as ``values`` are; masks None: no mask.

    ``exif``: the image is stored lying on its side, and says so.
    """
    image_name, mask_name = (part.format(name) for part in naming.split())
    picture, options = Image.fromarray(image_of(name, (values > 0).astype(np.uint8))), {}
    if exif:
        options["exif"] = Image.Exif()
        options["exif"][0x112] = exif  # 6: to be turned clockwise
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    for folder, file, content in ((images, image_name, picture), (masks, mask_name, Image.fromarray(values))):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            content.save(folder / file, **(options if folder is images else {}))


def make_phone(root, count=6, without_mask=4):
    """Photographs, every third stored on its side, with 0/255 masks drawn upright, and a few without."""
    for index in range(count + without_mask):
        values = np.where(mask_of(str(index), (40, 30)) > 0, 255, 0).astype(np.uint8)
        masks = root / "labels" if index < count else None
        exif = 6 if index % 3 == 0 else 1
        save_pair(root / "photos", masks, f"IMG_{index}", values, "{}.JPG {}_mask.png", exif if exif == 6 else None)
    return root / "photos", root / "labels"


def make_microscope(root, count=8):
    """Gray TIFF of 12 in 16 bits with 16-bit masks of three classes, one for each image."""
    for folder in ("raw", "seg"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        mask = mask_of(f"{index}", (40, 44))
        mask[:2] = 2
        gray = np.random.default_rng(index).integers(0, 400, mask.shape) + 1200 * mask.astype(int)
        Image.fromarray(gray.astype(np.uint16)).save(root / f"raw/cell_{index}.tif")
        Image.fromarray(mask.astype(np.uint16)).save(root / f"seg/cell_{index}_label.tif")
    return root / "raw", root / "seg"


def make_large(root, size=(1000, 1200), count=4, without_mask=2):
    """Large PNG with masks in ``COLORS`` and white, which does not count."""
    for folder in ("images", "gt"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count + without_mask):
        mask = np.kron(np.array([[0, 1], [index % 2, 2]]), np.ones((size[0] // 2, size[1] // 2), int))
        picture = np.array([*COLORS, (255, 255, 255)], np.uint8)[mask]
        Image.fromarray(picture // 2 + 40 + index).save(root / f"images/tile{index}.png", compress_level=1)
        picture[:100] = 255
        if index < count:
            Image.fromarray(picture).save(root / f"gt/tile{index}.png", compress_level=1)
    return root / "images", root / "gt"

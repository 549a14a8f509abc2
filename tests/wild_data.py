"""A data set with one of everything that people have: ``python tests/wild_data.py FOLDER``, then check-data on it.

Labelled and validation images are in data/, unlabelled ones of all kinds in more/. docs/datasets.md shows what
check-data says of it.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import yaml
from image_makers import chunk, png_bytes, tiff_bytes
from PIL import Image, PngImagePlugin

from semiseg.data.specs import index_palette

SIZE = (40, 60)
CLASSES = ["soil", "crop", "weed"]


def picture(seed, bands=3, below=256, dtype=np.uint8):
    """A smooth picture of random colours; below: the range of its values."""
    rng = np.random.default_rng(seed)
    small = rng.random((4, 6, bands))
    smooth = np.stack([np.kron(small[..., band], np.ones((10, 10))) for band in range(bands)], axis=2)
    return (smooth * (below - 1)).astype(dtype)


def labels():
    """Soil, crop and ignored pixels."""
    values = np.zeros(SIZE, np.uint8)
    values[10:, 20:], values[:3] = 1, 255
    return values


def sound_images(folder, first):
    """Images that are read, one of a kind, their colours drawn from seed ``first`` on; their names."""
    save = {"gray.png": {}, "mobile.jfif": {"format": "JPEG"}, "CAMERA.JPG": {}, "web.webp": {}, "satellite.jp2": {}}
    for seed, (name, options) in enumerate(save.items(), first):
        image = Image.fromarray(picture(seed))
        (image.convert("L") if name == "gray.png" else image).save(folder / name, **options)
    Image.fromarray(picture(first + 10)).convert("CMYK").save(folder / "print.jpeg")
    Image.fromarray(picture(first + 11)).convert("RGBA").save(folder / "cutout.png")
    Image.fromarray(picture(first + 12)).quantize(16).save(folder / "animation.gif")
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(picture(first + 13)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(picture(first + 14)).save(folder / "bad_exif.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 2_000_000, zip=True)
    Image.fromarray(picture(first + 15)).save(folder / "large_text.png", pnginfo=info)
    (folder / "twelve_bits.tif").write_bytes(tiff_bytes(picture(first + 16, 1, 4096, np.uint16)[..., 0]))
    (folder / "planes.tif").write_bytes(tiff_bytes(picture(first + 17, 3, 65536, np.uint16), separate=True))
    return sorted(path.name for path in folder.iterdir())


def broken_images(folder):
    """Files that are no image to use, one of a kind; their names."""
    before = {path.name for path in folder.iterdir()}
    Image.fromarray(picture(20)).save(folder / "half.jpg", quality=95)
    whole = (folder / "half.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    (folder / "cut.png").write_bytes(png_bytes(picture(21)[..., 0], 8)[:-30])
    (folder / "empty.jpg").touch()
    (folder / "height.tif").write_bytes(tiff_bytes(picture(22, 3, 2, np.float32), numbers=3))
    (folder / "five_bands.tif").write_bytes(tiff_bytes(picture(23, 5, 65536, np.uint16)))
    pages = [Image.fromarray(picture(seed)) for seed in (24, 25)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    header = struct.pack(">IIBBBBB", 60_000, 40_000, 8, 2, 0, 0, 0)
    small = png_bytes(np.zeros((2, 2), np.uint8), 8)
    (folder / "large.png").write_bytes(small[:8] + chunk(b"IHDR", header) + small[33:])
    (folder / "weights.png").write_bytes(struct.pack("<Q", 2) + b"{}")
    (folder / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (folder / "answer.jpg").write_text("<!DOCTYPE html><title>404</title>")
    return sorted({path.name for path in folder.iterdir()} - before)


def no_images(folder):
    """What lies in folders of images and is none: hidden files, notes, masks, links."""
    (folder / "notes.txt").touch()
    (folder / "._half.jpg").touch()
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/gray-checkpoint.png").touch()
    (folder / "gray_mask.png").touch()
    (folder / "gone.png").symlink_to("moved.png")
    (folder / "circle").symlink_to(".", target_is_directory=True)


def broken_masks(root):
    """Images whose masks cannot be used, one of a kind; ids."""
    rgb = np.zeros((*SIZE, 3), np.uint8)
    renumbered = Image.fromarray(1 - np.minimum(labels(), 1))
    renumbered.putpalette([*index_palette(2)[1], *index_palette(2)[0]])
    masks = {
        "jpeg": lambda path: Image.fromarray(labels()).save(path, "JPEG"),
        "renumbered": renumbered.save,
        "colors": Image.fromarray(rgb).save,
        "counted_from_1": Image.fromarray(np.minimum(labels(), 2) + 1).save,
        "two_bits": lambda path: path.write_bytes(png_bytes(np.minimum(labels(), 3), 2)),
        "other_size": Image.fromarray(labels()[:-1]).save,
        "missing": lambda path: None,
    }
    for seed, (name, save) in enumerate(masks.items()):
        Image.fromarray(picture(40 + seed)).save(root / f"images/{name}.png")
        save(root / f"images/{name}_mask.png")
    return [f"{name}.png" for name in masks]


def make(folder):
    """The data set below ``folder``; returns the path of its configuration."""
    root, more = folder / "data", folder / "more"
    for path in (root / "images", more, folder / "splits/wild"):
        path.mkdir(parents=True)
    good = sound_images(root / "images", 0)
    for name in good:
        Image.fromarray(labels()).save(root / f"images/{Path(name).stem}_mask.png")
    half = len(good) // 2
    labeled = [*good[:half], *broken_masks(root)]
    (folder / "splits/wild/labeled.txt").write_text("".join(f"./images/{name}\n" for name in labeled))
    pairs = (f"images/{name},images/{Path(name).stem}_mask.png\n" for name in good[half:])
    (folder / "splits/val.txt").write_text("# a comment\n" + "".join(pairs))
    sound_images(more, 100)
    broken_images(more)
    no_images(more)
    custom = {"name": "wild", "classes": CLASSES, "image": "images/{id}", "mask": "images/{stem}_mask.png"}
    dataset = {"type": "custom", "custom": custom, "data_root": "data", "splits": "splits", "split": "wild"}
    tree = {
        "dataset": dataset | {"train": {"unlabeled_dir": "more"}},
        "method": "mean_teacher",
        "saver": {"root": "runs"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    return folder / "config.yaml"


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))

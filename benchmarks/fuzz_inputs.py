"""Sound files of every kind that the readers read, small ones: what benchmarks/fuzz.py damages."""

import clone  # isort: skip  (it makes the package and the tests' helpers importable)
import io
import pickle
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
import yaml
from image_makers import chunk, indexed, labels, picture, png_bytes, tiff_bytes
from PIL import Image, PngImagePlugin
from safetensors.numpy import save as safetensors_bytes
from torch_bytes import tensor, write_legacy, write_zip

from semiseg.checkpoints import io as checkpoint_io
from semiseg.data.specs import SPECS, get_spec


class Sound(NamedTuple):
    """``checked``: a checksum of the format covers what the reader takes from the file."""

    name: str
    data: bytes
    checked: bool = False


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as Pillow writes it."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def interlaced(values: np.ndarray) -> bytes:
    """An 8-bit gray PNG in seven passes (Adam7), which Pillow does not write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [values[top::down, left::right] for top, left, down, right in passes]
    raw = b"".join(b"\0" + line.tobytes() for part in parts for line in part if line.size)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8, 0, 0, 0, 1)
    ends = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + ends


def deep_png(bands: int, seed: int) -> bytes:
    """A PNG of 16 bits: 1 gray, 3 RGB, 4 RGBA."""
    kind = {1: 0, 3: 2, 4: 6}[bands]
    values = np.random.default_rng(seed).integers(0, 65536, (20, 24, bands)).astype(">u2")
    raw = b"".join(b"\0" + line.tobytes() for line in values)
    header = struct.pack(">IIBBBBB", 24, 20, 16, kind, 0, 0, 0)
    ends = chunk(b"sBIT", bytes([12] * bands)) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + ends


def jpegs() -> list[Sound]:
    """Gray, RGB, CMYK, progressive, with EXIF, with restart markers."""
    image, exif = picture(48, 64), Image.Exif()
    exif[274] = 6
    exif[0x010E] = "a field"
    turns = {"exif": exif, "comment": b"from a camera"}
    files = {
        "gray": saved(image.convert("L"), "JPEG"),
        "rgb": saved(image, "JPEG", quality=92),
        "rgb, no subsampling": saved(image, "JPEG", quality=95, subsampling=0),
        "cmyk": saved(image.convert("CMYK"), "JPEG"),
        "progressive": saved(image, "JPEG", progressive=True),
        "exif": saved(image, "JPEG", **turns),
        "restarts": saved(image, "JPEG", restart_marker_blocks=2),
    }
    return [Sound(name, data) for name, data in files.items()]


def pngs() -> list[Sound]:
    """Every colour type and depth, interlaced, with transparency and text."""
    image = picture(30, 40)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(labels(30, 40)))
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 3000, zip=True)
    gray = np.asarray(image.convert("L"))
    files = {
        "gray": saved(image.convert("L"), "PNG"),
        "rgb": saved(image, "PNG"),
        "rgba": saved(alpha, "PNG"),
        "gray and alpha": saved(alpha.convert("LA"), "PNG"),
        "palette": saved(image.quantize(16), "PNG"),
        "palette, transparent": saved(image.quantize(30), "PNG", transparency=3),
        "rgb, one colour transparent": saved(image, "PNG", transparency=(1, 2, 3)),
        "text": saved(image, "PNG", pnginfo=info),
        "interlaced": interlaced(gray),
        **{f"gray of {bits} bits": png_bytes(gray // 2 ** (8 - bits), bits) for bits in (1, 2, 4)},
        "gray of 16 bits": deep_png(1, 0),
        "rgb of 16 bits": deep_png(3, 1),
        "rgba of 16 bits": deep_png(4, 2),
    }
    return [Sound(name, data, checked=True) for name, data in files.items()]


def tiffs() -> list[Sound]:
    """Strips, separate planes, compressions, 8 and 16 bits, palettes."""
    image = picture(30, 40)
    values = np.asarray(image)
    compressions = ("tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate")
    deep = np.random.default_rng(0).integers(0, 4096, (20, 24, 3)).astype(np.uint16)
    files = {
        "strips": tiff_bytes(values, rows=8),
        "planes": tiff_bytes(values, separate=True, rows=8),
        "deflate, planes": tiff_bytes(values, separate=True, deflate=True),
        "16 bits": tiff_bytes(deep[..., 0]),
        "16 bits, rgb": tiff_bytes(deep, t281=[4095] * 3),
        "16 bits, planes": tiff_bytes(deep, separate=True),
        "white is zero": tiff_bytes(deep[..., 0], photometric=0),
        **{kind: saved(image, "TIFF", compression=kind) for kind in compressions},
        "palette": saved(image.quantize(16), "TIFF"),
        "one bit": saved(image.convert("1"), "TIFF", compression="group4"),
    }
    return [Sound(name, data) for name, data in files.items()]


def others() -> list[Sound]:
    """BMP, GIF, WebP, PPM, TGA, JPEG 2000, AVIF and what else Pillow reads."""
    image = picture(30, 40)
    alpha, few = image.convert("RGBA"), image.quantize(16)
    ways: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *((kind, image, {}) for kind in ("BMP", "WEBP", "PPM", "TGA", "JPEG2000")),
        *(("BMP", few, {}), ("GIF", few, {}), ("PPM", image.convert("L"), {}), ("PPM", image.convert("1"), {})),
        *(("WEBP", image, {"lossless": True}), ("WEBP", alpha, {"lossless": True})),
        ("TGA", image, {"compression": "tga_rle"}),
    ]
    frames = {"save_all": True, "append_images": [image.rotate(90).quantize(8)]}
    ways += [("GIF", image.quantize(8), frames), ("AVIF", image, {"speed": 10})]
    plain = b"P3 # by hand\n3 2 255\n" + b" ".join(b"%d" % (17 * i % 256) for i in range(18))
    files = {f"{kind} {way.mode} {n}": saved(way, kind, **options) for n, (kind, way, options) in enumerate(ways)}
    return [Sound(name, data) for name, data in (files | {"PPM text": plain}).items()]


def masks() -> list[Sound]:
    """Indexed, gray of 8 and 16 bits, coloured ones: of PNG and of others."""
    values = labels(30, 40)
    colours = Image.fromarray(get_spec("pascal").full_palette()[values % 21])
    files = {
        "indexed.png": saved(indexed(values), "PNG"),
        "gray.png": saved(Image.fromarray(values), "PNG"),
        "16 bits.png": png_bytes(values, 16),
        "interlaced.png": interlaced(values),
        "colours.png": saved(colours, "PNG"),
        "indexed.gif": saved(indexed(values), "GIF"),
        "gray.bmp": saved(Image.fromarray(values), "BMP"),
        "gray.tif": tiff_bytes(values),
        "lzw.tif": saved(Image.fromarray(values), "TIFF", compression="tiff_lzw"),
        "colours.bmp": saved(colours, "BMP"),
    }
    return [Sound(name, data, checked=name.endswith("png")) for name, data in files.items()]


def lists() -> list[Sound]:
    """Ids, paths, pairs, comments, Windows' line ends, other encodings."""
    spec = SPECS["cityscapes"]
    ids = [f"train/aachen/aachen_{number:06}_000019" for number in range(30)]
    pairs = "".join(f"{spec.image_path(name)} {spec.mask_path(name)}\n" for name in ids)
    texts = {
        "ids": "".join(f"{name}\n" for name in ids),
        "paths": "# a comment\n\n" + "".join(f"./{spec.image_path(name)}\r\n" for name in ids),
        "pairs": pairs,
        "commas": pairs.replace(" ", ","),
        "absolute": "".join(f"/data/city/{spec.image_path(name)}\n" for name in ids),
        "windows": "".join(f"leftImg8bit\\train\\x\\{number}_leftImg8bit.png\r\n" for number in range(9)),
        "letters": "größe\n木\nname with spaces\n",
    }
    files = {name: text.encode() for name, text in texts.items()}
    files |= {"mark": files["ids"].join([b"\xef\xbb\xbf", b""]), "UTF-16": texts["ids"].encode("utf-16")}
    return [Sound(name, data) for name, data in files.items()]


def configurations() -> list[Sound]:
    """Of ours the leaves, bases and a resolved one; the authors' and U2PL's as they are published."""
    from test_config_published import authors, u2pl

    from semiseg.config import dump, load

    root = clone.ROOT / "experiments"
    leaf = root / "pascal/183/ours/config.yaml"
    bases = ("_base/methods/ael.yaml", "_base/data/custom.yaml", "_base/recipes/cityscapes_u2pl_ael.yaml")
    texts = {path: _with_whole_paths(root / path) for path in bases}
    texts |= {"leaf": _with_whole_paths(leaf), "resolved": dump(load(leaf))}
    texts |= {"authors": yaml.safe_dump(authors()), "u2pl": yaml.safe_dump(u2pl("cityscapes_semi"))}
    texts["anchors"] = "a: &a {seed: 1}\ntrainer:\n  <<: *a\n  epochs: 2\n"
    return [Sound(name, text.encode()) for name, text in texts.items()]


def _with_whole_paths(path: Path) -> str:
    """A configuration that finds its bases from anywhere."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = (re.sub(r"[\w./]+\.yaml", lambda name: str((path.parent / name.group()).resolve()), line) for line in lines)
    return "".join(new if line.startswith("base:") else line for line, new in zip(lines, whole, strict=True))


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """The beginning of an encoder."""
    rng = np.random.default_rng(seed)
    shapes = {"conv1.weight": (8, 3, 3, 3), "bn1.gamma": (8,), "layer1.0.conv1.weight": (4, 8, 1, 1)}
    return {f"encoder.{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _tensors(kind: str = "Float") -> tuple[dict[str, Any], dict[str, bytes]]:
    values, storages, numpy_type = {}, {}, {"Float": np.float32, "Half": np.float16}[kind]
    for key, (name, array) in enumerate(arrays().items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        values[name] = tensor(kind, str(key), array.size, array.shape, strides)
        storages[str(key)] = array.astype(numpy_type).tobytes()
    return values, storages


def torch_files() -> list[Sound]:
    """Zip and legacy .pth, of float32 and of float16, of trained and averaged weights."""
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "x.pth"
        for kind in ("Float", "Half"):
            values, storages = _tensors(kind)
            data = write_zip(path, {"state_dict": values, "epoch": 3}, storages).read_bytes()
            found.append(Sound(f"zip, {kind}", data, checked=True))
        values, storages = _tensors()
        both = {"model": values, "model_ema": values, "args": [1, 2.5, "text", None]}
        found.append(Sound("zip, averaged", write_zip(path, both, storages).read_bytes(), checked=True))
        sizes = {key: (len(raw) // 4, raw) for key, raw in storages.items()}
        found.append(Sound("legacy", write_legacy(path, {"model": values}, sizes).read_bytes()))
    return found


def checkpoints() -> list[Sound]:
    """Ours, with a checksum, and published ones, without."""
    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / "x.ckpt"
        tensors = {name: ms.Tensor(array) for name, array in arrays().items()}
        checkpoint_io.save(path, tensors, {"step": 3, "best": 1.5})
        found.append(Sound("ours", path.read_bytes(), checked=True))
        published = [{"name": name, "data": value} for name, value in tensors.items()]
        ms.save_checkpoint(published, str(path))
        found.append(Sound("published", path.read_bytes()))
    return found


def safetensors() -> list[Sound]:
    """float32 and float16, with metadata."""
    small = {name: array.astype(np.float16) for name, array in arrays(1).items()}
    files = {"float32": safetensors_bytes(arrays()), "float16": safetensors_bytes(small, {"format": "pt"})}
    return [Sound(name, data) for name, data in files.items()]


def prototypes() -> list[Sound]:
    """The authors' pickle, and archives of NumPy."""
    rows = {label: list(np.random.default_rng(label).normal(size=(2, 8)).astype(np.float32)) for label in range(3)}
    stacked, named = io.BytesIO(), io.BytesIO()
    np.savez(stacked, prototypes=np.array(list(rows.values())))
    np.savez_compressed(named, **{str(label): np.array(row) for label, row in rows.items()})
    archives = {"one.npz": stacked.getvalue(), "named.npz": named.getvalue()}
    pickles = {"x.pickle": pickle.dumps(rows, 2), "4.pickle": pickle.dumps(rows, 4)}
    return [Sound(name, data, checked=name in archives) for name, data in (archives | pickles).items()]


SOUND: dict[str, Callable[[], list[Sound]]] = {
    "jpeg": jpegs,
    "png": pngs,
    "tiff": tiffs,
    "other images": others,
    "masks": masks,
    "lists": lists,
    "yaml": configurations,
    "pth": torch_files,
    "ckpt": checkpoints,
    "safetensors": safetensors,
    "prototypes": prototypes,
}

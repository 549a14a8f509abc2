"""The PyTorch side of the benchmarks: the twin of tests/reference, and data loading as the field writes it."""

import worker  # isort: skip  (it notes when the process began)
import clone  # noqa: F401  # isort: skip  (it makes what follows importable)

import random
from pathlib import Path
from typing import Any

import inputs
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from reference import losses, training
from reference import step as twin_step
from reference.network import Network, NetworkSpec
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


def network(prototypes: int) -> Network:
    """ResNet-101 DeepLabv3+, 21 classes."""
    torch.manual_seed(0)
    return Network(NetworkSpec(depth=101, num_classes=inputs.CLASSES, aux=False, prototypes=prototypes))


def optimizer_of(student: Network) -> torch.optim.Optimizer:
    """SGD as the published configuration has it."""
    return training.make_optimizer(student, inputs.LR, inputs.MOMENTUM, inputs.DECAY, inputs.TIMES)


def tensors(batch: inputs.Batch) -> tuple[Tensor, Tensor | None]:
    """Images and labels as tensors."""
    return torch.from_numpy(batch.images), None if batch.labels is None else torch.from_numpy(batch.labels).long()


def train_step(p: dict[str, Any]) -> worker.Work:
    """Student forward, loss, backward, SGD."""
    student = network(0).train()
    optimizer = optimizer_of(student)
    image, label = tensors(inputs.batch(0, p["batch"], p["side"], True))

    def once() -> None:
        optimizer.zero_grad()
        loss = losses.supervised(student(image).pred, None, label, losses.ohem_cross_entropy, 0.0)
        loss.backward()
        optimizer.step()
        loss.item()

    return worker.Work(once)


def semi_step(p: dict[str, Any]) -> worker.Work:
    """Teacher, CutMix, student, SGD, prototypes, teacher. ``p["forwards"]``: of the teacher; 2 as U2PL has it."""
    student, teacher = network(inputs.PER_CLASS), network(inputs.PER_CLASS)
    optimizer = optimizer_of(student)
    side = p["side"]
    (image_l, label_l), (image_u, _) = (tensors(inputs.batch(0, p["batch"], side, kind)) for kind in (True, False))
    spec = twin_step.StepSpec(k=inputs.PER_CLASS, aux_weight=0.0)
    cell = side // inputs.CELLS

    def once() -> None:
        label, confidence, _ = twin_step.teacher_labels(teacher, image_u)
        width = int(torch.randint(side // 2 + 1, side, ()))
        boxes = torch.tensor([[0, 0, round(side * side / 2 / width), width]] * len(image_u))
        inside = training.box_masks(boxes, (side, side))
        mixed = [training.cutmix(x, inside) for x in (image_u, label, confidence)]
        if p["forwards"] == 2:
            teacher.train()
            with torch.no_grad():
                teacher(torch.cat([image_l, mixed[0]]))
        points = training.cell_points(torch.randint(0, cell, (2, inputs.CELLS, inputs.CELLS)), (side, side))
        twin_step.train_step(
            student, teacher, optimizer, twin_step.StepBatch(image_l, label_l, *mixed, points), spec, 5
        )

    return worker.Work(once)


def startup(p: dict[str, Any]) -> worker.Work:
    """From the start of the process to the end of the first step."""

    def once() -> float:
        semi_step(p | {"batch": 2, "forwards": 1}).once()
        return worker.time.perf_counter() - worker.STARTED

    return worker.Work(once, warm_up=0, repeat=1)


def read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 image H x W x 3 and mask H x W, by Pillow."""
    image = Image.open(folder / "JPEGImages" / f"{name}.jpg").convert("RGB")
    return np.asarray(image), np.asarray(Image.open(folder / "SegmentationClassAug" / f"{name}.png"))


def normalised(image: np.ndarray) -> Tensor:
    """float32 3 x H x W."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (inputs.MEAN, inputs.STD))
    return (torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) - mean) / std


def evaluation(p: dict[str, Any]) -> worker.Work:
    """Files to IoU: whole image with both heads, or sliding window with the linear one."""
    slide, folder = p["mode"] == "slide", Path(p["folder"])
    net = network(0 if slide else inputs.PER_CLASS).eval()
    names = (folder / "val.txt").read_text(encoding="utf-8").split()

    def once() -> None:
        sums = np.zeros((2, 3, inputs.CLASSES))
        with torch.no_grad():
            for name in names:
                image, mask = read(folder, name)
                x = normalised(image)[None]
                for head, logits in enumerate(windows(net, x) if slide else both_heads(net, x)):
                    sums[head] += histograms(logits[0].argmax(0).numpy(), mask)

    return worker.Work(once, warm_up=1, repeat=2)


def both_heads(net: Network, x: Tensor) -> list[Tensor]:
    """Logits at the image's size."""
    out = net(x)
    return [losses.upsample(out.pred, x.shape[-2:]), out.proto]


def windows(net: Network, x: Tensor) -> list[Tensor]:
    """Mean logits over windows that overlap by a third."""
    size = inputs.WINDOW
    height, width = x.shape[-2:]
    total, seen = torch.zeros(1, inputs.CLASSES, height, width), torch.zeros(1, 1, height, width)
    for top in starts(height, size):
        for left in starts(width, size):
            part = np.s_[..., top : top + size, left : left + size]
            total[part] += losses.upsample(net(x[part]).pred, (size, size))
            seen[part] += 1
    return [total / seen]


def starts(side: int, window: int) -> list[int]:
    """Where windows begin."""
    stride = -(-window * 2 // 3)
    return [min(i * stride, side - window) for i in range(-(-(side - window) // stride) + 1)]


def histograms(pred: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Intersection, prediction and label areas of each class by three histograms, as the field counts them."""
    pred = np.where(label == 255, 255, pred)
    bins = np.arange(inputs.CLASSES + 1)
    hit = pred[pred == label]
    return np.stack([np.histogram(x, bins)[0] for x in (hit, pred, label)])


def count(p: dict[str, Any]) -> worker.Work:
    """IoU of a few images by three histograms each."""
    rng = np.random.default_rng(0)
    shape = (p["images"], inputs.EVAL_SIDE, inputs.EVAL_SIDE)
    pred, label = (rng.integers(0, inputs.CLASSES, shape, dtype=np.uint8) for _ in range(2))
    label[:, :30] = 255
    return worker.Work(lambda: [histograms(*pair) for pair in zip(pred, label, strict=True)] and None)


class Samples(Dataset):
    """Random resize, flip and crop written with torch operations, as U2PL's transforms are."""

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = read(self.folder, self.names[index])
        image = normalised(image)[None]
        label = torch.from_numpy(mask.astype(np.float32))[None, None]
        low, high = (0.5, 1.0) if torch.rand(()) < 0.5 else (1.0, 2.0)
        scale = float(low + (high - low) * torch.rand(()))
        size = [int(n * scale) for n in image.shape[-2:]]
        image, label = F.interpolate(image, size, mode="bilinear"), F.interpolate(label, size, mode="nearest")
        if torch.rand(()) < 0.5:
            image, label = image.flip(3), label.flip(3)
        side = inputs.EVAL_SIDE
        pads = [max(side - n, 0) for n in size]
        image = F.pad(image, (0, pads[1], 0, pads[0]))
        label = F.pad(label, (0, pads[1], 0, pads[0]), value=255)
        top, left = (int(torch.randint(0, n - side + 1, ())) for n in image.shape[-2:])
        part = np.s_[0, :, top : top + side, left : left + side]
        return image[part], label[part][0].long()


def data(p: dict[str, Any]) -> worker.Work:
    """Processor seconds an image of two loaders, the unlabelled one's masks read too, as the field does."""
    folder = Path(p["folder"])
    names = (folder / "val.txt").read_text(encoding="utf-8").split()

    def once() -> float:
        before, left = worker.cpu_seconds(), p["steps"]
        while left > 0:
            loaders = [DataLoader(Samples(folder, names), 2, shuffle=True, num_workers=1) for _ in range(2)]
            for _ in zip(*loaders, strict=True):
                left -= 1
                if left == 0:
                    break
            del loaders
        return (worker.cpu_seconds() - before) / (4 * p["steps"])

    return worker.Work(once, warm_up=1)


def strong(p: dict[str, Any]) -> worker.Work:
    """Processor seconds a strong view by torchvision's transforms of PIL images, as UniMatch makes it."""
    from torchvision import transforms

    crops = [Image.fromarray(crop) for crop in inputs.crops(p["images"], inputs.EVAL_SIDE)]
    jitter, gray = transforms.ColorJitter(0.5, 0.5, 0.5, 0.25), transforms.RandomGrayscale(p=0.2)

    def once() -> float:
        before = worker.cpu_seconds()
        for index in range(p["views"]):
            crop = crops[index % len(crops)]
            if random.random() < 0.8:
                crop = jitter(crop)
            crop = gray(crop)
            if random.random() < 0.5:
                crop = crop.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
            np.asarray(crop)
        return (worker.cpu_seconds() - before) / p["views"]

    return worker.Work(once, warm_up=1)


if __name__ == "__main__":
    worker.main({f.__name__: f for f in (train_step, semi_step, startup, evaluation, data, strong, count)})

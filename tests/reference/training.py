"""What happens around the losses in one training step, in plain PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .losses import IGNORE


def cell_points(jitter: Tensor, size: tuple[int, int]) -> Tensor:
    """One pixel per cell of a G x G grid: jitter (2, G, G) of row and column offsets -> points (G * G, 2), row-major.

    Offsets lie in [0, H // G) and [0, W // G).
    """
    granularity = jitter.shape[-1]
    corner = torch.arange(granularity)
    rows = corner[:, None] * (size[0] // granularity) + jitter[0]
    cols = corner[None, :] * (size[1] // granularity) + jitter[1]
    return torch.stack([rows.flatten(), cols.flatten()], dim=1)


def sample_features(feature: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """Feature (B, D, h, w) at points (N, 2) = (row, column) of an image of ``size`` -> (B, N, D).

    Equals bilinear upsampling to ``size`` with aligned corners followed by indexing.
    """
    last = torch.tensor([max(s - 1, 1) for s in size], dtype=feature.dtype)
    rows_cols = points.to(feature.dtype) / last * 2 - 1
    grid = rows_cols.flip(-1)[None, None].expand(len(feature), -1, -1, -1)  # grid_sample wants (x, y) in [-1, 1]
    sampled = F.grid_sample(feature, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled[:, :, 0].transpose(1, 2)


def sample_labels(label: Tensor, points: Tensor) -> Tensor:
    """Label (B, H, W) at points (N, 2) -> (B, N)."""
    return label[:, points[:, 0], points[:, 1]]


def update_prototypes(prototypes: Tensor, k: int, feature: Tensor, label: Tensor, momentum: float = 0.99) -> Tensor:
    """New prototypes (C * K, D) after a step's raw features (N, D) with labels (N,), 255 for pixels that do not count.

    A pixel belongs to the prototype of its class with the highest cosine (the first of equals); a prototype that got
    pixels moves to momentum * itself + (1 - momentum) * their mean.
    """
    updated = prototypes.clone()
    for c in label[label != IGNORE].unique().tolist():
        own = feature[label == c]
        rows = prototypes[c * k : (c + 1) * k]
        nearest = (F.normalize(own, dim=1) @ F.normalize(rows, dim=1).T).argmax(1)
        for j in nearest.unique().tolist():
            updated[c * k + j] = momentum * rows[j] + (1 - momentum) * own[nearest == j].mean(0)
    return updated


def ema_decay(step: int, decay: float = 0.99) -> float:
    """min(1 - 1 / (step + 1), decay): the first step copies."""
    return min(1 - 1 / (step + 1), decay)


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, step: int, decay: float = 0.99, statistics: bool = True
) -> None:
    """EMA of trained parameters and BatchNorm statistics; prototypes and counters are copied.

    ``statistics`` False: of trained parameters alone, all else stays the teacher's own.
    """
    keep = ema_decay(step, decay)
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    source = student.state_dict()
    for name, value in teacher.state_dict().items():
        if name in trained or (statistics and name.endswith(("running_mean", "running_var"))):
            value.copy_(keep * value + (1 - keep) * source[name])
        elif statistics:
            value.copy_(source[name])


def make_optimizer(
    network: nn.Module, lr: float, momentum: float, weight_decay: float, head_factor: float
) -> torch.optim.SGD:
    """SGD with the encoder at ``lr`` and every other trained parameter at ``lr * head_factor``; all decay alike."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    encoder = [p for name, p in named if name.startswith("encoder.")]
    heads = [p for name, p in named if not name.startswith("encoder.")]
    groups = [{"params": encoder, "lr": lr}, {"params": heads, "lr": lr * head_factor}]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)


def poly_schedule(
    optimizer: torch.optim.Optimizer, total: int, power: float = 0.9
) -> torch.optim.lr_scheduler.PolynomialLR:
    """lr * (1 - step / total) ** power; call ``step()`` after every optimizer step."""
    return torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=total, power=power)


def box_masks(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (B, 4) = (row, column, height, width) -> (B, H, W), True inside."""
    rows, cols = torch.arange(size[0])[None, :, None], torch.arange(size[1])[None, None, :]
    top, left, height, width = boxes[:, :, None, None].unbind(1)
    return (rows >= top) & (rows < top + height) & (cols >= left) & (cols < left + width)


def cutmix(values: Tensor, inside: Tensor) -> Tensor:
    """Paste the next image of the batch (cyclic) into the box: values (B, ..., H, W), inside (B, H, W)."""
    inside = inside.reshape(len(values), *[1] * (values.dim() - 3), *inside.shape[-2:])
    return torch.where(inside, values.roll(-1, dims=0), values)

"""UniMatch in plain PyTorch: its network under its own names, and one training step of it and of its FixMatch.

B images of each kind, V strong views, (H, W) pixels, C classes. Source: https://arxiv.org/abs/2208.09910.
"""

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import Encoder, NetworkSpec


def _unit(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU())


class Pooling(nn.Module):
    def __init__(self, cin: int, planes: int, pool_norm: bool) -> None:
        super().__init__()
        conv = _unit(nn.Conv2d(cin, planes, 1, bias=False)) if pool_norm else (nn.Conv2d(cin, planes, 1), nn.ReLU())
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.gap(x), x.shape[-2:], mode="bilinear", align_corners=True)


class ASPP(nn.Module):
    def __init__(self, cin: int, planes: int, rates: tuple[int, ...], pool_norm: bool) -> None:
        super().__init__()
        self.b0 = _unit(nn.Conv2d(cin, planes, 1, bias=False))
        for i, rate in enumerate(rates, 1):
            setattr(self, f"b{i}", _unit(nn.Conv2d(cin, planes, 3, padding=rate, dilation=rate, bias=False)))
        setattr(self, f"b{len(rates) + 1}", Pooling(cin, planes, pool_norm))
        self.count = len(rates) + 2
        self.project = _unit(nn.Conv2d(self.count * planes, planes, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([getattr(self, f"b{i}")(x) for i in range(self.count)], 1))


class Network(nn.Module):
    """Logits (B, C, H, W); with ``channels`` also those of the perturbed features, both maps multiplied by their masks.

    spec: no multi-grid, no auxiliary or other head is looked at.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.backbone = Encoder(dataclasses.replace(spec, multi_grid=None))
        self.backbone.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        low, *_, high = self.backbone.out_channels
        planes = spec.inner_planes
        self.head = ASPP(high, planes, spec.aspp_dilations, spec.pool_norm)
        self.reduce = _unit(nn.Conv2d(low, 48, 1, bias=False))
        first = nn.Conv2d(planes + 48, planes, 3, padding=1, bias=False)
        self.fuse = nn.Sequential(*_unit(first), *_unit(nn.Conv2d(planes, planes, 3, padding=1, bias=False)))
        self.classifier = nn.Conv2d(planes, spec.num_classes, 1)

    def forward(self, x: Tensor, channels: tuple[Tensor, Tensor] | None = None) -> Tensor | tuple[Tensor, Tensor]:
        low, *_, high = self.backbone(x)
        if channels is None:
            return self._decoded(low, high, x.shape[-2:])
        maps = (torch.cat([part, part * mask]) for part, mask in zip((low, high), channels, strict=True))
        return self._decoded(*maps, x.shape[-2:]).chunk(2)

    def _decoded(self, low: Tensor, high: Tensor, size: tuple[int, int]) -> Tensor:
        head = F.interpolate(self.head(high), low.shape[-2:], mode="bilinear", align_corners=True)
        logits = self.classifier(self.fuse(torch.cat([self.reduce(low), head], 1)))
        return F.interpolate(logits, size, mode="bilinear", align_corners=True)


@dataclass(frozen=True)
class StepBatch:
    """What a step is given: images, padding and draws. The partner's views are pasted where ``boxes`` are True."""

    image_l: Tensor  # (B, 3, H, W)
    label_l: Tensor  # (B, H, W)
    weak: Tensor  # (B, 3, H, W)
    strong: Tensor  # (V, B, 3, H, W)
    inside: Tensor  # (B, H, W) bool
    partner_weak: Tensor
    partner_strong: Tensor
    partner_inside: Tensor
    boxes: Tensor  # (V, B, H, W) bool
    channels: tuple[Tensor, Tensor] | None  # (2B, channels, 1, 1) each; None for FixMatch


def step(network: Network, optimizer: torch.optim.Optimizer, batch: StepBatch, threshold: float, criterion) -> dict:
    """One update in place; the gradients stay in ``.grad``. Returns the terms, weights not applied."""
    network.eval()
    with torch.no_grad():
        confidence_p, label_p = network(batch.partner_weak).softmax(1).max(1)
    network.train()
    optimizer.zero_grad()
    count, both = len(batch.weak), torch.cat([batch.image_l, batch.weak])
    pred, perturbed = (network(both), None) if batch.channels is None else network(both, batch.channels)
    views = torch.where(batch.boxes[:, :, None], batch.partner_strong, batch.strong)
    logits = network(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    confidence, label = pred[count:].detach().softmax(1).max(1)

    def loss(logits: Tensor, label: Tensor, confidence: Tensor, inside: Tensor) -> Tensor:
        pixels = F.cross_entropy(logits, label, reduction="none") * ((confidence >= threshold) & inside)
        return pixels.sum() / inside.sum()

    terms = {"sup": criterion(pred[:count], batch.label_l)}
    of_views = [
        loss(
            logits[view],
            torch.where(box, label_p, label),
            torch.where(box, confidence_p, confidence),
            torch.where(box, batch.partner_inside, batch.inside),
        )
        for view, box in enumerate(batch.boxes)
    ]
    if batch.channels is None:
        (terms["unsup"],) = of_views
        total = (terms["sup"] + terms["unsup"]) / 2
    else:
        terms |= {f"unsup_{view + 1}": value for view, value in enumerate(of_views)}
        terms["unsup_feature"] = loss(perturbed[count:], label, confidence, batch.inside)
        total = (terms["sup"] + 0.25 * (of_views[0] + of_views[1]) + 0.5 * terms["unsup_feature"]) / 2
    total.backward()
    optimizer.step()
    ratio = ((confidence >= threshold) & batch.inside).sum() / batch.inside.sum()
    return {name: term.item() for name, term in terms.items()} | {"mask_ratio": ratio.item()}

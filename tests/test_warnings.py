"""What is said of runs that may be worth little."""

from pathlib import Path

from semiseg.data.specs import get_spec
from semiseg.data.warnings import few_images_warning, lost_by_unlabeled, random_weights_warning


def test_without_pretrained_weights_only_published_data_sets_are_warned_of():
    pascal, synthetic = (get_spec(name) for name in ("pascal", "synthetic"))
    assert "stay far below every published table of pascal" in random_weights_warning(pascal, None)
    assert random_weights_warning(pascal, Path("resnet101.pth")) == ""
    assert random_weights_warning(synthetic, None) == ""


def test_few_images_behind_image_pooling_are_warned_of_unless_no_batchnorm_is_there():
    assert few_images_warning(4, pool_norm=True) == few_images_warning(2, pool_norm=False) == ""
    assert "each channel by 2 numbers" in few_images_warning(2, pool_norm=True)


def test_a_score_that_fell_after_the_supervised_phase_is_said_with_what_to_try():
    assert lost_by_unlabeled(60.0, 60.0) == lost_by_unlabeled(60.0, 61.0) == ""
    said = lost_by_unlabeled(60.6, 56.9)
    assert said.startswith(
        "unlabelled images made it worse: mIoU 60.60 at the end of the supervised phase, 56.90 at the end"
    )
    assert "trainer.sup_only_epoch" in said

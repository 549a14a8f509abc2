"""What a run would be: the learning rate that belongs to the number of images a step."""

import pytest
from tiny import ROOT

from semiseg.common.errors import ConfigError
from semiseg.config import load
from semiseg.data.build import complete
from semiseg.engine.plan import check_folder, learning_rate_factor


def plan_of(*overrides, name="pascal/92/ours", world=1):
    config, spec = complete(load(ROOT / "experiments" / name, overrides))
    return learning_rate_factor(config, spec, config.dataset.batch_size * config.trainer.accumulate * world)


def test_the_published_number_of_images_is_no_matter_for_words():
    assert plan_of(world=8) == (1.0, [])
    assert plan_of("dataset.batch_size=4", "trainer.accumulate=2", world=2) == (1.0, [])
    assert plan_of(name="cityscapes/186/ours", world=8) == (1.0, [])


def test_another_number_keeps_the_rate_and_says_so_once():
    factor, notes = plan_of(world=2)
    assert factor == 1
    assert notes == [
        "4 labelled images a step (batch_size x accumulate x devices), published are 16; lr 0.001 stays. "
        "trainer.scale_lr=true would take 0.00025, trainer.accumulate=4 comes nearest to the published number"
    ]


def test_the_rate_is_scaled_where_that_is_asked_for():
    factor, notes = plan_of("trainer.scale_lr=true", world=4)
    assert factor == 0.5
    assert notes == ["trainer.scale_lr: lr 0.001 x 8/16 = 0.0005"]


def test_without_a_published_number_there_is_nothing_to_say_or_to_scale():
    assert plan_of(name="synthetic/16/ours", world=3) == (1.0, [])
    with pytest.raises(ConfigError, match=r"trainer\.scale_lr: synthetic has no published number"):
        plan_of("trainer.scale_lr=true", name="synthetic/16/ours")


def test_a_checkpoint_of_a_run_that_nothing_describes_is_not_gone_on_from(tmp_path):
    config = load(ROOT / "experiments/synthetic/16/ours")
    assert check_folder(tmp_path, config) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step_00000008.ckpt").write_bytes(b"of whom?")
    with pytest.raises(ConfigError, match=r"step_0.*8\.ckpt: .*resolved\.yaml is not there, .*resume=never"):
        check_folder(tmp_path, config)
    assert check_folder(tmp_path, load(ROOT / "experiments/synthetic/16/ours", ["trainer.resume=never"])) is None

"""Keys without a choice are gone; files that still write them load, as long as they say what is so."""

import pytest
from tiny import ROOT, TINY_NET

from semiseg.common.errors import ConfigError
from semiseg.config import dump, flatten, load
from semiseg.config.keys import Config
from semiseg.config.retired import RETIRED
from semiseg.data.build import complete
from semiseg.engine import build
from semiseg.models import build_model

OLD = """
dataset:
  n_sup: 183
  train:
    crop: {type: rand, size: [65, 65]}
  val:
    crop: {type: center, size: [65, 65]}
trainer:
  optimizer: {type: SGD, decoder_lr_times: 2.0}
  lr_scheduler: {mode: poly}
net:
  num_classes: 21
  decoder: {type: dec_deeplabv3_plus}
  aux_loss: {aux_plane: 1024}
  proto_head: {in_planes: 512}
"""


def loaded(tmp_path, text, *overrides):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load(path, overrides)


def test_an_old_file_loads_to_what_it_says_without_them(tmp_path):
    old = loaded(tmp_path, OLD)
    assert not set(RETIRED) & set(flatten(old))
    assert (old.dataset.train.crop.size, old.trainer.optimizer.decoder_lr_times) == ((65, 65), 2.0)
    assert old.net.aux_loss
    assert old.net.proto_head
    assert {key: leaf.value for key, leaf in old.stated.items()} == {
        "dataset.n_sup": 183,
        "net.num_classes": 21,
        "net.aux_loss.aux_plane": 1024,
        "net.proto_head.in_planes": 512,
    }
    assert old.stated["dataset.n_sup"].origin == str(tmp_path / "config.yaml")
    again = loaded(tmp_path, dump(old))
    assert (again == old, again.stated) == (True, {})


@pytest.mark.parametrize("key", RETIRED)
def test_null_stands_for_what_follows_and_for_no_choice(tmp_path, key):
    if isinstance(RETIRED[key].legal, range):
        assert loaded(tmp_path, "", f"{key}=null").stated == {}
    else:
        with pytest.raises(ConfigError, match=f"command line: {key}: expected "):
            loaded(tmp_path, "", f"{key}=null")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.optimizer.type=adam", "expected SGD (there is no other), got 'adam' (text)"),
        ("trainer.lr_scheduler.mode=cosine", "expected poly (there is no other), got 'cosine' (text)"),
        ("dataset.train.crop.type=center", "expected rand (training draws its crops), got 'center' (text)"),
        ("dataset.n_sup=many", "expected a whole number or null, got 'many' (text)"),
        ("dataset.n_sup=true", "expected a whole number or null, got True (true/false)"),
        ("net.num_classes=[3]", "expected 2..255 or null, got [3] (a list)"),
        ("net.proto_head.in_planes={a: 1}", "expected a whole number or null, got a mapping"),
    ],
)
def test_another_value_is_refused_with_place_and_expectation(tmp_path, override, message):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, "", override)
    assert str(caught.value) == f"command line: {override.partition('=')[0]}: {message}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("net.num_classes=7", "net.num_classes: synthetic has 6 classes, got 7; leave the key out"),
        (
            "net.proto_head.in_planes=512",
            "net.proto_head.in_planes: this network has 16 channels there, got 512; leave the key out or mend it",
        ),
        (
            "net.aux_loss.aux_plane=1024",
            "net.aux_loss.aux_plane: this network has 16 channels there, got 1024; leave the key out or mend it",
        ),
    ],
)
def test_a_number_that_is_not_the_derived_one_is_refused(tmp_path, override, message):
    with pytest.raises(ConfigError) as caught:
        build.fresh_network(complete(loaded(tmp_path, "", *TINY_NET, override))[0], seed=0)
    assert str(caught.value) == f"command line: {message}"
    right = override.partition("=")[0] + ("=6" if "classes" in override else "=16")
    assert build.fresh_network(complete(loaded(tmp_path, "", *TINY_NET, right))[0], seed=0)


def test_a_misspelt_neighbour_is_told_the_keys_that_are_there(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key trainer\.optimizer\.typ; known here: decoder_lr_times, kwargs"):
        loaded(tmp_path, "", "trainer.optimizer.typ=SGD")


def test_the_number_of_classes_is_the_data_sets_and_no_key():
    config, spec = complete(load(ROOT / "experiments/pascal/183/ours"))
    assert config.net.num_classes == spec.num_classes == 21
    assert "num_classes" not in dump(config)
    assert Config().net.num_classes is None


def test_a_stated_number_of_classes_builds_a_network_without_a_data_set(tmp_path):
    small = [*TINY_NET, "net.proto_head={num_micro_proto: 2, in_planes: 16}", "net.aux_loss=null"]
    net = loaded(tmp_path, OLD, *small).net
    assert net.num_classes == 21
    assert build_model(net).proto_net.proto_list.shape == (42, 16)
    assert loaded(tmp_path, "method: suponly").net.num_classes is None

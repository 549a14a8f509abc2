"""Which differences of two configurations make another run."""

import pytest
from tiny import config_of

from semiseg.config.same_run import changed_keys

METHODS = {"suponly": [], "mean_teacher": ["net.proto_head=null"], "ours": []}


def changed(method, before, now):
    was, is_now = (config_of(f"method={method}", *METHODS[method], *keys) for keys in (before, now))
    return changed_keys(was, is_now)


@pytest.mark.parametrize("method", METHODS)
def test_keys_that_the_method_reads_make_another_run_and_others_do_not(method):
    found = changed(method, ["trainer.unsupervised.targets=hard"], ["trainer.unsupervised.targets=soft"])
    sentence = "trainer.unsupervised.targets was hard, now soft"
    assert found == ({} if method == "suponly" else {"trainer.unsupervised.targets": sentence})


def test_a_key_that_one_of_both_reads_makes_another_run():
    key = "trainer.unsupervised.confid_thresh"
    soft, hard = (f"trainer.unsupervised.targets={kind}" for kind in ("soft", "hard"))
    assert set(changed("ours", [soft, f"{key}=0.5"], [hard, f"{key}=0.9"])) == {key, "trainer.unsupervised.targets"}
    assert changed("ours", [soft, f"{key}=0.5"], [soft, f"{key}=0.9"]) == {}
    assert set(changed("ours", [hard, f"{key}=0.5"], [hard, f"{key}=0.9"])) == {key}


def test_what_touches_no_result_is_free_but_for_the_folder_of_checkpoints():
    free = [
        "dataset.workers=3",
        "dataset.splits=/moved/splits",
        "dataset.data_root=/moved",
        *(f"dataset.{part}=/moved/x" for part in ("train.data_root", "train.data_list", "train.unlabeled_list")),
        *(f"dataset.{part}=/moved/y" for part in ("val.data_root", "val.data_list")),
        "saver.every=7",
        "monitor.tracker=none",
        "trainer.log_every=9",
    ]
    assert changed("suponly", [], free) == {}
    assert changed("ours", ["dataset.train.unlabeled_dir=/a"], ["dataset.train.unlabeled_dir=/b"]) == {}
    assert set(changed("suponly", [], ["saver.snapshot_dir=elsewhere"])) == {"saver.snapshot_dir"}

"""Keys that nothing reads in a run are named, and what the fields say about that is what a run does."""

from collections.abc import Iterator

import pytest
from tiny import ROOT, TINY_NET

from semiseg import cli, evaluate, train
from semiseg.common.errors import ConfigError
from semiseg.config import flatten, load, reference
from semiseg.config.fields import Section
from semiseg.config.keys import METHODS, Config, CustomConfig
from semiseg.config.loading import one_line
from semiseg.config.unread import unread_in, unread_keys
from semiseg.engine import learnt, plan
from semiseg.methods import METHODS as REAL

LEAF_KEYS = set(flatten(reference.filled(Config())))
LEAVES = sorted(ROOT.glob("experiments/*/*/*/config.yaml"))


def notes_of(tmp_path, text, *overrides):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return unread_keys(load(path, overrides))


# ---- what is said


@pytest.mark.parametrize(
    ("override", "others", "reason"),
    [
        (
            "trainer.unsupervised.rule=entropy",
            [],
            "method is suponly, not mean_teacher, u2pl, ael, ours, fixmatch or unimatch",
        ),
        ("trainer.unsupervised.rule=entropy", ["method=unimatch"], "method is unimatch, not mean_teacher"),
        ("trainer.weak_to_strong.box_prob=1", ["method=ours"], "method is ours, not fixmatch or unimatch"),
        ("trainer.weak_to_strong.feature_dropout=0.1", ["method=fixmatch"], "method is fixmatch, not unimatch"),
        ("dataset.train.strong={}", ["method=suponly"], "method is suponly, not mean_teacher"),
        ("trainer.adaptive={}", [], "method is suponly"),
        ("trainer.adaptive.momentum=0.9", [], "method is suponly"),
        ("trainer.teacher_start=semi_phase", [], "method is suponly"),
        ("monitor.pseudo_labels=true", [], "method is suponly"),
        ("trainer.contrastive={}", ["method=ours"], "method is ours, not u2pl"),
        ("trainer.adaptive.momentum=0.1", ["method=ours"], "method is ours, not ael"),
        ("trainer.adaptive={}", ["method=mean_teacher"], "method is mean_teacher, not ael"),
        ("trainer.adaptive.gamma2=2", ["method=ours"], "method is ours, not ael"),
        (
            "trainer.adaptive.gamma2=2",
            ["method=ael", "trainer.adaptive.sample=false"],
            "trainer.adaptive.sample is false, not true",
        ),
        (
            "trainer.unsupervised.apply_aug=classmix",
            ["method=ours", "trainer.adaptive.cutmix={}"],
            "trainer.adaptive.cutmix is written, not null",
        ),
        (
            "trainer.unsupervised.aug_prob=1",
            ["method=ours", "trainer.unsupervised.apply_aug=none"],
            "trainer.unsupervised.apply_aug is none, not cutmix, classmix or cutout",
        ),
        (
            "trainer.unsupervised.confid_thresh=0.9",
            ["method=ours", "trainer.unsupervised.rule=entropy"],
            "trainer.unsupervised.rule is entropy, not confidence",
        ),
        ("trainer.unsupervised.confid_thresh=0.9", ["method=ael"], "method is ael, not mean_teacher or ours"),
        (
            "trainer.unsupervised.drop_percent=90",
            ["method=ours"],
            "trainer.unsupervised.rule is confidence, not entropy",
        ),
        ("dataset.split_seed=3", [], "dataset.labeled_ratio is null, not set"),
        ("evaluation.crop_size=[65, 65]", [], "evaluation.mode is whole, not slide"),
        ("dataset.val.crop.size=[65, 65]", [], "evaluation.mode is whole, not center"),
        ("criterion.kwargs.thresh=0.6", [], "criterion.type is CELoss, not ohem"),
        (
            "net.proto_head.init_samples=50",
            ["method=ours", "net.proto_head.init_proto_path=p.npz"],
            "net.proto_head.init_proto_path is",
        ),
        (
            "net.proto_head.proto_update_momentum=0.5",
            ["method=ours", "net.proto_head.dynamic_update_proto=false"],
            "net.proto_head.dynamic_update_proto is false, not true",
        ),
        ("trainer.eval_every=3", ["trainer.eval_on=false"], "trainer.eval_on is false, not true"),
        ("monitor.panels=3", ["monitor.tensorboard=false"], "monitor.tensorboard is false, not true"),
        ("saver.name=mine", ["saver.main_dir=run"], "saver.main_dir is"),
    ],
)
def test_what_nothing_reads_is_named_with_the_reason(tmp_path, override, others, reason):
    key = override.partition("=")[0]
    notes = [note for note in notes_of(tmp_path, "", override, *others) if note.startswith(f"{key} ")]
    assert len(notes) == 1
    assert notes[0].startswith(f"{key} (command line) is not read: {reason}")


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=ours", "trainer.unsupervised.confid_thresh=0.9"],
        ["method=ours", "trainer.adaptive.cutmix={}", "trainer.unsupervised.aug_prob=1"],
        ["method=ael", "trainer.adaptive.gamma2=2"],
        ["method=u2pl", "trainer.contrastive={}", "net.decoder.kwargs.rep_head=true"],
        ["trainer.contrastive=null", "trainer.adaptive=null", "net.proto_head=null", "evaluation.base_size=null"],
        ["trainer.eval_mode=slide", "evaluation.crop_size=[65, 65]"],
        ["evaluation.mode=center", "dataset.val.crop.size=[65, 65]"],
        ["dataset.labeled_ratio=0.5", "dataset.split_seed=3"],
        ["criterion.type=ohem", "criterion.kwargs.thresh=0.6"],
        ["method=a_users_own", "trainer.unsupervised.rule=entropy", "trainer.contrastive={}"],
    ],
)
def test_what_is_read_and_what_is_switched_off_is_not_named(tmp_path, overrides):
    assert notes_of(tmp_path, "", *overrides) == []


def test_who_wrote_a_key_is_named_and_bases_for_several_experiments_are_not(tmp_path):
    text = "method: ours\ntrainer: {unsupervised: {rule: entropy, confid_thresh: 0.9}}\n"
    (note,) = notes_of(tmp_path, text)
    assert note.startswith(f"trainer.unsupervised.confid_thresh ({tmp_path}/config.yaml) is not read: ")
    for folder, count in (("mine", 1), ("_base", 0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "low.yaml").write_text(text)
        assert len(notes_of(tmp_path, f"base: {folder}/low.yaml")) == count
    (tmp_path / "config.resolved.yaml").write_text(text)
    assert unread_keys(load(tmp_path / "config.resolved.yaml")) == []


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda path: "/".join(path.parts[-4:-1]))
def test_no_shipped_experiment_is_reproached(leaf):
    assert unread_keys(load(leaf)) == []


def test_conditions_name_keys_and_methods_that_are_there():
    assert set(METHODS) <= set(REAL)  # of a method that is not named here nothing is said
    known = LEAF_KEYS | {name for name, _, _ in reference.sections(Config)}
    fields = [Config, *(kind for _, kind, _ in reference.sections(Config))]
    named = {
        (switch, value)
        for kind in fields
        for field in kind.model_fields.values()
        for condition in (field.json_schema_extra or {}).get("read_if", ())
        for switch, needed in condition.items()
        for value in (needed if isinstance(needed, tuple) else (needed,))
    }
    assert {switch for switch, _ in named} <= known
    assert {value for switch, value in named if switch == "method"} <= set(METHODS)


# ---- what a run does

# Read in runs in which they change nothing.
WITHOUT_EFFECT = {
    "dataset.val.crop.size": "the loader of validation images carries it whatever the mode",
    "monitor.pseudo_labels": "asked before the method is",
    "trainer.eval_every": "the loop counts the steps to an evaluation that does not come",
    "trainer.sup_only_epoch": "the log shows the phases",
    "trainer.teacher_start": "asked before the method is",
    "trainer.unsupervised.aug_prob": "asked before it is known that there is no mixer",
    "trainer.unsupervised.drop_percent": "the percentage is handed over before the rule is asked for",
}
# Read by none of the runs below: they have no such data, give a run folder, and compare with no published score.
ELSEWHERE = {
    *("expected.miou", "expected.proto_miou", "expected.tolerance", "saver.root", "saver.name"),
    *(f"dataset.custom.{key}" for key in CustomConfig.model_fields),
}
FEW_PROTOTYPES = ["net.proto_head.select_granularity=8", "net.proto_head.init_samples=100"]
RUNS = {
    "suponly": ["trainer.adaptive={cutmix: {}}", "monitor.pseudo_labels=true", "criterion.type=ohem"],
    "mean_teacher": [
        *("trainer.unsupervised={rule: entropy, apply_aug: none}", "trainer.eval_mode=center"),
        *("trainer.teacher_start=semi_phase", "monitor.pseudo_labels=true", "dataset.split=null"),
        *("dataset.labeled_ratio=0.4", "dataset.on_error=skip", "net.aux_loss={}"),
    ],
    "u2pl": ["evaluation={mode: slide, crop_size: [33, 33], base_size: 50}", "trainer.contrastive.num_queries=4"],
    "ael": ["evaluation.mode=center", "dataset.val.crop.size=[40, 40]"],
    "ours": [
        *FEW_PROTOTYPES,
        *("net.proto_head.dynamic_update_proto=false", "monitor.tensorboard=false"),
        "trainer.adaptive={cutmix: {}, copy_paste: {number: 1}}",
    ],
    "fixmatch": ["trainer.weak_to_strong.box_prob=1", "trainer.eval_on=false"],
    "unimatch": ["trainer.weak_to_strong.box_prob=1", "trainer.eval_on=false"],
    "ours again": [
        *FEW_PROTOTYPES,
        "trainer.eval_on=false",
        "trainer.unsupervised={apply_aug: classmix, targets: hard}",
    ],
}


class Reads:
    """The dotted keys whose values are asked for; not those that loading and checking look at."""

    def __init__(self, monkeypatch):
        self.keys: set[str] = set()
        self._off = False
        kinds = {"": Config} | {f"{name}.": kind for name, kind, _ in reference.sections(Config)}
        assert len(set(kinds.values())) == len(kinds), "a section type of two places could not be told apart"
        names = {(kind, field): prefix + field for prefix, kind in kinds.items() for field in kind.model_fields}
        names = {place: dotted for place, dotted in names.items() if dotted in LEAF_KEYS}

        def look(section, name):
            if not self._off and (type(section), name) in names:
                self.keys.add(names[type(section), name])
            return object.__getattribute__(section, name)

        monkeypatch.setattr(Section, "__getattribute__", look, raising=False)
        for module, function in (
            (train, "load"),
            (train, "unread_in"),
            (evaluate, "load"),
            (plan, "load"),
            (learnt, "load"),
            (plan, "unread_keys"),
            (plan, "changed_keys"),
            (evaluate, "unread_keys"),
        ):
            monkeypatch.setattr(module, function, self._unseen(getattr(module, function)))

    def _unseen(self, function):
        def call(*args):
            self._off = True
            try:
                result = function(*args)
                return list(result) if isinstance(result, Iterator) else result
            finally:
                self._off = False

        return call


@pytest.fixture(scope="module")
def reads_of_runs(tmp_path_factory, tiny_data):
    """Run -> (keys it reads from its plan to the evaluation of its checkpoint, keys said to be unread)."""
    found = {}
    for name, overrides in RUNS.items():
        folder = tmp_path_factory.mktemp("run")
        path = folder / "config.yaml"
        path.write_text(
            f"base: {ROOT}/experiments/synthetic/16/{name.split()[0]}/config.yaml\n"
            f"dataset: {{data_root: '{tiny_data}', splits: '{tiny_data}/splits', split: 4, workers: 0}}\n"
            "trainer: {epochs: 2, sup_only_epoch: 1, eval_every: 1, jit: false, log_every: 2}\n"
            f"saver: {{main_dir: '{folder}/run', every: 4}}\n"
        )
        arguments = [*TINY_NET, "dataset.train.crop.size=[33, 33]", "dataset.batch_size=2", "device=cpu", *overrides]
        unread = {key for key, _ in unread_in(load(path, arguments))}
        with pytest.MonkeyPatch.context() as patch:
            reads = Reads(patch)
            assert cli.run(train.main, ["--config", str(path), *arguments]) == 0
            if "trainer.eval_on=false" not in arguments:
                assert cli.run(evaluate.main, ["--config", str(path), *arguments]) == 0
        found[name] = reads.keys, unread
    return found


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reads_nothing_that_is_said_to_be_unread(reads_of_runs, name):
    read, unread = reads_of_runs[name]
    assert (read & unread) - set(WITHOUT_EFFECT) == set()


def test_every_key_is_read_by_a_run_that_is_said_to_read_it(reads_of_runs):
    read = set().union(*(read - unread for read, unread in reads_of_runs.values()))
    assert LEAF_KEYS - read == ELSEWHERE


# ---- an override of one key concerns no other


def another(value):
    """A value of the same kind that may or may not be legal."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "center" if isinstance(value, str) else [65, 65] if isinstance(value, tuple) and len(value) == 2 else value


def loaded(path, override):
    """(the configuration, None), or (None, why it is refused)."""
    try:
        return load(path, [override]), None
    except ConfigError as error:
        return None, str(error)


@pytest.mark.parametrize("leaf", ["pascal/183/ours", "cityscapes/186/ael"])
@pytest.mark.parametrize("change", [lambda value: value, another], ids=["its own value", "another value"])
def test_an_override_of_one_key_changes_and_complains_of_no_other(leaf, change):
    path = ROOT / "experiments" / leaf
    before = load(path)
    flat, notes = flatten(before), unread_keys(before)
    for key, value in flat.items():
        new = change(value)
        config, error = loaded(path, f"{key}={one_line(new)}")
        if config is None:
            assert new != value, error
            assert key in error
            continue
        now = flatten(config)
        assert {other for other in now | flat if now.get(other) != flat.get(other)} <= {key}
        assert [note for note in unread_keys(config) if not note.startswith(f"{key} ")] == notes


def test_the_crop_that_is_scored_is_set_without_a_word_on_other_keys():
    overrides = ["trainer.eval_mode=center", "dataset.val.crop.size=[33, 33]"]
    config = load(ROOT / "experiments/pascal/183/ours", overrides)
    assert (config.trainer.eval_mode, config.dataset.val.crop.size) == ("center", (33, 33))
    assert unread_keys(config) == []


def test_what_a_checkpoint_says_is_nobodys_wish(tmp_path):
    config = load(ROOT / "experiments/synthetic/16/suponly", ["trainer.teacher_start=semi_phase"])
    assert unread_keys(config)
    origins = {key: str(tmp_path / "best.ckpt") for key in config.origins}
    assert unread_keys(config.model_copy(update={"origins": origins})) == []

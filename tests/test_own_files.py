"""The files of an experiment on one's own images: what stands in them, and all of them or none."""

from collections import Counter

import pytest
from tiny import ROOT

from semiseg.common.errors import ConfigError
from semiseg.config.yaml_text import read_yaml
from semiseg.prepare.own import files
from semiseg.prepare.own.classes import Classes
from semiseg.prepare.own.files import Lists, Proposal, write
from semiseg.prepare.own.recipe import Images, Machine, recipe_for

NAMES = ("so:il # 1", "crop\nrow", "null")


@pytest.fixture
def proposal(tmp_path):
    colors = ((0, 0, 0), (0, 9, 0), (9, 0, 0))
    why = {"masks": "4 masks of colors", "classes": f"3: {', '.join(NAMES)}", "ignore": "nothing"}
    classes = Classes(NAMES, "color", colors, 255, (255, 255, 255), {}, why, True)
    recipe = recipe_for(Images(Counter({(3000, 4000): 1}), 20), Machine("cpu", 20, "here"))
    lists = Lists(["a", "b"], ["c"], ["d"], {"seed": 3}, {})
    why = {**why, **recipe.why}
    command = "semiseg new 'two\nlines'"
    return Proposal("12", tmp_path / "my data", "i/{id}.jpg", "m/{id}.png", classes, recipe, lists, why, command)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clone/experiments").mkdir(parents=True)
    (tmp_path / "clone/experiments/_base").symlink_to(ROOT / "experiments/_base")
    return tmp_path / "clone/experiments/12"


def test_names_that_yaml_would_read_otherwise_come_back(proposal, folder):
    write(proposal, folder, folder.parents[1])
    custom = read_yaml(folder / "_base/data.yaml")["dataset"]["custom"]
    assert (custom["name"], custom["classes"]) == ("12", list(NAMES))
    assert (custom["colors"][2], custom["ignore_color"]) == ([9, 0, 0], [255, 255, 255])


def test_data_in_the_clone_are_named_from_the_file_and_others_in_full(proposal, folder):
    write(proposal, folder, folder.parents[1])
    assert read_yaml(folder / "_base/data.yaml")["dataset"]["data_root"] == str(proposal.root)
    inside = proposal._replace(root=folder.parents[1] / "data/x")
    write(inside, folder.with_name("13"), folder.parents[1])
    assert read_yaml(folder.with_name("13") / "_base/data.yaml")["dataset"]["data_root"] == "../../../data/x"


def test_every_guess_has_its_reason_beside_it(proposal, folder):
    write(proposal, folder, folder.parents[1])
    text = (folder / "_base/data.yaml").read_text()
    for topic in ("crop", "scale", "epochs", "batch", "encoder", "masks", "ignore"):
        assert proposal.why[topic] in text, topic
    tree = read_yaml(folder / "_base/data.yaml")
    assert tree["dataset"]["train"] == {"rand_resize": [0.08, 0.24], "crop": {"size": [257, 257]}}
    assert tree["evaluation"]["scales"] == [0.16]


@pytest.mark.parametrize("method", files.METHODS)
def test_a_method_is_a_folder_like_those_that_come_with_semiseg(proposal, folder, method):
    write(proposal, folder, folder.parents[1])
    for action in ("train", "eval"):
        script, shipped = folder / f"2/{method}/{action}.sh", ROOT / f"experiments/custom/20/{method}/{action}.sh"
        assert script.read_bytes() == shipped.read_bytes()
        assert script.stat().st_mode & 0o111
    ours, theirs = (
        read_yaml(path / f"{method}/config.yaml") for path in (folder / "2", ROOT / "experiments/custom/20")
    )
    assert ours["base"][1] == theirs["base"][1]
    assert ours["dataset"] == {"split": "2"}


def test_a_folder_that_is_there_is_kept(proposal, folder):
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"12: is there already and is never replaced"):
        write(proposal, folder, folder.parents[1])
    assert sorted(path.name for path in folder.parent.iterdir()) == ["12", "_base"]
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_what_goes_wrong_half_way_leaves_nothing(proposal, folder, monkeypatch):
    def full(path, ids):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_list", full)
    with pytest.raises(ConfigError, match=r"12: cannot be written \(No space left on device\)"):
        write(proposal, folder, folder.parents[1])
    assert [path.name for path in folder.parent.iterdir()] == ["_base"]


def test_what_could_not_be_used_does_not_stay(proposal, folder):
    twice = proposal.classes._replace(names=("a", "a", "b"))
    with pytest.raises(ConfigError, match="occur twice: a"):
        write(proposal._replace(classes=twice), folder, folder.parents[1])
    assert [path.name for path in folder.parent.iterdir()] == ["_base"]

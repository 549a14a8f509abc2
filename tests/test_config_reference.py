"""docs/configuration.md and experiments/schema.json are what the keys say, and every shipped file fits the schema."""

import json
import re

import jsonschema
import pytest
from tiny import ROOT
from tool import load_tool, run_tool

from semiseg.config import dump, flatten, load, reference
from semiseg.config.keys import Config
from semiseg.config.retired import RETIRED
from semiseg.config.yaml_text import parse_scalar_or_tree, read_yaml

tool = load_tool("config_reference")
SHIPPED = sorted((ROOT / "experiments").rglob("*.yaml"))


@pytest.fixture(scope="module")
def rows():
    """Key -> (default, expected, meaning)."""
    found = {}
    for line in reference.page().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_both_files_are_current(capsys):
    code, _, err = run_tool(capsys, tool, "--check")
    assert (code, err) == (0, ""), "python tools/config_reference.py writes them"


@pytest.mark.parametrize("old", ["page.md", "schema.json"])
def test_an_old_file_is_told_and_written_anew(capsys, tmp_path, monkeypatch, old):
    out = {tmp_path / "page.md": reference.page, tmp_path / "schema.json": reference.json_schema}
    monkeypatch.setattr(tool, "OUT", out)
    assert run_tool(capsys, tool, "--check")[0] == 2
    assert run_tool(capsys, tool)[0] == 0
    assert run_tool(capsys, tool, "--check")[0] == 0
    (tmp_path / old).write_text("old")
    code, _, err = run_tool(capsys, tool, "--check")
    assert (code, f"{tmp_path / old}: is not current" in err) == (2, True)
    assert (tmp_path / old).read_text() == "old"


def test_every_key_has_a_row_with_its_default(rows):
    full = flatten(reference.filled(Config()))
    assert set(full) <= set(rows)
    for key, value in full.items():
        found = parse_scalar_or_tree(rows[key][0].strip("`"), "page")
        plain = list(value) if isinstance(value, tuple) else value
        assert found == plain, key
    assert rows["net.proto_head"][0] == "`null`"
    assert not set(RETIRED) & set(rows)


def test_meaning_range_and_condition_come_from_the_code(rows):
    assert rows["trainer.epochs"] == ["`80`", "at least 1", "an epoch is one pass over the unlabelled list"]
    assert rows["evaluation.base_size"][1] == "at least 1 px or null"
    assert rows["trainer.sup_only_epoch"][1] == "0..80 (trainer.epochs)"
    assert rows["dataset.train.unlabeled_dir"][1] == "a path or null"
    assert rows["criterion.kwargs"][2] == "read where criterion.type is ohem"
    assert rows["trainer.unsupervised"][2] == "read where method is mean_teacher, u2pl, ael, ours, fixmatch or unimatch"


def test_every_key_of_an_experiment_can_be_looked_up(rows):
    for folder in ("cityscapes/186/u2pl", "pascal/183/ours", "custom/20/ours"):
        written = load(tool.ROOT / "experiments" / folder).origins
        assert set(written) <= set(rows)


# ---- the schema for editors


@pytest.fixture(scope="module")
def complaints():
    """Where the schema does not allow what a mapping holds."""
    schema = json.loads((ROOT / "experiments/schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    return lambda content: [".".join(map(str, error.path)) for error in validator.iter_errors(content)]


def test_every_shipped_file_names_the_schema_and_fits_it(complaints):
    assert len(SHIPPED) > 100
    for path in SHIPPED:
        (named,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", path.read_text().partition("\n")[0])
        assert (path.parent / named).resolve() == ROOT / "experiments/schema.json", path
        assert complaints(read_yaml(path)) == [], path


@pytest.mark.parametrize("folder", ["cityscapes/186/u2pl_ael", "pascal/183/ours", "custom/20/suponly"])
def test_a_resolved_configuration_fits_the_schema(complaints, folder):
    assert complaints(parse_scalar_or_tree(dump(load(ROOT / "experiments" / folder)), "dump")) == []


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("base: [a.yaml, b.yaml]", []),
        ("base: a.yaml", []),
        ("{}", []),
        ("net: {proto_head: null, aux_loss: {}}", []),
        ("dataset: {split: 183, custom: {classes: [1, b]}}", []),
        ("trainer: {optimizer: {type: SGD}}", []),
        ("net: {num_classes: 21, proto_head: {in_planes: 512}}", []),
        ("base: 3", ["base"]),
        ("trainer: {epoch: 3}", ["trainer"]),
        ("trainer: {epochs: 0}", ["trainer.epochs"]),
        ("trainer: {epochs: many}", ["trainer.epochs"]),
        ("trainer: {optimizer: {type: Adam}}", ["trainer.optimizer.type"]),
        ("dataset: {train: {crop: {size: [33]}}}", ["dataset.train.crop.size"]),
        ("dataset: {train: {crop: {size: [33, a]}}}", ["dataset.train.crop.size.1"]),
        ("dataset: null", ["dataset"]),
        ("evaluation: {scales: []}", ["evaluation.scales"]),
        ("evaluation: {mode: all}", ["evaluation.mode"]),
        ("origins: {}", [""]),
    ],
)
def test_the_schema_allows_what_loads_and_points_at_what_does_not(complaints, text, places):
    assert complaints(parse_scalar_or_tree(text, "test")) == places


def test_the_schema_explains_keys():
    schema = json.loads(reference.json_schema())
    assert schema["definitions"]["TrainerConfig"]["properties"]["epochs"] == {
        "default": 80,
        "description": "an epoch is one pass over the unlabelled list",
        "minimum": 1,
        "type": "integer",
    }
    assert schema["definitions"]["OptimizerConfig"]["properties"]["type"]["deprecated"] is True
    silent = {
        key
        for section in (schema, *schema["definitions"].values())
        for key, shown in section["properties"].items()
        if "description" not in shown and "$ref" not in str(shown)
    }
    assert silent <= {"momentum", "weight_decay"}

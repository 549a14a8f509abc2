"""The files of an experiment on one's own images: one YAML that all methods share, lists, a folder a method."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semiseg.common.errors import ConfigError
from semiseg.common.files import cannot_write, replace_file
from semiseg.config import load
from semiseg.config.loading import one_line
from semiseg.data.build import complete
from semiseg.data.lists import cleaner
from semiseg.data.splits import write_list, written_list
from semiseg.prepare.own.classes import Classes
from semiseg.prepare.own.recipe import Recipe

DATA = "_base/data.yaml"  # in a folder _base, whose keys need not be read by every method
METHODS = ("suponly", "mean_teacher", "ours")
_SCRIPT = (
    "#!/usr/bin/env bash\n"
    'here="$(dirname "${BASH_SOURCE[0]}")" && exec bash "$here/../../../../tools/launch.sh" ACTION "$here" "$@"\n'
)


# Of the recipe in experiments/_base that goes with an encoder.
_BASES = {
    "efficientnet_lite0": "../../_base/recipes/photographs.yaml",
    "resnet101": "[../../_base/recipes/photographs.yaml, ../../_base/recipes/photographs_resnet101.yaml]",
}


class Lists(NamedTuple):
    """Ids of the three parts. record: for split.json. others: name -> ids of further lists beside val.txt, by the
    owner's own parts: train (what later splits are drawn from) and test.
    """

    labeled: Sequence[str]
    unlabeled: Sequence[str]
    val: Sequence[str]
    record: Mapping[str, object]
    others: Mapping[str, Sequence[str]]


class Proposal(NamedTuple):
    """Everything that was read and guessed. root: data root; image, mask: paths below it. why: topic -> a sentence."""

    name: str
    root: Path
    image: str
    mask: str
    classes: Classes
    recipe: Recipe
    lists: Lists
    why: Mapping[str, str]
    command: str


def data_yaml(proposal: Proposal, folder: Path, clone: Path) -> str:
    """The YAML that describes the data set and its recipe, with the reason beside each value that was guessed."""
    classes, recipe = proposal.classes, proposal.recipe
    why = {topic: " ".join(text.split()) for topic, text in proposal.why.items()}  # a comment is one line
    root = proposal.root
    data_root = os.path.relpath(root, (folder / DATA).parent) if root.is_relative_to(clone) else str(root)
    custom = [
        f"name: {_said(proposal.name)}  # runs go to ckpt/{proposal.name}/",
        f"# {why['classes']}",
        f"classes: {_said(list(classes.names))}",
        f"image: {_said(proposal.image)}  # below data_root",
        f"mask: {_said(proposal.mask)}",
        f"mask_kind: {classes.kind}  # {why['masks']}",
        *([f"colors: {_said([list(c) for c in classes.colors])}"] if classes.colors else []),
        *([f"ignore_color: {_said(list(classes.ignore_color))}"] if classes.ignore_color else []),
    ]
    lines = [
        "# yaml-language-server: $schema=../../schema.json",
        f"base: {_BASES[recipe.encoder]}",
        f"# {' '.join(proposal.command.split())}",
        "# wrote this file, which all folders beside it share. Beside every guess stands why: mend what is wrong.",
        "dataset:",
        "  type: custom",
        "  custom:",
        *(f"    {line}" for line in custom),
        f"  # ignored: {why['ignore']}",
        f"  ignore_label: {classes.ignore_label}",
        f"  data_root: {_said(data_root)}",
        "  splits: ../splits",
        "  train:",
        f"    # {why['scale']}",
        f"    rand_resize: {_said(recipe.rand_resize)}",
        f"    # {why['crop']}",
        f"    crop: {{size: [{recipe.crop}, {recipe.crop}]}}",
        f"  batch_size: {recipe.batch}  # {why['batch']}",
        "trainer:",
        f"  accumulate: {recipe.accumulate}",
        f"  # {why['epochs']}",
        f"  epochs: {recipe.epochs}",
        f"  sup_only_epoch: {recipe.sup_only}",
        f"  eval_every: {recipe.epochs}  # at the end alone: nothing is chosen on the images that are scored",
        "net:",
        "  encoder:",
        f"    # {why['encoder']}",
        f"    type: {recipe.encoder}",
        f"    pretrained: {recipe.weights}  # semiseg weights {recipe.weights} fetches it",
        *(["evaluation:", f"  scales: [{recipe.scale:g}]  # as training sees them"] if recipe.scale != 1 else []),
    ]
    return "\n".join(lines) + "\n"


def _said(value: Any) -> str:
    """As YAML takes it."""
    return one_line(value)


def leaf_yaml(method: str, split: str) -> str:
    """The configuration of one method."""
    return (
        "# yaml-language-server: $schema=../../../schema.json\n"
        f"base: [../../_base/data.yaml, ../../../_base/methods/{method}.yaml]\n"
        f'dataset:\n  split: "{split}"\n'
    )


def write(proposal: Proposal, folder: Path, clone: Path) -> None:
    """All files, which appear together or not at all.

    Raises: ConfigError if ``folder`` is there, cannot be written or could not be used. DataError for an id that no list
        can hold.
    """
    lists, split = proposal.lists, str(len(proposal.lists.labeled))
    with _appearing(folder) as partial:
        replace_file(partial / DATA, data_yaml(proposal, folder, clone))
        for method in METHODS:
            leaf = partial / split / method
            replace_file(leaf / "config.yaml", leaf_yaml(method, split))
            for action in ("train", "eval"):
                replace_file(leaf / f"{action}.sh", _SCRIPT.replace("ACTION", action))
                (leaf / f"{action}.sh").chmod(0o755)
            config, spec = complete(load(leaf))  # what could not be used must not stay
        clean = cleaner(config, spec, "train")
        for name, ids in (
            ("val", lists.val),
            (f"{split}/labeled", lists.labeled),
            (f"{split}/unlabeled", lists.unlabeled),
            *((name, ids) for name, ids in lists.others.items() if ids),
        ):
            write_list(partial / f"splits/{name}.txt", written_list(folder / f"splits/{name}.txt", ids, clean))
        record = json.dumps(lists.record, indent=1, ensure_ascii=False)
        replace_file(partial / f"splits/{split}/split.json", f"{record}\n")


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its name at the end; it goes if anything goes wrong inside."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        yield partial
        refuse_there(folder)
        partial.rename(folder)
    except OSError as error:
        raise cannot_write(folder, error, error_type=ConfigError) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_there(folder: Path) -> None:
    """Raises: ConfigError if there is something of this name already."""
    if os.path.lexists(folder):
        raise ConfigError(f"{folder}: is there already and is never replaced; name another folder, or move it away")

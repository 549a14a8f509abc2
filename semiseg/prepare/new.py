"""An experiment on images of one's own, from two folders: ``semiseg new NAME --images DIR --masks DIR``.

Looks at images and masks, proposes classes, crop, network and length of a run, says what it guessed and why, writes
experiments/NAME (all of it or nothing; what is there is never replaced) and looks over the data as check-data does.
Exit code 0: nothing found; 1: written, but check-data names problems; 2: nothing was written.
"""

import argparse
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from semiseg import cli
from semiseg.common.checkout import checkout
from semiseg.common.errors import ConfigError, DataError, UserError
from semiseg.common.files import real_path
from semiseg.common.text import counted, shortened
from semiseg.config.weights import WEIGHTS, weights_path
from semiseg.data.dataset import SegmentationDataset
from semiseg.data.discover import find_samples, with_masks
from semiseg.data.ids import Ids
from semiseg.data.image_files import is_turned, read_image
from semiseg.data.lists import Pool
from semiseg.data.masks import MaskContent, look_at_mask
from semiseg.data.padding import image_sizes, sample_of
from semiseg.data.read_ahead import default_workers, over_files
from semiseg.data.specs import SPECS, Color, DatasetSpec, custom_spec
from semiseg.prepare import check_data
from semiseg.prepare.check import PartReport, inspect_part
from semiseg.prepare.make_splits import draw_val, split_record
from semiseg.prepare.own import files
from semiseg.prepare.own.classes import Classes, Wishes, decide, question_of_kinds
from semiseg.prepare.own.doubts import MOST
from semiseg.prepare.own.files import METHODS, Lists, Proposal
from semiseg.prepare.own.masks import together
from semiseg.prepare.own.names import Naming, find_naming
from semiseg.prepare.own.parts import Owned, by_folders
from semiseg.prepare.own.recipe import MINUTES, Images, recipe_for, this_machine
from semiseg.prepare.own.views import doubtful_names, no_images, within

_FEW = 30  # unlabelled images whose colours are counted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TOPICS = ("images", "masks", "classes", "ignore", "split", "scale", "crop", "encoder", "batch", "epochs")


class Look(NamedTuple):
    """What two folders hold. classes_of: id of an image with a mask -> the classes in it. extra: ids without one, or
    whose mask labels no pixel. some_left_out: whether other pictures lie there, which no list may hold.

    questions: what only the owner knows.
    """

    naming: Naming
    spec: DatasetSpec
    classes: Classes
    classes_of: Mapping[str, list[int]]
    extra: Sequence[str]
    some_left_out: bool
    report: PartReport
    notes: tuple[str, ...]
    questions: tuple[str, ...]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.parser("new", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="NAME", help="experiments/NAME is written; also the data set's name")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="all images, with and without a mask")
    parser.add_argument("--masks", type=Path, required=True, metavar="DIR", help="masks, named after their images")
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="names, in the order of values, a palette's indices, or R,G,B"
    )
    parser.add_argument("--colors", nargs="+", type=_color, metavar="R,G,B", help="colors of the classes, in order")
    parser.add_argument(
        "--ignore", type=_value, metavar="VALUE", help="pixels that do not count: value or index, R,G,B, none"
    )
    parser.add_argument("--mask-name", metavar="NAME", help="how masks are named, e.g. '{id}_label.png'")
    parser.add_argument("--labels", type=int, metavar="N", help="so many images count as labelled")
    parser.add_argument("--val-count", type=int, metavar="N", help="so many images with a mask are kept for scoring")
    parser.add_argument(
        "--parts",
        choices=("folders", "drawn"),
        default="folders",
        help="folders val and test below the images' say what is for scoring, or all are drawn (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other images in each part (%(default)s)")
    parser.add_argument("--scale", type=float, metavar="S", help="see images at this share of their size, e.g. 0.25")
    parser.add_argument("--device", choices=("cpu", "gpu", "ascend"), help="what will train (what is here)")
    parser.add_argument("--memory", type=float, metavar="GB", help="memory of the device, of a CPU the machine's")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of a run on two cores, at most (%(default)g)")
    parser.add_argument(
        "--workers", type=cli.at_least(0), default=default_workers(), help="threads that read (%(default)s)"
    )
    args = parser.parse_args(arguments)
    for name in ("labels", "val_count", "scale", "memory", "minutes"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            parser.error(f"--{name.replace('_', '-')}: expected a number above 0, got {value:g}")
    if args.seed < 0:
        parser.error("--seed must be 0 or more")
    return args


def _value(text: str) -> int | Color | str:
    """``255``, ``0,0,0``, ``#ff0000`` or ``none``."""
    if text == "none":
        return text
    if re.fullmatch(r"\d{1,3}", text) and int(text) < 256:
        return int(text)
    return _color(text)


def _color(text: str) -> Color:
    """``60,180,75``, ``#3cb44b`` or one gray level."""
    numbers = [int(part) for part in text.split(",")] if re.fullmatch(r"\d{1,3}(,\d{1,3}){0,2}", text) else []
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        numbers = list(bytes.fromhex(text[1:]))
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or max(numbers) > 255:
        raise argparse.ArgumentTypeError(f"expected 255, 60,180,75 or #3cb44b, got {text!r}")
    return (numbers[0], numbers[1], numbers[2])


def place_of(text: str) -> tuple[Path, Path]:
    """(folder to be written, the clone). Raises: UserError if it is no new folder of experiments/."""
    clone = checkout()
    if clone is None:
        raise UserError("new: needs a clone of SemiSeg (experiments/, tools/), and this is an installation without")
    given = Path(text)
    plain = given.parent in (Path(), Path("experiments"))  # wherever one stands
    folder = (clone / "experiments" if plain else real_path(given.parent)) / given.name
    if folder.parent != clone / "experiments" or not _NAME.fullmatch(folder.name):
        raise ConfigError(
            f"{text}: expected a plain name, whose folder is made in {clone / 'experiments'} (letters, digits, - and _)"
        )
    if folder.name in {spec.folder for spec in SPECS.values()}:
        raise ConfigError(f"{text}: ckpt/{folder.name} belongs to a data set that comes with SemiSeg; name another")
    files.refuse_there(folder)
    return folder, clone


def look_over(args: argparse.Namespace, name: str) -> Look:
    """Reads all masks and their images. Raises: DataError, ConfigError: they cannot be meant so, or cannot be read."""
    naming = find_naming(args.images, args.masks, args.mask_name)
    draft = custom_spec(name, ("a", "b"), naming.image, naming.mask)
    ids, found = find_samples(draft, naming.root)
    masked = with_masks(draft, naming.root, ids)
    places = {sample: draft.image_path(sample) for sample in ids}
    others = no_images(ids, masked, within(args.masks, naming.root, places), naming.mask)
    masks = dict(zip(masked, _contents(naming, draft, masked, args.workers), strict=True))
    wishes = Wishes(tuple(args.classes or ()), tuple(args.colors or ()), args.ignore)
    try:
        classes = decide(together(masks.values()), wishes)
    except DataError as error:
        raise DataError(f"{error}{_of_a_few(draft, masks)}") from None
    kinds = question_of_kinds({draft.mask_path(sample): seen for sample, seen in masks.items()}, classes, wishes)
    labels = {"mask_kind": classes.kind, "ignore_label": classes.ignore_label, "ignore_color": classes.ignore_color}
    spec = custom_spec(name, classes.names, naming.image, naming.mask, classes.colors, **labels)
    part = SegmentationDataset(spec, naming.root, masked)
    report = inspect_part("images with a mask", part, part.presence(), args.workers)
    _refuse(report.unreadable, len(masked))
    classes_of = {sample: here for sample, content in masks.items() if (here := classes.of(content))}
    used = classes_of.keys() | others.ids
    extra, questions = [sample for sample in ids if sample not in used], (kinds,) if kinds else ()
    notes, empty = [*found.notes(), *others.notes, *doubtful_names(extra, masked)], set(masked) - classes_of.keys()
    if empty:
        notes.append(
            f"{counted(len(empty), 'mask')} without a labelled pixel: {shortened(sorted(empty))}; their images are "
            "unlabelled ones"
        )
    return Look(naming, spec, classes, classes_of, extra, bool(others.ids), report, tuple(notes), questions)


def _of_a_few(spec: DatasetSpec, masks: Mapping[str, MaskContent]) -> str:
    """Which masks hold more colours than classes may have, where others do not."""
    many = [spec.mask_path(sample) for sample, content in masks.items() if len(content.colors) > MOST]
    few = 0 < len(many) < len(masks)
    return f" ({len(many)} of {counted(len(masks), 'mask')} hold more than {MOST}: {shortened(many, 2)})" if few else ""


def _contents(naming: Naming, spec: DatasetSpec, ids: Sequence[str], workers: int) -> list[MaskContent]:
    paths = [naming.root / spec.mask_path(sample) for sample in ids]
    contents, errors = [], []
    for _, content in over_files(look_at_mask, paths, workers, "looking at masks"):
        if isinstance(content, DataError):
            errors.append(str(content))
        else:
            contents.append(content)
    _refuse(errors, len(paths))
    return contents


def _refuse(errors: Sequence[str], count: int) -> None:
    """Raises: DataError with the first of several."""
    if errors:
        others = f" ({len(errors)} of {counted(count, 'image')} with a mask are refused; this is the first)"
        raise DataError(errors[0] + (others if len(errors) > 1 else ""))


def draw(look: Look, args: argparse.Namespace, command: str) -> tuple[Lists, str]:
    """The lists and how they came about.

    Raises: DataError where there are too few images with a mask. ConfigError for --val-count beside a folder val.
    """
    owned = Owned(list(look.classes_of), [], [], list(look.extra))
    if args.parts == "folders":
        owned = by_folders(owned, args.val_count)
    masked, val, extra = owned.masked, owned.val, owned.extra
    needed = (2 if extra else 3) + (0 if val else 1)
    if len(masked) < needed:
        what = "two to learn from" + ("" if val else " and one to score")
        what += "" if extra else ", and one that is taken as unlabelled"
        where = " to learn from (--parts drawn mixes all)" if owned.said else ""
        raise DataError(f"{counted(len(masked), 'image')} with a mask{where}: at least {needed} are needed, {what}")
    if val:
        pool = masked
    else:
        val_count = args.val_count or max(1, min(len(masked) // 4, 100))
        val, pool = draw_val(masked, val_count, args.seed, look.classes_of)
    most = len(pool) if extra else len(pool) - 1
    least = min(max(4, look.spec.num_classes), most)
    count = args.labels or (len(pool) if extra else max(least, len(pool) // 4))
    if count > most:
        without = "" if extra else ", as every image has a mask and some must be left as unlabelled ones"
        raise DataError(f"--labels {count}: at most {most} of {len(pool)} images that are not for scoring{without}")
    parts = Pool(pool, extra)
    labeled, unlabeled = parts.draw(count, args.seed, look.classes_of)
    text = f"{len(labeled)} labelled, {len(unlabeled)} unlabelled, {len(val)} for scoring"
    text += "" if owned.val else " (--val-count)"
    if count < len(pool):
        of = "" if args.labels else "; every image has a mask, so most stand for unlabelled ones"
        text += f"{of}: masks of {len(pool) - count} are not used (--labels)"
    others = {"train": [*pool, *extra], "test": owned.test} if owned.said else {}
    if look.some_left_out:
        others.setdefault("train", [*pool, *extra])
    record = split_record(parts, labeled, args.seed, command)
    return Lists(labeled, unlabeled, val, record, others), text + owned.said


def propose(look: Look, args: argparse.Namespace, command: str) -> Proposal:
    """Everything that will be written."""
    lists, split = draw(look, args, command)
    sizes = look.report.sizes.copy()
    if look.extra:
        others = SegmentationDataset(look.spec, look.naming.root, Ids(sample_of(look.extra)), with_mask=False)
        sizes += Counter(image_sizes(others))
    machine = this_machine(args.device, args.memory)
    recipe = recipe_for(Images(sizes, len(lists.unlabeled)), machine, args.scale, args.minutes)
    naming, masks, everything = look.naming, len(look.classes_of), len(look.classes_of) + len(look.extra)
    why = {**look.classes.why, **recipe.why, "split": split}
    why["images"] = f"{everything} {naming.image}, {_span(sizes)}; {masks} have a mask {naming.mask}"
    return Proposal(look.spec.name, naming.root, naming.image, naming.mask, look.classes, recipe, lists, why, command)


def _span(sizes: Counter[tuple[int, int]]) -> str:
    ordered = [f"{width} x {height}" for height, width in sorted(sizes, key=lambda size: size[0] * size[1])]
    return f"{ordered[0]} px" if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]} px"


def _hints(look: Look, proposal: Proposal, yaml: Path) -> list[str]:
    """What cannot be known is asked for; what may surprise is said."""
    lines = [f"note: {note}" for note in (*look.notes, *look.classes.notes)]
    unused = look.naming.unused
    if unused:
        lines.append(f"note: {counted(len(unused), 'file')} of the masks' folder fit no image: {shortened(unused)}")
    looked_at = sample_of(proposal.lists.unlabeled)
    sideways = [sample for sample in looked_at if _lies_sideways(look, sample)]
    if sideways:
        lines.append(
            f"note: {len(sideways)} of {counted(len(looked_at), 'unlabelled image')} carry an EXIF rotation (first "
            f"{sideways[0]}), and training sees them as stored; turn the files themselves (mogrify -auto-orient)"
        )
    masks = [sample for sample in looked_at[:: max(1, len(looked_at) // _FEW)] if _is_like_a_mask(look, sample)]
    if masks:
        lines.append(
            f"note: unlabelled images hold few colors, as masks do ({shortened(masks)}); if they are masks, move them "
            "away"
        )
    lines += [f"asked: {question}" for question in look.questions]
    if not look.classes.named:
        count = len(look.classes.names)
        lines.append(f"asked: what are the {count} classes called? --classes with {count} names, or edit {yaml}")
    return lines


def _lies_sideways(look: Look, sample: str) -> bool:
    """Whether an image is upright only by its EXIF rotation, which training does not see without its mask."""
    part = SegmentationDataset(look.spec, look.naming.root, Ids([sample]), with_mask=sample in look.classes_of)
    try:
        turned = is_turned(part.image_path(0))
        stored = read_image(part.image_path(0)) if turned and part.with_mask else None
        return turned and (stored is None or part.read(0)[0].shape != stored.shape)
    except DataError:  # check-data says it
        return False


def _is_like_a_mask(look: Look, sample: str) -> bool:
    """Whether an image without a mask has hardly more colours than there are classes."""
    if sample in look.classes_of:
        return False
    try:
        content = look_at_mask(look.naming.root / look.spec.image_path(sample))
    except DataError:  # a JPEG, or check-data says it
        return False
    return len(content.colors) <= max(16, look.spec.num_classes + 1)


def _next(proposal: Proposal, folder: Path) -> list[str]:
    leaf = _shown(folder) / str(len(proposal.lists.labeled))
    weights = proposal.recipe.weights
    fetch = [] if weights_path(WEIGHTS[weights]).is_file() else [f"  semiseg weights {weights}"]
    return [
        "next:",
        *fetch,
        *(f"  bash {shlex.quote(str(leaf / METHODS[0] / script))}" for script in ("train.sh", "eval.sh")),
        f"  the same in {', '.join(METHODS[1:])}, which learn from the unlabelled images as well",
        f"  semiseg predict --config {shlex.quote(str(leaf / METHODS[-1]))} IMAGE_OR_FOLDER --out predictions",
    ]


def _shown(path: Path) -> Path:
    """As it would be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main(arguments: Sequence[str]) -> int:
    """Look, propose, write, check."""
    args = parse(arguments)
    folder, clone = place_of(args.folder)
    look = look_over(args, folder.name)
    proposal = propose(look, args, f"{cli.program('new')} {shlex.join(arguments)}")
    files.write(proposal, folder, clone)
    for topic in _TOPICS:
        print(f"{topic:<8} {_value_of(topic, proposal)}{proposal.why[topic]}")
    print("\n".join(_hints(look, proposal, _shown(folder / files.DATA))))
    print(f"{_shown(folder)}: written; {files.DATA} there holds all of this: mend what is wrong")
    code = check_data.main(["--config", str(folder / str(len(proposal.lists.labeled)) / METHODS[-1])])
    print("\n".join(_next(proposal, folder)))
    return code


def _value_of(topic: str, proposal: Proposal) -> str:
    recipe = proposal.recipe
    values = {"crop": f"{recipe.crop} px: ", "epochs": f"{recipe.epochs}: "}
    return values.get(topic, "")

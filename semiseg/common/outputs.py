"""What a command writes: refused before the work where it cannot be written, so that no result is lost after it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from semiseg.common.errors import ConfigError
from semiseg.common.files import real_path


@dataclass(frozen=True)
class Output:
    """A file, or a folder of files. ``option``: what named it; ``replace``: what is there already may be replaced.

    ``otherwise``: what else a user can do where it is not, for the end of the message. ``is_ours``: tells an earlier
    file of the same kind, which is called ``kind``, where no other file may be replaced.
    """

    option: str
    path: Path
    is_folder: bool = False
    replace: bool = False
    otherwise: str = ""
    is_ours: Callable[[Path], bool] | None = None
    kind: str = ""


def check_outputs(outputs: Sequence[Output], inputs: Sequence[Path] = ()) -> None:
    """Looks whether all of ``outputs`` can be written and makes nothing. One may lie in the folder of another.

    ``inputs``: files that the command reads; none of them may be replaced.

    Raises:
        ConfigError: an output is an input, is there already and is not to be replaced (or no file of ours), is a folder
            and should be a file or the other way round, or lies below a file, be it there already or another output.
    """
    read = {real_path(path) for path in inputs}
    for output in outputs:
        if real_path(output.path) in read:
            raise ConfigError(f"{output.path}: is read by this command; name another path for {output.option}")
        above = next((path for path in output.path.parents if path.exists()), None)
        if above and not above.is_dir():
            raise ConfigError(
                f"{output.path}: cannot be written ({above} is a file); name another path for {output.option}"
            )
        check = _check_folder if output.is_folder else _check_file
        check(output)
        _check_rights(output)
    for one, other in permutations(outputs, 2):
        if one.is_folder:
            continue
        if real_path(other.path) == real_path(one.path):
            raise ConfigError(f"{one.path}: {one.option} and {other.option} would write to the same place; name two")
        if real_path(other.path).is_relative_to(real_path(one.path)):
            raise ConfigError(
                f"{other.path}: lies below the file that {one.option} writes; name another path for {other.option}"
            )


def _check_rights(output: Output) -> None:
    """Whether something can be made where the output goes; a full disk shows only when it is written."""
    places = output.path.parents if not output.is_folder else (output.path, *output.path.parents)
    place = next((path for path in places if path.exists()), Path())
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ConfigError(
            f"{output.path}: cannot be written (no permission in {place}, or it can only be read); name another path "
            f"for {output.option}"
        )


def _check_file(output: Output) -> None:
    if output.path.is_dir():
        raise ConfigError(f"{output.path}: is a folder; {output.option} expects the name of a file")
    if output.path.exists() and not output.path.is_file():
        raise ConfigError(f"{output.path}: is a device or a pipe; {output.option} expects the name of a file")
    if output.path.exists() and not output.replace:
        raise ConfigError(f"{output.path}: is there already; name another file{output.otherwise}")
    if output.path.exists() and output.is_ours and not output.is_ours(output.path):
        raise ConfigError(
            f"{output.path}: is there already and no {output.kind} of ours; name another file with {output.option}"
        )


def _check_folder(output: Output) -> None:
    if output.path.exists() and not output.path.is_dir():
        raise ConfigError(f"{output.path}: cannot be written (is a file); {output.option} expects the name of a folder")
    # Empty folders are no obstacle: an earlier start that was refused may have made them.
    if not output.replace and any(not path.is_dir() for path in output.path.rglob("*")):
        raise ConfigError(
            f"{output.path}: holds files already, which are kept; name an empty or new folder for {output.option}"
            f"{output.otherwise}"
        )


def make_folders(outputs: Sequence[Output]) -> None:
    """Makes the folders that ``outputs`` go to.

    Raises:
        ConfigError: one cannot be made.
    """
    for output in outputs:
        folder = output.path if output.is_folder else output.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{output.path}: cannot be written ({error.strerror}); name another path for {output.option}"
            ) from None
